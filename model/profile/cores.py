"""Micro-benchmarks of attention cores: MLA prefill (and its backward), MLA decode over latents, and grouped queries."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from model.attention import attend
from model.profile.case import Bench, Case, rotating, width_of

QK, V = 192, 128  # DeepSeek's heads: 128 + 64 wide keys, 128 wide values
PROMPTS = ((1, 64), (1, 128), (1, 256), (1, 512), (1, 1024), (2, 128), (4, 64), (2, 256), (4, 256), (2, 512))
CACHES = ((1, 64), (1, 256), (1, 1024), (1, 2048), (4, 64), (4, 256), (4, 1024), (8, 512), (16, 128), (16, 1024),
          (32, 256), (64, 128))  # fmt: skip
LATENTS = ((128, 64), (256, 64), (512, 64))


def cases(dtype: str, thin: int) -> Iterator[Case]:
    """MLA at DeepSeek's head sizes, and a few of grouped-query attention with heads of 128."""
    for heads in (2, 4, 8, 16)[:: 1 if thin == 1 else 2]:
        yield from (mla_prefill(b, t, heads, dtype) for b, t in PROMPTS[::thin])
        yield from (mla_backward(b, t, heads, dtype) for b, t in PROMPTS[::thin] if b * t * heads <= 4096)
    for i, (rank, rope) in enumerate(LATENTS):
        for heads in (4, 8, 16):
            yield from (mla_decode(b, s, heads, rank, rope, dtype) for b, s in CACHES[i % thin :: thin])
    for heads, kv_heads in ((8, 8), (8, 2)):
        yield from (grouped(b, t, t, heads, kv_heads, dtype) for b, t in ((1, 128), (1, 512), (2, 256)))
        yield from (grouped(b, 1, s, heads, kv_heads, dtype) for b, s in ((1, 512), (4, 512), (16, 1024)))


def _pairs(tokens: int) -> float:
    """Query–key pairs that causality leaves."""
    return tokens * (tokens + 1) / 2


def _prompt(batch: int, tokens: int, heads: int, bench: Bench, dtype: str) -> tuple[Tensor, Tensor, Tensor]:
    q, k, v = (bench.random(batch, tokens, heads, width, dtype=dtype) for width in (QK, QK, V))
    return q, k, v


def mla_prefill(batch: int, tokens: int, heads: int, dtype: str) -> Case:
    """The model's own expanded attention, causal, padding of narrow values included where the device needs it."""

    def make(bench: Bench) -> Callable[[], Any]:
        q, k, v = _prompt(batch, tokens, heads, bench, dtype)
        return lambda: attend(q, k, v, QK**-0.5, None)

    flop = 2.0 * batch * heads * (QK + V) * _pairs(tokens)
    moved = 2.0 * width_of(dtype) * batch * tokens * heads * (QK + V)
    shape = {"batch": batch, "queries": tokens, "context": tokens, "heads": heads, "kv_heads": heads, "head_dim": QK}
    return Case("mla_prefill", dtype, shape, flop, moved, make)


def mla_backward(batch: int, tokens: int, heads: int, dtype: str) -> Case:
    """Its backward pass: five products where forward has two."""

    def make(bench: Bench) -> Callable[[], Any]:
        with torch.enable_grad():
            q, k, v = (x.requires_grad_() for x in _prompt(batch, tokens, heads, bench, dtype))
            out = attend(q, k, v, QK**-0.5, None)
            gradient = torch.ones_like(out)
        return lambda: torch.autograd.grad(out, (q, k, v), gradient, retain_graph=True)

    flop = 5.0 * batch * heads * (QK + V) * _pairs(tokens)
    moved = 5.0 * width_of(dtype) * batch * tokens * heads * (QK + V)
    shape = {"batch": batch, "queries": tokens, "context": tokens, "heads": heads, "kv_heads": heads, "head_dim": QK}
    return Case("mla_backward", dtype, shape, flop, moved, make)


def mla_decode(batch: int, context: int, heads: int, rank: int, rope: int, dtype: str) -> Case:
    """All heads of one new token per sequence over cached latents: scores, softmax, and the weighted sum of latents."""

    def make(bench: Bench) -> Callable[[], Any]:
        q = bench.random(batch, heads, rank + rope, dtype=dtype)
        caches = bench.copies(batch, context + 64, rank + rope, dtype=dtype)

        def run(cache: Tensor) -> Tensor:
            latents = cache[:, :context]
            scores = torch.bmm(q, latents.transpose(1, 2)).float() * QK**-0.5
            return torch.bmm(scores.softmax(dim=-1).to(q.dtype), latents[..., :rank])

        return rotating(caches, run)

    wide = 2 * rank + rope
    flop = 2.0 * batch * heads * context * wide
    moved = width_of(dtype) * (batch * context * (rank + rope) + batch * heads * wide)
    shape = {"batch": batch, "queries": 1, "context": context, "heads": heads, "rows": heads, "head_dim": rank + rope}
    return Case("mla_decode", dtype, shape, flop, moved, make)


def grouped(batch: int, queries: int, context: int, heads: int, kv_heads: int, dtype: str) -> Case:
    """Fused attention with ``kv_heads`` shared keys and values of 128: prefill (causal) or one new token."""
    width = 128

    def make(bench: Bench) -> Callable[[], Any]:
        q = bench.random(batch, heads, queries, width, dtype=dtype)
        keys = bench.copies(2, batch, kv_heads, context, width, dtype=dtype)

        def run(kv: Tensor) -> Tensor:
            return F.scaled_dot_product_attention(q, kv[0], kv[1], is_causal=queries > 1, enable_gqa=heads != kv_heads)

        return rotating(keys, run)

    pairs = _pairs(queries) if queries > 1 else context
    kv = 2.0 * batch * context * kv_heads * width
    asked = 2.0 * batch * queries * heads * width if queries > 1 else 0.0
    shape = {"batch": batch, "queries": queries, "context": context, "heads": heads, "kv_heads": kv_heads,
             "head_dim": width}  # fmt: skip
    family = "attention_prefill" if queries > 1 else "attention_decode"
    return Case(family, dtype, shape, 4.0 * batch * heads * width * pairs, width_of(dtype) * (kv + asked), make)
