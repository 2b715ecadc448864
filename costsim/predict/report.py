"""Report: what every prediction returns. Values only; tables, HTML and JSON are made from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from costsim.version import __version__


@dataclass(frozen=True)
class Metric:
    """One number with its unit, its P10–P90 band and its evidence grade (A measured here … D transferred)."""

    value: float
    unit: str
    low: float | None = None
    high: float | None = None
    grade: str = "D"

    def json(self) -> dict[str, Any]:
        return {"value": self.value, "unit": self.unit, "low": self.low, "high": self.high, "grade": self.grade}


@dataclass(frozen=True)
class Line:
    """One row of the time breakdown: seconds of the step, what binds it, and how well that is known.

    ``overlapped`` seconds are hidden behind other work and do not add to the step.
    """

    name: str
    time_s: float
    share: float
    bound: str
    grade: str
    family: str = ""
    overlapped: bool = False

    def json(self) -> dict[str, Any]:
        return {
            "name": self.name, "time_s": self.time_s, "share": self.share, "bound": self.bound,
            "grade": self.grade, "family": self.family, "overlapped": self.overlapped,
        }  # fmt: skip


@dataclass(frozen=True)
class Report:
    """The answer to one question about one deployment."""

    kind: str
    inputs: Mapping[str, Any]
    metrics: Mapping[str, Metric]
    breakdown: tuple[Line, ...] = ()
    memory: Mapping[str, float] = field(default_factory=dict)
    sources: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __getitem__(self, metric: str) -> float:
        return self.metrics[metric].value

    def json(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "inputs": dict(self.inputs),
            "metrics": {name: metric.json() for name, metric in self.metrics.items()},
            "breakdown": [line.json() for line in self.breakdown],
            "memory": dict(self.memory),
            "sources": list(self.sources),
            "notes": list(self.notes),
            "version": __version__,
        }
