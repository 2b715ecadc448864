"""What a search asks of training layouts beyond the step: what does not fit, and the parts of a step."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

import numpy as np

from costsim.physics.memory import RESERVE_SHARE
from costsim.predict.question import most_cards
from costsim.predict.training import training_step
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
