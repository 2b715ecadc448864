"""What a law leaves over, as a small regular grid: log(measured/law) in log2 of a few shape coordinates.

A grid of 2–4 axes holds one signed byte a node, in steps of 1 %. Between nodes it is multilinear; nodes
without data are filled by smoothing (least squares with a penalty on differences between neighbours), and
fade to zero where no measurement is near. Outside the box the correction fades over one octave, so that
far from the measured shapes the bare law answers; only along message sizes it stays what it was at the edge.
"""

from __future__ import annotations

import base64
import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from costsim.errors import Malformed
from costsim.num import Num

Array = NDArray[np.float64]
#: one step of a stored value, in log
QUANTUM = 0.01
#: most nodes of a grid: 2²⁰ would be a table, not a correction
MAX_NODES = 70_000
#: distance to the nearest measured node, in octaves, up to which a node keeps its value, and where it is zero
KEEP, GONE = 2.0, 3.0
_CHUNK = 16_384


@dataclass(frozen=True)
class Axis:
    """``name`` is a shape column or a product and quotient of some (``batch*heads``, ``heads/kv_heads``).

    Nodes lie at log2 = ``start`` + i·``step``, i < ``count``.
    """

    name: str
    start: float
    step: float
    count: int

    def position(self, shape: Mapping[str, Num]) -> Array:
        """Where the shapes lie on the axis, in nodes; beyond the ends where they are outside."""
        top, _, bottom = self.name.partition("/")
        value: Num = 1.0
        for part in top.split("*"):
            value = value * np.asarray(shape[part], dtype=float)
        if bottom:
            value = value / np.asarray(shape[bottom], dtype=float)
        where: Array = (np.log2(np.maximum(value, 1e-9)) - self.start) * (1.0 / self.step)
        # A sweep may hold broken plans; they are refused elsewhere and must only not crash here.
        return np.nan_to_num(where, nan=0.0, posinf=1e6, neginf=-1e6)


@dataclass(frozen=True)
class Residual:
    """A correction: measured/law ≈ exp(grid at the shape)."""

    axes: tuple[Axis, ...]
    values: NDArray[np.int8]

    def log(self, shape: Mapping[str, Num]) -> Num:
        """log(measured/law) expected at the shapes, which broadcast against each other."""
        try:
            wide = np.broadcast_arrays(*(axis.position(shape) for axis in self.axes))
        except KeyError as error:
            raise Malformed(
                f"residual: a kernel without {str(error.args[0])[:40]!r} cannot be corrected by it"
            ) from None
        flat = [np.ascontiguousarray(w).ravel() for w in wide]
        grid = np.ascontiguousarray(self.values, dtype=np.float32).ravel()
        out = np.empty(flat[0].size)
        for low in range(0, out.size, _CHUNK):
            out[low : low + _CHUNK] = self._chunk([f[low : low + _CHUNK] for f in flat], grid)
        return out.reshape(wide[0].shape)

    def factor(self, shape: Mapping[str, Num]) -> Num:
        """What to multiply the law's seconds by."""
        return np.exp(self.log(shape))

    def _chunk(self, positions: list[Array], grid: NDArray[np.float32]) -> Array:
        """Multilinear interpolation: all corners gathered, then blended axis by axis, the last first."""
        base = np.zeros(positions[0].size, dtype=np.int64)
        fractions: list[NDArray[np.float32]] = []
        strides: list[int] = []
        fade: Any = QUANTUM
        stride = len(grid)
        for axis, position in zip(self.axes, positions, strict=True):
            stride //= axis.count
            inside = np.clip(position, 0.0, axis.count - 1.0)
            # A message below the smallest measured one is the same latency, one above the largest the same bandwidth;
            # anything else fades both ways.
            beyond = np.abs(position - inside)
            if axis.name != "up_bytes" and beyond.any():
                fade = fade * np.clip(1.0 - beyond * axis.step, 0.0, 1.0)
            node = np.minimum(inside.astype(np.int64), max(axis.count - 2, 0))
            base += node * stride
            fractions.append((inside - node).astype(np.float32))
            strides.append(stride if axis.count > 1 else 0)
        corners = [base]
        for step in strides:
            corners = [corner + offset for corner in corners for offset in (0, step)]
        parts = [grid[corner] for corner in corners]
        for fraction in reversed(fractions):
            parts = [a + (b - a) * fraction for a, b in zip(parts[::2], parts[1::2], strict=True)]
        result: Array = parts[0] * fade
        return result

    def as_json(self) -> dict[str, Any]:
        """Plain data for a calibration file; the values are deflated and in base 64."""
        packed = base64.b64encode(zlib.compress(self.values.tobytes(), 9)).decode("ascii")
        return {"axes": [[a.name, a.start, a.step, a.count] for a in self.axes], "values": packed}


