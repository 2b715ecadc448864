"""A Report or a Document for the terminal, as rich renderables: readable at 80 columns, at home at 100."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table as RichTable
from rich.text import Text

from costsim.predict.report import Line, Report
from costsim.report.document import Content, Document, Section, Table, is_numeric, text_of
from costsim.report.pages import flat, input_text, memory_text, title_of
from costsim.report.words import band, label, percent, quantity, value_text

GRADE_STYLES = {"A": "bold green", "B": "bold blue", "C": "bold yellow", "D": "bold magenta"}
_BAR_WIDTH = 12
_NAME_WIDTH = 30
_SHORT = 10
_MANY = 6
_EIGHTHS = " ▏▎▍▌▋▊▉█"


def render(report: Report, top: int = 14) -> RenderableType:
    """Headline, where the time goes (the ``top`` largest), memory, inputs, notes and sources."""
    parts: list[RenderableType] = [headline(report)]
    if report.breakdown:
        parts.append(breakdown(report.breakdown, top))
    if report.memory:
        parts.append(memory(report.memory))
    remarks = [_inputs(report.inputs), *(_remark("note", note) for note in report.notes)]
    if report.sources:
        remarks.append(_remark("sources", ", ".join(report.sources)))
    parts.append(Group(*remarks))
    return Group(*(Padding(part, (1, 0, 0, 0)) if index else part for index, part in enumerate(parts)))


def headline(report: Report) -> Panel:
    """The metrics with their bands and grades, in a box that bears the question."""
    grid = RichTable.grid(padding=(0, 2))
    grid.add_column(no_wrap=True)
    grid.add_column(justify="right", style="bold", no_wrap=True)
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(justify="center", no_wrap=True, min_width=1)
    for name, metric in report.metrics.items():
        grid.add_row(label(name), value_text(name, metric), band(name, metric), grade(metric.grade))
    subtitle = Text("value, P10 … P90, evidence grade A to D", style="dim")
    return Panel(grid, title=Text(title_of(report), style="bold"), title_align="left", subtitle=subtitle,
                 subtitle_align="left", box=box.ROUNDED, expand=False, padding=(0, 1))  # fmt: skip


def grade(letter: str) -> Text:
    """The letter of a grade in its colour; the letter alone carries the meaning."""
    return Text(letter, style=GRADE_STYLES.get(letter[:1], ""))


def breakdown(lines: Sequence[Line], top: int = 14) -> RenderableType:
    """Operations by time, longest first, with their share as a bar; hidden time is listed below, dim."""
    shown = sorted((line for line in lines if not line.overlapped), key=lambda line: -line.time_s)
    hidden = sorted((line for line in lines if line.overlapped), key=lambda line: -line.time_s)
    table = _table("operation", "time", "share", "", "bound by", "grade")
    scale = max((line.share for line in shown), default=0.0) or 1.0
    for line in shown[:top]:
        table.add_row(Text(line.name), quantity(line.time_s, "s"), percent(line.share),
                      Text(bar(line.share / scale), style="cyan"), Text(line.bound), grade(line.grade))  # fmt: skip
    rest = shown[top:]
    if rest:
        seconds, share = sum(line.time_s for line in rest), sum(line.share for line in rest)
        table.add_row(f"{len(rest)} more", quantity(seconds, "s"), percent(share), "", "", "", style="dim")
    for line in hidden[: max(top // 3, 3)]:
        table.add_row(Text(line.name), quantity(line.time_s, "s"), "hidden", "", Text(line.bound), grade(line.grade),
                      style="dim")  # fmt: skip
    return table


def bar(fraction: float, width: int = _BAR_WIDTH) -> str:
    """A bar of eighths of a character."""
    eighths = round(max(0.0, min(fraction, 1.0)) * width * 8)
    return "█" * (eighths // 8) + (_EIGHTHS[eighths % 8] if eighths % 8 else "")


def memory(parts: Mapping[str, float]) -> RenderableType:
    """Bytes on one device, in the order given, each beside the largest."""
    table = _table("memory per device", "size", "")
    sizes = [value for name, value in parts.items() if name.endswith("bytes")]
    scale = max(sizes, default=0.0) or 1.0
    for name, value in parts.items():
        drawn = bar(value / scale) if name.endswith("bytes") else ""
        table.add_row(label(name), memory_text(name, value), Text(drawn, style="cyan"))
    return table


def _table(*columns: str) -> RichTable:
    table = _compact()
    for name in columns:
        right = name in ("time", "share", "size")
        table.add_column(name, justify="right" if right else "left", no_wrap=right or name == "")
    return table


def _inputs(inputs: Mapping[str, Any]) -> RenderableType:
    pairs = [f"{name.replace('_', '-')} {input_text(value)}" for name, value in flat(inputs).items()]
    return _remark("inputs", "  ".join(pair.replace(" ", "\u00a0") for pair in pairs))


def _remark(tag: str, text: str) -> RenderableType:
    grid = RichTable.grid(padding=(0, 2))
    grid.add_column(no_wrap=True, style="dim", width=7)
    grid.add_column(overflow="fold")
    grid.add_row(tag, Text(text))
    return grid


def render_document(document: Document) -> RenderableType:
    """Any document: heading, paragraphs and tables; a chart without a table becomes its sentence."""
    parts: list[RenderableType] = [Text(document.title, style="bold")]
    if document.subtitle:
        parts.append(Text(document.subtitle, style="dim"))
    for section in document.sections:
        parts.extend(_section(section))
    return Group(*parts)


def _section(section: Section) -> list[RenderableType]:
    parts: list[RenderableType] = []
    if section.heading:
        parts.append(Padding(Text(section.heading, style="bold underline"), (1, 0, 0, 0)))
    parts.extend(Text(paragraph) for paragraph in section.paragraphs)
    if not section.tables:  # a table says the same in full
        parts.extend(Text(chart.label, style="italic") for chart in section.charts)
    parts.extend(Fitted(table) for table in section.tables)
    if section.sources:
        parts.append(Text(f"sources: {', '.join(section.sources)}", style="dim"))
    return parts


@dataclass(frozen=True)
class Fitted:
    """A document's table, drawn for the width that there is: prose wraps and gaps shrink before anything is cut."""

    table: Table

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield rich_table(self.table, options.max_width)


