"""AdamW with FP32 master weights and BF16 moments, the published learning-rate schedule, and gradient clipping."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


class AdamW(torch.optim.Optimizer):
    """Decoupled weight decay [arXiv 1711.05101]; β = (0.9, 0.95), decay 0.1 as DeepSeek-V3 trains.

    Parameters narrower than FP32 get an FP32 master copy, which takes the update and is rounded back. Moments are
    stored in ``moments`` (BF16 by default) and computed in FP32 [deepseek-v3-report, section 3.3.3].
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        lr: float = 2.2e-4,
        betas: tuple[float, float] = (0.9, 0.95),
        eps: float = 1e-8,
        weight_decay: float = 0.1,
        moments: torch.dtype = torch.bfloat16,
    ) -> None:
        super().__init__(parameters, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})
        self.moments = moments

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One update of every parameter that has a gradient."""
        del closure
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    self._update(p, group, self.state[p])

    def _update(self, p: Tensor, group: dict[str, Any], state: dict[str, Any]) -> None:
        if not state:
            state["step"] = 0
            state["m"] = torch.zeros_like(p, dtype=self.moments)
            state["v"] = torch.zeros_like(p, dtype=self.moments)
            if p.dtype != torch.float32:
                state["master"] = p.float()
        state["step"] += 1
        (b1, b2), lr, g = group["betas"], group["lr"], p.grad.float()  # type: ignore[union-attr]
        m = state["m"].float().lerp_(g, 1 - b1)
        v = state["v"].float().lerp_(g.square(), 1 - b2)
        state["m"].copy_(m)
        state["v"].copy_(v)
        master = state.get("master", p)
        if p.dim() > 1:  # norms are not decayed
            master.mul_(1 - lr * group["weight_decay"])
        scale = (v / (1 - b2 ** state["step"])).sqrt_().add_(group["eps"])
        master.addcdiv_(m, scale, value=-lr / (1 - b1 ** state["step"]))
        if master is not p:
            p.copy_(master)


@dataclass(frozen=True)
class Schedule:
    """Linear warm-up to ``peak``, constant, cosine down to ``floor``, constant again. Lengths in optimizer steps."""

    peak: float
    warmup: int = 0
    constant: int = 0
    decay: int = 0
    floor: float = 0.0

    def __call__(self, step: int) -> float:
        """Learning rate of ``step``, counted from 0."""
        if step < self.warmup:
            return self.peak * (step + 1) / self.warmup
        passed = step - self.warmup - self.constant
        if passed < 0 or not self.decay:
            return self.peak
        share = min(passed / self.decay, 1.0)
        return self.floor + (self.peak - self.floor) * 0.5 * (1 + math.cos(math.pi * share))


def deepseek_v3_rate(step: int, tokens: float) -> float:
    """The learning rate of DeepSeek-V3's pre-training after ``step`` steps and ``tokens`` tokens.

    2,000 warm-up steps to 2.2e-4, constant to 10 T tokens, cosine to 2.2e-5 over 4.3 T, then 333 B tokens at 2.2e-5
    and 167 B at 7.3e-6 [deepseek-v3-report, section 4.2].
    """
    if step < 2000:
        return 2.2e-4 * (step + 1) / 2000
    if tokens < 10e12:
        return 2.2e-4
    if tokens < 14.3e12:
        return 2.2e-5 + (2.2e-4 - 2.2e-5) * 0.5 * (1 + math.cos(math.pi * (tokens - 10e12) / 4.3e12))
    return 2.2e-5 if tokens < 14.633e12 else 7.3e-6


@torch.no_grad()
def clip_gradients(parameters: Iterable[nn.Parameter], limit: float = 1.0) -> float:
    """Scale all gradients to a joint norm of at most ``limit``; the norm before, or a refusal if it is not finite."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    norm = torch.linalg.vector_norm(torch.stack([g.float().norm() for g in gradients])).item()
    if not math.isfinite(norm):
        raise FloatingPointError(f"gradient norm is {norm}; the step would destroy the weights")
    if norm > limit:
        for g in gradients:
            g.mul_(limit / norm)
    return norm
