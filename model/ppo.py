"""PPO with a value model, for comparison with GRPO: the same rollouts and clipping, one more network to train.

Advantages are generalised advantage estimates over tokens; the reward arrives at the last token, minus β·KL at every
token as in RLHF practice [arXiv 1707.06347; arXiv 1506.02438].
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from model.grpo import GRPO, Rollout, Update, clipped_objective, k3
from model.losses import token_log_probs
from model.optimizer import AdamW, clip_gradients
from model.transformer import DeepSeek


@dataclass(frozen=True)
class PPO:
    """GRPO's settings beside discount ``gamma``, ``lam`` of the estimator, and the clip of the value's change."""

    rollout: GRPO
    gamma: float = 1.0
    lam: float = 0.95
    value_clip: float = 0.2


class ValueModel(nn.Module):
    """A model of the policy's size with one number per position instead of logits."""

    def __init__(self, trunk: DeepSeek) -> None:
        super().__init__()
        self.trunk = trunk
        self.trunk.head = nn.Identity()
        self.head = nn.Linear(trunk.config.hidden, 1, bias=False)
        nn.init.zeros_(self.head.weight)

    def forward(self, ids: Tensor, padding: Tensor | None = None) -> Tensor:
        """Expected return behind each position of ids [B, T] but the last: [B, T − 1], float32."""
        return self.head(self.trunk.hidden(ids, padding=padding)).squeeze(-1)[:, :-1].float()


def token_rewards(rollout: Rollout, policy: Tensor, kl: float) -> Tensor:
    """−β·KL at every answer token and the answer's reward at its last one: [R, T − 1]."""
    rewards = -kl * k3(policy, rollout.reference) * rollout.mask
    positions = torch.arange(rollout.mask.shape[1], device=rewards.device)
    last = (rollout.mask * positions).argmax(1)
    return rewards.scatter_add(1, last[:, None], rollout.rewards[:, None].to(rewards.dtype))


def advantages_and_returns(
    rewards: Tensor, values: Tensor, mask: Tensor, gamma: float, lam: float
) -> tuple[Tensor, Tensor]:
    """Generalised advantage estimates and value targets, [R, T − 1]; zero outside ``mask``.

    δ_t = r_t + γ V_{t+1} − V_t, A_t = δ_t + γλ A_{t+1}; there is no value behind an answer's end.
    """
    advantages = torch.zeros_like(rewards)
    ahead = torch.zeros(len(rewards), device=rewards.device)
    value_ahead = torch.zeros_like(ahead)
    for t in reversed(range(rewards.shape[1])):
        inside = mask[:, t]
        delta = rewards[:, t] + gamma * value_ahead - values[:, t]
        ahead = inside * (delta + gamma * lam * ahead)
        value_ahead = inside * values[:, t]
        advantages[:, t] = ahead
    return advantages, (advantages + values) * mask


def ppo_step(
    policy: DeepSeek, value: ValueModel, optimizers: tuple[AdamW, AdamW], rollout: Rollout, settings: PPO
) -> Update:
    """``epochs`` updates of the policy and the value model on one set of rollouts."""
    s, mask, count = settings.rollout, rollout.mask, rollout.mask.sum()
    policy.eval()
    value.eval()
    with torch.no_grad():
        before = value(rollout.ids, rollout.padding)
        rewards = token_rewards(rollout, rollout.old, s.kl)
        raw, returns = advantages_and_returns(rewards, before, mask, settings.gamma, settings.lam)
        mean = (raw * mask).sum() / count
        std = (((raw - mean) * mask).square().sum() / count).sqrt()
        advantages = (raw - mean) / (std + 1e-8) * mask
    for _ in range(s.epochs):
        log_probs = token_log_probs(policy, rollout.ids, rollout.padding, s.temperature)
        ratio = (log_probs - rollout.old).exp()
        policy_loss = -(clipped_objective(ratio, advantages, s.clip) * mask).sum() / count
        values = value(rollout.ids, rollout.padding)
        near = before + (values - before).clamp(-settings.value_clip, settings.value_clip)
        errors = torch.maximum((values - returns).square(), (near - returns).square())
        value_loss = 0.5 * (errors * mask).sum() / count
        for network, optimizer, loss in ((policy, optimizers[0], policy_loss), (value, optimizers[1], value_loss)):
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            clip_gradients(network.parameters(), s.gradient_clip)
            optimizer.step()
    kl = (k3(log_probs.detach(), rollout.reference) * mask).sum() / count
    clipped = (((ratio - 1).abs() > s.clip) * mask).sum() / count
    return Update(
        rollout.rewards.mean().item(), policy_loss.item(), kl.item(), clipped.item(), (count / len(mask)).item()
    )
