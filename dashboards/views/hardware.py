"""Hardware: a chip's datasheet with sources, its laws against measured points, chips side by side, your own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import streamlit as st

from costsim.errors import BadInput
from costsim.report.document import Document, Section, Table
from costsim.spec.catalog import ACCELERATORS
from dashboards import answers, catalog, chip_form, export, show, state, uploads
from dashboards.controls import Control
from dashboards.page import Page, Question, Screen
from dashboards.words import name_of, safe, tr

VIEWS = ("One chip", "Side by side", "All chips", "Add your own")


def show_page(page: Page, values: dict[str, Any]) -> None:
    """One chip, the catalog, or a form for another."""
    view = values["view_of"]
    if view == "Add your own":
        _own()
        return
    argv = page.question.argv(values)
    try:
        from dashboards.run import long

        document = side_by_side(values["accelerators"]) if view == "Side by side" else long(page.id, argv)
    except (BadInput, answers.Defect) as error:
        show.refusal(error)
        return
    if document is None:
        return
    st.markdown(f"**{safe(document.title)}**")
    show.sections(document, f"hw.{view}")
    export.panel(page, values, document, argv)


def side_by_side(ids: list[str]) -> Document:
    """Chips in columns: what `costsim hw show` says of each field of each."""
    asked = [answers.ask(("hw", "show", uploads.spelled(name))) for name in ids]
    if not asked:
        raise BadInput("choose one accelerator or more")
    sheets = {show.payload(document)["id"]: show.payload(document) for document in asked}
    fields = dict.fromkeys(key for sheet in sheets.values() for key in sheet["datasheet"])
    rows = [
        [name_of(key), *(_datum(sheet["datasheet"].get(key)) for sheet in sheets.values())] for key in fields
    ]  # fmt: skip
    laws = dict.fromkeys(key for sheet in sheets.values() for key in sheet["calibration"])
    graded = [[key, *((sheet["calibration"].get(key) or {}).get("grade") for sheet in sheets.values())] for key in laws]
    flat = [row for document in asked for row in _named(document)]
    sections = [
        Section("Datasheet: dense peaks, bandwidths per direction", (), [Table(("field", *sheets), rows)]),
        Section("Calibration", [tr("The grade of the law that times of each kind rest on.")],
                [Table(("law", *sheets), graded)]),
    ]  # fmt: skip
    return Document(" · ".join(sheets), sections, {"accelerators": sheets}, rows=flat)


def _datum(datum: Mapping[str, Any] | None) -> str:
    if datum is None:
        return "–"
    return f"{datum['text']} ({datum['confidence']})" if datum["source"] else str(datum["text"])


def _named(document: Document) -> list[dict[str, Any]]:
    return [{"accelerator": show.payload(document)["id"], **row} for row in document.rows]


def subject(values: dict[str, Any]) -> list[str]:
    """``hw list``, or ``hw show ID`` with the plots that a page of it has."""
    if values.get("view_of") == "All chips":
        return ["list"]
    if values.get("view_of") == "Side by side":
        return ["show", *[uploads.spelled(name) for name in values["accelerators"]][:1]]
    return ["show", uploads.spelled(str(values.get("accelerator") or "h800-sxm")), "--out=page.html"]


def _own() -> None:
    st.markdown(tr("Start from a chip near yours, change what differs, and add it. It is kept for this session only."))
    known = catalog.shipped_chips()
    base = st.selectbox(tr("Start from"), known, known.index("h800-sxm"), key="hardware/base")
    text = ACCELERATORS.joinpath(f"{base}.toml").read_text(encoding="utf-8")
    added = None
    for way in (chip_form.asked, _by_text):  # both are drawn, whatever one of them is told
        try:
            data = way(base, text)
            added = uploads.add_chip(data) if data is not None else added
        except BadInput as error:
            show.refusal(error)
    if added is not None:
        state.later(PAGE, {"view_of": "One chip", "accelerator": added})
        st.rerun()


def _by_text(base: str, text: str) -> bytes | None:
    """The TOML typed or uploaded, once its button is pressed."""
    with st.expander(tr("or as TOML")):
        if st.session_state.get("hardware/shown base") != base or "hardware/text" not in st.session_state:
            st.session_state["hardware/shown base"] = base
            st.session_state["hardware/text"] = text
        edited = st.text_area(tr("The chip as TOML"), st.session_state["hardware/text"], key="hardware/text",
                              height=420, max_chars=uploads.TEXT_BYTES)  # fmt: skip
        typed = st.button(tr("Add the chip of this text"), type="primary", key="hardware/add")
        given = st.file_uploader(
            tr("or a TOML file"), type=["toml"], key="hardware/file", max_upload_size=uploads.TEXT_MB
        )
        filed = given is not None and st.button(
            tr("Add the chip of this file"), type="primary", key="hardware/add file"
        )
    if typed and (edited or "").strip() == text.strip():
        raise BadInput(f"this is {base} as it ships; change its id and what differs")
    if filed and given is not None:
        return bytes(given.getvalue())
    return (edited or "").encode() if typed else None


CONTROLS = (
    Control("view_of", "w", "word", "Show", VIEWS[0], VIEWS),
    Control("accelerator", "a", "word", "Accelerator", "h800-sxm", catalog.chips, modes=(VIEWS[0],)),
    Control("accelerators", "as", "words", "Accelerators", {"Side by side": ["h800-sxm", "h20-96g", "ascend-910c"]},
            catalog.chips, modes=("Side by side",)),
)  # fmt: skip

PAGE = Page(
    id="hardware", title="Hardware", icon=":material/memory:", group="Evidence", order=100,
    lead="What the vendor states, what was measured, and how well the laws meet the points.",
    question=Question(
        verb="hw", mode="view_of", subject=subject,
        controls=CONTROLS,
    ),
    screen=Screen(
        show=show_page,
    ),
)  # fmt: skip
