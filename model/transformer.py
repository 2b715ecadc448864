"""DeepSeek: embedding, decoder layers, norm and head, with the multi-token-prediction modules behind them."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from model.attention import causal_mask
from model.block import Block
from model.cache import LatentCache
from model.config import DeepSeekConfig
from model.moe import Experts, Router
from model.mtp import MTPModule
from model.norm import RMSNorm
from model.rope import Rope


class DeepSeek(nn.Module):
    """A model of the V2/V3 family, randomly initialised. ``module(ids)`` gives logits [batch, sequence, vocabulary]."""

    def __init__(self, config: DeepSeekConfig) -> None:
        super().__init__()
        self.config = config
        self.rope = Rope(config)
        self.embed = nn.Embedding(config.vocab, config.hidden)
        self.blocks = nn.ModuleList(Block(config, moe=config.is_moe(i)) for i in range(config.layers))
        self.norm = RMSNorm(config.hidden, config.norm_eps)
        self.head = nn.Linear(config.hidden, config.vocab, bias=False)
        self.mtp = nn.ModuleList(MTPModule(config, depth) for depth in range(config.mtp_layers))
        if config.tied:
            self.head.weight = self.embed.weight
        self.initialise()

    @torch.no_grad()
    def initialise(self) -> None:
        """Normal weights with ``init_std``, norms at one, router biases at zero."""
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding | Router):
                nn.init.normal_(module.weight, std=self.config.init_std)
            elif isinstance(module, Experts):
                nn.init.normal_(module.gate_up, std=self.config.init_std)
                nn.init.normal_(module.down, std=self.config.init_std)

    def forward(self, ids: Tensor, cache: LatentCache | None = None, padding: Tensor | None = None) -> Tensor:
        """Logits [B, T, vocab] of the next token behind each of ``ids`` [B, T]."""
        return self.head(self.hidden(ids, cache, padding))

    def hidden(self, ids: Tensor, cache: LatentCache | None = None, padding: Tensor | None = None) -> Tensor:
        """Final hidden states [B, T, hidden], after the last norm.

        With a ``cache``, ``ids`` continue what it holds, and it is advanced. ``padding`` [B] counts the positions at
        the left of each row that nothing may attend to.
        """
        start = 0 if cache is None else cache.length
        rotation = self.rope(start, ids.shape[1], ids.device)
        mask = self.mask(ids.shape[1], start, ids.device, padding)
        x = self.embed(ids)
        for layer, block in enumerate(self.blocks):
            x = block(x, rotation, cache, layer, mask)
        if cache is not None:
            cache.advance(ids.shape[1])
        return self.norm(x)

    def mtp_hidden(self, ids: Tensor, hidden: Tensor, padding: Tensor | None = None) -> list[Tensor]:
        """Hidden states of depths k = 1 … D over whole sequences: [B, T − k, hidden], position i predicts i + k + 1."""
        states, previous = [], hidden
        for k, module in enumerate(self.mtp, start=1):
            length = ids.shape[1] - k
            if length < 1:
                break
            mask = self.mask(length, 0, ids.device, padding)
            rotation = self.rope(0, length, ids.device)
            previous = module(self.embed(ids[:, k:]), previous[:, :length], rotation, None, mask)
            states.append(previous)
        return states

    def draft_hidden(self, ids: Tensor, hidden: Tensor, cache: LatentCache, padding: Tensor | None = None) -> Tensor:
        """One cached step of the first module: ``ids`` [B, T] follow the positions of ``hidden`` [B, T, hidden]."""
        rotation = self.rope(cache.length, ids.shape[1], ids.device)
        mask = self.mask(ids.shape[1], cache.length, ids.device, padding)
        out = self.mtp[0](self.embed(ids), hidden, rotation, cache, mask)
        cache.advance(ids.shape[1])
        return out

    @staticmethod
    def mask(length: int, start: int, device: torch.device, padding: Tensor | None) -> Tensor | None:
        """None where plain causality over an empty cache, or one query, needs none."""
        if padding is None and (start == 0 or length == 1):
            return None
        return causal_mask(length, start + length, device, padding)

    def routers(self) -> Iterator[Router]:
        """Every router, in layer order, those of the MTP modules last."""
        return (module for module in self.modules() if isinstance(module, Router))

    def set_recompute(self, on: bool = True) -> None:
        """Recompute norms and MLA up-projections in backward instead of keeping their outputs."""
        for module in self.modules():
            if hasattr(module, "recompute"):
                module.recompute = on
