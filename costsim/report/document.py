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
    """What a table cell shows, the number it sorts by where the text alone would sort wrongly, and keys of the
    bibliography: pages show these as numbers that lead to it."""

    text: str
    value: float | None = None
    sources: Sequence[str] = ()


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

    @property
    def title(self) -> str:
        return str(self.figure.get("layout", {}).get("title", {}).get("text", ""))

    def frame(self) -> DataFrame:
        """What is drawn, one row per mark: the trace, its place and value, and whatever else it carries."""
        import pandas

        return pandas.DataFrame([row for trace in self.figure["data"] for row in _marks(trace)])


@dataclass(frozen=True)
class Section:
    """One heading of a document with what stands under it; ``sources`` are keys of the bibliography. Deeper than 1, it
    belongs to the section above."""

    heading: str
    paragraphs: Sequence[str] = ()
    tables: Sequence[Table] = ()
    charts: Sequence[Chart] = ()
    sources: Sequence[str] = ()
    depth: int = 1


@dataclass(frozen=True)
class Document:
    """``payload`` is the JSON answer, ``rows`` the flat table for CSV, ``sections`` the page for people.

    ``again`` is the question as text (a scenario's TOML, or a report's JSON) that a page carries, so that it can be
    asked again.
    """

    title: str
    sections: Sequence[Section]
    payload: Mapping[str, Any]
    subtitle: str = ""
    rows: Sequence[Mapping[str, Any]] = field(default=())
    again: str = ""

    def frames(self) -> dict[str, DataFrame]:
        """Everything on the page as tidy frames: ``rows``, and every table and figure by its section and its name."""
        found = {"rows": self.frame()}
        for section in self.sections:
            for table in section.tables:
                _named(found, section.heading, table.caption or str(table.columns[0]), table.frame())
            for chart in section.charts:
                _named(found, section.heading, f"figure: {chart.title or chart.label}", chart.frame())
        return found

    def frame(self) -> DataFrame:
        """Every number of the answer as tidy rows, those of the CSV."""
        import pandas

        return pandas.DataFrame(list(self.rows))

    def _repr_html_(self) -> str:
        """What a notebook shows: the page itself, in a frame of its own so that its styles stay there."""
        from costsim.report.html import page

        return f'<iframe srcdoc="{escape(page(self), quote=True)}" style="width:100%;height:640px;border:0"></iframe>'


def _named(found: dict[str, DataFrame], heading: str, name: str, frame: DataFrame) -> None:
    """Under a name of its own: equal ones are numbered."""
    base = f"{heading}: {name}" if heading else name
    key, count = base, 2
    while key in found:
        key, count = f"{base} ({count})", count + 1
    found[key] = frame


#: fields of a trace that hold one value per mark
_PER_MARK = ("x", "y", "z", "base", "text", "labels", "parents", "ids", "values", "measure", "r", "theta")


def _marks(trace: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The marks of one trace as rows; a grid of colours becomes a row per cell."""
    columns = {name: list(trace[name]) for name in _PER_MARK if isinstance(trace.get(name), list | tuple)}
    name = str(trace.get("name", ""))
    if "z" in columns:
        x, y = columns.get("x", []), columns.get("y", [])
        return [
            {"trace": name, "x": x[j] if j < len(x) else j, "y": y[i] if i < len(y) else i, "z": value}
            for i, line in enumerate(columns["z"]) for j, value in enumerate(line)
        ]  # fmt: skip
    for end in ("error_x", "error_y"):
        error = trace.get(end) or {}
        for key, column in (("array", f"{end}_up"), ("arrayminus", f"{end}_down")):
            if isinstance(error.get(key), list | tuple):
                columns[column] = list(error[key])
    count = max((len(values) for values in columns.values()), default=0)
    return [
        {"trace": name} | {key: values[i] if i < len(values) else None for key, values in columns.items()}
        for i in range(count)
    ]


def cited(keys: Sequence[str], value: float | None = None) -> Cell:
    """A cell that holds nothing but sources."""
    return Cell(", ".join(keys) or "–", value, tuple(keys))


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
