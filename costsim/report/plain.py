"""A Document as Markdown, and its rows as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from costsim.files import inert
from costsim.report.bibliography import Numbers
from costsim.report.document import Cell, Content, Document, Section, Table, is_numeric, text_of
from costsim.report.jsonable import jsonable


def markdown(document: Document) -> str:
    """The document for people, as GitHub's Markdown; charts become their descriptions."""
    parts = [f"# {_line(document.title)}"]
    if document.subtitle:
        parts.append(_line(document.subtitle))
    numbers = Numbers()
    for section in document.sections:
        parts.extend(_section(section, numbers))
    if numbers.order:
        parts.append("## Sources")
        entries = (
            f"{number}. {_line(source.text())} {source.url}" for number, source in enumerate(numbers.entries(), 1)
        )
        parts.append("\n".join(entry.rstrip() for entry in entries))
    return "\n\n".join(parts) + "\n"


def _section(section: Section, numbers: Numbers) -> list[str]:
    parts = [f"#{'#' * max(section.depth, 1)} {_line(section.heading)}"] if section.heading else []
    parts.extend(_line(paragraph) for paragraph in section.paragraphs)
    parts.extend(_table(table, numbers) for table in section.tables)
    parts.extend(f"*Figure: {_line(chart.label)}*" for chart in section.charts)
    if section.sources:
        parts.append(f"Sources: {_cited(section.sources, numbers)}")
    return parts


def _cited(keys: Sequence[str], numbers: Numbers) -> str:
    """``[3] [7]``; a key that no entry has stays a word."""
    found = ((key, numbers.of(key)) for key in keys)
    return " ".join(_line(key) if number is None else f"[{number}]" for key, number in found)


def _shown(content: Content, numbers: Numbers) -> str:
    text = text_of(content)
    if not isinstance(content, Cell) or not content.sources:
        return _line(text)
    cited = _cited(content.sources, numbers)
    return cited if text == ", ".join(content.sources) else f"{_line(text)} {cited}"


def _table(table: Table, numbers: Numbers) -> str:
    numeric = [is_numeric([row[index] for row in table.rows]) for index in range(len(table.columns))]
    lines = [
        _row([_line(name) for name in table.columns]),
        "|" + "|".join("--:" if right else "---" for right in numeric) + "|",
    ]
    lines.extend(_row([_shown(content, numbers) for content in row]) for row in table.rows)
    if table.caption:
        lines = [_line(table.caption), "", *lines]
    return "\n".join(lines)


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _line(text: str) -> str:
    """One line whose ``<`` cannot open an HTML tag."""
    return " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;")


def csv_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as CSV under the union of their keys, in order of first appearance; missing and NaN are empty."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    stream = io.StringIO()
    writer = csv.DictWriter(stream, columns, lineterminator="\n")
    writer.writerow({key: inert(str(key)) for key in columns})
    writer.writerows({key: _csv_cell(value) for key, value in row.items()} for row in rows)
    return stream.getvalue()


def _csv_cell(value: Any) -> Any:
    value = jsonable(value)
    if isinstance(value, (list, dict)):
        return inert(";".join(str(item) for item in (value if isinstance(value, list) else value.items())))
    return inert(value) if isinstance(value, str) else value
