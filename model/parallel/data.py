"""Data parallelism: every rank holds the model, sees its share of the batch, and averages gradients."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
import torch.distributed as dist
from torch import Tensor, nn

from model.parallel.group import Group

#: Gradients travel in buckets of about this many bytes: few messages, and no copy of the whole model.
BUCKET_BYTES = 25_000_000


def replicate(module: nn.Module, group: Group = None) -> None:
    """Give every rank rank 0's parameters and buffers."""
    for tensor in (*module.parameters(), *module.buffers()):
        dist.broadcast(tensor.data, dist.get_global_rank(group, 0) if group else 0, group=group)


@torch.no_grad()
def average_gradients(parameters: Iterable[nn.Parameter], group: Group = None) -> None:
    """Replace every gradient by its mean over the group; ranks without one (an idle expert) count as zero."""
    size = dist.get_world_size(group)
    for bucket in _buckets(parameters):
        flat = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten().float() for p in bucket])
        dist.all_reduce(flat, group=group)
        flat /= size
        for p, mean in zip(bucket, flat.split([p.numel() for p in bucket]), strict=True):
            p.grad = mean.view_as(p).to(p.dtype)


def sum_load(load: Tensor, group: Group = None) -> None:
    """Sum expert loads over ranks, so that all move their router biases alike; pass it to ``update_biases``."""
    dist.all_reduce(load, group=group)


def _buckets(parameters: Iterable[nn.Parameter]) -> Iterator[list[nn.Parameter]]:
    bucket: list[nn.Parameter] = []
    filled = 0
    for p in parameters:
        if not p.requires_grad:
            continue
        if bucket and filled + p.numel() * 4 > BUCKET_BYTES:
            yield bucket
            bucket, filled = [], 0
        bucket.append(p)
        filled += p.numel() * 4
    if bucket:
        yield bucket
