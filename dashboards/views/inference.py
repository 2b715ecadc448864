"""Inference: prefill, decode or a closed-loop deployment; its bridge, curves and roofline."""

from __future__ import annotations

import streamlit as st

from costsim.cli import infer
from costsim.errors import BadInput
from costsim.predict.break_even import API, OWN, SHARE
from costsim.report.break_even import load_section
from costsim.report.curves import curve_chart
from costsim.report.roofline import roofline_chart
from costsim.spec import plan
from dashboards import answers, catalog, launches, origin, show
from dashboards.controls import MORE, Control
from dashboards.page import Page, Question, Screen
from dashboards.run import Seen
from dashboards.words import tr

PREFILL, DECODE, SERVING = infer.PHASES
#: price lists that a deployment is set against
APIS = ("deepseek-v3", "deepseek-r1")
_D = infer.DEFAULTS


def _by_phase(name: str) -> dict[str, object]:
    return {phase: _D[phase].get(name) for phase in infer.PHASES}


#: what a curve varies, and over which values
CURVE = {
    PREFILL: ("tokens_per_gpu", "1024,2048,4096,8192,12288,16384,24576,32768,49152,65536"),
    DECODE: ("batch_per_gpu", "2,4,8,16,24,32,48,64,96,128,160,192,256,320,384,512"),
    SERVING: ("concurrency", "1,2,4,8,16,32,64,128,192,256,384,512,768,1024,2048"),
}


def curves(seen: Seen) -> None:
    """Latency, throughput and cost as the load grows; points that do not fit are listed."""
    phase = seen.page.question.mode_of(seen.values)
    name, points = CURVE[phase]
    try:
        grid = answers.ask(seen.page.question.argv({**seen.values, name: points}))
    except (BadInput, answers.Defect) as error:
        show.refusal(error)
        return
    for number, chart in enumerate(curve_chart(grid.payload["rows"], name, phase)):
        show.chart(chart, f"curve.{phase}.{number}")
    show.sections(grid, "curve")


def roofline(seen: Seen) -> None:
    """Every op by its arithmetic intensity under the datasheet's roof."""
    metric = "decode_step_s" if seen.page.question.mode_of(seen.values) == SERVING else "step_s"
    if metric not in show.metrics_of(seen.document):
        metric = "ttft_s"
    try:
        found = answers.ask(seen.page.question.argv(seen.values, "explain", (metric,)))
    except (BadInput, answers.Defect) as error:
        show.refusal(error)
        return
    show.chart(roofline_chart(found.payload), "roofline")
    st.caption(tr("Time of an op by the size of its point; the roof is the datasheet's, dense."))
    origin.command(seen.page.question.argv(seen.values, "explain", (metric,)))


def break_even(seen: Seen) -> None:
    """What a token costs on own cards as the load falls, beside an API's list price."""
    metrics = show.payload(seen.document).get("metrics") or {}
    if SHARE not in metrics:
        st.info(tr("Choose phase “serving” and an API's price list: the lines show at which load own cards pay."))
        return
    show.section(load_section(metrics), "break even")
    names = (SHARE, OWN, API)
    show.cards(show.metrics_of(seen.document), names,
               lambda name: origin.open_dialog(seen.page, seen.values, seen.document, name), "even_")  # fmt: skip


CONTROLS = (
    Control("phase", "ph", "word", "Phase", DECODE, infer.PHASES),
    catalog.MODEL, catalog.CHIP, catalog.PRICE,
    Control("gpus", "g", "whole", "Cards", _by_phase("gpus"), span=(1, 100_000)),
    Control("context", "ctx", "whole", "Mean context", _by_phase("context"), span=(1, 10_000_000),
            modes=(DECODE,)),
    Control("batch_per_gpu", "b", "real", "Requests per card", {DECODE: 128.0}, span=(1e-6, 1e6),
            modes=(DECODE,)),
    Control("isl", "isl", "whole", "Prompt tokens", _by_phase("isl"), span=(1, 10_000_000),
            modes=(PREFILL, SERVING)),
    Control("tokens_per_gpu", "t", "whole", "Tokens per card and step", _by_phase("tokens_per_gpu"),
            span=(1, 10_000_000), modes=(PREFILL,)),
    Control("osl", "osl", "whole", "Answer tokens", _by_phase("osl"), span=(1, 10_000_000), modes=(SERVING,)),
    Control("concurrency", "n", "whole", "Requests in flight", _by_phase("concurrency"), span=(1, 1_000_000),
            modes=(SERVING,)),
    Control("api", "api", "word", "Compare with the API price of", None, APIS, modes=(SERVING,),
            empty="none"),
    Control("overlap", "o", "word", "Overlap", None, plan.OVERLAPS),
    catalog.LAUNCH,
    Control("tp", "tp", "whole", "Tensor parallel (tp)", 1, span=(1, 4096), fold=MORE),
    Control("pp", "pp", "whole", "Pipeline stages (pp)", 1, span=(1, 256), fold=MORE),
    Control("ep", "ep", "whole", "Expert parallel (ep)", None, span=(1, 100_000), fold=MORE,
            note="the default for MoE models with tp 1 is all ranks"),
    Control("moe_tp", "mtp", "whole", "Split of each expert (moe-tp)", None, span=(1, 4096), fold=MORE),
    Control("precision", "pr", "word", "Precision", None, plan.PRECISIONS, fold=MORE,
            note="the default is FP8 where the chip has it, else INT8, else BF16"),
    Control("kv_dtype", "kv", "word", "KV cache format", "bf16", plan.KV_DTYPES, fold=MORE),
    Control("routing", "r", "word", "Routing", {PREFILL: "balanced", DECODE: "balanced", SERVING: "default"},
            plan.ROUTINGS, fold=MORE),
    Control("redundant_experts", "re", "whole", "Redundant experts", 0, span=(0, 100_000), fold=MORE),
    Control("comm_sms", "sms", "whole", "Cores for communication", None, span=(0, 10_000), fold=MORE),
    Control("cached", "hit", "whole", "Prompt tokens in the prefix cache", 0, span=(0, 10_000_000),
            modes=(PREFILL, SERVING), fold=MORE),
    Control("mtp_tokens", "mt", "whole", "MTP: tokens drafted per step", 0, span=(0, 16), modes=(DECODE, SERVING),
            fold=MORE),
    Control("mtp_acceptance", "ma", "real", "MTP: chance of acceptance", 0.0, span=(0, 1),
            modes=(DECODE, SERVING), fold=MORE),
    Control("length_ratio", "lr", "real", "Shortest prompts and answers over the nominal", None, span=(0.01, 1.0),
            modes=(SERVING,), fold=MORE, note="the default: lengths within a tenth of the nominal"),
    catalog.IMBALANCE, catalog.REMOTE_NODES, catalog.CLUSTER,
    catalog.FRAMEWORK,
)  # fmt: skip

PAGE = Page(
    id="inference", title="Inference", icon=":material/bolt:", group="Answers", order=20,
    lead="What one serving phase or a whole deployment does, needs and costs.",
    question=Question(
        verb="infer", mode="phase", explains=True,
        controls=CONTROLS,
    ),
    screen=Screen(
        headline=("tpot_s", "ttft_s", "tokens_per_s_per_gpu", "output_tokens_per_s_per_gpu", "usd_per_mtok_output",
              "usd_per_mtok_input", "joules_per_token_output", "mfu", "mbu"),
        above=launches.commands, views={"Curves": curves, "Roofline": roofline, "Break-even": break_even},
    ),
)  # fmt: skip
