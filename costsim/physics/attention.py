"""Attention: MHA/GQA and MLA, prefill (expanded keys and values) and decode (absorbed, latent cache).

T is tokens on an attention replica in one micro-batch; heads are split over ``tp`` ranks. FLOPs count
two per multiply-add, causal unless said.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from costsim.num import Num
from costsim.physics.layout import Layout, attention_dtype, output_dtype
from costsim.physics.op import Op, batched_gemm, gemm, stream
from costsim.spec.model import Attention, ModelSpec

_B16 = 2.0


def kv_bytes_per_layer_token(attention: Attention, kv_dtype: str) -> float:
    """Cache bytes of one token in one layer: MLA (kv_lora + rope)·b once, GQA 2·kv_heads·head_dim·b.

    FP8 MLA keeps the rope part in BF16 and one FP32 scale per 128 latent elements: 656 bytes for
    DeepSeek-V3 against 1,152 in BF16 [flashmla].
    """
    if attention.kind == "mla":
        if kv_dtype != "fp8":
            return (_B16 if kv_dtype == "bf16" else 1.0) * (attention.kv_lora_rank + attention.qk_rope_head_dim)
        return attention.kv_lora_rank * (1.0 + 4.0 / 128) + _B16 * attention.qk_rope_head_dim
    return 2.0 * attention.kv_heads * attention.head_dim * (_B16 if kv_dtype == "bf16" else 1.0)


def _visible(context: Num, window: int, every: int) -> Num:
    """Mean context over layers when every ``every``-th layer sees only ``window`` tokens."""
    if window <= 0:
        return context
    return (np.minimum(context, window) + (every - 1) * context) / every


def prefill_core(attention: Attention, isl: Num, cached: Num) -> tuple[Num, Num]:
    """(causal, full) query–key pairs of one prompt with ``isl − cached`` new tokens.

    causal: n·c + n(n+1)/2 for n new tokens after c cached ones; full: n·(n + c). In a layer with a sliding
    window w a token sees min(its position, w): the first r = w − c (0 … n) new tokens all, the others w.
    """
    new = isl - cached
    full = new * isl
    causal = new * cached + new * (new + 1) / 2
    if attention.window:
        rising = np.clip(attention.window - cached, 0.0, new)
        capped = rising * cached + rising * (rising + 1) / 2 + (new - rising) * attention.window
        causal = (capped + (attention.window_every - 1) * causal) / attention.window_every
        full = (np.minimum(full, new * attention.window) + (attention.window_every - 1) * full) / attention.window_every
    return causal, full


def prefill_attention(model: ModelSpec, layout: Layout, tokens: Num, isl: Num, cached: Num, count: Num) -> list[Op]:
    """Ops of one layer's attention on ``tokens`` new tokens of prompts of ``isl``, ``cached`` of them cached."""
    a, dtype = model.attention, attention_dtype(model, layout.precision)
    heads = a.heads / layout.tp
    prompts = tokens / (isl - cached)
    causal, full = prefill_core(a, isl, cached)
    per_pair = 2.0 * heads * (a.qk_head_dim + a.value_head_dim)
    kv_heads = heads if a.kind == "mla" else np.maximum(a.kv_heads / layout.tp, 1.0)
    seen = prompts * isl
    moved = _B16 * (tokens * heads + seen * kv_heads) * (a.qk_head_dim + a.value_head_dim)
    shape = {"queries": isl - cached, "context": isl, "heads": heads, "kv_heads": kv_heads, "batch": prompts,
             "head_dim": float(a.qk_head_dim)}  # fmt: skip
    family = "mla_prefill" if a.kind == "mla" else "attention_prefill"
    core = Op("attention", family, "bf16", prompts * per_pair * causal, moved, count, "attention", shape,
              flop_full=prompts * per_pair * full)  # fmt: skip
    if a.index_top_k:
        return _indexed_prefill(model, layout, tokens, isl, cached, count, core)
    if a.kind == "mla":
        before = _mla_down(model, layout, tokens, count) + _mla_expand(a, tokens, seen, heads, dtype, count)
    else:
        before = _gqa_projection(model, layout, tokens, count)
    return [*before, core, *_output(model, layout, tokens, count)]


