"""Validation: every measured point predicted, or refused with the reason; and how far off we are."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from costsim.errors import BadInput, DoesNotFit
from costsim.evidence.collective import predict_collective
from costsim.evidence.points import Point
from costsim.evidence.post_training import predict_post
from costsim.evidence.serving import predict_served, serving_plan
from costsim.predict.inference import predict_inference
from costsim.predict.report import Metric, Report
from costsim.predict.training import predict_chunk, predict_training
from costsim.spec.accelerator import Accelerator
from costsim.spec.base import listed
from costsim.spec.catalog import load_accelerator, load_model
from costsim.spec.model import ModelSpec
from costsim.spec.plan import (
    DecodeLoad,
    PrefillLoad,
    TrainingLoad,
    TrainingPlan,
)
from costsim.spec.training_framework import TrainingFramework, framework_in
from costsim.units import MEGA

_HOURS_PER_DAY = 24.0


@dataclass(frozen=True)
class Row:
    """One point beside its prediction. ``ape`` is |predicted/measured − 1|; ``error`` says why there is none."""

    point: Point
    predicted: float | None = None
    low: float | None = None
    high: float | None = None
    grade: str | None = None
    error: str | None = None

    @property
    def ratio(self) -> float | None:
        return None if self.predicted is None or self.point.value <= 0 else self.predicted / self.point.value

    @property
    def ape(self) -> float | None:
        return None if self.ratio is None else abs(self.ratio - 1.0)

    @property
    def inside(self) -> bool | None:
        if self.low is None or self.high is None:
            return None
        return self.low <= self.point.value <= self.high

    def json(self) -> dict[str, Any]:
        p = self.point
        return {
            "id": p.id, "kind": p.kind, "model": p.model, "accelerator": p.accelerator, "gpus": p.gpus,
            "precision": p.precision, "plan": p.plan, "load": p.load, "metric": p.metric, "value": p.value,
            "unit": p.unit, "source": p.source, "confidence": p.confidence, "notes": p.notes,
            "predicted": self.predicted, "low": self.low, "high": self.high, "grade": self.grade,
            "ape": self.ape, "error": self.error,
        }  # fmt: skip


def _at_least_one(point: Point, key: str, most: float = 1e6) -> float:
    """A count of the row, 1 where it states none."""
    value = point.number(key, 1.0)
    if not 1 <= value <= most:
        raise BadInput(f"{key} = {value:g}: must be from 1 to {most:g}")
    return value


def _prefill(point: Point, model: ModelSpec, chip: Accelerator) -> Report:
    load = PrefillLoad(point.number("isl"), point.number("tokens_per_gpu"), point.number("cached", 0.0))
    return predict_inference(model, chip, serving_plan(point, model, chip), load)


def _decode(point: Point, model: ModelSpec, chip: Accelerator) -> Report:
    load = DecodeLoad(
        point.number("context"),
        point.number("batch_per_gpu"),
        point.number("mtp_tokens", 0.0),
        point.number("mtp_acceptance", 0.0),
    )
    return predict_inference(model, chip, serving_plan(point, model, chip), load)


def _training(point: Point, model: ModelSpec, chip: Accelerator) -> Report:
    plan, load = training_question(point, model, chip)

    def ask(tried: TrainingPlan) -> Report:
        return predict_training(model, chip, tried, load)

    try:
        return ask(plan) if point.plan.get("recompute") else least_recompute(plan, ask, _rungs(point, plan, chip))
    except DoesNotFit:
        if "zero" in point.plan or point.plan.get("overlap") == "none" or point.number("pp", 1.0) > 1:
            raise
    # Tables name no sharding; a model that fits on one stage no other way ran with everything sharded.
    report = least_recompute(replace(plan, zero=3.0), ask)
    return replace(report, notes=(*report.notes, "zero is not stated: 3 is what fits"))


#: policies in the order in which a team turns to them as memory runs out
_MORE_RECOMPUTE = ("none", "mla_up_proj", "norm,act", "selective", "selective,mlp", "full")


def _rungs(point: Point, plan: TrainingPlan, chip: Accelerator) -> tuple[str, ...]:
    """Host memory comes first where a framework's recipes of fully sharded models use it."""
    offloads = framework_in(point.source).offload.rack and _rack(chip) and float(plan.zero) >= 3.0
    return ("none", "offload", *_MORE_RECOMPUTE[1:]) if offloads else _MORE_RECOMPUTE


def least_recompute(
    plan: TrainingPlan, predict: Callable[[TrainingPlan], Report], rungs: Sequence[str] = _MORE_RECOMPUTE
) -> Report:
    """Rows that name no recompute: the least that fits."""
    for recompute in rungs:
        try:
            report = predict(replace(plan, recompute=recompute))
        except DoesNotFit as error:
            refused = error
            continue
        note = f"recompute is not stated: {recompute} is the least that fits"
        return replace(report, notes=(*report.notes, note))
    raise refused


