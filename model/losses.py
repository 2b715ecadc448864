"""Training losses of next-token and multi-token prediction, and log-probabilities of given text."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from model.transformer import DeepSeek

#: Label of a position that is not learnt (a prompt, padding).
IGNORE = -100


class Losses(NamedTuple):
    """Scalars: next-token cross-entropy, mean MTP cross-entropy (0 without modules), balance loss, and their sum."""

    main: Tensor
    mtp: Tensor
    balance: Tensor
    total: Tensor


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean over labels [B, T] ≥ 0 of −log p, in float32, for logits [B, T, vocab]."""
    return F.cross_entropy(logits.flatten(0, 1).float(), labels.flatten(), ignore_index=IGNORE)


def training_losses(
    module: DeepSeek,
    ids: Tensor,
    labels: Tensor | None = None,
    *,
    mtp_weight: float = 0.3,
    padding: Tensor | None = None,
) -> Losses:
    """Losses of ids [B, T]; ``labels`` [B, T] are the tokens to learn (default: ids), not shifted.

    L = CE(t_{i+1} | h_i) + λ/D Σ_k CE(t_{i+k+1} | h_i^k) + Σ_layers balance [deepseek-v3-report, eq. 24-25]. Each depth
    averages over the positions that it predicts, where the report divides by the sequence length.
    """
    labels = ids if labels is None else labels
    hidden = module.hidden(ids, padding=padding)
    main = cross_entropy(module.head(hidden[:, :-1]), labels[:, 1:])
    zero = torch.zeros((), device=main.device)
    depths = [
        cross_entropy(module.head(state[:, :-1]), labels[:, k + 1 :])
        for k, state in enumerate(module.mtp_hidden(ids, hidden, padding) if mtp_weight else [], start=1)
    ]
    mtp = torch.stack(depths).mean() if depths else zero
    taken = (router.take_balance_loss() for router in module.routers())
    balance = sum((loss for loss in taken if loss is not None), start=zero)
    return Losses(main, mtp, balance, main + mtp_weight * mtp + balance)


def token_log_probs(module: DeepSeek, ids: Tensor, padding: Tensor | None = None, temperature: float = 1.0) -> Tensor:
    """log p(t_{i+1} | t_≤i) of every token of ids [B, T] but the first: [B, T − 1], float32."""
    logits = module(ids, padding=padding)[:, :-1].float() / temperature
    return logits.gather(-1, ids[:, 1:, None]).squeeze(-1) - logits.logsumexp(-1)
