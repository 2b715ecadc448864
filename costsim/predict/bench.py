"""A benchmark of the user's own beside the prediction of the same run: every latency and rate that the file states."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from costsim.calibration.sources.vllm_bench import Serving
from costsim.errors import NothingFound
from costsim.predict.report import Report
from costsim.serving.arrivals import SPREAD, SPREAD_RATIO, closed_loop, open_loop
from costsim.serving.request import Requests

#: statistics of a benchmark's file → those of a report
_STATISTICS = {"mean": "_s", "median": "_p50_s", "p50": "_p50_s", "p90": "_p90_s", "p99": "_p99_s"}
_LATENCIES = {"ttft": "ttft", "tpot": "tpot", "itl": "itl", "e2el": "e2e"}


@dataclass(frozen=True)
class Compared:
    """One figure: measured, predicted with its band, and predicted over measured."""

    run: int
    name: str
    unit: str
    measured: float
    predicted: float
    low: float | None
    high: float | None
    grade: str

    @property
    def ratio(self) -> float:
        return self.predicted / self.measured if self.measured else math.nan

    @property
    def inside(self) -> bool | None:
        """Whether the measured value lies in the band; None where there is none."""
        return None if self.low is None or self.high is None else self.low <= self.measured <= self.high

    def json(self) -> dict[str, Any]:
        return {
            "run": self.run, "name": self.name, "unit": self.unit, "measured": self.measured,
            "predicted": self.predicted, "low": self.low, "high": self.high, "grade": self.grade, "ratio": self.ratio,
            "ape": abs(self.ratio - 1.0), "inside": self.inside,
        }  # fmt: skip


def load_of(run: Serving, seed: int = 0) -> tuple[Requests, int | None]:
    """The requests of a run and its concurrency: the file's own lengths, or the range that it names, or within 10 %
    of their means; its own rate and burstiness, if it had one.

    Without rate and without concurrency every request was sent at once. Equal lengths would make all run in step.
    """
    if run.completed < 1:
        raise NothingFound("bench: no request of this run was answered")
    count = len(run.lengths) or run.completed
    isl, osl = max(1, round(run.input_tokens / run.completed)), max(1, round(run.output_tokens / run.completed))
    ratio, longest = SPREAD_RATIO, 1.0 + SPREAD
    if run.length_ratio is not None:
        ratio, longest = run.length_ratio, 2.0 / (1.0 + run.length_ratio)
    isl, osl = max(1, round(isl * longest)), max(1, round(osl * longest))
    if run.request_rate is not None:
        requests, concurrency = open_loop(count, run.request_rate, isl, osl, ratio, run.cv, seed), None
    else:
        requests, concurrency = closed_loop(count, isl, osl, ratio, seed), run.concurrency or count
    if run.lengths:
        lengths = np.array(run.lengths, dtype=np.int64)
        requests = Requests(requests.arrival_s, lengths[:, 0], lengths[:, 1])
    return requests, concurrency


def compare(number: int, run: Serving, report: Report) -> list[Compared]:
    """Every figure that both have, in the order of the file."""
    rows = []
    for key, seconds in run.latency_s.items():
        statistic, _, name = key.partition("_")
        metric = report.metrics.get(_LATENCIES.get(name, name) + _STATISTICS.get(statistic, "?"))
        if metric is not None and seconds > 0:
            rows.append(Compared(number, key, "s", seconds, metric.value, metric.low, metric.high, metric.grade))
    for name, value in (
        ("output_tokens_per_s", run.output_tokens_per_s), ("requests_per_s", run.requests_per_s),
    ):  # fmt: skip
        metric = report.metrics.get(name)
        if metric is not None and value > 0:
            rows.append(Compared(number, name, metric.unit, value, metric.value, metric.low, metric.high, metric.grade))
    return rows


def summary(rows: Sequence[Compared]) -> dict[str, float]:
    """Mean absolute percentage error and the geometric mean of measured over predicted, by latency.

    The last is what an engine's constants would have to make up for: above one, the engine is slower than predicted.
    """
    out: dict[str, float] = {}
    for name in _LATENCIES:
        own = [row for row in rows if row.name.endswith(f"_{name}") and row.measured > 0 and row.predicted > 0]
        if own:
            out[f"{name}_mape"] = float(np.mean([abs(row.ratio - 1.0) for row in own]))
            out[f"{name}_measured_over_predicted"] = float(np.exp(np.mean([-np.log(row.ratio) for row in own])))
    return out


@dataclass(frozen=True)
class Correction:
    """Host constants under which the runs come out as measured: seconds of every iteration and of every request, and
    what they were before."""

    step_s: float
    frontend_s: float
    was_step_s: float
    was_frontend_s: float

    def json(self) -> dict[str, float]:
        return {
            "step_s": self.step_s, "frontend_s": self.frontend_s, "was_step_s": self.was_step_s,
            "was_frontend_s": self.was_frontend_s,
        }  # fmt: skip


#: times in front of the engine that are tried, over the framework's own
FRONTENDS = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)


def corrected(
    rows: Sequence[Compared], again: Callable[[float, float], list[Compared]], step_s: float, frontend_s: float,
    tokens_per_step: float,
) -> Correction:  # fmt: skip
    """The host constants under which the runs come out nearest; ``again(step_s, frontend_s)`` predicts them anew.

    A second of host time in every iteration is a second of TPOT for each token that an iteration keeps: twice moved by
    the median difference. The process in front serves one request after the other and so queues: of a few times the
    one that leaves TTFT nearest is taken. Neither goes below zero.
    """
    step, now = step_s, list(rows)
    for _ in range(2):
        late = [row.measured - row.predicted for row in now if row.name in ("mean_tpot", "median_tpot", "p50_tpot")]
        moved = max(step + (float(np.median(late)) if late else 0.0) * tokens_per_step, 0.0)
        if moved == step:
            break
        step, now = moved, again(moved, frontend_s)
    tried = {front * frontend_s: again(step, front * frontend_s) for front in FRONTENDS}
    best = min(tried, key=lambda front: _off(tried[front], "ttft"))
    return Correction(step, best, step_s, frontend_s)


def _off(rows: Sequence[Compared], name: str) -> float:
    """Mean absolute logarithm of predicted over measured."""
    own = [abs(math.log(row.ratio)) for row in rows if row.name.endswith(f"_{name}") and row.ratio > 0]
    return float(np.mean(own)) if own else 0.0
