"""Whole run: the ladder from the last run's bill to what the programme cost."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from costsim.cli.names import runs
from dashboards import uploads
from dashboards.controls import Control, options_of
from dashboards.patterns import ASSUMED
from dashboards.views.training import PAGE as TRAINING

#: settings that a run with phases of its own says itself
_OF_ONE_PHASE = ("seq", "global_batch", "tokens")


def subject(values: dict[str, Any]) -> list[str]:
    """The options of ``train``, ``--assume`` once for every assumption."""
    stated = (*_OF_ONE_PHASE, "assume") if values.get("run") else ("assume",)
    rest = [control for control in PAGE.question.controls if control.name not in stated]
    moved = [part.strip() for part in str(values.get("assume") or "").split(",")]
    return [*options_of(rest, values, "", uploads.spelled), *(f"--assume={part}" for part in moved if part)]


CONTROLS = (
    Control("run", "ru", "word", "Phases of the run", None, runs, empty="one phase",
            note="a published run says its sequences and tokens itself"),
    *TRAINING.question.controls,
    Control("assume", "as", "text", "Other assumptions", None, pattern=ASSUMED,
            help="final-run-share=30%, staff=60"),
)  # fmt: skip

PAGE = replace(
    TRAINING,
    id="run", title="Cost of a whole run", icon=":material/stacked_bar_chart:", order=55,
    lead="From the bill of one run to what a programme costs: which part each headline number includes.",
    question=replace(
        TRAINING.question,
        fixed=("--run",), needs=("--run",), subject=subject, long=True,
        controls=CONTROLS,
    ),
    screen=replace(
        TRAINING.screen,
        headline=("final_run_usd", "staff_usd", "cash_usd", "gpu_hours", "days_with_stops", "energy_mwh"), views={},
    ),
)  # fmt: skip
