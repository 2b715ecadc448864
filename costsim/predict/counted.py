"""Counted: which part of a simulated run the numbers are about, chosen and said in words."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from costsim.errors import BadInput
from costsim.serving.outcome import Outcome
from costsim.serving.window import ENDED, Window, steady, whole

#: the warm-up that :func:`costsim.serving.window.steady` finds itself
AUTO = "auto"
#: a run that goes on for more than this share after the last arrival is not the steady state
DRAIN = 0.03


def counted(outcome: Outcome, warmup: float | str | None) -> Window:
    """All of a run (None), its steady part (``"auto"``), or the part from so many seconds on. Raises BadInput."""
    if warmup is None:
        return whole(outcome)
    if isinstance(warmup, str):
        if warmup != AUTO:
            raise BadInput(f"warmup {warmup[:40]!r}: must be {AUTO!r}, seconds, or None for all of the run")
        return steady(outcome)
    if not 0 <= warmup < float("inf"):
        raise BadInput(f"warmup {warmup:g} s: must not be negative")
    return steady(outcome, warmup)


def same(window: Window, outcome: Outcome) -> Window:
    """The same requests and time of another run; all of it where all of the first counted."""
    return replace(window, outcome=outcome) if window.steady else whole(outcome)


def about(window: Window, concurrency: int | None) -> list[str]:
    """Which part of the run the numbers are about, and why; nothing where that goes without saying."""
    outcome = window.outcome
    last_s, every = float(outcome.arrival_s[-1]), len(outcome.isl)
    if window.steady:
        came = f"{int(window.among.sum()):,} of {every:,} requests, which came from {window.begin_s:.4g}"
        cut = "before it the deployment fills, after it answers outlast the arrivals (nine in ten answers' time each)"
        return [f"counted: {came} to {window.end_s:.4g} s, and the tokens and cards of that time; {cut}"]
    ends = f"the last request came at {last_s:.0f} s and was done at {outcome.end_s:.0f} s"
    if window.steady is None:
        drained = outcome.end_s > (1.0 + DRAIN) * last_s > 0 and concurrency is None
        words = "throughput and cost count the time to fill and to drain; --warmup auto counts the steady part"
        return [f"{ends}: {words}"] if drained else []
    took_s = float(np.quantile(outcome.e2e_s[outcome.finished], ENDED))
    if last_s > 2.0 * took_s:
        words = "more comes than is let through, or the run is short"
        return [f"no steady state, so that all of the run is counted: {words}; {ends}"]
    words = f"requests came for {last_s:.3g} s and nine in ten answers take up to {took_s:.3g} s; give more --requests"
    return [f"no steady part, so that all of the run is counted, with the time to fill and to drain: {words}"]
