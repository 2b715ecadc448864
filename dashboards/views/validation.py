"""Validation: predictions beside measured points, the misses first; own points by upload."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import streamlit as st

from costsim.errors import BadInput
from costsim.spec.catalog import POINTS
from dashboards import answers, export, show, uploads
from dashboards.page import Page
from dashboards.run import long
from dashboards.words import tr

#: shown first: answered in a moment, where all points take a while
EVERY, FIRST = "all published points", "serving_phases"


def show_page(page: Page, _values: dict[str, Any]) -> None:
    """The published points, or the reader's own."""
    files = {path.stem: path for path in sorted(POINTS.glob("*.csv"))}
    left, right = st.columns(2)
    names = [*files, EVERY]
    first = names.index(FIRST) if FIRST in names else 0
    chosen = left.selectbox(tr("Points"), names, index=first, format_func=tr, key="validation/points")
    given = right.file_uploader(
        tr("your own points (CSV: id, kind, model, accelerator, metric, value, …)"), type=["csv"], key="validation/own",
        max_upload_size=uploads.TEXT_MB,
    )  # fmt: skip
    argv: tuple[str, ...] = ("validate",)
    try:
        if given is not None:
            argv = _points(uploads.keep(given.getvalue(), ".csv"))
        elif chosen in files:
            argv = _points(files[chosen])
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
    export.panel(page, {}, document, argv)


def _points(path: Path) -> tuple[str, ...]:
    return ("validate", f"--points={path}")


PAGE = Page(
    id="validation", title="Validation", icon=":material/fact_check:", group="Evidence", order=110, verb="validate",
    lead="Predicted against measured: the largest misses first, what cannot be predicted and why.", show=show_page,
)  # fmt: skip
