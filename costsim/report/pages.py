"""A Report as a Document: the sections that its HTML, Markdown and CSV are written from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from costsim.predict.report import Line, Metric, Report
from costsim.report.document import Cell, Chart, Content, Document, Section, Table
from costsim.report.figures import breakdown_bar
from costsim.report.jsonable import dumps
from costsim.report.memory import beside
from costsim.report.words import band, label, number, percent, quantity, value_text

#: what the grades mean, in the words that every report repeats
GRADES = (
    "Grades: A measured on this accelerator within the measured shapes; B measured there, extrapolated; "
    "C measured on a sibling part; D datasheet times transferred efficiency. Bands are P10 to P90."
)


def title_of(report: Report) -> str:
    """One line that says what was asked: the kind, the model and where it runs."""
    inputs = flat(report.inputs)
    where = " on ".join(str(inputs[key]) for key in ("model", "accelerator") if key in inputs)
    count = inputs.get("gpus")
    gpus = f", {number(count)} {'GPU' if count == 1 else 'GPUs'}" if isinstance(count, (int, float)) else ""
    return f"{label(report.kind).capitalize()}: {where}{gpus}" if where else label(report.kind).capitalize()


def flat(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """What was asked, without nesting and without what was left open: keys of plan and load stand beside the model's.

    A noun with an id and a text, such as a price, becomes one line.
    """
    items: dict[str, Any] = {}
    for key, value in inputs.items():
        if isinstance(value, Mapping) and {"id", "text"} <= value.keys():
            items[key] = f"{value['id']} ({value['text']})"
        elif isinstance(value, Mapping):
            items.update(flat(value))
        elif value is not None:
            items[key] = value
    return items


def document_of(report: Report) -> Document:
    """The whole report as sections, its JSON as the payload, its numbers as flat rows."""
    title = title_of(report)
    sections = [Section("Result", [GRADES], [_metrics_table(report.metrics)])]
    if report.breakdown:
        chart = Chart(breakdown_bar({report.kind: report.breakdown}, "Where the time goes"), breakdown_words(report))
        sections.append(Section("Time", (), [_breakdown_table(report.breakdown)], [chart]))
    if report.memory:
        sections.append(Section("Memory per device", (), [_memory_table(report.memory)]))
    sections.append(Section("Inputs", (), [_inputs_table(report.inputs)]))
    if report.notes or report.sources:
        sections.append(Section("Notes", report.notes, sources=report.sources))
    return Document(title=title, sections=sections, payload=report.json(), rows=_rows(report), again=again(report))


def again(report: Report) -> str:
    """What a page carries so that `costsim diff` and `costsim explain --report` can read the report back from it."""
    return dumps(report.json(), indent=None).strip()


def breakdown_words(report: Report) -> str:
    """The breakdown as a sentence, for a reader who cannot see the chart."""
    largest = sorted((line for line in report.breakdown if not line.overlapped), key=lambda line: -line.time_s)[:5]
    parts = ", ".join(f"{line.name} {quantity(line.time_s, 's')} ({percent(line.share)})" for line in largest)
    return f"Largest parts of the step: {parts}." if parts else "No part of the step takes time of its own."


def _metrics_table(metrics: Mapping[str, Metric]) -> Table:
    rows: list[list[Content]] = [
        [label(name), Cell(value_text(name, metric), metric.value), band(name, metric), metric.grade]
        for name, metric in metrics.items()
    ]
    return Table(("metric", "value", "P10 … P90", "grade"), rows)


def _breakdown_table(lines: tuple[Line, ...]) -> Table:
    rows: list[list[Content]] = [
        [
            hidden_name(line) if line.overlapped else line.name,
            Cell(quantity(line.time_s, "s"), line.time_s),
            Cell(percent(line.share), line.share),
            line.bound,
            line.grade,
        ]
        for line in lines
    ]
    return Table(("operation", "time", "share", "bound by", "grade"), rows)


def hidden_name(line: Line) -> str:
    """The name of work that runs beside other work, marked as such once."""
    return line.name if line.name.endswith("(hidden)") else f"{line.name} (hidden)"


def _memory_table(memory: Mapping[str, float]) -> Table:
    """Parts that add up to the total; sums of parts and other ranks have their chart and stay in the JSON."""
    rows: list[list[Content]] = [
        [label(name), Cell(memory_text(name, value), value)]
        for name, value in memory.items()
        if not beside(memory, name)
    ]
    return Table(("part", "size"), rows)


def memory_text(name: str, value: float) -> str:
    """Bytes for what is named bytes; plain numbers for the rest (requests that fit, a share)."""
    return quantity(value, "B") if name.endswith("bytes") else number(value)


def _inputs_table(inputs: Mapping[str, Any]) -> Table:
    rows: list[list[Content]] = [[label(name), input_text(value)] for name, value in flat(inputs).items()]
    return Table(("input", "value"), rows)


def input_text(value: Any) -> str:
    """An input as it would be typed."""
    if isinstance(value, bool) or value is None:
        return "–" if value is None else str(value).lower()
    return number(value) if isinstance(value, (int, float)) else str(value)


def _rows(report: Report) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = [
        {"part": "metric", "name": name, **metric.json()} for name, metric in report.metrics.items()
    ]
    rows += [
        {"part": "breakdown", "name": line.name, "value": line.time_s, "unit": "s", "grade": line.grade,
         "share": line.share, "bound": line.bound, "overlapped": line.overlapped}
        for line in report.breakdown
    ]  # fmt: skip
    rows += [
        {"part": "memory", "name": name, "value": value, "unit": "B" if name.endswith("bytes") else ""}
        for name, value in report.memory.items()
    ]
    return rows
