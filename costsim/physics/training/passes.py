"""The three passes of an op: forward, gradient of its input (B), gradient of its weights (W).

A GEMM Y[m,n] = X[m,k]·W[k,n] asks for dX[m,k] = dY·Wᵀ and dW[n,k] = dYᵀ·X, each of the same FLOP. The weight gradient
is added into a main gradient, FP32 unless a recipe keeps BF16. FP8 GEMMs need their operands cast along the dimension
they reduce: X and dY in rows for forward and input gradients, and both again, transposed, for the weight gradient.
[deepseek-v3-report, sec. 3.3; megatron-core-moe]
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from costsim.num import Num
from costsim.physics.op import Op, Wire, act_bytes, grouped_gemm, stream

B16, B32 = 2.0, 4.0
#: matrix products of attention: two forward, five backward (scores are computed again) [flashattention2]
ATTENTION_BACKWARD = 2.5


@dataclass(frozen=True)
class Passes:
    """Ops and wires of a block in its three passes. ``again``: forward work that the backward pass repeats."""

    forward: tuple[Op | Wire, ...] = ()
    backward: tuple[Op | Wire, ...] = ()
    weight: tuple[Op | Wire, ...] = ()
    again: tuple[Op | Wire, ...] = ()

    def __add__(self, other: Passes) -> Passes:
        return Passes(
            self.forward + other.forward, self.backward + other.backward, self.weight + other.weight,
            self.again + other.again,
        )  # fmt: skip

    def times(self, count: Num) -> Passes:
        """The same block ``count`` times."""

        def many(items: Iterable[Op | Wire]) -> tuple[Op | Wire, ...]:
            return tuple(replace(item, count=item.count * count) for item in items)

        return Passes(many(self.forward), many(self.backward), many(self.weight), many(self.again))

    def repeated(self, wanted: bool) -> Passes:
        """With the forward pass run again before the backward one."""
        return replace(self, again=self.forward) if wanted else self


def joined(blocks: Iterable[Passes]) -> Passes:
    """Blocks one after the other."""
    out = Passes()
    for block in blocks:
        out = out + block
    return out


@dataclass(frozen=True)
class Recipe:
    """How a framework trains: what is cast, what gradients are kept in, and how experts are reached.

    ``block_scaled``: 1×128 tiles as DeepSeek's FP8, each operand cast in both directions by kernels of their own;
    otherwise one scale a tensor, found by a pass over it. ``eight_bit_dispatch``: tokens travel as FP8.
    ``copies``: an all-to-all that sends a token once for each expert, instead of once for each node and rank.
    """

    dtype: str
    block_scaled: bool = True
    eight_bit_dispatch: bool = True
    copies: bool = False
    grad_bytes: float = B32
    split_norm: bool = False


def linear(
    name: str, m: Num, n: Num, k: Num, recipe: Recipe, part: str, groups: Num = 1.0, dtype: str | None = None,
    cast_input: bool = True,
) -> Passes:  # fmt: skip
    """A linear layer, or one of each of ``groups`` experts with ``m`` rows. ``cast_input``: X arrives in 16 bits."""
    kind = dtype or recipe.dtype
    forward = replace(grouped_gemm(name, m, n, k, groups, kind, 1.0, part), family="gemm")
    dgrad = replace(grouped_gemm(f"{name} dgrad", m, k, n, groups, kind, 1.0, part), family="gemm")
    operands = groups * (m * k + m * n) * act_bytes(kind)
    added = 2.0 * groups * n * k * recipe.grad_bytes
    wgrad = Op(
        f"{name} wgrad", "gemm_wgrad", kind, forward.flop, operands + added, 1.0, part,
        {"m": n, "n": k, "k": m, "groups": groups, "added_bytes": added},
    )  # fmt: skip
    if kind not in ("fp8", "fp4"):
        return Passes((forward,), (dgrad,), (wgrad,))
    turned = _transposes(f"{name} transpose", groups * m * (k + n), recipe, part)
    if recipe.block_scaled:
        # Input gradients multiply by the weights the other way round, turned over for each micro-batch.
        turned = (*turned, stream(f"{name} weight transpose", 2.0 * groups * n * k, 1.0, part))
    late = part == "mlp"
    return Passes(
        (*_casts(f"{name} cast", groups * m * k, recipe, part, cast_input), forward),
        (*_casts(f"{name} grad cast", groups * m * n, recipe, part, True), *(() if late else turned), dgrad),
        (*(turned if late else ()), wgrad),
    )


def _casts(name: str, elements: Num, recipe: Recipe, part: str, wanted: bool) -> tuple[Op, ...]:
    """BF16 → FP8: read two bytes and write one (one scale a tensor: read twice, its maximum first)."""
    if not wanted:
        return ()
    reads = B16 if recipe.block_scaled else 2.0 * B16
    return (stream(name, elements * (reads + act_bytes(recipe.dtype)), 1.0, part),)


def _transposes(name: str, elements: Num, recipe: Recipe, part: str) -> tuple[Op, ...]:
    """Operands of the weight gradient along the other dimension: tiles are cast again, a tensor's scale stays."""
    moved = B16 + 1.0 if recipe.block_scaled else 2.0
    return (stream(name, elements * moved, 1.0, part),)


def elementwise(
    name: str, forward_bytes: Num, backward_bytes: Num, part: str, pattern: str = "stream", count: Num = 1.0
) -> Passes:
    """A memory-bound kernel and its gradient."""
    return Passes(
        (stream(name, forward_bytes, count, part, pattern),),
        (stream(f"{name} backward", backward_bytes, count, part, pattern),),
    )


def attention_core(op: Op) -> Passes:
    """Attention: five products backward instead of two, and about as many times the operands moved."""
    full = None if op.flop_full is None else ATTENTION_BACKWARD * op.flop_full
    back = replace(
        op, name=f"{op.name} backward", family=op.family.replace("_prefill", "_backward"),
        flop=ATTENTION_BACKWARD * op.flop, bytes=ATTENTION_BACKWARD * op.bytes, flop_full=full,
    )  # fmt: skip
    return Passes((op,), (back,))


def small_kernels(name: str, forward: float, backward: float, part: str) -> Passes:
    """Kernels that move next to nothing: each takes its launch."""
    return Passes(
        (stream(name, 0.0, forward, part),) if forward else (),
        (stream(f"{name} backward", 0.0, backward, part),) if backward else (),
    )
