"""What no placement can beat: a lower bound on the busiest GPU, provable in a line, printed beside every result."""

from __future__ import annotations

import numpy as np

from costsim.placement.placement import Loads, Shape


def lower_bound(shape: Shape, loads: Loads) -> Loads:
    """max/mean that no placement with even splits can go below, by layer.

    Two facts: the busiest GPU carries at least the mean; and some GPU holds the largest copy, with S/G − 1 others
    beside it. With R spare slots of which c − 1 make the smallest expert's copies smaller, the largest copy is at
    least M(R − c + 1), the greedy optimum, and each companion at least w_min/c:
    max over GPUs ≥ min over c of M(R − c + 1) + (S/G − 1)·w_min/c.
    """
    mean = loads.sum(axis=1) / shape.gpus
    largest = _largest_copy(loads, shape.slots - shape.experts)
    spare = np.arange(largest.shape[1])
    companions = (shape.per_gpu - 1) * loads.min(axis=1)[:, None] / (spare + 1.0)
    beside = (largest[:, ::-1] + companions).min(axis=1)
    return np.maximum(beside / mean, 1.0)


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
