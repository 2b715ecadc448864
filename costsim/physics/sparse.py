"""Sparse attention by an indexer: each query attends the ``index_top_k`` tokens that a small scorer picks.

The scorer has ``index_heads`` heads of ``index_head_dim`` over one key a token, in FP8 where the part has it, and is
not split over tensor parallelism. Prompts no longer than what would be picked run dense. [deepseek-v3-2]
"""

from __future__ import annotations

import numpy as np

from costsim.num import Num
from costsim.physics.attention import kv_bytes_per_layer_token
from costsim.physics.layout import Layout, attention_dtype
from costsim.physics.op import Op, batched_gemm, gemm, stream
from costsim.spec.model import ModelSpec

_B16 = 2.0
#: bytes of a scorer's key: FP8 and one FP32 scale
_KEY = 1.0 + 4.0 / 128


def picked(model: ModelSpec, context: Num) -> Num:
    """Tokens that a query attends."""
    top = model.attention.index_top_k
    return np.minimum(context, float(top)) if top else context


def indexer(
    model: ModelSpec, layout: Layout, tokens: Num, prompts: Num, context: Num, count: Num, beside: bool = False
) -> list[Op]:
    """Ops of the scorer in one layer: ``tokens`` queries of ``prompts`` sequences against ``context`` keys each.

    2·tokens·index_heads·context·index_head_dim FLOP, and each sequence's keys once. ``beside``: a decode step projects
    the scorer's key and weights on a second stream, beside the queries. [sglang]
    """
    a, h = model.attention, float(model.hidden)
    dtype = attention_dtype(model, layout.precision)
    heads, width = float(a.index_heads), float(a.index_head_dim)
    scores = 2.0 * tokens * heads * context * width
    moved = prompts * context * width * _KEY + tokens * (heads * width + 4.0 * context)
    shape = {"m": tokens * heads, "n": context, "k": width, "groups": 1.0}
    alone = 0.0 * count if beside else count
    eight = "fp8" if layout.precision in ("fp8", "fp4") else "bf16"
    return [
        gemm("index query", tokens, heads * width, float(a.q_lora_rank or model.hidden), dtype, count, "attention"),
        gemm("index key", tokens, width, h, dtype, alone, "attention"),
        gemm("index weights", tokens, heads, h, "bf16", alone, "attention"),
        stream("index cast", 3.0 * tokens * (heads + 1.0) * width, 2.0 * count, "attention", "strided"),
        Op("index scores", "gemm", eight, scores, moved, count, "attention", shape),
        stream("index choice", 3.0 * 4.0 * tokens * context, count, "attention"),
    ]


def sparse_prefill(model: ModelSpec, layout: Layout, tokens: Num, isl: Num, cached: Num, count: Num) -> list[Op]:
    """Attention of prompt tokens over what the scorer picks: absorbed, every query gathering latents of its own.

    A kernel multiplies at least 64 heads, so that few heads a rank cost as much; neighbours pick much the same tokens,
    whose latents pass HBM once. 8,192 tokens on 8 heads of an H200 take 5.2 ms a layer. [aiconfigurator-core]
    """
    a = model.attention
    heads = a.heads / layout.tp
    mean = np.minimum((isl + cached) / 2.0, float(a.index_top_k))
    width = 2.0 * a.kv_lora_rank + a.qk_rope_head_dim
    prompts = tokens / (isl - cached)
    moved = prompts * isl * kv_bytes_per_layer_token(a, layout.kv_dtype) + tokens * heads * width * _B16
    shape = {"queries": 1.0, "context": mean, "heads": heads, "batch": tokens, "rows": heads}
    core = Op("attention (sparse)", "mla_decode", "bf16", 2.0 * tokens * heads * mean * width, moved, count,
              "attention", shape)  # fmt: skip
    rank, part = float(a.kv_lora_rank), "attention"
    return [
        *indexer(model, layout, tokens, prompts, (isl + cached) / 2.0, count),
        batched_gemm("absorb query", tokens, rank, float(a.qk_nope_head_dim), heads, "bf16", count, part),
        core,
        batched_gemm("expand value", tokens, float(a.v_head_dim), rank, heads, "bf16", count, part),
    ]
