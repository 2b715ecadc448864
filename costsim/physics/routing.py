"""Where tokens go: how many nodes and ranks a token touches, and how uneven experts are.

Uniform expert popularity within DeepSeek's group-limited routing; popularity skew enters as
:func:`imbalance` on the busiest rank.
"""

from __future__ import annotations

import numpy as np

from costsim.num import Num
from costsim.spec.model import MoE

#: log-normal spread of expert popularity. TensorRT-LLM measured a rank imbalance (max − mean)/mean of 1.56 at
#: EP32 without a balancer, which this law gives at 1.2; fragments of single ranks show 0.57 and 0.83.
POPULARITY_SIGMA = 1.2
#: log-normal spread between the loads a balancer planned on and those of a batch. Prefill batches hold few,
#: long documents: solved from one published pair, CloudMatrix384 at 5,655 tokens/s with its balancer against
#: 6,688 with forced balance (0.846). Decode batches mix many requests: TensorRT-LLM measured (max − mean)/mean
#: of 0.11 at EP32 with 32 redundant experts, which is this spread at nine slots a rank.
DRIFT_SIGMA = {"prefill": 0.52, "decode": 0.16}


def units_touched(moe: MoE, units: Num) -> Num:
    """E[distinct units that hold at least one of a token's top_k experts], experts spread evenly over ``units``.

    A unit is a rank or a node. With G groups of which M are chosen and k/M experts picked per chosen
    group: a unit of u = G/units whole groups is missed with C(G−u, M)/C(G, M); a unit inside a group is
    hit with (M/G)·(1 − (1−u)^(k/M)), u its share of the group. Both meet at u = 1. Without groups the k
    experts are drawn without replacement from E: a unit of e is missed with C(E−e, k)/C(E, k), exactly.
    [deepseek-v3-report, sec. 2.1.2]
    """
    units = np.asarray(units, dtype=float)
    if moe.groups == 1:
        own, missed = moe.experts / units, np.ones_like(units)
        for i in range(moe.top_k):
            missed = missed * np.clip(moe.experts - own - i, 0.0, None) / (moe.experts - i)
        # More units than experts (replicas): every chosen expert is a unit of its own.
        return np.minimum(units * (1.0 - missed), float(moe.top_k))
    groups, chosen = float(moe.groups), float(moe.top_groups)
    picks = moe.top_k / chosen
    u = groups / units
    missed = np.ones_like(u)
    for i in range(moe.top_groups):
        missed = missed * np.clip(groups - np.maximum(u, 1.0) - i, 0.0, None) / (groups - i)
    inside = chosen / groups * (1.0 - (1.0 - np.minimum(u, 1.0)) ** picks)
    hit = np.where(u >= 1.0, 1.0 - missed, inside)
    return np.where(units <= 1.0, 1.0, np.maximum(units * hit, 1.0))


#: Gauss–Hermite nodes and weights of a standard normal, for means over log-normal popularity
_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(12)
_WEIGHTS = _WEIGHTS / _WEIGHTS.sum()


def active_experts(slots: Num, pairs: Num, spread: float = 0.0) -> Num:
    """E[slots with at least one token] when ``pairs`` token–expert pairs fall on ``slots``.

    slots·E[1 − exp(−w·pairs/slots)], w the popularity: 1 for forced balance, log-normal(``spread``) of mean 1
    otherwise. Which weights a small batch must read: skew makes it fewer.
    """
    rate = np.asarray(pairs, dtype=float) / slots
    if spread == 0.0:
        return slots * -np.expm1(-rate)
    share = np.zeros_like(rate)
    for node, weight in zip(_NODES, _WEIGHTS, strict=True):
        share += weight * -np.expm1(-rate * np.exp(spread * node - spread**2 / 2.0))
    return slots * share


def popularity(routing: str) -> float:
    """Log-normal spread of expert popularity under a routing word."""
    return 0.0 if routing in ("balanced", "trained") else POPULARITY_SIGMA


def _busiest(spread: Num, slots: Num, ranks: Num) -> Num:
    """E[max/mean] over ``ranks`` ranks of the mean of ``slots`` log-normal(spread) loads.

    Fenton–Wilkinson: the mean of s log-normals is nearly log-normal with σ_s² = ln(1 + (e^{σ²}−1)/s);
    the expected maximum of R normals is about √(2 ln R) − (ln ln R + ln 4π)/(2√(2 ln R)) (Cramér).
    """
    variance = np.log1p(np.expm1(spread**2) / slots)
    busiest: Num = np.exp(np.sqrt(variance) * _largest(ranks) - variance / 2.0)
    return busiest


