"""Bytes that one micro-batch leaves on a rank between its forward and backward pass, block by block.

A tensor is kept once, in the format that the backward pass reads: 16 bits, or FP8 where it is the input of an FP8 GEMM.
[megatron-selective-recompute, sec. 4; deepseek-v3-report, sec. 3.3.3]
"""

from __future__ import annotations

import numpy as np

from costsim.num import Num
from costsim.physics.op import act_bytes
from costsim.physics.training.ends import padded_vocab
from costsim.physics.training.passes import B16, B32, Recipe
from costsim.physics.training.recompute import drops
from costsim.physics.training.shard import Shard
from costsim.spec.model import ModelSpec


def gemm_input(recipe: Recipe) -> float:
    """Bytes per element of a kept GEMM input: FP8 or FP4 with its scales, or BF16."""
    return act_bytes(recipe.dtype) + (1.0 / 16.0 if recipe.dtype == "fp4" else 0.0)


def attention_kept(model: ModelSpec, shard: Shard, recipe: Recipe, policy: frozenset[str]) -> Num:
    """Input, norm, latents or none, queries, keys, values, context and softmax statistics of one layer."""
    a, h, own, t = model.attention, float(model.hidden), shard.own, shard.tokens
    if "full" in policy:
        return B16 * own * h
    one = gemm_input(recipe)
    heads = a.heads / shard.tp
    kept = B16 * own * h + (0.0 if drops(policy, "norm") else one * own * h)
    kv_heads = heads if a.kind == "mla" else np.maximum(a.kv_heads / shard.tp, 1.0)
    operands = B16 * t * (heads * a.qk_head_dim + kv_heads * (a.qk_head_dim + a.value_head_dim))
    if a.kind == "mla":
        latent = float(a.q_lora_rank + a.kv_lora_rank)
        kept = kept + B16 * own * (latent + a.qk_rope_head_dim)
        kept = kept + (0.0 if drops(policy, "norm") else one * t * latent)
        operands = 0.0 * operands if drops(policy, "mla_up_proj") else operands
    return kept + operands + context_kept(model, shard, recipe)


def context_kept(model: ModelSpec, shard: Shard, recipe: Recipe) -> Num:
    """Attention's output, which is also the output projection's input, and one FP32 statistic a head.

    With heads exchanged over cp, attention keeps its own output and the projection keeps what came back.
    """
    a, t = model.attention, shard.tokens
    heads = a.heads / shard.tp
    block = recipe.dtype == "fp8" and recipe.block_scaled
    twice = 1.0 + shard.split(shard.cp) * np.asarray(_kv_heads(model, shard) >= shard.cp)
    return t * heads * a.value_head_dim * (1.5 if block else B16) * twice + B32 * t * heads


def _kv_heads(model: ModelSpec, shard: Shard) -> Num:
    a = model.attention
    return a.heads / shard.tp if a.kind == "mla" else np.maximum(a.kv_heads / shard.tp, 1.0)


def dense_kept(model: ModelSpec, shard: Shard, recipe: Recipe, policy: frozenset[str]) -> Num:
    """Input, norm, gate and up, and their product."""
    h, own = float(model.hidden), shard.own
    if "full" in policy:
        return 0.0 * own
    kept = B16 * own * h + (0.0 if drops(policy, "norm") else gemm_input(recipe) * own * h)
    inner = 0.0 if "mlp" in policy else _gated_kept(shard.tokens, model.intermediate / shard.tp, recipe, policy)
    return kept + inner


def _gated_kept(rows: Num, width: Num, recipe: Recipe, policy: frozenset[str]) -> Num:
    block = recipe.dtype == "fp8" and recipe.block_scaled
    before = act_bytes("fp8") if block else B16
    # DeepSeek keeps the activation's input in FP8 and computes its output again. [deepseek-v3-report, sec. 3.3.3]
    after = 0.0 if drops(policy, "act") or block else gemm_input(recipe)
    return rows * width * (2.0 * before + after)


def moe_kept(model: ModelSpec, shard: Shard, recipe: Recipe, policy: frozenset[str]) -> Num:
    """Input, norm, router's scores, permuted rows, and what routed and shared experts keep."""
    moe, h, own = model.moe, float(model.hidden), shard.own
    assert moe is not None
    if "full" in policy:
        return 0.0 * own
    kept = B16 * own * h + (0.0 if drops(policy, "norm") else B16 * own * h) + 3.0 * B32 * own * moe.experts
    if "moe" in policy:
        return kept
    pairs = shard.pairs(model)
    rows = pairs * h * gemm_input(recipe)
    routed = rows + _gated_kept(pairs, moe.intermediate / shard.moe_tp, recipe, policy)
    shared = _gated_kept(shard.tokens, moe.shared_experts * moe.intermediate / shard.tp, recipe, policy)
    return kept + routed + shared


def head_kept(model: ModelSpec, shard: Shard) -> Num:
    """Final norm's input and output, which live until the head's backward pass."""
    return 2.0 * B16 * shard.own * model.hidden


def head_transient(model: ModelSpec, shard: Shard) -> Num:
    """Logits, their gradient, and the placeholder gradient of the vocabulary matrix, all 16 bits."""
    rows = padded_vocab(model, shard.tp) / shard.tp
    return B16 * (2.0 * shard.tokens * rows + rows * model.hidden)


def ffn_transient(model: ModelSpec, shard: Shard) -> Num:
    """Gradient of gate and up of the widest block, with the gradient that comes in."""
    h = float(model.hidden)
    wide = B16 * (shard.tokens * 2.0 * model.intermediate / shard.tp + shard.tokens * h)
    if model.moe is not None and model.moe_layers:
        moe = B16 * shard.pairs(model) * (2.0 * model.moe.intermediate / shard.moe_tp + h)
        wide = np.maximum(wide if model.dense_layers else 0.0, moe)
    return wide
