"""Kernel times of a trace as measurement rows, where the profiler recorded shapes (``record_shapes=True``).

An operator's row is the time of the kernels it launched; on a host without a device, its own span. Calls beside
communication or other kernels are left out, since a law of one kernel holds for a kernel alone. The median over
calls of one shape counts. Work is counted as :mod:`costsim.physics` counts it. Collectives give no rows: their
times hold waiting, and a trace does not say how ranks are spread over scale-up domains.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from costsim.calibration.measurement import SHAPE, TIME_S, Measurement
from costsim.errors import Malformed
from costsim.physics.op import ELEMENT_BYTES, Op, batched_gemm, gemm, stream
from costsim.trace.columns import Spans
from costsim.trace.intervals import overlap_of
from costsim.trace.read import read_trace
from costsim.trace.work import Work, matched, work_of

#: how the profiler writes number formats → ours
DTYPES = {
    "c10::BFloat16": "bf16", "c10::Half": "fp16", "float": "fp32", "c10::Float8_e4m3fn": "fp8",
    "c10::Float8_e4m3fnuz": "fp8", "c10::Float8_e5m2": "fp8", "signed char": "int8",
}  # fmt: skip
#: share of its time that a call may have run beside other work and still count as alone
ALONE = 0.05
Dims = list[list[int]]
Reader = Callable[[Dims, str, list[str]], Op | None]


@dataclass(frozen=True)
class Extracted:
    """Rows, and how many calls of known operators were left out because other work ran beside them."""

    rows: list[Measurement]
    calls: int
    disturbed: int


def measurements_from_trace(path: Path) -> list[Measurement]:
    """The rows of one trace file; empty where it holds no shapes of operators that a law is for."""
    return extracted(work_of(read_trace(path))).rows


def trace_rows(path: Path) -> list[Measurement]:
    """:func:`measurements_from_trace`, with BadInput where there is no row."""
    found = extracted(work_of(read_trace(path)))
    if not found.rows:
        lost = f" ({found.disturbed:,} calls ran beside other work)" if found.disturbed else ""
        raise Malformed(
            f"trace {path.name}: no operator with shapes that a law is for{lost}; profile with record_shapes=True"
        )
    return found.rows


def extracted(work: Work) -> Extracted:
    """Rows of a trace's work, in order of family and shape."""
    ops = _known_operators(work)
    time_s, beside_s = _device_times(work, ops) if work.on_device else _host_times(work, ops)
    alone = (time_s > 0) & (beside_s <= ALONE * time_s)
    times: dict[tuple[int, int], list[float]] = defaultdict(list)
    for place in np.flatnonzero(alone).tolist():
        times[int(ops.name[place]), int(ops.detail[place])].append(float(time_s[place]))
    by_shape: dict[tuple[Any, ...], tuple[Op, list[float]]] = {}
    for (name, detail), found in times.items():
        op = operation(work.trace.names[name], work.trace.details[detail])
        if op is not None:
            shape = {key: float(np.asarray(value)) for key, value in op.shape.items()}
            key = (op.family, op.dtype, float(np.asarray(op.bytes)), *sorted(shape.items()))
            by_shape.setdefault(key, (op, []))[1].extend(found)
    source = f"trace {work.trace.file}"
    rows = [_row(op, float(np.median(found)), source) for _, (op, found) in sorted(by_shape.items(), key=_order)]
    return Extracted(
        [row for row in rows if row is not None], int(np.sum(time_s > 0)), int(np.sum((time_s > 0) & ~alone))
    )


def _order(item: tuple[tuple[Any, ...], Any]) -> tuple[str, ...]:
    return tuple(map(str, item[0]))


def _known_operators(work: Work) -> Spans:
    known = np.array([name in READERS for name in work.trace.names])
    ops = work.trace.ops
    return ops.where(known[ops.name] & (ops.detail >= 0))


def _device_times(work: Work, ops: Spans) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Seconds of the kernels behind each operator, and how much of it other streams were busy beside them."""
    spans = work.spans
    of = matched(spans.external, ops.external)
    time_s, beside_s = np.zeros(len(ops)), np.zeros(len(ops))
    tracks = np.unique(spans.track).tolist()
    for track in tracks:
        on = (spans.track == track) & (of >= 0)
        others = work.covered(spans.track != track)
        np.add.at(time_s, of[on], spans.time_s[on])
        np.add.at(beside_s, of[on], overlap_of(spans.start_s[on], spans.end_s[on], others))
    return time_s, beside_s


def _host_times(work: Work, ops: Spans) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Seconds of each operator, and how much of it other threads computed or communicated."""
    beside_s = np.zeros(len(ops))
    for track in np.unique(ops.track).tolist():
        on = ops.track == track
        beside_s[on] = overlap_of(ops.start_s[on], ops.end_s[on], work.covered(work.spans.track != track))
    return ops.time_s, beside_s


