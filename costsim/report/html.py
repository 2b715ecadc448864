"""A Document as one HTML file that needs nothing else: no network, no fonts, no scripts but its own.

Light and dark follow the reader's system, paper is always light. Every text is escaped; figures and the question
travel as JSON in which ``<`` cannot appear, so no name in a scenario can end a script. plotly.js is inlined once, and
only into a page that has charts. Tables sort by a click or the Enter key on a heading. Sources are numbered as they
are named and listed at the end, the only links that lead out of the page.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from html import escape

from costsim.report.assets import CHARTS_SCRIPT, SORT_SCRIPT, STYLE
from costsim.report.bibliography import Numbers
from costsim.report.document import Cell, Chart, Content, Document, Section, Table, is_numeric, text_of, value_of
from costsim.report.jsonable import jsonable
from costsim.version import __version__

#: what stands in backticks
_CODE = re.compile(r"`([^`]{1,200})`")
_NUMERIC = ' class="num"'
#: letters of a cell that keeps to one line
_SHORT = 28


def page(document: Document) -> str:
    """The whole file as text."""
    charts = [chart for section in document.sections for chart in section.charts]
    anchors = _anchors(document.sections)
    numbers = Numbers()
    sections, number = [], 0
    for section, anchor in zip(document.sections, anchors, strict=True):
        sections.append(_section(section, anchor, number, numbers))
        number += len(section.charts)
    head = [
        "<!DOCTYPE html>",
        '<html lang="en">',
        "<head>",
        '<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta name="color-scheme" content="light dark">',
        f'<meta name="generator" content="costsim {escape(__version__)}">',
        f"<title>{escape(document.title)}</title>",
        f"<style>{STYLE}</style>",
        "</head>",
    ]
    body = [
        "<body>",
        "<main>",
        f"<header><h1>{escape(document.title)}</h1>{_paragraph(document.subtitle, 'subtitle')}</header>",
        _contents(document.sections, anchors, bool(numbers.order)),
        *sections,
        _bibliography(numbers),
        f"<footer>costsim {escape(__version__)}{_AGAIN if document.again else ''}</footer>",
        "</main>",
        _embedded(document.again),
        f"<script>{SORT_SCRIPT}</script>",
        _chart_scripts(charts),
        "</body>",
        "</html>",
    ]
    return "\n".join(part for part in [*head, *body] if part) + "\n"


def _anchors(sections: Sequence[Section]) -> list[str]:
    """A readable, unique id for each section; figures' ids begin with an underscore, which these cannot."""
    slugs: list[str] = []
    for section in sections:
        slug = re.sub(r"[^a-z0-9]+", "-", section.heading.lower()).strip("-")[:60] or "section"
        base, count = slug, 2
        while slug in slugs:
            slug, count = f"{base}-{count}", count + 1
        slugs.append(slug)
    return slugs


def _contents(sections: Sequence[Section], anchors: Sequence[str], has_sources: bool) -> str:
    """Headings as links; those of a deeper section stand in one line under the one above."""
    if len(sections) < 3:
        return ""
    items: list[tuple[str, list[str]]] = []
    for section, anchor in zip(sections, anchors, strict=True):
        link = f'<a href="#{anchor}">{escape(section.heading)}</a>'
        if section.heading and section.depth > 1 and items:
            items[-1][1].append(link)
        elif section.heading:
            items.append((link, []))
    if has_sources:
        items.append(('<a href="#_sources">Sources</a>', []))
    lines = (
        f"<li>{head}{'<br><small>' + ' · '.join(under) + '</small>' if under else ''}</li>" for head, under in items
    )
    return f'<nav aria-label="Contents"><ol>{"".join(lines)}</ol></nav>'


def _section(section: Section, anchor: str, first_chart: int, numbers: Numbers) -> str:
    level = 1 + max(section.depth, 1)
    heading = f"<h{level}>{escape(section.heading)}</h{level}>" if section.heading else ""
    parts = [f'<section id="{anchor}" class="depth{level}">', heading]
    parts += [_paragraph(text) for text in section.paragraphs]
    parts += [_figure(chart, first_chart + index) for index, chart in enumerate(section.charts)]
    parts += [_table(table, numbers) for table in section.tables]
    if section.sources:
        parts.append(f'<p class="sources">Sources: {_citations(section.sources, numbers)}</p>')
    parts.append("</section>")
    return "\n".join(part for part in parts if part)


