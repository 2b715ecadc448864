"""GRPO as DeepSeek-R1 describes it: groups of answers judge each other, so no value model is needed.

For a prompt, G answers are sampled; an answer's advantage is its reward's distance from the group's mean in standard
deviations. The loss clips the probability ratio on both sides and adds a penalty for leaving a reference model
[deepseek-r1, section 2.2.1; arXiv 2402.03300, eq. 3].
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from model.generation import generate
from model.losses import token_log_probs
from model.optimizer import AdamW, clip_gradients
from model.transformer import DeepSeek

#: Rewards [rows] of answers: (index of the prompt, answer tokens of one row) → number.
Reward = Callable[[int, Tensor], float]


@dataclass(frozen=True)
class GRPO:
    """``kl`` is β, ``clip`` is ε; ``epochs`` updates are made on each set of rollouts."""

    group: int = 16
    clip: float = 0.2
    kl: float = 0.04
    temperature: float = 1.0
    max_new_tokens: int = 16
    epochs: int = 1
    gradient_clip: float = 1.0


@dataclass(frozen=True)
class Rollout:
    """Sampled answers, R = prompts × group rows, each prompt's answers side by side.

    ``ids`` [R, T]; ``mask`` [R, T − 1] marks the answers' tokens among ids[:, 1:], the end token included; ``old`` and
    ``reference`` [R, T − 1] are log-probabilities under the sampling policy and the reference model.
    """

    ids: Tensor
    mask: Tensor
    old: Tensor
    reference: Tensor
    rewards: Tensor
    padding: Tensor | None = None


@dataclass(frozen=True)
class Update:
    """Means over one iteration. ``clipped``: share of answer tokens whose ratio was clipped."""

    reward: float
    loss: float
    kl: float
    clipped: float
    answer_length: float


def group_advantages(rewards: Tensor, eps: float = 1e-6) -> Tensor:
    """(r − mean) / std per group of rewards [prompts, group], std with ddof 0; a group of equals has advantage 0."""
    mean, std = rewards.mean(1, keepdim=True), rewards.std(1, correction=0, keepdim=True)
    return torch.where(std > eps, (rewards - mean) / std.clamp(min=eps), torch.zeros_like(rewards))


def k3(policy: Tensor, reference: Tensor) -> Tensor:
    """KL(policy ‖ reference) per token from log-probabilities: e^d − d − 1 ≥ 0 with d = reference − policy."""
    distance = reference - policy
    return distance.exp() - distance - 1


def clipped_objective(ratio: Tensor, advantage: Tensor, clip: float) -> Tensor:
    """min(ratio · A, clip(ratio, 1 − ε, 1 + ε) · A): no gain from moving further once the ratio has passed the band."""
    return torch.minimum(ratio * advantage, ratio.clamp(1 - clip, 1 + clip) * advantage)


def grpo_loss(policy: Tensor, rollout: Rollout, advantages: Tensor, settings: GRPO) -> tuple[Tensor, Tensor, Tensor]:
    """(loss, mean KL, share clipped) for log-probabilities ``policy`` [R, T − 1] and ``advantages`` [R].

    Tokens are averaged within an answer, then answers are averaged: 1/G Σ_i 1/|o_i| Σ_t.
    """
    lengths = rollout.mask.sum(1).clamp(min=1)

    def mean(values: Tensor) -> Tensor:
        return ((values * rollout.mask).sum(1) / lengths).mean()

    ratio = (policy - rollout.old).exp()
    kl = k3(policy, rollout.reference)
    objective = clipped_objective(ratio, advantages[:, None], settings.clip)
    outside = ((ratio - 1).abs() > settings.clip).float()
    return -mean(objective - settings.kl * kl), mean(kl.detach()), mean(outside)


@torch.no_grad()
def roll_out(
    policy: DeepSeek,
    reference: DeepSeek,
    prompts: Tensor,
    reward: Reward,
    settings: GRPO,
    *,
    eos: int,
    padding: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Rollout:
    """Sample ``group`` answers to each of prompts [P, T0] with the policy's own generate, and judge them."""
    rows = prompts.repeat_interleave(settings.group, 0)
    pads = None if padding is None else padding.repeat_interleave(settings.group, 0)
    options = {"temperature": settings.temperature, "eos": eos, "padding": pads, "generator": generator}
    ids = generate(policy, rows, settings.max_new_tokens, **options)
    answers = ids[:, prompts.shape[1] :]
    ended = (answers == eos).cumsum(1)
    written = (ended - (answers == eos).long()) == 0  # up to and including the first end token
    mask = torch.zeros_like(ids[:, 1:], dtype=torch.float32)
    mask[:, prompts.shape[1] - 1 :] = written.float()
    rewards = [
        reward(row // settings.group, answer[keep])
        for row, (answer, keep) in enumerate(zip(answers, written, strict=True))
    ]
    was_training = policy.training
    policy.eval()
    old = token_log_probs(policy, ids, pads, settings.temperature)
    policy.train(was_training)
    judged = token_log_probs(reference, ids, pads, settings.temperature)
    return Rollout(ids, mask, old, judged, torch.tensor(rewards, device=ids.device), pads)


def grpo_step(policy: DeepSeek, optimizer: AdamW, rollout: Rollout, settings: GRPO) -> Update:
    """``epochs`` policy updates on one set of rollouts."""
    advantages = group_advantages(rollout.rewards.view(-1, settings.group)).flatten()
    policy.eval()  # rollouts steer the policy, not the routers' balance
    for _ in range(settings.epochs):
        optimizer.zero_grad(set_to_none=True)
        log_probs = token_log_probs(policy, rollout.ids, rollout.padding, settings.temperature)
        loss, kl, clipped = grpo_loss(log_probs, rollout, advantages, settings)
        loss.backward()
        clip_gradients(policy.parameters(), settings.gradient_clip)
        optimizer.step()
    length = rollout.mask.sum(1).mean().item()
    return Update(rollout.rewards.mean().item(), loss.item(), kl.item(), clipped.item(), length)
