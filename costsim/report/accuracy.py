"""Validation as a page: every point beside its prediction, the misses first, and the error by group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from costsim.evidence.validate import Row, statistics, summarise
from costsim.report.bibliography import named_in
from costsim.report.document import Cell, Chart, Content, Document, Section, Table, cited
from costsim.report.figures import predicted_against_measured
from costsim.report.words import label, number, percent, quantity
from costsim.version import __version__

#: kinds that are sums of stated figures, not predictions: shown, but left out of the overall error
ARITHMETIC = ("fleet",)
#: unit of rows about memory, which is no speed: their error is told apart
BYTES = "B"


#: letters of a source that no entry of the bibliography has
_SOURCE = 60
OUT = "A grade marked out: the measurement lies outside the P10–P90 band."


def accuracy_document(rows: Sequence[Row]) -> Document:
    """``costsim validate`` as a document; the payload holds every row and the summary."""
    timed = [row for row in rows if row.point.kind not in ARITHMETIC and row.point.unit != BYTES]
    overall, memory = statistics(timed), statistics([row for row in rows if row.point.unit == BYTES])
    payload: dict[str, Any] = {
        "rows": [row.json() for row in rows],
        "summary": summarise(rows),
        "overall": overall,
        "version": __version__,
    }
    sections = [
        Section("Summary", [verdict(overall, memory)], [summary_table(payload["summary"])]),
        Section("Points, largest errors first", [OUT], [points_table(rows)], charts(rows)),
    ]
    refused = [row for row in rows if row.error]
    if refused:
        sections.append(Section("Not predicted, and why", (), [_refused_table(refused)]))
    everything = statistics(rows)
    title = f"{everything['predicted']} of {everything['n']} measured points predicted"
    return Document(title=title, sections=sections, payload=payload, rows=_flat(rows))


def verdict(overall: Mapping[str, Any], memory: Mapping[str, Any] | None = None) -> str:
    """The error of times and rates in one sentence, of memory in another."""
    if not overall["predicted"] and not (memory and memory["predicted"]):
        return "No row could be predicted; the reasons are below."
    said = []
    if overall["predicted"]:
        lean = overall["too_fast"] or 0.0
        said.append(
            f"Times and rates ({overall['predicted']} rows): mean absolute error {percent(overall['mape'])}, median "
            f"{percent(overall['median_ape'])}, P90 {percent(overall['p90_ape'])}; on average {percent(abs(lean))} too "
            f"{'fast' if lean >= 0 else 'slow'}; {percent(overall['inside_band'], 0)} lie inside the P10–P90 band."
        )
    if memory and memory["predicted"]:
        said.append(f"Memory ({memory['predicted']} rows): mean absolute error {percent(memory['mape'])}.")
    return " ".join(said)


def summary_table(summary: Sequence[Mapping[str, Any]]) -> Table:
    """Error by kind, model, accelerator and metric, for groups with a prediction."""
    known = [s for s in summary if s["predicted"]]
    several = len({s["model"] for s in known}) > 1
    rows: list[list[Content]] = [
        [
            f"{s['kind']}, {s['model'] + ' on ' if several else ''}{s['accelerator']}", label(s["metric"]),
            Cell(f"{s['predicted']}/{s['n']}", s["predicted"]),
            *(Cell(percent(s[key]), s[key]) for key in ("mape", "bias")),
            Cell(percent(s["inside_band"], 0), s["inside_band"]),
        ]
        for s in known
    ]  # fmt: skip
    return Table(("points", "metric", "n", "MAPE", "bias", "in band"), rows)


def points_table(rows: Sequence[Row], most: int = 60) -> Table:
    """Measured and predicted, worst first; at most ``most`` rows for a page."""
    known = sorted((row for row in rows if row.ape is not None), key=lambda row: -(row.ape or 0.0))
    out: list[list[Content]] = []
    for row in known[:most]:
        p = row.point
        error = None if row.ratio is None else row.ratio - 1.0
        out.append([
            p.id.removesuffix(f"-{p.metric}"), Cell(value_text(p.value, p.unit), p.value),
            Cell(value_text(row.predicted, p.unit), row.predicted),
            Cell(f"{error:+.1%}" if error is not None else "–", error),
            span_text(row.low, row.high, p.unit), f"{row.grade}{'' if row.inside else ' out'}",
            cited(keys) if (keys := named_in(p.source)) else p.source[:_SOURCE],
        ])  # fmt: skip
    caption = "" if len(known) <= most else f"the {most} largest errors of {len(known)}; --json and --out have all"
    return Table(("point", "measured", "predicted", "error", "P10 … P90", "grade", "source"), out, caption)


def span_text(low: float | None, high: float | None, unit: str) -> str:
    """A band in one unit, written once."""
    a, b = value_text(low, unit), value_text(high, unit)
    tail = a.rpartition(" ")[2]
    return f"{a.removesuffix(f' {tail}')}–{b}" if " " in a and b.endswith(f" {tail}") else f"{a}–{b}"


def value_text(value: float | None, unit: str) -> str:
    """A quantity; rates of tokens as plain numbers."""
    return number(value) if unit in ("token/s", "", "USD") else quantity(value, unit)


def charts(rows: Sequence[Row]) -> list[Chart]:
    """Predicted against measured, a chart for each unit."""
    units: dict[str, dict[str, list[tuple[float, float, str]]]] = {}
    for row in rows:
        if row.predicted is not None:
            p = row.point
            units.setdefault(p.unit, {}).setdefault(f"{p.kind}, {p.accelerator}", []).append(
                (p.value, row.predicted, p.id)
            )
    out = []
    for unit, groups in units.items():
        count = sum(len(group) for group in groups.values())
        if count < 3:
            continue
        figure = predicted_against_measured(groups, f"Predicted against measured, {unit}", unit)
        out.append(Chart(figure, f"{count} points in {unit}; the diagonal is equality, the grey band ±20 %."))
    return out


def _refused_table(rows: Sequence[Row]) -> Table:
    """Reasons with how many rows share each, and the first of them."""
    reasons: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        reasons.setdefault((row.point.kind, row.error or ""), []).append(row.point.id)
    return Table(
        ("kind", "rows", "reason", "first row"), [[kind, len(ids), why, ids[0]] for (kind, why), ids in reasons.items()]
    )


def _flat(rows: Sequence[Row]) -> list[dict[str, Any]]:
    flat = []
    for row in rows:
        entry = row.json()
        for key in ("plan", "load"):
            entry[key] = ";".join(f"{name}={value}" for name, value in entry[key].items())
        flat.append(entry)
    return flat
