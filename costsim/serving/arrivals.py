"""Synthetic loads: closed loops and open arrivals with given rate and burstiness, lengths from a range."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from costsim.errors import OutOfRange
from costsim.serving.request import MAX_REQUESTS, MAX_TOKENS, Requests

#: lengths where nothing says their range: within 10 % of nominal, so that their mean is what was asked for and
#: requests do not run in step
SPREAD = 0.1
SPREAD_RATIO = (1.0 - SPREAD) / (1.0 + SPREAD)


def longest(nominal: float) -> int:
    """The longest of lengths around ``nominal``; SPREAD_RATIO of it is the shortest."""
    return max(round(nominal * (1.0 + SPREAD)), 1)


def lengths(rng: np.random.Generator, count: int, nominal: int, ratio: float) -> NDArray[np.int64]:
    """Whole numbers uniform in [ratio·nominal, nominal]: what serving benchmarks call the random range ratio."""
    if not 0.0 < ratio <= 1.0:
        raise OutOfRange(f"length ratio {ratio:g}: must be above 0 and at most 1")
    if not 1 <= nominal <= MAX_TOKENS:
        raise OutOfRange(f"length {nominal:g}: must be at least 1 and at most {MAX_TOKENS:,}")
    low = max(1, round(nominal * ratio))
    return rng.integers(low, nominal + 1, size=count, dtype=np.int64)


def closed_loop(count: int, isl: int, osl: int, ratio: float = 1.0, seed: int = 0) -> Requests:
    """``count`` requests to be sent whenever one of those in flight is done (all arrival times are zero)."""
    rng = np.random.default_rng(seed)
    _count(count)
    return Requests(np.zeros(count), lengths(rng, count, isl, ratio), lengths(rng, count, osl, ratio))


def open_loop(
    count: int, rate_per_s: float, isl: int, osl: int, ratio: float = 1.0, cv: float = 1.0, seed: int = 0
) -> Requests:
    """Arrivals at ``rate_per_s``; gaps are gamma-distributed with coefficient of variation ``cv``.

    cv = 1 is a Poisson process, above it bursts, 0 a metronome. Gamma: shape 1/cv², mean 1/rate.
    """
    _count(count)
    if not 0 < rate_per_s < float("inf"):
        raise OutOfRange(f"rate {rate_per_s:g}: must be above zero requests per second")
    if not 0 <= cv <= 100:
        raise OutOfRange(f"cv {cv:g}: must be from 0 (a metronome) to 100")
    rng = np.random.default_rng(seed)
    mean = 1.0 / rate_per_s
    # below this a gamma of that shape is a metronome, and its shape has no float
    gaps = np.full(count, mean) if cv < 1e-4 else rng.gamma(1.0 / cv**2, mean * cv**2, size=count)
    return Requests(np.cumsum(gaps), lengths(rng, count, isl, ratio), lengths(rng, count, osl, ratio))


def _count(count: int) -> None:
    if not 1 <= count <= MAX_REQUESTS:
        raise OutOfRange(f"requests: {count}; from 1 to {MAX_REQUESTS:,} can be simulated")
