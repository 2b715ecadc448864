"""Where a number came from: its tree of terms, the laws behind them, and the sources, in a dialog."""

from __future__ import annotations

from typing import Any

import streamlit as st

from costsim.errors import BadInput, UnknownName
from costsim.report.document import Cell, Chart, Document, Table
from costsim.report.explained import bridge_terms
from costsim.report.figures import waterfall
from costsim.report.jsonable import dumps
from costsim.report.words import band, percent, quantity, value_text
from costsim.spec.catalog import ROOT
from dashboards import answers, show, uploads
from dashboards.page import Page
from dashboards.words import name_of, safe, said, tr

#: kinds of answers that `costsim explain --report` reads back
SAVED = ("training", "post_training", "training_run", "simulation")


def open_dialog(page: Page, values: dict[str, Any], document: Document, metric: str) -> None:
    """The dialog for one metric of an answer."""

    @st.dialog(f"{tr('Where from?')} · {name_of(metric)}", width="large")
    def _opened() -> None:
        explained(page, values, document, metric, "dialog")

    _opened()


def explained(page: Page, values: dict[str, Any], document: Document, metric: str, key: str) -> None:
    """Term by term where `costsim explain` knows the question; else its parts, inputs, notes and sources."""
    argv = question(page, values, document, metric)
    if argv is not None:
        try:
            found = answers.ask(argv)
        except UnknownName:
            pass  # a number that another one follows from: its parts and notes say the rest
        except (BadInput, answers.Defect) as error:
            if page.question.explains:
                show.refusal(error)
        else:
            _tree(found, key)
            show.sections(found, f"explain.{key}")
            show.references(found.payload.get("sources", ()))
            return
    metrics = show.metrics_of(document, page.screen.numbers)
    if metric in metrics:
        found_metric = metrics[metric]
        grade = found_metric.grade
        st.markdown(
            f"**{safe(value_text(metric, found_metric))}**, {safe(band(metric, found_metric)) or tr('no band')}, "
            f"{tr('grade')} {grade}: {tr(show.GRADE_WORDS.get(grade[:1], ''))}"
        )
    rest = [part for part in document.sections if part.heading in ("Time", "Inputs", "Notes", "Memory per device")]
    for number, part in enumerate(rest):
        show.section(part, f"explain.{key}.{number}")
    show.references(document.payload.get("sources", ()))
    command(page.question.argv(values))


def question(page: Page, values: dict[str, Any], document: Document, metric: str) -> answers.Argv | None:
    """How `costsim explain` is asked about a number: by the page's options, or from the answer itself."""
    if page.question.explains:
        return page.question.argv(values, "explain", (metric,))
    answer = show.payload(document)
    read_back = answer.get("kind") in SAVED or {"node_hours", "schedule"} <= answer.keys()  # the last: a fleet's day
    if read_back and answers.has_option("explain", "--report"):
        path = uploads.keep(dumps(document.payload).encode(), ".json", uploads.ANSWER_BYTES)
        return ("explain", metric, f"--report={path}")
    return None


def _tree(found: Document, key: str) -> None:
    """The first level of the tree as a bridge that ends in the number."""
    payload = found.payload
    tree = payload["tree"]
    terms = bridge_terms(tree)
    name, _, value = found.title.partition(" = ")
    st.markdown(f"**{safe(f'{name_of(name)} = {value}' if value else found.title)}**")
    if len(terms) > 1:
        unit = str(payload["tree_unit"])
        figure = waterfall(terms, tr("The terms that it is the sum of"), unit, total=str(tree["name"]))
        words = ", ".join(f"{said(term)} {quantity(size, unit)}" for term, size in terms)
        show.chart(Chart(figure, f"{words}."), f"tree.{key}.{payload['metric']}")


def memory_table(document: Document) -> Table | None:
    """Bytes by kind with the share of the capacity that the engine states."""
    memory = document.payload.get("memory") or {}
    rows = [
        [name_of(name), Cell(quantity(value, "B"), value)] for name, value in memory.items() if name.endswith("bytes")
    ]
    return Table((tr("memory per device"), tr("size")), rows) if rows else None


def command(*asked: tuple[str, ...]) -> None:
    """The same question on the command line."""
    import shlex

    st.caption(tr("The same on the command line"))
    plain = [[uploads.readable(w).replace(f"{ROOT}/", "") for w in argv] for argv in asked]
    st.code("\n".join(shlex.join(["costsim", *words]) for words in plain), language="bash", wrap_lines=True)


__all__ = ["command", "explained", "memory_table", "open_dialog", "percent"]
