"""A Document as Markdown, and its rows as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from costsim.files import inert
from costsim.report.document import Document, Section, Table, is_numeric, text_of
from costsim.report.jsonable import jsonable


def markdown(document: Document) -> str:
    """The document for people, as GitHub's Markdown; charts become their descriptions."""
    parts = [f"# {_line(document.title)}"]
    if document.subtitle:
        parts.append(_line(document.subtitle))
    for section in document.sections:
        parts.extend(_section(section))
    return "\n\n".join(parts) + "\n"


def _section(section: Section) -> list[str]:
    parts = [f"## {_line(section.heading)}"] if section.heading else []
    parts.extend(_line(paragraph) for paragraph in section.paragraphs)
    parts.extend(_table(table) for table in section.tables)
    parts.extend(f"*Figure: {_line(chart.label)}*" for chart in section.charts)
    return parts


def _table(table: Table) -> str:
    numeric = [is_numeric([row[index] for row in table.rows]) for index in range(len(table.columns))]
    lines = [_row(table.columns), "|" + "|".join("--:" if right else "---" for right in numeric) + "|"]
    lines.extend(_row([text_of(content) for content in row]) for row in table.rows)
    if table.caption:
        lines = [_line(table.caption), "", *lines]
    return "\n".join(lines)


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(_line(cell).replace("|", "\\|") for cell in cells) + " |"


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
