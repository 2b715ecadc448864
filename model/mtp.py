"""Multi-token prediction: modules behind the model, each one token further [deepseek-v3-report, section 2.2]."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from model.block import Block
from model.cache import LatentCache
from model.config import DeepSeekConfig
from model.norm import RMSNorm


class MTPModule(nn.Module):
    """h' = block(W [norm(emb(t_{i+k})); norm(h_i)]). Embedding and head belong to the model and are shared.

    The incoming h is the output of the previous depth after its final norm, as in the released weights.
    """

    def __init__(self, config: DeepSeekConfig, depth: int) -> None:
        super().__init__()
        self.embed_norm = RMSNorm(config.hidden, config.norm_eps)
        self.hidden_norm = RMSNorm(config.hidden, config.norm_eps)
        self.project = nn.Linear(2 * config.hidden, config.hidden, bias=False)
        self.block = Block(config, moe=config.is_moe(config.layers + depth))
        self.norm = RMSNorm(config.hidden, config.norm_eps)

    def forward(
        self,
        embedded: Tensor,
        hidden: Tensor,
        rotation: Tensor,
        cache: LatentCache | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        """``embedded`` is the token ahead, ``hidden`` the state of this position; all [B, T, hidden]."""
        x = self.project(torch.cat((self.embed_norm(embedded), self.hidden_norm(hidden)), dim=-1))
        return self.norm(self.block(x, rotation, cache, 0, mask))
