"""Deployment search: every plan of a grid, the frontier, the best plan opened, and why the rest fell out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import streamlit as st

from costsim.cli import search
from costsim.cli.names import engines
from costsim.errors import BadInput
from costsim.report.break_even import fleet_section
from costsim.spec import words
from dashboards import answers, catalog, launches, origin, show, state
from dashboards.controls import LAYOUT, MORE, Control
from dashboards.page import Page, Question, Screen
from dashboards.patterns import LOADS, PRICES, QUANTITY, RATES
from dashboards.run import Seen
from dashboards.views.inference import APIS
from dashboards.words import safe, said, tr

DECODE, PREFILL, SERVING, TRAINING, DEPLOYMENT = search.PHASES
_SERVE = (DECODE, PREFILL, SERVING)
_TRAIN, _CACHED = (TRAINING,), (PREFILL, SERVING, DEPLOYMENT)
LOADS_OF = "Sequences and tokens"
_PLANS, _ANY = (*_SERVE, TRAINING), (*_SERVE, DEPLOYMENT)


def numbers(payload: Mapping[str, Any]) -> Mapping[str, Any]:
    """A deployment's cards and money at the worst grade of its simulated latencies, and those that hold at P90; of
    plans there is a card apart."""
    best = payload.get("best") or {}
    confirmed = [one for one in payload.get("confirmed") or () if one["met"]]
    if not best or not confirmed:
        return {}
    bands = confirmed[0]["bands"]
    grade = sorted(entry["grade"] for entry in bands.values())[-1]
    units = {"usd_per_h": "USD/h", "gpus": "cards", "usd_per_mtok_output": "USD/Mtok"}
    planned = {name: {"value": best["metrics"][name], "unit": unit, "grade": grade} for name, unit in units.items()}
    slow = (payload.get("p90") or {}).get("best") or {}
    sure = {f"{name}_at_p90": {"value": slow["metrics"][name], "unit": unit, "grade": grade}
            for name, unit in units.items() if slow}  # fmt: skip
    return {**planned, **sure, **bands}


def opened(seen: Seen) -> None:
    """The best plan asked in full, with bands and grades; of a deployment the commands that start it."""
    found = show.payload(seen.document)
    if seen.page.question.mode_of(seen.values) == DEPLOYMENT:
        launches.commands(seen)
        return
    best = found.get("best")
    if not best:
        return
    target, values = _question(seen, best["plan"])
    argv = target.question.argv(values)
    st.subheader(tr("The best plan"), anchor=False)
    try:
        document = answers.ask(argv)
    except (BadInput, answers.Defect) as error:
        show.refusal(error)
        return
    show.cards(show.metrics_of(document), target.screen.headline,
               lambda name: origin.open_dialog(target, values, document, name), "best_")  # fmt: skip
    show.price(document)
    for note in found.get("notes") or ():
        if str(note).startswith(EDGE):
            st.info(safe(said(str(note))), icon=":material/open_in_full:")
    st.page_link(
        _entry(target), label=tr("Open this plan on its own page"), icon=target.icon,
        query_params={**state.link_keys(target, values, whole=False), "v": state.VERSION},
    )  # fmt: skip


#: how the search's note begins about a best plan with nothing tried beyond it
EDGE = "the best plan lies at the edge"


def _entry(page: Page) -> Any:
    from dashboards.pages import streamlit_page

    return streamlit_page(page)


def _question(seen: Seen, best: Mapping[str, Any]) -> tuple[Page, dict[str, Any]]:
    """The page of the plan's phase with the plan's values."""
    from dashboards.pages import all_pages

    phase = seen.page.question.mode_of(seen.values)
    page = all_pages()["training" if phase == TRAINING else "inference"]
    mode = phase if page.question.mode else ""
    known = {control.name for control in page.question.controls if control.shown(mode)}
    shared = {name: seen.values.get(name) for name in ("model", "accelerator", "price", "cluster")}
    given = {**shared, **best, **({page.question.mode: mode} if page.question.mode else {})}
    values, _ = state.checked(page, {n: v for n, v in given.items() if n in known and v is not None}, by_short=False)
    return page, values


def break_even(seen: Seen) -> None:
    """Cost of the load at home and at an API, over the load."""
    part = fleet_section(show.payload(seen.document))
    if part is None:
        st.info(tr("Choose phase “deployment” and an API's price list: the lines show from which load own cards pay."))
        return
    show.section(part, "search.even")


CONTROLS = (
    Control("phase", "ph", "word", "Phase", DECODE, (*_PLANS, DEPLOYMENT)),
    Control("load", "ld", "text", "Load to carry", {DEPLOYMENT: "20req/s"}, pattern=LOADS, modes=(DEPLOYMENT,),
            help="20req/s", note="several, like 1,5,20req/s, say how many cards each takes"),
    catalog.MODEL,
    Control("accelerator", "a", "word", "Accelerator", "h800-sxm", catalog.chips, modes=_PLANS),
    Control("accelerators", "as", "words", "Accelerators", ["h800-sxm", "h20-96g"], catalog.chips,
            modes=(DEPLOYMENT,), option="accelerator"),
    Control("price", "p", "text", "Price of a card", None, pattern=RATES, help="2 USD/h",
            note="of several chips each by its id: h800-sxm=2USD/h,h20-96g=1USD/h"),
    Control("objective", "obj", "word", "Best", {TRAINING: "step_s"} | dict.fromkeys(_SERVE, "usd_per_mtok"),
            search.OBJECTIVES, modes=_PLANS),
    Control("tpot", "tpot", "text", "Largest time per output token", {DEPLOYMENT: "50ms"}, pattern=QUANTITY,
            modes=(DECODE, SERVING, DEPLOYMENT), help="50ms", empty="no limit"),
    Control("ttft", "ttft", "text", "Largest time to first token", {DEPLOYMENT: "2s"}, pattern=QUANTITY,
            modes=(PREFILL, SERVING, DEPLOYMENT), help="2s", empty="no limit"),
    Control("api", "api", "word", "Compare with the API price of", {DEPLOYMENT: APIS[0]}, APIS,
            modes=(DEPLOYMENT,), empty="none"),
    replace(catalog.LAUNCH, default={DEPLOYMENT: "sglang"}, modes=(DEPLOYMENT,)),
    Control("gpus", "g", "text", "Cards", None, help="8,16,32"),
    Control("batch_per_gpu", "b", "text", "Requests per card", None, modes=(DECODE,), help="1:256"),
    Control("tokens_per_gpu", "t", "text", "Tokens per card and step", None, modes=(PREFILL,), help="4096,8192"),
    Control("concurrency", "n", "text", "Requests in flight", None, modes=(SERVING,), help="16,64,256"),
    Control("context", "ctx", "text", "Mean context", None, modes=(DECODE,), help="4096"),
    Control("isl", "isl", "text", "Prompt tokens", None, modes=(PREFILL, SERVING, DEPLOYMENT), help="4096"),
    Control("osl", "osl", "text", "Answer tokens", None, modes=(SERVING, DEPLOYMENT), help="1024"),
    Control("cached", "hit", "text", "Prompt tokens in the prefix cache", None, modes=_CACHED, fold=MORE,
            help="512"),
    Control("headroom", "hr", "real", "Share of a unit's rate to plan for", None, span=(0.05, 1.0),
            modes=(DEPLOYMENT,), fold=MORE),
    Control("confirm", "cf", "whole", "Deployments to simulate", None, span=(0, 20), modes=(DEPLOYMENT,),
            fold=MORE),
    Control("api_own", "apo", "text", "API prices of one's own", None, pattern=PRICES, modes=(DEPLOYMENT,),
            fold=MORE, option="api", help="input=0.5USD/Mtok,output=2USD/Mtok", empty="none"),
    Control("tp", "tp", "text", "Tensor parallel (tp)", None, fold=LAYOUT, help="1,2,4,8"),
    Control("pp", "pp", "text", "Pipeline stages (pp)", None, fold=LAYOUT, help="1,2,4"),
    Control("ep", "ep", "text", "Expert parallel (ep)", None, fold=LAYOUT, help="8,16,32,64"),
    Control("moe_tp", "mtp", "text", "Split of each expert (moe-tp)", None, modes=_ANY, fold=LAYOUT, help="1,2,4"),
    Control("redundant_experts", "re", "text", "Redundant experts", None, modes=_ANY, fold=LAYOUT, help="0,32"),
    Control("precision", "pr", "words", "Precision", [], words.PRECISIONS, fold=LAYOUT),
    Control("kv_dtype", "kv", "words", "KV cache format", [], words.KV_DTYPES, modes=_ANY, fold=LAYOUT),
    Control("overlap", "o", "words", "Overlap", [], words.OVERLAPS, modes=_ANY, fold=LAYOUT),
    Control("routing", "r", "words", "Routing", [], words.ROUTINGS, fold=LAYOUT),
    Control("mtp_tokens", "mt", "text", "MTP: tokens drafted per step", None, modes=(DECODE, SERVING, DEPLOYMENT),
            fold=LAYOUT, help="0,1"),
    Control("mtp_acceptance", "ma", "text", "MTP: chance of acceptance", None, modes=(DECODE, SERVING, DEPLOYMENT),
            fold=LAYOUT, help="0.85"),
    Control("comm_sms", "sms", "text", "Cores for communication", None, fold=LAYOUT, help="0,20"),
    Control("framework", "fw", "words", "Serving engine", [], engines, modes=_SERVE, fold=LAYOUT),
    Control("vpp", "vpp", "text", "Virtual stages (vpp)", None, modes=_TRAIN, fold=LAYOUT, help="1,2,4"),
    Control("cp", "cp", "text", "Context parallel (cp)", None, modes=_TRAIN, fold=LAYOUT, help="1,2"),
    Control("zero", "z", "text", "ZeRO stage", None, modes=_TRAIN, fold=LAYOUT, help="0:3"),
    Control("schedule", "s", "words", "Schedule", [], words.SCHEDULE_WORDS, modes=_TRAIN, fold=LAYOUT),
    Control("recompute", "rc", "words", "Recompute", [], words.RECOMPUTES, modes=_TRAIN, fold=LAYOUT),
    Control("kernels", "kf", "words", "Kernels and number formats of", [], words.FRAMEWORKS, modes=_TRAIN,
            fold=LAYOUT, option="framework"),
    Control("global_batch", "gb", "text", "Sequences per step", None, modes=_TRAIN, fold=LOADS_OF, help="15360"),
    Control("micro_batch", "mb", "text", "Micro-batch", None, modes=_TRAIN, fold=LOADS_OF, help="1,2"),
    Control("seq", "seq", "text", "Tokens of a sequence", None, modes=_TRAIN, fold=LOADS_OF, help="4096"),
    Control("tokens", "tok", "text", "Tokens of the run", None, modes=_TRAIN, fold=LOADS_OF, help="14.8e12"),
    Control("length_ratio", "lr", "text", "Shortest prompts and answers over the nominal", None, modes=(SERVING,),
            fold=MORE, help="0.8"),
    Control("max_gpus", "mg", "whole", "At most so many cards", None, span=(1, 1_000_000), fold=MORE,
            empty="no limit"),
    Control("cluster", "c", "word", "Cluster", None, catalog.clusters, modes=_PLANS, fold=MORE,
            note="the default is the accelerator's standard node"),
)  # fmt: skip

PAGE = Page(
    id="search", title="Deployment search", icon=":material/travel_explore:", group="Answers", order=30,
    lead="Every plan of a grid costed: the frontier between latency and cost, and what the rest failed on. "
         "Fields take lists and ranges: 8,16,32 or 1:256 or 64:1024:64.",
    question=Question(
        verb="search", mode="phase", long=True,
        controls=CONTROLS,
    ),
    screen=Screen(
        headline=("usd_per_h", "gpus", "usd_per_mtok_output", "usd_per_h_at_p90", "gpus_at_p90",
                  "usd_per_mtok_output_at_p90", "ttft_p90_s", "tpot_p90_s", "output_tokens_per_s_per_gpu"),
        numbers=numbers, above=opened, views={"Break-even": break_even},
    ),
)  # fmt: skip
