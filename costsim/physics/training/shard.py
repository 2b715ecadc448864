"""Shard: one rank's share of a training micro-batch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from costsim.num import Num
from costsim.physics.routing import imbalance, known_imbalance, node_share
from costsim.spec.model import ModelSpec


@dataclass(frozen=True)
class Shard:
    """Widths of the layout and the tokens that a tensor-parallel group sees in one micro-batch.

    ``tokens`` = sequences·seq/cp; sequence parallelism keeps tokens/tp of them on each rank between the blocks.
    ``slots``: routed experts of a rank. ``domain``: ranks that share the scale-up fabric. ``imbalance``: busiest
    expert rank over the mean where it is known (None: what ``routing`` says).
    """

    tokens: Num
    seq: Num
    sequences: Num
    tp: Num
    cp: Num
    ep: Num
    moe_tp: Num
    slots: Num
    domain: Num
    routing: str = "balanced"
    imbalance: Num | None = None

    @property
    def own(self) -> Num:
        """Tokens of one rank between the tensor-parallel blocks."""
        return self.tokens / self.tp

    def pairs(self, model: ModelSpec) -> Num:
        """Token–expert pairs that reach the busiest rank."""
        assert model.moe is not None
        mean = self.own * model.moe.top_k * self.moe_tp
        return mean * self.skew(mean)

    def skew(self, pairs: Num) -> Num:
        """Load of the busiest expert rank over the mean."""
        if self.imbalance is not None:
            return known_imbalance(self.imbalance, self.slots, self.ep, pairs / self.slots)
        return imbalance(self.routing, "prefill", self.slots, self.ep, pairs / self.slots)

    def node_skew(self, pairs: Num, nodes: Num) -> Num:
        """Load of the busiest of ``nodes`` over the mean: what NICs carry where tokens take two hops, as in serving."""
        if self.imbalance is not None:
            return 1.0 + (self.skew(pairs) - 1.0) * node_share(self.ep, nodes)
        within = np.maximum(self.ep / nodes, 1.0)
        return np.maximum(imbalance(self.routing, "prefill", self.slots * within, nodes, pairs / self.slots), 1.0)

    def split(self, width: Num) -> Num:
        """1 where a group of this width has more than one member, else 0."""
        return (np.asarray(width) > 1) * 1.0
