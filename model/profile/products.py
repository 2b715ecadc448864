"""Micro-benchmarks of matrix products: GEMM, one small matrix per head, and the loop or grouped product of experts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F

from model.moe import Experts
from model.profile.case import Bench, Case, rotating, width_of

#: (n, k) of weights: powers of two, so that models of other sizes are never measured ones; and rows, also between
#: powers of two, where libraries change their kernel (12 rows can take longer than 16)
WEIGHTS = ((256, 512), (256, 1024), (512, 512), (1024, 256), (1024, 1024), (512, 2048), (2048, 512), (2048, 1024),
           (4096, 512), (8192, 1024), (1024, 4096))  # fmt: skip
ROWS = (1, 2, 4, 8, 12, 16, 24, 32, 64, 128, 256, 512, 1024)
#: n, k of a weight gradient whose reduced dimension are tokens
GRADIENTS = ((256, 1024), (512, 512), (1024, 1024), (2048, 512), (4096, 512))
HEADS, HEAD_WIDTHS = (2, 4, 8, 16), ((128, 128), (256, 128), (128, 256), (512, 128), (128, 512))
EXPERTS = ((256, 512), (512, 512), (1024, 512), (512, 1024), (1024, 1024))  # (2 × width, hidden)
GROUPS, EXPERT_ROWS = (2, 4, 8, 16, 32), (1, 2, 4, 8, 12, 16, 24, 32, 64, 128)
#: token–expert pairs of one measurement
MOST_PAIRS = 1024


def cases(dtype: str, thin: int) -> Iterator[Case]:
    """Every ``thin``-th shape of each family, the whole range of rows kept."""
    yield from (gemm(m, n, k, dtype) for i, (n, k) in enumerate(WEIGHTS) for m in ROWS[i % thin :: thin])
    yield from (gradient(n, k, m, dtype) for n, k in GRADIENTS for m in (64, 128, 256, 512)[:: 1 if thin == 1 else 2])
    for i, (n, k) in enumerate(HEAD_WIDTHS):
        yield from (batched(h, m, n, k, dtype) for h in HEADS for m in (1, 2, 4, 8, 16, 32, 64)[i % thin :: thin])
    for i, (n, k) in enumerate(EXPERTS):
        shapes = ((g, m) for g in GROUPS for m in EXPERT_ROWS[i % thin :: thin] if g * m <= MOST_PAIRS)
        yield from (experts(g, m, n, k, dtype) for g, m in shapes)


def gemm(m: int, n: int, k: int, dtype: str) -> Case:
    """x [m, k] · wᵀ [k, n], as a linear layer does it: x warm from the operation before, w from memory."""

    def make(bench: Bench) -> Callable[[], Any]:
        x = bench.random(m, k, dtype=dtype)
        return rotating(bench.copies(n, k, dtype=dtype), lambda w: F.linear(x, w))

    moved = width_of(dtype) * (m * k + n * k + m * n)
    return Case("gemm", dtype, {"m": m, "n": n, "k": k, "groups": 1}, 2.0 * m * n * k, moved, make)


def gradient(n: int, k: int, tokens: int, dtype: str) -> Case:
    """dW [n, k] = dYᵀ [n, tokens] · X [tokens, k]: the same product with both operands transposed."""

    def make(bench: Bench) -> Callable[[], Any]:
        y, x = bench.random(tokens, n, dtype=dtype), bench.random(tokens, k, dtype=dtype)
        return lambda: torch.mm(y.t(), x)

    moved = width_of(dtype) * (n * tokens + k * tokens + n * k)
    shape = {"m": n, "n": k, "k": tokens, "groups": 1}
    return Case("gemm", dtype, shape, 2.0 * n * k * tokens, moved, make, "weight gradient")


def batched(heads: int, m: int, n: int, k: int, dtype: str) -> Case:
    """x [heads, m, k] · w [heads, k, n]: MLA's absorbed projections, a slice of the stored up-projection per head."""

    def make(bench: Bench) -> Callable[[], Any]:
        x = bench.random(m, heads, k, dtype=dtype).transpose(0, 1)
        narrow, rank = min(n, k), max(n, k)
        stored = bench.copies(heads, 2 * narrow, rank, dtype=dtype)
        # the key half is used as it lies [k, n]; the value half [n, k] is used transposed
        views = [w[:, :k] if k <= n else w[:, n:].transpose(1, 2) for w in stored]
        return rotating(views, lambda w: torch.bmm(x, w))

    moved = width_of(dtype) * heads * (m * k + n * k + m * n)
    shape = {"m": m, "n": n, "k": k, "groups": heads}
    return Case("batched_gemm", dtype, shape, 2.0 * heads * m * n * k, moved, make)


def experts(groups: int, m: int, n: int, k: int, dtype: str) -> Case:
    """Gate-up, SwiGLU and down of ``groups`` experts with m rows each, by the model's own expert layer."""

    def make(bench: Bench) -> Callable[[], Any]:
        layers = []
        ups, downs = bench.copies(groups, n, k, dtype=dtype), bench.copies(groups, k, n // 2, dtype=dtype)
        for up, down in zip(ups, downs, strict=False):
            with torch.device("meta"):
                layer = Experts(groups, k, n // 2)
            layer.gate_up, layer.down = (torch.nn.Parameter(w, requires_grad=False) for w in (up, down))
            layers.append(layer)
        x, counts = bench.random(groups * m, k, dtype=dtype), torch.full((groups,), m, device=bench.device)
        return rotating(layers, lambda layer: layer.rows(x, counts))

    one = (m * k + n * k + m * n) + 1.5 * m * n + (m * n / 2 + k * n / 2 + m * k)
    shape = {"m": m, "n": n, "k": k, "groups": groups, "skew": 1, "experts": groups}
    return Case("moe", dtype, shape, 3.0 * groups * m * n * k, width_of(dtype) * groups * one, make)
