"""What a rank holds beside activations: weights, gradients, master weights, moments, and their traffic in a step."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from costsim.num import Num
from costsim.physics.op import Op, Wire, stream
from costsim.physics.parameters import attention_shapes, ffn_shapes, parameters
from costsim.physics.training.ends import padded_vocab
from costsim.physics.training.passes import B16, B32
from costsim.physics.training.shard import Shard
from costsim.spec.model import ModelSpec


@dataclass(frozen=True)
class Convention:
    """Bytes per parameter of a framework: Megatron-LM keeps FP32 moments, DeepSeek-V3 BF16 ones.

    In FP8 Megatron's recipes keep no 16-bit weights, but FP8 ones both ways round, and gradients in 16 bits.
    [deepseek-v3-report, sec. 3.3.3; megatron-bridge]
    """

    weight_bytes: float = B16

    gradient_bytes: float = B32
    master_bytes: float = B32
    moment_bytes: float = 2.0 * B32
    #: 16-bit placeholders that fused weight gradients hand to autograd, one for each shape of weight
    placeholders: bool = True
    #: bytes per weight of FP8 copies beside the BF16 weights
    eight_bit_copy: float = 0.0

    @property
    def traffic_bytes(self) -> float:
        """One update: read gradient, master and moments; write master and moments."""
        return self.gradient_bytes + 2.0 * (self.master_bytes + self.moment_bytes)


@dataclass(frozen=True)
class Held:
    """Parameters of a block on one rank: replicated over all data-parallel ranks, and those of its experts."""

    dense: Num
    expert: Num = 0.0

    def __add__(self, other: Held) -> Held:
        return Held(self.dense + other.dense, self.expert + other.expert)

    def times(self, count: Num) -> Held:
        return Held(self.dense * count, self.expert * count)


def attention_held(model: ModelSpec, shard: Shard) -> Held:
    """MLA's down projections are whole on each tensor-parallel rank; all else is split."""
    p = parameters(model)
    whole = 0
    if model.attention.kind == "mla":
        a = model.attention
        whole = model.hidden * (a.q_lora_rank + a.kv_lora_rank + a.qk_rope_head_dim)
    return Held((p.attention - whole) / shard.tp + whole + p.attention_norms + p.layer_norms)


def dense_held(model: ModelSpec, shard: Shard) -> Held:
    return Held(3.0 * model.hidden * model.intermediate / shard.tp)


def moe_held(model: ModelSpec, shard: Shard) -> Held:
    p = parameters(model)
    return Held(p.shared / shard.tp + p.router, shard.slots * p.expert / shard.moe_tp)


def embedding_held(model: ModelSpec, shard: Shard) -> Held:
    return Held(padded_vocab(model, shard.tp) * model.hidden / shard.tp)


def head_held(model: ModelSpec, shard: Shard, alone: Num = 0.0) -> Held:
    """``alone``: 1 where a tied table sits on the embedding's rank already."""
    again = 1.0 - alone * (1.0 if model.tied_embeddings else 0.0)
    return Held(again * padded_vocab(model, shard.tp) * model.hidden / shard.tp + model.hidden)


def mtp_held(model: ModelSpec, shard: Shard) -> Held:
    """A module without embedding and head, which it shares. [deepseek-v3-report, sec. 2.2]"""
    ffn = moe_held if model.moe is not None and model.moe_layers else dense_held
    join = Held(2.0 * model.hidden**2 / shard.tp + 3.0 * model.hidden)
    return attention_held(model, shard) + ffn(model, shard) + join


def placeholder_bytes(model: ModelSpec, shard: Shard) -> Num:
    """One 16-bit tensor for each shape of weight in the layers; they stay allocated."""
    a = model.attention
    matrices = [rows * columns for rows, columns in attention_shapes(model)]
    whole = 0.0
    if a.kind == "gqa":
        fused = sum(matrices[:3])
        split = float(fused + matrices[3])
    else:
        count = 1 if a.q_lora_rank else 0
        whole = float((matrices[0] if count else 0) + matrices[1])
        split = float(sum(matrices) - whole)
    total = split / shard.tp + whole
    if model.dense_layers:
        total = total + 3.0 * model.hidden * model.intermediate / shard.tp
    if model.moe is not None and model.moe_layers:
        total = total + sum(r * c for r, c in ffn_shapes(model.hidden, model.moe.intermediate)) / shard.moe_tp
        if model.moe.shared_experts > 1:
            total = total + 3.0 * model.hidden * model.moe.shared_experts * model.moe.intermediate / shard.tp
    return B16 * total


def sharded(held: Held, dp: Num, expert_dp: Num, wanted: Num) -> Num:
    """Parameters of a rank when ``wanted`` data-parallel ranks split them."""
    split = np.where(
        np.asarray(wanted, dtype=bool), held.dense / dp + held.expert / expert_dp, held.dense + held.expert
    )
    return split


def gradient_wires(
    held: Held, dp: Num, expert_dp: Num, inside: Num, expert_inside: Num, convention: Convention
) -> list[Wire]:
    """Once a step: gradients summed and scattered over data-parallel ranks, updated weights gathered.

    ``inside``: members of a group in one scale-up domain; experts' replicas are mostly on other nodes.
    """
    gathered = 1.0 if convention.weight_bytes == 0.0 else convention.weight_bytes
    wires = []
    for name, count, ranks, near in (
        ("dense", held.dense, dp, inside),
        ("expert", held.expert, expert_dp, expert_inside),
    ):
        many = (np.asarray(ranks) > 1) * 1.0
        for kind, width in (("reduce_scatter", convention.gradient_bytes), ("all_gather", gathered)):
            moved = np.asarray(count * width, dtype=float)
            wires.append(Wire(f"{kind} {name}", kind, moved, moved, ranks, near, many, "dp"))
    return wires


def optimiser_ops(params: Num, held: Held, convention: Convention) -> list[Op]:
    """What follows the sum of gradients, memory-bound: their mean (all of them), norm and clipping, AdamW and weights
    written out on this rank's shard, and gradients cleared for the next step."""
    c, whole = convention, held.dense + held.expert
    return [
        stream("mean gradients", whole * 2.0 * c.gradient_bytes, 1.0, "step"),
        stream("gradient norm, clip", params * 3.0 * c.gradient_bytes, 1.0, "step"),
        stream("optimiser", params * c.traffic_bytes, 1.0, "step"),
        stream("weights out", params * (c.master_bytes + max(c.weight_bytes, 1.0)), 1.0, "step"),
        stream("clear gradients", whole * c.gradient_bytes, 1.0, "step"),
    ]
