"""Document: an answer as plain values (headings, paragraphs, tables, charts) that every format is written from.

A verb builds one Document; ``html``, ``plain`` and ``tables`` each render it. Nothing is computed here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING, Any

from costsim.report.words import number

if TYPE_CHECKING:
    from pandas import DataFrame


@dataclass(frozen=True)
class Cell:
    """What a table cell shows, and the number it sorts by where the text alone would sort wrongly."""

    text: str
    value: float | None = None


#: one cell: text, a bare number (formatted with separators), nothing, or a Cell
Content = str | float | int | Cell | None


@dataclass(frozen=True)
class Table:
    """``columns`` are headings; every row holds as many cells."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Content]]
    caption: str = ""

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"table {self.caption!r}: a row of {len(row)} cells under {len(self.columns)} columns")

    def frame(self) -> DataFrame:
        """The table for pandas: numbers where a cell has one, else its text."""
        import pandas

        rows = [[text_of(cell) if value_of(cell) is None else value_of(cell) for cell in row] for row in self.rows]
        return pandas.DataFrame(rows, columns=list(self.columns))


@dataclass(frozen=True)
class Chart:
    """A plotly figure as plain data ({"data": [...], "layout": {...}}) and, in words, what it shows."""

    figure: Mapping[str, Any]
    label: str


@dataclass(frozen=True)
class Section:
    """One heading of a document with what stands under it."""

    heading: str
    paragraphs: Sequence[str] = ()
    tables: Sequence[Table] = ()
    charts: Sequence[Chart] = ()


@dataclass(frozen=True)
class Document:
    """``payload`` is the JSON answer, ``rows`` the flat table for CSV, ``sections`` the page for people."""

    title: str
    sections: Sequence[Section]
    payload: Mapping[str, Any]
    subtitle: str = ""
    rows: Sequence[Mapping[str, Any]] = field(default=())

    def frame(self) -> DataFrame:
        """Every number of the answer as tidy rows, those of the CSV."""
        import pandas

        return pandas.DataFrame(list(self.rows))

    def _repr_html_(self) -> str:
        """What a notebook shows: the page itself, in a frame of its own so that its styles stay there."""
        from costsim.report.html import page

        return f'<iframe srcdoc="{escape(page(self), quote=True)}" style="width:100%;height:640px;border:0"></iframe>'


def text_of(content: Content) -> str:
    """The text of a cell."""
    if isinstance(content, Cell):
        return content.text
    if content is None:
        return "–"
    return content if isinstance(content, str) else number(content)


def is_numeric(column: Sequence[Content]) -> bool:
    """Whether a column is set to the right: some cell has a number, and the rest say only that they have none."""
    blank = [content is None or text_of(content) in ("", "–", "?") for content in column]
    known = [value_of(content) is not None for content in column]
    return any(known) and all(a or b for a, b in zip(blank, known, strict=True))


def value_of(content: Content) -> float | None:
    """The number a cell sorts by, None for text."""
    if isinstance(content, Cell):
        return content.value
    return None if content is None or isinstance(content, str) else float(content)
