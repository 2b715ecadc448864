"""Statistics of one replica, in bounded memory: iterations, busy time, tokens, inter-token latencies as a histogram.

A histogram of gaps is a dict: bin → weight, shared by all replicas of a run.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

#: histogram bins a factor of e: quantiles are exact to half a bin, 1 %
BINS_PER_E = 50
_LOWEST_S = 1e-6
_BINS = int(math.log(1e6 / _LOWEST_S) * BINS_PER_E)


class Statistics:
    """Counters that a replica adds to as it goes. ``prompt_s`` of the busy time are due to prompts, and ``cached_s`` of
    these to tokens that were in the prefix cache. ``kv_s``: seconds of the whole KV cache in use; ``kv_peak``: its
    largest share. ``gaps``: the run's histogram of the time between two tokens."""

    __slots__ = (
        "busy_s",
        "cached_s",
        "gaps",
        "iterations",
        "kv_peak",
        "kv_s",
        "output_tokens",
        "prompt_s",
        "prompt_tokens",
    )

    def __init__(self, gaps: dict[int, float]) -> None:
        self.busy_s = self.prompt_s = self.cached_s = 0.0
        self.kv_s = self.kv_peak = 0.0
        self.iterations = 0
        self.prompt_tokens = 0
        self.output_tokens = 0.0
        self.gaps = gaps

    def used(self, duration_s: float, before: float, after: float) -> None:
        """Shares of the KV cache in use at the start and at the end of a step."""
        self.kv_s += 0.5 * (before + after) * duration_s
        self.kv_peak = max(self.kv_peak, after)

    def decoded(self, n: int, iteration_s: float, running: int, stall_s: float) -> None:
        """``n`` decode iterations of ``running`` requests; the first of them came ``stall_s`` late."""
        self.iterations += n
        if stall_s > 0.0:
            self._gap(iteration_s + stall_s, running)
            n -= 1
        if n:
            self._gap(iteration_s, n * running)

    def _gap(self, seconds: float, weight: float) -> None:
        bin_ = min(max(int(math.log(seconds / _LOWEST_S) * BINS_PER_E), 0), _BINS) if seconds > 0 else 0
        self.gaps[bin_] = self.gaps.get(bin_, 0.0) + weight


def itl_quantiles(gaps: Mapping[int, float], quantiles: list[float]) -> NDArray[np.float64]:
    """Quantiles of inter-token latency over all tokens of a histogram; NaN where nothing was decoded."""
    if not gaps:
        return np.full(len(quantiles), math.nan)
    bins = np.array(sorted(gaps))
    weights = np.cumsum([gaps[int(b)] for b in bins])
    at = np.searchsorted(weights, np.asarray(quantiles) * weights[-1], side="left")
    out: NDArray[np.float64] = _LOWEST_S * np.exp((bins[np.minimum(at, len(bins) - 1)] + 0.5) / BINS_PER_E)
    return out
