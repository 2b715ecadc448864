"""Feed-forward layers: the gated MLP, and DeepSeekMoE with shared experts, routed experts and bias balancing."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model import device
from model.config import DeepSeekConfig

Linear = Callable[[Tensor, Tensor], Tensor]


class MLP(nn.Module):
    """down(silu(gate x) · up x). Gate and up are one matrix [2 × width, hidden]: one product instead of two."""

    def __init__(self, hidden: int, width: int) -> None:
        super().__init__()
        self.gate_up = nn.Linear(hidden, 2 * width, bias=False)
        self.down = nn.Linear(width, hidden, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(swiglu(self.gate_up(x)))


def swiglu(gate_up: Tensor) -> Tensor:
    """silu(first half) · second half, over the last dimension."""
    gate, up = gate_up.chunk(2, dim=-1)
    return F.silu(gate) * up if torch.is_grad_enabled() else F.silu(gate).mul_(up)


class Routing(NamedTuple):
    """For N tokens: all experts' ``scores`` [N, E], the chosen ``indices`` and their ``weights`` [N, top_k]."""

    scores: Tensor
    indices: Tensor
    weights: Tensor


class Router(nn.Module):
    """Scores experts in float32, chooses by score + bias within the best groups, weighs by the score alone.

    The bias is no parameter: ``update_bias`` moves it against the load, so balance costs no gradient
    [arXiv 2408.15664; deepseek-v3-report, eq. 16]. ``load`` counts tokens per expert while the module trains.
    """

    def __init__(self, config: DeepSeekConfig) -> None:
        super().__init__()
        self.config = config
        self.weight = nn.Parameter(torch.empty(config.experts, config.hidden))
        self.bias: Tensor | None
        self.load: Tensor
        self.register_buffer("bias", torch.zeros(config.experts, dtype=torch.float32) if config.score_bias else None)
        self.register_buffer("load", torch.zeros(config.experts, dtype=torch.float32), persistent=False)
        self.balance_loss: Tensor | None = None
        self.balance_coefficient = 0.0

    def forward(self, x: Tensor, sequences: int = 1) -> Routing:
        """Route x [N, hidden], N tokens of ``sequences`` equal sequences."""
        c = self.config
        logits = F.linear(x.float(), self.weight.float())
        scores = logits.sigmoid() if c.scoring == "sigmoid" else logits.softmax(dim=-1)
        choice = scores if self.bias is None else scores + self.bias
        if c.groups > 1:
            choice = self._within_best_groups(choice)
        indices = choice.topk(c.top_k, dim=-1, sorted=False).indices
        weights = scores.gather(1, indices)
        if c.normalise_weights:
            weights = weights / (weights.sum(dim=-1, keepdim=True) + 1e-20)
        if self.training:
            self._observe(scores, indices, sequences)
        return Routing(scores, indices, weights * c.routed_scale)

    def _within_best_groups(self, choice: Tensor) -> Tensor:
        """−∞ outside the ``top_groups`` best groups of each token, so that it travels to few nodes."""
        c = self.config
        grouped = choice.view(len(choice), c.groups, -1)
        best = grouped.amax(-1) if c.group_score == "max" else grouped.topk(2, dim=-1).values.sum(-1)
        chosen = torch.zeros_like(best, dtype=torch.bool).scatter_(1, best.topk(c.top_groups, dim=-1).indices, True)
        return grouped.masked_fill(~chosen[..., None], float("-inf")).flatten(1)

    def _observe(self, scores: Tensor, indices: Tensor, sequences: int) -> None:
        with torch.no_grad():
            self.load += torch.bincount(indices.flatten(), minlength=self.config.experts)
        self.balance_loss = None
        if self.balance_coefficient:
            self.balance_loss = self.balance_coefficient * sequence_balance(scores, indices, sequences)

    def take_balance_loss(self) -> Tensor | None:
        """The last forward's balance loss, once: a module must not hold on to a graph."""
        loss, self.balance_loss = self.balance_loss, None
        return loss

    @torch.no_grad()
    def update_bias(self, speed: float) -> None:
        """Lower the bias of experts above the mean load by ``speed``, raise the others; then count afresh."""
        if self.bias is not None:
            self.bias += speed * torch.sign(self.load.mean() - self.load)
        self.load.zero_()

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Router:
        """Move with the module, but keep bias and load in float32 whatever the weights become."""
        before = {name: self._buffers[name] for name in ("bias", "load")}
        super()._apply(fn, recurse)
        for name, old in before.items():
            new = self._buffers[name]
            if old is not None and new is not None and new.dtype != torch.float32:
                self._buffers[name] = old.to(new.device)
        return self


