"""Training at first order: forward and backward in turn, communication exposed, 1F1B (or interleaved) bubble."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from costsim.calibration.store import device_for
from costsim.economics.cost import wall_power
from costsim.errors import BadInput, DoesNotDivide, DoesNotFit
from costsim.num import Num
from costsim.physics.layout import Layout
from costsim.physics.memory import RESERVE_SHARE
from costsim.physics.op import Op
from costsim.physics.training import (
    TrainingFootprint,
    gradient_wires,
    micro_batch_demand,
    optimiser_op,
    training_footprint,
)
from costsim.predict.bands import SYSTEM_BAND, sources_of
from costsim.predict.layout import Rule, _divides, _whole, imbalance_rule, positive, refuse
from costsim.predict.phase import Timed, serial_step, time_demand
from costsim.predict.question import check_values
from costsim.predict.report import Line, Metric, Report
from costsim.predict.system import system_of
from costsim.spec.accelerator import Accelerator
from costsim.spec.cluster import Cluster, standard_cluster
from costsim.spec.model import ModelSpec
from costsim.spec.plan import PRECISIONS, RECOMPUTES, ROUTINGS, TrainingLoad, TrainingPlan
from costsim.spec.price import Price, default_rate, in_usd
from costsim.timing.device import Device
from costsim.timing.duration import combined_band, time_op, time_wire
from costsim.units import DAY_S, GIGA, HOUR_S

#: What this first-order model leaves out, at the ends of the band: a schedule may hide half of the step's waiting and
#: transfers (an assumption), and kernels beside transfers take 1.4 times as long as alone. [deepseek-profile-data]
OVERLAP_POTENTIAL, BESIDE_TRANSFERS = 0.5, 1.4


_SOURCES = ("megatron-1f1b", "deepseek-v3-report")
_NOTES = (
    "first order: nothing overlaps, mean stage, no stragglers, kernels timed alone; under DualPipe they take 1.4 times",
    "MFU divides by the dense BF16 peak, as DeepSeek's does; FP8 work may pass 1 where kernels come near the FP8 peak",
)


@dataclass(frozen=True)
class TrainingStep:
    """One optimiser step, in seconds by part; all fields broadcast."""

    forward_s: Num
    backward_s: Num
    bubble_s: Num
    gradient_s: Num
    optimizer_s: Num
    step_s: Num
    micro_batches: Num
    flop: Num
    flop_full: Num
    memory: TrainingFootprint
    rules: list[Rule]
    timed: tuple[Timed, ...]


def _as(value: Num) -> Any:
    return np.asarray(value, dtype=float)


def _layout(model: ModelSpec, chip: Accelerator, plan: TrainingPlan, cluster: Cluster) -> Layout:
    """Training spreads experts over data-parallel ranks: moe_tp stays 1 whenever ep > 1."""
    ep = _as(plan.ep) if model.moe else np.ones_like(_as(plan.ep))
    slots = np.maximum(model.moe.experts / ep, 1.0) if model.moe else 1.0
    return Layout(
        tp=_as(plan.tp), pp=_as(plan.pp), ep=ep, moe_tp=np.where(ep > 1, 1.0, _as(plan.tp)),
        ranks=_as(plan.gpus) * chip.dies, domain=float(cluster.scale_up_domain * chip.dies), slots=slots,
        precision=plan.precision, kv_dtype="bf16", routing=plan.routing,
        imbalance=None if plan.imbalance is None else _as(plan.imbalance),
    )  # fmt: skip


def training_rules(model: ModelSpec, chip: Accelerator, plan: TrainingPlan, load: TrainingLoad) -> list[Rule]:
    """Every rule a training layout can break."""
    rules = [_whole(name, getattr(plan, name)) for name in ("gpus", "tp", "pp", "vpp", "ep", "cp")]
    rules += [
        _whole("zero", plan.zero, 0.0),
        _whole("micro_batch", load.micro_batch),
        _whole("global_batch", load.global_batch),
    ]
    rules += positive({"seq": load.seq})
    ranks = _as(plan.gpus) * chip.dies
    with np.errstate(divide="ignore", invalid="ignore"):
        dp = ranks / (_as(plan.tp) * _as(plan.pp) * _as(plan.cp))
    rules += [
        _divides("tp", plan.tp, "attention heads", model.attention.heads),
        _divides("tp × pp × cp", _as(plan.tp) * plan.pp * plan.cp, "gpus", ranks),
        _divides("micro_batch × dp", _as(load.micro_batch) * dp, "global_batch", load.global_batch),
    ]
    beyond = "zero: must be 0 or 1 (optimiser state sharded over dp); 2 and 3 are not modelled"
    rules.append(Rule("zero stage not modelled", beyond, _as(plan.zero) > 1))
    deep = _as(plan.pp) * plan.vpp > model.layers + model.mtp_layers
    rules.append(Rule("pp × vpp exceeds layers", f"pp × vpp exceeds the {model.layers} layers of {model.id}", deep))
    if model.moe is None:
        rules.append(Rule("ep on a dense model", f"ep: {model.id} has no experts; use ep = 1", _as(plan.ep) > 1))
    else:
        rules += [
            _divides("ep", plan.ep, "experts", model.moe.experts),
            _divides("ep", plan.ep, "gpus / pp", ranks / np.maximum(_as(plan.pp), 1)),
        ]
        if plan.imbalance is not None:
            rules.append(imbalance_rule(plan.imbalance, plan.ep))
    return rules


def _check_words(plan: TrainingPlan, chip: Accelerator) -> None:
    for field, value, known in (
        ("precision", plan.precision, PRECISIONS[:2]),
        ("recompute", plan.recompute, RECOMPUTES),
        ("routing", plan.routing, ROUTINGS),
    ):
        if value not in known:
            raise BadInput(f"{field}: {str(value)[:40]!r} is not one of {', '.join(known)}")
    chip.peak(plan.precision)


def training_step(
    model: ModelSpec,
    chip: Accelerator,
    plan: TrainingPlan,
    load: TrainingLoad,
    cluster: Cluster,
    *,
    strict: bool = True,
) -> tuple[TrainingStep, Device]:
    """Time one step: (m + (pp−1)/vpp)·(F + B) + gradients + optimiser, m micro-batches per data-parallel rank.

    Bubble of 1F1B and its interleaved form: (pp−1)/vpp·(F + B). [megatron-1f1b, sec. 2.2]
    """
    rules = training_rules(model, chip, plan, load)
    if strict:
        refuse(rules, DoesNotDivide)
    layout, device, system = _layout(model, chip, plan, cluster), device_for(chip, cluster), system_of(chip)
    dp = layout.ranks / (layout.tp * layout.pp * _as(plan.cp))
    expert_dp = layout.ranks / (layout.pp * layout.ep * layout.moe_tp)
    sequences, seq = _as(load.micro_batch), _as(load.seq)
    demand = micro_batch_demand(
        model, layout, sequences / _as(plan.cp), seq, plan.recompute, with_mtp=model.mtp_layers > 0
    )
    forward = time_demand(demand.forward, device, system)
    backward = time_demand(demand.backward, device, system)
    f, b = serial_step(forward).total_s, serial_step(backward).total_s
    m = _as(load.global_batch) / (dp * sequences)
    bubble = (layout.pp - 1) / _as(plan.vpp) * (f + b)
    gradient = sum(
        (time_wire(w, device).time_s * w.count for w in gradient_wires(model, layout, dp, expert_dp)), start=0.0
    )
    optimizer = time_op(optimiser_op(model, layout, dp, expert_dp, plan.zero), device).time_s
    step = m * (f + b) + bubble + gradient + optimizer + system.step_host_s
    whole = m * layout.ranks
    timed = (*forward.ops, *forward.wires, *backward.ops, *backward.wires)
    memory = training_footprint(model, layout, sequences * seq / _as(plan.cp), plan.recompute, dp, expert_dp, plan.zero)
    flop, full = (demand.forward.flop * 3.0 * whole, demand.forward.flop_full * 3.0 * whole)
    return TrainingStep(m * f, m * b, bubble, gradient, optimizer, step, m, flop, full, memory, rules, timed), device


def predict_training(
    model: ModelSpec,
    chip: Accelerator,
    plan: TrainingPlan,
    load: TrainingLoad,
    price: Price | None = None,
    cluster: Cluster | None = None,
) -> Report:
    """Step time and its parts, MFU (causal and not, against the BF16 peak), memory, GPU hours and USD of a run.

    First order: no overlap of communication with compute, so a well-overlapped schedule does better; the
    band's low end says by how much at most. Raises BadInput for what cannot be answered.
    """
    check_values(plan, load)
    _check_words(plan, chip)
    cluster = cluster or standard_cluster(chip, int(plan.gpus))
    step, device = training_step(model, chip, plan, load, cluster)
    capacity = chip.rank().need("memory")
    _refuse_memory(step.memory, capacity, chip)
    rate = price if price is not None else default_rate(chip)
    return Report(
        kind="training",
        inputs={
            "model": model.id, "accelerator": chip.id, "cluster": cluster.id, "plan": asdict(plan),
            "load": asdict(load),
            "price": None if rate is None else {"id": rate.id, "text": rate.text, "usd_per_h": in_usd(rate)},
        },
        metrics=_metrics(step, plan, load, chip, device, rate),
        breakdown=_breakdown(step),
        memory=_memory(step.memory, capacity),
        sources=tuple(dict.fromkeys([*sources_of(t.each.fitted for t in step.timed), *_SOURCES])),
        notes=(*_NOTES, "no hourly price known: no USD" if rate is None else f"price: {rate.text} from {rate.id}"),
    )  # fmt: skip


def _refuse_memory(memory: TrainingFootprint, capacity: float, chip: Accelerator) -> None:
    total = float(np.max(memory.total_bytes)) + RESERVE_SHARE * capacity
    if total > capacity:
        name, largest = max(((n, float(np.max(v))) for n, v in memory.terms().items()), key=lambda item: item[1])
        raise DoesNotFit(
            f"does not fit: {total / GIGA:.1f} GB needed on each rank of {chip.id}, {capacity / GIGA:.1f} GB there; "
            f"the largest term is {name.removesuffix('_bytes')} with {largest / GIGA:.1f} GB; raise pp, ep or recompute"
        )


def _memory(memory: TrainingFootprint, capacity: float) -> dict[str, float]:
    terms = {name: float(np.max(value)) for name, value in memory.terms().items()} | {
        "reserve_bytes": RESERVE_SHARE * capacity
    }
    return terms | {"kv_bytes": 0.0, "total_bytes": sum(terms.values()), "capacity_bytes": capacity}


def _metrics(
    step: TrainingStep, plan: TrainingPlan, load: TrainingLoad, chip: Accelerator, device: Device, rate: Price | None
) -> dict[str, Metric]:
    seconds, cards = float(np.max(step.step_s)), float(plan.gpus)
    low, high, grade = combined_band(
        ((float(np.max(t.total_s)) * float(np.max(step.micro_batches)), t.each.fitted) for t in step.timed), seconds
    )
    tokens = float(load.global_batch) * float(load.seq)
    peak = device.peak("bf16") * chip.dies * cards
    # FP8 work over the BF16 peak may pass 1, but not the ratio of the two peaks.
    ceiling = device.peak(plan.precision) / device.peak("bf16")
    light = min(float(np.max(step.flop)) / seconds / peak / ceiling, 1.0)
    band = (
        max((low / seconds - SYSTEM_BAND) * OVERLAP_POTENTIAL, light),
        (high / seconds + SYSTEM_BAND) * BESIDE_TRANSFERS,
    )

    def time(value: Num, unit: str = "s") -> Metric:
        v = float(np.max(value))
        return Metric(v, unit, v * band[0], v * band[1], grade)

    def per_s(value: float, unit: str) -> Metric:
        high = value / band[0]
        return Metric(value, unit, value / band[1], high if unit else max(min(high, ceiling), value), grade)

    metrics = {
        "step_s": time(seconds),
        "forward_s": time(step.forward_s),
        "backward_s": time(step.backward_s),
        "bubble_s": time(step.bubble_s),
        "gradient_sync_s": time(step.gradient_s),
        "optimizer_s": time(step.optimizer_s),
        "tokens_per_s_per_gpu": per_s(tokens / seconds / cards, "token/s"),
        "tokens_per_day": per_s(tokens / seconds * DAY_S, "token"),
        "mfu_causal": per_s(float(np.max(step.flop)) / seconds / peak, ""),
        "mfu_noncausal": per_s(float(np.max(step.flop_full)) / seconds / peak, ""),
        "tflops_per_gpu_causal": per_s(float(np.max(step.flop)) / seconds / cards / 1e12, "TFLOP/s"),
    }
    hours_per_token = seconds * cards / HOUR_S / tokens
    metrics["gpu_hours_per_trillion_tokens"] = time(hours_per_token * 1e12, "GPU h")
    peak_bytes = float(np.max(step.memory.total_bytes))
    metrics["peak_memory_bytes"] = Metric(peak_bytes, "B", 0.7 * peak_bytes, 1.4 * peak_bytes, "D")
    power = wall_power(chip)
    if power is not None:
        joules = power.watts * HOUR_S * hours_per_token
        metrics["joules_per_token"] = Metric(
            joules, "J", power.low_watts / power.watts * joules * band[0], joules * band[1], "D"
        )
    if load.tokens is not None:
        hours = hours_per_token * float(load.tokens)
        metrics["gpu_hours"] = time(hours, "GPU h")
        if rate is not None:
            metrics["usd_per_run"] = time(hours * in_usd(rate), "USD")
    return metrics


def _breakdown(step: TrainingStep) -> tuple[Line, ...]:
    total = float(np.max(step.step_s))
    m = float(np.max(step.micro_batches))
    lines = []
    for t in step.timed:
        seconds = float(np.max(t.total_s)) * m
        bound = t.each.bound if isinstance(t.item, Op) else "network"
        lines.append(
            Line(t.item.name, seconds, seconds / total, bound, t.each.grade, getattr(t.item, "family", "network"))
        )
    merged: dict[str, Line] = {}
    for line in lines:
        old = merged.get(line.name)
        merged[line.name] = (
            line if old is None else replace(old, time_s=old.time_s + line.time_s, share=old.share + line.share)
        )
    for name, value in (
        ("pipeline bubble", step.bubble_s),
        ("gradient sync", step.gradient_s),
        ("optimizer", step.optimizer_s),
    ):
        seconds = float(np.max(value))
        merged[name] = Line(name, seconds, seconds / total, "schedule" if "bubble" in name else "network", "D", "step")
    rest = total - sum(line.time_s for line in merged.values())
    merged["launch gaps, host"] = Line("launch gaps, host", rest, rest / total, "latency", "D", "host")
    return tuple(sorted((line for line in merged.values() if line.time_s > 0), key=lambda line: -line.time_s))
