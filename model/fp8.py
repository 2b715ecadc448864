"""Block-scaled FP8 as DeepSeek-V3 trains with it, emulated exactly, and native where the hardware multiplies it.

Activations carry one scale per 1×128 tile, weights one per 128×128 block; elements are E4M3 (largest finite value
448); a product is accumulated over 128 elements, scaled, and added in FP32 [deepseek-v3-report, section 3.3]. Master
weights stay FP32 and optimizer moments BF16 (see optimizer.py); embedding, head, router, norms and attention's core
stay unquantised.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model import device
from model.attention import MLA
from model.moe import MLP, Experts

E4M3 = torch.float8_e4m3fn
E4M3_MAX = 448.0
TILE = 128
ScaleFormat = Literal["fp32", "ue8m0"]


class Quantised(NamedTuple):
    """E4M3 ``values`` [rows, columns] and one FP32 ``scales`` entry per block; value = E4M3 × scale."""

    values: Tensor
    scales: Tensor
    block: tuple[int, int]


def quantise(x: Tensor, block: tuple[int, int] = (1, TILE), scale: ScaleFormat = "fp32") -> Quantised:
    """Quantise x [rows, columns] by blocks; the last blocks of ragged shapes are smaller.

    scale = max|block| / 448, so the largest element maps to 448; ``ue8m0`` rounds it up to a power of two. Elements
    round to nearest even: within 1/17 of the value where it is normal, within max|block|/28 always (twice that
    for ``ue8m0``). An all-zero block has scale 1.
    """
    rows, columns = x.shape
    largest = _blocks(x.float().abs(), block).amax(dim=(1, 3))
    scales = torch.where(largest > 0, largest / E4M3_MAX, torch.ones_like(largest)).clamp(min=2.0**-126)
    if scale == "ue8m0":
        scales = torch.exp2(torch.ceil(torch.log2(scales)))
    scaled = (x.float() / spread(scales, block, rows, columns)).clamp(-E4M3_MAX, E4M3_MAX)
    return Quantised(scaled.to(E4M3), scales, block)


def dequantise(q: Quantised, dtype: torch.dtype = torch.float32) -> Tensor:
    """E4M3 × scale, [rows, columns]."""
    return (q.values.float() * spread(q.scales, q.block, *q.values.shape)).to(dtype)


def spread(scales: Tensor, block: tuple[int, int], rows: int, columns: int) -> Tensor:
    """Each block's scale at every element: [rows, columns]."""
    return scales.repeat_interleave(block[0], 0)[:rows].repeat_interleave(block[1], 1)[:, :columns]


def _blocks(x: Tensor, block: tuple[int, int]) -> Tensor:
    """[row blocks, block rows, column blocks, block columns], zero-padded at the ragged edges."""
    rows, columns = x.shape
    padded = F.pad(x, (0, -columns % block[1], 0, -rows % block[0]))
    return padded.unflatten(1, (-1, block[1])).unflatten(0, (-1, block[0]))


def matmul(a: Quantised, b: Quantised) -> Tensor:
    """a bᵀ for a [M, K] in 1×128 tiles and b [N, K] in 128×128 blocks: FP32 [M, N].

    Products of two E4M3 values are exact in FP32, so the emulation rounds only where the hardware's FP32 adder does.
    """
    N, K = b.values.shape
    whole = (a.block, b.block) == ((1, TILE), (TILE, TILE)) and not N % TILE and not K % TILE
    if whole and native(a.values.device.type):
        return _native_matmul(a, b)
    return emulated_matmul(a, b)


def emulated_matmul(a: Quantised, b: Quantised) -> Tensor:
    """The product on any device: exact partial products of 128 elements, scaled and added in FP32."""
    M, N, K = a.values.shape[0], *b.values.shape
    scale_b = b.scales.repeat_interleave(b.block[0], 0)[:N]
    total = torch.zeros(M, N, device=a.values.device)
    for j, start in enumerate(range(0, K, TILE)):
        part = a.values[:, start : start + TILE].float() @ b.values[:, start : start + TILE].float().t()
        total += part * a.scales[:, j, None] * scale_b[:, j]
    return total


@cache
def native(kind: str) -> bool:
    """Whether devices of this type have block-scaled FP8 units that agree with the emulation on a small product."""
    if not device.has_block_scaled_matmul(kind):
        return False
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(64, 256, generator=draw).to(kind)
    w = (torch.randn(384, 256, generator=draw) * torch.rand(384, 1, generator=draw)).to(kind)
    a, b = quantise(x), quantise(w, (TILE, TILE))
    expected = emulated_matmul(a, b)
    return bool((_native_matmul(a, b) - expected).norm() <= 0.01 * expected.norm())


def _native_matmul(a: Quantised, b: Quantised) -> Tensor:
    """The same on hardware with block-scaled FP8 units."""
    kinds = F.ScalingType
    scales_a, scales_b = a.scales.t().contiguous().t(), b.scales.t()
    args = (a.values, b.values.t(), scales_a, kinds.BlockWise1x128, scales_b, kinds.BlockWise128x128)
    return F.scaled_mm(*args, output_dtype=torch.bfloat16).float()


class FP8Linear(torch.autograd.Function):
    """y = x wᵀ with all three products quantised: forward, input gradient and weight gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, scale: ScaleFormat) -> Tensor:
        rows = x.reshape(-1, x.shape[-1])
        y = matmul(quantise(rows, scale=scale), quantise(weight, (TILE, TILE), scale))
        ctx.save_for_backward(rows, weight)
        ctx.scale = scale
        return y.to(x.dtype).unflatten(0, x.shape[:-1]) if x.dim() != 2 else y.to(x.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        g = gradient.reshape(-1, gradient.shape[-1])
        dx = matmul(quantise(g, scale=ctx.scale), quantise(weight.t(), (TILE, TILE), ctx.scale))
        # The weight gradient sums over tokens: both operands are tiled along that dimension.
        dw = matmul(quantise(g.t(), scale=ctx.scale), quantise(x.t(), scale=ctx.scale))
        return dx.to(gradient.dtype).view(*gradient.shape[:-1], -1), dw.to(weight.dtype), None


class QuantisedLinear(nn.Linear):
    """An ``nn.Linear`` whose products run in FP8; the weight stays as it was (the master)."""

    scale: ScaleFormat = "fp32"

    def forward(self, x: Tensor) -> Tensor:
        return FP8Linear.apply(x, self.weight, self.scale)


def enable(module: nn.Module, scale: ScaleFormat = "fp32") -> nn.Module:
    """Run the linear layers of attention, MLPs and experts in FP8; everything else keeps its precision.

    DeepSeek keeps embedding, head, router, norms, attention core and MTP projection in BF16 or FP32.
    """

    def linear(x: Tensor, weight: Tensor) -> Tensor:
        return FP8Linear.apply(x, weight, scale)

    for part in module.modules():
        if isinstance(part, Experts):
            part.linear = linear
        elif isinstance(part, MLA | MLP):
            for child in part.children():
                if isinstance(child, nn.Linear):
                    child.__class__ = QuantisedLinear
                    child.scale = scale
    return module
