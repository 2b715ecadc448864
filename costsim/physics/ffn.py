"""Feed-forward layers: dense gated FFN, and MoE with shared experts, router and permutes."""

from __future__ import annotations

import numpy as np

from costsim.num import Num
from costsim.physics.attention import quantise, residual_norm
from costsim.physics.layout import Layout, ffn_dtype
from costsim.physics.op import Op, act_bytes, experts, gemm, stream
from costsim.physics.routing import active_experts, hottest_expert, popularity, units_touched
from costsim.spec.model import ModelSpec

_B16 = 2.0


def _swiglu_bytes(width: Num, rows: Num, dtype: str) -> Num:
    """Read gate and up in BF16, write their product, cast for the down projection where it is 8-bit."""
    return rows * width * (2.0 * _B16 + act_bytes(dtype))


def gated_ffn(name: str, tokens: Num, width: Num, model: ModelSpec, layout: Layout, count: Num, part: str) -> list[Op]:
    """down(silu(gate x) · up x): 6·tokens·hidden·width FLOP."""
    h, dtype = float(model.hidden), ffn_dtype(model, layout.precision)
    return [
        gemm(f"{name} gate-up", tokens, 2.0 * width, h, dtype, count, part),
        stream(f"{name} swiglu", _swiglu_bytes(width, tokens, dtype), count, part),
        gemm(f"{name} down", tokens, h, width, dtype, count, part),
    ]


def dense_ffn(model: ModelSpec, layout: Layout, tokens: Num, count: Num) -> list[Op]:
    """A dense layer's FFN with its norm and cast; the width is split over ``tp``."""
    h = float(model.hidden)
    return [
        residual_norm("ffn norm", h, tokens, count, "dense"),
        quantise("quantise ffn input", h, tokens, ffn_dtype(model, layout.precision), count, "dense"),
        *gated_ffn("dense ffn", tokens, model.intermediate / layout.tp, model, layout, count, "dense"),
    ]


def expert_pairs(model: ModelSpec, layout: Layout, tokens: Num) -> Num:
    """Mean token–expert pairs that reach one rank: tokens·top_k·moe_tp / tp.

    ``tokens`` live on each attention replica of ``tp`` ranks, so the ep·moe_tp ranks that share the
    experts see tokens·ep·moe_tp/tp of them, and each of the ep expert shards an even part.
    """
    moe = model.moe
    assert moe is not None
    return tokens * moe.top_k * layout.moe_tp / layout.tp


def moe_ffn(model: ModelSpec, layout: Layout, tokens: Num, count: Num, low_latency: bool) -> list[Op]:
    """Norm, router, shared experts and routed experts of one MoE layer on the busiest rank.

    Normal dispatch delivers each token once and the rank permutes copies to its experts and back; low-latency
    dispatch casts, writes into the experts' slots and reduces on return, so its collectives hold that work
    [deepep]. Where every rank holds the tokens already (tensor-parallel experts) one kernel gathers its rows,
    multiplies and sums.
    """
    moe, h, dtype = model.moe, float(model.hidden), layout.precision
    assert moe is not None
    mean_pairs = expert_pairs(model, layout, tokens)
    pairs = mean_pairs * layout.skew(mean_pairs, "decode" if low_latency else "prefill")
    groups = active_experts(layout.slots, pairs, popularity(layout.routing))
    rows = pairs / groups
    # Over the mean of those that have any: a small batch reaches few experts but the popular ones.
    hottest = np.maximum(hottest_expert(popularity(layout.routing), layout.slots) * groups / layout.slots, 1.0)
    width = moe.intermediate / layout.moe_tp
    # Received copies: with low-latency or normal dispatch a rank gets a token once per rank it serves.
    copies = pairs * units_touched(moe, layout.ep) / moe.top_k
    # A sweep holds layouts of both kinds: each op counts where it is used.
    sent = np.asarray(layout.ep * layout.moe_tp > layout.tp)
    away, here = np.where(sent, count, 0.0), np.where(sent, 0.0, count)
    permuted = 0.0 * away if low_latency else away
    kernel = "moe_masked" if low_latency else "moe_normal"
    ops = [
        residual_norm("ffn norm", h, tokens, count, "attention"),
        gemm("router", tokens, float(moe.experts), h, "bf16", count, "attention", out="fp32"),
        stream("top-k choice", tokens * moe.experts * 4.0 * 3.0, count, "attention"),
        quantise("quantise ffn input", h, tokens, dtype, count, "attention"),
        stream("permute", (copies + pairs) * h * act_bytes(dtype), permuted, "moe"),
        experts("experts", rows, width, h, groups, dtype, away, "moe", kernel, hottest, layout.slots),
        experts("experts in place", rows, width, h, groups, dtype, here, "moe", "moe", hottest, layout.slots),
        stream("unpermute", (copies + pairs) * h * _B16, permuted, "moe"),
    ]
    if moe.shared_experts:
        shared = moe.shared_experts * moe.intermediate / layout.tp
        ops += gated_ffn("shared expert", tokens, shared, model, layout, count, "shared")
        ops.append(stream("add shared", 3.0 * _B16 * tokens * h, count, "shared"))
    return ops
