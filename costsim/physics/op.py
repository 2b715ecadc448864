"""Op and Wire: demand on one rank. FLOPs, bytes and shapes; no chip and no seconds.

Every numeric field is a float or an array that broadcasts, so a step of a million plans is the same
list of ops as a step of one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from costsim.num import Num

#: bytes of one element as stored; FP8, INT8 and W4 add their block scales where those are moved
ELEMENT_BYTES = {"fp32": 4.0, "bf16": 2.0, "fp16": 2.0, "fp8": 1.0, "int8": 1.0, "fp4": 0.5, "w4": 0.5, "w4a8": 0.5}
#: block scaling of DeepSeek-V3: one FP32 scale per 1×128 activations, one per 128×128 weights
#: [deepseek-v3-report, sec. 3.3.2]
SCALE_BLOCK = 128
SCALE_BYTES = 4.0
#: one byte scales 32 elements of an MX format
MX_SCALE = 1.0 / 32.0


def act_bytes(dtype: str) -> float:
    """Bytes per activation element with its share of the 1×128 tile scale (W4 keeps 16-bit activations, W4A8 takes
    MXFP8 ones)."""
    if dtype in ("fp8", "int8"):
        return 1.0 + SCALE_BYTES / SCALE_BLOCK
    if dtype == "w4a8":
        return 1.0 + MX_SCALE
    return ELEMENT_BYTES["bf16"] if dtype == "w4" else ELEMENT_BYTES[dtype]


def weight_bytes(dtype: str) -> float:
    """Bytes per weight element with its share of the 128×128 block scale (W4: one 16-bit scale per 128)."""
    if dtype in ("fp8", "int8"):
        return 1.0 + SCALE_BYTES / SCALE_BLOCK**2
    if dtype == "w4a8":
        return ELEMENT_BYTES[dtype] + MX_SCALE
    return ELEMENT_BYTES[dtype] + (2.0 / SCALE_BLOCK if dtype == "w4" else 0.0)


def stored_bytes(dtype: str) -> float:
    """Bytes that a weight takes in memory: as moved, and the one-byte scale of every 16 weights of NVFP4."""
    return weight_bytes(dtype) + (1.0 / 16.0 if dtype == "fp4" else 0.0)


@dataclass(frozen=True, slots=True)
class Op:
    """One kernel on one rank, executed ``count`` times per step.

    ``flop`` counts two per multiply-add and only what a causal kernel must do; ``flop_full`` the same
    without the causal saving (equal for everything but attention). ``bytes`` is the compulsory HBM
    traffic: each operand once. ``shape`` holds what an efficiency law needs (m, n, k, groups, …).
    ``part`` places the op in the step: attention, moe, dense, head, draft.
    """

    name: str
    family: str
    dtype: str
    flop: Num
    bytes: Num
    count: Num
    part: str
    shape: Mapping[str, Num] = field(default_factory=dict)
    flop_full: Num | None = None


@dataclass(frozen=True, slots=True)
class Wire:
    """One collective as one rank sees it, ``count`` times per step.

    ``up_bytes`` leave the rank inside its scale-up domain, ``out_bytes`` on the scale-out network.
    ``kind``: all_reduce, all_gather, reduce_scatter, p2p, dispatch/combine (normal, two-hop: once per remote
    node) or dispatch_ll/combine_ll (low latency: once per expert).
    """

    name: str
    kind: str
    up_bytes: Num
    out_bytes: Num
    ranks: Num
    domain: Num
    count: Num
    part: str


def gemm(name: str, m: Num, n: Num, k: Num, dtype: str, count: Num, part: str, out: str = "bf16") -> Op:
    """C[m,n] = A[m,k]·B[k,n]: 2mnk FLOP; A, B and C once through HBM."""
    moved = m * k * act_bytes(dtype) + n * k * weight_bytes(dtype) + m * n * ELEMENT_BYTES[out]
    return Op(name, "gemm", dtype, 2.0 * m * n * k, moved, count, part, {"m": m, "n": n, "k": k, "groups": 1.0})


def experts(
    name: str, m: Num, width: Num, hidden: Num, groups: Num, dtype: str, count: Num, part: str, layout: str,
    skew: Num = 1.0, held: Num | None = None,
) -> Op:  # fmt: skip
    """Gate-up, SwiGLU and down of ``groups`` experts with m rows each: 6·groups·m·width·hidden FLOP.

    ``layout``: "moe_normal" after normal dispatch (rows of each expert joined), "moe_masked" after low-latency
    dispatch (padded slots), "moe" where the kernel gathers its rows itself (tensor-parallel experts).
    ``skew``: rows of the fullest expert over the mean; ``held``: experts on the rank, busy or not.
    """
    up = grouped_gemm("", m, 2.0 * width, hidden, groups, dtype, count, part)
    down = grouped_gemm("", m, hidden, width, groups, dtype, count, part)
    between = groups * m * width * (2.0 * ELEMENT_BYTES["bf16"] + act_bytes(dtype))
    return Op(name, layout, dtype, up.flop + down.flop, up.bytes + between + down.bytes, count, part,
              {**up.shape, "skew": skew, "experts": groups if held is None else held})  # fmt: skip


def grouped_gemm(name: str, m: Num, n: Num, k: Num, groups: Num, dtype: str, count: Num, part: str) -> Op:
    """``groups`` GEMMs of m rows each (m: mean rows per group that has any)."""
    one = m * k * act_bytes(dtype) + n * k * weight_bytes(dtype) + m * n * ELEMENT_BYTES["bf16"]
    shape = {"m": m, "n": n, "k": k, "groups": groups}
    return Op(name, "grouped_gemm", dtype, 2.0 * groups * m * n * k, groups * one, count, part, shape)


def batched_gemm(name: str, m: Num, n: Num, k: Num, groups: Num, dtype: str, count: Num, part: str) -> Op:
    """One small matrix per head (MLA's absorbed projections)."""
    op = grouped_gemm(name, m, n, k, groups, dtype, count, part)
    return Op(name, "batched_gemm", dtype, op.flop, op.bytes, count, part, op.shape)


def stream(name: str, moved: Num, count: Num, part: str, pattern: str = "stream") -> Op:
    """A memory-bound kernel that moves ``moved`` bytes. ``pattern``: stream, norm (a reduction), strided (RoPE)."""
    return Op(name, f"memory_{pattern}", "bf16", 0.0, moved, count, part)
