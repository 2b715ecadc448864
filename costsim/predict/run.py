"""A whole training run: phases → GPU hours, USD, days, energy, stops, and the cost ladder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np

from costsim.economics.ladder import POWER, Job, Ladder, facility_w, ladder, spread
from costsim.errors import BadInput
from costsim.frames import Framed, Rows
from costsim.physics.parameters import parameters
from costsim.predict.report import Line, Metric, Report
from costsim.predict.training import predict_training, training_step
from costsim.spec.accelerator import Accelerator
from costsim.spec.assumption import Assumption, assume
from costsim.spec.catalog import load_accelerator
from costsim.spec.cluster import Cluster, standard_cluster
from costsim.spec.model import ModelSpec
from costsim.spec.plan import TrainingLoad, TrainingPlan
from costsim.spec.price import Price, cluster_price, default_rate, in_usd
from costsim.spec.run import PhaseSpec, RunSpec
from costsim.units import DAY_S, HOUR_S, KILO

#: steps into which a ramp of the batch is cut; tokens are shared evenly
RAMP_STEPS = 16
_NOTES = ("GPU hours are step times × steps, without stops or restarts, as the published 180K per trillion tokens are",)


@dataclass(frozen=True)
class PhaseResult:
    """GPU hours of one phase with the band of its step; ``stated`` hours were given, not predicted."""

    spec: PhaseSpec
    gpu_hours: float
    low_hours: float
    high_hours: float
    grade: str
    step_s: float | None
    stated: bool


@dataclass(frozen=True)
class RunResult(Framed):
    """What a run takes; ``published`` is the ladder on the published hours where the recipe holds all of them."""

    spec: RunSpec
    phases: tuple[PhaseResult, ...]
    ladder: Ladder | None
    published: Ladder | None
    report: Report
    published_hours: Mapping[str, float]

    def rows(self) -> Rows:
        """The report's tables, ``phases``, and ``ladder``: each rung on predicted and on published hours."""
        ladders = {"predicted": self.ladder, "published": self.published}
        return {
            **self.report.rows(),
            "phases": [
                {"phase": p.spec.name, "gpu_hours": p.gpu_hours, "low": p.low_hours, "high": p.high_hours,
                 "grade": p.grade, "stated": p.stated}
                for p in self.phases
            ],
            "ladder": [
                {"hours": name, "rung": rung.id, "usd": rung.usd, "low": rung.low_usd, "high": rung.high_usd,
                 "grade": rung.grade}
                for name, found in ladders.items() if found is not None for rung in found.rungs
            ],
        }  # fmt: skip

    @property
    def gpu_hours(self) -> float:
        return sum(phase.gpu_hours for phase in self.phases)


def ramp_batches(phase: PhaseSpec, unit: int) -> tuple[np.ndarray, np.ndarray]:
    """(batches, tokens at each): midpoints of RAMP_STEPS even shares of the ramp, then the full batch.

    Batches are rounded to multiples of ``unit`` (micro_batch × dp), as a training job must.
    """
    total = phase.all_tokens
    if phase.ramp_from is None:
        return np.array([_multiple(phase.global_batch, unit)]), np.array([total])
    share = (np.arange(RAMP_STEPS) + 0.5) / RAMP_STEPS
    ramp = phase.ramp_from + share * (phase.global_batch - phase.ramp_from)
    batches = np.array([_multiple(value, unit) for value in (*ramp, phase.global_batch)])
    each = phase.ramp_tokens / RAMP_STEPS
    return batches, np.array([*[each] * RAMP_STEPS, total - phase.ramp_tokens])


def _multiple(value: float, unit: int) -> float:
    return float(max(round(value / unit), 1) * unit)


