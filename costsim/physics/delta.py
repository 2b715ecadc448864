"""Linear attention by the gated delta rule: a state a head in the place of keys and values. [gated-deltanet]

Each value head keeps S (key dim × value dim) and updates it with every token: S ← αS(I − βkkᵀ) + βvkᵀ, o = Sᵀq.
"""

from __future__ import annotations

from costsim.num import Num
from costsim.physics.layout import Layout, attention_dtype
from costsim.physics.op import Op, gemm, stream
from costsim.spec.model import LinearAttention, ModelSpec

_B16 = 2.0
#: bytes of a state's element: engines keep it in FP32, as the published config says
STATE_ELEMENT = 4.0
#: tokens that the prefill kernels take at a time, and how many kernels they are: gates summed, keys against keys, the
#: triangular solve, its products with keys and values, states chunk by chunk, the outputs [flash-linear-attention]
CHUNK, CHUNK_KERNELS = 64.0, 6.0
#: times that each head's queries, keys, values and their products pass through HBM between those kernels: what a table
#: of an H200 shows for many sequences (1.1 ms for 8 of 8,192 tokens, 8 heads) [aiconfigurator-core]
CHUNK_PASSES = 24.0


def state_bytes(model: ModelSpec) -> float:
    """State of one sequence in one linear-attention layer: S of every head, and the convolution's last tokens."""
    a = model.linear
    if a is None:
        return 0.0
    return a.value_heads * a.key_head_dim * a.value_head_dim * STATE_ELEMENT + (a.conv - 1) * a.channels * _B16


def decode_delta(model: ModelSpec, layout: Layout, requests: Num, queries: Num, count: Num) -> list[Op]:
    """Ops of one layer's linear attention when ``requests`` sequences each add ``queries`` tokens.

    Every state is read and written once a token: 2·requests·queries·state bytes, whatever the context. A kernel table
    of an H200 (8 heads, batch 64) has 16.3 µs for these 67 MB. [aiconfigurator-core]
    """
    a = model.linear
    assert a is not None
    tokens = requests * queries
    moved = 2.0 * tokens * a.value_heads / layout.tp * a.key_head_dim * a.value_head_dim * STATE_ELEMENT
    conv = tokens * a.channels / layout.tp * (2.0 + 2.0 * (a.conv - 1)) * _B16
    core = [stream("convolution", conv, count, "attention"), stream("delta rule", moved, count, "attention")]
    return _around(model, a, layout, tokens, core, count)


def prefill_delta(model: ModelSpec, layout: Layout, tokens: Num, count: Num) -> list[Op]:
    """Ops of one layer's linear attention on ``tokens`` prompt tokens, in chunks; linear in tokens.

    Memory-bound: CHUNK_PASSES of q, k, v, and a state a chunk, written and read. One long sequence alone takes up to
    twice this, chunk after chunk. [aiconfigurator-core]
    """
    a = model.linear
    assert a is not None
    heads = a.value_heads / layout.tp
    passes = CHUNK_PASSES * (2.0 * a.key_head_dim + a.value_head_dim) * _B16 / 3.0
    states = 2.0 * a.key_head_dim * a.value_head_dim * STATE_ELEMENT / CHUNK
    moved = tokens * heads * (passes + states)
    conv = 2.0 * tokens * a.channels / layout.tp * _B16
    core = [
        stream("convolution", conv, count, "attention"),
        stream("delta rule", moved / CHUNK_KERNELS, CHUNK_KERNELS * count, "attention"),
    ]
    return _around(model, a, layout, tokens, core, count)


def _around(model: ModelSpec, a: LinearAttention, layout: Layout, tokens: Num, core: list[Op], count: Num) -> list[Op]:
    """Projections before and after, and the gated norm of every head's output. The input norm is the caller's."""
    h, dtype = float(model.hidden), attention_dtype(model, layout.precision)
    values = a.value_heads * a.value_head_dim / layout.tp
    return [
        gemm("linear input", tokens, a.channels / layout.tp + values, h, dtype, count, "attention"),
        gemm("linear gates", tokens, 2.0 * a.value_heads / layout.tp, h, "bf16", count, "attention"),
        *core,
        stream("gated norm", 3.0 * _B16 * tokens * values, count, "attention", "norm"),
        gemm("linear output", tokens, h, values, dtype, count, "attention"),
    ]
