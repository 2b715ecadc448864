"""Full report: the main job of the command line for one scenario, on many chips side by side."""

from __future__ import annotations

import json
from typing import Any

import streamlit as st

from costsim.spec import plan
from costsim.spec.scenario import Scenario
from dashboards import catalog, uploads
from dashboards.controls import MORE, Control
from dashboards.page import Page, Question, Screen
from dashboards.patterns import QUANTITY, RATE, TITLE
from dashboards.run import Seen
from dashboards.words import tr

_BASE = Scenario()
#: table of a scenario file → values of the page that stand in it
_PARTS = {
    "model": {"model": "id"}, "cluster": {"accelerator": "accelerator", "compare": "compare"},
    "plan": {"precision": "precision", "routing": "routing", "max_gpus": "max_gpus"},
    "workload": {"isl": "isl", "context": "context", "tpot": "tpot"},
    "training": {name: name for name in ("gpus", "pp", "ep", "seq", "global_batch", "tokens")},
    "price": {"rate": "rate"},
}  # fmt: skip


def scenario_toml(values: dict[str, Any]) -> str:
    """The values as the file that `costsim report FILE` reads."""
    lines = [f"title = {json.dumps(values.get('title') or _BASE.title, ensure_ascii=False)}"]
    for part, names in _PARTS.items():
        lines.extend(["", f"[{part}]"])
        stated = {key: values.get(name) for name, key in names.items()}
        lines.extend(f"{key} = {_toml(value)}" for key, value in stated.items() if value is not None and value != "")
    return "\n".join([*lines, ""])


def _toml(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(_toml(item) for item in value)}]"
    if isinstance(value, str):
        return json.dumps(uploads.spelled(value), ensure_ascii=False)
    return json.dumps(value)


def subject(values: dict[str, Any]) -> list[str]:
    """The scenario in a file of this process."""
    return [str(uploads.keep(scenario_toml(values).encode(), ".toml", name="scenario.toml")), "--folder=-",
            *(["--no-claims"] if values.get("no_claims") else [])]  # fmt: skip


def scenario(seen: Seen) -> None:
    """The file that the command line reads."""
    st.download_button(
        tr("Scenario for `costsim report` (TOML)"), scenario_toml(seen.values), "scenario.toml", "application/toml",
        key="report.scenario", on_click="ignore", icon=":material/description:",
    )  # fmt: skip


_T = _BASE.training
CONTROLS = (
    Control("title", "ti", "text", "Title", _BASE.title, pattern=TITLE),
    catalog.MODEL, catalog.CHIP,
    Control("compare", "with", "words", "Compare with", ["h200-sxm", "h20-96g", "ascend-910c"], catalog.chips),
    Control("rate", "p", "text", "Price of a card", None, pattern=RATE, help="2 USD/h"),
    Control("isl", "isl", "whole", "Prompt tokens", _BASE.workload.isl, span=(1, 10_000_000)),
    Control("context", "ctx", "whole", "Mean context", _BASE.workload.context, span=(1, 10_000_000)),
    Control("tpot", "tpot", "text", "Largest time per output token", "100 ms", pattern=QUANTITY, help="50 ms"),
    Control("max_gpus", "mg", "whole", "At most so many cards", _BASE.plan.max_gpus, span=(1, 100_000)),
    Control("precision", "pr", "word", "Precision", "best", ("best", *plan.PRECISIONS), fold=MORE),
    Control("routing", "r", "word", "Routing", "balanced", plan.ROUTINGS, fold=MORE),
    Control("no_claims", "nc", "flag", "Without the public claims", False, fold=MORE),
    Control("gpus", "g", "whole", "Cards that train", _T.gpus, span=(1, 1_000_000), fold=MORE),
    Control("pp", "pp", "whole", "Pipeline stages (pp)", _T.pp, span=(1, 256), fold=MORE),
    Control("ep", "ep", "whole", "Expert parallel (ep)", _T.ep, span=(1, 100_000), fold=MORE),
    Control("seq", "seq", "whole", "Tokens of a sequence", _T.seq, span=(1, 10_000_000), fold=MORE),
    Control("global_batch", "gb", "whole", "Sequences per step", _T.global_batch, span=(1, 10_000_000),
            fold=MORE),
    Control("tokens", "tok", "real", "Tokens of the run", _T.tokens, span=(1.0, 1e15), fold=MORE),
)  # fmt: skip

PAGE = Page(
    id="report", title="Full report", icon=":material/summarize:", group="Answers", order=80,
    lead="The cost and efficiency report of one scenario: the best deployment on every chip, FP8 against 16 bits, "
         "training, published figures beside ours.",
    question=Question(
        verb="report", subject=subject, long=True,
        controls=CONTROLS,
    ),
    screen=Screen(above=scenario),
)  # fmt: skip
