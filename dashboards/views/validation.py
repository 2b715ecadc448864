"""Validation: predictions beside measured points, the misses first; own points by upload."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import streamlit as st

from costsim.errors import BadInput
from costsim.spec.catalog import POINTS
from dashboards import answers, export, show, uploads
from dashboards.controls import Control
from dashboards.page import Page, Question, Screen
from dashboards.run import long
from dashboards.words import tr

#: shown first: answered in a moment, where all points take a while
EVERY, FIRST = "all published points", "serving_phases"


@lru_cache(maxsize=1)
def files() -> dict[str, Path]:
    """Name → file of published points."""
    return {path.stem: path for path in sorted(POINTS.glob("*.csv"))}


def choices() -> tuple[str, ...]:
    """What can be chosen, the quick one of all points first."""
    return (*sorted(files(), key=lambda name: name != FIRST), EVERY)


def subject(values: dict[str, Any]) -> list[str]:
    """The file chosen, or none for all."""
    path = files().get(str(values.get("points") or FIRST))
    return [] if path is None else [f"--points={path}"]


def show_page(page: Page, values: dict[str, Any]) -> None:
    """The published points, or the reader's own."""
    given = st.file_uploader(
        tr("your own points (CSV: id, kind, model, accelerator, metric, value, …)"), type=["csv"], key="validation/own",
        max_upload_size=uploads.TEXT_MB,
    )  # fmt: skip
    try:
        argv = (
            page.question.argv(values)
            if given is None
            else _points(uploads.keep(given.getvalue(), ".csv", name=given.name))
        )
        document = long(page.id, argv)
    except (BadInput, answers.Defect) as error:
        show.refusal(error)
        return
    if document is None:
        return
    st.markdown(f"**{document.title}**")
    order = {"Points, largest errors first": 0, "Summary": 1}
    for number, section in enumerate(sorted(document.sections, key=lambda part: order.get(part.heading, 2))):
        show.section(section, f"validation.{number}")
    export.panel(page, values, document, argv)


def _points(path: Path) -> tuple[str, ...]:
    return ("validate", f"--points={path}")


PAGE = Page(
    id="validation", title="Validation", icon=":material/fact_check:", group="Evidence", order=110,
    lead="Predicted against measured: the largest misses first, what cannot be predicted and why.",
    question=Question(
        verb="validate", subject=subject,
        controls=(Control("points", "pt", "word", "Points", FIRST, choices),),
    ),
    screen=Screen(
        show=show_page,
    ),
)  # fmt: skip
