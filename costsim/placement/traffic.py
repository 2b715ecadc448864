"""How far tokens travel under a placement: nodes and GPUs a token reaches, who sends to whom, how hot links get.

A token is sent once to every node that holds one of its chosen copies, and fans out there once to every GPU that
does. [deepep; deepseek-v3-report, sec. 3.2.2]
Copies are picked independently and evenly (``even``), or from the sender's node where it has one (``local``).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from costsim.placement.placement import Loads, Placement, Shape, Slots

#: tokens of a layer that an estimate looks at; the standard error of nodes per token is then under 0.02
ENOUGH_TOKENS = 4096
#: stands for the logarithm of zero: e^-60 of a token is none
_NEVER = -60.0


@dataclass(frozen=True)
class Choices:
    """What is known of experts chosen together: ``top_k`` experts within ``top_groups`` groups of a token.

    ``tokens`` [layers, tokens, top_k] where a trace was recorded; without one, groups are taken to be equally likely
    and experts to be drawn by their load inside a chosen group. Fewer layers than a placement has are used in turn.
    """

    top_k: int
    top_groups: int = 1
    tokens: NDArray[np.integer] | None = None

    def thinned(self, most: int) -> Choices:
        """The same with at most ``most`` tokens a layer, evenly spaced."""
        if self.tokens is None or self.tokens.shape[1] <= most:
            return self
        return Choices(self.top_k, self.top_groups, self.tokens[:, :: self.tokens.shape[1] // most][:, :most])

    def of_layer(self, layer: int) -> Slots | None:
        """Token–expert choices of a layer, at most ENOUGH_TOKENS of them, evenly spaced."""
        if self.tokens is None:
            return None
        chosen = self.tokens[layer % len(self.tokens)]
        step = max(len(chosen) // ENOUGH_TOKENS, 1)
        return np.asarray(chosen[::step], dtype=np.int64)


@dataclass(frozen=True)
class Traffic:
    """Means over layers: nodes and GPUs that a token reaches, and those that are not the sender's own.

    ``matrix`` [gpus, gpus]: copies of a token that a GPU sends to another, in the mean over layers.
    ``node_matrix`` [nodes, nodes]: the same over the network, one copy to a node.
    """

    nodes_per_token: float
    remote_nodes_per_token: float
    gpus_per_token: float
    remote_gpus_per_token: float
    matrix: Loads
    node_matrix: Loads


def held(placement: Placement, unit_of_slot: Slots, units: int) -> Loads:
    """Share of each expert's copies on each unit (node or GPU), [layers, experts, units]."""
    layers, experts = placement.layers, placement.shape.experts
    flat = (np.arange(layers)[:, None] * experts + placement.expert_of) * units + unit_of_slot
    counts = np.bincount(flat.ravel(), minlength=layers * experts * units).reshape(layers, experts, units)
    return np.asarray(counts / counts.sum(axis=2, keepdims=True))


def measure(placement: Placement, loads: Loads, choices: Choices, copies: str = "even") -> Traffic:
    """Traffic of ``placement`` when every GPU sends as many tokens."""
    shape = placement.shape
    node_of = np.arange(shape.gpus) // shape.per_node
    on_node = held(placement, placement.node_of_slot, shape.nodes)
    on_gpu = held(placement, placement.gpu_of_slot, shape.gpus)
    senders = range(shape.nodes) if copies == "local" else (None,)
    to_node, to_gpu = np.empty((shape.nodes, shape.nodes)), np.empty((shape.nodes, shape.gpus))
    for sender in senders:
        rows = slice(None) if sender is None else sender
        near_node, near_gpu = _from(sender, on_node, on_gpu, node_of)
        to_node[rows] = reached(near_node, loads, choices, shape).mean(axis=0)
        to_gpu[rows] = reached(near_gpu, loads, choices, shape).mean(axis=0)
    matrix = np.repeat(to_gpu, shape.per_node, axis=0)
    share = 1.0 / shape.nodes
    return Traffic(
        nodes_per_token=float(to_node.sum() * share),
        remote_nodes_per_token=float((to_node.sum() - np.trace(to_node)) * share),
        gpus_per_token=float(to_gpu.sum() * share),
        remote_gpus_per_token=float((matrix.sum() - np.trace(matrix)) / shape.gpus),
        matrix=matrix,
        node_matrix=to_node,
    )


def remote_nodes(placement: Placement, loads: Loads, choices: Choices) -> Loads:
    """Nodes besides its own that a token reaches, by layer, copies picked evenly: what ``measure`` means over."""
    share = held(placement, placement.node_of_slot, placement.shape.nodes)
    hit = reached(share, loads, choices, placement.shape)
    return np.asarray(hit.sum(axis=1) * (1.0 - 1.0 / placement.shape.nodes))


