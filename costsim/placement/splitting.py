"""Splitting an expert's tokens unevenly over its copies, batch by batch: the linear program of the fairest split."""

from __future__ import annotations

import numpy as np

from costsim.placement.placement import Loads, Placement, Slots

#: sweeps over the replicated experts; each exact for one expert given the others
SWEEPS = 60
#: a sweep that changes no GPU by this share of the mean is the last
SETTLED = 1e-5
#: stands for a GPU with no room
_FULL = 1e30


def resplit(placement: Placement, loads: Loads) -> Loads:
    """GPU loads [layers, gpus] when every expert's tokens are split over its copies so that the busiest GPU is least.

    The loads that splits can reach form the base of a polymatroid, in which the point of least Σ L_g² also has the
    least maximum; block coordinate descent finds it: each expert in turn is poured over its copies' GPUs like water.
    """
    shape, layers = placement.shape, placement.layers
    mean = loads.sum(axis=1) / shape.gpus
    experts, places, split, single = _replicated(placement, loads)
    total = single
    for _ in range(SWEEPS):
        before = total.copy()
        for j in range(experts.shape[1]):
            at = np.arange(layers)[:, None], places[:, j]
            total[at] -= split[:, j]
            split[:, j] = poured(total[at], np.where(experts[:, j] >= 0, _load(loads, experts[:, j]), 0.0))
            total[at] += split[:, j]
        if np.abs(total - before).max(axis=1).max() < SETTLED * mean.max():
            break
    return np.asarray(total[:, : shape.gpus])


def _load(loads: Loads, experts: Slots) -> Loads:
    rows = np.arange(len(loads))
    return np.asarray(loads[rows, np.maximum(experts, 0)])


def poured(level: Loads, amount: Loads) -> Loads:
    """Shares [rows, n] of ``amount`` [rows] that raise ``level`` [rows, n] to one height, like water."""
    order = np.argsort(level, axis=1)
    low = np.take_along_axis(level, order, axis=1)
    counts = np.arange(1.0, level.shape[1] + 1.0)
    heights = (np.cumsum(low, axis=1) + amount[:, None]) / counts
    # The surface lies over the first n basins, n the last whose floor is under the height it would give.
    wet = np.maximum((low < heights).sum(axis=1) - 1, 0)
    surface = np.take_along_axis(heights, wet[:, None], axis=1)
    return np.asarray(np.maximum(surface - level, 0.0))


def _replicated(placement: Placement, loads: Loads) -> tuple[Slots, Slots, Loads, Loads]:
    """Replicated experts [layers, n] (−1 where a layer has fewer), their GPUs [layers, n, copies], even shares there,
    and GPU loads with all of them on it; a GPU past the last one, full, stands for no copy."""
    shape, layers = placement.shape, placement.layers
    copies = placement.copies
    gpus = np.concatenate([placement.gpu_load(loads), np.full((layers, 1), _FULL)], axis=1)
    most = int(copies.max())
    count = int((copies > 1).sum(axis=1).max())
    experts = np.argsort(-np.where(copies > 1, loads, -1.0), axis=1, kind="stable")[:, :count]
    experts = np.where(np.take_along_axis(copies, experts, axis=1) > 1, experts, -1)
    order = np.argsort(placement.expert_of, axis=1, kind="stable")
    first = np.concatenate([np.zeros((layers, 1), dtype=np.int64), np.cumsum(copies, axis=1)[:, :-1]], axis=1)
    rows = np.arange(layers)[:, None, None]
    chosen = np.maximum(experts, 0)
    number = np.take_along_axis(copies, chosen, axis=1)[..., None]
    index = np.take_along_axis(first, chosen, axis=1)[..., None] + np.arange(most)
    there = (np.arange(most) < number) & (experts[..., None] >= 0)
    slot = order[rows, np.minimum(index, shape.slots - 1)]
    gpu = np.where(there, slot // shape.per_gpu, shape.gpus)
    # Two copies on one GPU are one place for water, which the first of them stands for.
    same = (gpu[..., None, :] == gpu[..., :, None]) & there[..., None, :]
    repeated = (same & (np.arange(most)[None, :] < np.arange(most)[:, None])).any(axis=3)
    share = np.take_along_axis(loads / copies, chosen, axis=1)[..., None]
    even = np.where(there & ~repeated, share * same.sum(axis=3), 0.0)
    return experts, np.where(repeated, shape.gpus, gpu), even, gpus
