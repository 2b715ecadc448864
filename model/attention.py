"""Multi-head latent attention, computed two ways from one set of weights [deepseek-v3-report, section 2.1.1].

Naive: expand latents to keys and values of every head; cheapest when many queries share the expansion (prefill).
Absorbed: move the up-projection to the query and output side, so that all heads read the latent itself as one shared
key and value; cheapest when few queries meet a long cache (decode).
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model import device
from model.cache import LatentCache
from model.config import DeepSeekConfig
from model.norm import RMSNorm
from model.recompute import Recompute
from model.rope import rotate

#: DeepSeek fixes the epsilon of the two latent norms; ``rms_norm_eps`` rules the others.
LATENT_EPS = 1e-6


class MLA(nn.Module):
    """Attention over latents. ``mode`` is ``auto`` (the cheaper way), ``naive`` or ``absorbed``."""

    def __init__(self, config: DeepSeekConfig) -> None:
        super().__init__()
        c = config
        self.heads, self.nope, self.rope, self.v = c.heads, c.nope_dim, c.rope_dim, c.v_dim
        self.q_rank, self.kv_rank, self.scale = c.q_rank, c.kv_rank, c.softmax_scale
        self.mode: Literal["auto", "naive", "absorbed"] = "auto"
        self.recompute = False
        if c.q_rank:
            self.q_down = nn.Linear(c.hidden, c.q_rank, bias=False)
            self.q_norm = RMSNorm(c.q_rank, LATENT_EPS)
        self.q_up = nn.Linear(c.q_rank or c.hidden, c.heads * c.qk_dim, bias=False)
        self.kv_down = nn.Linear(c.hidden, c.latent_dim, bias=False)
        self.kv_norm = RMSNorm(c.kv_rank, LATENT_EPS)
        self.kv_up = nn.Linear(c.kv_rank, c.heads * (c.nope_dim + c.v_dim), bias=False)
        self.out = nn.Linear(c.heads * c.v_dim, c.hidden, bias=False)

    def forward(
        self,
        x: Tensor,
        rotation: Tensor,
        cache: LatentCache | None = None,
        layer: int = 0,
        mask: Tensor | None = None,
    ) -> Tensor:
        """Attend from x [B, T, hidden] to the cache and x itself; [B, T, hidden].

        ``mask`` [B or 1, T, S], true where a query may look. None means causal over T = S, or one query that sees all.
        """
        if cache is None and self.recompute and torch.is_grad_enabled():
            return self._recomputed(x, rotation, mask)
        q = self._queries(self.q_down(x) if self.q_rank else x, rotation)
        latents = self._latents(self.kv_down(x), rotation)
        fresh = cache is None or cache.length == 0
        if cache is not None:
            latents = cache.write(layer, latents)
        if self._absorbs(x.shape[1], fresh):
            return self.out(self._absorbed(q, latents, mask))
        return self.out(self._naive(q, *self._expand(latents), mask))

    def _queries(self, x: Tensor, rotation: Tensor) -> Tensor:
        """[B, T, heads, nope + rope] from the query latent (or the hidden state where there is none)."""
        q = self.q_up(self.q_norm(x) if self.q_rank else x).view(*x.shape[:2], self.heads, -1)
        content, position = q.split((self.nope, self.rope), dim=-1)
        return torch.cat((content, rotate(position, rotation)), dim=-1)

    def _latents(self, down: Tensor, rotation: Tensor) -> Tensor:
        """What is cached, [B, T, kv_rank + rope]: the normalised latent and the rotated key that all heads share."""
        latent, key = down.split((self.kv_rank, self.rope), dim=-1)
        return torch.cat((self.kv_norm(latent), rotate(key.unsqueeze(2), rotation).squeeze(2)), dim=-1)

    def _expand(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        """Keys [B, S, heads, nope + rope] and values [B, S, heads, v] of every head."""
        latent, shared = latents.split((self.kv_rank, self.rope), dim=-1)
        k, v = self.kv_up(latent).view(*latents.shape[:2], self.heads, -1).split((self.nope, self.v), dim=-1)
        return torch.cat((k, shared.unsqueeze(2).expand(-1, -1, self.heads, -1)), dim=-1), v

    def _naive(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
        """softmax(q·kᵀ × scale) v per head: [B, T, heads × v]."""
        return attend(q, k, v, self.scale, mask).flatten(2)

    def _absorbed(self, q: Tensor, latents: Tensor, mask: Tensor | None) -> Tensor:
        """The same from latents [B, S, kv_rank + rope]: qᵀ(W_uk c) = (W_ukᵀ q)ᵀ c, and W_uv leaves the sum over S."""
        B, T, h, r = *q.shape[:3], self.kv_rank
        up = self.kv_up.weight.view(h, self.nope + self.v, r)
        q_nope = q[..., : self.nope].reshape(B * T, h, self.nope).transpose(0, 1)
        q_latent = torch.bmm(q_nope, up[:, : self.nope]).transpose(0, 1)
        queries = torch.cat((q_latent, q[..., self.nope :].reshape(B * T, h, self.rope)), dim=-1)
        scores = torch.bmm(queries.view(B, T * h, -1), latents.transpose(1, 2)).float() * self.scale
        if mask is None and T > 1:
            mask = causal_mask(T, T, latents.device)
        if mask is not None:
            hidden = ~mask[:, :, None].expand(-1, -1, h, -1).flatten(1, 2)
            scores = scores.masked_fill(hidden, float("-inf"))
        weights = scores.softmax(dim=-1).to(q.dtype)
        context = torch.bmm(weights, latents[..., :r]).view(B * T, h, r).transpose(0, 1)
        return torch.bmm(context, up[:, self.nope :].transpose(1, 2)).transpose(0, 1).reshape(B, T, h * self.v)

    def _absorbs(self, queries: int, fresh: bool) -> bool:
        """Whether absorbing costs fewer FLOPs per cached token: T(2r + rope) < r(nope + v) + T(nope + rope + v)."""
        if self.mode != "auto":
            return self.mode == "absorbed"
        if fresh and queries > 1:
            return False  # a fused causal kernel wins, and training needs the expanded heads
        return queries * (2 * self.kv_rank - self.nope - self.v) < self.kv_rank * (self.nope + self.v)

    def _recomputed(self, x: Tensor, rotation: Tensor, mask: Tensor | None) -> Tensor:
        """Training: keep only the down-projections' outputs; norms and up-projections run again in backward."""

        def expand(q_in: Tensor, down: Tensor) -> tuple[Tensor, ...]:
            q = self._queries(q_in, rotation)
            k, v = self._expand(self._latents(down, rotation))
            return q, k, v.contiguous()

        region = Recompute()
        q, k, v = region.run(expand, self.q_down(x) if self.q_rank else x, self.kv_down(x))
        out = self._naive(q, k, v, mask)
        region.discard(until_gradient_of=out)
        return self.out(out)


def attend(q: Tensor, k: Tensor, v: Tensor, scale: float, mask: Tensor | None) -> Tensor:
    """Fused attention on [B, T, heads, d] tensors; causal over T = S where ``mask`` is None and T > 1."""
    q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
    allowed = None if mask is None else mask[:, None]
    causal = mask is None and q.shape[2] > 1
    width, missing = v.shape[-1], q.shape[-1] - v.shape[-1]
    if missing > 0 and not device.has_fused_attention(q.device.type):
        v = F.pad(v, (0, missing))  # equal head sizes let the fused kernel run; the added columns are zero
    out = F.scaled_dot_product_attention(q, k, v, allowed, is_causal=causal, scale=scale)
    return out[..., :width].transpose(1, 2)


def causal_mask(queries: int, seen: int, device: torch.device, padding: Tensor | None = None) -> Tensor:
    """[B or 1, T, S]: query t sits at position S − T + t and looks back, not into the first ``padding`` [B] ones.

    Every query sees at least itself, so that a padded query's softmax is defined.
    """
    keys = torch.arange(seen, device=device)
    place = keys[seen - queries :, None]
    mask = (keys <= place)[None]
    if padding is not None:
        mask = mask & ((keys >= padding[:, None, None]) | (keys == place))
    return mask