def _from(sender: int | None, on_node: Loads, on_gpu: Loads, node_of: Slots) -> tuple[Loads, Loads]:
    """Shares as a sender on one node sees them: all on its own node where that holds a copy."""
    if sender is None:
        return on_node, on_gpu
    here = on_node[:, :, sender : sender + 1] > 0
    own_node = np.zeros_like(on_node)
    own_node[:, :, sender] = 1.0
    own_gpu = np.where(node_of == sender, on_gpu, 0.0)
    own_gpu /= np.maximum(own_gpu.sum(axis=2, keepdims=True), 1e-12)
    return np.where(here, own_node, on_node), np.where(here, own_gpu, on_gpu)


def reached(share: Loads, loads: Loads, choices: Choices, shape: Shape) -> Loads:
    """P(a token reaches a unit), [layers, units], for ``share`` [layers, experts, units] of copies on it."""
    if choices.tokens is None:
        return _expected(share, loads, choices, shape)
    log_miss = np.log(np.maximum(1.0 - share, np.exp(_NEVER))).astype(np.float32)
    out = np.empty((len(share), share.shape[2]))
    for layer in range(len(share)):
        tokens = choices.of_layer(layer)
        assert tokens is not None
        picked = np.zeros((len(tokens), shape.experts), dtype=np.float32)
        np.put_along_axis(picked, tokens, 1.0, axis=1)
        out[layer] = 1.0 - np.exp(picked @ log_miss[layer]).mean(axis=0)
    return out


def _expected(share: Loads, loads: Loads, choices: Choices, shape: Shape) -> Loads:
    """Closed form: groups equally likely, k/M experts of each chosen group drawn by load.

    P(unit missed) = e_M(a_1 … a_G)/C(G, M), a_γ = (1 − π_γ)^{k/M}, π_γ the load-weighted share of group γ on the
    unit and e_M the elementary symmetric polynomial. [deepseek-v3-report, sec. 2.1.2]
    """
    layers, _, units = share.shape
    least = 1e-9 * loads.mean(axis=1, keepdims=True)  # a group that nobody chose still has shares
    weight = np.maximum(loads, least).reshape(layers, shape.groups, -1, 1)
    by_group = (share.reshape(layers, shape.groups, -1, units) * weight).sum(axis=2) / weight.sum(axis=2)
    chosen = min(choices.top_groups, shape.groups)
    missed = (1.0 - np.minimum(by_group, 1.0)) ** (choices.top_k / chosen)
    return np.asarray(1.0 - symmetric_mean(missed, chosen))


def symmetric_mean(values: Loads, chosen: int) -> Loads:
    """Mean over all subsets of ``chosen`` along axis 1 of their product: e_M/C(G, M)."""
    groups = values.shape[1]
    terms = [np.ones_like(values[:, 0])] + [np.zeros_like(values[:, 0]) for _ in range(chosen)]
    subsets = [1.0] + [0.0] * chosen
    for g in range(groups):
        for m in range(chosen, 0, -1):
            terms[m] = terms[m] + terms[m - 1] * values[:, g]
            subsets[m] += subsets[m - 1]
    return np.asarray(terms[chosen] / subsets[chosen])


def strangeness(shape: Shape, home: Slots, choices: Choices, layers: int) -> Loads:
    """P(no other choice of its token lives on node n | expert e is chosen), [layers, experts, nodes].

    What a copy of e on node n adds to the nodes a token reaches, per token–expert pair sent there; ``home``
    [layers, experts] is where experts live otherwise.
    """
    if choices.tokens is not None:
        return np.stack([_lonely(shape, home[i], choices.of_layer(i)) for i in range(layers)])
    groups, chosen = shape.groups, min(choices.top_groups, shape.groups)
    picks = choices.top_k / chosen
    homes = home.reshape(layers, groups, -1)[:, :, 0]
    there = (homes[:, :, None] == np.arange(shape.nodes)).sum(axis=1)  # groups on each node
    own = (homes[:, :, None] == np.arange(shape.nodes)).astype(np.int64)
    others = there[:, None, :] - own  # groups on node n other than e's
    missed = np.ones(others.shape)
    for i in range(chosen - 1):
        missed = missed * np.clip(groups - 1 - others - i, 0, None) / (groups - 1 - i)
    alone = 1.0 if picks <= 1 else 0.0  # on its own node its group's other picks are there already
    return np.repeat(np.where(own > 0, missed * alone, missed), shape.experts // groups, axis=1)


def _lonely(shape: Shape, home: Slots, tokens: Slots | None) -> Loads:
    assert tokens is not None
    nodes = home[tokens]
    count = (nodes[:, :, None] == np.arange(shape.nodes)).sum(axis=1)
    others = count[:, None, :] - (nodes[:, :, None] == np.arange(shape.nodes))
    key = (tokens[:, :, None] * shape.nodes + np.arange(shape.nodes)).ravel()
    size = shape.experts * shape.nodes
    alone = np.bincount(key, weights=(others == 0).ravel(), minlength=size).reshape(shape.experts, -1)
    seen = np.bincount(tokens.ravel(), minlength=shape.experts)[:, None]
    return np.asarray((alone + 0.3) / (seen + 1.0))  # an expert seen by few tokens is near the mean of them all
