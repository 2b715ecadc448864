"""Units of a deployment: every replica of a grid in one role, costed in closed form for one load or several."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from costsim.errors import BadInput
from costsim.explore.grid import Block, Values, blocks
from costsim.explore.pareto import pareto
from costsim.predict.layout import Rule
from costsim.predict.phases import KV_SHARE, decode, prefill, setting_for
from costsim.predict.steady import serve
from costsim.spec.accelerator import Accelerator
from costsim.spec.model import ModelSpec
from costsim.spec.plan import DecodeLoad, PrefillLoad, ServingLoad, ServingPlan

Array = NDArray[np.float64]
ROLES = ("both", "prefill", "decode")
_LOADS: dict[str, type[Any]] = {"both": ServingLoad, "prefill": PrefillLoad, "decode": DecodeLoad}
#: units of one accelerator and role that are kept, beside the cheapest
KEEP = 64


@dataclass(frozen=True)
class Demand:
    """Requests per second and their mean lengths; ``cached`` prompt tokens of each are found in a prefix cache."""

    requests_per_s: float
    isl: float
    osl: float
    cached: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.requests_per_s < 1e9:
            raise BadInput(f"load: {self.requests_per_s:g} requests a second; must be above zero")
        if self.isl < 1 or self.osl < 1 or not 0 <= self.cached < self.isl:
            raise BadInput("load: isl and osl must be at least 1, and cached less than isl")


@dataclass(frozen=True)
class Unit:
    """One replica: its plan and load keys, cards, price, and what ``count`` of them do under the demand."""

    role: str
    accelerator: str
    plan: dict[str, Any]
    count: int
    requests_per_s: float
    latency_s: float
    usd_per_h: float

    @property
    def gpus(self) -> int:
        return int(self.plan["gpus"]) * self.count

    def json(self) -> dict[str, Any]:
        return {
            "role": self.role, "accelerator": self.accelerator, "plan": self.plan, "count": self.count,
            "gpus": self.gpus, "requests_per_s_each": self.requests_per_s, "usd_per_h": self.usd_per_h,
        }  # fmt: skip


@dataclass
class Tally:
    evaluated: int = 0
    feasible: int = 0
    rejected: Counter[str] = field(default_factory=Counter)


#: load keys of each role that the demand sets, and the grid keys that it has beside the plan's
_OWN = {"both": "concurrency", "prefill": "tokens_per_gpu", "decode": "batch_per_gpu"}
_PLAN_ONLY = ("concurrency", "tokens_per_gpu", "batch_per_gpu")


def _role_grid(role: str, demand: Demand, grid: Mapping[str, Values]) -> dict[str, Values]:
    """The plan keys with this role's own load."""
    out: dict[str, Values] = {name: values for name, values in grid.items() if name not in _PLAN_ONLY}
    out[_OWN[role]] = grid[_OWN[role]]
    if role == "decode":
        out["context"] = [demand.isl + demand.osl / 2.0]
    else:
        out |= {"isl": [demand.isl], "cached": [demand.cached]}
    if role == "both":
        out["osl"] = [demand.osl]
    if role == "prefill":
        out = {name: values for name, values in out.items() if not name.startswith("mtp_")}
    return out


def units_of(
    model: ModelSpec, chip: Accelerator, role: str, demand: Demand, loads: Sequence[float], grid: Mapping[str, Values],
    targets: tuple[float | None, float | None], headroom: float, usd_per_gpu_h: float, tally: Tally,
    pace: float = 1.0,
) -> list[list[Unit]]:  # fmt: skip
    """For each of ``loads`` (requests per second of the demand's shape) the units of one role on one accelerator that
    nothing beats in both cost and latency, if steps take ``pace`` times as long as predicted. Every unit of the grid is
    costed once, however many loads there are."""
    kept: list[list[Unit]] = [[] for _ in loads]
    for block in blocks(_role_grid(role, demand, grid)):
        with np.errstate(all="ignore"):
            metrics, rules, fits = _evaluate(block, model, chip, role)
            good = np.ones(block.shape, dtype=bool)
            reasons = [(rule.reason, rule.broken) for rule in rules] + [("does not fit in memory", ~np.asarray(fits))]
            # Engines give what they use a share of the memory; the driver's reserve lies in the rest.
            over = np.asarray(metrics["used_bytes"]) > KV_SHARE * chip.rank().need("memory")
            reasons.append(("does not fit in memory", over))
            reasons.append(("holds several replicas: a smaller unit does the same", _larger(block, model, chip)))
            rate, ttft, tpot = _rates(role, block, metrics, demand, headroom)
            rate = rate / pace
            ttft, tpot = (None if latency is None else latency * pace for latency in (ttft, tpot))
            for name, value, target in (("ttft_s", ttft, targets[0]), ("tpot_s", tpot, targets[1])):
                if target is not None and value is not None:
                    reasons.append((f"misses the {name} target", value > target))
            for reason, broken in reasons:
                out = good & np.broadcast_to(broken, block.shape)
                if out.any():
                    tally.rejected[reason] += int(out.sum())
                    good &= ~out
        tally.evaluated += block.size
        tally.feasible += int(good.sum())
        for mine, load in zip(kept, loads, strict=True):
            mine += _best_units(role, chip, block, good, (rate, ttft, tpot), load, headroom, usd_per_gpu_h)
    return [_frontier(found) for found in kept]


