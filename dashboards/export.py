"""What a reader takes away: the link, the question as a file, the answer in every format, the command line."""

from __future__ import annotations

import io
from typing import Any

import streamlit as st

from costsim.cli.output import rendered
from costsim.report.document import Document
from costsim.report.jsonable import jsonable
from dashboards import state, uploads
from dashboards.origin import command
from dashboards.page import Page
from dashboards.words import tr

FORMATS = {"csv": "text/csv", "json": "application/json", "html": "text/html", "md": "text/markdown",
           "parquet": "application/vnd.apache.parquet"}  # fmt: skip


@st.fragment
def panel(page: Page, values: dict[str, Any], document: Document, *asked: tuple[str, ...]) -> None:
    """Everything to take away, under one fold."""
    with st.expander(tr("Share and export"), icon=":material/ios_share:"):
        st.caption(tr("Link to exactly this question (copy button at its right)"))
        st.code(f"{_base()}{state.link(page, values)}", language=None, wrap_lines=True)
        if uploads.texts(values.values()):
            st.caption(tr("Your own chip travels in the link.") if uploads.packed(values.values()) else tr(
                "Your own chip is too large for a link: send the question as TOML, which holds it."))  # fmt: skip
        with st.container(horizontal=True, key=f"{page.id}_exports"):
            # written here: a download made later runs outside the session, which holds the reader's own chips
            st.download_button(
                tr("Question (TOML)"), state.to_toml(page, values), f"costsim-{page.id}.toml",
                "application/toml", key=f"{page.id}.toml", on_click="ignore", icon=":material/description:",
            )  # fmt: skip
            for form, mime in FORMATS.items():
                st.download_button(
                    form.upper(), lambda form=form: data(document, form), f"costsim-{page.id}.{form}", mime,
                    key=f"{page.id}.{form}", on_click="ignore", icon=":material/download:",
                )  # fmt: skip
        st.caption(tr("Charts: the camera in their corner saves a PNG; the HTML report prints to PDF."))
        command(*asked)


def _base() -> str:
    """Scheme, host and path of this dashboard as the reader's browser sees it, up to the page's name."""
    address = str(st.context.url or "")
    return f"{address.partition('?')[0].rpartition('/')[0]}/" if address else "/"


def data(document: Document, form: str) -> bytes:
    """The answer as a file."""
    return parquet(document) if form == "parquet" else rendered(document, form).encode("utf-8")


def parquet(document: Document) -> bytes:
    """The flat rows as a parquet table; columns of mixed kinds become text."""
    import pandas as pd

    rows = [{name: _plain(value) for name, value in row.items()} for row in document.rows]
    frame = pd.DataFrame(rows)
    for name in frame.columns:
        kinds = {type(value) for value in frame[name].dropna()}
        if len(kinds) > 1 and not kinds <= {int, float}:
            frame[name] = frame[name].map(lambda value: None if value is None else str(value))
    stream = io.BytesIO()
    frame.to_parquet(stream, index=False)
    return stream.getvalue()


def _plain(value: Any) -> Any:
    value = jsonable(value)
    return str(value) if isinstance(value, (list, dict)) else value
