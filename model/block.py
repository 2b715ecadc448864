"""One decoder layer: attention and feed-forward, each behind a norm and added to the residual stream."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from model.attention import MLA
from model.cache import LatentCache
from model.config import DeepSeekConfig
from model.moe import MLP, MoE
from model.norm import RMSNorm
from model.recompute import Recompute


class Block(nn.Module):
    """x + attention(norm x), then x + ffn(norm x). ``recompute`` drops the norms' outputs until backward."""

    def __init__(self, config: DeepSeekConfig, *, moe: bool) -> None:
        super().__init__()
        self.attention_norm = RMSNorm(config.hidden, config.norm_eps)
        self.attention = MLA(config)
        self.ffn_norm = RMSNorm(config.hidden, config.norm_eps)
        self.ffn: MLP | MoE = MoE(config) if moe else MLP(config.hidden, config.intermediate)
        self.recompute = False

    def forward(
        self,
        x: Tensor,
        rotation: Tensor,
        cache: LatentCache | None = None,
        layer: int = 0,
        mask: Tensor | None = None,
    ) -> Tensor:
        """x [B, T, hidden] → the same shape; see MLA for ``cache`` and ``mask``."""
        x = x + self._normed(self.attention_norm, x, lambda y: self.attention(y, rotation, cache, layer, mask))
        return x + self._normed(self.ffn_norm, x, self.ffn)

    def _normed(self, norm: nn.Module, x: Tensor, layer: Callable[[Tensor], Tensor]) -> Tensor:
        if not (self.recompute and torch.is_grad_enabled()):
            return layer(norm(x))
        region = Recompute()
        (y,) = region.run(lambda x: (norm(x),), x)
        out = layer(y)
        region.discard(until_gradient_of=out)
        return out
