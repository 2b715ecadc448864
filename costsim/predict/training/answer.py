"""Predict one training plan: the event timeline where it can be played, memory by rank, metrics, bands, breakdown."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from costsim.economics.cost import wall_power
from costsim.errors import DoesNotDivide, OutOfRange
from costsim.num import single
from costsim.physics.op import Op, Wire
from costsim.predict.bands import sources_of
from costsim.predict.layout import refuse
from costsim.predict.question import check_values
from costsim.predict.report import Line, Metric, Report
from costsim.predict.training.bands import Band, step_band
from costsim.predict.training.chunk import layer_pair, play, wall_s
from costsim.predict.training.fits import memory_by_rank, offloaded, refuse_memory
from costsim.predict.training.pipeline import Played, playable, played
from costsim.predict.training.setting import TrainingSetting, training_rules, training_setting
from costsim.predict.training.step import TrainingStep, closed_form
from costsim.predict.training.sync import send_seconds
from costsim.schedule import Timeline
from costsim.spec.accelerator import Accelerator
from costsim.spec.cluster import Cluster, standard_cluster
from costsim.spec.model import ModelSpec
from costsim.spec.plan import TrainingLoad, TrainingPlan
from costsim.spec.price import Price, default_rate, in_usd
from costsim.units import DAY_S, GIGA, HOUR_S

#: how a note ends that says which option an answer did not use
LEFT_OUT = ": left out"
_SOURCES = ("megatron-1f1b", "deepseek-v3-report")


@dataclass(frozen=True)
class Parts:
    """Seconds of one step on the first pipeline rank; they add up to ``step_s``.

    ``backward_s`` holds the weight gradients that run with it; ``weight_s`` those that were put off.
    """

    forward_s: float
    backward_s: float
    weight_s: float
    pair_s: float
    bubble_s: float
    gradient_s: float
    optimizer_s: float
    host_s: float

    @property
    def step_s(self) -> float:
        return float(sum(asdict(self).values()))


def predict_training(
    model: ModelSpec,
    chip: Accelerator,
    plan: TrainingPlan,
    load: TrainingLoad,
    price: Price | None = None,
    cluster: Cluster | None = None,
) -> Report:
    """Step time and its parts, MFU (causal and not, against the BF16 peak), memory, GPU hours and USD of a run.

    Schedules are played task by task with each stage's own seconds. Raises BadInput for what cannot be answered and
    DoesNotFit, with the nearest change that fits.
    """
    check_values(plan, load)
    cluster = cluster or standard_cluster(chip, int(plan.gpus))
    setting = training_setting(model, chip, plan, load, cluster)
    rules = training_rules(model, chip, plan, load)
    refuse(rules, DoesNotDivide)
    step = closed_form(setting, rules)
    game = played(setting, single(send_seconds(setting))) if playable(setting) else None
    parts = parts_of(setting, step, game)
    memory = offloaded(setting, memory_by_rank(setting, game), parts.step_s)
    refuse_memory(setting, memory)
    rate = price if price is not None else default_rate(chip)
    band = step_band(setting, step, parts)
    return Report(
        kind="training",
        inputs={
            "model": model.id, "accelerator": chip.id, "cluster": cluster.id, "plan": _plan(setting),
            "load": asdict(load),
            "price": None if rate is None else {"id": rate.id, "text": rate.text, "usd_per_h": in_usd(rate)},
        },
        metrics=_metrics(setting, step, parts, band, memory["allocated_bytes"], rate, game),
        breakdown=_breakdown(step, parts),
        memory=memory,
        sources=tuple(dict.fromkeys([
            *sources_of(t.each.fitted for t, _ in step.timed), *setting.constants.sources, *_SOURCES,
        ])),
        notes=(*_notes(setting, game, rate), *_in_host(memory)),
    )  # fmt: skip


def timeline_of(
    model: ModelSpec, chip: Accelerator, plan: TrainingPlan, load: TrainingLoad, cluster: Cluster | None = None
) -> Timeline:
    """Every task of one step on every pipeline rank. Raises BadInput, also where there are too many to play."""
    check_values(plan, load)
    cluster = cluster or standard_cluster(chip, int(plan.gpus))
    refuse(training_rules(model, chip, plan, load), DoesNotDivide)
    setting = training_setting(model, chip, plan, load, cluster)
    if not playable(setting):
        raise OutOfRange("timeline: too many tasks to play; give fewer micro-batches (global_batch) or pipeline stages")
    return played(setting, single(send_seconds(setting))).timeline


def _plan(setting: TrainingSetting) -> dict[str, Any]:
    """The plan with its words resolved."""
    return asdict(setting.plan) | {"schedule": setting.schedule, "overlap": setting.overlap,
                                   "framework": "deepseek" if setting.recipe.block_scaled else "megatron"}  # fmt: skip


def _notes(setting: TrainingSetting, game: Played | None, rate: Price | None) -> tuple[str, ...]:
    where = "played task by task; parts are those of the first pipeline rank" if game else "closed form: too many tasks"
    notes = [
        f"{setting.schedule} schedule, {where}",
        "MFU divides useful work of the main model by the dense BF16 peak, as DeepSeek's does; FP8 may pass 1",
    ]
    if setting.recipe.copies and setting.model.moe is not None:
        notes.append("experts reached by plain all-to-all, one copy of a token for each of its experts")
    if setting.plan.comm_sms is not None and setting.overlap != "pair":
        notes.append(f"comm_sms counts under overlap pair alone, not {setting.overlap}{LEFT_OUT}")
    return (*notes, "no hourly price known: no USD" if rate is None else f"price: {rate.text} from {rate.id}")


def _in_host(memory: dict[str, float]) -> tuple[str, ...]:
    """What an offloading step keeps in host memory."""
    size = memory.get("host_bytes", 0.0)
    note = f"{size / GIGA:.1f} GB of activations a micro-batch wait in host memory, streamed beside compute"
    return (note,) if size else ()


def parts_of(setting: TrainingSetting, step: TrainingStep, game: Played | None) -> Parts:
    """The first rank's parts: from the timeline, else from the closed form."""
    from costsim.predict.system import system_of

    after = (single(step.gradient_s), single(step.optimizer_s), system_of(setting.chip).step_host_s)
    if game is None:
        return Parts(single(step.forward_s), single(step.backward_s), single(step.weight_s), single(step.pair_s),
                     max(single(step.bubble_s), 0.0), *after)  # fmt: skip
    parts = {name: float(values[0]) for name, values in game.timeline.parts().items()}
    return Parts(parts["forward_s"], parts["backward_s"], parts["weight_s"], parts["pair_s"], parts["bubble_s"], *after)


