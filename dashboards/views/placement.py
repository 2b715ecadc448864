"""Expert placement: experts on cards for a load; balance, traffic, step time and cost, before and after."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dashboards import catalog, uploads
from dashboards.controls import MORE, Control, options_of
from dashboards.page import Page, Question, Screen
from dashboards.patterns import QUANTITY, RATE

#: laws of synthetic loads, by how uneven they are
LOADS = (
    "lognormal:0.3",
    "lognormal:0.5",
    "lognormal:0.8",
    "lognormal:1.2",
    "powerlaw:0.5",
    "powerlaw:0.8",
    "powerlaw:1.0",
)


def subject(values: dict[str, Any]) -> list[str]:
    """The options of ``place``."""
    return options_of(PAGE.question.controls, values, "", uploads.spelled)


def numbers(payload: Mapping[str, Any]) -> Mapping[str, Any]:
    """What the placement reaches, and what stood before it and EPLB reach in its place."""
    found = payload.get("metrics") or {}
    ways = (("", "after"), ("in_order_", "before"), ("eplb_", "eplb"))
    return {f"{mark}{name}": entry for mark, way in ways for name, entry in (found.get(way) or {}).items()}


CONTROLS = (
    Control("loads", "l", "word", "Load of the experts", "lognormal:0.8", LOADS),
    catalog.MODEL, catalog.CHIP,
    Control("gpus", "g", "whole", "Expert-parallel ranks", 32, span=(1, 1024)),
    Control("nodes", "n", "whole", "Nodes", 4, span=(1, 512)),
    Control("slots", "s", "whole", "Experts held, copies included", 288, span=(1, 4096)),
    Control("groups", "gr", "whole", "Groups of experts", 8, span=(1, 256)),
    Control("objective", "o", "word", "Goal", "both", ("both", "balance", "local")),
    Control("quick", "k", "flag", "The placement alone, without the study", True),
    Control("phase", "ph", "word", "Whose step is timed", None, ("prefill", "decode"), fold=MORE),
    Control("drift", "dr", "text", "Spread of an expert's load between windows", None, pattern=QUANTITY,
            help="15%", fold=MORE),
    Control("remote_slack", "rs", "text", "Remote copies beyond a node-local placement's", None, pattern=QUANTITY,
            help="4%", fold=MORE),
    Control("window", "wi", "text", "Length of a window", None, pattern=QUANTITY, help="10min", fold=MORE),
    Control("price", "p", "text", "Price of a card", None, pattern=RATE, help="2 USD/h", fold=MORE),
    catalog.CLUSTER,
    Control("seed", "sd", "whole", "Seed", None, span=(0, 2_000_000_000), fold=MORE),
)  # fmt: skip

PAGE = Page(
    id="placement", title="Expert placement", icon=":material/grid_view:", group="Answers", order=70,
    lead="Which expert lives on which card, how often each is copied, and what that does to balance, links and cost.",
    question=Question(
        verb="place", needs=("--loads", "--quick"), subject=subject, long=True,
        controls=CONTROLS,
    ),
    screen=Screen(
        headline=("tokens_per_s_per_gpu", "usd_per_mtok", "step_s", "in_order_tokens_per_s_per_gpu",
              "in_order_usd_per_mtok", "eplb_tokens_per_s_per_gpu"),
        numbers=numbers,
    ),
)  # fmt: skip
