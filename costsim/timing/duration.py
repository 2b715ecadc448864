"""Seconds of ops and wires on a device, what binds them, and how well each is known."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from costsim.num import Num
from costsim.timing.device import Device, FittedLaw, worse, worst
from costsim.timing.laws import Hop, Supply, Work, blend


class OpLike(Protocol):
    """What timing needs of an op; physics.op.Op fits."""

    @property
    def family(self) -> str: ...
    @property
    def dtype(self) -> str: ...
    @property
    def flop(self) -> Num: ...
    @property
    def bytes(self) -> Num: ...
    @property
    def shape(self) -> Mapping[str, Num]: ...


class WireLike(Protocol):
    """What timing needs of a collective; physics.op.Wire fits."""

    @property
    def kind(self) -> str: ...
    @property
    def up_bytes(self) -> Num: ...
    @property
    def out_bytes(self) -> Num: ...
    @property
    def ranks(self) -> Num: ...
    @property
    def domain(self) -> Num: ...


@dataclass(frozen=True, slots=True)
class Duration:
    """Seconds of one execution with the three competing terms and the evidence behind them."""

    time_s: Num
    fixed_s: Num
    compute_s: Num
    memory_s: Num
    fitted: FittedLaw
    grade: str

    def stretched(self, factor: float) -> Duration:
        """The same kernel, ``factor`` times as long."""
        return self if factor == 1.0 else replace(self, time_s=self.time_s * factor)

    @property
    def bound(self) -> str:
        """Which term dominates (for scalars)."""
        terms = {"compute": self.compute_s, "memory": self.memory_s, "latency": self.fixed_s}
        return max(terms, key=lambda name: float(np.max(terms[name])))


def time_op(op: OpLike, device: Device, cores_share: Num = 1.0) -> Duration:
    """Seconds of one execution of ``op``; never below the roofline of the device."""
    fitted = device.law(op.family, op.dtype)
    supply = Supply(device.peaks.get(op.dtype, math.inf), device.bandwidth, device.cores, cores_share)
    law = fitted.law
    assert not isinstance(law, Hop)
    fixed, compute, memory = law.terms(Work(op.flop, op.bytes, op.shape), supply)
    seconds = blend(fixed, compute, memory)
    if fitted.correction is not None:
        # Measured kernels decide inside their range, but never against the datasheet.
        seconds = np.maximum(seconds * fitted.correction.factor(op.shape), light_s(op, device))
    return Duration(seconds, fixed, compute, memory, fitted, fitted.grade)


def grade_at(op: OpLike, fitted: FittedLaw) -> str:
    """The law's grade, one lower where the op's shape (scalars) lies outside the measured range."""
    for name, (low, high) in (fitted.ranges or {}).items():
        value = op.shape.get(name)
        if value is not None and not (0.5 * low <= float(np.max(value)) <= 2.0 * high):
            return worse(fitted.grade) if fitted.grade == "A" else fitted.grade
    return fitted.grade


def light_s(op: OpLike, device: Device) -> Num:
    """Speed of light: max(flop/peak, bytes/bandwidth), the least a kernel can take."""
    peak = device.peaks.get(op.dtype, math.inf)
    return np.maximum(np.asarray(op.flop) / peak, np.asarray(op.bytes) / device.bandwidth)


def time_wire(wire: WireLike, device: Device) -> Duration:
    """Seconds of one collective alone on the fabric.

    all_reduce: inside a domain 2(n−1)/n·B at scale-up rate; across nodes, each rank's 1/domain share also
    makes 2(N−1)/N trips over scale-out, by another kernel (an engine's own stores into its peers' memory, which
    reaches no other node), whose law is ``all_reduce_nodes`` where the device has it. all_gather/reduce_scatter: half
    of it. dispatch/combine: bytes as given, both fabrics at once. p2p: scale-out when the ranks leave the domain.
    """
    fitted = device.law(wire.kind, "bytes")
    law = fitted.law
    assert isinstance(law, Hop)
    up_s, out_s = line_seconds(wire, device)
    fixed, line_s = law.fixed(out_s, wire.ranks), np.maximum(up_s, out_s)
    seconds = law.seconds(up_s, out_s, wire.ranks)
    if fitted.correction is not None:
        shape = {"up_bytes": wire.up_bytes, "ranks": wire.ranks}
        seconds = np.maximum(seconds * fitted.correction.factor(shape), line_s)
    inside = Duration(seconds, fixed, 0.0, line_s, fitted, fitted.grade)
    return _between_nodes(wire, device, inside, up_s, out_s) if wire.kind == "all_reduce" else inside


def _between_nodes(wire: WireLike, device: Device, inside: Duration, up_s: Num, out_s: Num) -> Duration:
    """The same all-reduce by the kernel that leaves the node, wherever its ranks do."""
    leaves = np.asarray(np.asarray(wire.ranks, dtype=float) > wire.domain)
    fitted = device.laws.get(f"{wire.kind}_nodes/bytes") if bool(np.any(leaves)) else None
    if fitted is None:
        return inside
    law = fitted.law
    assert isinstance(law, Hop)
    seconds = np.maximum(law.seconds(up_s, out_s, wire.ranks), inside.memory_s)
    return Duration(
        np.where(leaves, seconds, inside.time_s), np.where(leaves, law.fixed(out_s, wire.ranks), inside.fixed_s),
        0.0, inside.memory_s, fitted, fitted.grade,
    )  # fmt: skip


def line_seconds(wire: WireLike, device: Device) -> tuple[Num, Num]:
    """Seconds at line rate that one rank sends inside its domain and on the scale-out network."""
    nodes = np.maximum(np.asarray(wire.ranks, dtype=float) / wire.domain, 1.0)
    inside = np.minimum(wire.ranks, wire.domain)
    up_bytes, out_bytes = np.asarray(wire.up_bytes, dtype=float), np.asarray(wire.out_bytes, dtype=float)
    if wire.kind in ("all_reduce", "all_gather", "reduce_scatter"):
        ring = (inside - 1.0) / inside
        if wire.kind == "all_reduce":
            # A switch that adds needs each byte sent once, plus this rank's share of the results.
            ring = 2.0 * ring
            if device.in_network_reduction:
                ring = np.minimum(ring, (inside + 1.0) / inside)
        trips = 2.0 if wire.kind == "all_reduce" else 1.0
        up_bytes = ring * up_bytes
        out_bytes = trips * (nodes - 1.0) / nodes * out_bytes / inside
    elif wire.kind == "p2p":
        across = nodes > 1.0
        up_bytes, out_bytes = np.where(across, 0.0, up_bytes), np.where(across, out_bytes, 0.0)
    return _line_s(up_bytes, device, "up"), _line_s(out_bytes, device, "out")


def _line_s(moved: Num, device: Device, which: str) -> Num:
    """Bytes at line rate; the fabric is only asked for where something is sent."""
    if not np.any(np.asarray(moved) > 0):
        return np.zeros_like(np.asarray(moved, dtype=float))
    return np.asarray(moved) / device.fabric(which)


def combined_band(parts: Iterable[tuple[float, FittedLaw]], total_s: float) -> tuple[float, float, str]:
    """(low, high) seconds and worst grade of a sum of op times.

    Errors of one law move together (one kernel library), errors of different laws are independent:
    deviations add linearly within a law and in quadrature between laws.
    """
    down: dict[int, float] = {}
    up: dict[int, float] = {}
    grades = []
    for seconds, fitted in parts:
        if seconds <= 0:
            continue
        down[id(fitted)] = down.get(id(fitted), 0.0) + seconds * (1.0 - fitted.low)
        up[id(fitted)] = up.get(id(fitted), 0.0) + seconds * (fitted.high - 1.0)
        grades.append(fitted.grade)
    below = math.sqrt(sum(d * d for d in down.values()))
    above = math.sqrt(sum(u * u for u in up.values()))
    return max(total_s - below, 0.0), total_s + above, worst(grades)
