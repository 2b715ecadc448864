"""Seconds of a collective on a topology: the calibrated law, with fabrics slowed by what the graph shows.

A graph under a traffic pattern is a device whose fabrics are slower by a contention factor and whose messages fly
longer: :func:`factors`. Without contention and within one leaf both are neutral, and the time is
:func:`costsim.timing.duration.time_wire`'s.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from costsim.errors import BadOption, Contradiction, OutOfRange
from costsim.network import traffic
from costsim.network.routing import link_loads
from costsim.network.topology import Topology
from costsim.network.traffic import Traffic
from costsim.num import Num
from costsim.timing.device import Device
from costsim.timing.duration import Duration, line_seconds, time_wire
from costsim.timing.laws import Hop

KINDS = ("all_reduce", "all_gather", "reduce_scatter", "all_to_all", "p2p", "dispatch", "combine", "dispatch_ll",
         "combine_ll")  # fmt: skip


@dataclass(frozen=True)
class Sent:
    """One collective as timing takes it (see :class:`costsim.physics.op.Wire`)."""

    kind: str
    up_bytes: Num
    out_bytes: Num
    ranks: Num
    domain: Num


@dataclass(frozen=True)
class Factors:
    """What a graph adds to the closed form: how much slower each fabric is, and seconds of a longer path."""

    up: float = 1.0
    out: float = 1.0
    latency_s: float = 0.0

    def slowed(self, device: Device) -> Device:
        """The device as this traffic sees it."""
        return replace(
            device,
            up=device.up / self.up if device.up else device.up,
            out=device.out / self.out if device.out else device.out,
        )


def factors(
    topology: Topology, sent: Traffic, device: Device, routing: str = "ecmp", seed: int = 0, whole_path: bool = False
) -> Factors:
    """Seconds of the busiest link over those of the busiest rank, for both fabrics, and the longest path's latency.

    Never below 1: a rank's own links bound the time from below. Latency counts switches beyond the first of the
    path, once for each of the traffic's rounds: the first and the ends are in laws that were measured across nodes.
    ``whole_path`` counts those too.
    """
    if sent.ranks != len(topology.endpoints):
        raise Contradiction(f"{topology.name} has {len(topology.endpoints)} endpoints, the traffic {sent.ranks} ranks")
    loads = link_loads(topology, sent.matrix, routing, seed)
    ratios = []
    for up in (True, False):
        alone = sent.busiest(up) / device.fabric("up" if up else "out") if sent.busiest(up) > 0 else 0.0
        ratios.append(max(loads.slowest_s(up) / alone, 1.0) if alone > 0 else 1.0)
    return Factors(ratios[0], ratios[1], _path_s(topology, sent, whole_path) * sent.rounds)


def _path_s(topology: Topology, sent: Traffic, whole: bool) -> float:
    """Seconds of the switches beyond the first (or of all, and the ends) on the way to the farthest rank over the
    network from rank 0."""
    import networkx as nx

    ends = topology.endpoints
    targets = np.flatnonzero(sent.out[0])
    if not targets.size:
        return 0.0
    paths = nx.single_source_shortest_path(topology.graph, ends[0])
    longest = 0.0
    for target in targets:
        path = paths[ends[int(target)]]
        crossed = [(b, topology.graph.edges[a, b]) for a, b in pairwise(path)]
        out = [(node, topology.links[edge["link"]]) for node, edge in crossed if not edge.get("up", False)]
        hops = [kind.hop for node, kind in out if topology.graph.nodes[node]["kind"] == "switch"]
        ends_s = max((kind.endpoint for _, kind in out), default=0.0)
        longest = max(longest, ends_s + sum(hops) if whole else sum(hops[1:]))
    return longest


#: laws measured only inside a domain have this least latency of the network, which stands for none
UNMEASURED_S = 1e-7


def network_latency_missing(kind: str, device: Device) -> bool:
    """Whether a collective's law knows nothing of the network's latency; DeepEP's were measured across nodes."""
    law = device.law(kind, "bytes").law
    return isinstance(law, Hop) and law.out_overhead_s < UNMEASURED_S and kind in KINDS[:5]


