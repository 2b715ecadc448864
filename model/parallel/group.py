"""Process groups and the collectives that carry gradients."""

from __future__ import annotations

import os
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from model import device

Group = dist.ProcessGroup | None


def start(name: str = "auto") -> torch.device:
    """Join the group that torchrun describes in the environment; this rank's device."""
    place = device.resolve(name)
    if place.type != "cpu":
        place = torch.device(place.type, int(os.environ.get("LOCAL_RANK", "0")))
        getattr(torch, place.type).set_device(place)
    if not dist.is_initialized():
        dist.init_process_group(device.backend(place))
    return place


def stop() -> None:
    """Leave the group, once every rank has arrived."""
    dist.barrier()
    dist.destroy_process_group()


class _AllToAll(torch.autograd.Function):
    """Rows to and from every rank, uneven; the gradient takes the way back."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, sent: list[int], received: list[int], group: Group) -> Tensor:
        ctx.sizes, ctx.group = (sent, received), group
        return exchange_rows(x, sent, received, group)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        sent, received = ctx.sizes
        return exchange_rows(gradient.contiguous(), received, sent, ctx.group), None, None, None


def all_to_all(x: Tensor, sent: list[int], received: list[int], group: Group = None) -> Tensor:
    """x [Σ sent, …] split by destination rank → [Σ received, …] by source rank; differentiable."""
    return _AllToAll.apply(x, sent, received, group)


def exchange_rows(x: Tensor, sent: list[int], received: list[int], group: Group = None) -> Tensor:
    """``all_to_all`` without a gradient. FP8 travels as bytes, which every backend carries."""
    if x.dtype == torch.float8_e4m3fn:
        return exchange_rows(x.view(torch.uint8), sent, received, group).view(x.dtype)
    out = x.new_empty(sum(received), *x.shape[1:])
    dist.all_to_all_single(out, x.contiguous(), received, sent, group=group)
    return out


class _CopyIn(torch.autograd.Function):
    """Identity forward, sum of gradients backward: the entry of a tensor-parallel region."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, group: Group) -> Tensor:
        ctx.group = group
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        gradient = gradient.contiguous().clone()
        dist.all_reduce(gradient, group=ctx.group)
        return gradient, None


class _SumOut(torch.autograd.Function):
    """Sum forward, identity backward: the exit of a tensor-parallel region."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, group: Group) -> Tensor:  # noqa: ARG004 — autograd's signature
        x = x.contiguous().clone()
        dist.all_reduce(x, group=group)
        return x

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # noqa: ARG004
        return gradient, None


def copy_in(x: Tensor, group: Group = None) -> Tensor:
    """x, whose gradient is summed over the group."""
    return _CopyIn.apply(x, group)


def sum_out(x: Tensor, group: Group = None) -> Tensor:
    """The sum of x over the group, whose gradient passes through."""
    return _SumOut.apply(x, group)
