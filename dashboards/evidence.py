"""Answers set against each other by the engine: a difference attributed, a number's tornado, an order's robustness."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from costsim.cli.main import available
from costsim.errors import BadInput
from costsim.report.document import Document
from costsim.report.jsonable import dumps
from dashboards import answers, origin, show, uploads
from dashboards.words import name_of, tr

if TYPE_CHECKING:
    from dashboards.run import Seen

#: kinds of answers that the verbs read back
KINDS = {"sensitivity": ("prefill", "decode", "serving", "training", "post_training")}
KINDS["diff"] = (*KINDS["sensitivity"], "training_run", "simulation")


def has(verb: str, document: Document) -> bool:
    """Whether this installation can ask this verb about this answer."""
    return verb in available() and show.payload(document).get("kind") in KINDS[verb]


def attributed(name: str, first: Document, second: Document) -> None:
    """Why two answers differ, input by input, adding up."""
    if has("diff", first) and has("diff", second) and first.payload.get("kind") == second.payload.get("kind"):
        st.subheader(tr("What the difference is made of"), anchor=False)
        _asked(f"{name}.diff", ("diff", _file(first, "A"), _file(second, "B")), f"{name}.diff")


@st.fragment
def sensitivity(seen: Seen) -> None:
    """A tornado over the bands of what a number rests on; with an A, how often B beats it."""
    from dashboards.compare import kept

    page, document = seen.page, seen.document
    names = [name for name in page.screen.headline if name in show.metrics_of(document)]
    metric = st.selectbox(tr("Number"), names, format_func=name_of, key=f"{page.id}/sensitive")
    if not metric:
        return
    first = kept(page)
    others = [_file(first, "A")] if first is not None and has("sensitivity", first) else []
    _asked(
        f"{page.id}.sensitivity",
        ("sensitivity", _file(document, "B"), *others, f"--metric={metric}"),
        f"{page.id}.tornado",
    )


def _asked(name: str, argv: tuple[str, ...], key: str) -> None:
    from dashboards.run import long

    try:
        found = long(name, argv)
    except (BadInput, answers.Defect) as error:
        show.refusal(error)
        return
    if found is not None:
        show.sections(show.renamed(found), key)
        letters = iter("ba" if argv[0] == "sensitivity" else "ab")
        origin.command(tuple(f"{next(letters)}.json" if word.startswith("/") else word for word in argv))
        st.caption(tr("a.json and b.json: the two answers, each saved with --json > FILE or by the JSON button below."))


def _file(document: Document, name: str) -> str:
    """An answer as the file that verbs read back; texts call it ``name``."""
    return str(uploads.keep(dumps(document.payload).encode(), ".json", uploads.ANSWER_BYTES, name))
