"""Fleet day: a day of load on pools with autoscaling, beside the published day."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dashboards.controls import QUANTITY, RATE, Control
from dashboards.page import Page


def numbers(payload: Mapping[str, Any]) -> Mapping[str, Any]:
    """The day's numbers stand beside each other at the top of the answer."""
    return {name: entry for name, entry in payload.items() if isinstance(entry, Mapping) and "grade" in entry}


PAGE = Page(
    id="fleet", title="Fleet day", icon=":material/calendar_view_day:", group="Answers", order=75, verb="fleet",
    lead="DeepSeek's published serving day: nodes hour by hour, cost and theoretical income, beside the published.",
    long=True, numbers=numbers,
    headline=("node_hours", "usd_per_day", "revenue_usd", "margin", "peak_nodes", "usd_per_mtok_output"),
    fixed=("--day=deepseek-2025-02-27",), needs=("--day",),
    controls=(
        Control("reactive", "re", "flag", "Units come after the load, not ahead of it", False),
        Control("target", "t", "real", "Load of a unit that is aimed at", None, low=0.05, high=1.0),
        Control("interval", "i", "text", "How often the scaler acts", None, pattern=QUANTITY, help="15min"),
        Control("lease", "l", "text", "What an idle card earns", None, pattern=RATE, help="1.2 USD/h"),
        Control("requests", "q", "flag", "Also request by request", False, more=True),
    ),
)  # fmt: skip
