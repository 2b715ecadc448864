"""Fleet day: a day of load on pools with autoscaling, beside the published day."""

from __future__ import annotations

from dashboards.page import Page

PAGE = Page(
    id="fleet", title="Fleet day", icon=":material/calendar_view_day:", group="Answers", order=75, verb="fleet",
    lead="DeepSeek's published serving day: nodes hour by hour, cost and theoretical income, beside the published.",
    long=True,
    fixed=("--day=deepseek-2025-02-27",), needs=("--day",),
)  # fmt: skip
