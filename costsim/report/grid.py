"""Answers over a grid of points as a table: a row per point, its metrics, or why it has none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from costsim.report.document import Cell, Content, Section, Table
from costsim.report.words import label, quantity, unit_of

Row = Mapping[str, Any]


def grid_section(varied: Sequence[str], rows: Sequence[Row], notes: Sequence[str], keep: int) -> Section:
    """A table of the varied inputs and the first ``keep`` metrics; failed points show dashes and are explained."""
    metrics = _telling(rows)[:keep]
    cells = [_cells(varied, metrics, row) for row in rows]
    columns = [*(label(name) for name in varied), *(label(name) for name in metrics), "grade"]
    reasons = [f"{_where(row)}: {row['error']}" for row in rows if "error" in row]
    if len(reasons) > 3:
        reasons = [*reasons[:3], f"{len(reasons) - 3} more points cannot be answered"]
    return Section("", [*notes, *reasons], [Table(columns, cells)])


def _telling(rows: Sequence[Row]) -> list[str]:
    """The metrics in their order, without those that say in every row what an earlier one says."""
    found = [row["metrics"] for row in rows if "metrics" in row]
    told: dict[tuple[Any, ...], str] = {}
    for name in dict.fromkeys(name for metrics in found for name in metrics):
        told.setdefault(tuple(metrics[name]["value"] if name in metrics else None for metrics in found), name)
    return list(told.values())


def _cells(varied: Sequence[str], metrics: Sequence[str], row: Row) -> list[Content]:
    found = row.get("metrics", {})
    cells: list[Content] = [row["point"][name] for name in varied]
    cells += [_cell(name, found[name]) if name in found else None for name in metrics]
    return [*cells, max((found[name]["grade"] for name in metrics if name in found), default="–")]


def _cell(name: str, metric: Mapping[str, Any]) -> Cell:
    """Times, bytes and ratios with their unit; for the rest the heading says it (``usd_per_mtok``)."""
    text = quantity(metric["value"], unit_of(name, metric["unit"]))
    return Cell(text.removesuffix(f" {metric['unit']}") if "/" in metric["unit"] else text, metric["value"])


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