def _frontier(found: list[Unit]) -> list[Unit]:
    """Units that no other beats in cost and in latency, the cheapest of them."""
    latency = np.array([float(unit.plan.get("tpot_s", unit.latency_s)) for unit in found])
    cost = np.array([unit.usd_per_h for unit in found])
    return [found[i] for i in pareto(latency, cost)[-KEEP:]] if found else []


def _evaluate(block: Block, model: ModelSpec, chip: Accelerator, role: str) -> tuple[dict[str, Any], list[Rule], Any]:
    """Metrics of every plan of the block in this role, the rules it may break, and where it fits in memory."""
    both: dict[str, Any] = {**block.words, **block.numbers}
    plan = ServingPlan(**{f.name: both[f.name] for f in fields(ServingPlan) if f.name in both})
    load: Any = _LOADS[role](**{f.name: both[f.name] for f in fields(_LOADS[role]) if f.name in both})
    setting = setting_for(model, chip, plan)
    if role == "both":
        blend = serve(setting, load, strict=False)
        metrics: dict[str, Any] = {name: value for name, (value, _) in blend.metrics.items()}
        metrics["tokens_per_s_per_gpu"] = metrics["output_tokens_per_s_per_gpu"]
        metrics["memory_bytes"] = blend.decode.memory.total_bytes
        metrics["used_bytes"] = blend.decode.memory.total_bytes - blend.decode.memory.reserve_bytes
        return metrics, blend.rules, blend.decode.memory.fits
    answer = prefill(setting, load, strict=False) if role == "prefill" else decode(setting, load, strict=False)
    metrics = {name: value for name, (value, _) in answer.metrics.items()}
    metrics["memory_bytes"] = answer.memory.total_bytes
    metrics["used_bytes"] = answer.memory.total_bytes - answer.memory.reserve_bytes
    return metrics, answer.rules, answer.memory.fits


def _larger(block: Block, model: ModelSpec, chip: Accelerator) -> Any:
    """Plans with more cards than the ranks that share a set of experts, or than one tensor-parallel group."""

    def axis(name: str) -> Any:
        return block.numbers.get(name, np.ones(1))

    ranks = axis("tp") * axis("pp")
    if model.moe is not None:
        width = block.numbers.get("moe_tp", np.maximum(axis("tp") / axis("ep"), 1.0))
        ranks = np.maximum(axis("tp"), axis("ep") * width) * axis("pp")
    return axis("gpus") * chip.dies > ranks


def _rates(
    role: str, block: Block, metrics: Mapping[str, Array], demand: Demand, headroom: float
) -> tuple[Any, Any, Any]:
    """(requests per second of a unit, TTFT, TPOT); None for a latency that the role does not set.

    Prefill: the prompt's own steps, the half step under way and the wait of an M/D/1 queue at ``headroom``:
    ρ/(2(1 − ρ)) steps. Decode adds its first step.
    """
    rate = metrics["tokens_per_s_per_gpu"] * block.numbers["gpus"]
    if role == "prefill":
        wait = 0.5 + (headroom / (2.0 * (1.0 - headroom)) if headroom < 1 else np.inf)
        return rate / (demand.isl - demand.cached), metrics["ttft_s"] + wait * metrics["step_s"], None
    if role == "decode":
        return rate / demand.osl, None, metrics["tpot_s"]
    return rate / demand.osl, metrics["ttft_s"], metrics["tpot_s"]


def _best_units(
    role: str, chip: Accelerator, block: Block, good: NDArray[np.bool_], answers: tuple[Any, Any, Any],
    requests_per_s: float, headroom: float, usd_per_gpu_h: float,
) -> list[Unit]:  # fmt: skip
    """Feasible units of a block on the frontier of latency against the cost of as many as the load needs."""
    where = np.flatnonzero(good)
    if not where.size:
        return []
    rate, ttft, tpot = (None if a is None else np.broadcast_to(a, block.shape).ravel()[where] for a in answers)
    assert rate is not None
    gpus = np.broadcast_to(block.numbers["gpus"], block.shape).ravel()[where]
    count = np.maximum(np.ceil(requests_per_s / (headroom * rate) - 1e-9), 1.0)
    cost = count * gpus * usd_per_gpu_h
    latency = ttft if tpot is None else tpot
    assert latency is not None
    units = []
    for i in pareto(latency, cost):
        plan = block.plan_at(int(where[i]))
        if role == "both":
            assert tpot is not None
            plan["tpot_s"] = float(tpot[i])
        first = ttft if role == "both" else latency
        assert first is not None
        units.append(Unit(role, chip.id, plan, int(count[i]), float(rate[i]), float(first[i]), float(cost[i])))
    return units
