"""Overview: one scenario, the numbers that matter most, and where to go from here."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import streamlit as st

from costsim.errors import BadInput
from costsim.report.document import Document
from dashboards import answers, catalog, compare, evidence, export, origin, pages, presets, show
from dashboards.controls import Control
from dashboards.page import Page, Question, Screen
from dashboards.words import pieces, safe, tr

#: what is asked: heading, verb, options of its own, values that it takes, its headline
QUESTIONS = (
    ("Prefill", "infer", ("--phase=prefill",), {"prefill_gpus": "gpus", "isl": "isl"},
     ("usd_per_mtok_input", "tokens_per_s_per_gpu", "ttft_s")),
    ("Decode", "infer", ("--phase=decode",), {"decode_gpus": "gpus", "context": "context", "batch": "batch-per-gpu"},
     ("usd_per_mtok_output", "tokens_per_s_per_gpu", "tpot_s")),
    ("Training run", "train", (), {"training_gpus": "gpus", "tokens": "tokens"},
     ("usd_per_run", "gpu_hours", "mfu_causal")),
)  # fmt: skip


def argv_of(values: dict[str, Any], verb: str, own: tuple[str, ...], taken: dict[str, str]) -> tuple[str, ...]:
    """One of the questions as a command line."""
    shared = [control for control in PAGE.question.controls if control.name in ("model", "accelerator", "price")]
    subject = pages.options(shared, values)
    mine = [f"--{option}={values[name]:.12g}" for name, option in taken.items() if values.get(name) is not None]
    return (verb, *own, *subject, *mine)


def show_page(page: Page, values: dict[str, Any]) -> None:
    """Three answers, presets and the way on."""
    found: dict[str, Document] = {}
    for heading, verb, own, taken, headline in QUESTIONS:
        argv = argv_of(values, verb, own, taken)
        st.subheader(tr(heading), anchor=False)
        try:
            document = answers.ask(argv)
        except (BadInput, answers.Defect) as error:
            show.refusal(error)
            continue
        found[heading] = document
        _cards(heading, argv, document, headline)
    with st.expander(tr("What the grades mean")):
        for grade, words in show.GRADE_WORDS.items():
            st.markdown(f":{show.GRADE_COLOURS[grade]}-badge[{grade}] {tr(words)}")
        st.markdown(tr("A band holds the middle four fifths of what held-out measurements say: P10 to P90."))
    _compared(page, found)
    if found:
        export.panel(page, values, together(found), *(argv_of(values, *one[1:4]) for one in QUESTIONS))
    presets.links()


def together(found: dict[str, Document]) -> Document:
    """The answers as one document to take away."""
    sections = [
        replace(part, heading=f"{heading}: {part.heading}") for heading, document in found.items()
        for part in document.sections if part.heading not in ("Sources", "Notes")
    ]  # fmt: skip
    rows = [{"question": heading, **row} for heading, document in found.items() for row in document.rows]
    return Document("Overview", sections, {name: dict(document.payload) for name, document in found.items()}, rows=rows)


def _cards(heading: str, argv: tuple[str, ...], document: Document, headline: tuple[str, ...]) -> None:
    asked = Question(argv[0], subject=lambda _: list(argv[1:]), explains=argv[0] == "infer")
    target = Page("overview", heading, "", "", 0, "", asked)
    st.caption(safe(pieces(document.title)))
    show.cards(
        show.metrics_of(document), headline,
        lambda name: origin.open_dialog(target, {}, document, name), f"overview_{heading.split()[0].lower()}_",
    )  # fmt: skip
    show.price(document)


def _compared(page: Page, found: dict[str, Document]) -> None:
    """Every number of A and of now."""
    store = f"{page.id}.A"
    with st.expander(tr("Compare A and B")):
        with st.container(horizontal=True):
            if st.button(tr("Keep this as A"), key="overview.keep", icon=":material/push_pin:"):
                st.session_state[store] = found
            if store in st.session_state and st.button(tr("Forget A"), key="overview.forget"):
                st.session_state.pop(store)
        first: dict[str, Document] = st.session_state.get(store, {})
        if not first:
            st.info(tr("Keep an answer as A, then change a setting: B is what the settings ask now."))
        for heading in first:
            if heading in found:
                st.markdown(f"**{tr(heading)}**")
                show.table(compare.inputs(first[heading], found[heading]))
                show.table(compare.numbers(page, first[heading], found[heading]))
                if first[heading] is not found[heading]:
                    evidence.attributed(f"overview.{heading}", first[heading], found[heading])


CONTROLS = (
    catalog.MODEL, catalog.CHIP, catalog.PRICE,
    Control("isl", "isl", "whole", "Prompt tokens", 4096, span=(1, 10_000_000)),
    Control("context", "ctx", "whole", "Mean context", 4096, span=(1, 10_000_000)),
    Control("batch", "b", "real", "Requests per card", 128.0, span=(1e-6, 1e6)),
    Control("prefill_gpus", "pg", "whole", "Cards that prefill", 32, span=(1, 100_000)),
    Control("decode_gpus", "dg", "whole", "Cards that decode", 128, span=(1, 100_000)),
    Control("training_gpus", "tg", "whole", "Cards that train", 2048, span=(1, 1_000_000)),
    Control("tokens", "tok", "real", "Tokens of the run", 14.8e12, span=(1.0, 1e15)),
)  # fmt: skip

PAGE = Page(
    id="overview", title="Overview", icon=":material/dashboard:", group="Answers", order=10,
    lead="One model on one chip at one price: what a million tokens and a training run cost.",
    question=Question(
        verb="infer",
        controls=CONTROLS,
    ),
    screen=Screen(
        show=show_page,
    ),
)  # fmt: skip
