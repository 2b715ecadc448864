"""Deployment search: every plan of a grid, the frontier, the best plan opened, and why the rest fell out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import streamlit as st

from costsim.cli import launch, search
from costsim.errors import BadInput
from costsim.report.break_even import fleet_section
from costsim.spec import plan
from dashboards import answers, catalog, origin, show, state
from dashboards.controls import LOAD, QUANTITY, Control
from dashboards.page import Page
from dashboards.run import Seen
from dashboards.views.inference import APIS
from dashboards.words import tr

DECODE, PREFILL, SERVING, TRAINING, DEPLOYMENT = search.PHASES
_SERVE = (DECODE, PREFILL, SERVING)
_PLANS, _ANY = (*_SERVE, TRAINING), (*_SERVE, DEPLOYMENT)


def numbers(payload: Mapping[str, Any]) -> Mapping[str, Any]:
    """A deployment's cards and money at the worst grade of its simulated latencies; of plans there is a card apart."""
    best = payload.get("best") or {}
    confirmed = [one for one in payload.get("confirmed") or () if one["met"]]
    if not best or not confirmed:
        return {}
    bands = confirmed[0]["bands"]
    grade = sorted(entry["grade"] for entry in bands.values())[-1]
    units = {"usd_per_h": "USD/h", "gpus": "cards", "usd_per_mtok_output": "USD/Mtok"}
    planned = {name: {"value": best["metrics"][name], "unit": unit, "grade": grade} for name, unit in units.items()}
    return {**planned, **bands}


def opened(seen: Seen) -> None:
    """The best plan asked in full, with bands and grades; of a deployment the commands that start it."""
    found = show.payload(seen.document)
    if seen.page.mode_of(seen.values) == DEPLOYMENT:
        _commands(found)
        return
    best = found.get("best")
    if not best:
        return
    target, values = _question(seen, best["plan"])
    argv = target.argv(values)
    st.subheader(tr("The best plan"), anchor=False)
    try:
        document = answers.ask(argv)
    except (BadInput, answers.Defect) as error:
        show.refusal(error)
        return
    show.cards(show.metrics_of(document), target.headline,
               lambda name: origin.open_dialog(target, values, document, name), "best_")  # fmt: skip
    show.price(document)
    st.page_link(
        _entry(target), label=tr("Open this plan on its own page"), icon=target.icon,
        query_params={**state.link_keys(target, values, whole=False), "v": state.VERSION},
    )  # fmt: skip


def _entry(page: Page) -> Any:
    from dashboards.pages import streamlit_page

    return streamlit_page(page)


def _question(seen: Seen, best: Mapping[str, Any]) -> tuple[Page, dict[str, Any]]:
    """The page of the plan's phase with the plan's values."""
    from dashboards.pages import all_pages

    phase = seen.page.mode_of(seen.values)
    page = all_pages()["training" if phase == TRAINING else "inference"]
    mode = phase if page.mode else ""
    known = {control.name for control in page.controls if control.shown(mode)}
    shared = {name: seen.values.get(name) for name in ("model", "accelerator", "price", "cluster")}
    given = {**shared, **best, **({page.mode: mode} if page.mode else {})}
    values, _ = state.checked(page, {n: v for n, v in given.items() if n in known and v is not None}, by_short=False)
    return page, values


def _commands(found: Mapping[str, Any]) -> None:
    """Launch commands as a file."""
    starts = [entry for entry in found.get("launch") or () if entry.get("commands")]
    if not starts:
        return
    blocks = ["\n".join((f"# {one['engine']} {one['version']}, {one['role']}", *one["commands"])) for one in starts]
    st.download_button(
        tr("Launch commands (.sh)"), lambda: "\n\n".join(["#!/bin/sh", *blocks, ""]), "costsim-launch.sh",
        "text/x-shellscript", key="search.launch", on_click="ignore", icon=":material/terminal:",
    )  # fmt: skip


def break_even(seen: Seen) -> None:
    """Cost of the load at home and at an API, over the load."""
    part = fleet_section(show.payload(seen.document))
    if part is None:
        st.info(tr("Choose phase “deployment” and an API's price list: the lines show from which load own cards pay."))
        return
    show.section(part, "search.even")


