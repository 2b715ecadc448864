"""What no placement can beat: a lower bound on the busiest GPU, provable in a line, printed beside every result."""

from __future__ import annotations

import numpy as np

from costsim.placement.placement import Loads, Shape


def lower_bound(shape: Shape, loads: Loads) -> Loads:
    """max/mean that no placement with even splits can go below, by layer.

    The busiest GPU carries at least the mean. And some GPU holds the largest copy beside S/G − 1 companions; let the
    lightest of them be one of c copies of expert e. The other experts then have at most R − c + 1 of the R spare
    slots. M(r), the least possible largest copy with r spare slots, is greedy's. Where w_e < M(R − c + 1), e plays no
    part in it and the GPU carries at least M(R − c + 1) + (S/G − 1)·w_e/c; elsewhere at least
    M(R) + (S/G − 1)·w_e/c. The least of these over e and c holds for every placement.
    """
    mean = loads.sum(axis=1) / shape.gpus
    largest = _largest_copy(loads, shape.slots - shape.experts)
    beside = np.full(len(loads), np.inf)
    for c in range(1, largest.shape[1] + 1):
        left = largest[:, -c]
        cold = loads.min(axis=1)
        cold = np.where(cold < left, cold, np.inf)
        hot = np.where(loads >= left[:, None], loads, np.inf).min(axis=1)
        companions = (shape.per_gpu - 1) / c
        if shape.per_gpu > 1:
            beside = np.minimum(beside, np.minimum(left + companions * cold, largest[:, -1] + companions * hot))
    if shape.per_gpu == 1:
        beside = largest[:, -1]
    return np.asarray(np.maximum(beside / mean, 1.0))


def _largest_copy(loads: Loads, spare: int) -> Loads:
    """Largest load of one copy after 0…``spare`` more copies, each given to the largest, [layers, spare + 1]."""
    rows, copies, share = np.arange(len(loads)), np.ones(loads.shape), loads.astype(float)
    out = np.empty((len(loads), spare + 1))
    for i in range(spare + 1):
        hottest = share.argmax(axis=1)
        out[:, i] = share[rows, hottest]
        copies[rows, hottest] += 1.0
        share[rows, hottest] = loads[rows, hottest] / copies[rows, hottest]
    return out
