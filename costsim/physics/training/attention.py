"""Attention of one layer in its three passes: MLA and grouped queries, tensor, sequence and context parallel."""

from __future__ import annotations

import numpy as np

from costsim.num import Num
from costsim.physics.attention import prefill_core
from costsim.physics.op import Op, Wire
from costsim.physics.training.passes import (
    B16,
    Passes,
    Recipe,
    attention_core,
    elementwise,
    joined,
    linear,
    small_kernels,
)
from costsim.physics.training.recompute import drops
from costsim.physics.training.shard import Shard
from costsim.spec.model import ModelSpec

PART = "attn"


def attention_block(model: ModelSpec, shard: Shard, recipe: Recipe, policy: frozenset[str]) -> Passes:
    """Norm, projections, core and output of one layer, with its transfers.

    Sequence parallelism gathers a block's input over tp and scatters its output, forward and backward, and gathers
    the input once more for the weight gradient; MLA gathers latents instead, which its up-projections split.
    [megatron-selective-recompute, sec. 4.2]
    """
    h, own = float(model.hidden), shard.own
    norm = residual_norm("input norm", own * h, recipe, PART).repeated(drops(policy, "norm"))
    core = core_block(model, shard)
    before = _mla(model, shard, recipe, policy) if model.attention.kind == "mla" else _gqa(model, shard, recipe)
    width = model.attention.heads / shard.tp * model.attention.value_head_dim
    out = linear("output", shard.tokens, h, width, recipe, PART)
    if recipe.block_scaled and recipe.dtype == "fp8":
        # Its input is kept in a 12-bit format of its own for the backward pass [deepseek-v3-report, sec. 3.3.3].
        kept = shard.tokens * width * (B16 + 1.5)
        out = out + elementwise("keep output", kept, kept, PART)
    gathered = h if model.attention.kind == "gqa" else float(_latent(model))
    wires = sequence_wires("attention", shard, gathered, h)
    body = joined([before, core.repeated(drops(policy, "core_attn")), out, wires])
    return norm + (body.repeated(True) if "full" in policy else body)


def residual_norm(name: str, elements: Num, recipe: Recipe, part: str) -> Passes:
    """Residual add and RMSNorm. Fused: read branch and residual, write both sums; apart, one trip more.

    Backward: read dY, the input and the residual's gradient, write dX.
    """
    trips = 5.0 if recipe.split_norm else 4.0
    return elementwise(name, trips * B16 * elements, trips * B16 * elements, part, "norm")


def core_block(model: ModelSpec, shard: Shard) -> Passes:
    """Causal attention over whole sequences, heads (or sequence chunks) split over cp, and cp's transfers."""
    a = model.attention
    heads = a.heads / shard.tp
    kv_heads = heads if a.kind == "mla" else np.maximum(a.kv_heads / shard.tp, 1.0)
    causal, full = prefill_core(a, shard.seq, 0.0)
    per_pair = 2.0 * heads / shard.cp * (a.qk_head_dim + a.value_head_dim) * shard.sequences
    moved = B16 * shard.tokens * (heads + kv_heads) * (a.qk_head_dim + a.value_head_dim)
    shape = {
        "queries": shard.seq, "context": shard.seq, "heads": heads / shard.cp,
        "kv_heads": np.maximum(kv_heads / shard.cp, 1.0), "batch": shard.sequences, "head_dim": float(a.qk_head_dim),
    }  # fmt: skip
    family = "mla_prefill" if a.kind == "mla" else "attention_prefill"
    op = Op("attention", family, "bf16", per_pair * causal, moved, 1.0, PART, shape, flop_full=per_pair * full)
    return attention_core(op) + _context_wires(model, shard, heads, kv_heads)


def _context_wires(model: ModelSpec, shard: Shard, heads: Num, kv_heads: Num) -> Passes:
    """Context parallelism: heads for sequence chunks by all-to-all where cp divides the key-value heads, else keys
    and values go around a ring, beside the attention that uses them. [ulysses; ring-attention]
    """
    a, t = model.attention, shard.tokens
    swap = np.asarray(kv_heads >= shard.cp)
    q, kv, o = heads * a.qk_head_dim, kv_heads * (a.qk_head_dim + a.value_head_dim), heads * a.value_head_dim
    away = 1.0 - 1.0 / shard.cp
    many = shard.split(shard.cp)

    def wire(name: str, moved: Num) -> Wire:
        size = B16 * t * moved
        return Wire(name, "all_to_all", size, 0.0 * size, shard.cp, shard.domain, many, "cp")

    there = np.where(swap, (q + kv + o) * away, kv * (shard.cp - 1.0))
    return Passes((wire("context exchange", there),), (wire("context exchange backward", there),))


