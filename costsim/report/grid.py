"""Answers over a grid of points as a table: a row per point, its metrics, or why it has none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from costsim.report.document import Cell, Content, Section, Table
from costsim.report.words import label, quantity

Row = Mapping[str, Any]


def grid_section(varied: Sequence[str], rows: Sequence[Row], notes: Sequence[str], keep: int) -> Section:
    """A table of the varied inputs and the first ``keep`` metrics; failed points show dashes and are explained."""
    metrics = _metric_names(rows)[:keep]
    cells = [_cells(varied, metrics, row) for row in rows]
    columns = [*(label(name) for name in varied), *(label(name) for name in metrics), "grade"]
    reasons = [f"{_where(row)}: {row['error']}" for row in rows if "error" in row]
    if len(reasons) > 3:
        reasons = [*reasons[:3], f"{len(reasons) - 3} more points cannot be answered"]
    return Section("", [*notes, *reasons], [Table(columns, cells)])


def _metric_names(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row.get("metrics", {})))


def _cells(varied: Sequence[str], metrics: Sequence[str], row: Row) -> list[Content]:
    found = row.get("metrics", {})
    cells: list[Content] = [row["point"][name] for name in varied]
    for name in metrics:
        metric = found.get(name)
        cells.append(Cell(quantity(metric["value"], metric["unit"]), metric["value"]) if metric else None)
    return [*cells, max((metric["grade"] for metric in found.values()), default="–")]


def _where(row: Row) -> str:
    return ", ".join(f"{name} {value}" for name, value in row["point"].items())


def grid_rows(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Flat rows for CSV: a column per varied input and per metric, the error last."""
    flat = []
    for row in rows:
        line = dict(row["point"])
        for name, metric in row.get("metrics", {}).items():
            line |= {name: metric["value"], f"{name}_low": metric["low"], f"{name}_high": metric["high"]}
        flat.append(line | ({"error": row["error"]} if "error" in row else {}))
    return flat
