"""The words of the page in the reader's language, and texts of others made harmless."""

from __future__ import annotations

import re

import streamlit as st

from costsim.report.words import label
from dashboards.sentences import chinese, plain
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


#: names of metrics that their unit alone tells apart
_NAMES = {
    "bf16_usd": "BF16 run", "fp8_usd": "FP8 run", "usd_per_h": "USD per hour", "usd": "money",
    "joules_per_token_output": "joules per output token", "joules_per_token_input": "joules per input token",
    "energy_mwh": "energy", "cash_usd": "cash for all of it", "final_run_usd": "final run at rental price",
    "staff_usd": "everything, with staff", "gpus_at_p90": "cards at P90", "usd_per_h_at_p90": "USD per hour at P90",
    "usd_per_mtok_output_at_p90": "USD per Mtok output at P90",
}  # fmt: skip


#: words of options that are no words of a language
_SPOKEN = {
    "usd_per_mtok": "cheapest tokens",
    "tokens_per_s_per_gpu": "most tokens/s per card",
    "step_s": "shortest step",
}


def spoken(word: str) -> str:
    """A word of an option as a reader says it."""
    return tr(_SPOKEN.get(word, word))


def said(text: str) -> str:
    """A text of an answer in the reader's language: wholly, or as it is."""
    return chinese(text) or text if language() == "zh" else text


def pieces(text: str) -> str:
    """A heading or title in the reader's language, part by part where every part has a translation or needs none."""
    if language() == "en":
        return text
    found = chinese(text)
    if found is not None:
        return found
    for sign, joint in ((": ", "："), (", ", "，")):
        parts = text.split(sign)
        if len(parts) > 1:
            known = [part if plain(part) else chinese(part) for part in parts]
            return text if None in known else joint.join(part for part in known if part is not None)
    return text


def name_of(metric: str) -> str:
    """A metric's name in words."""
    return tr(_NAMES.get(metric) or label(metric))


def safe(text: str) -> str:
    """Text of unknown origin for a place that reads Markdown: no sign of it keeps a meaning, no line breaks."""
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))