def _row(op: Op, time_s: float, source: str) -> Measurement | None:
    shape = {key: float(np.asarray(value)) for key, value in op.shape.items()}
    if not TIME_S[0] <= time_s <= TIME_S[1] or any(not SHAPE[0] <= value <= SHAPE[1] for value in shape.values()):
        return None
    flop, moved = float(np.asarray(op.flop)), float(np.asarray(op.bytes))
    return Measurement(op.family, op.dtype, time_s, source, flop, moved, shape)


def operation(name: str, detail: Any) -> Op | None:
    """The work of one recorded operator, or None where its shapes are missing or are none that a law is for."""
    if not isinstance(detail, tuple) or len(detail) != 3:
        return None
    dims, types, concrete = (value if isinstance(value, list) else [] for value in detail)
    dtype = DTYPES.get(types[0]) if types and isinstance(types[0], str) else None
    sizes = [size for size in dims if isinstance(size, list)]
    whole = all(type(n) is int and 0 < n < 2**40 for size in sizes for n in size)
    if dtype is None or not whole or len(sizes) != len(dims) or name not in READERS:
        return None
    try:
        return READERS[name](sizes, dtype, [str(value) for value in concrete])
    except (IndexError, ValueError):  # fewer inputs or dimensions than the operator has: not the one we know
        return None


def _matmul(first: int) -> Reader:
    """[m, k] · [k, n], or with a batch in front [b, m, k] · [b, k, n]; ``first`` is the place of the left matrix."""

    def read(dims: Dims, dtype: str, concrete: list[str]) -> Op | None:
        del concrete
        left, right = dims[first], dims[first + 1]
        if left[-1] != right[-2] or left[:-2] != right[:-2]:
            return None
        (*batch, m, k), n = (float(size) for size in left), float(right[-1])
        if not batch:
            return gemm("", m, n, k, dtype, 1.0, "", out=_out(dtype))
        groups = math.prod(batch)
        op = batched_gemm("", m, n, k, groups, dtype, 1.0, "")  # counts a BF16 result
        return replace(op, bytes=op.bytes + groups * m * n * (ELEMENT_BYTES[_out(dtype)] - ELEMENT_BYTES["bf16"]))

    return read


def _linear(dims: Dims, dtype: str, concrete: list[str]) -> Op | None:
    """[..., k] times a weight [n, k]."""
    del concrete
    (*rows, k), (n, inner) = dims[0], dims[1]
    return None if k != inner else gemm("", float(math.prod(rows)), float(n), float(k), dtype, 1.0, "", out=_out(dtype))


def _out(dtype: str) -> str:
    """The number format of a product's result: its own, or BF16 after 8-bit factors."""
    return "bf16" if dtype in ("fp8", "int8") else dtype


def _attention(causal_at: int) -> Reader:
    """Query, key and value [batch, heads, tokens, width]; whether causal stands among the inputs at ``causal_at``."""

    def read(dims: Dims, dtype: str, concrete: list[str]) -> Op | None:
        (batch, heads, queries, width), (_, kv_heads, context, _) = dims[0], dims[1]
        value_width = dims[2][3]
        causal = concrete[causal_at] == "True"
        decode = queries == 1
        if not (causal or decode):  # the laws count causal attention
            return None
        seen = queries * (context - queries) + queries * (queries + 1) / 2 if causal else float(context)
        flop = 2.0 * batch * heads * seen * (width + value_width)
        moved = ELEMENT_BYTES[dtype] * batch * (queries * heads + context * kv_heads) * (width + value_width)
        shape = {"queries": queries, "context": context, "heads": heads, "kv_heads": kv_heads, "batch": batch,
                 "head_dim": width}  # fmt: skip
        family = "attention_decode" if decode else "attention_prefill"
        return Op("", family, dtype, flop, moved, 1.0, "", {key: float(value) for key, value in shape.items()})

    return read


def _streaming(pattern: str, operands: int) -> Reader:
    """``operands`` tensors read or written of the size of the first, all in its number format."""

    def read(dims: Dims, dtype: str, concrete: list[str]) -> Op | None:
        del concrete
        if any(size and size != dims[0] for size in dims[1 : operands - 1]):
            return None
        op = stream("", operands * math.prod(dims[0]) * ELEMENT_BYTES[dtype], 1.0, "", pattern)
        return op if dims[0] else None

    return read


READERS: dict[str, Reader] = {
    "aten::mm": _matmul(0), "aten::bmm": _matmul(0), "aten::addmm": _matmul(1), "aten::baddbmm": _matmul(1),
    "aten::_scaled_mm": _matmul(0), "aten::mkldnn_linear": _linear, "mkldnn::_linear_pointwise": _linear,
    "aten::_scaled_dot_product_flash_attention": _attention(4),
    "aten::_scaled_dot_product_flash_attention_for_cpu": _attention(4),
    "aten::_scaled_dot_product_efficient_attention": _attention(6),
    "aten::_scaled_dot_product_cudnn_attention": _attention(6),
    "aten::add": _streaming("stream", 3), "aten::mul": _streaming("stream", 3),
    "aten::silu": _streaming("stream", 2), "aten::gelu": _streaming("stream", 2),
    "aten::_fused_rms_norm": _streaming("norm", 2), "aten::native_layer_norm": _streaming("norm", 2),
}  # fmt: skip
