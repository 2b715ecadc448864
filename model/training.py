"""A plain training loop: pre-training and supervised fine-tuning are the same step with different labels."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from model.losses import training_losses
from model.optimizer import AdamW, Schedule, clip_gradients
from model.transformer import DeepSeek


@dataclass(frozen=True)
class Batch:
    """``ids`` [B, T]; ``labels`` [B, T] where only some tokens are learnt (IGNORE elsewhere); left ``padding`` [B]."""

    ids: Tensor
    labels: Tensor | None = None
    padding: Tensor | None = None


@dataclass(frozen=True)
class Recipe:
    """How DeepSeek-V3 trains, at any size [deepseek-v3-report, section 4.2].

    ``bias_speed`` balances experts without a loss; ``balance`` is the sequence-wise loss's coefficient; ``mtp_weight``
    weighs the prediction modules; ``recompute`` drops norms' and MLA up-projections' outputs until backward.
    """

    schedule: Callable[[int], float] = field(default_factory=lambda: Schedule(3e-3, warmup=20))
    clip: float = 1.0
    mtp_weight: float = 0.3
    bias_speed: float = 1e-3
    balance: float = 1e-4
    recompute: bool = True


@dataclass(frozen=True)
class Step:
    """What one step did. ``imbalance``: the worst layer's busiest expert over its mean; 1 without experts."""

    loss: float
    mtp_loss: float
    gradient_norm: float
    rate: float
    imbalance: float
    seconds: float


def train(
    module: DeepSeek, batches: Iterable[Batch], recipe: Recipe | None = None, optimizer: AdamW | None = None
) -> Iterator[Step]:
    """Train on each batch in turn, yielding what happened; stop by not asking for more."""
    recipe = recipe or Recipe()
    optimizer = optimizer or AdamW(module.parameters())
    prepare(module, recipe)
    for number, batch in enumerate(batches):
        for group in optimizer.param_groups:
            group["lr"] = recipe.schedule(number)
        yield train_step(module, batch, optimizer, recipe)


def prepare(module: DeepSeek, recipe: Recipe) -> None:
    """Set the switches that a recipe asks for."""
    module.train()
    module.set_recompute(recipe.recompute)
    for router in module.routers():
        router.balance_coefficient = recipe.balance


def train_step(module: DeepSeek, batch: Batch, optimizer: AdamW, recipe: Recipe) -> Step:
    """Forward, backward, clip, update weights, then update the routers' biases from the load just seen."""
    start = time.perf_counter()
    optimizer.zero_grad(set_to_none=True)
    losses = training_losses(module, batch.ids, batch.labels, mtp_weight=recipe.mtp_weight, padding=batch.padding)
    losses.total.backward()
    norm = clip_gradients(module.parameters(), recipe.clip)
    optimizer.step()
    imbalance = update_biases(module, recipe.bias_speed)
    rate = optimizer.param_groups[0]["lr"]
    return Step(losses.main.item(), losses.mtp.item(), norm, rate, imbalance, time.perf_counter() - start)


@torch.no_grad()
def update_biases(module: DeepSeek, speed: float, reduce: Callable[[Tensor], None] | None = None) -> float:
    """Move every router's bias against its load, which ``reduce`` sums over ranks; the worst imbalance."""
    worst = 1.0
    for router in module.routers():
        if reduce is not None:
            reduce(router.load)
        mean = router.load.mean()
        if mean > 0:
            worst = max(worst, (router.load.max() / mean).item())
        router.update_bias(speed)
    return worst
