"""Deployment search: every plan of a grid, the frontier, and why the rest fell out."""

from __future__ import annotations

from costsim.cli import search
from costsim.spec import plan
from dashboards import catalog
from dashboards.controls import QUANTITY, Control
from dashboards.page import Page

DECODE, PREFILL, SERVING, TRAINING = "decode", "prefill", "serving", "training"
_SERVE = (DECODE, PREFILL, SERVING)

PAGE = Page(
    id="search", title="Deployment search", icon=":material/travel_explore:", group="Answers", order=30, verb="search",
    lead="Every plan of a grid costed: the frontier between latency and cost, and what the rest failed on. "
         "Fields take lists and ranges: 8,16,32 or 1:256 or 64:1024:64.",
    mode="phase", long=True,
    controls=(
        Control("phase", "ph", "word", "Phase", DECODE, (DECODE, PREFILL, SERVING, TRAINING)),
        catalog.MODEL, catalog.CHIP, catalog.PRICE,
        Control("objective", "obj", "word", "Best", {TRAINING: "step_s"} | dict.fromkeys(_SERVE, "usd_per_mtok"),
                search.OBJECTIVES),
        Control("tpot", "tpot", "text", "Largest time per output token", None, pattern=QUANTITY,
                modes=(DECODE, SERVING), help="50ms"),
        Control("ttft", "ttft", "text", "Largest time to first token", None, pattern=QUANTITY, modes=(PREFILL, SERVING),
                help="2s"),
        Control("gpus", "g", "text", "Cards", None, help="8,16,32"),
        Control("batch_per_gpu", "b", "text", "Requests per card", None, modes=(DECODE,), help="1:256"),
        Control("tokens_per_gpu", "t", "text", "Tokens per card and step", None, modes=(PREFILL,), help="4096,8192"),
        Control("concurrency", "n", "text", "Requests in flight", None, modes=(SERVING,), help="16,64,256"),
        Control("context", "ctx", "text", "Mean context", None, modes=(DECODE,), help="4096"),
        Control("isl", "isl", "text", "Prompt tokens", None, modes=(PREFILL, SERVING), help="4096"),
        Control("osl", "osl", "text", "Answer tokens", None, modes=(SERVING,), help="1024"),
        Control("tp", "tp", "text", "Tensor parallel (tp)", None, more=True, help="1,2,4,8"),
        Control("pp", "pp", "text", "Pipeline stages (pp)", None, more=True, help="1,2,4"),
        Control("ep", "ep", "text", "Expert parallel (ep)", None, more=True, help="8,16,32,64"),
        Control("global_batch", "gb", "text", "Sequences per step", None, modes=(TRAINING,), more=True, help="15360"),
        Control("micro_batch", "mb", "text", "Micro-batch", None, modes=(TRAINING,), more=True, help="1,2"),
        Control("precision", "pr", "word", "Precision", None, plan.PRECISIONS, more=True),
        Control("overlap", "o", "word", "Overlap", None, plan.OVERLAPS, modes=_SERVE, more=True),
        Control("max_gpus", "mg", "whole", "At most so many cards", None, low=1, high=1_000_000, more=True),
        catalog.CLUSTER,
    ),
)  # fmt: skip