PAGE = Page(
    id="search", title="Deployment search", icon=":material/travel_explore:", group="Answers", order=30, verb="search",
    lead="Every plan of a grid costed: the frontier between latency and cost, and what the rest failed on. "
         "Fields take lists and ranges: 8,16,32 or 1:256 or 64:1024:64.",
    mode="phase", long=True, numbers=numbers, above=opened, views={"Break-even": break_even},
    headline=("usd_per_h", "gpus", "usd_per_mtok_output", "ttft_p90_s", "tpot_p90_s", "output_tokens_per_s_per_gpu"),
    controls=(
        Control("phase", "ph", "word", "Phase", DECODE, (*_PLANS, DEPLOYMENT)),
        Control("load", "ld", "text", "Load to carry", {DEPLOYMENT: "20req/s"}, pattern=LOAD, modes=(DEPLOYMENT,),
                help="20req/s"),
        catalog.MODEL,
        Control("accelerator", "a", "word", "Accelerator", "h800-sxm", catalog.chips, modes=_PLANS),
        Control("accelerators", "as", "words", "Accelerators", ["h800-sxm", "h20-96g"], catalog.chips,
                modes=(DEPLOYMENT,), option="accelerator"),
        catalog.PRICE,
        Control("objective", "obj", "word", "Best", {TRAINING: "step_s"} | dict.fromkeys(_SERVE, "usd_per_mtok"),
                search.OBJECTIVES, modes=_PLANS),
        Control("tpot", "tpot", "text", "Largest time per output token", {DEPLOYMENT: "50ms"}, pattern=QUANTITY,
                modes=(DECODE, SERVING, DEPLOYMENT), help="50ms", empty="no limit"),
        Control("ttft", "ttft", "text", "Largest time to first token", {DEPLOYMENT: "2s"}, pattern=QUANTITY,
                modes=(PREFILL, SERVING, DEPLOYMENT), help="2s", empty="no limit"),
        Control("api", "api", "word", "Compare with the API price of", {DEPLOYMENT: APIS[0]}, APIS,
                modes=(DEPLOYMENT,), empty="none"),
        Control("launch", "la", "word", "Launch commands for", {DEPLOYMENT: launch.ENGINES[0]}, launch.ENGINES,
                modes=(DEPLOYMENT,), empty="none"),
        Control("gpus", "g", "text", "Cards", None, help="8,16,32"),
        Control("batch_per_gpu", "b", "text", "Requests per card", None, modes=(DECODE,), help="1:256"),
        Control("tokens_per_gpu", "t", "text", "Tokens per card and step", None, modes=(PREFILL,), help="4096,8192"),
        Control("concurrency", "n", "text", "Requests in flight", None, modes=(SERVING,), help="16,64,256"),
        Control("context", "ctx", "text", "Mean context", None, modes=(DECODE,), help="4096"),
        Control("isl", "isl", "text", "Prompt tokens", None, modes=(PREFILL, SERVING, DEPLOYMENT), help="4096"),
        Control("osl", "osl", "text", "Answer tokens", None, modes=(SERVING, DEPLOYMENT), help="1024"),
        Control("cached", "hit", "text", "Prompt tokens in the prefix cache", None, modes=(DEPLOYMENT,), more=True,
                help="512"),
        Control("headroom", "hr", "real", "Share of a unit's rate to plan for", None, low=0.05, high=1.0,
                modes=(DEPLOYMENT,), more=True),
        Control("confirm", "cf", "whole", "Deployments to simulate", None, low=0, high=20, modes=(DEPLOYMENT,),
                more=True),
        Control("tp", "tp", "text", "Tensor parallel (tp)", None, more=True, help="1,2,4,8"),
        Control("pp", "pp", "text", "Pipeline stages (pp)", None, more=True, help="1,2,4"),
        Control("ep", "ep", "text", "Expert parallel (ep)", None, more=True, help="8,16,32,64"),
        Control("global_batch", "gb", "text", "Sequences per step", None, modes=(TRAINING,), more=True, help="15360"),
        Control("micro_batch", "mb", "text", "Micro-batch", None, modes=(TRAINING,), more=True, help="1,2"),
        Control("precision", "pr", "word", "Precision", None, plan.PRECISIONS, more=True),
        Control("overlap", "o", "word", "Overlap", None, plan.OVERLAPS, modes=_ANY, more=True),
        Control("max_gpus", "mg", "whole", "At most so many cards", None, low=1, high=1_000_000, more=True,
                empty="no limit"),
        Control("cluster", "c", "word", "Cluster", None, catalog.clusters, modes=_PLANS, more=True,
                note="the default is the accelerator's standard node"),
    ),
)  # fmt: skip
