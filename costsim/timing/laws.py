"""Efficiency laws: seconds of one kernel from its shape and the datasheet of one device.

Each law is a frozen set of dimensionless efficiencies (≤ 1, fractions of datasheet peaks) and a few
latencies in seconds, fitted by ``costsim calibrate``. All are written for arrays: no Python branch on a
value, square roots instead of powers. Times always stay at or above the roofline.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import ClassVar, Protocol

import numpy as np

from costsim.num import Num

#: rows of an output tile: WGMMA's smallest m, which DeepGEMM pads to; columns of the widest common tile
TILE_M = 64.0
TILE = 128.0


@dataclass(frozen=True, slots=True)
class Supply:
    """The datasheet numbers a compute law sees: FLOP/s for the dtype, bytes/s, and cores (SMs, cube cores).

    ``cores_share`` is the fraction of cores left by communication kernels.
    """

    peak: float
    bandwidth: float
    cores: float
    cores_share: Num = 1.0


@dataclass(frozen=True, slots=True)
class Work:
    """What a law may look at: FLOPs, bytes and shape of one execution."""

    flop: Num
    bytes: Num
    shape: Mapping[str, Num]


class Law(Protocol):
    """Seconds of one execution, and the parts that compete for it."""

    kind: ClassVar[str]

    def terms(self, work: Work, supply: Supply) -> tuple[Num, Num, Num]:
        """(fixed, compute, memory) seconds; they combine in :func:`blend`."""
        ...


def blend(fixed: Num, compute: Num, memory: Num) -> Num:
    """t = fixed + √(compute² + memory²): a roofline whose ridge is rounded, as measured kernels are."""
    return fixed + np.sqrt(compute * compute + memory * memory)


@dataclass(frozen=True, slots=True)
class Tile:
    """GEMM, grouped and batched GEMM in output tiles of 64·128 … 128·128.

    waves w = groups·⌈m/64⌉·64/128·⌈n/128⌉ / cores; above one wave a fraction q of kernels waits for the
    last wave, (1−q)·w + q·⌈w⌉; below it the scheduler cuts tiles smaller, so w stays fluid.
    compute = √((waves·2·128²·(k + k0)·cores/(peak·efficiency))² + (k·k_latency)²): the second term is the
    serial loop over k that no parallelism shortens. memory = bytes/(bandwidth·memory_efficiency).
    """

    kind: ClassVar[str] = "tile"
    overhead_s: float
    efficiency: float
    k0: float
    k_latency_s: float
    memory_efficiency: float
    quantisation: float

    def terms(self, work: Work, supply: Supply) -> tuple[Num, Num, Num]:
        shape = work.shape
        compute = self.compute_s(shape["m"], shape["n"], shape["k"], shape["groups"], supply)
        return self.overhead_s, compute, work.bytes / (supply.bandwidth * self.memory_efficiency)

    def compute_s(self, m: Num, n: Num, k: Num, groups: Num, supply: Supply) -> Num:
        """Seconds of the tensor cores alone."""
        cores = supply.cores * supply.cores_share
        w = groups * np.ceil(m / TILE_M) * (TILE_M / TILE) * np.ceil(n / TILE) / cores
        waves = np.where(w > 1.0, w + self.quantisation * (np.ceil(w) - w), w)
        wave_s = 2.0 * TILE * TILE * (k + self.k0) / (supply.peak / supply.cores * self.efficiency)
        loop_s = k * self.k_latency_s
        compute: Num = np.sqrt((waves * wave_s) ** 2 + loop_s * loop_s)
        return compute


#: rows and columns of the output tiles that block-scaled FP8 kernels choose among
TILINGS = tuple((bm, bn) for bm in (64.0, 128.0, 256.0) for bn in (64.0, 96.0, 128.0, 192.0, 256.0) if bm * bn <= 2**15)


@dataclass(frozen=True, slots=True)
class Tiling:
    """GEMM whose kernel picks the fastest of several tilings (DeepGEMM: one tile per core and wave).

    compute = min over tiles bm×bn of waves·(bm·bn + edge·(bm + bn))·2·(k + k0)·cores/(peak·efficiency), with
    w = groups·⌈m/bm⌉·⌈n/bn⌉/cores, waves = 1 below one wave and w + q·(⌈w⌉ − w) above; ``edge`` is what the
    rim of a tile costs. The serial loop and the memory term are :class:`Tile`'s.
    """

    kind: ClassVar[str] = "tiling"
    overhead_s: float
    efficiency: float
    k0: float
    k_latency_s: float
    memory_efficiency: float
    quantisation: float
    edge: float

    def terms(self, work: Work, supply: Supply) -> tuple[Num, Num, Num]:
        shape = work.shape
        m, n, k, groups = (np.asarray(shape[name], dtype=float) for name in ("m", "n", "k", "groups"))
        per_core = groups / (supply.cores * supply.cores_share)
        area: Num = np.inf
        for bm, bn in TILINGS:
            w = per_core * np.ceil(m / bm) * np.ceil(n / bn)
            waves = np.where(w > 1.0, w + self.quantisation * (np.ceil(w) - w), 1.0)
            area = np.minimum(area, waves * (bm * bn + self.edge * (bm + bn)))
        compute = area * 2.0 * (k + self.k0) * supply.cores / (supply.peak * self.efficiency)
        loop_s = k * self.k_latency_s
        compute = np.sqrt(compute * compute + loop_s * loop_s)
        return self.overhead_s, compute, work.bytes / (supply.bandwidth * self.memory_efficiency)


@dataclass(frozen=True, slots=True)
class Experts(Tile):
    """Gate-up, SwiGLU and down projection of a rank's experts, timed as one.

    Two grouped GEMMs in tiles: n × k is the gate-up matrix (2·width × hidden), the down projection is
    k × n/2. compute is their sum; memory = all bytes of the three/(bandwidth·memory_efficiency).
    """

    kind: ClassVar[str] = "experts"

    def terms(self, work: Work, supply: Supply) -> tuple[Num, Num, Num]:
        shape = work.shape
        m, n, k, groups = shape["m"], shape["n"], shape["k"], shape["groups"]
        compute = self.compute_s(m, n, k, groups, supply) + self.compute_s(m, k, n / 2.0, groups, supply)
        return self.overhead_s, compute, work.bytes / (supply.bandwidth * self.memory_efficiency)


@dataclass(frozen=True, slots=True)
class Attend:
    """Attention: compute = flop·(1 + s0/context)/(peak·efficiency), memory = bytes/(bandwidth·memory_efficiency).

    s0 tokens of extra context stand for what each sequence costs beyond its pairs (softmax prologue,
    masked tiles, the merge of split KV). MLA decode multiplies at least 64 ``rows`` (heads·queries over one latent).
    """

    kind: ClassVar[str] = "attend"
    overhead_s: float
    efficiency: float
    s0: float
    memory_efficiency: float

    def terms(self, work: Work, supply: Supply) -> tuple[Num, Num, Num]:
        context = np.maximum(work.shape["context"], 1.0)
        pad = np.maximum(TILE_M / work.shape["rows"], 1.0) if "rows" in work.shape else 1.0
        rate = supply.peak * self.efficiency * supply.cores_share
        compute = work.flop * pad * (1.0 + self.s0 / context) / rate
        return self.overhead_s, compute, work.bytes / (supply.bandwidth * self.memory_efficiency)


@dataclass(frozen=True, slots=True)
class Stream:
    """Memory-bound kernels: t = overhead + bytes/(bandwidth·memory_efficiency)."""

    kind: ClassVar[str] = "stream"
    overhead_s: float
    memory_efficiency: float

    def terms(self, work: Work, supply: Supply) -> tuple[Num, Num, Num]:
        return self.overhead_s, 0.0, work.bytes / (supply.bandwidth * self.memory_efficiency)


@dataclass(frozen=True, slots=True)
class Panel:
    """Matrix products of a processor, which cuts no tiles for cores to wait on: small blocks, worked off in turn.

    compute = flop·(1 + m0/m·(m − 1)/(m − 1 + m1))·(1 + n0/n)·(1 + k0/k)/(peak·efficiency): laying the weights out in
    blocks costs as much as m0 rows, of which few rows pay a part and one row, a plain dot product, nothing; n0 and k0
    are what edges cost. fixed = overhead + groups·group (one call each); memory = bytes/(bandwidth·memory_efficiency).
    Experts count as their two products together, with the sizes of the first.
    """

    kind: ClassVar[str] = "panel"
    overhead_s: float
    group_s: float
    efficiency: float
    m0: float
    m1: float
    n0: float
    k0: float
    memory_efficiency: float

    def terms(self, work: Work, supply: Supply) -> tuple[Num, Num, Num]:
        m, n, k, groups = (work.shape[name] for name in ("m", "n", "k", "groups"))
        more = np.maximum(m - 1.0, 0.0)
        laid_out = self.m0 / m * more / (more + self.m1)
        edges = (1.0 + laid_out) * (1.0 + self.n0 / n) * (1.0 + self.k0 / k)
        compute = work.flop * edges / (supply.peak * self.efficiency * supply.cores_share)
        fixed = self.overhead_s + groups * self.group_s
        return fixed, compute, work.bytes / (supply.bandwidth * self.memory_efficiency)


@dataclass(frozen=True, slots=True)
class Unpadded(Attend):
    """Attention of a processor: :class:`Attend` without the 64 rows that a tensor core multiplies at least."""

    kind: ClassVar[str] = "unpadded"

    def terms(self, work: Work, supply: Supply) -> tuple[Num, Num, Num]:
        context = np.maximum(work.shape["context"], 1.0)
        compute = work.flop * (1.0 + self.s0 / context) / (supply.peak * self.efficiency * supply.cores_share)
        return self.overhead_s, compute, work.bytes / (supply.bandwidth * self.memory_efficiency)


@dataclass(frozen=True, slots=True)
class Cached:
    """Memory-bound kernels of a processor: the first ``cache_bytes`` at the near rate, the rest at the far one.

    t = overhead + min(bytes, cache)/(bandwidth·near_efficiency) + max(bytes − cache, 0)/(bandwidth·memory_efficiency).
    """

    kind: ClassVar[str] = "cached"
    overhead_s: float
    near_efficiency: float
    memory_efficiency: float
    cache_bytes: float

    def terms(self, work: Work, supply: Supply) -> tuple[Num, Num, Num]:
        near = np.minimum(work.bytes, self.cache_bytes) / self.near_efficiency
        far = np.maximum(np.asarray(work.bytes) - self.cache_bytes, 0.0) / self.memory_efficiency
        return self.overhead_s, 0.0, (near + far) / supply.bandwidth


@dataclass(frozen=True, slots=True)
class Hop:
    """Transfers on two fabrics at once, the slower one setting the time.

    t = overhead + (out⁴ + up⁴)^¼; out = out_bytes/(scale_out·out_efficiency), up = up_bytes/(scale_up·up_efficiency).
    ``per_doubling_s``: added latency for every doubling of the ranks; ``out_overhead_s``: added once when
    anything leaves the scale-up domain.
    """

    kind: ClassVar[str] = "hop"
    overhead_s: float
    up_efficiency: float
    out_efficiency: float
    per_doubling_s: float
    out_overhead_s: float

    def fixed(self, out_s: Num, ranks: Num) -> Num:
        """Latency without a byte sent."""
        doublings = np.log2(np.maximum(np.asarray(ranks, dtype=float), 1.0))
        leaves: Num = np.asarray(out_s) > 0
        latency: Num = self.overhead_s + self.per_doubling_s * doublings + self.out_overhead_s * leaves
        return latency

    def seconds(self, up_s: Num, out_s: Num, ranks: Num) -> Num:
        """``up_s`` and ``out_s`` at line rate."""
        up2, out2 = np.square(up_s / self.up_efficiency), np.square(out_s / self.out_efficiency)
        wire: Num = np.sqrt(np.sqrt(up2 * up2 + out2 * out2))
        return self.fixed(out_s, ranks) + wire


@dataclass(frozen=True, slots=True)
class Relay(Hop):
    """A library's collective between nodes: two protocols, of which it takes the faster.

    t = fixed + min(wire/low_latency_efficiency, simple_s + wire), wire as :class:`Hop`'s. The low-latency protocol
    sends its flags with the data and reaches a small share of the line rate; the other moves chunks at full rate and
    waits for each, which costs ``simple_s`` more. [nccl-tuning]
    """

    kind: ClassVar[str] = "relay"
    low_latency_efficiency: float
    simple_s: float

    def seconds(self, up_s: Num, out_s: Num, ranks: Num) -> Num:
        wire = Hop.seconds(self, up_s, out_s, ranks) - self.fixed(out_s, ranks)
        faster: Num = np.minimum(wire / self.low_latency_efficiency, self.simple_s + wire)
        return self.fixed(out_s, ranks) + faster


AnyLaw = Tile | Tiling | Attend | Stream | Hop | Panel | Cached
KINDS: dict[str, type[AnyLaw]] = {
    law.kind: law for law in (Tile, Tiling, Experts, Attend, Stream, Hop, Relay, Panel, Unpadded, Cached)
}


def law_from(kind: str, parameters: Mapping[str, float]) -> AnyLaw:
    """A law from its stored form; an efficiency outside (0, 1] means a wrong table and is refused."""
    cls = KINDS[kind]
    for name, value in parameters.items():
        low = 0.0 if name.endswith(("_s", "m0", "m1", "n0", "k0", "s0", "edge", "quantisation")) else 1e-6
        high = 1.0 if "efficiency" in name or name == "quantisation" else np.inf
        if not low <= value <= high:
            raise ValueError(f"{kind}: {name} = {value} is outside [{low}, {high}]")
    return cls(**{field.name: float(parameters[field.name]) for field in fields(cls)})