def _predict_phase(
    phase: PhaseSpec, model: ModelSpec, chip: Accelerator, plan: TrainingPlan, cluster: Cluster, micro_batch: float
) -> tuple[PhaseResult, Report]:
    """Hours of one phase: seconds a token at every batch of its ramp, summed over its tokens."""
    changed = {name: getattr(phase, name) for name in ("cp", "recompute") if getattr(phase, name) is not None}
    own = replace(plan, **changed)
    micro = float(phase.micro_batch or micro_batch)
    ranks = float(own.gpus) * chip.dies / (float(own.tp) * float(own.pp) * float(own.cp))
    # a bidirectional schedule takes micro-batches in twos
    unit = int(max(ranks * micro, 1)) * (2 if own.schedule.startswith("dualpipe") else 1)
    batches, tokens = ramp_batches(phase, unit)
    full = TrainingLoad(seq=phase.seq, global_batch=batches[-1], micro_batch=micro, tokens=phase.all_tokens)
    try:
        report = predict_training(model, chip, own, full, None, cluster)
    except BadInput as error:
        raise type(error)(f"phase {phase.name}: {error}") from None
    seconds = np.array([report["step_s"]])
    if len(batches) > 1:
        step, _ = training_step(model, chip, own, replace(full, global_batch=batches), cluster, strict=False)
        # the closed form says how the step changes with the batch, the report how long the full one takes
        closed = np.broadcast_to(np.asarray(step.step_s, dtype=float), batches.shape)
        seconds = closed * (seconds / closed[-1])
    hours = float(np.sum(tokens / (batches * phase.seq) * seconds)) * float(own.gpus) / HOUR_S
    metric = report.metrics["step_s"]
    low, high = (hours * (end or metric.value) / metric.value for end in (metric.low, metric.high))
    return PhaseResult(phase, hours, low, high, metric.grade, metric.value, False), report


def training_run(
    model: ModelSpec, chip: Accelerator, spec: RunSpec, plan: TrainingPlan, micro_batch: float = 1,
    price: Price | None = None, cluster: Cluster | None = None, assumptions: Mapping[str, Assumption] | None = None,
) -> RunResult:  # fmt: skip
    """Predict every phase of ``spec`` on one layout and put the cost ladder on top. Raises BadInput by phase."""
    where = cluster or standard_cluster(chip, int(plan.gpus))
    rate = price if price is not None else default_rate(chip)
    chosen = assume() if assumptions is None else assumptions
    phases, reports = [], []
    for phase in spec.phase:
        if phase.gpu_hours is not None:
            hours = phase.gpu_hours
            phases.append(PhaseResult(phase, hours, hours, hours, "A", None, True))
            continue
        result, report = _predict_phase(phase, model, chip, plan, where, micro_batch)
        phases.append(result)
        reports.append(report)
    total = [sum(getattr(p, name) for p in phases) for name in ("gpu_hours", "low_hours", "high_hours")]
    grade = max(p.grade for p in phases)
    steps = published = None
    told = spec.published_hours(chip.id)
    job = _job(model, chip, plan, rate, (total[0], total[1], total[2]), grade)
    if job is not None:
        steps = ladder(job, chosen)
        if {p.kind for p in spec.phase} <= set(told):
            known = sum(told.values())
            published = ladder(replace(job, gpu_hours=known, low_hours=known, high_hours=known, grade="A"), chosen)
    report = _report(model, chip, spec, plan, rate, phases, reports, steps, chosen)
    asked = {"micro_batch": micro_batch, "cluster": where.id,
             "phases": [phase.model_dump(exclude_none=True) for phase in spec.phase]}  # fmt: skip
    report = replace(report, inputs={**report.inputs, **asked})
    return RunResult(spec, tuple(phases), steps, published, report, told)


def predict_run(
    model: ModelSpec, chip: Accelerator, spec: RunSpec, plan: TrainingPlan, micro_batch: float = 1,
    price: Price | None = None, cluster: Cluster | None = None, assumptions: Mapping[str, Assumption] | None = None,
) -> Report:  # fmt: skip
    """:func:`training_run` as one Report: hours by phase, USD, days, goodput, energy and the rungs."""
    return training_run(model, chip, spec, plan, micro_batch, price, cluster, assumptions).report


def _job(
    model: ModelSpec, chip: Accelerator, plan: TrainingPlan, rate: Price | None, hours: tuple[float, float, float],
    grade: str,
) -> Job | None:  # fmt: skip
    """The run as the ladder takes it; None where a rental price, a purchase price or the TDP is unknown."""
    card, tdp = cluster_price(chip), _tdp(chip)
    if rate is None or card is None or tdp is None:
        return None
    return Job(
        gpu_hours=hours[0], low_hours=hours[1], high_hours=hours[2], cards=float(plan.gpus), usd_per_h=in_usd(rate),
        card_usd=card[0], all_in=card[1], tdp_w=tdp, parameters=float(parameters(model).total), grade=grade,
        node_cards=float(chip.node_devices),
    )  # fmt: skip


def _tdp(chip: Accelerator) -> float | None:
    """TDP of the card, or of its sibling."""
    for owner in (chip, None if chip.sibling is None else load_accelerator(chip.sibling)):
        if owner is not None and owner.known("tdp"):
            return owner.need("tdp")
    return None


