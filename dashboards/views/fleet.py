"""Fleet day: a day of load on pools with autoscaling, beside the published day."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dashboards.controls import Control
from dashboards.page import Page, Question, Screen
from dashboards.patterns import HOURS, MIX, QUANTITY, RATE


def numbers(payload: Mapping[str, Any]) -> Mapping[str, Any]:
    """The day's numbers stand beside each other at the top of the answer."""
    return {name: entry for name, entry in payload.items() if isinstance(entry, Mapping) and "grade" in entry}


NIGHT, SCALER, PLAYED = "A cheaper night", "Autoscaling", "Request by request"

CONTROLS = (
    Control("reactive", "re", "flag", "Units come after the load, not ahead of it", False),
    Control("target", "t", "real", "Load of a unit that is aimed at", None, span=(0.05, 1.0)),
    Control("interval", "i", "text", "How often the scaler acts", None, pattern=QUANTITY, help="15min"),
    Control("lease", "l", "text", "What an idle card earns", None, pattern=RATE, help="1.2 USD/h"),
    Control("lease_hours", "lh", "real", "Shortest stretch leased out, hours", None, span=(0.01, 24.0)),
    Control("cache", "ca", "text", "Prefix cache of the whole fleet", None, pattern=QUANTITY, help="200TB",
            empty="as published"),
    Control("mix", "mx", "text", "Accelerators and their shares", None, pattern=MIX,
            help="h800-sxm=0.5,h20-96g=0.5"),
    Control("night_price", "np", "real", "Price at night over the list price", None, span=(0.0, 1.0), fold=NIGHT,
            empty="1"),
    Control("night_shift", "ns", "real", "Share of the other load that moves to the night", None, span=(0.0, 1.0),
            fold=NIGHT, empty="0"),
    Control("night_hours", "nh", "text", "Night from hour to hour", None, pattern=HOURS, help="0.5-8.5",
            fold=NIGHT),
    Control("hysteresis", "hy", "real", "Free share of capacity before a unit goes", None, span=(0.0, 1.0),
            fold=SCALER),
    Control("lead", "le", "text", "From the decision to a unit that serves", None, pattern=QUANTITY, help="30min",
            fold=SCALER),
    Control("hold", "ho", "text", "How long a unit idles before it goes", None, pattern=QUANTITY, help="30min",
            fold=SCALER),
    Control("requests", "q", "flag", "Also request by request", False, fold=PLAYED),
    Control("hour_s", "hs", "text", "How long each hour is played", None, pattern=QUANTITY, help="30s",
            fold=PLAYED),
    Control("seed", "sd", "whole", "Seed", None, span=(0, 2_000_000_000), fold=PLAYED),
)  # fmt: skip

PAGE = Page(
    id="fleet", title="Fleet day", icon=":material/calendar_view_day:", group="Answers", order=75,
    lead="DeepSeek's published serving day: nodes hour by hour, cost and theoretical income, beside the published.",
    question=Question(
        verb="fleet", fixed=("--day=deepseek-2025-02-27",), needs=("--day",), long=True,
        controls=CONTROLS,
    ),
    screen=Screen(
        headline=("node_hours", "usd_per_day", "revenue_usd", "margin", "peak_nodes", "usd_per_mtok_output"),
        numbers=numbers,
    ),
)  # fmt: skip
