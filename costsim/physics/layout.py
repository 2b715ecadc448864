"""Layout: the numbers of a plan that decide each rank's share. Counts of ranks, no chips."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from costsim.num import Num
from costsim.physics.routing import imbalance, known_imbalance, node_share
from costsim.spec.model import ModelSpec

#: formats whose weights take four bits: NVFP4 (multiplied in 4 bits), INT4 or MXFP4 beside 16-bit activations, MXFP4
#: beside 8-bit ones (multiplied in 8)
FOUR_BIT = ("fp4", "w4", "w4a8")


@dataclass(frozen=True)
class Layout:
    """What one rank holds.

    ``tp`` splits attention and dense FFN; ``ep`` ranks share one set of routed experts and ``moe_tp``
    splits each expert's width. ``domain`` is how many ranks share the scale-up fabric.
    ``slots`` counts the routed experts (``replicas`` of them included, in all) on a rank. ``imbalance`` and
    ``remote_nodes`` are those of a known placement and take the place of what ``routing`` would say.
    """

    tp: Num
    pp: Num
    ep: Num
    moe_tp: Num
    ranks: Num
    domain: Num
    slots: Num
    precision: str
    kv_dtype: str
    routing: str = "balanced"
    replicas: Num = 0.0
    imbalance: Num | None = None
    remote_nodes: Num | None = None

    @property
    def attention_dp(self) -> Num:
        """Attention replicas: each group of tp·pp ranks serves its own requests."""
        return self.ranks / (self.tp * self.pp)

    def skew(self, pairs: Num, phase: str) -> Num:
        """Load of the busiest expert rank over the mean, when each rank gets ``pairs`` token-expert pairs."""
        if self.imbalance is not None:
            return known_imbalance(self.imbalance, self.slots, self.ep, pairs / self.slots)
        return imbalance(self.routing, phase, self.slots, self.ep, pairs / self.slots, self.replicas)

    def node_skew(self, pairs: Num, phase: str, nodes: Num) -> Num:
        """Load of the busiest of ``nodes`` over the mean: hot and cold ranks of a node share its NICs.

        Normal kernels send a token once to a node, to the rank of the sender's index, whichever rank there holds the
        expert; so what a NIC receives is as uneven as nodes are, not as ranks. [deepep; deepseek-v3-report, sec. 3.2.2]
        """
        within = np.maximum(self.ep / nodes, 1.0)
        if self.imbalance is not None:
            return 1.0 + (self.skew(pairs, phase) - 1.0) * node_share(self.ep, nodes)
        skew = imbalance(self.routing, phase, self.slots * within, nodes, pairs / self.slots, self.replicas)
        return np.maximum(skew, 1.0)  # of one node the closed form falls below the mean


def attention_dtype(model: ModelSpec, precision: str) -> str:
    """Format of the attention's matrices: 4-bit checkpoints of MoE models keep them in BF16 (DeepSeek-R1 in NVFP4,
    Kimi-K2.5 in INT4, gpt-oss in MXFP4); those of dense models quantise every layer matrix. [nvidia-fp4-checkpoints]
    """
    return "bf16" if precision in FOUR_BIT and model.moe is not None else precision


def output_dtype(model: ModelSpec, precision: str) -> str:
    """Format of attention's output projection, which some NVFP4 checkpoints of MoE models quantise as well."""
    return precision if precision == "fp4" and "output" in model.fp4_parts else attention_dtype(model, precision)


def ffn_dtype(model: ModelSpec, precision: str) -> str:
    """Format of dense FFNs and shared experts: integer checkpoints of MoE models (``w4``) quantise routed experts only,
    NVFP4 ones as the model says. [nvidia-fp4-checkpoints]
    """
    kept = precision in ("w4", "w4a8") or (precision == "fp4" and "ffn" not in model.fp4_parts)
    return "bf16" if kept and model.moe is not None else precision


def expert_slots(model: ModelSpec, ep: Num, redundant: Num) -> Num:
    """Routed experts held by a rank: (experts + redundant) / ep; ranks beyond that hold a replica each."""
    if model.moe is None:
        return 1.0
    return np.maximum((model.moe.experts + np.asarray(redundant, dtype=float)) / ep, 1.0)
