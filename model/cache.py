"""The latent KV cache: per token and layer one normalised KV latent and one rotated key, shared by all heads."""

from __future__ import annotations

import torch
from torch import Tensor

from model.config import DeepSeekConfig


class CacheFull(RuntimeError):
    """More tokens than the cache was made for."""


class LatentCache:
    """Latents of every layer, [layers, batch, capacity, kv_rank + rope_dim], and how many positions are filled.

    For DeepSeek-V3 in BF16: 61 × (512 + 64) × 2 = 70,272 bytes per token [deepseek-v3-report, section 2.1.1].
    """

    def __init__(
        self,
        config: DeepSeekConfig,
        batch: int,
        capacity: int,
        *,
        layers: int | None = None,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        count = config.layers if layers is None else layers
        self.latents = torch.empty(count, batch, capacity, config.latent_dim, dtype=dtype, device=device)
        self.length = 0

    @property
    def capacity(self) -> int:
        return self.latents.shape[2]

    @property
    def bytes_per_token(self) -> int:
        layers, _, _, width = self.latents.shape
        return layers * width * self.latents.element_size()

    def write(self, layer: int, latents: Tensor) -> Tensor:
        """Store [batch, new, latent] behind what is filled; returns all of the layer: [batch, length + new, latent]."""
        end = self.length + latents.shape[1]
        if end > self.capacity:
            raise CacheFull(f"{end} positions exceed the cache's capacity of {self.capacity}")
        store = self.latents[layer]
        store[:, self.length : end] = latents
        return store[:, :end]

    def advance(self, count: int) -> None:
        """Every layer has written ``count`` new positions."""
        self.length += count

    def truncate(self, length: int) -> None:
        """Forget positions from ``length`` on, as after a rejected draft."""
        self.length = min(self.length, length)