def _latent(model: ModelSpec) -> int:
    a = model.attention
    return a.q_lora_rank + a.kv_lora_rank + a.qk_rope_head_dim


def _mla(model: ModelSpec, shard: Shard, recipe: Recipe, policy: frozenset[str]) -> Passes:
    """Down projections on a rank's own tokens, latents' norms, up-projections of its heads, RoPE and joined keys."""
    a, h, own, t = model.attention, float(model.hidden), shard.own, shard.tokens
    heads = a.heads / shard.tp
    latent = a.q_lora_rank + a.kv_lora_rank
    again = drops(policy, "mla_up_proj")
    rope = 2.0 * B16 * t * (heads * a.qk_rope_head_dim + a.qk_rope_head_dim)
    # Keys are put together from latent and RoPE halves, values taken apart: read and write each once.
    parts = B16 * t * heads * (2.0 * a.qk_nope_head_dim + a.qk_rope_head_dim + a.v_head_dim)
    down = linear("kv down", own, float(a.kv_lora_rank + a.qk_rope_head_dim), h, recipe, PART)
    if a.q_lora_rank:
        down = linear("query down", own, float(a.q_lora_rank), h, recipe, PART) + _without_casts(down)
    up = joined([
        linear("query up", t, heads * a.qk_head_dim, float(a.q_lora_rank or h), recipe, PART),
        linear("key-value up", t, heads * (a.qk_nope_head_dim + a.v_head_dim), float(a.kv_lora_rank), recipe, PART),
        elementwise("rope", rope, rope, PART, "strided"),
        elementwise("join keys", parts, parts, PART),
    ])  # fmt: skip
    norms = elementwise("latent norms", 2.0 * B16 * own * latent, 3.0 * B16 * own * latent, PART, "norm")
    return joined([
        down, norms.repeated(drops(policy, "norm")), up.repeated(again), small_kernels("copies", 10.0, 12.0, PART)
    ])  # fmt: skip


def _without_casts(block: Passes) -> Passes:
    """A linear layer that shares its input, already cast, with another."""

    def gemms(items: tuple[Op | Wire, ...]) -> tuple[Op | Wire, ...]:
        return tuple(i for i in items if isinstance(i, Wire) or not i.name.endswith(" cast") or "grad cast" in i.name)

    return Passes(gemms(block.forward), block.backward, block.weight)


def _gqa(model: ModelSpec, shard: Shard, recipe: Recipe) -> Passes:
    a, h, t = model.attention, float(model.hidden), shard.tokens
    heads = a.heads / shard.tp
    kv_heads = np.maximum(a.kv_heads / shard.tp, 1.0)
    width = (heads + 2.0 * kv_heads) * a.head_dim
    rope = 2.0 * B16 * t * (heads + kv_heads) * a.head_dim
    blocks = [linear("qkv", t, width, h, recipe, PART), elementwise("rope", rope, rope, PART)]
    if a.qk_norm != "none":
        blocks.append(elementwise("qk norm", rope, 1.5 * rope, PART, "norm"))
    # The fused projection is taken apart into queries, keys and values, and its gradient put together again.
    blocks.append(elementwise("split qkv", 0.0 * rope, 2.0 * B16 * t * width, PART))
    return joined(blocks)


def sequence_wires(name: str, shard: Shard, inner: Num, hidden: Num) -> Passes:
    """Gather of ``inner`` elements a token before the block, scatter of ``hidden`` after it, and their gradients."""

    def wire(what: str, kind: str, width: Num) -> Wire:
        size = B16 * shard.tokens * width
        return Wire(f"{what} {name}", kind, size, size, shard.tp, shard.domain, shard.split(shard.tp), "tp")

    return Passes(
        (wire("gather", "all_gather", inner), wire("scatter", "reduce_scatter", hidden)),
        (wire("gather gradient of", "all_gather", hidden), wire("scatter gradient of", "reduce_scatter", inner)),
        (wire("gather again for", "all_gather", inner),),
    )
