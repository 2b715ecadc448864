"""Controls as widgets, in the order declared; the rarely used ones under a fold."""

from __future__ import annotations

from functools import partial
from typing import Any

import streamlit as st

from dashboards import glossary, state, uploads
from dashboards.controls import Control
from dashboards.page import Page
from dashboards.words import language, safe, spoken, tr

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
    """One control. Every widget is told its value as its default too: a browser that has not yet loaded the widget's
    code by the next run would otherwise draw it with the default alone, and send that back as what its reader chose.
    """
    name = state.key(page, mode, control.name)
    if name not in st.session_state:
        st.session_state[name] = control.at(mode)
    current = st.session_state[name]
    said = (glossary.of_setting(control.label, language() == "zh"), _example(control), tr(control.note))
    shared: dict[str, Any] = {"key": name, "help": "  \n".join(filter(None, said)) or None}
    text = tr(control.label)
    if control.kind in ("whole", "real"):
        return _number(text, control, mode, current, shared)
    if control.kind == "flag":
        return st.toggle(text, bool(current), **shared)
    if control.kind == "words":
        return st.multiselect(text, _options(control, current), current, format_func=_shown, **shared)
    if control.kind == "text":
        return _text(text, control, mode, current, shared)
    return _word(text, control, mode, current, shared, few=control.name == page.question.mode)


def _number(text: str, control: Control, mode: str, current: Any, shared: dict[str, Any]) -> Any:
    """A number. One that may be empty cannot have its value as its default, which it falls back to when emptied: it is
    told its value anew in every run until its reader changes it.
    """
    name = shared["key"]
    if control.at(mode) is None:
        shared |= {"placeholder": tr(control.empty)}
        if current is not None and current == state.seeded(name):
            st.session_state[name] = current
        current = None
    if control.kind == "whole":
        return st.number_input(text, *map(int, control.span), current, step=1, **shared)
    form = "%.3e" if control.span[1] > _WRITTEN_OUT else "%.6g"
    value = None if current is None else float(current)
    return st.number_input(text, *map(float, control.span), value, format=form, **shared)


def _text(text: str, control: Control, mode: str, current: Any, shared: dict[str, Any]) -> str | None:
    """A line of text. What cannot be read is said and the last that could is asked: everything else stays in place."""
    value = st.text_input(text, current or "", max_chars=160, placeholder=tr(control.empty), **shared)
    last = f"{shared['key']}!"
    try:
        found: str | None = control.checked((value or "").strip())
    except ValueError:
        found = st.session_state.get(last, control.at(mode))
        words = tr("{0} is not understood; write it like {1}. Until then {2} is asked.")
        instead = tr(control.empty) if found is None else found
        st.error(words.format(f"“{safe(value[:40])}”", f"`{control.help or control.at(mode)}`", f"“{safe(instead)}”"))
    st.session_state[last] = found
    return found


def _word(text: str, control: Control, mode: str, current: Any, shared: dict[str, Any], few: bool) -> str | None:
    """One of several words; the verb's own choice is one of them where it is the default."""
    options = _options(control, current)
    if control.at(mode) is None:
        options.insert(0, "")
        if current is None:
            current = st.session_state[shared["key"]] = ""
    index = options.index(current)
    shared["format_func"] = partial(_shown, empty=control.empty)
    if few and len(options) <= _SIDE_BY_SIDE:
        return st.radio(text, options, index, horizontal=True, **shared) or None
    return st.selectbox(text, options, index, **shared) or None


def _example(control: Control) -> str:
    return f"{tr('write it like')} `{control.help}`" if control.help else ""


def _options(control: Control, value: Any) -> list[str]:
    """The words, with what is chosen even where it has gone since: the answer then says what is wrong."""
    known = list(control.choices())
    chosen = value if isinstance(value, list) else [value]
    return [*known, *(word for word in chosen if word and word not in known)]


def _shown(word: str, empty: str = "") -> str:
    if not word:
        return f"({tr(empty)})"  # one of the words may be called as what stands for none: routing has "default"
    if word.startswith(uploads.OWN):
        return f"{uploads.own_chips().get(word, tr('gone'))} ({tr('yours')})"
    return spoken(word)