def _indexed_prefill(
    model: ModelSpec, layout: Layout, tokens: Num, isl: Num, cached: Num, count: Num, core: Op
) -> list[Op]:
    """Prompts longer than what a scorer picks attend sparsely; a sweep holds both kinds, and each op counts where it
    is used."""
    from costsim.physics.sparse import sparse_prefill

    a, heads = model.attention, model.attention.heads / layout.tp
    far = np.asarray(isl) > a.index_top_k
    dense, sparse = np.where(far, 0.0, count), np.where(far, count, 0.0)
    expanded = _mla_expand(
        a, tokens, tokens / (isl - cached) * isl, heads, attention_dtype(model, layout.precision), dense
    )
    return [
        *_mla_down(model, layout, tokens, count),
        *expanded,
        replace(core, count=dense),
        stream("rope", _rope_bytes(a, tokens, heads), sparse, "attention", "strided"),
        *sparse_prefill(model, layout, tokens, isl, cached, sparse),
        *_output(model, layout, tokens, count),
    ]


def decode_attention(
    model: ModelSpec, layout: Layout, requests: Num, queries: Num, context: Num, count: Num
) -> list[Op]:
    """Ops of one layer's attention when ``requests`` sequences each add ``queries`` tokens to ``context`` cached."""
    a = model.attention
    tokens = requests * queries
    heads = a.heads / layout.tp
    seen = _visible(context + queries, a.window, a.window_every)
    scorer: list[Op] = []
    if a.index_top_k:
        from costsim.physics.sparse import indexer, picked

        scorer, seen = indexer(model, layout, tokens, requests, seen, count, True), picked(model, seen)
    shape = {"queries": queries, "context": seen, "heads": heads, "batch": requests}
    if a.kind == "mla":
        width = 2 * a.kv_lora_rank + a.qk_rope_head_dim
        flop = 2.0 * requests * queries * heads * seen * width
        moved = requests * seen * kv_bytes_per_layer_token(a, layout.kv_dtype) + tokens * heads * width * _B16
        core = Op(
            "attention", "mla_decode", "bf16", flop, moved, count, "attention", {**shape, "rows": heads * queries}
        )
        absorb = batched_gemm(
            "absorb query", tokens, a.kv_lora_rank, a.qk_nope_head_dim, heads, "bf16", count, "attention"
        )
        expand = batched_gemm("expand value", tokens, a.v_head_dim, a.kv_lora_rank, heads, "bf16", count, "attention")
        rope = stream("rope, cache write", _rope_bytes(a, tokens, heads), count, "attention", "strided")
        ops = [*_mla_down(model, layout, tokens, count), *scorer, absorb, rope, core, expand]
    else:
        kv_heads = np.maximum(a.kv_heads / layout.tp, 1.0)
        flop = 4.0 * requests * queries * heads * seen * a.head_dim
        moved = requests * seen * kv_heads / a.kv_heads * kv_bytes_per_layer_token(a, layout.kv_dtype)
        shape = {**shape, "kv_heads": kv_heads, "head_dim": float(a.head_dim)}
        core = Op("attention", "attention_decode", "bf16", flop, moved, count, "attention", shape)
        ops = [*_gqa_projection(model, layout, tokens, count), core]
    return [*ops, *_output(model, layout, tokens, count)]