def sequence_balance(scores: Tensor, indices: Tensor, sequences: int) -> Tensor:
    """Σ_i f_i P_i averaged over sequences, without its coefficient α [deepseek-v3-report, eq. 17-20].

    f_i = E / (k T) × tokens of the sequence that chose expert i; P_i = mean of its scores normalised over experts.
    A perfectly balanced sequence gives 1.
    """
    E, k = scores.shape[-1], indices.shape[-1]
    chosen = F.one_hot(indices.view(sequences, -1), E).sum(1).to(scores.dtype)  # [sequences, E]
    tokens = scores.shape[0] // sequences
    share = (scores / scores.sum(-1, keepdim=True)).view(sequences, tokens, E).mean(1)
    return (chosen * (E / (k * tokens)) * share).sum(-1).mean()


class Experts(nn.Module):
    """E gated MLPs as two tensors: ``gate_up`` [E, 2 × width, hidden] and ``down`` [E, hidden, width].

    ``linear`` is the product one expert uses; FP8 training replaces it.
    """

    def __init__(self, experts: int, hidden: int, width: int) -> None:
        super().__init__()
        self.gate_up = nn.Parameter(torch.empty(experts, 2 * width, hidden))
        self.down = nn.Parameter(torch.empty(experts, hidden, width))
        self.linear: Linear = F.linear
        self.grouped: bool | None = None  # None: one grouped product where the device has it and is no CPU

    def forward(self, x: Tensor, indices: Tensor, weights: Tensor) -> Tensor:
        """Σ_j weights[n, j] × expert indices[n, j] of x [N, hidden]; [N, hidden]."""
        top_k = indices.shape[1]
        if x.shape[0] == 1 and not torch.is_grad_enabled():
            return self._one_token(x, indices, weights)
        order = indices.flatten().argsort(stable=True)
        counts = torch.bincount(indices.flatten(), minlength=self.gate_up.shape[0])
        y = self.rows(x.index_select(0, order // top_k), counts)
        back = torch.empty_like(order).index_copy_(0, order, torch.arange(len(order), device=x.device))
        y, weights = y.index_select(0, back).view(len(x), top_k, -1), weights[..., None].to(y.dtype)
        return (y * weights if torch.is_grad_enabled() else y.mul_(weights)).sum(1)

    def rows(self, x: Tensor, counts: Tensor) -> Tensor:
        """Expert outputs for rows [R, hidden] sorted by expert, ``counts`` [E] of them each; [R, hidden]."""
        if self._grouped(x):
            ends = counts.cumsum(0).to(torch.int32)
            h = swiglu(F.grouped_mm(x, self.gate_up.transpose(1, 2), offs=ends))
            return F.grouped_mm(h, self.down.transpose(1, 2), offs=ends)
        sizes = counts.tolist()
        return self._each(swiglu(self._each(x, self.gate_up, sizes)), self.down, sizes)

    def _each(self, x: Tensor, weights: Tensor, sizes: list[int]) -> Tensor:
        """One product per expert that has rows."""
        busy = [e for e, size in enumerate(sizes) if size] or [0]
        pieces = x.split([sizes[e] for e in busy])
        if torch.is_grad_enabled() or self.linear is not F.linear:
            each = weights.unbind(0)  # one gradient for all, not a whole tensor per expert
            return torch.cat([self.linear(piece, each[e]) for e, piece in zip(busy, pieces, strict=True)])
        y, each = x.new_empty(len(x), weights.shape[1]), weights.transpose(1, 2).unbind(0)
        for e, piece, out in zip(busy, pieces, y.split([sizes[e] for e in busy]), strict=True):
            torch.mm(piece, each[e], out=out)
        return y

    def _grouped(self, x: Tensor) -> bool:
        if self.linear is not F.linear or self.grouped is False:
            return False
        wanted = self.grouped or x.device.type != "cpu"
        return wanted and device.has_grouped_matmul(x.device.type, x.dtype)

    def _one_token(self, x: Tensor, indices: Tensor, weights: Tensor) -> Tensor:
        """Decode at batch 1: nothing to sort or to copy, each chosen expert is read once."""
        chosen = indices[0].tolist()
        h = swiglu(torch.cat([self.linear(x, self.gate_up[e]) for e in chosen])) * weights.view(-1, 1).to(x.dtype)
        y = self.linear(h[:1], self.down[chosen[0]])
        for row, expert in enumerate(chosen[1:], start=1):
            y += self.linear(h[row : row + 1], self.down[expert])
        return y


class MoE(nn.Module):
    """Shared experts for every token plus the routed ones [deepseek-v3-report, section 2.1.2]."""

    def __init__(self, config: DeepSeekConfig) -> None:
        super().__init__()
        c = config
        self.router = Router(c)
        self.experts: nn.Module = Experts(c.experts, c.hidden, c.expert_intermediate)
        self.shared = MLP(c.hidden, c.shared_experts * c.expert_intermediate) if c.shared_experts else None

    def forward(self, x: Tensor) -> Tensor:
        """x [B, T, hidden] → the same shape."""
        tokens = x.flatten(0, 1)
        routing = self.router(tokens, sequences=x.shape[0])
        y = self.experts(tokens, routing.indices, routing.weights).view_as(x)
        return y if self.shared is None else y + self.shared(x)
