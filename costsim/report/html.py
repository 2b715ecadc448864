"""A Document as one HTML file that needs nothing else: no network, no fonts, no scripts but its own.

Light and dark follow the reader's system, paper is always light. Every text is escaped; figures travel as
JSON in which ``<`` cannot appear, so no name in a scenario can end a script. plotly.js is inlined once, and
only into a page that has charts. Tables sort by a click or the Enter key on a heading.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from html import escape

from costsim.report.assets import CHARTS_SCRIPT, SORT_SCRIPT, STYLE
from costsim.report.document import Chart, Content, Document, Section, Table, is_numeric, text_of, value_of
from costsim.report.jsonable import jsonable
from costsim.version import __version__


def page(document: Document) -> str:
    """The whole file as text."""
    charts = [chart for section in document.sections for chart in section.charts]
    anchors = _anchors(document.sections)
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
        _contents(document.sections, anchors),
    ]
    number = 0
    for section, anchor in zip(document.sections, anchors, strict=True):
        body.append(_section(section, anchor, number))
        number += len(section.charts)
    body += [
        f"<footer>costsim {escape(__version__)}</footer>",
        "</main>",
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


def _contents(sections: Sequence[Section], anchors: Sequence[str]) -> str:
    if len(sections) < 3:
        return ""
    items = "".join(
        f'<li><a href="#{anchor}">{escape(section.heading)}</a></li>'
        for section, anchor in zip(sections, anchors, strict=True)
        if section.heading
    )
    return f'<nav aria-label="Contents"><ol>{items}</ol></nav>'


def _section(section: Section, anchor: str, first_chart: int) -> str:
    parts = [f'<section id="{anchor}">', f"<h2>{escape(section.heading)}</h2>" if section.heading else ""]
    parts += [_paragraph(text) for text in section.paragraphs]
    parts += [_figure(chart, first_chart + index) for index, chart in enumerate(section.charts)]
    parts += [_table(table) for table in section.tables]
    parts.append("</section>")
    return "\n".join(part for part in parts if part)


def _paragraph(text: str, css: str = "") -> str:
    if not text:
        return ""
    return f'<p class="{css}">{escape(text)}</p>' if css else f"<p>{escape(text)}</p>"


def _figure(chart: Chart, number: int) -> str:
    label = escape(chart.label, quote=True)
    layout = chart.figure.get("layout", {})
    height = layout.get("height", 400) if isinstance(layout, dict) else 400
    return (
        f'<figure><div class="chart" id="_chart-{number}" role="img" aria-label="{label}" '
        f'style="height:{int(height)}px"></div><figcaption>{label}</figcaption></figure>'
    )


def _table(table: Table) -> str:
    numeric = [is_numeric([row[index] for row in table.rows]) for index in range(len(table.columns))]
    head = "".join(
        f'<th scope="col" class="num"><button type="button">{escape(name)}</button></th>'
        if right
        else f'<th scope="col"><button type="button">{escape(name)}</button></th>'
        for name, right in zip(table.columns, numeric, strict=True)
    )
    rows = "\n".join(
        "<tr>" + "".join(_cell(cell, right) for cell, right in zip(row, numeric, strict=True)) + "</tr>"
        for row in table.rows
    )
    caption = f"<caption>{escape(table.caption)}</caption>" if table.caption else ""
    return (
        f'<div class="scroll" tabindex="0"><table class="sortable">{caption}'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody></table></div>"
    )


def _cell(content: Content, right: bool) -> str:
    value = jsonable(value_of(content))
    css = ' class="num"' if right else ""
    key = "" if value is None else f' data-value="{value!r}"'
    return f"<td{css}{key}>{escape(text_of(content))}</td>"


def _chart_scripts(charts: Sequence[Chart]) -> str:
    if not charts:
        return ""
    from plotly.offline import get_plotlyjs

    figures = json.dumps([jsonable(chart.figure) for chart in charts], allow_nan=False)
    # inside <script>, only "<" could end the element or open a comment; JSON may spell it as an escape
    safe = figures.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    return (
        f"<script>{get_plotlyjs()}</script>\n"
        f'<script type="application/json" id="_charts">{safe}</script>\n'
        f"<script>{CHARTS_SCRIPT}</script>"
    )
