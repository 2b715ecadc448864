"""What happens on every page: values from the link, controls, the verb's answer or its refusal, views, exports."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import TimeoutError as NotYet
from dataclasses import dataclass
from typing import Any

import streamlit as st

from costsim.errors import BadInput
from costsim.report.document import Document
from dashboards import answers, compare, draw, evidence, export, origin, show, state
from dashboards.answers import Job
from dashboards.page import Page
from dashboards.words import name_of, pieces, safe, tr

#: seconds that a long question may take before progress is shown instead of a blank
PATIENCE_S, REFRESH_S = 0.7, 0.5
#: in a page's ``skip``: what it draws above is all of the answer
ALL_SECTIONS = "*"
ANSWER, COMPARE, EXPLAIN = "Answer", "Compare A and B", "Explain a number"


@dataclass(frozen=True)
class Seen:
    """What a view shows: the page, what was asked, and the answer."""

    page: Page
    values: dict[str, Any]
    document: Document


def run(page: Page) -> None:
    """Draw one page."""
    notices = state.restore(page)
    st.title(tr(page.title), anchor=False)
    st.markdown(tr(page.lead))
    if notices:
        st.warning("  \n".join(notices), icon=":material/edit_note:")
    if not page.question.controls:
        _answer(page, {})
        return
    left, right = st.columns([1, 3.1], gap="medium")
    with left, st.container(key=f"{page.id}_controls"):
        values = draw.controls(page)
    with right:
        _answer(page, values)


def _answer(page: Page, values: dict[str, Any]) -> None:
    if page.screen.show is not None:
        state.publish(page, values, "")
        page.screen.show(page, values)
        return
    slot = st.container(key=f"{page.id}_view")
    try:
        argv = page.question.argv(values)
        document = long(page.id, argv) if page.question.long else answers.ask(argv)
    except (BadInput, answers.Defect, answers.Cancelled) as error:
        state.publish(page, values, "")
        show.refusal(error)
        return
    if document is None:
        state.publish(page, values, "")
        return
    views = views_of(page, document)
    with slot:
        chosen = _view(page, list(views))
    state.publish(page, values, "" if chosen == next(iter(views)) else chosen)
    views[chosen](Seen(page, values, document))
    export.panel(page, values, document, argv)


def views_of(page: Page, document: Document) -> dict[str, Callable[[Seen], None]]:
    """The ways to look at an answer: its own page, what the page adds, and for reports comparison and explanation."""
    views: dict[str, Callable[[Seen], None]] = {ANSWER: answer_view, **page.screen.views}
    if show.metrics_of(document, page.screen.numbers):
        views |= {COMPARE: lambda seen: compare.view(seen.page, seen.document), EXPLAIN: explain_view}
    if evidence.has("sensitivity", document):
        views["Sensitivity"] = evidence.sensitivity
    return views


def _view(page: Page, names: list[str]) -> str:
    if len(names) == 1:
        return names[0]
    key = f"{page.id}/view"
    asked = st.session_state.pop(f"{page.id}/view from link", None)
    if key not in st.session_state or st.session_state[key] not in names:
        st.session_state[key] = asked if asked in names else names[0]
    return str(st.segmented_control(tr("View"), names, default=st.session_state[key], key=key, format_func=tr,
                                    required=True, label_visibility="collapsed"))  # fmt: skip


def answer_view(seen: Seen) -> None:
    """Large numbers first, then the document as the command line would write it."""
    page, document = seen.page, seen.document
    metrics = show.metrics_of(document, page.screen.numbers)
    if document.title:
        st.markdown(f"**{safe(pieces(document.title))}**")
    if metrics:
        wanted = page.screen.headline or list(metrics)[:6]
        show.cards(metrics, wanted, lambda name: origin.open_dialog(page, seen.values, document, name), f"{page.id}_")
        show.price(document)
    if page.screen.above is not None:
        page.screen.above(seen)
    if ALL_SECTIONS not in page.screen.skip:
        show.sections(document, page.id, page.screen.skip)


@st.fragment
def explain_view(seen: Seen) -> None:
    """Any number of the answer, term by term."""
    page = seen.page
    names = list(show.metrics_of(seen.document, page.screen.numbers))
    if page.question.explains:
        memory = show.payload(seen.document).get("memory") or {}
        names = [*names, *(name for name in memory if name.endswith("bytes") and name != "capacity_bytes")]
    metric = st.selectbox(tr("Number"), names, format_func=name_of, key=f"{page.id}/explained")
    if metric:
        origin.explained(page, seen.values, seen.document, metric, "view")


def long(name: str, argv: answers.Argv) -> Document | None:
    """The answer of a long question, or None while it is under way: then progress and a way to stop are shown."""
    found = answers.kept(argv)
    if found is not None:
        return found
    store = f"{name}.job"
    job: Job | None = st.session_state.get(store)
    if job is None or job.argv != argv:
        if job is not None:
            job.cancel()
        job = st.session_state[store] = Job(argv).start()
        assert job.future is not None
        try:
            return job.future.result(timeout=PATIENCE_S)
        except NotYet:
            pass
        except (BadInput, answers.Defect, answers.Cancelled):
            pass
    error = job.error()
    if error is not None:
        if not isinstance(error, (BadInput, answers.Defect, answers.Cancelled)):
            error = answers.Defect(f"{type(error).__name__}: {str(error)[:200]}")
        show.refusal(error)
        if st.button(tr("Run"), key=f"{name}.again", type="primary"):
            st.session_state.pop(store)
            st.rerun()
        return None
    if job.done and job.future is not None:
        return job.future.result()
    _watch(job, name)
    return None


@st.fragment(run_every=REFRESH_S)
def _watch(job: Job, name: str) -> None:
    job.watched.set()
    if job.done:
        st.rerun()
    text = safe(job.text) or tr("working …")
    if job.share is None:
        st.info(text, icon=":material/hourglass_top:")
    else:
        st.progress(job.share, text)
    if st.button(tr("Stop"), key=f"{name}.stop", icon=":material/stop_circle:"):
        job.cancel()
        st.caption(tr("stopping …"))
