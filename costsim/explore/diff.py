"""Diff: why two answers differ, input by input, adding up to the difference."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from costsim.errors import BadInput, UnknownName
from costsim.explore.attribution import MOST, Attribution, Vector, attribute
from costsim.explore.inputs import Question, answer
from costsim.predict.report import Metric

#: relative distance of a stored number from the one computed now that is worth a line of its own
_DRIFT = 1e-9
#: numbers about the computation, not about the question
_NOT_COMPARED = ("elapsed_cpu_s",)


@dataclass(frozen=True)
class Part:
    """One line of a difference: the inputs that changed together, from what to what, and what they make."""

    names: tuple[str, ...]
    before: tuple[Any, ...]
    after: tuple[Any, ...]
    part: float
    alone: float | None
    last: float | None

    @property
    def title(self) -> str:
        return " + ".join(self.names)


@dataclass(frozen=True)
class Difference:
    """``parts`` add up to ``after`` − ``before`` of one metric; ``interaction`` is the difference less the sum of the
    parts alone, None where one of them has no answer."""

    metric: str
    unit: str
    before: Metric
    after: Metric
    parts: tuple[Part, ...]
    interaction: float | None

    @property
    def whole(self) -> float:
        return self.after.value - self.before.value


@dataclass(frozen=True)
class Diff:
    """Every metric that both questions answer, and how the shares were found."""

    a: Question
    b: Question
    changed: Mapping[str, tuple[Any, Any]]
    differences: tuple[Difference, ...]
    orders: float
    refused: int
    grouped: bool

    def of(self, metric: str) -> Difference:
        """One metric; UnknownName with the nearest ones."""
        for difference in self.differences:
            if difference.metric == metric:
                return difference
        raise UnknownName("metric", metric, [difference.metric for difference in self.differences])


def changed_inputs(a: Question, b: Question) -> dict[str, tuple[Any, Any]]:
    """Inputs whose values differ, with both values; an input that only one has is None in the other."""
    names = dict.fromkeys([*a.values, *b.values])
    pairs = {name: (a.values.get(name), b.values.get(name)) for name in names}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def diff(a: Question, b: Question) -> Diff:
    """Attribute the difference of every common metric to the inputs that changed. Raises BadInput."""
    if a.kind != b.kind:
        raise BadInput(f"diff: {a.name} is about {a.kind}, {b.name} about {b.kind}; give two answers of one kind")
    changed = changed_inputs(a, b)
    ends = answer(a.kind, a.values), answer(b.kind, b.values)
    metrics = [name for name in ends[0] if name in ends[1] and name not in _NOT_COMPARED]
    if not metrics:
        raise BadInput(f"diff: {a.name} and {b.name} have no metric in common")
    groups, grouped = _groups(changed)

    def value(names: frozenset[str]) -> Vector | None:
        moved = {key for name in names for key in groups[name]}
        if not names or len(moved) == len(changed):
            return np.array([ends[bool(names)][metric].value for metric in metrics])
        mixed = dict(a.values) | {key: b.values.get(key) for key in moved}
        mixed = {key: found for key, found in mixed.items() if found is not None or key in a.values}
        try:
            found = answer(a.kind, mixed)
        except BadInput:
            return None
        if any(metric not in found for metric in metrics):
            return None
        return np.array([found[metric].value for metric in metrics])

    made = attribute(list(groups), value)
    differences = tuple(_difference(name, index, ends, made, groups, changed, a, b)
                        for index, name in enumerate(metrics))  # fmt: skip
    return Diff(a, b, changed, differences, made.orders, made.refused, grouped)


def _groups(changed: Mapping[str, Any]) -> tuple[dict[str, tuple[str, ...]], bool]:
    """Each input by itself; by part of the question where they are too many for every combination."""
    if len(changed) <= MOST:
        return {name: (name,) for name in changed}, False
    parts: dict[str, list[str]] = {}
    for name in changed:
        parts.setdefault(name.partition(".")[0], []).append(name)
    return {name: tuple(keys) for name, keys in parts.items()}, True


def _difference(
    metric: str, index: int, ends: tuple[Mapping[str, Metric], Mapping[str, Metric]], made: Attribution,
    groups: Mapping[str, tuple[str, ...]], changed: Mapping[str, tuple[Any, Any]], a: Question, b: Question,
) -> Difference:  # fmt: skip
    before, after = ends[0][metric], ends[1][metric]
    parts = []
    for share in made.shares:
        keys = tuple(key for name in share.names for key in groups[name])
        values = tuple(changed[key][0] for key in keys), tuple(changed[key][1] for key in keys)
        alone, last = _known(share.alone[index]), _known(share.last[index])
        shown = keys if len(keys) <= MOST else share.names
        parts.append(Part(shown, *values, float(share.part[index]), alone, last))
    parts.sort(key=lambda part: -abs(part.part))
    old, new = a.stored.get(metric, before.value), b.stored.get(metric, after.value)
    drift = (new - after.value) - (old - before.value)
    if abs(drift) > _DRIFT * max(abs(old), abs(new)):
        name = ("program and data since these files were written",)
        parts.append(Part(name, (a.version,), (b.version,), drift, None, None))
        before, after = _at(before, old), _at(after, new)
    left = _known(made.interaction[index])
    return Difference(metric, before.unit, before, after, tuple(parts), left)


def _at(metric: Metric, value: float) -> Metric:
    """The metric as a file held it: its band goes with it."""
    scale = value / metric.value if metric.value else 1.0
    low, high = (None if end is None else end * scale for end in (metric.low, metric.high))
    return Metric(value, metric.unit, low, high, metric.grade)


def _known(value: Any) -> float | None:
    return None if np.isnan(value) else float(value)
