"""Serving simulation: requests one by one through a deployment; queues, latency distributions, goodput."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import streamlit as st

from costsim.cli import simulate
from costsim.cli.names import engines
from costsim.predict.loads import trace_names
from costsim.predict.report import Metric
from costsim.report.curves import curve_chart
from costsim.report.words import value_text
from costsim.serving.policy import ROUTERS, SPREADS
from costsim.spec import plan
from dashboards import catalog, launches, show, uploads
from dashboards.controls import ENGINE, LAYOUT, POOL, Control, options_of
from dashboards.page import Page, Question, Screen
from dashboards.patterns import DOZEN, HOURS, QUANTITY, RATE, SHARES, WARMUP
from dashboards.run import Seen
from dashboards.words import name_of, tr

OPEN, CLOSED, TRACE = "rate", "concurrency", "trace"
_MADE = (OPEN, CLOSED)
#: share of requests within their targets that a deployment is expected to reach
MOSTLY = 0.9
ARRIVALS, DRAFTS = "Arrivals and patience", "Drafted tokens (MTP)"


_DRAFTS = (
    Control("cv", "cv", "real", "Burstiness of arrivals (cv)", {OPEN: 1.0}, span=(0, 50), modes=(OPEN,), fold=ARRIVALS),
    Control("priorities", "pri", "text", "Shares of the priorities", None, pattern=SHARES, fold=ARRIVALS,
            help="0.1,0.9", note="the first share is served first", empty="one priority"),
    Control("timeout", "to", "text", "Clients give up after", None, pattern=QUANTITY, fold=ARRIVALS, help="30s",
            empty="never"),
    Control("warmup", "wu", "text", "Left out at the start", None, pattern=WARMUP, fold=ARRIVALS, help="60s",
            note="auto: the time of nine in ten answers; none: all requests count"),
    Control("seed", "sd", "whole", "Seed", None, span=(0, 2_000_000_000), fold=ARRIVALS),
)  # fmt: skip
_PLAN = (
    Control("pp", "pp", "whole", "Pipeline stages (pp)", 1, span=(1, 64), fold=LAYOUT),
    Control("ep", "ep", "whole", "Expert parallel (ep)", None, span=(1, 4096), fold=LAYOUT),
    Control("moe_tp", "mtp", "whole", "Split of each expert (moe-tp)", None, span=(1, 4096), fold=LAYOUT),
    Control("redundant_experts", "re", "whole", "Redundant experts", None, span=(0, 100_000), fold=LAYOUT),
    Control("precision", "pr", "word", "Precision", None, plan.PRECISIONS, fold=LAYOUT),
    Control("kv_dtype", "kv", "word", "KV cache format", None, plan.KV_DTYPES, fold=LAYOUT),
    Control("overlap", "ov", "word", "Overlap", None, plan.OVERLAPS, fold=LAYOUT),
    Control("routing", "ro", "word", "Routing", None, plan.ROUTINGS, fold=LAYOUT),
    replace(catalog.IMBALANCE, fold=LAYOUT), replace(catalog.REMOTE_NODES, fold=LAYOUT),
    replace(catalog.CLUSTER, fold=LAYOUT),
    Control("mtp_tokens", "mt", "whole", "MTP: tokens drafted per step", None, span=(0, 8), fold=DRAFTS),
    Control("mtp_acceptance", "ma", "real", "MTP: chance of acceptance", None, span=(0.0, 1.0), fold=DRAFTS),
    Control("mtp_positions", "mp", "text", "MTP: share of steps that keep draft 1, 2, …", None, pattern=SHARES,
            fold=DRAFTS, help="0.85,0.6,0.4", note="in place of the two settings above", empty="none"),
)  # fmt: skip
_POOL = (
    Control("prefill_gpus", "pg", "whole", "Cards of a separate prefill pool", None, span=(1, 4096), fold=POOL),
    Control("prefill_tp", "pt", "whole", "Prefill: tp", None, span=(1, 4096), fold=POOL),
    Control("prefill_ep", "pe", "whole", "Prefill: ep", None, span=(1, 4096), fold=POOL),
    Control("prefill_accelerator", "pa", "word", "Prefill: accelerator", None, catalog.chips, fold=POOL,
            empty="the same"),
    Control("prefill_price", "pp2", "text", "Prefill: price of a card", None, pattern=RATE, fold=POOL, help="2 USD/h"),
)  # fmt: skip
_ENGINE = (
    Control("router", "rt", "word", "Router", None, tuple(ROUTERS), fold=ENGINE),
    Control("spread", "spr", "word", "Requests are spread over ranks by", None, SPREADS, fold=ENGINE),
    Control("order", "or", "word", "Prompts beside answers, or first", None, simulate.ORDERS, fold=ENGINE),
    Control("whole_prompts", "wp", "flag", "Prompts are never cut", False, fold=ENGINE),
    Control("prefix_cache", "pc", "flag", "Prefix cache", False, fold=ENGINE),
    Control("host_cache", "hc", "text", "Host memory for cached prefixes", None, pattern=QUANTITY, fold=ENGINE,
            help="1TB", empty="none"),
    Control("token_budget", "tb", "whole", "New tokens of an iteration", None, span=(1, 1_000_000), fold=ENGINE),
    Control("max_running", "mr", "whole", "Requests that decode on a rank", None, span=(1, 100_000), fold=ENGINE),
    Control("max_waiting", "mw", "whole", "Requests that may wait on a rank", None, span=(1, 1_000_000), fold=ENGINE,
            empty="no limit"),
    Control("block", "bl", "whole", "Tokens of a KV block", None, span=(1, 65_536), fold=ENGINE),
    Control("reserve", "rv", "real", "Share of an answer whose KV is set aside", None, span=(0.0, 1.0), fold=ENGINE),
    Control("reserve_tokens", "rk", "whole", "KV tokens kept free for each request", None, span=(0, 1_000_000),
            fold=ENGINE),
    Control("host_step", "hst", "text", "Host time of an iteration", None, pattern=QUANTITY, fold=ENGINE, help="2ms"),
    Control("frontend", "fe", "text", "Time of the process in front for a request", None, pattern=QUANTITY, fold=ENGINE,
            help="1ms"),
)  # fmt: skip


def opened(seen: Seen) -> None:
    """What a deployment misses, several loads as curves, and the commands that start it."""
    found = show.payload(seen.document)
    varied = found.get("varied") or ()
    shares = {"": show.metrics_of(seen.document).get("goodput_share")}
    for row in found["rows"] if len(varied) == 1 else ():
        share = row["metrics"].get("goodput_share")
        shares[f"{name_of(varied[0])} {row['point'][varied[0]]:g}: "] = None if share is None else Metric(**share)
    text = tr("Only {0} of the requests meet both targets.")
    for name, found_share in shares.items():
        if found_share is not None and found_share.value < MOSTLY:
            words = f"{name}{text.format(value_text('goodput_share', found_share))}"
            st.warning(words, icon=":material/running_with_errors:")
    if len(varied) == 1:
        for number, chart in enumerate(curve_chart(found["rows"], varied[0], "serving")):
            show.chart(chart, f"simulation.curve.{number}")
    launches.commands(seen)


def subject(values: dict[str, Any]) -> list[str]:
    """The options without the word that only says which kind of load is meant."""
    rest = [control for control in PAGE.question.controls if control.name != "load"]
    return options_of(rest, values, PAGE.question.mode_of(values), uploads.spelled)


CONTROLS = (
    Control("load", "ld", "word", "Load", OPEN, (OPEN, CLOSED, TRACE)),
    Control("rate", "q", "text", "Requests a second", {OPEN: "2"}, pattern=DOZEN, modes=(OPEN,), help="1,2,4,8",
            note="several values make a simulation each, side by side"),
    Control("concurrency", "n", "text", "Requests in flight", {CLOSED: "64"}, pattern=DOZEN, modes=(CLOSED,),
            help="16,64,256", note="several values make a simulation each, side by side"),
    Control("trace", "tr", "word", "Recorded trace", {TRACE: "azure-conv-2023"}, lambda: tuple(trace_names()),
            modes=(TRACE,)),
    Control("hours", "hr", "text", "Hours of the trace", None, pattern=HOURS, modes=(TRACE,), help="0-2",
            empty="all"),
    Control("requests", "k", "whole", "Requests in all", {OPEN: 1000, CLOSED: 640, TRACE: 2000}, span=(1, 50_000)),
    Control("isl", "isl", "whole", "Prompt tokens", {OPEN: 2000, CLOSED: 1024}, span=(1, 1_000_000), modes=_MADE),
    Control("osl", "osl", "whole", "Answer tokens", {OPEN: 500, CLOSED: 1024}, span=(1, 100_000), modes=_MADE),
    catalog.MODEL, catalog.chip("h200-sxm"), catalog.PRICE,
    Control("gpus", "g", "whole", "Cards", 8, span=(1, 4096)),
    Control("tp", "tp", "whole", "Tensor parallel (tp)", 8, span=(1, 4096)),
    Control("framework", "fw", "word", "Serving engine", None, engines, empty="none"),
    Control("ttft", "ttft", "text", "Target: time to first token", "1s", pattern=QUANTITY, help="1s"),
    Control("tpot", "tpot", "text", "Target: time per token", "50ms", pattern=QUANTITY, help="50ms"),
    Control("speed", "sp", "real", "Play so many times as fast", {TRACE: 1.0}, span=(1e-3, 1e4), modes=(TRACE,)),
    catalog.LAUNCH,
    *_DRAFTS, *_PLAN, *_POOL, *_ENGINE,
)  # fmt: skip

PAGE = Page(
    id="simulation", title="Serving simulation", icon=":material/timeline:", group="Answers", order=40,
    lead="Requests one by one through a deployment: queues, latency quantiles, goodput, money.",
    question=Question(
        verb="simulate", mode="load", subject=subject, long=True,
        controls=CONTROLS,
    ),
    screen=Screen(
        headline=("ttft_p50_s", "ttft_p99_s", "tpot_p50_s", "tpot_p99_s", "output_tokens_per_s_per_gpu",
              "usd_per_mtok_output", "goodput_share", "busy_share"),
        above=opened, skip=("Latency",),
    ),
)  # fmt: skip
