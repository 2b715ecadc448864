"""Profiling runs: a profiler's trace as streams, overlap and kernels; a measurement file as laws with their errors."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any

import streamlit as st

from costsim.errors import BadInput
from dashboards import answers, catalog, export, show, uploads
from dashboards.controls import Control
from dashboards.page import Page, Question, Screen
from dashboards.run import long
from dashboards.words import safe, tr

MOST_TRACES = 8
TRACE, MEASUREMENTS = "trace", "measurements"


def show_page(page: Page, values: dict[str, Any]) -> None:
    """The files handed over, analysed."""
    try:
        found = _measured(values) if page.question.mode_of(values) == MEASUREMENTS else _traces(values)
        if found is None:
            st.info(tr("Nothing is sent anywhere: the file stays on the machine that runs this dashboard."))
            return
        argv, shown = found
        document = long(page.id, argv)
    except (BadInput, answers.Defect) as error:
        show.refusal(error)
        return
    if document is None:
        return
    document = show.renamed(document)
    st.markdown(f"**{safe(document.title)}**  \n{safe(document.subtitle)}")
    show.sections(document, page.id)
    export.panel(page, values, document, shown)


def _traces(values: dict[str, Any]) -> tuple[answers.Argv, answers.Argv] | None:
    """What is asked of the files, and how a reader would ask it of files of his own names."""
    given = st.file_uploader(
        tr("traces of torch.profiler, Ascend or any Chrome trace (.json, .json.gz); several ranks of one run together"),
        type=["json", "gz"], accept_multiple_files=True, key="profiling/traces", max_upload_size=uploads.DATA_MB,
    )  # fmt: skip
    if not given:
        return None
    if len(given) > MOST_TRACES:
        raise BadInput(f"{len(given)} files; this page takes up to {MOST_TRACES}, `costsim trace` thousands")
    paths = [str(uploads.keep(file.getvalue(), _suffix(file.name), uploads.DATA_BYTES, file.name)) for file in given]
    shown = [] if values.get("rank") is None else [f"--rank={values['rank']}"]
    return ("trace", *dict.fromkeys(paths), *shown), ("trace", *(file.name[:80] for file in given), *shown)


def _measured(values: dict[str, Any]) -> tuple[answers.Argv, answers.Argv] | None:
    given = st.file_uploader(
        tr("measurements of kernels or collectives (CSV of costsim profile: family, dtype, shape, time_s, source)"),
        type=["csv"], key="profiling/measurements", max_upload_size=uploads.TEXT_MB,
    )  # fmt: skip
    if given is None:
        return None
    path = uploads.keep(given.getvalue(), ".csv", name=given.name)
    chip = uploads.spelled(str(values.get("accelerator")))
    asked = ("calibrate", chip, f"--measurements={path}", "--out=page.html")
    return asked, ("calibrate", str(values.get("accelerator")), f"--measurements={given.name[:80]}")


def _suffix(name: str) -> str:
    """Only whether the file is compressed is taken from its name."""
    return ".json.gz" if PurePosixPath(name).suffix.lower() == ".gz" else ".json"


CONTROLS = (
    Control("file", "f", "word", "File", TRACE, (TRACE, MEASUREMENTS)),
    Control("rank", "rk", "whole", "Rank shown in detail", None, span=(0, 1_000_000), modes=(TRACE,),
            empty="the first file"),
    Control("accelerator", "a", "word", "Measured on", {MEASUREMENTS: "h800-sxm"}, catalog.chips,
            modes=(MEASUREMENTS,)),
)  # fmt: skip

PAGE = Page(
    id="profiling", title="Profiling runs", icon=":material/query_stats:", group="Evidence", order=120,
    lead="A profiler's trace read as streams, kernels, overlap and waiting; a measurement file as laws with their "
         "errors on shapes left out.",
    question=Question(
        verb="trace", mode="file",
        controls=CONTROLS,
    ),
    screen=Screen(
        show=show_page,
    ),
)  # fmt: skip
