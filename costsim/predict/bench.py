"""A benchmark of the user's own beside the prediction of the same run: every latency and rate that the file states."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from costsim.calibration.sources.vllm_bench import Serving
from costsim.errors import BadInput
from costsim.predict.report import Report
from costsim.serving.arrivals import closed_loop, open_loop
from costsim.serving.request import Requests

#: statistics of a benchmark's file → those of a report
_STATISTICS = {"mean": "_s", "median": "_p50_s", "p90": "_p90_s", "p99": "_p99_s"}
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
    """The requests of a run and its concurrency: the file's own lengths, or their means; its own rate, if it had one.

    Without rate and without concurrency every request was sent at once.
    """
    if run.completed < 1:
        raise BadInput("bench: no request of this run was answered")
    count = len(run.lengths) or run.completed
    isl, osl = max(1, round(run.input_tokens / run.completed)), max(1, round(run.output_tokens / run.completed))
    if run.request_rate is not None:
        requests, concurrency = open_loop(count, run.request_rate, isl, osl, seed=seed), None
    else:
        requests, concurrency = closed_loop(count, isl, osl, seed=seed), run.concurrency or count
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
