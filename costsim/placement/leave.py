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
    """Swap slots between the heaviest node and others until nodes are level or ``budget`` is spent.

    ``added`` [layers, experts, nodes]: nodes per token–expert pair that a copy there adds. Among the swaps that help,
    the one that levels most for what it adds is made. Returns the state and what was spent, in pairs of load.
    """
    experts, per_node = experts.copy(), shape.slots // shape.nodes
    weight = local.shares(experts, loads)
    node_of, inside = np.arange(shape.slots) // per_node, np.arange(per_node)
    mean = shape.gpus / shape.nodes
    spent, live = np.zeros(len(loads)), np.arange(len(loads))
    for _ in range(rounds):
        w, e = weight[live], experts[live]
        total = w.reshape(len(live), shape.nodes, per_node).sum(axis=2)
        rows, busy = np.arange(len(live)), total.argmax(axis=1)
        top = total[rows, busy]
        own = busy[:, None] * per_node + inside
        theirs = total[:, node_of]
        moved = w[rows[:, None], own][:, :, None] - w[:, None, :]
        # What the swap takes off the overload: never more than the overload, less what it puts on the other above mean
        gain = np.minimum(moved, (top - mean)[:, None, None]) - np.maximum(theirs[:, None, :] + moved - mean, 0.0)
        cost = _cost(added[live], e, w, own, busy, node_of)
        other = (busy[:, None] != node_of)[:, None, :]
        useful = (gain > LEVEL / 4) & other & (spent[live, None, None] + cost <= budget[live, None, None])
        value = np.where(useful, gain / np.maximum(cost, 1e-6), -np.inf).reshape(len(live), -1)
        best = value.argmax(axis=1)
        go = (value[rows, best] > 0) & (top - mean > LEVEL * mean)
        if not go.any():
            break
        rows, best = rows[go], best[go]
        here, there = own[rows, best // shape.slots], best % shape.slots
        spent[live[rows]] += cost.reshape(len(live), -1)[rows, best]
        live = live[rows]
        for array in (experts, weight):
            array[live, here], array[live, there] = array[live, there], array[live, here]
    return experts, spent


def _cost(added: Loads, experts: Slots, weight: Loads, own: Slots, busy: Slots, node_of: Slots) -> Loads:
    """Pairs that reach a further node if slot ``own[j]`` and slot s change nodes, [rows, own, slots]."""
    rows = np.arange(len(experts))[:, None]
    mine = added[rows, experts[rows, own]]  # [rows, own, nodes]
    away = mine[:, :, node_of] - np.take_along_axis(mine, busy[:, None, None], axis=2)
    theirs = added[rows, experts, busy[:, None]] - added[rows, experts, node_of[None, :]]
    return np.asarray(weight[rows, own][:, :, None] * away + (weight * theirs)[:, None, :])


def packed(shape: Shape, loads: Loads, experts: Slots, rounds: int = 400) -> Slots:
    """Slots of each node packed on its GPUs, heaviest first, then swapped within the node."""
    layers, per_node = len(loads), shape.slots // shape.nodes
    weight = local.shares(experts, loads)
    order = eplb.pack(weight.reshape(layers * shape.nodes, per_node), shape.per_node).reshape(-1, per_node)
    inner = np.take_along_axis(experts.reshape(-1, per_node), order, axis=1).reshape(layers, -1)
    weights = np.take_along_axis(weight.reshape(-1, per_node), order, axis=1).reshape(layers, -1)
    return local.swap(inner, weights, shape.per_gpu, rounds, same=per_node)[0]
