"""What is told of a network: counts, cost, hops, bisection, latency, contention; and collectives on a cluster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from costsim.errors import BadInput, OutOfRange
from costsim.frames import Framed, Rows
from costsim.network import ROUTINGS, traffic
from costsim.network.collectives import (
    CollectiveTime,
    Factors,
    factors,
    network_latency_missing,
    time_collective,
    time_traffic,
)
from costsim.network.cut import Bisection, bisection
from costsim.network.deepep import GROUP_LIMITED, RELEASES, Exchange, exchange, traffic_of
from costsim.network.routing import checked, contention, uniform_matrix
from costsim.network.topology import Array, Counts, Hops, Topology, hops
from costsim.network.traffic import Traffic
from costsim.timing.device import Device

#: endpoints up to which contention is routed out; more take minutes
MOST_ROUTED = 512
#: tokens a rank and its hidden size in DeepEP's tables: normal, low latency
EXCHANGE_TOKENS = {"normal": 4096.0, "low_latency": 128.0}
HIDDEN = 7168.0


@dataclass(frozen=True)
class Summary(Framed):
    """``contention`` maps (pattern, routing) to the busiest link over the busiest endpoint link; empty where the
    network is too large to route. ``near_s``, ``far_s``: a 64 B message to the nearest and the farthest endpoint."""

    counts: Counts
    usd: float | None
    hops: Hops
    bisection: Bisection
    near_s: float
    far_s: float
    contention: Mapping[tuple[str, str], float]

    def rows(self) -> Rows:
        """``numbers``: what the graph says; ``contention``: by pattern and routing."""
        numbers = {
            "endpoints": self.counts.endpoints, "switches": self.counts.switches, "links": self.counts.links,
            "usd": self.usd, "diameter": self.hops.diameter, "near_s": self.near_s, "far_s": self.far_s,
        }  # fmt: skip
        return {
            "numbers": [{"name": name, "value": value} for name, value in numbers.items()],
            "contention": [
                {"pattern": pattern, "routing": routing, "over_endpoint": value}
                for (pattern, routing), value in self.contention.items()
            ],
        }


def summarise(topology: Topology) -> Summary:
    """Everything that the graph alone says."""
    counts = topology.counts
    reach = hops(topology)
    near_s, far_s = _latencies(topology, reach)
    return Summary(counts, topology.usd, reach, bisection(topology), near_s, far_s, _contention(topology))


def _latencies(topology: Topology, reach: Hops) -> tuple[float, float]:
    if not topology.endpoints:
        link = next(iter(topology.links.values()))
        return link.endpoint + link.hop, link.endpoint + (reach.diameter - 1) * link.hop
    first, *others = topology.endpoints
    step = -(-len(others) // 256)
    seconds = [topology.latency_s(first, other) for other in [*others[:8], *others[8::step], others[-1]]]
    return min(seconds), max(seconds)


def _contention(topology: Topology) -> dict[tuple[str, str], float]:
    """Of uniform traffic and of a shift by half the network, for each way to route."""
    if not 2 <= topology.counts.endpoints <= MOST_ROUTED:
        return {}
    drawn = topology if topology.endpoints else topology.drawn()
    size = len(drawn.endpoints)
    try:
        return {
            (name, routing): contention(drawn, matrix, routing)
            for name, matrix in (("uniform", uniform_matrix(size, 1.0)), ("shift", _shift(size)))
            for routing in ROUTINGS
        }
    except BadInput:  # planes that nothing joins
        return {}


def _shift(size: int) -> Array:
    matrix = np.zeros((size, size))
    matrix[np.arange(size), (np.arange(size) + size // 2) % size] = 1.0
    return matrix


#: patterns of the collectives whose time is told, by their law's name
PATTERNS = ("all_reduce", "all_gather", "reduce_scatter", "all_to_all", "p2p")


def pattern_traffic(kind: str, ranks: int, domain: int, size: float = 1.0) -> Traffic:
    """The traffic matrix of a collective of ``size`` bytes a rank; p2p goes to the same place in the next domain."""
    if kind == "all_reduce":
        return traffic.all_reduce(ranks, domain, size)
    if kind in ("all_gather", "reduce_scatter"):
        return traffic.gather(ranks, domain, size)
    if kind == "all_to_all":
        return traffic.all_to_all(ranks, domain, size)
    if kind == "p2p":
        return traffic.point_to_point(ranks, domain, size, domain if ranks > domain else 1)
    raise OutOfRange(f"traffic {kind[:40]!r} is not one of {', '.join(PATTERNS)}, dispatch, combine")


@dataclass(frozen=True)
class Timed:
    """A collective over several sizes on one network."""

    kind: str
    sizes: Array
    timed: CollectiveTime

    @property
    def seconds(self) -> Array:
        """One for each size."""
        return np.asarray(self.timed.time_s, dtype=float)


def collectives(
    topology: Topology, device: Device, sizes: Sequence[float], routing: str = "ecmp", kinds: Sequence[str] = PATTERNS
) -> list[Timed]:
    """Every kind on all endpoints of the topology; the graph's factors do not depend on the size."""
    ranks, wide = len(topology.endpoints), np.asarray(sizes, dtype=float)
    out = []
    for kind in kinds:
        sent = pattern_traffic(kind, ranks, topology.domain, 1e9)
        found = factors(topology, sent, device, routing, whole_path=network_latency_missing(kind, device))
        out.append(Timed(kind, wide, time_collective(kind, wide, ranks, topology.domain, device, found)))
    return out


