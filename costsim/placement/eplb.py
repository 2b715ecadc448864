"""The published balancer EPLB as a baseline: replicate the hottest, pack greedily, by node groups or globally.

Written from the algorithm's description, all layers at once. [eplb]
"""

from __future__ import annotations

import numpy as np

from costsim.placement.placement import Loads, Placement, Shape, Slots


def pack(weights: Loads, packs: int) -> Slots:
    """Heaviest first, each item to the lightest pack with room; every pack gets n/packs items.

    ``weights`` [rows, n] → items by pack, [rows, packs, n/packs], in the order they came. [eplb]
    """
    rows, n = weights.shape
    size = n // packs
    if size == 1:
        return np.broadcast_to(np.arange(n)[None, :, None], (rows, packs, 1)).copy()
    order = np.argsort(-weights, axis=1, kind="stable")
    heavy = np.take_along_axis(weights, order, axis=1).T.copy()
    total, filled = np.zeros((rows, packs)), np.zeros((rows, packs), dtype=np.int64)
    items, each = np.empty((rows, packs, size), dtype=np.int64), np.arange(rows)
    for i in range(n):
        chosen = total.argmin(axis=1)
        at = filled[each, chosen]
        items[each, chosen, at] = order[:, i]
        filled[each, chosen] = at + 1
        total[each, chosen] = np.where(at + 1 == size, np.inf, total[each, chosen] + heavy[i])
    return items


def replicate(weights: Loads, slots: int) -> Slots:
    """Copies of each expert, [rows, experts]: each slot beyond the first copies goes to the highest load a copy.

    Greedy is optimal for the largest load of a copy. [eplb]
    """
    rows, experts = weights.shape
    copies, each = np.ones((rows, experts), dtype=np.int64), np.arange(rows)
    share = weights.astype(float)
    for _ in range(slots - experts):
        hottest = share.argmax(axis=1)
        copies[each, hottest] += 1
        share[each, hottest] = weights[each, hottest] / copies[each, hottest]
    return copies


def spelled(copies: Slots, slots: int) -> Slots:
    """Each expert repeated as often as it has copies, [rows, slots]."""
    rows, experts = copies.shape
    return np.repeat(np.tile(np.arange(experts), rows), copies.ravel()).reshape(rows, slots)


def _packed(weights: Loads, slots: int, gpus: int) -> Slots:
    """Replicate and pack within one unit: experts by slot, [rows, slots]."""
    copies = replicate(weights, slots)
    experts = spelled(copies, slots)
    share = np.take_along_axis(weights / copies, experts, axis=1)
    packs = pack(share, gpus)
    return np.take_along_axis(experts, packs.reshape(len(weights), -1), axis=1)


def eplb(shape: Shape, loads: Loads) -> Placement:
    """Hierarchical where the groups divide over the nodes, global otherwise. [eplb]"""
    return hierarchical(shape, loads) if shape.node_local else global_(shape, loads)


def global_(shape: Shape, loads: Loads) -> Placement:
    """Nodes and groups ignored."""
    return Placement(shape, _packed(loads, shape.slots, shape.gpus))


def home_groups(shape: Shape, loads: Loads) -> Slots:
    """Groups on each node, packed by their load, [layers, nodes, groups/nodes]."""
    by_group = loads.reshape(len(loads), shape.groups, -1).sum(axis=2)
    return pack(by_group, shape.nodes)


def hierarchical(shape: Shape, loads: Loads, homes: Slots | None = None) -> Placement:
    """Groups to nodes first (or as ``homes`` says), then replicas and packing within each node."""
    layers, size = len(loads), shape.experts // shape.groups
    groups = home_groups(shape, loads) if homes is None else homes
    members = (groups[..., None] * size + np.arange(size)).reshape(layers * shape.nodes, -1)
    weights = np.take_along_axis(loads, members.reshape(layers, -1), axis=1).reshape(members.shape)
    local = _packed(weights, shape.slots // shape.nodes, shape.per_node)
    return Placement(shape, np.take_along_axis(members, local, axis=1).reshape(layers, -1))
