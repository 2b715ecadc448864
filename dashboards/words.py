"""The words of the page in the reader's language, and texts of others made harmless."""

from __future__ import annotations

import re

import streamlit as st

from costsim.report.words import label
from dashboards.zh import CHINESE

LANGUAGES = {"en": "English", "zh": "中文"}
_SPECIAL = re.compile(r"([\\`*_{}\[\]()#+\-.!|<>~$:@&^=])")


def language() -> str:
    """Of this session."""
    return str(st.session_state.get("lang", "en"))


def choose_language() -> None:
    """Take the language from the link on the first run; anything unknown is English."""
    asked = st.query_params.get("lang")
    if "lang" not in st.session_state:
        st.session_state["lang"] = asked if asked in LANGUAGES else "en"


def tr(text: str) -> str:
    """The text in the reader's language, as it is where no translation exists."""
    return CHINESE.get(text, text) if language() == "zh" else text


def name_of(metric: str) -> str:
    """A metric's name in words."""
    return tr(label(metric))


def safe(text: str) -> str:
    """Text of unknown origin for a place that reads Markdown: no sign of it keeps a meaning, no line breaks."""
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))
