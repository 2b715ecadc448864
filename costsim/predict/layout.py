"""From a plan to a layout: ranks, shares, and every rule that a plan can break.

Rules are (message, broken) pairs where ``broken`` broadcasts: one question raises on the first broken
rule, a sweep counts plans by the rule that threw them out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from costsim.errors import BadInput, BadQuantity, DoesNotDivide, OutOfRange, UnsupportedDtype
from costsim.num import Num
from costsim.physics.layout import Layout, expert_slots
from costsim.spec.accelerator import Accelerator
from costsim.spec.cluster import Cluster
from costsim.spec.framework import recipes
from costsim.spec.model import ModelSpec
from costsim.spec.plan import KV_DTYPES, OVERLAPS, PRECISIONS, ROUTINGS, ServingPlan

Mask = NDArray[np.bool_]
_VERSION = re.compile(r"v?\d+(\.\d+)*[\w.+-]{0,30}", re.ASCII)


@dataclass(frozen=True)
class Rule:
    """One way a plan can be wrong: a short reason for counting, a sentence for people, and where it holds."""

    reason: str
    message: str
    broken: Mask


def _as(value: Num) -> NDArray[np.float64]:
    return np.asarray(value, dtype=float)


def check_choices(plan: ServingPlan, chip: Accelerator) -> None:
    """Refuse words that no list holds and number formats that the chip lacks."""
    for field, value, known in (
        ("precision", plan.precision, PRECISIONS),
        ("kv_dtype", plan.kv_dtype, KV_DTYPES),
        ("overlap", plan.overlap, OVERLAPS),
        ("routing", plan.routing, ROUTINGS),
    ):
        if value not in known:
            raise OutOfRange(f"{field}: {str(value)[:40]!r} is not one of {', '.join(known)}")
    if plan.recipe not in ("", *recipes()):
        raise OutOfRange(f"recipe: {plan.recipe[:40]!r} is not one of {', '.join(recipes())}")
    if plan.framework_version and not _VERSION.fullmatch(plan.framework_version):
        raise BadQuantity(f"framework_version: {plan.framework_version[:40]!r} is no version; write it like 0.5.9")
    if plan.precision == "fp4" and not chip.known("fp4"):
        raise UnsupportedDtype(
            f"precision: {chip.id} has no fp4 arithmetic; w4 keeps weights in 4 bits and multiplies in 16"
        )
    chip.peak(plan.precision)
    if plan.kv_dtype == "fp8" and not chip.datasheet["fp8"].supported:
        raise UnsupportedDtype(f"kv_dtype: {chip.id} has no fp8; use bf16 or int8")


def serving_layout(model: ModelSpec, chip: Accelerator, plan: ServingPlan, cluster: Cluster) -> Layout:
    """Shares of one rank. Ranks are dies on a multi-die card; the scale-up domain counts ranks too."""
    tp, ep = _as(plan.tp), _as(plan.ep)
    if model.moe is None:
        ep = np.ones_like(ep)
    moe_tp = np.maximum(tp / ep, 1.0) if plan.moe_tp is None else _as(plan.moe_tp)
    return Layout(
        tp=tp,
        pp=_as(plan.pp),
        ep=ep,
        moe_tp=moe_tp,
        ranks=_as(plan.gpus) * chip.dies,
        domain=float(cluster.scale_up_domain * chip.dies),
        slots=expert_slots(model, ep, plan.redundant_experts),
        precision=plan.precision,
        kv_dtype=plan.kv_dtype,
        routing=plan.routing,
        replicas=np.maximum(_as(plan.redundant_experts), ep - (model.moe.experts if model.moe else ep)),
        imbalance=None if plan.imbalance is None else _as(plan.imbalance),
        remote_nodes=None if plan.remote_nodes is None else _as(plan.remote_nodes),
    )


def _nearest(value: float, limit: int) -> str:
    """Divisors of ``limit`` next to ``value``, for a refusal that helps."""
    divisors = [d for d in range(1, limit + 1) if limit % d == 0] if limit <= 100_000 else [1]
    below = max((d for d in divisors if d <= value), default=divisors[0])
    above = min((d for d in divisors if d >= value), default=divisors[-1])
    return f"{below} or {above}" if below != above else f"{below}"


def _shown(value: Num) -> str:
    return f"{float(_as(value).flat[0]):g}"


def _whole(field: str, value: Num, least: float = 1.0) -> Rule:
    v = _as(value)
    with np.errstate(invalid="ignore"):
        broken = ~(np.isfinite(v) & (v >= least) & (v == np.floor(v)))
    return Rule(f"{field} is not a whole number of at least {least:g}",
                f"{field} = {_shown(value)}: must be a whole number of at least {least:g}", broken)  # fmt: skip


def _divides(field: str, value: Num, whole: str, limit: Num) -> Rule:
    v, total = _as(value), _as(limit)
    with np.errstate(invalid="ignore", divide="ignore"):
        broken = ~(total % np.where(v > 0, v, np.nan) == 0)
    first, limited = float(v.flat[0]), float(total.flat[0])
    near = _nearest(first, int(limited)) if np.isfinite(first) and 1 <= limited < np.inf else "1"
    message = f"{field} = {_shown(value)} does not divide {whole} = {_shown(limit)}; nearest that works: {near}"
    return Rule(f"{field} does not divide {whole}", message, broken)


def plan_rules(model: ModelSpec, chip: Accelerator, plan: ServingPlan, layout: Layout) -> list[Rule]:
    """Every divisibility rule of a serving plan, in the order a person would check them."""
    rules = [_whole(name, getattr(plan, name)) for name in ("gpus", "tp", "pp", "ep")]
    rules.append(_whole("redundant_experts", plan.redundant_experts, 0.0))
    ranks, one_replica = layout.ranks, layout.tp * layout.pp
    what = "dies" if chip.dies > 1 else "gpus"
    rules += [
        _divides("tp", layout.tp, "attention heads", model.attention.heads),
        _divides("tp × pp", one_replica, what, ranks),
    ]
    over = _as(plan.pp) > model.layers
    rules.append(Rule("pp exceeds layers", f"pp = {_shown(plan.pp)} exceeds the model's {model.layers} layers", over))
    if model.moe is None:
        dense = _as(plan.ep) > 1
        rules.append(
            Rule("ep on a dense model", f"ep = {_shown(plan.ep)}: {model.id} has no experts; use ep = 1", dense)
        )
        return rules
    group = layout.ep * layout.moe_tp
    # Ranks beyond the experts hold replicas (CloudMatrix384 runs EP320), but not more than one more of each.
    over = _as(layout.ep) > 2 * model.moe.experts
    most = f"ep = {_shown(plan.ep)} exceeds twice the {model.moe.experts} experts of {model.id}"
    rules += [
        _divides("ep × moe_tp", group * layout.pp, what, ranks),
        _divides("moe_tp", layout.moe_tp, "expert width", model.moe.intermediate),
        Rule("ep exceeds experts", most, over),
        _whole_slots(model.moe.experts, plan, layout),
        *_placement_rules(plan, layout),
    ]
    return rules


def _placement_rules(plan: ServingPlan, layout: Layout) -> list[Rule]:
    """A stated placement: its busiest rank between the mean and everything, its remote nodes fewer than there are."""
    rules = []
    if plan.imbalance is not None:
        rules.append(imbalance_rule(plan.imbalance, layout.ep))
    if plan.remote_nodes is not None:
        nodes = np.maximum(layout.ep * layout.moe_tp / layout.domain, 1.0)
        message = f"remote_nodes = {_shown(plan.remote_nodes)}: from 0 to the other nodes, {_shown(nodes)} − 1"
        away = _as(plan.remote_nodes)
        with np.errstate(invalid="ignore"):
            rules.append(Rule("remote_nodes out of range", message, ~((away >= 0) & (away <= nodes - 1.0 + 1e-9))))
    return rules


def imbalance_rule(imbalance: Num, ep: Num) -> Rule:
    """Busiest rank over the mean: at least 1, at most all ranks' load on one."""
    v = _as(imbalance)
    with np.errstate(invalid="ignore"):
        broken = ~((v >= 1.0) & (v <= np.maximum(_as(ep), 1.0)))
    return Rule("imbalance out of range", f"imbalance = {_shown(imbalance)}: from 1 to ep = {_shown(ep)}", broken)


