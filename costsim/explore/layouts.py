"""What a search asks of training layouts beyond the step: what does not fit, parts of a step, the best played."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

import numpy as np

from costsim.economics.cost import usd_per_mtok
from costsim.errors import BadInput
from costsim.physics.memory import RESERVE_SHARE
from costsim.predict.question import most_cards
from costsim.predict.training import predict_training, training_step
from costsim.predict.training.memory import TrainingFootprint
from costsim.spec.accelerator import Accelerator
from costsim.spec.cluster import Cluster, standard_cluster
from costsim.spec.model import ModelSpec
from costsim.spec.plan import TrainingLoad, TrainingPlan

#: seconds of a step that are the whole or lie inside other parts
_NO_PART = ("step_s", "exposed_s", "hidden_s")


def whole_layers(point: Mapping[str, Any]) -> dict[str, Any]:
    """The same values, with the model's cut as the one whole number that it is."""
    cut = {"layers": int(np.max(point["layers"]))} if point.get("layers") is not None else {}
    return {**point, **cut}


def plan_and_load(point: Mapping[str, Any]) -> tuple[TrainingPlan, TrainingLoad]:
    """The keys of a grid as the two values they belong to."""
    names = {f.name for f in fields(TrainingLoad)}
    plan = whole_layers({name: value for name, value in point.items() if name not in names})
    return TrainingPlan(**plan), TrainingLoad(**{name: v for name, v in point.items() if name in names})


def training_fit(memory: TrainingFootprint, chip: Accelerator) -> list[tuple[str, Any]]:
    """Plans over the capacity less its reserve, by the largest of their terms."""
    room = (1.0 - RESERVE_SHARE) * chip.rank().need("memory")
    over = np.asarray(memory.total_bytes) > room
    terms = {name: np.asarray(value) for name, value in memory.terms().items() if name != "reserve_bytes"}
    largest = functools.reduce(np.maximum, terms.values())
    return [
        (f"does not fit in memory ({name.removesuffix('_bytes')} largest)", over & (value >= largest))
        for name, value in terms.items()
    ]


def training_parts(
    model: ModelSpec, chip: Accelerator, cluster: Cluster | None, plans: Sequence[Mapping[str, Any]]
) -> list[dict[str, float]]:
    """Seconds of a step by part for each plan, plans with the same words at once."""
    found: dict[int, dict[str, float]] = {}
    groups: dict[tuple[tuple[str, str], ...], list[int]] = {}
    for index, plan in enumerate(plans):
        groups.setdefault(tuple((k, v) for k, v in plan.items() if isinstance(v, str)), []).append(index)
    for said, members in groups.items():
        words = dict(said)
        numbers = {
            name: np.array([plans[i][name] for i in members], dtype=float) for name in plans[members[0]]
            if name not in words
        }  # fmt: skip
        own, load = plan_and_load({**words, **numbers})
        with np.errstate(all="ignore"):
            step, _ = training_step(
                model, chip, own, load, cluster or standard_cluster(chip, most_cards(own.gpus)), strict=False
            )
        for name in (f.name for f in fields(step) if f.name.endswith("_s") and f.name not in _NO_PART):
            values = np.broadcast_to(np.asarray(getattr(step, name), dtype=float), (len(members),))
            for index, value in zip(members, values, strict=True):
                found.setdefault(index, {})[name.removesuffix("_s").replace("_", " ")] = float(value)
    return [found[index] for index in range(len(plans))]


def played(
    model: ModelSpec, chip: Accelerator, cluster: Cluster | None, usd_per_h: float | None,
    points: Sequence[Mapping[str, Any]],
) -> list[dict[str, float] | None]:  # fmt: skip
    """Metrics of each plan as `costsim train` answers it: played task by task, memory at the peak of its timeline.
    None where it is refused so."""
    found: list[dict[str, float] | None] = []
    for point in points:
        plan, load = plan_and_load(point)
        try:
            report = predict_training(model, chip, plan, load, None, cluster)
        except BadInput:
            found.append(None)
            continue
        rate = report["tokens_per_s_per_gpu"]
        metrics = {
            "step_s": report["step_s"],
            "tokens_per_s_per_gpu": rate,
            "memory_bytes": report["peak_memory_bytes"],
        }
        if usd_per_h is not None:
            metrics["usd_per_mtok"] = float(usd_per_mtok(usd_per_h, rate))
        found.append(metrics)
    return found


def played_words(closed: Sequence[Mapping[str, float]], game: Sequence[Mapping[str, float] | None]) -> str:
    """How far playing lies from the closed form, and what it refuses."""
    pairs = [(a, b) for a, b in zip(closed, game, strict=True) if b is not None]
    words = f"the grid is in closed form; its {len(game)} best plans were played task by task, as costsim train does"
    if pairs:
        shifts = [100.0 * (b["step_s"] / a["step_s"] - 1.0) for a, b in pairs]
        words += f": step {min(shifts):+.1f} to {max(shifts):+.1f} % of the closed form"
    if lost := len(game) - len(pairs):
        words += f"; {lost} {'does' if lost == 1 else 'do'} not fit so"
    return words