def _largest(count: Num) -> Num:
    """Expected largest of ``count`` standard normals, see :func:`_busiest`."""
    count = np.maximum(np.asarray(count, dtype=float), 1.0)
    log_r = np.log(np.maximum(count, 3.0))
    root = np.sqrt(2.0 * log_r)
    top = root - (np.log(log_r) + np.log(4.0 * np.pi)) / (2.0 * root)
    largest: Num = top * np.minimum(np.log(count) / np.log(3.0), 1.0)  # one has no maximum over others
    return largest


def node_share(ranks: Num, nodes: Num) -> Num:
    """Excess of the busiest of ``nodes`` as a share of the busiest rank's: means of R/N independent ranks vary by
    √(N/R) of a rank, and the largest of N sticks out less than the largest of R."""
    within = np.maximum(np.asarray(ranks, dtype=float) / nodes, 1.0)
    of_ranks = np.maximum(_largest(ranks), 1e-9)
    share: Num = np.minimum(_largest(nodes) / of_ranks, 1.0) / np.sqrt(within)
    return share


#: replicas from which on the hottest experts no longer stick out; fewer leave a share of their excess
ENOUGH_REPLICAS = 32.0


def hottest_expert(spread: float, groups: Num) -> Num:
    """E[rows of the fullest expert over the mean] among ``groups`` experts of log-normal(``spread``) popularity."""
    return _busiest(spread, 1.0, groups) if spread else np.ones_like(np.asarray(groups, dtype=float))


def _planned(slots: Num, ranks: Num, replicas: Num) -> Num:
    """Imbalance that EPLB leaves on the loads it planned on: 1 + 0.7/(1 + (slots/1.65)⁴) with replicas to spare.

    Its published algorithm on log-normal loads of σ 0.8–1.0 leaves 1.18–1.31 at two slots a rank, 1.02 at
    four, under 1.01 (global) at nine; with one slot a rank, water-filling 256 experts over 320 leaves 1.6.
    Without replicas the hottest expert stays whole, so its rank holds at least hottest/slots of the mean. [eplb]
    """
    packed = 1.0 + 0.7 / (1.0 + (slots / 1.65) ** 4)
    hottest = np.maximum(_busiest(POPULARITY_SIGMA, 1.0, slots * ranks) / slots, 1.0)
    missing = np.clip(1.0 - np.asarray(replicas, dtype=float) / ENOUGH_REPLICAS, 0.0, 1.0)
    return packed * (1.0 + missing * (hottest - 1.0))


def imbalance(
    routing: str, phase: str, slots: Num, ranks: Num, tokens_per_slot: Num, replicas: Num = ENOUGH_REPLICAS
) -> Num:
    """Load of the busiest rank over the mean, for expert GEMMs and for what it receives.

    ``balanced``: forced, 1. ``production``: 1, for the share of throughput that a fleet keeps holds it.
    ``trained``: a router that its training keeps balanced on average, so that only batches differ (the drift of large
    mixed batches), no replicas. ``default``: popularity as met in serving, no replicas. ``eplb``: ``replicas`` planned
    on one window and met by another (drift, by ``phase``). Sampling noise of a finite batch adds 1/tokens_per_slot of
    variance.
    """
    if routing in ("balanced", "production"):  # the production share already holds what imbalance costs
        return np.ones(np.broadcast(np.asarray(slots), np.asarray(ranks)).shape)
    sampling = np.log1p(1.0 / np.maximum(tokens_per_slot, 1e-9))
    if routing == "trained":
        return _busiest(np.sqrt(DRIFT_SIGMA["decode"] ** 2 + sampling), slots, ranks)
    if routing == "default":
        return _busiest(np.sqrt(POPULARITY_SIGMA**2 + sampling), slots, ranks)
    drifted = _busiest(np.sqrt(DRIFT_SIGMA[phase] ** 2 + sampling), slots, ranks)
    untouched = _busiest(np.sqrt(POPULARITY_SIGMA**2 + sampling), slots, ranks)
    # A balancer that would make things worse is not used.
    return np.minimum(_planned(slots, ranks, replicas) * drifted, untouched)


def known_imbalance(busiest: Num, slots: Num, ranks: Num, tokens_per_slot: Num) -> Num:
    """Imbalance of a placement whose busiest rank carries ``busiest`` times the mean over a window, met by a batch.

    The window is long; a batch of few tokens adds its sampling noise, 1/tokens_per_slot of variance a slot.
    """
    sampling = np.log1p(1.0 / np.maximum(tokens_per_slot, 1e-9))
    return np.asarray(busiest, dtype=float) * _busiest(np.sqrt(sampling), slots, ranks)