def all_reduces(topology: Topology, device: Device, sizes: Sequence[float], routing: str = "ecmp") -> dict[str, Array]:
    """Seconds of an all-reduce by algorithm, each with its own traffic on the graph; nvls where the switch adds.

    Between nodes a ring takes 2(N − 1) messages one after another, a tree 2·log₂ N; the law, measured on two nodes,
    holds the first two. nvls goes between nodes as a ring does.
    """
    ranks, wide = len(topology.endpoints), np.asarray(sizes, dtype=float)
    out = {}
    for algorithm in traffic.ALGORITHMS:
        if algorithm == "nvls" and not device.in_network_reduction:
            continue
        sent = traffic.all_reduce(ranks, topology.domain, 1e9, algorithm)
        found = factors(topology, sent, device, routing, whole_path=True)
        found = replace(found, latency_s=found.latency_s * max(sent.rounds - 2.0, 0.0) / sent.rounds)
        timed = time_collective("all_reduce", wide, ranks, topology.domain, device, found, algorithm)
        out[algorithm] = np.asarray(timed.time_s, dtype=float)
    return out


@dataclass(frozen=True)
class Expert:
    """Dispatch or combine of DeepSeek-V3's experts over all endpoints."""

    mode: str
    way: str
    tokens: float
    exchange: Exchange
    factors: Factors


def expert_exchanges(topology: Topology, device: Device, routing: str = "ecmp") -> list[Expert]:
    """Both modes and both ways; none where 256 experts do not spread evenly over the endpoints."""
    ranks = len(topology.endpoints)
    if GROUP_LIMITED.experts % ranks:
        return []
    out = []
    for mode, tokens in EXCHANGE_TOKENS.items():
        low = mode == "low_latency"
        for way in ("dispatch", "combine"):
            sent = traffic_of(way, ranks, tokens, HIDDEN, low, RELEASES["2025-04"], topology.domain)
            found = factors(topology, sent, device, routing)
            got = exchange(device, way, ranks, tokens, HIDDEN, low, domain=topology.domain, found=found)
            out.append(Expert(mode, way, tokens, got, found))
    return out


def time_matrix(topology: Topology, device: Device, matrix: Array, routing: str = "ecmp") -> CollectiveTime:
    """Seconds of any traffic matrix [from, to] in bytes, sent directly as an all-to-all's messages are."""
    sent = traffic.relayed(checked(topology, matrix), topology.domain)
    missing = network_latency_missing("all_to_all", device)
    return time_traffic("all_to_all", sent, device, factors(topology, sent, device, routing, whole_path=missing))
