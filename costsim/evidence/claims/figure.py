"""Figure: a number of a claim with its unit, its band, and the command that prints it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from costsim.predict.report import Metric


@dataclass(frozen=True)
class Figure:
    """``command`` prints the number at ``path`` of its JSON (dots between keys); empty where several make it."""

    value: float
    unit: str
    low: float | None = None
    high: float | None = None
    command: str = ""
    path: str = ""

    def json(self) -> dict[str, Any]:
        return {"value": self.value, "unit": self.unit, "low": self.low, "high": self.high}


Figures = dict[str, Figure]


def of_metric(metric: Metric, command: str, path: str) -> Figure:
    """A metric of a report."""
    return Figure(metric.value, metric.unit, metric.low, metric.high, command, path)


def exact(value: float, unit: str) -> Figure:
    """A number that follows from counts or from a stated figure: no band."""
    return Figure(float(value), unit)


def ratio(top: Figure, bottom: Figure, unit: str = "x", common: bool = False) -> Figure:
    """top / bottom. Bands are independent and add in quadrature of their logarithms; with ``common`` they are the
    same laws on the same part, cancel, and leave no band of their own."""
    value = top.value / bottom.value
    if common:
        return Figure(value, unit)
    up = math.hypot(_span(top, top.high), _span(bottom, bottom.low))
    down = math.hypot(_span(top, top.low), _span(bottom, bottom.high))
    return Figure(value, unit, value * math.exp(-down), value * math.exp(up))


def _span(figure: Figure, end: float | None) -> float:
    """|ln| from the value to one end of its band."""
    if end is None or end <= 0 or figure.value <= 0:
        return 0.0
    return abs(math.log(end / figure.value))


def saving(after: Figure, before: Figure, common: bool = False) -> Figure:
    """1 − after / before, a share."""
    kept = ratio(after, before, common=common)
    low, high = (None if end is None else 1.0 - end for end in (kept.high, kept.low))
    return Figure(1.0 - kept.value, "share", low, high)


def scaled(figure: Figure, factor: float, unit: str) -> Figure:
    """A figure in another unit or multiplied by an exact number; no longer what the command prints."""
    low, high = (None if end is None else end * factor for end in (figure.low, figure.high))
    return Figure(figure.value * factor, unit, *((low, high) if factor >= 0 else (high, low)))


def total(parts: list[Figure], unit: str) -> Figure:
    """A sum whose parts share their model errors: bands add linearly."""
    low = sum(part.value if part.low is None else part.low for part in parts)
    high = sum(part.value if part.high is None else part.high for part in parts)
    return Figure(sum(part.value for part in parts), unit, low, high)


def renamed(figure: Figure, unit: str) -> Figure:
    """The same number, its unit spelled for readers."""
    return replace(figure, unit=unit)
