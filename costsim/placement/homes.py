"""Which node each group of experts lives on: partitions of groups, judged by balance and by groups chosen together."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from costsim.placement import eplb
from costsim.placement.placement import Loads, Shape, Slots, count_copies
from costsim.placement.traffic import Choices

#: partitions of groups over nodes that are all tried; beyond that the balancer's own packing stands
MOST_PARTITIONS = 4000


def partitions(groups: int, size: int) -> Iterator[tuple[tuple[int, ...], ...]]:
    """Ways to cut 0…groups − 1 into parts of ``size``, each once."""
    from itertools import combinations

    def cut(left: tuple[int, ...]) -> Iterator[tuple[tuple[int, ...], ...]]:
        if not left:
            yield ()
            return
        for rest in combinations(left[1:], size - 1):
            part = (left[0], *rest)
            for more in cut(tuple(g for g in left if g not in part)):
                yield (part, *more)

    return cut(tuple(range(groups)))


def count_partitions(groups: int, size: int) -> int:
    """groups!/(size!^n · n!), n = groups/size."""
    from math import factorial

    n = groups // size
    return int(factorial(groups) // (factorial(size) ** n * factorial(n)))


def settle(shape: Shape, loads: Loads, choices: Choices, slack: bool) -> Slots:
    """Groups on each node, [layers, nodes, groups/nodes], for loads whose GPU mean is 1.

    Judged by the nodes that a token reaches, with what levelling the nodes will add where ``slack`` lets experts
    leave home, and by the nodes' own imbalance where it does not.
    """
    size = shape.groups // shape.nodes
    if size < 2 or count_partitions(shape.groups, size) > MOST_PARTITIONS:
        return eplb.home_groups(shape, loads)
    ways = np.array(list(partitions(shape.groups, size)))  # [ways, nodes, size]
    by_group = loads.reshape(len(loads), shape.groups, -1).sum(axis=2) / shape.gpus  # sums to 1
    by_node = by_group[:, ways].sum(axis=3)  # [layers, ways, nodes]
    over = np.maximum(by_node - 1.0 / shape.nodes, 0.0)
    if not slack:
        return np.asarray(ways[by_node.max(axis=2).argmin(axis=1)])
    chosen = min(choices.top_groups, shape.groups)
    missed = 1.0
    for i in range(chosen - 1):
        missed *= max(shape.groups - 1 - size - i, 0) / (shape.groups - 1 - i)
    added = over.sum(axis=2) * choices.top_k * missed
    if choices.tokens is not None:
        added = added + np.stack([_nodes_reached(shape, ways, choices.of_layer(i)) for i in range(len(loads))])
    return np.asarray(ways[added.argmin(axis=1)])


def gathered(shape: Shape, loads: Loads, experts: Slots) -> Slots:
    """Whole GPUs renamed so that those that serve the same groups share a node: balance stays, traffic falls.

    In the order of the group that brings a GPU most of its load, then of the second, forth and back.
    """
    if shape.groups == 1:
        return experts
    layers, by_gpu = len(loads), (len(loads), shape.gpus, shape.per_gpu)
    copies = count_copies(experts, shape.experts)
    load = np.take_along_axis(loads / copies, experts, axis=1).reshape(by_gpu)
    group = (experts // (shape.experts // shape.groups)).reshape(by_gpu)
    key = (np.arange(layers * shape.gpus).reshape(layers, -1, 1) * shape.groups + group).ravel()
    of_group = np.bincount(key, load.ravel(), layers * shape.gpus * shape.groups).reshape(layers, shape.gpus, -1)
    ranked = np.argsort(-of_group, axis=2, kind="stable")
    first, second = ranked[..., 0], ranked[..., 1]
    turned = np.where(first % 2 == 0, second, shape.groups - 1 - second)
    order = np.argsort(first * shape.groups + turned, axis=1, kind="stable")
    return np.take_along_axis(experts.reshape(by_gpu), order[..., None], axis=1).reshape(layers, -1)


def _nodes_reached(shape: Shape, ways: Slots, tokens: Slots | None) -> Loads:
    """Mean nodes that a token reaches under each way, from the sets of groups that tokens choose."""
    assert tokens is not None
    chosen = np.zeros((len(tokens), shape.groups), dtype=bool)
    np.put_along_axis(chosen, tokens // (shape.experts // shape.groups), True, axis=1)
    sets, counts = np.unique(chosen, axis=0, return_counts=True)
    hit = sets[:, ways].any(axis=3).sum(axis=2)  # [sets, ways]
    return np.asarray(counts @ hit / len(tokens))
