"""A whole recipe: every stage predicted, GPU hours and USD added up."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from costsim.predict.post_training import predict_post_training
from costsim.predict.report import Line, Metric, Report
from costsim.spec.catalog import load_accelerator, load_model
from costsim.spec.cluster import Cluster
from costsim.spec.post_training import PostTrainingLoad
from costsim.spec.price import Price, default_rate, in_usd
from costsim.spec.recipe import Recipe, Stage
from costsim.units import HOUR_S

#: mean lengths of a recipe are read off published curves or assumed: a quarter either way
LENGTH_DOUBT = 0.25


@dataclass(frozen=True)
class StageCost:
    """GPU hours of a stage with its band, its seconds by part, and the report of its longest segment."""

    stage: Stage
    model: str
    gpus: float
    steps: float
    gpu_hours: Metric
    parts: dict[str, float]
    report: Report


def predict_recipe(
    recipe: Recipe, price: Price | None = None, cluster: Cluster | None = None, accelerator: str | None = None
) -> tuple[Report, list[StageCost]]:
    """Every stage in turn; the Report adds them up. ``accelerator`` asks what it would cost on other cards."""
    chip = load_accelerator(accelerator or recipe.accelerator)
    rate = price if price is not None else default_rate(chip)
    costs = [_stage(recipe, stage, rate, cluster, accelerator) for stage in recipe.stage]
    metrics = {"gpu_hours": _sum([c.gpu_hours for c in costs], "GPU h")}
    whole = metrics["gpu_hours"]
    if rate is not None:
        usd = in_usd(rate)
        metrics["usd_per_run"] = Metric(usd * whole.value, "USD", usd * (whole.low or 0), usd * (whole.high or 0), "D")
    hours = sum(c.gpu_hours.value / c.gpus for c in costs)
    metrics["wall_clock_days"] = Metric(
        hours / 24.0,
        "d",
        hours / 24.0 * (whole.low or 0) / whole.value,
        hours / 24.0 * (whole.high or 0) / whole.value,
        "D",
    )
    if recipe.published_gpu_hours:
        metrics["published_gpu_hours"] = Metric(recipe.published_gpu_hours, "GPU h", None, None, "A")
    total_s = hours * HOUR_S
    lines = [
        Line(f"{c.stage.name}: {name}" if len(costs) > 1 else name, s, s / total_s, "phase", "D", "phase")
        for c in costs
        for name, s in c.parts.items()
        if s > 0
    ]
    report = Report(
        kind="post_training_recipe",
        inputs={
            "recipe": recipe.id,
            "model": recipe.model,
            "accelerator": chip.id,
            "gpus": recipe.gpus,
            "price": None if rate is None else {"id": rate.id, "text": rate.text, "usd_per_h": in_usd(rate)},
        },
        metrics=metrics,
        breakdown=tuple(sorted(lines, key=lambda line: -line.time_s)),
        memory=max(costs, key=lambda c: c.gpu_hours.value).report.memory,
        sources=tuple(dict.fromkeys([*recipe.source, *(key for c in costs for key in c.report.sources)])),
        notes=tuple(
            n
            for n in (recipe.notes, *(f"{c.stage.name}: assumed: {c.stage.assumed}" for c in costs if c.stage.assumed))
            if n
        ),
    )
    return report, costs


def _sum(metrics: list[Metric], unit: str) -> Metric:
    """Bands add up linearly: stages share their model errors."""
    return Metric(
        sum(m.value for m in metrics),
        unit,
        sum(m.low or m.value for m in metrics),
        sum(m.high or m.value for m in metrics),
        "D",
    )


def _stage(
    recipe: Recipe, stage: Stage, rate: Price | None, cluster: Cluster | None, accelerator: str | None
) -> StageCost:
    model, chip = load_model(stage.model or recipe.model), load_accelerator(accelerator or recipe.accelerator)
    plan = recipe.plan(stage)
    cards = float(np.max(plan.gpus))
    if stage.fine_tuning is not None:
        report = predict_post_training(model, chip, plan, stage.fine_tuning, rate, cluster)
        steps = report["optimizer_steps"]
        parts = {line.name: line.time_s * steps for line in report.breakdown}
        return StageCost(stage, model.id, cards, steps, report.metrics["gpu_hours"], parts, report)
    reports = []
    asked = stage.answers
    assert asked is not None
    ends = zip(asked.at, asked.at[1:], asked.response_mean, asked.response_mean[1:], strict=False)
    for first, last, before, after in ends:
        load = PostTrainingLoad(
            prompts=asked.prompts,
            group=asked.group,
            response_mean=(before + after) / 2.0,
            response_max=asked.response_max,
            prompt_mean=asked.prompt_mean,
            updates=asked.updates,
            steps=last - first,
        )
        reports.append((load, predict_post_training(model, chip, plan, load, rate, cluster)))
    parts = {}
    for load, report in reports:
        rollouts = float(load.steps or 0.0) / asked.updates
        for line in report.breakdown:
            parts[line.name] = parts.get(line.name, 0.0) + line.time_s * rollouts * (not line.overlapped)
    longest = max((report for _, report in reports), key=lambda r: r["gpu_hours"])
    hours = _sum([report.metrics["gpu_hours"] for _, report in reports], "GPU h")
    load = max(reports, key=lambda pair: pair[1]["gpu_hours"])[0]
    longer = replace(load, response_mean=min(load.response_mean * (1.0 + LENGTH_DOUBT), load.response_max))
    swing = predict_post_training(model, chip, plan, longer, rate, cluster)["gpu_hours"] / longest["gpu_hours"] - 1.0
    return StageCost(stage, model.id, cards, asked.at[-1] - asked.at[0], _wider(hours, swing), parts, longest)


def _wider(metric: Metric, swing: float) -> Metric:
    """The band with one more independent doubt of ``swing`` either way."""
    down, up = (abs((end or metric.value) / metric.value - 1.0) for end in (metric.low, metric.high))
    low, high = 1.0 - float(np.hypot(down, swing)), 1.0 + float(np.hypot(up, swing))
    return replace(metric, low=metric.value * max(low, 0.1), high=metric.value * high)