def rich_table(table: Table, width: int = 80) -> RichTable:
    """A document's table; columns of numbers are set right, a column headed "grade" is coloured."""
    gap, widths = _widths(table, width)
    drawn = _compact(gap, title=table.caption or None, title_justify="left", title_style="dim")
    for index, name in enumerate(table.columns):
        numeric = is_numeric([row[index] for row in table.rows])
        drawn.add_column(Text(name), justify="right" if numeric else "left", width=widths[index],
                         overflow="ellipsis" if _kept(table, index) else "fold")  # fmt: skip
    for row in table.rows:
        drawn.add_row(*(_cell(name, content) for name, content in zip(table.columns, row, strict=True)))
    return drawn


def _widths(table: Table, most: int) -> tuple[int, list[int]]:
    """Spaces between columns (and one), and letters of each column: as wide as their text where there is room, else
    those with the most to spare give way, a heading breaking between its words."""
    count = len(table.columns)
    least = [_least(table, index) for index in range(count)]
    widths = [max(_longest(table, index), cell_len(name)) for index, name in enumerate(table.columns)]
    usual = 2 if count < _MANY else 1
    fits = (gap for letters in (sum(widths), sum(least)) for gap in range(usual, -1, -1)
            if letters + count * (gap + 1) <= most)  # fmt: skip
    gap = next(fits, 0)
    over = sum(widths) + count * (gap + 1) - most
    for _ in range(max(over, 0)):
        spare = [have - need for have, need in zip(widths, least, strict=True)]
        if max(spare, default=0) <= 0:
            break
        widths[spare.index(max(spare))] -= 1
    return gap, widths


def _longest(table: Table, index: int) -> int:
    return max((cell_len(text_of(row[index])) for row in table.rows), default=0)


def _kept(table: Table, index: int) -> bool:
    """Names, numbers and short words keep their width where prose wraps."""
    return index == 0 or is_numeric([row[index] for row in table.rows]) or _longest(table, index) <= _SHORT


def _least(table: Table, index: int) -> int:
    """Letters that a column takes at least; no heading is broken within a word, nor a word of up to _NAME_WIDTH."""
    heading = max(map(cell_len, table.columns[index].split()), default=0)
    words = (word for row in table.rows for word in text_of(row[index]).split())
    longest = _longest(table, index) if _kept(table, index) else max(map(cell_len, words), default=0)
    return max(heading, min(longest, _NAME_WIDTH))


def _compact(gap: int = 2, **more: Any) -> RichTable:
    """``gap`` spaces between columns (and one), a rule under the heading, no frame."""
    return RichTable(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, gap, 0, 0), header_style="bold", **more)


def _cell(column: str, content: Content) -> Text:
    text = text_of(content)
    return grade(text) if column in ("grade", "confidence") else Text(text)