def _report(
    model: ModelSpec, chip: Accelerator, spec: RunSpec, plan: TrainingPlan, rate: Price | None,
    phases: Sequence[PhaseResult], reports: Sequence[Report], steps: Ladder | None, chosen: Mapping[str, Assumption],
) -> Report:  # fmt: skip
    hours = sum(p.gpu_hours for p in phases)
    wall = hours / float(plan.gpus) * HOUR_S
    lines = tuple(
        Line(p.spec.name, p.gpu_hours / float(plan.gpus) * HOUR_S, p.gpu_hours / hours,
             "stated" if p.stated else "predicted", p.grade, "phase")
        for p in phases
    )  # fmt: skip
    price = None if rate is None else {"id": rate.id, "text": rate.text, "usd_per_h": in_usd(rate)}
    bib = [key for report in reports for key in report.sources]
    bib += [spec.source] if spec.source else []
    bib += [key for a in chosen.values() for key in a.sources]
    told = spec.published_hours(chip.id)
    notes = list(_NOTES) + [f"{p.name}: {p.note}" for p in spec.phase if p.note]
    if spec.accelerator not in ("", chip.id) and any(p.stated for p in phases):
        notes.append(f"stated hours are those of {spec.accelerator}, taken over unchanged")
    if rate is None:
        notes.append("no hourly price known: no USD and no ladder")
    elif steps is None:
        notes.append("no purchase price or TDP known for the card: no cost ladder, no energy")
    return Report(
        kind="training_run",
        inputs={
            "model": model.id, "accelerator": chip.id, "run": spec.id, "plan": asdict(plan), "price": price,
            "published_gpu_hours": told, "assumptions": {name: a.shown for name, a in chosen.items()},
        },
        metrics=_metrics(chip, phases, steps, chosen, wall),
        breakdown=lines,
        sources=tuple(dict.fromkeys(bib)),
        notes=tuple(notes),
    )  # fmt: skip


def _metrics(
    chip: Accelerator, phases: Sequence[PhaseResult], steps: Ladder | None,
    chosen: Mapping[str, Assumption], wall_s: float,
) -> dict[str, Metric]:  # fmt: skip
    metrics: dict[str, Metric] = {}
    for kind in dict.fromkeys(p.spec.kind for p in phases):
        name = kind.lower().replace("-", "_").replace(" ", "_") + "_gpu_hours"
        metrics[name] = _hours([p for p in phases if p.spec.kind == kind])
    metrics["gpu_hours"] = total = _hours(phases)
    low, high = ((end or total.value) / total.value for end in (total.low, total.high))
    days = wall_s / DAY_S
    metrics["days"] = Metric(days, "d", days * low, days * high, total.grade)
    if steps is None:
        return metrics
    kept = steps.goodput
    bands = steps.bands
    metrics["goodput"] = Metric(kept, "ratio", bands["goodput"][0], min(bands["goodput"][1], 1.0), "D")
    metrics["days_with_stops"] = Metric(days / kept, "d", days / kept * low, days / kept * high, "D")
    stops = wall_s / kept / steps.mtbf_s
    rarer = [steps.mtbf_s / end for end in bands["mtbf_s"]]
    metrics["stops"] = Metric(stops, "", *spread(stops, [(rarer[0] * stops, rarer[1] * stops),
                                                         (low * stops, high * stops)]), "D")  # fmt: skip
    metrics["checkpoint_interval_s"] = Metric(steps.interval_s, "s", *bands["interval_s"], "D")
    metrics["checkpoint_s"] = Metric(steps.checkpoint_s, "s", *bands["checkpoint_s"], "D")
    values = {name: a.value for name, a in chosen.items()}
    tdp = _tdp(chip) or 0.0
    watts = facility_w(tdp, values)
    energy = watts / KILO * total.value / KILO
    ends = [(values | {n: chosen[n].low}, values | {n: chosen[n].high}) for n in POWER]
    drawn = [(energy * facility_w(tdp, a) / watts, energy * facility_w(tdp, b) / watts) for a, b in ends]
    metrics["energy_mwh"] = Metric(energy, "MWh", *spread(energy, [*drawn, (energy * low, energy * high)]), "D")
    for rung in steps.rungs:
        metrics[f"{rung.id}_usd"] = Metric(rung.usd, "USD", rung.low_usd, rung.high_usd, rung.grade)
    metrics["cash_usd"] = Metric(steps.cash_usd, "USD", steps.cash_low_usd, steps.cash_high_usd, "D")
    return metrics


def _hours(phases: Sequence[PhaseResult]) -> Metric:
    value, low, high = (sum(getattr(p, n) for p in phases) for n in ("gpu_hours", "low_hours", "high_hours"))
    return Metric(value, "GPU h", low, high, max(p.grade for p in phases))