def from_json(data: Mapping[str, Any]) -> Residual:
    """The residual of :meth:`Residual.as_json`; BadInput where it is not one."""
    try:
        axes = tuple(Axis(str(n), float(start), float(step), int(count)) for n, start, step, count in data["axes"])
        nodes = math.prod(axis.count for axis in axes)
        if not 0 < nodes <= MAX_NODES or any(axis.step <= 0 or axis.count < 1 for axis in axes):
            raise ValueError(f"{nodes} nodes")
        unpack = zlib.decompressobj()
        raw = unpack.decompress(base64.b64decode(data["values"], validate=True), nodes + 1)
        values = np.frombuffer(raw, dtype=np.int8).reshape([axis.count for axis in axes])
    except (KeyError, TypeError, ValueError, OverflowError, zlib.error) as error:
        raise Malformed(f"residual: not a stored grid ({type(error).__name__}: {error})") from None
    return Residual(axes, values)


def axes_for(shape: Mapping[str, Array], steps: Mapping[str, float]) -> tuple[Axis, ...]:
    """Axes that cover the measured shapes; ``steps`` maps axis names to octaves between nodes."""
    axes = []
    for name, step in steps.items():
        where = Axis(name, 0.0, step, 1).position(shape)
        first, last = math.floor(float(where.min()) + 1e-9), math.ceil(float(where.max()) - 1e-9)
        axes.append(Axis(name, first * step, step, last - first + 1))
    return tuple(axes)


def fit_residual(
    shape: Mapping[str, Array], residuals: Array, steps: Mapping[str, float], smooth: float = 0.3, limit: float = 1.2
) -> Residual:
    """The grid closest to ``residuals`` (log measured/law) with a penalty ``smooth`` on differences of neighbours.

    Robust: rows far from a first fit count less. A difference is weighted by 1/step, so that a fine axis is
    no stiffer than a coarse one. Raises BadInput for a grid above ``MAX_NODES``.
    """
    from scipy.sparse import csr_array
    from scipy.sparse.linalg import lsmr

    axes = axes_for(shape, steps)
    counts = [axis.count for axis in axes]
    nodes = math.prod(counts)
    if nodes > MAX_NODES:
        raise Malformed(f"residual grid of {nodes} nodes over {', '.join(steps)}: at most {MAX_NODES}; use wider steps")
    rows, columns, weights = _corners(axes, shape, len(residuals))
    design = csr_array((weights, (rows, columns)), shape=(len(residuals), nodes))
    penalty = _differences(axes)
    # A row's share falls with the crowd around it, so that the penalty means the same in dense tables.
    target = np.clip(residuals, -limit, limit)
    trust = np.ones(len(residuals))
    solved = np.zeros(nodes)
    for _ in range(3):
        matrix = _stack(design, trust, penalty, smooth)
        solved = lsmr(matrix, np.concatenate([target * trust, np.zeros(penalty.shape[0])]), maxiter=300, x0=solved)[0]
        trust = 1.0 / np.sqrt(1.0 + (np.abs(target - design @ solved) / 0.1))
    near = _nearness(axes, np.unique(columns[weights > 0]))
    values = np.rint(np.clip(solved.reshape(counts) * near / QUANTUM, -127, 127)).astype(np.int8)
    return Residual(axes, values)


def _corners(axes: Sequence[Axis], shape: Mapping[str, Array], count: int) -> tuple[Any, Any, Array]:
    """(row, node, weight) of every corner of the cell each measurement lies in."""
    node = np.zeros((1, count), dtype=np.int64)
    weight = np.ones((1, count))
    stride = math.prod(axis.count for axis in axes)
    for axis in axes:
        stride //= axis.count
        inside = np.broadcast_to(np.clip(axis.position(shape), 0.0, axis.count - 1.0), count)
        low = np.minimum(inside.astype(np.int64), max(axis.count - 2, 0))
        fraction = inside - low
        step = stride if axis.count > 1 else 0
        node = np.concatenate([node + low * stride, node + low * stride + step])
        weight = np.concatenate([weight * (1.0 - fraction), weight * fraction])
    rows = np.broadcast_to(np.arange(count), node.shape)
    return rows.ravel(), node.ravel(), weight.ravel()


def _differences(axes: Sequence[Axis]) -> Any:
    """One row for each pair of neighbours along each axis, and a faint pull to zero."""
    from scipy.sparse import diags_array, eye_array, kron, vstack

    counts = [axis.count for axis in axes]
    blocks = [0.05 * eye_array(math.prod(counts))]
    for i, axis in enumerate(axes):
        if axis.count < 2:
            continue
        line = diags_array([-1.0, 1.0], offsets=[0, 1], shape=(axis.count - 1, axis.count)) / axis.step
        before, after = math.prod(counts[:i]), math.prod(counts[i + 1 :])
        blocks.append(kron(kron(eye_array(before), line), eye_array(after)))
    return vstack(blocks).tocsr()


def _stack(design: Any, trust: Array, penalty: Any, smooth: float) -> Any:
    from scipy.sparse import diags_array, vstack

    return vstack([diags_array(trust) @ design, smooth * penalty]).tocsr()


def _nearness(axes: Sequence[Axis], measured: Any) -> Array:
    """1 within ``KEEP`` octaves of a node that measurements touch, falling to 0 at ``GONE``."""
    from scipy.ndimage import distance_transform_edt

    empty = np.ones([axis.count for axis in axes], dtype=bool)
    empty.ravel()[measured] = False
    distance = distance_transform_edt(empty, sampling=[axis.step for axis in axes])
    near: Array = np.clip((GONE - distance) / (GONE - KEEP), 0.0, 1.0)
    return near
