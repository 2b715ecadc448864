"""Profiling runs: load a profiler's trace and see streams, overlap, waiting, phases and kernels."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any

import streamlit as st

from costsim.errors import BadInput
from dashboards import answers, export, show, uploads
from dashboards.page import Page
from dashboards.run import long
from dashboards.words import safe, tr

MOST_TRACES = 8


def show_page(page: Page, _values: dict[str, Any]) -> None:
    """The traces handed over, analysed."""
    given = st.file_uploader(
        tr("traces of torch.profiler, Ascend or any Chrome trace (.json, .json.gz); several ranks of one run together"),
        type=["json", "gz"], accept_multiple_files=True, key="profiling/traces", max_upload_size=uploads.DATA_MB,
    )  # fmt: skip
    if not given:
        st.info(tr("Nothing is sent anywhere: the file stays on the machine that runs this dashboard."))
        return
    try:
        if len(given) > MOST_TRACES:
            raise BadInput(f"{len(given)} files; this page takes up to {MOST_TRACES}, `costsim trace` thousands")
        paths = [str(uploads.keep(file.getvalue(), _suffix(file.name), uploads.DATA_BYTES)) for file in given]
        document = long(page.id, ("trace", *dict.fromkeys(paths)))
    except (BadInput, answers.Defect) as error:
        show.refusal(error)
        return
    if document is None:
        return
    st.markdown(f"**{safe(document.title)}**  \n{safe(document.subtitle)}")
    show.sections(document, page.id)
    export.panel(page, {}, document, ("trace", *(safe(file.name)[:80] for file in given)))


def _suffix(name: str) -> str:
    """Only whether the file is compressed is taken from its name."""
    return ".json.gz" if PurePosixPath(name).suffix.lower() == ".gz" else ".json"


PAGE = Page(
    id="profiling", title="Profiling runs", icon=":material/query_stats:", group="Evidence", order=120, verb="trace",
    lead="A profiler's trace read as streams, kernels, overlap and waiting.", show=show_page,
)  # fmt: skip
