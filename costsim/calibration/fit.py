"""Fit a law to measurements, and say honestly how far off it is on shapes it has not seen.

Parameters are fitted in logarithms by robust least squares on log(measured/predicted), with a weak pull
towards a prior so that what few points do not determine stays at the donor's value. Held-out residuals
come from five folds in which whole shape classes are left out together.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from costsim.calibration import processor
from costsim.calibration.measurement import SHAPE_COLUMNS, WIRE_COLUMNS, Measurement
from costsim.calibration.residual import QUANTUM, Residual, fit_residual
from costsim.num import Num
from costsim.timing.device import Device
from costsim.timing.duration import line_seconds
from costsim.timing.laws import KINDS, AnyLaw, Attend, Experts, Hop, Stream, Supply, Tile, Tiling, Work, blend, law_from

Array = NDArray[np.float64]
FOLDS = 5
#: rows a law of a handful of parameters is fitted on (an even sample), and rows a correction grid needs
LAW_ROWS, RESIDUAL_ROWS = 4000, 60
#: octaves between the nodes of the correction grid, by family
RESIDUAL_STEPS: dict[str, dict[str, float]] = {
    "gemm": {"m": 0.5, "n": 1.0, "k": 1.0},
    "batched_gemm": {"m": 1.0, "n": 1.0, "groups": 1.0},
    "moe": {"m": 1.0, "n": 1.0, "k": 1.0, "groups": 1.0, "skew": 1.0},
    "mla_decode": {"batch": 1.0, "context": 1.0, "heads": 1.0},
    "mla_prefill": {"batch": 1.0, "context": 1.0, "heads": 1.0},
    "attention_decode": {"batch*kv_heads": 1.0, "context": 1.0, "heads/kv_heads": 1.0, "head_dim": 1.0},
    "attention_prefill": {"batch*heads": 1.0, "context": 1.0, "heads/kv_heads": 2.0, "head_dim": 1.0},
    "all_reduce": {"up_bytes": 1.0, "ranks": 1.0},
    "all_gather": {"up_bytes": 1.0, "ranks": 1.0},
    "reduce_scatter": {"up_bytes": 1.0, "ranks": 1.0},
    "all_to_all": {"up_bytes": 1.0, "ranks": 1.0},
}
#: stiffness of the grid: dense GEMM tables are smoothed more than sparse ones
SMOOTH = {"gemm": 0.3}
#: strength of the prior: one unit of log-parameter costs as much as one residual of this size
PRIOR_WEIGHT = 0.02
#: residual beyond which a point counts linearly, not squared
ROBUST = 0.1

#: starting values and prior of each law: a well-written kernel library on a large chip
PRIOR: dict[str, AnyLaw] = {
    "tile": Tile(4e-6, 0.75, 90.0, 8e-10, 0.85, 0.3),
    "tiling": Tiling(4e-6, 0.75, 90.0, 8e-10, 0.85, 0.5, 20.0),
    "experts": Experts(8e-6, 0.65, 50.0, 4e-10, 0.85, 0.3),
    "attend": Attend(10e-6, 0.6, 300.0, 0.85),
    "stream": Stream(2.5e-6, 0.78),
    "hop": Hop(10e-6, 0.7, 0.9, 1e-8, 1e-8),
    "all_reduce": Hop(8e-6, 0.7, 0.9, 1e-6, 35e-6),
}
PRIOR |= processor.PRIOR
_BOUNDS: dict[str, tuple[float, float]] = {
    "overhead_s": (1e-7, 2e-4),
    "efficiency": (0.02, 1.0),
    "memory_efficiency": (0.2, 0.95),
    "up_efficiency": (0.02, 1.0),
    "out_efficiency": (0.02, 1.0),
    "k0": (1.0, 3000.0),
    "s0": (1.0, 4000.0),
    "k_latency_s": (1e-11, 5e-9),
    "quantisation": (1e-3, 1.0),
    "edge": (0.1, 300.0),
    "per_doubling_s": (1e-9, 2e-5),
    "out_overhead_s": (1e-9, 2e-4),
} | processor.BOUNDS
#: a GEMM or attention kernel whose memory term needs less than half the bandwidth hides compute in it
_NARROWER: dict[str, dict[str, tuple[float, float]]] = {
    "tile": {"memory_efficiency": (0.5, 0.95)},
    "experts": {"memory_efficiency": (0.5, 0.95)},
    "tiling": {"memory_efficiency": (0.5, 0.95)},
    "attend": {"memory_efficiency": (0.5, 0.95)},
    "stream": {"overhead_s": (1e-7, 5e-6)},
} | processor.NARROWER


#: collectives; with ``_ll`` the low-latency kernels of expert parallelism
WIRES = (
    "all_reduce", "all_gather", "reduce_scatter", "all_to_all", "p2p", "dispatch", "combine", "dispatch_ll",
    "combine_ll",
)  # fmt: skip


def law_kind(family: str, dtype: str = "") -> str:
    """Which law a family of ops follows; block-scaled FP8 GEMMs choose their tiles.

    Raises ValueError for a family that no law is for.
    """
    if family == "gemm" and dtype == "fp8":
        return "tiling"
    if family.startswith("moe"):
        return "experts"
    if "gemm" in family:
        return "tile"
    if family.startswith(("mla_", "attention_")):
        return "attend"
    if family.startswith("memory_"):
        return "stream"
    if family in WIRES:
        return "hop"
    raise ValueError(
        f"unknown family {family!r}; known: gemm, batched_gemm, moe, moe_normal, moe_masked, mla_prefill, mla_decode, "
        f"attention_prefill, attention_decode, memory_stream, {', '.join(WIRES)}"
    )


@dataclass(frozen=True)
class Fit:
    """A fitted law with its held-out residuals, log(measured/predicted)."""

    law: AnyLaw
    points: int
    residuals: Array
    rejected: int
    ranges: dict[str, tuple[float, float]]
    sources: tuple[str, ...]
    residual: Residual | None = None

    @property
    def median_ape(self) -> float:
        return float(np.median(np.abs(np.expm1(-self.residuals))))

    @property
    def p90_ape(self) -> float:
        return float(np.quantile(np.abs(np.expm1(-self.residuals)), 0.9))

    @property
    def band(self) -> tuple[float, float]:
        """P10 and P90 of measured/predicted."""
        low, high = np.quantile(self.residuals, (0.1, 0.9))
        return float(np.exp(min(low, 0.0))), float(np.exp(max(high, 0.0)))


@dataclass(frozen=True)
class _Table:
    """Measurements of one family as arrays."""

    time_s: Array
    flop: Array
    bytes: Array
    shape: dict[str, Array]
    wire: dict[str, Array]

    @staticmethod
    def of(rows: Sequence[Measurement]) -> _Table:
        def column(get: list[dict[str, float]], names: Sequence[str]) -> dict[str, Array]:
            return {n: np.array([d[n] for d in get]) for n in names if all(n in d for d in get)}

        return _Table(
            np.array([r.time_s for r in rows]),
            np.array([r.flop for r in rows]),
            np.array([r.bytes for r in rows]),
            column([r.shape for r in rows], SHAPE_COLUMNS),
            column([r.wire for r in rows], WIRE_COLUMNS),
        )

    @property
    def coordinates(self) -> dict[str, Array]:
        """What a correction grid may have as axes."""
        return self.shape | {name: self.wire[name] for name in ("up_bytes", "ranks") if name in self.wire}

    def take(self, keep: NDArray[np.bool_]) -> _Table:
        def cut(columns: dict[str, Array]) -> dict[str, Array]:
            return {name: values[keep] for name, values in columns.items()}

        return _Table(self.time_s[keep], self.flop[keep], self.bytes[keep], cut(self.shape), cut(self.wire))


@dataclass(frozen=True)
class _Wires:
    """Collectives as arrays, in the form timing takes."""

    kind: str
    up_bytes: Array
    out_bytes: Array
    ranks: Array
    domain: Array


def _wire_seconds(family: str, table: _Table, device: Device) -> tuple[Num, Num]:
    return line_seconds(_Wires(family, **table.wire), device)


def predict(law: AnyLaw, family: str, dtype: str, table: _Table, device: Device) -> Array:
    """Seconds of every row."""
    if isinstance(law, Hop):
        up_s, out_s = _wire_seconds(family, table, device)
        return np.asarray(law.seconds(up_s, out_s, table.wire["ranks"]))
    supply = Supply(device.peaks.get(dtype, math.inf), device.bandwidth, device.cores)
    return np.asarray(blend(*law.terms(Work(table.flop, table.bytes, table.shape), supply)))


def light(family: str, dtype: str, table: _Table, device: Device) -> Array:
    """The least seconds each row can take on this datasheet."""
    if table.wire:
        return np.maximum(*_wire_seconds(family, table, device))
    return np.maximum(table.flop / device.peaks.get(dtype, math.inf), table.bytes / device.bandwidth)


def _solve(kind: str, family: str, dtype: str, table: _Table, device: Device, prior: AnyLaw) -> AnyLaw:
    from scipy.optimize import least_squares

    names = [f.name for f in fields(KINDS[kind])]
    bounds = _BOUNDS | _NARROWER.get(kind, {})
    low, high = np.log([bounds[n] for n in names]).T
    start = np.clip(np.log([max(getattr(prior, n), 1e-12) for n in names]), low + 1e-6, high - 1e-6)

    def law_of(x: Array) -> AnyLaw:
        return law_from(kind, dict(zip(names, np.exp(x).tolist(), strict=True)))

    def miss(x: Array) -> Array:
        residual = np.log(table.time_s / predict(law_of(x), family, dtype, table, device))
        soft = ROBUST * np.sign(residual) * np.sqrt(2 * (np.sqrt(1 + (residual / ROBUST) ** 2) - 1))
        return np.concatenate([soft, PRIOR_WEIGHT * (x - start)])

    return law_of(least_squares(miss, start, bounds=(low, high)).x)


def fit(family: str, dtype: str, rows: Sequence[Measurement], device: Device, prior: AnyLaw | None = None) -> Fit:
    """Fit the family's law to ``rows`` on ``device``; rows faster than light are rejected and counted.

    Raises ValueError when nothing is left to fit, KeyError for a column that the law needs and a row leaves empty.
    """
    kind = law_kind(family, dtype)
    kind = processor.KIND.get(kind, kind) if device.processor else kind
    prior = prior or PRIOR.get(family) or PRIOR[kind]
    table = _Table.of(rows)
    _check(kind, family, dtype, table, device)
    sane = table.time_s >= light(family, dtype, table, device)
    kept = [row for row, ok in zip(rows, sane, strict=True) if ok]
    if not kept:
        raise ValueError(f"{family}/{dtype}: all {len(rows)} rows are faster than the datasheet of {device.id} allows")
    table = table.take(sane)
    steps = residual_steps(family, table)
    law, residual = _learn(kind, family, dtype, table, device, prior, steps)
    shape = {n: (float(v.min()), float(v.max())) for n, v in table.shape.items()}
    sources = tuple(sorted({row.source for row in kept}))
    held = _held_out(kind, family, dtype, kept, table, device, prior, steps)
    return Fit(law, len(kept), held, len(rows) - len(kept), shape, sources, residual)


def _check(kind: str, family: str, dtype: str, table: _Table, device: Device) -> None:
    """What the law of this kind cannot do without."""
    if kind == "hop":
        for name in WIRE_COLUMNS:
            if name not in table.wire:
                raise KeyError(name)
    elif kind not in ("stream", "cached"):
        if dtype not in device.peaks:
            raise ValueError(f"{family}/{dtype}: the datasheet of {device.id} states no {dtype} peak")
        if not table.flop.all():
            raise KeyError("flop")
    if kind != "hop" and not table.bytes.all():
        raise KeyError("bytes")


def residual_steps(family: str, table: _Table) -> dict[str, float]:
    """Axes of the correction grid where there are enough measurements to carry one; else none."""
    steps = RESIDUAL_STEPS.get(family, {})
    if len(table.time_s) < RESIDUAL_ROWS:
        return {}
    known = table.coordinates
    return {name: step for name, step in steps.items() if all(part in known for part in re.split(r"[*/]", name))}


def _learn(
    kind: str, family: str, dtype: str, table: _Table, device: Device, prior: AnyLaw, steps: dict[str, float]
) -> tuple[AnyLaw, Residual | None]:
    """The law on an even sample of the rows, and the grid of what it leaves over on all of them."""
    stride = -(-len(table.time_s) // LAW_ROWS)
    sample = table.take(np.arange(len(table.time_s)) % stride == 0)
    law = _solve(kind, family, dtype, sample, device, prior)
    if not steps:
        return law, None
    left_over = np.log(table.time_s / predict(law, family, dtype, table, device))
    grid = fit_residual(table.coordinates, left_over, steps, SMOOTH.get(family, 0.1))
    return law, _rising(grid, law, family, device) if isinstance(law, Hop) else grid


def _rising(grid: Residual, law: Hop, family: str, device: Device) -> Residual:
    """The grid without dips: more bytes never take less time, as a library that switches algorithms late would show.

    Between nodes log time has slope ≥ (the law's at the lower node) + (the grid's), so the grid may fall from
    one node to the next by no more than the law rises at the lower one.
    """
    size, ranks = (2.0 ** (axis.start + axis.step * np.arange(axis.count)) for axis in grid.axes)
    sent, among = np.meshgrid(size, ranks, indexing="ij")

    def bare(scale: float) -> Array:
        wires = _Wires(family, sent * scale, np.zeros_like(sent), among, np.maximum(among, 8.0))
        seconds: Array = np.log(np.asarray(law.seconds(*line_seconds(wires, device), among)))
        return seconds

    slope = (bare(1.01) - bare(1.0)) / math.log(1.01)
    most = np.floor(slope * math.log(2.0) * grid.axes[0].step / QUANTUM).astype(int)
    values = grid.values.astype(int)
    for i in range(1, len(values)):
        values[i] = np.maximum(values[i], values[i - 1] - most[i - 1])
    return replace(grid, values=np.clip(values, -127, 127).astype(np.int8))


def _held_out(
    kind: str,
    family: str,
    dtype: str,
    rows: Sequence[Measurement],
    table: _Table,
    device: Device,
    prior: AnyLaw,
    steps: dict[str, float],
) -> Array:
    """log(measured/predicted) of every row, predicted by a fit that never saw its shape class."""
    classes = sorted({row.shape_class for row in rows})
    fold_of = {c: i % FOLDS for i, c in enumerate(classes)}
    fold = np.array([fold_of[row.shape_class] for row in rows])
    out = np.empty(len(rows))
    for i in range(FOLDS):
        left = fold == i
        if not left.any():
            continue
        rest = table.take(~left)
        held = table.take(left)
        law, residual = _learn(kind, family, dtype, rest, device, prior, steps) if (~left).any() else (prior, None)
        out[left] = np.log(held.time_s / predict(law, family, dtype, held, device))
        if residual is not None:
            out[left] -= residual.log(held.coordinates)
    return out
