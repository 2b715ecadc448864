"""From the placement in use to a new one: GPUs relabelled so that few slots change, or few changes made at all."""

from __future__ import annotations

import numpy as np

from costsim.errors import Contradiction, OutOfRange
from costsim.placement import local
from costsim.placement.placement import LEAST_GAIN, Loads, Placement, Slots, count_copies


def moved(present: Placement, new: Placement) -> Slots:
    """Slots by layer whose GPU must fetch an expert that it does not hold now."""
    shape = new.shape
    held, wanted = _held(present), _held(new)
    return np.asarray(shape.slots - np.minimum(held, wanted).sum(axis=(1, 2)).astype(np.int64))


def _held(placement: Placement) -> Loads:
    """Copies of each expert on each GPU, [layers, gpus, experts]."""
    shape, layers = placement.shape, placement.layers
    rows = placement.expert_of.reshape(layers * shape.gpus, shape.per_gpu)
    return count_copies(rows, shape.experts).reshape(layers, shape.gpus, shape.experts).astype(np.float32)


def relabelled(present: Placement, new: Placement) -> Placement:
    """``new`` with its nodes, then its GPUs within nodes, renamed towards ``present``: the same loads, fewer moves.

    Greedy: the pair that shares most experts first, at least half of the best matching. Where nodes mean nothing to
    the placement (its groups do not live on nodes) GPUs are renamed over all nodes.
    """
    refuse_other(present, new)
    shape, layers = new.shape, new.layers
    held, wanted = _held(present), _held(new)
    if shape.node_local:
        by_node = (layers, shape.nodes, shape.per_node, shape.experts)
        nodes = _match(held.reshape(by_node).sum(axis=2), wanted.reshape(by_node).sum(axis=2))
        taken = np.empty((layers, shape.gpus), dtype=np.int64)
        wanted_by, held_by = wanted.reshape(by_node), held.reshape(by_node)
        rows = np.arange(layers)
        for node in range(shape.nodes):
            inner = _match(held_by[:, node], wanted_by[rows, nodes[:, node]])
            span = slice(node * shape.per_node, (node + 1) * shape.per_node)
            taken[:, span] = nodes[:, node, None] * shape.per_node + inner
    else:
        taken = _match(held, wanted)
    blocks = new.expert_of.reshape(layers, shape.gpus, shape.per_gpu)
    order = np.take_along_axis(blocks, taken[:, :, None], axis=1)
    return Placement(shape, _kept_in_place(present.expert_of, order.reshape(layers, -1), shape.per_gpu))


def _match(held: Loads, wanted: Loads) -> Slots:
    """Which unit of ``wanted`` each unit of ``held`` takes, [layers, units]: most shared experts first."""
    layers, units, _ = held.shape
    shared = np.minimum(held, 1.0) @ np.minimum(wanted, 1.0).transpose(0, 2, 1)
    taken, rows = np.empty((layers, units), dtype=np.int64), np.arange(layers)
    for _ in range(units):
        best = shared.reshape(layers, -1).argmax(axis=1)
        mine, theirs = best // units, best % units
        taken[rows, mine] = theirs
        shared[rows, mine, :] = -1.0
        shared[rows, :, theirs] = -1.0
    return taken


def _kept_in_place(present: Slots, new: Slots, per_gpu: int) -> Slots:
    """Slots of each GPU reordered so that experts that stay keep their slot."""
    old, fresh = present.reshape(-1, per_gpu), new.reshape(-1, per_gpu)
    out, used = np.full_like(old, -1), np.zeros(old.shape, dtype=bool)
    rows = np.arange(len(old))
    for slot in range(per_gpu):
        match = (fresh == old[:, slot : slot + 1]) & ~used
        found = match.any(axis=1)
        at = match.argmax(axis=1)
        out[rows[found], slot] = fresh[rows[found], at[found]]
        used[rows[found], at[found]] = True
    out[out < 0] = fresh[~used]  # both in row order, as many of one as of the other
    return out.reshape(new.shape)


def nearby(present: Placement, loads: Loads, most: int, tries: int = 48, seed: int = 0) -> Placement:
    """Better ``present`` by at most ``most`` moved slots a layer, each the best at hand for the busiest GPU.

    A swap moves two slots, another replica in place of a spare one moves one; the larger gain a move wins.
    """
    if most < 0:
        raise OutOfRange(f"moves = {most}: must be at least 0")
    shape, rng = present.shape, np.random.default_rng(seed)
    scaled = loads / loads.sum(axis=1, keepdims=True) * shape.gpus
    experts, left = present.expert_of.copy(), np.full(present.layers, most)
    live = np.flatnonzero(left > 0)
    while len(live):
        now = _busiest(experts[live], scaled[live], shape.per_gpu)
        swapped = local.swap(experts[live], local.shares(experts[live], scaled[live]), shape.per_gpu, rounds=1)[0]
        by_swap = np.where(left[live] >= 2, now - _busiest(swapped, scaled[live], shape.per_gpu), 0.0) / 2.0
        replaced, by_replica = _replaced(experts[live], scaled[live], shape.per_gpu, tries, rng)
        use = np.where((by_swap >= by_replica)[:, None], swapped, replaced)
        gain = np.maximum(by_swap, by_replica)
        go = gain > LEAST_GAIN
        experts[live[go]] = use[go]
        left[live[go]] -= np.where(by_swap >= by_replica, 2, 1)[go]
        live = live[go & (left[live] > 0)]
    return Placement(shape, experts)


def _replaced(experts: Slots, loads: Loads, per_gpu: int, tries: int, rng: np.random.Generator) -> tuple[Slots, Loads]:
    """The best of ``tries`` changes of one spare replica into another of the busiest GPU's experts, and its gain."""
    rows, tries = np.arange(len(experts)), min(tries, experts.shape[1])
    total = local.shares(experts, loads).reshape(len(rows), -1, per_gpu).sum(axis=2)
    hot = np.take_along_axis(experts, total.argmax(axis=1)[:, None] * per_gpu + np.arange(per_gpu), axis=1)
    slots, new = local.changes(experts, hot, tries, loads.shape[1], rng)
    after, allowed = local.changed(experts, loads, slots, new)
    top = after.reshape(len(rows), tries, -1, per_gpu).sum(axis=3).max(axis=2)
    top[~allowed] = np.inf
    best = top.argmin(axis=1)
    out = experts.copy()
    out[rows, slots[rows, best]] = new[rows, best]
    gain = total.max(axis=1) - top[rows, best]
    return np.where(np.isfinite(gain)[:, None], out, experts), np.where(np.isfinite(gain), gain, 0.0)


def _busiest(experts: Slots, loads: Loads, per_gpu: int) -> Loads:
    return np.asarray(local.shares(experts, loads).reshape(len(experts), -1, per_gpu).sum(axis=2).max(axis=1))


def refuse_other(present: Placement, new: Placement) -> None:
    """Only placements of one shape can be compared slot by slot."""
    if present.shape != new.shape or present.layers != new.layers:
        raise Contradiction(
            f"the present placement has {present.layers} layers of {present.shape.slots} slots on "
            f"{present.shape.gpus} GPUs; the new one {new.layers} of {new.shape.slots} on {new.shape.gpus}"
        )
