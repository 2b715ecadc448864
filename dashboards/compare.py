"""Two questions side by side: every number of A and B, what was asked differently, and where the time goes in each."""

from __future__ import annotations

from typing import Any

import streamlit as st

from costsim.predict.report import Line, Metric
from costsim.report.document import Chart, Document, Table
from costsim.report.figures import breakdown_bar
from costsim.report.pages import breakdown_words, flat, input_text
from costsim.report.words import band, label, value_text
from dashboards import evidence, show
from dashboards.page import Page
from dashboards.words import name_of, tr


def kept(page: Page) -> Document | None:
    """The answer that this session keeps as A of a page."""
    found: Document | None = st.session_state.get(f"{page.id}.A")
    return found


def view(page: Page, document: Document) -> None:
    """A beside B; B is what the controls ask now."""
    with st.container(horizontal=True):
        if st.button(tr("Keep this as A"), key=f"{page.id}.keep", icon=":material/push_pin:"):
            st.session_state[f"{page.id}.A"] = document
            st.rerun()
        if kept(page) is not None and st.button(tr("Forget A"), key=f"{page.id}.forget"):
            st.session_state.pop(f"{page.id}.A")
            st.rerun()
    first = kept(page)
    if first is None:
        st.info(tr("Keep an answer as A, then change a setting: B is what the settings ask now."))
        return
    show.table(inputs(first, document))
    show.table(numbers(page, first, document))
    evidence.attributed(page.id, first, document)
    lines = {"A": _lines(first), "B": _lines(document)}
    if lines["A"] and lines["B"]:
        show.chart(
            Chart(breakdown_bar(lines, tr("Where the time goes")), f"A: {_words(first)} B: {_words(document)}"),
            f"{page.id}.compare",
        )


def inputs(first: Document, second: Document) -> Table:
    """What was asked differently."""
    a, b = flat(show.payload(first).get("inputs", {})), flat(show.payload(second).get("inputs", {}))
    rows = [
        [tr(label(name)), input_text(a.get(name)), input_text(b.get(name))]
        for name in dict.fromkeys([*a, *b])
        if a.get(name) != b.get(name)
    ]
    return Table((tr("asked differently"), "A", "B"), rows or [[tr("nothing"), "", ""]])


def numbers(page: Page, first: Document, second: Document) -> Table:
    """Every number of both, with bands and grades."""
    a, b = show.metrics_of(first, page.screen.numbers), show.metrics_of(second, page.screen.numbers)
    rows = [[name_of(name), *_cells(name, a.get(name)), *_cells(name, b.get(name))] for name in dict.fromkeys([*a, *b])]
    return Table((tr("number"), "A", "A: P10 … P90", "grade", "B", "B: P10 … P90", "grade"), rows)


def _cells(name: str, metric: Metric | None) -> list[str]:
    return ["–", "", ""] if metric is None else [value_text(name, metric), band(name, metric), metric.grade]


def _lines(document: Document) -> list[Line]:
    found: list[dict[str, Any]] = show.payload(document).get("breakdown") or []
    return [Line(**line) for line in found]


def _words(document: Document) -> str:
    from costsim.predict.report import Report

    return breakdown_words(Report("", {}, {}, tuple(_lines(document))))