def _whole_slots(experts: int, plan: ServingPlan, layout: Layout) -> Rule:
    """Every rank holds a whole number of experts; ranks beyond the experts hold a replica each."""
    ep, total = _as(layout.ep), experts + _as(plan.redundant_experts)
    with np.errstate(invalid="ignore", divide="ignore"):
        broken = (total > ep) & (total % np.where(ep > 0, ep, np.nan) != 0)
    first = float(ep.flat[0]) if np.isfinite(ep.flat[0]) and ep.flat[0] >= 1 else 1.0
    more = -experts % first
    message = (
        f"experts = {_shown(total)} (replicas included) do not spread evenly over ep = {_shown(plan.ep)}; "
        f"nearest ep that works: {_nearest(first, experts)}, or redundant_experts = {more:g}"
    )
    return Rule("experts do not spread evenly over ep", message, broken)


def comm_sms_rule(comm_sms: Num | None, cores: float) -> Rule:
    """Communication may not take every core."""
    sms = _as(0.0 if comm_sms is None else comm_sms)
    with np.errstate(invalid="ignore"):
        broken = ~((sms >= 0) & (sms < cores))
    return Rule("comm_sms out of range", f"comm_sms = {_shown(sms)}: must be from 0 to {cores - 1:g}", broken)


def refuse(rules: list[Rule], error: type[BadInput] = DoesNotDivide) -> None:
    """Raise on the first broken rule; for one question, not a sweep."""
    for rule in rules:
        if bool(np.any(rule.broken)):
            raise error(rule.message)


def positive(fields: dict[str, Any], least: float = 0.0) -> list[Rule]:
    """Load fields that must be finite and above ``least``."""
    rules = []
    for name, value in fields.items():
        v = _as(value)
        with np.errstate(invalid="ignore"):
            broken = ~(np.isfinite(v) & (v > least))
        rules.append(
            Rule(f"{name} not positive", f"{name} = {_shown(value)}: must be a finite number above {least:g}", broken)
        )
    return rules


def not_negative(field: str, value: Num) -> Rule:
    """A load field that may be zero."""
    v = _as(value)
    with np.errstate(invalid="ignore"):
        broken = ~(np.isfinite(v) & (v >= 0))
    return Rule(f"{field} negative", f"{field} = {_shown(value)}: must be a finite number of at least 0", broken)
