"""Tensor parallelism, for comparison: heads and feed-forward columns split over ranks, one sum per sublayer.

DeepSeek-V3 trains without it, because that sum crosses the wire twice a layer [deepseek-v3-report, section 3.2].
Latent projections and router are small and stay whole on every rank. Each rank ends with the full gradient of what it
holds: replicated parameters need no synchronising.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor, nn

from model.attention import MLA
from model.moe import MLP, Experts, MoE
from model.parallel.group import Group, copy_in, sum_out


class _Region(nn.Module):
    """A sublayer whose ranks each compute a part of the sum."""

    def __init__(self, part: nn.Module, group: Group) -> None:
        super().__init__()
        self.part, self.group = part, group

    def forward(self, x: Tensor, *rest: object) -> Tensor:
        return sum_out(self.part(copy_in(x, self.group), *rest), self.group)


class _SplitExperts(nn.Module):
    """Experts whose ranks each hold a share of the width; the routing weights are an input that all ranks share."""

    def __init__(self, part: Experts, group: Group) -> None:
        super().__init__()
        self.part, self.group = part, group

    def forward(self, x: Tensor, indices: Tensor, weights: Tensor) -> Tensor:
        return sum_out(self.part(copy_in(x, self.group), indices, copy_in(weights, self.group)), self.group)


class _SummedGradient(nn.Module):
    """A whole projection inside a region: every rank sees part of its gradient, so the parts are summed."""

    def __init__(self, part: nn.Module, group: Group) -> None:
        super().__init__()
        self.part = part
        for p in part.parameters():
            p.register_hook(lambda gradient: _summed(gradient, group))

    def forward(self, x: Tensor) -> Tensor:
        return self.part(x)


def _summed(gradient: Tensor, group: Group) -> Tensor:
    gradient = gradient.contiguous().clone()
    dist.all_reduce(gradient, group=group)
    return gradient


def split(module: nn.Module, group: Group = None) -> nn.Module:
    """Keep this rank's heads and feed-forward columns of every layer; embedding, head and MTP projection stay whole."""
    ranks, rank = dist.get_world_size(group), dist.get_rank(group)
    for block in [m for m in module.modules() if isinstance(getattr(m, "attention", None), MLA)]:
        _split_heads(block.attention, ranks, rank, group)
        block.attention = _Region(block.attention, group)
        if isinstance(block.ffn, MLP):
            block.ffn = _Region(_split_mlp(block.ffn, ranks, rank), group)
        elif isinstance(block.ffn, MoE):
            block.ffn.experts = _SplitExperts(_split_experts(block.ffn.experts, ranks, rank), group)
            if block.ffn.shared is not None:
                block.ffn.shared = _Region(_split_mlp(block.ffn.shared, ranks, rank), group)
    return module


def _split_heads(a: MLA, ranks: int, rank: int, group: Group) -> None:
    if a.heads % ranks:
        raise ValueError(f"{a.heads} heads do not divide over {ranks} ranks")
    per_head = {"q_up": a.nope + a.rope, "kv_up": a.nope + a.v}
    for name, width in per_head.items():
        _keep(getattr(a, name), rank, a.heads * width // ranks, rows=True)
    _keep(a.out, rank, a.heads * a.v // ranks, rows=False)
    a.heads //= ranks
    for name in ("q_down", "q_norm", "kv_down", "kv_norm"):
        if hasattr(a, name):
            setattr(a, name, _SummedGradient(getattr(a, name), group))


def _keep(linear: nn.Linear, rank: int, size: int, *, rows: bool) -> None:
    mine = slice(rank * size, (rank + 1) * size)
    weight = linear.weight.detach()
    linear.weight = nn.Parameter((weight[mine] if rows else weight[:, mine]).clone())


def _split_mlp(mlp: MLP, ranks: int, rank: int) -> MLP:
    gate_up, down = _columns(mlp.gate_up.weight, mlp.down.weight, ranks, rank)
    mlp.gate_up.weight, mlp.down.weight = nn.Parameter(gate_up), nn.Parameter(down)
    return mlp


def _split_experts(experts: nn.Module, ranks: int, rank: int) -> Experts:
    if not isinstance(experts, Experts):
        raise TypeError("split experts over width or over ranks, not both")
    gate_up, down = _columns(experts.gate_up, experts.down, ranks, rank)
    experts.gate_up, experts.down = nn.Parameter(gate_up), nn.Parameter(down)
    return experts


def _columns(gate_up: Tensor, down: Tensor, ranks: int, rank: int) -> tuple[Tensor, Tensor]:
    """This rank's hidden units: the same slice of gate and of up, and the matching inputs of down."""
    width = down.shape[-1]
    if width % ranks:
        raise ValueError(f"feed-forward width {width} does not divide over {ranks} ranks")
    mine = slice(rank * width // ranks, (rank + 1) * width // ranks)
    gate, up = gate_up.detach().chunk(2, dim=-2)
    return torch.cat((gate[..., mine, :], up[..., mine, :]), dim=-2), down.detach()[..., mine].clone()