def _mla_down(model: ModelSpec, layout: Layout, tokens: Num, count: Num) -> list[Op]:
    """Input norm, the fused down projections (replicated over tp), their norms, and the query's up projection."""
    a, dtype, h = model.attention, attention_dtype(model, layout.precision), float(model.hidden)
    latent = a.kv_lora_rank + a.qk_rope_head_dim
    heads = a.heads / layout.tp
    q_in = a.q_lora_rank or h
    ops = [
        residual_norm("input norm", h, tokens, count, "attention"),
        quantise("quantise input", h, tokens, dtype, count, "attention"),
        gemm("qkv down", tokens, a.q_lora_rank + latent, h, dtype, count, "attention"),
        stream("latent norms", 2.0 * _B16 * tokens * (a.q_lora_rank + latent), count, "attention", "norm"),
        quantise("quantise latent", a.q_lora_rank + a.kv_lora_rank, tokens, dtype, count, "attention"),
        gemm("query up", tokens, heads * a.qk_head_dim, q_in, dtype, count, "attention"),
    ]
    return ops


def _mla_expand(a: Attention, tokens: Num, seen: Num, heads: Num, dtype: str, count: Num) -> list[Op]:
    """Prefill multiplies keys and values out of the latent (also the cached part) and joins the rope halves."""
    joined = _B16 * seen * heads * (2.0 * a.qk_nope_head_dim + 2.0 * a.qk_rope_head_dim)
    return [
        gemm(
            "key-value up", seen, heads * (a.qk_nope_head_dim + a.v_head_dim), a.kv_lora_rank, dtype, count, "attention"
        ),
        stream("rope", _rope_bytes(a, tokens, heads), count, "attention", "strided"),
        stream("join keys", joined, count, "attention"),
    ]


def _gqa_projection(model: ModelSpec, layout: Layout, tokens: Num, count: Num) -> list[Op]:
    a, dtype, h = model.attention, attention_dtype(model, layout.precision), float(model.hidden)
    heads = a.heads / layout.tp
    kv_heads = np.maximum(a.kv_heads / layout.tp, 1.0)
    width = (heads * (2.0 if a.gate else 1.0) + 2.0 * kv_heads) * a.head_dim
    ops = [
        residual_norm("input norm", h, tokens, count, "attention"),
        quantise("quantise input", h, tokens, dtype, count, "attention"),
        gemm("qkv", tokens, width, h, dtype, count, "attention"),
    ]
    if a.qk_norm != "none":
        ops.append(stream("qk norm", 2.0 * _B16 * tokens * (heads + kv_heads) * a.head_dim, count, "attention", "norm"))
    ops.append(
        stream(
            "rope, cache write",
            2.0 * _B16 * tokens * (heads + 2 * kv_heads) * a.head_dim,
            count,
            "attention",
            "strided",
        )
    )
    return ops


def _output(model: ModelSpec, layout: Layout, tokens: Num, count: Num) -> list[Op]:
    a, dtype = model.attention, output_dtype(model, layout.precision)
    width = a.heads / layout.tp * a.value_head_dim
    gated = [stream("output gate", 3.0 * _B16 * tokens * width, count, "attention")] if a.gate else []
    return [
        *gated,
        quantise("quantise context", width, tokens, dtype, count, "attention"),
        gemm("output", tokens, float(model.hidden), width, dtype, count, "attention"),
    ]


def _rope_bytes(a: Attention, tokens: Num, heads: Num) -> Num:
    """Read and write the rope part of every query head, the shared key, and the latent into the cache."""
    return 2.0 * _B16 * tokens * (heads * a.qk_rope_head_dim + a.qk_rope_head_dim + a.kv_lora_rank)


def residual_norm(name: str, hidden: float, tokens: Num, count: Num, part: str) -> Op:
    """Fused residual add and RMSNorm: read the branch and the residual, write the residual and the norm."""
    return stream(name, 4.0 * _B16 * tokens * hidden, count, part, "norm")


def quantise(name: str, width: Num, tokens: Num, dtype: str, count: Num, part: str) -> Op:
    """Per-tile cast of activations before an 8- or 4-bit GEMM (read BF16, write elements and scales); else nothing."""
    written = {"fp8": 1.0 + 4.0 / 128, "int8": 1.0 + 4.0 / 128, "fp4": 0.5 + 1.0 / 16}.get(dtype)
    if written is None:
        return stream(name, 0.0 * tokens * width, 0.0 * count, part)
    return stream(name, (_B16 + written) * tokens * width, count, part)
