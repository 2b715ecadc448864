"""Expert parallelism: each rank keeps E / ranks experts; tokens travel to their experts and back.

Dispatch and combine are all-to-alls of uneven size, because routing decides who sends how much to whom
[deepseek-v3-report, section 3.2.2]. Attention and shared experts stay data-parallel over the same ranks.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor, nn

from model.moe import Experts, MoE
from model.parallel.data import average_gradients
from model.parallel.group import Group, all_to_all, exchange_rows


class DistributedExperts(nn.Module):
    """This rank's experts, rank · E/ranks and on, behind a dispatch and a combine."""

    def __init__(self, whole: Experts, group: Group = None) -> None:
        super().__init__()
        self.group, self.ranks, rank = group, dist.get_world_size(group), dist.get_rank(group)
        experts, width, hidden = whole.gate_up.shape
        if experts % self.ranks:
            raise ValueError(f"{experts} experts do not divide over {self.ranks} ranks")
        self.each = experts // self.ranks
        mine = slice(rank * self.each, (rank + 1) * self.each)
        with torch.device("meta"):
            self.local = Experts(self.each, hidden, width // 2)
        self.local.gate_up = nn.Parameter(whole.gate_up.detach()[mine].clone())
        self.local.down = nn.Parameter(whole.down.detach()[mine].clone())
        self.local.linear, self.local.grouped = whole.linear, whole.grouped

    def forward(self, x: Tensor, indices: Tensor, weights: Tensor) -> Tensor:
        """As Experts, for this rank's tokens x [N, hidden] and experts of all ranks."""
        top_k = indices.shape[1]
        order = indices.flatten().argsort(stable=True)  # by expert, hence by rank
        counts = torch.bincount(indices.flatten(), minlength=self.each * self.ranks)
        arriving = exchange_rows(counts, [self.each] * self.ranks, [self.each] * self.ranks, self.group)
        sent = counts.view(self.ranks, -1).sum(1).tolist()
        received = arriving.view(self.ranks, -1).sum(1).tolist()
        rows = all_to_all(x[order // top_k], sent, received, self.group)
        # Rows arrive by source, then expert; the local experts want them by expert alone.
        owner = torch.arange(self.each, device=x.device).repeat(self.ranks).repeat_interleave(arriving)
        by_expert = owner.argsort(stable=True)
        y = torch.empty_like(rows)
        y = y.index_copy(0, by_expert, self.local.rows(rows[by_expert], arriving.view(self.ranks, -1).sum(0)))
        y = all_to_all(y, received, sent, self.group)
        back = torch.empty_like(order).index_copy_(0, order, torch.arange(len(order), device=x.device))
        return (y[back].unflatten(0, (-1, top_k)) * weights[..., None].to(y.dtype)).sum(1)


def distribute_experts(module: nn.Module, group: Group = None) -> nn.Module:
    """Replace the experts of every MoE layer by this rank's share."""
    for part in module.modules():
        if isinstance(part, MoE) and isinstance(part.experts, Experts):
            part.experts = DistributedExperts(part.experts, group)
    return module


def synchronise_gradients(module: nn.Module, group: Group = None) -> None:
    """After backward of each rank's own mean loss: average what is replicated.

    An expert's gradient already holds every rank's tokens; dividing by the ranks makes it that of the mean loss.
    """
    owned = {id(p) for part in module.modules() if isinstance(part, DistributedExperts) for p in part.parameters()}
    average_gradients((p for p in module.parameters() if id(p) not in owned), group)
    ranks = dist.get_world_size(group)
    for p in module.parameters():
        if id(p) in owned and p.grad is not None:
            p.grad /= ranks
