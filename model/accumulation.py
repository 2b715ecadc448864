"""What an FP8 tensor core's narrow accumulator does to a sum, and what promotion to FP32 repairs.

Hopper's FP8 units align the products of one instruction (32 along the reduced dimension) and the running sum to the
largest exponent among them and keep about 14 bits. DeepSeek-V3 adds the partial sum to an FP32 register every 128
elements [deepseek-v3-report, section 3.3.2]. The emulation below is exact about that rule: truncation of every
aligned term, then an exact sum. ``python -m model.accumulation`` prints the experiment.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

import torch
from torch import Tensor

from model import fp8

#: Bits kept of an aligned product, and products added by one instruction.
HOPPER_BITS = 14
INSTRUCTION = 32


def narrow_matmul(a: Tensor, b: Tensor, bits: int = HOPPER_BITS, promote: int | None = fp8.TILE) -> Tensor:
    """a bᵀ of E4M3 values a [M, K], b [N, K] summed with ``bits``; every ``promote`` elements the sum moves to FP32.

    ``promote=None`` keeps the narrow sum to the end. FP32 [M, N].
    """
    M, N, K = a.shape[0], *b.shape
    a, b = a.float(), b.float()
    total, partial = torch.zeros(M, N), torch.zeros(M, N)
    for start in range(0, K, INSTRUCTION):
        products = a[:, None, start : start + INSTRUCTION] * b[None, :, start : start + INSTRUCTION]
        partial = aligned_sum(torch.cat((partial[..., None], products), dim=-1), bits)
        if promote and (start + INSTRUCTION) % promote == 0:
            total, partial = total + partial, torch.zeros_like(partial)
    return total + partial


def aligned_sum(terms: Tensor, bits: int) -> Tensor:
    """Sum of the last dimension after cutting every term below the largest one's ``bits``-th bit (toward zero)."""
    exponent = torch.frexp(terms.abs().amax(dim=-1, keepdim=True)).exponent
    unit = torch.ldexp(torch.ones_like(exponent, dtype=torch.float32), exponent - bits)
    return ((terms / unit).trunc() * unit).sum(-1)


@dataclass(frozen=True)
class Accumulation:
    """Relative Frobenius errors of one product of reduced length ``k``.

    ``*_error``: against the product of the unquantised operands. ``*_drift``: against the exact product of the same
    quantised operands, which isolates the accumulator.
    """

    k: int
    fp32_error: float
    promoted_error: float
    narrow_error: float
    promoted_drift: float
    narrow_drift: float
    narrow_worst: float


def experiment(k: int, rows: int = 64, mean: float = 0.0, bits: int = HOPPER_BITS, seed: int = 0) -> Accumulation:
    """Multiply two random rows × k matrices, N(mean, 1), three ways: FP32, narrow with promotion, narrow without."""
    generator = torch.Generator().manual_seed(seed)
    x, w = (torch.randn(rows, k, generator=generator) + mean for _ in range(2))
    # One scale per operand: the drift is the accumulator's alone, not the block scales'.
    scale = [t.abs().max() / fp8.E4M3_MAX for t in (x, w)]
    a, b = (t.div(s).to(fp8.E4M3) for t, s in zip((x, w), scale, strict=True))
    unit = (scale[0] * scale[1]).double()
    truth, exact = x.double() @ w.double().t(), (a.double() @ b.double().t()) * unit
    wide = (a.float() @ b.float().t()) * unit
    promoted, narrow = narrow_matmul(a, b, bits) * unit, narrow_matmul(a, b, bits, promote=None) * unit

    def relative(found: Tensor, expected: Tensor) -> float:
        return ((found - expected).norm() / expected.norm()).item()

    return Accumulation(
        k,
        fp32_error=relative(wide, truth),
        promoted_error=relative(promoted, truth),
        narrow_error=relative(narrow, truth),
        promoted_drift=relative(promoted, exact),
        narrow_drift=relative(narrow, exact),
        narrow_worst=((narrow - exact).abs().max() / exact.abs().max()).item(),
    )


def table(lengths: tuple[int, ...] = (512, 1024, 2048, 4096), mean: float = 0.0) -> str:
    """The experiment as text, one line a length; percentages."""
    head = "     K   FP32 error   promoted   narrow   promoted drift   narrow drift   narrow worst"
    lines = [head]
    for k in lengths:
        r = experiment(k, mean=mean)
        errors = f"{r.fp32_error:13.3%}{r.promoted_error:11.3%}{r.narrow_error:9.3%}"
        lines.append(f"{k:6d}{errors}{r.promoted_drift:17.4%}{r.narrow_drift:15.4%}{r.narrow_worst:15.3%}")
    return "\n".join(lines)


if __name__ == "__main__":
    for mean in (0.0, 1.0):
        sys.stdout.write(f"operands N({mean:g}, 1), relative errors\n{table(mean=mean)}\n")
