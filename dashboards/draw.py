"""Controls as widgets, in the order declared; the rarely used ones under a fold."""

from __future__ import annotations

from typing import Any

import streamlit as st

from dashboards import glossary, state, uploads
from dashboards.controls import Control
from dashboards.page import Page
from dashboards.words import language, spoken, tr

#: beyond this a number is shown with its power of ten; words of a mode that stand side by side
_WRITTEN_OUT, _SIDE_BY_SIDE = 1e12, 5


def controls(page: Page) -> dict[str, Any]:
    """Draw every control of the page and return the values chosen."""
    values: dict[str, Any] = {}
    mode = page.question.default_mode
    for control in page.question.controls:
        if control.name == page.question.mode:
            mode = str(_widget(page, "", control) or page.question.default_mode)
            values[control.name] = mode
    asked = page.question
    shown = [control for control in asked.controls if control.shown(mode) and control.name != asked.mode]
    for control in shown:
        if not control.fold:
            values[control.name] = _widget(page, mode, control)
    for fold in dict.fromkeys(control.fold for control in shown if control.fold):
        with st.expander(tr(fold)):
            for control in shown:
                if control.fold == fold:
                    values[control.name] = _widget(page, mode, control)
    order = [control.name for control in page.question.controls if control.name in values]
    return {name: values[name] for name in order}


def _widget(page: Page, mode: str, control: Control) -> Any:
    name = state.key(page, mode, control.name)
    if name not in st.session_state:
        st.session_state[name] = control.at(mode)
    said = (glossary.of_setting(control.label, language() == "zh"), _example(control), tr(control.note))
    shared: dict[str, Any] = {"key": name, "help": "  \n".join(filter(None, said)) or None}
    text = tr(control.label)
    if control.kind == "whole":
        return st.number_input(text, *map(int, control.span), step=1, **_empty(control, mode), **shared)
    if control.kind == "real":
        form = "%.3e" if control.span[1] > _WRITTEN_OUT else "%.6g"
        return st.number_input(text, *map(float, control.span), format=form, **_empty(control, mode), **shared)
    if control.kind == "flag":
        return st.toggle(text, **shared)
    if control.kind == "words":
        return st.multiselect(text, _options(control, st.session_state[name]), format_func=_shown, **shared)
    if control.kind == "text":
        value = st.text_input(text, max_chars=160, placeholder=tr(control.empty), **shared)
        try:
            return control.checked((value or "").strip())
        except ValueError:
            st.error(f"{text}: {tr('write it like')} `{control.help or control.at(mode)}`")
            st.stop()
    options = _options(control, st.session_state[name])
    if control.name == page.question.mode and len(options) <= _SIDE_BY_SIDE:
        return st.radio(text, options, format_func=_shown, horizontal=True, **shared)
    return st.selectbox(text, options, format_func=_shown, **_empty(control, mode, index=True), **shared)


def _example(control: Control) -> str:
    return f"{tr('write it like')} `{control.help}`" if control.help else ""


def _empty(control: Control, mode: str, index: bool = False) -> dict[str, Any]:
    """A widget whose default is the verb's own may stay empty, and says so."""
    if control.at(mode) is not None:
        return {}
    return {"index" if index else "value": None, "placeholder": tr(control.empty)}


def _options(control: Control, value: Any) -> list[str]:
    """The words, with what is chosen even where it has gone since: the answer then says what is wrong."""
    known = list(control.choices())
    chosen = value if isinstance(value, list) else [value]
    return [*known, *(word for word in chosen if word is not None and word not in known)]


def _shown(word: str) -> str:
    if word.startswith(uploads.OWN):
        return f"{uploads.own_chips().get(word, tr('gone'))} ({tr('yours')})"
    return spoken(word)
