"""Diff: why two answers differ, input by input, adding up to the difference."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from costsim.errors import BadInput, NothingFound, UnknownName
from costsim.explore.attribution import MOST, Attribution, Vector, attribute
from costsim.explore.inputs import SERVING, Question, answer
from costsim.frames import Framed, Rows
from costsim.predict.report import Metric

#: relative distance of a stored number from the one computed now that is worth a line of its own
_DRIFT = 1e-9
#: relative difference of two sums of the same terms
_ROUNDING = 1e-13
#: changed inputs that are told apart where an answer takes a tenth of a second or more
_SLOW_MOST = 6
#: inputs of one part that its title names
_NAMED = 2
#: numbers about the computation, not about the question
_NOT_COMPARED = ("elapsed_cpu_s", "requests_per_cpu_s")


@dataclass(frozen=True)
class Part:
    """One line of a difference: the inputs that changed together, from what to what, and what they make.

    ``factor`` is the same share in logarithms: factors multiply to after / before, which suits prices and times.
    """

    names: tuple[str, ...]
    before: tuple[Any, ...]
    after: tuple[Any, ...]
    part: float
    alone: float | None
    last: float | None
    factor: float | None = None

    @property
    def title(self) -> str:
        """The inputs by name; many that share a part by the part of the question they belong to."""
        if len(self.names) <= _NAMED:
            return " + ".join(self.names)
        parts = ", ".join(dict.fromkeys(name.partition(".")[0] for name in self.names))
        return f"{parts} ({len(self.names)} inputs)"


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
        """after − before; what only rounding leaves is nothing."""
        found = self.after.value - self.before.value
        return 0.0 if abs(found) < _ROUNDING * max(abs(self.after.value), abs(self.before.value)) else found


@dataclass(frozen=True)
class Diff(Framed):
    """Every metric that both questions answer, and how the shares were found."""

    a: Question
    b: Question
    changed: Mapping[str, tuple[Any, Any]]
    differences: tuple[Difference, ...]
    orders: float
    refused: int
    grouped: bool

    def rows(self) -> Rows:
        """``differences``: one row a metric; ``parts``: one a metric and input."""
        return {
            "differences": [
                {"metric": d.metric, "unit": d.unit, "a": d.before.value, "b": d.after.value, "difference": d.whole}
                for d in self.differences
            ],
            "parts": [
                {"metric": d.metric, "unit": d.unit, "input": p.title, "part": p.part, "alone": p.alone,
                 "factor": p.factor}
                for d in self.differences for p in d.parts
            ],
            "changed": [{"input": name, "a": old, "b": new} for name, (old, new) in self.changed.items()],
        }  # fmt: skip

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
        raise NothingFound(f"diff: {a.name} is about {a.kind}, {b.name} about {b.kind}; give two answers of one kind")
    changed = changed_inputs(a, b)
    ends = answer(a.kind, a.values), answer(b.kind, b.values)
    metrics = [name for name in ends[0] if name in ends[1] and name not in _NOT_COMPARED]
    if not metrics:
        raise NothingFound(f"diff: {a.name} and {b.name} have no metric in common")
    groups, grouped = _groups(changed, MOST if a.kind in SERVING else _SLOW_MOST)

    def value(names: frozenset[str]) -> Vector | None:
        moved = {key for name in names for key in groups[name]}
        if not names or len(moved) == len(changed):
            return _with_logs([ends[bool(names)][metric].value for metric in metrics])
        mixed = dict(a.values) | {key: b.values.get(key) for key in moved}
        mixed = {key: found for key, found in mixed.items() if found is not None or key in a.values}
        try:
            found = answer(a.kind, mixed)
        except BadInput:
            return None
        if any(metric not in found for metric in metrics):
            return None
        return _with_logs([found[metric].value for metric in metrics])

    made = attribute(list(groups), value)
    size = len(metrics)
    differences = tuple(_difference(name, (index, size + index), ends, made, groups, changed, a, b)
                        for index, name in enumerate(metrics))  # fmt: skip
    return Diff(a, b, changed, differences, made.orders, made.refused, grouped)


def _with_logs(values: list[float]) -> Vector:
    """The values, and behind them their logarithms; NaN where there is none."""
    found = np.array(values)
    with np.errstate(all="ignore"):
        return np.concatenate([found, np.where(found > 0, np.log(found), np.nan)])


def _groups(changed: Mapping[str, Any], most: int) -> tuple[dict[str, tuple[str, ...]], bool]:
    """Each input by itself; by part of the question where they are too many for every combination."""
    if len(changed) <= most:
        return {name: (name,) for name in changed}, False
    parts: dict[str, list[str]] = {}
    for name in changed:
        parts.setdefault(name.partition(".")[0], []).append(name)
    return {name: tuple(keys) for name, keys in parts.items()}, True


def _difference(
    metric: str, at: tuple[int, int], ends: tuple[Mapping[str, Metric], Mapping[str, Metric]], made: Attribution,
    groups: Mapping[str, tuple[str, ...]], changed: Mapping[str, tuple[Any, Any]], a: Question, b: Question,
) -> Difference:  # fmt: skip
    before, after = ends[0][metric], ends[1][metric]
    index, log = at
    parts = []
    for share in made.shares:
        keys = tuple(key for name in share.names for key in groups[name])
        values = tuple(changed[key][0] for key in keys), tuple(changed[key][1] for key in keys)
        alone, last = _known(share.alone[index]), _known(share.last[index])
        shown = keys if len(keys) <= MOST else share.names
        factor = _known(np.exp(share.part[log]))
        made_of = float(share.part[index])
        part = 0.0 if abs(made_of) < _ROUNDING * max(abs(before.value), abs(after.value)) else made_of
        parts.append(Part(shown, *values, part, alone, last, factor))
    parts.sort(key=lambda part: -abs(part.part))
    old, new = a.stored.get(metric, before.value), b.stored.get(metric, after.value)
    drift = (new - after.value) - (old - before.value)
    if abs(drift) > _DRIFT * max(abs(old), abs(new)):
        name = ("program and data since these files were written",)
        by = new / after.value * before.value / old if after.value and old else None
        parts.append(Part(name, (a.version,), (b.version,), drift, None, None, by))
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