def training_question(point: Point, model: ModelSpec, chip: Accelerator) -> tuple[TrainingPlan, TrainingLoad]:
    """Plan and load of a training row.

    A row without precision ran in FP8 where the part has it (rows of that kind are tables of low-precision runs).
    DeepSeek's own runs route real text, by a router kept balanced; others force balance unless they say so. What a
    known framework's tables leave out is as its recipes set it.
    """
    if point.gpus is None:
        raise BadInput("the row states no gpus")
    pp, tp, cp = (_at_least_one(point, name) for name in ("pp", "tp", "cp"))
    dp = point.number("dp", point.gpus / (pp * tp * cp))
    micro = point.number("micro_batch", 1.0)
    batch = point.number("global_batch", point.number("micro_batches", 1.0) * micro * dp)
    schedule = point.plan.get("schedule") or "auto"
    schedule = "auto" if schedule == "none" else schedule
    layers = int(_at_least_one(point, "layers", model.layers)) if "layers" in point.plan else None
    comm = point.number("comm_sms", -1.0)
    framework = framework_in(point.source)
    beyond = point.number("ep", 1.0) > _domain(chip) and model.id not in framework.overlap.apart
    overlap = framework.overlap.beyond if beyond else "auto"
    default = "fp8" if chip.datasheet["fp8"].supported and chip.known("fp8") else "bf16"
    plan = TrainingPlan(
        point.gpus, tp=tp, pp=pp, vpp=point.number("vpp", 1.0), ep=point.number("ep", 1.0) if model.moe else 1.0, cp=cp,
        precision=_precision(point.precision) or default, recompute=point.plan.get("recompute") or "none",
        zero=point.number("zero", 1.0), schedule=schedule, overlap=point.plan.get("overlap") or overlap,
        routing=point.plan.get("routing", "trained" if schedule.startswith("dualpipe") else "balanced"),  # type: ignore[arg-type]
        comm_sms=None if comm < 0 else comm, layers=layers,
        graphs=framework.graphs.rack if _rack(chip) else "none",
        dispatcher=point.plan.get("dispatcher") or _dispatcher(framework, model, chip),
    )  # fmt: skip
    tokens = point.number("tokens", -1.0)
    return plan, TrainingLoad(point.number("seq"), batch, micro, None if tokens < 0 else tokens)


def _dispatcher(framework: TrainingFramework, model: ModelSpec, chip: Accelerator) -> str:
    if _rack(chip):
        return framework.dispatcher.rack
    return framework.dispatcher.free if model.moe is not None and model.moe.groups == 1 else "auto"


def _rack(chip: Accelerator) -> bool:
    """A scale-up domain beyond one node."""
    return _domain(chip) > chip.node_devices


def _domain(chip: Accelerator) -> float:
    return chip.datasheet["scale_up_domain"].value or 1.0


def _precision(text: str) -> str:
    """fp8 for every 8-bit recipe a table names (fp8-cs, mxfp8, …), fp4 for every 4-bit one (nvfp4)."""
    word = text.strip().lower()
    return next((dtype for dtype in ("fp8", "fp4") if dtype in word), word)


def _training_chunk(point: Point, model: ModelSpec, chip: Accelerator) -> Report:
    plan, load = training_question(point, model, chip)
    recompute = point.plan.get("recompute") or "norm,mla_up_proj"
    pp = max(1.0, plan.gpus / (point.number("ep", 1.0) * point.number("dp", 1.0)))
    return predict_chunk(model, chip, replace(plan, recompute=recompute, pp=pp), load)


def _training_run(point: Point, model: ModelSpec, chip: Accelerator) -> Report:
    """Steps of equal batches until all tokens are seen: the hours of the run proper, without restarts or ramps."""
    report = _training(point, model, chip)
    hours = report.metrics.get("gpu_hours")
    if hours is None:
        raise BadInput("the row states no tokens")
    return replace(report, metrics={**report.metrics, "pretrain_gpu_hours": hours})


