"""Between node-local and global: a few experts leave their group's node to level the nodes, the cheapest first."""

from __future__ import annotations

import numpy as np

from costsim.placement import eplb, local
from costsim.placement.placement import Loads, Shape, Slots

#: a node this close to the mean is level: the packing inside nodes cannot use more
LEVEL = 1e-3


def node_local(shape: Shape, loads: Loads, homes: Slots) -> Slots:
    """Replicas within each node, slots in node order: experts [layers, slots]."""
    layers, size = len(loads), shape.experts // shape.groups
    members = (homes[..., None] * size + np.arange(size)).reshape(layers * shape.nodes, -1)
    weights = np.take_along_axis(loads, members.reshape(layers, -1), axis=1).reshape(members.shape)
    slots = shape.slots // shape.nodes
    experts = eplb.spelled(eplb.replicate(weights, slots), slots)
    return np.take_along_axis(members, experts, axis=1).reshape(layers, -1)


def level(
    shape: Shape, loads: Loads, experts: Slots, added: Loads, budget: Loads, rounds: int = 64
) -> tuple[Slots, Loads]:
    """Swap slots between the heaviest and the lightest node until nodes are level or ``budget`` is spent.

    ``added`` [layers, experts, nodes]: nodes per token–expert pair that a copy there adds. Among the swaps that help,
    the one that levels most for what it adds is made. Returns the state and what was spent, in pairs of load.
    """
    experts, per_node = experts.copy(), shape.slots // shape.nodes
    weight = local.shares(experts, loads)
    inside, mean = np.arange(per_node), shape.gpus / shape.nodes
    spent, live = np.zeros(len(loads)), np.arange(len(loads))
    for _ in range(rounds):
        w, e = weight[live], experts[live]
        total = w.reshape(len(live), shape.nodes, per_node).sum(axis=2)
        rows = np.arange(len(live))[:, None]
        busy, idle = total.argmax(axis=1)[:, None], total.argmin(axis=1)[:, None]
        over, room = total[rows, busy] - mean, mean - total[rows, idle]
        own, other = busy * per_node + inside, idle * per_node + inside
        moved = w[rows, own][:, :, None] - w[rows, other][:, None, :]
        # What a swap takes off the overload: no more than there is, less what it puts on the other above the mean.
        gain = np.minimum(moved, over[..., None]) - np.maximum(moved - room[..., None], 0.0)
        grown = _grown(added[live], e[rows, own], busy, idle) * w[rows, own]
        shrunk = _grown(added[live], e[rows, other], idle, busy) * w[rows, other]
        cost = grown[:, :, None] + shrunk[:, None, :]
        useful = (gain > LEVEL / 4) & (spent[live, None, None] + cost <= budget[live, None, None])
        value = np.where(useful, gain / np.maximum(cost, 1e-6), -np.inf).reshape(len(live), -1)
        best = value.argmax(axis=1)
        at = np.flatnonzero((value[rows[:, 0], best] > 0) & (over[:, 0] > LEVEL * mean))
        if not len(at):
            break
        here, there = own[at, best[at] // per_node], other[at, best[at] % per_node]
        spent[live[at]] += cost.reshape(len(live), -1)[at, best[at]]
        live = live[at]
        for array in (experts, weight):
            array[live, here], array[live, there] = array[live, there], array[live, here]
    return experts, spent


def _grown(added: Loads, experts: Slots, source: Slots, target: Slots) -> Loads:
    """Further nodes per pair if ``experts`` [rows, slots] go from node ``source`` to ``target`` [rows, 1]."""
    rows = np.arange(len(experts))[:, None]
    return np.asarray(added[rows, experts, target] - added[rows, experts, source])


def packed(shape: Shape, loads: Loads, experts: Slots, rounds: int = 400) -> Slots:
    """Slots of each node packed on its GPUs, heaviest first, then swapped within the node."""
    layers, per_node = len(loads), shape.slots // shape.nodes
    weight = local.shares(experts, loads)
    order = eplb.pack(weight.reshape(layers * shape.nodes, per_node), shape.per_node).reshape(-1, per_node)
    inner = np.take_along_axis(experts.reshape(-1, per_node), order, axis=1).reshape(layers, -1)
    weights = np.take_along_axis(weight.reshape(-1, per_node), order, axis=1).reshape(layers, -1)
    return local.swap(inner, weights, shape.per_gpu, rounds, same=per_node)[0]
