"""Outcome of a simulation: times by request as arrays, latencies and rates, and the state over time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from costsim.serving.history import History
from costsim.serving.ledger import Ledger
from costsim.serving.replica import Replica
from costsim.serving.statistics import Statistics, itl_quantiles

Column = NDArray[np.float64]


@dataclass(frozen=True)
class Outcome:
    """What happened to each request; NaN where it did not come to that.

    ``arrival_s, admitted_s, first_s, finish_s``: times; ``isl, osl, cached``: tokens; ``preemptions`` and ``aborted``
    (0, 1 waited too long, 2 longer than the KV cache, 3 refused by a full queue), at ``aborted_s``; ``priority``:
    lower is served first. ``statistics`` and ``logs`` (start, end, iterations, prompt
    tokens, requests decoding of each step, where recorded) are by replica; ``history`` is the state over time and
    ``end_s`` the last event.
    """

    arrival_s: Column
    admitted_s: Column
    first_s: Column
    finish_s: Column
    isl: Column
    osl: Column
    cached: Column
    preemptions: Column
    aborted: Column
    aborted_s: Column
    priority: Column
    statistics: tuple[Statistics, ...]
    history: History
    logs: tuple[tuple[tuple[float, float, int, int, int], ...], ...]
    end_s: float

    @classmethod
    def of(cls, ledger: Ledger, replicas: Sequence[Replica], history: History, end_s: float) -> Outcome:
        """Freeze a ledger and what the replicas counted."""

        def column(values: Sequence[float]) -> Column:
            return np.asarray(values, dtype=float)

        return cls(
            arrival_s=column(ledger.arrival_s), admitted_s=column(ledger.admitted_s), first_s=column(ledger.first_s),
            finish_s=column(ledger.finish_s), isl=column(ledger.isl), osl=column(ledger.osl),
            cached=column(ledger.cached), preemptions=column(ledger.preemptions), aborted=column(ledger.aborted),
            aborted_s=column(ledger.aborted_s), priority=column(ledger.priority),
            statistics=tuple(replica.statistics for replica in replicas), history=history,
            logs=tuple(tuple(replica.log) for replica in replicas if replica.log is not None), end_s=end_s,
        )  # fmt: skip

    @property
    def finished(self) -> NDArray[np.bool_]:
        return np.isfinite(self.finish_s)

    @property
    def ttft_s(self) -> Column:
        """Time to the first token, from arrival."""
        return self.first_s - self.arrival_s

    @property
    def tpot_s(self) -> Column:
        """(finish − first token) / (osl − 1): the first token not counted; NaN for one-token answers."""
        with np.errstate(divide="ignore", invalid="ignore"):
            out: Column = np.where(self.osl > 1, (self.finish_s - self.first_s) / (self.osl - 1), math.nan)
        return out

    @property
    def e2e_s(self) -> Column:
        return self.finish_s - self.arrival_s

    @property
    def iterations(self) -> int:
        return sum(one.iterations for one in self.statistics)

    @property
    def series(self) -> tuple[tuple[float, int, int, float], ...]:
        """(time, requests waiting, running, KV in use), thinned."""
        return self.history.points

    @property
    def busy_share(self) -> float:
        """Time that replicas had work, over the time there was."""
        return sum(one.busy_s for one in self.statistics) / (self.end_s * len(self.statistics)) if self.end_s else 0.0

    def itl_s(self, quantiles: list[float]) -> Column:
        """Quantiles of the time between two tokens of one request, over all tokens."""
        return itl_quantiles(self.history.marks[-1].gaps, quantiles)

    def goodput(self, ttft_s: float, tpot_s: float) -> float:
        """Share of all requests that met both targets."""
        return float(np.mean(self.good(ttft_s, tpot_s)))

    def good(self, ttft_s: float, tpot_s: float) -> NDArray[np.bool_]:
        """Which requests met both targets; one-token answers have no time per token."""
        tpot = np.nan_to_num(self.tpot_s, nan=0.0)
        out: NDArray[np.bool_] = self.finished & (self.ttft_s <= ttft_s) & (tpot <= tpot_s)
        return out