def _citations(keys: Sequence[str], numbers: Numbers) -> str:
    """``[3] [7]``, each a link to its entry; a key that no entry has stays a word."""
    found = []
    for key in keys:
        number = numbers.of(key)
        if number is None:
            found.append(escape(key))
        else:
            found.append(f'<a class="cite" href="#_source-{number}" title="{escape(key, quote=True)}">[{number}]</a>')
    return " ".join(found)


def _bibliography(numbers: Numbers) -> str:
    if not numbers.order:
        return ""
    items = []
    for number, source in enumerate(numbers.entries(), start=1):
        url = escape(source.url, quote=True)
        link = f' <a class="out" href="{url}" rel="noreferrer">{url}</a>' if url else ""
        items.append(f'<li id="_source-{number}">{escape(source.text())}{link}</li>')
    return f'<section id="_sources" class="depth2"><h2>Sources</h2><ol class="sources">{"".join(items)}</ol></section>'


#: what the foot of a page that carries its question says
_AGAIN = (
    ". This page carries the question that it answers: give the file to <code>costsim report</code>, "
    "<code>diff</code> or <code>explain --report</code> in place of a scenario or a report."
)


def _embedded(again: str) -> str:
    """The question as a JSON string that cannot end its element."""
    return f'<script type="application/json" id="_again">{_safe(again)}</script>' if again else ""


def _safe(value: object) -> str:
    """JSON for inside <script>: only "<" could end the element, and JSON may spell it as an escape."""
    text = json.dumps(value, allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _paragraph(text: str, css: str = "") -> str:
    if not text:
        return ""
    return f'<p class="{css}">{_words(text)}</p>' if css else f"<p>{_words(text)}</p>"


def _words(text: str) -> str:
    """Escaped text with what stands in backticks as code."""
    return _CODE.sub(r"<code>\1</code>", escape(text))


def _figure(chart: Chart, number: int) -> str:
    label = escape(chart.label, quote=True)
    layout = chart.figure.get("layout", {})
    height = layout.get("height", 400) if isinstance(layout, dict) else 400
    return (
        f'<figure><div class="chart" id="_chart-{number}" role="img" aria-label="{label}" '
        f'style="height:{int(height)}px"></div><figcaption><b>Figure {number + 1}.</b> {label}</figcaption></figure>'
    )


def _table(table: Table, numbers: Numbers) -> str:
    numeric = [is_numeric([row[index] for row in table.rows]) for index in range(len(table.columns))]
    head = "".join(
        f'<th scope="col"{_NUMERIC if right else ""} data-name="{escape(name, quote=True)}">'
        f'<button type="button">{escape(name)}</button></th>'
        for name, right in zip(table.columns, numeric, strict=True)
    )
    rows = "\n".join(
        "<tr>" + "".join(_cell(cell, right, numbers) for cell, right in zip(row, numeric, strict=True)) + "</tr>"
        for row in table.rows
    )
    caption = f"<caption>{_words(table.caption)}</caption>" if table.caption else ""
    return (
        f'<div class="scroll" tabindex="0"><table class="sortable">{caption}'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody></table></div>"
    )


def _cell(content: Content, right: bool, numbers: Numbers) -> str:
    value, text = jsonable(value_of(content)), text_of(content)
    css = _NUMERIC if right else ' class="short"' if len(text) <= _SHORT else ""
    key = "" if value is None else f' data-value="{value!r}"'
    shown = escape(text)
    if isinstance(content, Cell) and content.sources:
        links = _citations(content.sources, numbers)
        shown = links if text == ", ".join(content.sources) else f"{shown} {links}"
    return f"<td{css}{key}>{shown}</td>"


def _chart_scripts(charts: Sequence[Chart]) -> str:
    if not charts:
        return ""
    from plotly.offline import get_plotlyjs

    figures = _safe([jsonable(chart.figure) for chart in charts])
    return (
        f"<script>{get_plotlyjs()}</script>\n"
        f'<script type="application/json" id="_charts">{figures}</script>\n'
        f"<script>{CHARTS_SCRIPT}</script>"
    )
