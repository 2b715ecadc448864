"""Presets: questions that many people have, each a link into the page that answers it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import streamlit as st

from dashboards import pages, state
from dashboards.show import CARD_WIDTH
from dashboards.words import tr


@dataclass(frozen=True)
class Preset:
    """A question by the id of its page and the values that differ from the page's defaults."""

    page: str
    title: str
    text: str
    values: dict[str, Any] = field(default_factory=dict)


PRESETS = (
    Preset("training", "V3 pre-training on 2,048 H800", "14.8 trillion tokens at 2 USD an hour",
           {"model": "deepseek-v3", "accelerator": "h800-sxm", "price": "2 USD/h", "gpus": 2048, "pp": 16, "ep": 64,
            "global_batch": 15360, "tokens": 14.8e12}),
    Preset("fleet", "DeepSeek's serving day", "27 February 2025: nodes, cost, theoretical income"),
    Preset("inference", "DeepSeek's decode unit", "144 H800, 32 redundant experts",
           {"phase": "decode", "accelerator": "h800-sxm", "price": "2 USD/h", "gpus": 144, "redundant_experts": 32,
            "context": 4989, "batch_per_gpu": 128.0}),
    Preset("inference", "H20 decode", "16 cards, batch 32, FP8",
           {"phase": "decode", "accelerator": "h20-96g", "gpus": 16, "batch_per_gpu": 32.0, "overlap": "none"}),
    Preset("inference", "910C supernode", "160 cards of CloudMatrix384, INT8, batch 192 a card",
           {"phase": "decode", "accelerator": "ascend-910c", "gpus": 160, "precision": "int8", "batch_per_gpu": 192.0,
            "cluster": "cloudmatrix384"}),
    Preset("posttraining", "Two-GPU hobby RL", "GRPO on a countdown game, Qwen2.5-3B on two H100",
           {"question": "a published recipe", "recipe": "tiny-zero-3b"}),
    Preset("inference", "One 8-GPU box", "8 H200, tp 8, 64 requests in flight",
           {"phase": "serving", "accelerator": "h200-sxm", "gpus": 8, "tp": 8, "concurrency": 64}),
)  # fmt: skip


def available() -> list[Preset]:
    """Those whose page is there and knows every value."""
    known = pages.all_pages()
    return [
        preset
        for preset in PRESETS
        if preset.page in known and not state.checked(known[preset.page], preset.values, by_short=False)[1]
    ]


def links() -> None:
    """Every preset as a link that works in any browser."""
    st.subheader(tr("Start from a question that others have"), anchor=False)
    known = pages.all_pages()
    with st.container(horizontal=True, key="presets"):
        for preset in available():
            page = known[preset.page]
            values = {**page.question.defaults(page.question.mode_of(preset.values)), **preset.values}
            query = {**state.link_keys(page, values, whole=False), "v": state.VERSION}
            with st.container(border=True, width=CARD_WIDTH):
                st.page_link(pages.streamlit_page(page), label=tr(preset.title), icon=page.icon, query_params=query)
                st.caption(tr(preset.text))
