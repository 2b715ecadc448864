"""Report: what every prediction returns. Values only; tables, HTML and JSON are made from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING, Any

from costsim.errors import OutOfRange
from costsim.version import __version__

if TYPE_CHECKING:
    from pandas import DataFrame

#: columns of the frames of a report
_COLUMNS = {
    "metrics": ["metric", "value", "unit", "low", "high", "grade"],
    "breakdown": ["name", "time_s", "share", "bound", "grade", "family", "overlapped"],
    "memory": ["part", "bytes"],
}
#: lines of a breakdown that a notebook shows
_LINES = 10


@dataclass(frozen=True)
class Metric:
    """One number with its unit, its P10–P90 band and its evidence grade (A measured here … D transferred)."""

    value: float
    unit: str
    low: float | None = None
    high: float | None = None
    grade: str = "D"

    def __str__(self) -> str:
        band = f"{_band(self)}, " if self.low is not None and self.high is not None else ""
        return f"{_short(self.value)} {self.unit}".rstrip() + f" ({band}grade {self.grade})"

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

    def frame(self, part: str = "metrics") -> DataFrame:
        """A tidy pandas table, one row per number: ``metrics``, ``breakdown`` or ``memory``."""
        import pandas

        if part == "breakdown":
            return pandas.DataFrame([line.json() for line in self.breakdown], columns=_COLUMNS["breakdown"])
        if part == "memory":
            return pandas.DataFrame(list(self.memory.items()), columns=_COLUMNS["memory"])
        if part != "metrics":
            raise OutOfRange(f"frame: {part[:40]!r} is not one of {', '.join(_COLUMNS)}")
        rows = [{"metric": name, **metric.json()} for name, metric in self.metrics.items()]
        return pandas.DataFrame(rows, columns=_COLUMNS["metrics"])

    def rows(self) -> dict[str, list[dict[str, Any]]]:
        """The same tables as plain rows."""
        return {
            "metrics": [{"metric": name, **metric.json()} for name, metric in self.metrics.items()],
            "breakdown": [line.json() for line in self.breakdown],
            "memory": [{"part": name, "bytes": value} for name, value in self.memory.items()],
        }

    def frames(self) -> dict[str, DataFrame]:
        """All of them by name."""
        return {part: self.frame(part) for part in _COLUMNS}

    def _repr_html_(self) -> str:
        """What a notebook shows: metrics with band and grade, the longest lines of the breakdown, inputs."""
        where = " on ".join(str(self.inputs[key]) for key in ("model", "accelerator") if key in self.inputs)
        metrics = [(name, _short(m.value), _band(m), m.unit, m.grade) for name, m in self.metrics.items()]
        shown = [line for line in self.breakdown if not line.overlapped][:_LINES]
        lines = [(line.name, _short(line.time_s), f"{line.share:.1%}", line.bound, line.grade) for line in shown]
        parts = [f"<h4>{escape(self.kind.replace('_', ' '))}: {escape(where)}</h4>",
                 _html(("metric", "value", "P10 … P90", "unit", "grade"), metrics)]  # fmt: skip
        if lines:
            parts.append(_html(("part", "s", "share", "bound by", "grade"), lines))
        return "".join([*parts, *(f"<p><small>{escape(note)}</small></p>" for note in self.notes)])

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


def _short(value: float | None) -> str:
    """Four digits, thousands apart."""
    if value is None:
        return ""
    return f"{value:,.0f}" if 1e4 <= abs(value) < 1e15 else f"{value:.4g}"


def _band(metric: Metric) -> str:
    return "" if metric.low is None or metric.high is None else f"{_short(metric.low)} … {_short(metric.high)}"


def _html(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A plain table; every cell escaped."""
    head = "".join(f"<th>{escape(name)}</th>" for name in columns)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