def _metrics(
    setting: TrainingSetting, step: TrainingStep, parts: Parts, band: Band, peak_bytes: float, rate: Price | None,
    game: Played | None,
) -> dict[str, Metric]:  # fmt: skip
    plan, load, device = setting.plan, setting.load, setting.device
    seconds, cards = parts.step_s, float(plan.gpus)
    tokens = float(load.global_batch) * float(load.seq)
    peak = device.peak("bf16") * setting.chip.dies * cards
    ceiling = device.peak(plan.precision) / device.peak("bf16")
    causal, full = single(step.flop), single(step.flop_full)

    def time(value: float, unit: str = "s", wide: float = 1.0) -> Metric:
        low, high = max(1.0 - wide * (1.0 - band.low), 0.0), 1.0 + wide * (band.high - 1.0)
        return Metric(value, unit, value * low, value * high, band.grade)

    def per_s(value: float, unit: str) -> Metric:
        high = value / band.low
        return Metric(value, unit, value / band.high, high if unit else max(min(high, ceiling), value), band.grade)

    metrics = {
        "step_s": time(seconds),
        "forward_only_s": time(parts.forward_s, wide=1.5), "backward_only_s": time(parts.backward_s, wide=1.5),
        "weight_only_s": time(parts.weight_s, wide=1.5), "forward_backward_s": time(parts.pair_s),
        "bubble_s": time(parts.bubble_s, wide=2.5), "optimizer_s": time(parts.gradient_s + parts.optimizer_s, wide=1.5),
        "gradient_sync_s": time(parts.gradient_s, wide=1.5),
        "exposed_comm_s": time(single(step.exposed_s), wide=1.5),
        "hidden_comm_s": time(single(step.hidden_s), wide=1.5),
        "tokens_per_s_per_gpu": per_s(tokens / seconds / cards, "token/s"),
        "tokens_per_day": per_s(tokens / seconds * DAY_S, "token"),
        "mfu_causal": per_s(causal / seconds / peak, ""),
        "mfu_noncausal": per_s(full / seconds / peak, ""),
        "tflops_per_gpu_causal": per_s(causal / seconds / cards / 1e12, "TFLOP/s"),
        "tflops_per_gpu_noncausal": per_s(full / seconds / cards / 1e12, "TFLOP/s"),
    }  # fmt: skip
    if game is not None and setting.overlap == "pair":
        n = game.layout.stages
        pair = float(np.mean([game.times.pairs_s[i, n - 1 - i] for i in range(n)]))
        metrics["forward_backward_pair_s"] = time(pair)
    hours_per_token = seconds * cards / HOUR_S / tokens
    metrics["gpu_hours_per_trillion_tokens"] = time(hours_per_token * 1e12, "GPU h")
    metrics["peak_memory_bytes"] = Metric(peak_bytes, "B", 0.97 * peak_bytes, 1.03 * peak_bytes, "B")
    power = wall_power(setting.chip)
    if power is not None:
        joules = power.watts * HOUR_S * hours_per_token
        low = power.low_watts / power.watts * joules * band.low
        metrics["joules_per_token"] = Metric(joules, "J", low, joules * band.high, "D")
    if load.tokens is not None:
        hours = hours_per_token * float(load.tokens)
        metrics["gpu_hours"] = time(hours, "GPU h")
        if rate is not None:
            metrics["usd_per_run"] = time(hours * in_usd(rate), "USD")
    # A part that a schedule does not have is left out; cards that cost nothing are an answer.
    return {name: metric for name, metric in metrics.items() if metric.value > 0 or name.startswith("usd")}


