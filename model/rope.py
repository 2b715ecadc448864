"""Rotary position embedding with YaRN, in DeepSeek's interleaved order: dimensions 2i and 2i+1 form pair i.

The transformers port stores rotated vectors half-split (all first members, then all second); scores are equal, cached
keys are permuted between the two.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from model import device
from model.config import DeepSeekConfig, Yarn


def frequencies(dim: int, theta: float, yarn: Yarn | None) -> Tensor:
    """Radians per position of each pair [dim/2], float32.

    f_i = θ^(−2i/dim). YaRN divides f_i by its factor where a pair turns fewer than ``beta_slow`` times within the
    original length, keeps it above ``beta_fast`` turns, and blends linearly over i between [arXiv 2309.00071, eq. 23].
    """
    plain = 1.0 / theta ** (torch.arange(0, dim, 2, dtype=torch.float32, device="cpu") / dim)
    if yarn is None or yarn.factor <= 1:
        return plain

    def pair_turning(turns: float) -> float:
        return dim * math.log(yarn.original_length / (turns * 2 * math.pi)) / (2 * math.log(theta))

    low = max(math.floor(pair_turning(yarn.beta_fast)), 0)
    high = min(math.ceil(pair_turning(yarn.beta_slow)), dim - 1)
    stretched = ((torch.arange(dim // 2, dtype=torch.float32, device="cpu") - low) / max(high - low, 0.001)).clamp(0, 1)
    return plain * (1 - stretched) + plain / yarn.factor * stretched


class Rope:
    """Cosine and sine by position. Not a module: its table stays float32 whatever ``module.to(...)`` does."""

    def __init__(self, config: DeepSeekConfig) -> None:
        self.frequencies = frequencies(config.rope_dim, config.rope_theta, config.yarn)
        self.gain = config.yarn.rotation_gain if config.yarn else 1.0
        self._tables: dict[torch.device, Tensor] = {}

    def __call__(self, start: int, length: int, place: torch.device) -> Tensor:
        """Cosine and sine of positions ``start`` … ``start + length − 1``: [length, rope_dim/2, 2], float32."""
        table = self._tables.get(place)
        if table is None or len(table) < start + length:
            size = max(256, 1 << (start + length - 1).bit_length())
            angles = torch.outer(torch.arange(size, dtype=torch.float32, device="cpu"), self.frequencies)
            table = (torch.stack((angles.cos(), angles.sin()), dim=-1) * self.gain).to(place)
            self._tables[place] = table
        return table[start : start + length]


def rotate(x: Tensor, rotation: Tensor) -> Tensor:
    """Turn each pair of ``x`` [batch, length, heads, dim] by ``rotation`` [length, dim/2, 2]; computed in float32."""
    pairs = x.float().reshape(*x.shape[:-1], -1, 2)
    turn = rotation.unsqueeze(1)
    if device.has_complex(x.device.type):
        turned = torch.view_as_real(torch.view_as_complex(pairs) * torch.view_as_complex(turn))
    else:
        (even, odd), (cos, sin) = pairs.unbind(-1), turn.unbind(-1)
        turned = torch.stack((even * cos - odd * sin, even * sin + odd * cos), dim=-1)
    return turned.flatten(-2).to(x.dtype)
