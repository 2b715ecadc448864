"""DeepEP's dispatch and combine as its releases ran them, in the units of its tables.

The laws ``dispatch``, ``combine`` and ``…_ll`` are calibrated on the release of April 2025. Other releases differ in
what they send over which fabric, not in the hardware: see :data:`RELEASES`. Tables print a logical bandwidth, bytes
over seconds, whose bytes count a rank's own copies: per node touched (normal, several nodes), per rank touched (one
node), per expert (low latency). [deepep]
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from costsim.errors import UnknownName
from costsim.network.collectives import Factors, time_traffic
from costsim.network.traffic import Traffic, expert_traffic
from costsim.physics.op import act_bytes
from costsim.physics.routing import units_touched
from costsim.spec.model import MoE
from costsim.timing.device import Device
from costsim.timing.laws import Hop

#: DeepSeek-V3's experts: 256, eight a token from at most four of eight groups [deepseek-v3-report, sec. 2.1.2, 4.2]
GROUP_LIMITED = MoE(experts=256, top_k=8, intermediate=1, groups=8, top_groups=4)
#: the same without a limit, as the tests of version 2 draw them
FREE = MoE(experts=256, top_k=8, intermediate=1)


@dataclass(frozen=True)
class Release:
    """``network_only``: low latency sends copies to ranks of the same node over the network too.

    ``network_efficiency``: most of the network's line rate that normal kernels reach; None: as calibrated.
    """

    name: str
    network_only: bool = False
    network_efficiency: float | None = None


#: February 2025: low latency over RDMA alone; of 50 GB/s a NIC, 40 are reached [deepseek-isca-2025, sec. 4.3].
#: April 2025: NVLink inside the node, and internode kernels close to line rate. Version 2 of 2026 sends as that did.
RELEASES = {
    "2025-02": Release("2025-02", network_only=True, network_efficiency=0.8),
    "2025-04": Release("2025-04"),
    "2026-04": Release("2026-04"),
}


@dataclass(frozen=True)
class Exchange:
    """One dispatch or combine: seconds, the bandwidth DeepEP would print, its grade."""

    time_s: float
    logical_bytes_per_s: float
    grade: str


def release_of(name: str) -> Release:
    if name not in RELEASES:
        raise UnknownName("DeepEP release", name, RELEASES)
    return RELEASES[name]


def traffic_of(
    way: str, ranks: int, tokens: float, hidden: float, low_latency: bool, release: Release, domain: int = 8,
    moe: MoE = GROUP_LIMITED,
) -> Traffic:  # fmt: skip
    """Bytes between ranks: FP8 with scales out, BF16 back."""
    size = hidden * (act_bytes("fp8") if way == "dispatch" else 2.0)
    sent = expert_traffic(moe, ranks, domain, tokens, size, low_latency)
    if low_latency and release.network_only:
        # Only a rank's own copies stay; its neighbours' take the NIC.
        whole = sent.matrix
        own = whole * 0.0
        out = whole.copy()
        out[range(ranks), range(ranks)] = 0.0
        sent = Traffic(own, out, sent.domain)
    return sent if way == "dispatch" else sent.returned()


def exchange(
    device: Device, way: str, ranks: int, tokens: float, hidden: float, low_latency: bool, release: str = "2025-04",
    domain: int = 8, moe: MoE = GROUP_LIMITED, found: Factors | None = None,
) -> Exchange:  # fmt: skip
    """One dispatch or combine of balanced routing."""
    kernels = release_of(release)
    sent = traffic_of(way, ranks, tokens, hidden, low_latency, kernels, domain, moe)
    kind = f"{way}_ll" if low_latency else way
    timed = time_traffic(kind, sent, _with(device, kind, kernels, low_latency), found)
    seconds = float(timed.time_s)
    moved = (
        tokens * hidden * (act_bytes("fp8") if way == "dispatch" else 2.0) * _copies(moe, ranks, domain, low_latency)
    )
    return Exchange(seconds, moved / seconds, timed.duration.grade)


def _copies(moe: MoE, ranks: int, domain: int, low_latency: bool) -> float:
    """Copies of a token that the printed bandwidth counts."""
    if low_latency:
        return float(moe.top_k)
    return float(units_touched(moe, ranks / domain if ranks > domain else ranks))


def _with(device: Device, kind: str, release: Release, low_latency: bool) -> Device:
    """The device with the release's kernels in place of the calibrated ones."""
    if release.network_efficiency is None or low_latency:
        return device
    fitted = device.law(kind, "bytes")
    law = fitted.law
    assert isinstance(law, Hop)
    most = min(law.out_efficiency, release.network_efficiency)
    return replace(device, laws={f"{kind}/bytes": replace(fitted, law=replace(law, out_efficiency=most))})