def _fleet(point: Point, _model: ModelSpec, chip: Accelerator) -> Report:
    """A day's bill and theoretical income: arithmetic on stated nodes, tokens and prices."""
    if point.metric == "usd_per_day":
        value = point.number("nodes") * chip.node_devices * _HOURS_PER_DAY * point.number("usd_per_gpu_h")
    elif point.metric == "usd_revenue_per_day":
        hit = point.number("cache_hit_tokens")
        miss = point.number("input_tokens") - hit
        value = (hit * point.number("usd_per_mtok_hit") + miss * point.number("usd_per_mtok_miss")
                 + point.number("output_tokens") * point.number("usd_per_mtok_out")) / MEGA  # fmt: skip
    else:
        raise BadInput(f"metric {point.metric} of a fleet day is not computed; usd_per_day and usd_revenue_per_day are")
    if not 0 < value < math.inf:
        raise BadInput(f"{point.metric} = {value:g}: nodes, tokens and prices must be above zero")
    return Report("fleet", {}, {point.metric: Metric(value, "USD", 0.98 * value, 1.02 * value, "A")})


_KINDS: dict[str, Callable[[Point, ModelSpec, Accelerator], Report]] = {
    "prefill": _prefill,
    "decode": _decode,
    "serving": predict_served,
    "training": _training,
    "post_training": predict_post,
    "training_chunk": _training_chunk,
    "training_run": _training_run,
    "fleet": _fleet,
}


def predict_point(point: Point, known: dict[Any, Report] | None = None) -> Row:
    """Predict one point, or say why not. A defect still raises: nothing is skipped silently.

    ``known`` keeps reports, for several metrics of one run are rows of their own.
    """
    try:
        ask = _KINDS.get(point.kind)
        if ask is None and point.kind != "collective":
            raise BadInput(f"points of kind {point.kind} are not predicted yet; {', '.join(_KINDS)}, collective are")
        key = (point.kind, point.model, point.accelerator, point.gpus, point.precision, point.source,
               *sorted(point.plan.items()), *sorted(point.load.items()))  # fmt: skip
        report = known.get(key) if known is not None and point.kind == "serving" else None
        if report is None:
            chip = load_accelerator(listed(point.accelerator))
            if ask is None:
                report = predict_collective(point, chip)
            else:
                report = ask(point, load_model(listed(point.model)), chip)
            if known is not None:
                known[key] = report
        metric = report.metrics.get(point.metric)
        if metric is None:
            raise BadInput(f"metric {point.metric} is not predicted; {', '.join(report.metrics)} are")
        return Row(point, metric.value, metric.low, metric.high, metric.grade)
    except BadInput as error:
        return Row(point, error=str(error))


def validate(points: Iterable[Point]) -> list[Row]:
    """Every point beside its prediction, in order."""
    known: dict[Any, Report] = {}
    return [predict_point(point, known) for point in points]


def summarise(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """MAPE, median and P90 APE, signed bias and share inside the band, by kind, model, accelerator and metric."""
    groups: dict[tuple[str, str, str, str], list[Row]] = {}
    for row in rows:
        p = row.point
        groups.setdefault((p.kind, p.model, p.accelerator, p.metric), []).append(row)
    out = [
        dict(zip(("kind", "model", "accelerator", "metric"), key, strict=True)) | statistics(group)
        for key, group in groups.items()
    ]
    return sorted(out, key=lambda entry: (entry["kind"], entry["model"], entry["accelerator"], entry["metric"]))


def _speed_ratio(row: Row) -> float | None:
    """Predicted over measured speed: a time counts inverted; None for what is neither a time nor a rate."""
    if not row.ratio:
        return None
    if row.point.unit in ("s", "h", "GPU h"):
        return 1.0 / row.ratio
    return row.ratio if row.point.unit in ("token/s", "FLOP/s") or row.point.metric.startswith("mfu") else None


def statistics(rows: Sequence[Row]) -> dict[str, Any]:
    """Error statistics of the rows that have a prediction.

    ``bias`` is the mean of predicted/measured − 1 and means something among rows of one metric; ``too_fast`` is the
    geometric mean of predicted over measured speed − 1, over rows that are a time or a rate: one sign for both.
    """
    fast = np.array([ratio for row in rows if (ratio := _speed_ratio(row)) is not None])
    apes = np.array([row.ape for row in rows if row.ape is not None])
    ratios = np.array([row.ratio for row in rows if row.ratio is not None])
    inside = [row.inside for row in rows if row.inside is not None]
    nan = math.nan

    def of(values: Any, f: Callable[[Any], Any]) -> float | None:
        result = float(f(values)) if len(values) else nan
        return None if math.isnan(result) else result

    return {
        "n": len(rows),
        "predicted": len(apes),
        "mape": of(apes, np.mean),
        "median_ape": of(apes, np.median),
        "p90_ape": of(apes, lambda v: np.quantile(v, 0.9)),
        "bias": of(ratios, lambda v: np.mean(v) - 1.0),
        "too_fast": of(fast, lambda v: np.exp(np.mean(np.log(v))) - 1.0),
        "inside_band": of(np.array(inside, dtype=float), np.mean),
    }