@dataclass(frozen=True)
class CollectiveTime:
    """Seconds with the evidence behind them; ``factors`` are the graph's."""

    time_s: Num
    duration: Duration
    factors: Factors


def time_collective(
    kind: str, size: Num, ranks: int, domain: int, device: Device, found: Factors | None = None, algorithm: str = ""
) -> CollectiveTime:
    """Seconds of ``kind`` on ``size`` bytes a rank holds (the whole, for gather and scatter); sizes broadcast.

    ``algorithm`` (all-reduce only) replaces what the library chose when it was measured: its bytes scale the law's
    wire term, its steps the latency of a doubling. [nccl-tests; nccl-issues]
    """
    if kind not in KINDS[:5]:
        raise OutOfRange(f"{kind[:40]!r} is not one of {', '.join(KINDS[:5])}")
    inside = traffic.check_ranks(ranks, domain)
    size = np.asarray(size, dtype=float)
    up, out = size, size
    if kind == "all_to_all":
        # A message changes rails inside the node: see traffic.relayed.
        up, out = size * (inside - 1) / inside, size * (ranks - inside) / ranks
    sent = Sent(kind, up, out, float(ranks), float(domain))
    timed = time_sent(sent, device, found)
    if algorithm:
        if kind != "all_reduce":
            raise BadOption(f"{kind}: only all_reduce has algorithms ({', '.join(traffic.ALGORITHMS)})")
        return _by_algorithm(timed, sent, device, algorithm)
    return timed


def time_sent(sent: Sent, device: Device, found: Factors | None = None) -> CollectiveTime:
    """The law on the device as the graph leaves it."""
    found = found or Factors()
    duration = time_wire(sent, found.slowed(device))
    return CollectiveTime(duration.time_s + found.latency_s, duration, found)


def time_traffic(kind: str, sent: Traffic, device: Device, found: Factors | None = None) -> CollectiveTime:
    """Seconds of a dispatch, a combine or an all-to-all whose traffic is any matrix: the busiest rank sets the time."""
    if kind not in KINDS[3:]:
        raise OutOfRange(f"{kind[:40]!r} with a traffic matrix is not one of {', '.join(KINDS[3:])}")
    wire = Sent(kind, sent.busiest(up=True), sent.busiest(up=False), float(sent.ranks), float(sent.domain))
    return time_sent(wire, device, found)


def _by_algorithm(timed: CollectiveTime, sent: Sent, device: Device, algorithm: str) -> CollectiveTime:
    """The measured all-reduce with another algorithm's bytes and steps.

    wire·(line seconds of the algorithm / of the law's own choice); in its domain of n a ring takes n − 1 steps of a
    doubling's latency where the law counts log₂ n. Steps between more than two nodes are the graph's to add.
    """
    ranks, domain = int(sent.ranks), int(min(sent.ranks, sent.domain))
    law, step = timed.duration.fitted.law, device.law(sent.kind, "bytes").law
    assert isinstance(law, Hop)
    assert isinstance(step, Hop)
    slowed = timed.factors.slowed(device)
    chosen = traffic.all_reduce(ranks, domain, 1.0, algorithm)
    unit = np.asarray(sent.up_bytes)
    up_s, out_s = (
        np.asarray(chosen.busiest(up) * unit / slowed.fabric("up" if up else "out"))
        if chosen.busiest(up)
        else 0.0 * unit
        for up in (True, False)
    )
    own = line_seconds(sent, slowed)
    wire = law.seconds(up_s, out_s, ranks) - law.fixed(out_s, ranks)
    law_wire = law.seconds(*own, ranks) - law.fixed(own[1], ranks)
    # Messages between more than two nodes are the graph's to add, so none of them may be in the law's latency.
    fixed: Num = law.fixed(own[1], min(ranks, 2 * domain))
    if algorithm == "ring":
        fixed = fixed + step.per_doubling_s * (domain - 1 - np.log2(domain))
    measured = np.maximum(timed.duration.time_s - law.fixed(own[1], ranks), 0.0)
    seconds = fixed + measured * wire / np.maximum(law_wire, 1e-30)
    seconds = np.maximum(seconds, np.maximum(up_s, out_s)) + timed.factors.latency_s
    return CollectiveTime(seconds, timed.duration, timed.factors)
