"""Micro-benchmarks of what is bound by memory and by the host: streams, reductions, permutes, copies, launches.

Every pattern runs from tensors that fit a core's cache to tensors that fit none, with results in fresh memory as the
model has them, or in place. Rows are filed under bf16, the format in which demand counts memory-bound work; their
``bytes`` are the real ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from model.moe import MLP
from model.norm import RMSNorm
from model.profile.case import Bench, Case, rotating

#: elements of one tensor
SIZES = (64, 1 << 12, 1 << 14, 1 << 16, 1 << 18, 1 << 20, 1 << 22, 1 << 23)
WIDTH = 512
#: routers sort a few numbers per token, never whole activations
MOST_SORTED = 1 << 18
#: bytes that go round in the search for what the last cache holds, and those of one piece of them
AROUND = (8e6, 32e6, 64e6, 128e6, 256e6, 512e6, 800e6)
PIECE = 1 << 22
#: what is done to a piece that lies beyond the caches: read, changed in place, or written anew
COLD = ("read", "changed", "written")

Body = Callable[[], Any]


def cases(thin: int) -> Iterator[Case]:
    """Each pattern by two or three of the kernels that the model runs most."""
    for size in SIZES:
        for family, name, width, make in _KERNELS[:: 1 if thin < 4 else 2]:
            if family != "sort" or size <= MOST_SORTED:
                yield _case(family, name, size, width, make)
    yield from (cold(kind, around) for kind in COLD for around in AROUND)


def _case(family: str, name: str, size: int, width: float, make: Callable[[Tensor, Tensor], Body]) -> Case:
    def build(bench: Bench) -> Body:
        rows = max(size // WIDTH, 1)
        x, y = (bench.random(rows, size // rows) for _ in range(2))
        return make(x, y)

    return Case(f"memory_{family}", "bf16", {"tokens": size}, 0.0, width * size, build, name)


def _select(x: Tensor) -> Body:
    order = torch.randperm(len(x)).to(x.device)
    return lambda: x.index_select(0, order)


def _top(x: Tensor) -> Body:
    scores = x.flatten()[: max(x.numel() // 32, 1) * 32].view(-1, min(32, x.numel()))
    return lambda: scores.topk(4, dim=-1, sorted=False)


def _order(x: Tensor) -> Body:
    keys = (x.flatten() * 1000).long() % 32
    return lambda: keys.argsort(stable=True)


#: family, kernel, bytes moved per element, and how it is made
_KERNELS: tuple[tuple[str, str, float, Callable[[Tensor, Tensor], Body]], ...] = (
    ("stream", "add", 12.0, lambda x, y: lambda: x + y),
    ("stream", "scale", 8.0, lambda x, _: lambda: x * 1.5),
    ("stream", "cast", 6.0, lambda x, _: lambda: x.bfloat16()),
    ("update", "add", 12.0, lambda x, y: lambda: x.add_(y, alpha=1e-9)),
    ("update", "lerp", 12.0, lambda x, y: lambda: x.lerp_(y, 1e-3)),
    ("update", "scale", 8.0, lambda x, _: lambda: x.mul_(1.0)),
    ("exp", "silu", 8.0, lambda x, _: lambda: F.silu(x)),
    ("exp", "sigmoid", 8.0, lambda x, _: lambda: x.sigmoid()),
    ("norm", "mean", 4.0, lambda x, _: lambda: x.mean(-1)),
    ("norm", "norm", 4.0, lambda x, _: lambda: torch.linalg.vector_norm(x)),
    ("norm", "softmax", 8.0, lambda x, _: lambda: x.softmax(-1)),
    ("strided", "select", 8.0, lambda x, _: _select(x)),
    ("strided", "cat", 16.0, lambda x, y: lambda: torch.cat((x, y), dim=-1)),
    ("strided", "transpose", 8.0, lambda x, _: lambda: x.t().contiguous()),
    ("sort", "topk", 4.0, lambda x, _: _top(x)),
    ("sort", "argsort", 16.0, lambda x, _: _order(x)),
)  # fmt: skip


def cold(kind: str, around: float) -> Case:
    """Work on pieces of 4 MB last touched ``around`` bytes ago, that is on memory beyond the caches.

    ``read`` sums a piece, ``changed`` scales it in place, ``written`` fills it from a source that stays warm.
    """

    def make(bench: Bench) -> Callable[[], Any]:
        pieces = bench.copies(PIECE // 4)[: max(int(around / PIECE), 1)]
        if kind == "read":
            return rotating(pieces, lambda x: x.sum())
        if kind == "changed":  # the pool is shared: what is written must stay what it was
            return rotating(pieces, lambda x: x.mul_(1.0))
        source = pieces[0].clone()  # the pool repeats one block of this size
        return rotating(pieces, lambda x: torch.mul(source, 1.0, out=x))

    return Case("cold", "host", {"tokens": around}, 0.0, PIECE, make, kind)


def upload(size: int) -> Case:
    """Host to device, ``size`` bytes from ordinary memory; a copy within memory where the device is the host."""

    def make(bench: Bench) -> Body:
        x = torch.ones(size // 4)
        y = torch.empty(size // 4, device=bench.device)
        return lambda: y.copy_(x)

    return Case("memory_upload", "bf16", {"tokens": size}, 0.0, 2.0 * size, make, "host to device")


def uploads(thin: int) -> Iterator[Case]:
    """From one page to 64 MB."""
    yield from (upload(size) for size in (1 << 12, 1 << 16, 1 << 18, 1 << 20, 1 << 22, 1 << 24, 1 << 26)[::thin])


#: launch cases: what the host pays per kernel, per view, and per kernel of a training step
def launches() -> Iterator[Case]:
    """Tensors so small that only the host's work shows; seconds are per call, the counts are in :data:`COUNTS`."""

    def kernel(bench: Bench) -> Body:
        x = bench.random(4, 4)
        return lambda: x + x

    def view(bench: Bench) -> Body:
        x = bench.random(4, 4)
        return lambda: x.view(16)

    def module(bench: Bench) -> Body:
        norm, mlp, x = *_glue(bench), bench.random(4, 4)
        return lambda: x + mlp(norm(x))

    def training(bench: Bench) -> Body:
        norm, mlp, x = *_glue(bench), bench.random(4, 4)

        def run() -> None:
            with torch.enable_grad():
                (x + mlp(norm(x))).sum().backward()
            for p in (*norm.parameters(), *mlp.parameters()):
                p.grad = None

        return run

    for name, make in (("kernel", kernel), ("view", view), ("module", module), ("training", training)):
        yield Case("launch", "host", {}, 0.0, 0.0, make, name)


def _glue(bench: Bench) -> tuple[RMSNorm, MLP]:
    torch.manual_seed(0)
    with bench.device:
        return RMSNorm(4, 1e-6), MLP(4, 4)
