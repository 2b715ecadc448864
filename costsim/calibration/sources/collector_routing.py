"""Which rows of an MoE batch one expert-parallel rank works on, as the public collectors draw them.

The tables give tokens, experts, ranks and the name of a distribution; a law needs the token–expert pairs
on the timed rank, how many of its experts get any, and how uneven they are. ``balanced`` is a fixed
pattern and counted exactly. ``power_law_<alpha>`` draws expert loads from a truncated power law, and the
busiest rank is moved to rank 0 and timed; here the mean over seeded draws stands for the collectors' five.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
DRAWS = 24


@lru_cache(maxsize=4096)
def _balanced_counts(tokens: int, experts: int, top_k: int) -> Array:
    """Pairs per expert: token t picks experts t + i·stride (spread out where tokens are few)."""
    stride = -(-experts // top_k)
    token = np.arange(tokens)[:, None]
    start = token if tokens >= stride else token * stride / tokens
    picked = ((start + np.arange(top_k)[None, :] * stride) % experts).astype(np.int64)
    return np.bincount(picked.ravel(), minlength=experts)[None, :experts].astype(float)


@lru_cache(maxsize=4096)
def _power_law_counts(tokens: int, experts: int, top_k: int, alpha: float) -> Array:
    """[draws, experts] pairs per expert: loads ∝ a power law on [1, 0.8·tokens] (few tokens: [0.01, 2])."""
    low, high = (1.0, 0.8 * tokens) if tokens * top_k > experts else (0.01, 2.0)
    rng = np.random.default_rng([tokens, experts, top_k, round(alpha * 100)])
    power = 1.0 - alpha
    u = rng.random((DRAWS, experts))
    load = ((high**power - low**power) * u + low**power) ** (1.0 / power)
    target = tokens * top_k
    counts = np.rint(load / load.sum(axis=1, keepdims=True) * target)
    # Rounding is made up on the most loaded experts, ties in no order.
    rank = np.argsort(np.argsort(-counts - 0.5 * rng.random(counts.shape), axis=1), axis=1)
    missing = (target - counts.sum(axis=1))[:, None]
    counts += np.sign(missing) * (rank < np.abs(missing))
    # One token can use an expert once.
    capped: Array = np.clip(counts, 0.0, float(tokens))
    return capped


@lru_cache(maxsize=65536)
def rank_load(tokens: int, experts: int, top_k: int, ranks: int, distribution: str) -> tuple[float, float, float]:
    """(pairs, experts with any, busiest expert's pairs over the mean of those) on the timed rank.

    ``distribution``: balanced, uniform (the same in effect) or power_law_<alpha>.
    """
    if distribution.startswith("power_law_"):
        counts = _power_law_counts(tokens, experts, top_k, float(distribution.removeprefix("power_law_")))
        by_rank = counts.reshape(len(counts), ranks, experts // ranks)
        busiest = by_rank.sum(axis=2).argmax(axis=1)
        local = by_rank[np.arange(len(counts)), busiest]
    else:
        local = _balanced_counts(tokens, experts, top_k)[:, : experts // ranks]
    pairs = local.sum(axis=1)
    active = np.maximum((local > 0).sum(axis=1), 1)
    skew = local.max(axis=1) / np.maximum(pairs / active, 1e-9)
    return float(pairs.mean()), float(active.mean()), float(np.maximum(skew, 1.0).mean())