def _breakdown(step: TrainingStep, parts: Parts) -> tuple[Line, ...]:
    """Every op with its seconds in a step on a mean rank; what pairs hide is marked, and the rest of the step named."""
    total = parts.step_s
    merged: dict[str, Line] = {}
    shown = 0.0
    for timed, often in step.timed:
        item = timed.item
        wire = isinstance(item, Wire)
        seconds = single(timed.total_s) * single(often)
        if seconds <= 0:
            continue
        hidden = wire and item.part in ("dispatch", "combine") and parts.pair_s > 0
        family = item.family if isinstance(item, Op) else "network"
        line = Line(item.name, seconds, seconds / total, "network" if wire else timed.each.bound, timed.each.grade,
                    family, hidden)  # fmt: skip
        old = merged.get(line.name)
        merged[line.name] = line if old is None else replace(
            old, time_s=old.time_s + seconds, share=old.share + line.share
        )  # fmt: skip
        shown += 0.0 if hidden else seconds
    for name, seconds in (("pipeline bubble", parts.bubble_s), ("optimizer", parts.optimizer_s)):
        merged[name] = Line(name, seconds, seconds / total, "schedule" if "bubble" in name else "memory", "D", "step")
        shown += seconds
    rest = total - shown
    name = "slower kernels beside transfers, stragglers" if parts.pair_s > 0 else "stragglers, host"
    if rest > 0:
        merged[name] = Line(name, rest, rest / total, "latency", "D", "host")
    return tuple(sorted((line for line in merged.values() if line.time_s > 0), key=lambda line: -line.time_s))


def predict_chunk(
    model: ModelSpec, chip: Accelerator, plan: TrainingPlan, load: TrainingLoad, cluster: Cluster | None = None
) -> Report:
    """One overlapped forward and backward of ``layers`` routed layers, as published traces hold it.

    ``forward_backward_pair_s`` is its wall time; the breakdown lists the phases, transfers marked as overlapped.
    """
    check_values(plan, load)
    cluster = cluster or standard_cluster(chip, int(plan.gpus))
    layers = int(plan.layers or 1)
    plan = replace(plan, layers=None)
    setting = training_setting(model, chip, plan, load, cluster)
    from costsim.predict.training.blocks import beside_transfers, blocks_of
    from costsim.predict.training.constants import slowest

    slow = slowest(setting.ranks, setting.constants.speed_spread)
    pair = layer_pair(beside_transfers(blocks_of(setting, 1.0, slow)), "moe" if model.moe_layers else "dense")
    tasks = play(pair, layers)
    wall = single(wall_s(tasks))
    step = closed_form(setting, [])
    band = step_band(setting, step, None)
    phases: dict[str, float] = {}
    for task in tasks:
        phases[task.name] = phases.get(task.name, 0.0) + single(task.time_s)
    lanes = {task.name: task.lane for task in tasks}
    lines = tuple(
        Line(name, seconds, seconds / wall, lanes[name], band.grade, "phase", lanes[name] == "wire")
        for name, seconds in sorted(phases.items(), key=lambda item: -item[1])
    )
    metrics = {"forward_backward_pair_s": Metric(wall, "s", wall * band.low, wall * band.high, band.grade)}
    inputs = {"model": model.id, "accelerator": chip.id, "plan": asdict(plan) | {"layers": layers}}
    return Report("training_chunk", inputs | {
                  "load": asdict(load)}, metrics, lines, sources=setting.constants.sources)  # fmt: skip
