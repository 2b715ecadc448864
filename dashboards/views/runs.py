"""Whole run: the ladder from the last run's bill to what the programme cost."""

from __future__ import annotations

from dataclasses import replace

from dashboards.views.training import PAGE as TRAINING

PAGE = replace(
    TRAINING, id="run", title="Cost of a whole run", icon=":material/stacked_bar_chart:", order=55, needs=("--run",),
    fixed=("--run",), long=True, views=None,
    headline=("final_run_usd", "staff_usd", "cash_usd", "gpu_hours", "days_with_stops", "energy_mwh"),
    lead="From the bill of one run to what a programme costs: which part each headline number includes.",
)  # fmt: skip
