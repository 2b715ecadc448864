"""Serving simulation: requests one by one through a deployment; queues, latency distributions, goodput."""

from __future__ import annotations

from typing import Any

from costsim.cli import simulate
from costsim.predict.loads import trace_names
from costsim.serving.router import ROUTERS
from costsim.spec import plan
from dashboards import catalog, uploads
from dashboards.controls import QUANTITY, Control, options_of
from dashboards.page import Page

OPEN, CLOSED, TRACE = "rate", "concurrency", "trace"
_MADE = (OPEN, CLOSED)


def subject(values: dict[str, Any]) -> list[str]:
    """The options without the word that only says which kind of load is meant."""
    rest = [control for control in PAGE.controls if control.name != "load"]
    return options_of(rest, values, PAGE.mode_of(values), uploads.spelled)


PAGE = Page(
    id="simulation", title="Serving simulation", icon=":material/timeline:", group="Answers", order=40, verb="simulate",
    lead="Requests one by one through a deployment: queues, latency quantiles, goodput, money.",
    mode="load", long=True, subject=subject, skip=("Latency",),
    headline=("ttft_p50_s", "ttft_p99_s", "tpot_p50_s", "tpot_p99_s", "output_tokens_per_s_per_gpu",
              "usd_per_mtok_output", "goodput_share", "busy_share"),
    controls=(
        Control("load", "ld", "word", "Load", OPEN, (OPEN, CLOSED, TRACE)),
        Control("rate", "q", "real", "Requests a second", {OPEN: 4.0}, low=1e-6, high=1e5, modes=(OPEN,)),
        Control("concurrency", "n", "whole", "Requests in flight", {CLOSED: 64}, low=1, high=20_000, modes=(CLOSED,)),
        Control("trace", "tr", "word", "Recorded trace", {TRACE: "azure-conv-2023"}, lambda: tuple(trace_names()),
                modes=(TRACE,)),
        Control("requests", "k", "whole", "Requests in all", {OPEN: 1000, CLOSED: 640, TRACE: 2000}, low=1,
                high=50_000),
        Control("isl", "isl", "whole", "Prompt tokens", {OPEN: 2000, CLOSED: 1024}, low=1, high=1_000_000, modes=_MADE),
        Control("osl", "osl", "whole", "Answer tokens", {OPEN: 500, CLOSED: 1024}, low=1, high=100_000, modes=_MADE),
        catalog.MODEL, catalog.chip("h200-sxm"), catalog.PRICE,
        Control("gpus", "g", "whole", "Cards", 8, low=1, high=4096),
        Control("tp", "tp", "whole", "Tensor parallel (tp)", 8, low=1, high=4096),
        Control("ttft", "ttft", "text", "Target: time to first token", "1s", pattern=QUANTITY, help="1s"),
        Control("tpot", "tpot", "text", "Target: time per token", "50ms", pattern=QUANTITY, help="50ms"),
        Control("speed", "sp", "real", "Play so many times as fast", {TRACE: 1.0}, low=1e-3, high=1e4, modes=(TRACE,)),
        Control("cv", "cv", "real", "Burstiness of arrivals (cv)", {OPEN: 1.0}, low=0, high=50, modes=(OPEN,),
                more=True),
        Control("pp", "pp", "whole", "Pipeline stages (pp)", 1, low=1, high=64, more=True),
        Control("ep", "ep", "whole", "Expert parallel (ep)", None, low=1, high=4096, more=True),
        Control("prefill_gpus", "pg", "whole", "Cards of a separate prefill pool", None, low=1, high=4096, more=True),
        Control("router", "rt", "word", "Router", None, tuple(ROUTERS), more=True),
        Control("order", "or", "word", "Prompts beside answers, or first", None, simulate.ORDERS, more=True),
        Control("prefix_cache", "pc", "flag", "Prefix cache", False, more=True),
        Control("token_budget", "tb", "whole", "New tokens of an iteration", None, low=1, high=1_000_000, more=True),
        Control("max_running", "mr", "whole", "Requests that decode on a rank", None, low=1, high=100_000, more=True),
        Control("seed", "sd", "whole", "Seed", None, low=0, high=2_000_000_000, more=True),
        Control("precision", "pr", "word", "Precision", None, plan.PRECISIONS, more=True),
        Control("kv_dtype", "kv", "word", "KV cache format", None, plan.KV_DTYPES, more=True),
        catalog.CLUSTER,
    ),
)  # fmt: skip
