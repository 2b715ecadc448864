"""Topology: a graph of endpoints and switches, with the bandwidth, latency, number and price of its links.

Nodes carry ``kind`` ("endpoint" or "switch"), ``tier`` and ``place``: where they sit from left to right, which splits
the network in halves. A switch with ``hosts`` stands for that many endpoints that are not drawn. Edges carry ``link``
(the name of a :class:`LinkKind`), ``bandwidth`` of one cable per direction and ``count`` of cables.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from costsim.errors import OutOfRange
from costsim.spec.topology import LinkKind

Node = Hashable
Array = NDArray[np.float64]
#: largest graph whose endpoints are drawn one by one and whose traffic is routed
MOST_ENDPOINTS = 4096
#: searches from so many nodes at most when hops are counted, and links that they may cross in all
MOST_SOURCES, MOST_CROSSED = 64, 8_000_000


@dataclass(frozen=True)
class Counts:
    """What must be bought: endpoints, switches and the cables between switches (an endpoint's own cable apart)."""

    endpoints: int
    switches: int
    links: int

    def usd(self, link: LinkKind, ports: int) -> float | None:
        """switches·switch_usd + links·cable_usd + endpoints·endpoint_usd.

        None where a price is not known, or is one of switches unlike these, which use ``ports`` ports: more than the
        priced one has, or at most half of them.
        """
        prices = (link.switch_usd, link.cable_usd, link.endpoint_usd)
        if any(price is None for price in prices) or not link.switch_ports < 2 * ports <= 2 * link.switch_ports:
            return None
        switch, cable, endpoint = (float(price or 0.0) for price in prices)
        return self.switches * switch + self.links * cable + self.endpoints * endpoint


@dataclass(frozen=True, eq=False)
class Topology:
    """A named network. ``domain`` endpoints share a scale-up fabric (1: none); graphs are not to be changed."""

    name: str
    graph: Any
    links: Mapping[str, LinkKind]
    domain: int = 1

    @cached_property
    def endpoints(self) -> list[Node]:
        """Endpoints that are nodes of the graph, in rank order."""
        return [node for node, kind in self.graph.nodes(data="kind") if kind == "endpoint"]

    @cached_property
    def switches(self) -> list[Node]:
        return [node for node, kind in self.graph.nodes(data="kind") if kind == "switch"]

    @cached_property
    def counts(self) -> Counts:
        """Counted on the graph: switches, cables between switches, endpoints drawn and not drawn."""
        hidden = sum(hosts or 0 for _, hosts in self.graph.nodes(data="hosts"))
        inner = sum(
            count for a, b, count in self.graph.edges(data="count") if self._is_switch(a) and self._is_switch(b)
        )
        return Counts(len(self.endpoints) + hidden, len(self.switches), inner)

    def counts_of(self, link: str) -> Counts:
        """What one kind of link needs: its cables between switches, its switches, and the endpoints it reaches."""
        ends: set[Node] = set()
        switches: set[Node] = set()
        inner = hidden = 0
        for a, b, data in self.graph.edges(data=True):
            if data["link"] == link:
                pair = [(node, self._is_switch(node)) for node in (a, b)]
                ends |= {node for node, switch in pair if not switch}
                switches |= {node for node, switch in pair if switch}
                inner += data["count"] if all(switch for _, switch in pair) else 0
        for node, data in self.graph.nodes(data=True):
            if data.get("hosts") and data.get("link") == link:
                switches.add(node)
                hidden += data["hosts"]
        return Counts(len(ends) + hidden, len(switches), inner)

    def ports_of(self, link: str) -> int:
        """Most ports that a switch of one kind of link uses, those of endpoints that are not drawn included."""
        used = dict.fromkeys(self.switches, 0)
        for a, b, data in self.graph.edges(data=True):
            for node in (a, b):
                if node in used and data["link"] == link:
                    used[node] += data["count"]
        for node in used:
            data = self.graph.nodes[node]
            used[node] += data.get("hosts", 0) if data.get("link", link) == link else 0
        return max(used.values(), default=0)

    @cached_property
    def usd(self) -> float | None:
        """USD of every kind of link whose prices are known; None where none is."""
        priced = [self.counts_of(name).usd(kind, self.ports_of(name)) for name, kind in self.links.items()]
        known = [usd for usd in priced if usd is not None]
        return sum(known) if known else None

    def _is_switch(self, node: Node) -> bool:
        return bool(self.graph.nodes[node]["kind"] == "switch")

    @cached_property
    def wires(self) -> Wires:
        return Wires.of(self)

    @cached_property
    def cables(self) -> Wires:
        """As ``wires``, but every cable of a bundle an arc of its own: what a hash chooses among."""
        return Wires.of(self, bundled=False)

    def drawn(self) -> Topology:
        """The same network with every endpoint as a node of its own; BadInput above :data:`MOST_ENDPOINTS`."""
        total = self.counts.endpoints
        if total > MOST_ENDPOINTS:
            raise OutOfRange(f"{self.name}: {total:,} endpoints are too many to route; at most {MOST_ENDPOINTS:,}")
        graph = self.graph.copy()
        rank = len(self.endpoints)
        for switch, data in self.graph.nodes(data=True):
            link = data.get("link", "")
            for _ in range(data.get("hosts", 0)):
                graph.add_node(("endpoint", rank), kind="endpoint", tier=0, place=data["place"])
                graph.add_edge(("endpoint", rank), switch, link=link, bandwidth=data["host_bandwidth"], count=1)
                rank += 1
            graph.nodes[switch]["hosts"] = 0
        return replace(self, graph=graph)

    def latency_s(self, source: Node, target: Node) -> float:
        """Seconds of a 64 B message: the ends of the path's slowest kind of link, and a hop for every switch.

        t = endpoint + Σ hop; a path that changes fabric pays the ends of each [deepseek-isca-2025, table 5].
        """
        import networkx as nx

        path = nx.shortest_path(self.graph, source, target)
        kinds = [self.links[self.graph.edges[a, b]["link"]] for a, b in pairwise(path)]
        ends = {kind.id: kind.endpoint for kind in kinds}
        inner = zip(path[1:], kinds, strict=True)
        return sum(ends.values()) + sum(kind.hop for node, kind in inner if self._is_switch(node))


@dataclass(frozen=True, eq=False)
class Wires:
    """The graph as arrays: directed arcs ``tail`` → ``head`` (two for each edge) with bytes/s and whether scale-up.

    ``first`` and ``arcs`` list the arcs that leave a node: ``arcs[first[v]:first[v + 1]]``.
    """

    nodes: list[Node]
    index: Mapping[Node, int]
    tail: NDArray[np.int64]
    head: NDArray[np.int64]
    bandwidth: Array
    up: NDArray[np.bool_]
    first: NDArray[np.int64]

    @staticmethod
    def of(topology: Topology, bundled: bool = True) -> Wires:
        """Arcs sorted by tail; parallel cables as one arc, or each as its own."""
        nodes = list(topology.graph.nodes)
        index = {node: i for i, node in enumerate(nodes)}
        rows = []
        for a, b, data in topology.graph.edges(data=True):
            times, up = data["count"], bool(data.get("up", False))
            rate = data["bandwidth"] * (times if bundled else 1)
            rows += [(index[a], index[b], rate, up), (index[b], index[a], rate, up)] * (1 if bundled else times)
        rows.sort(key=lambda row: row[:2])
        tail = np.array([row[0] for row in rows], dtype=np.int64)
        return Wires(
            nodes, index, tail,
            np.array([row[1] for row in rows], dtype=np.int64),
            np.array([row[2] for row in rows], dtype=float),
            np.array([row[3] for row in rows], dtype=bool),
            np.searchsorted(tail, np.arange(len(nodes) + 1)),
        )  # fmt: skip

    def only(self, arcs: NDArray[np.int64]) -> Wires:
        """The same nodes with some of the arcs, given in rising order."""
        tail = self.tail[arcs]
        first = np.searchsorted(tail, np.arange(len(self.nodes) + 1))
        return Wires(self.nodes, self.index, tail, self.head[arcs], self.bandwidth[arcs], self.up[arcs], first)


@dataclass(frozen=True)
class Hops:
    """Links between pairs of endpoints that a path joins: the longest shortest path and the mean over pairs."""

    diameter: int
    mean: float


def hops(topology: Topology) -> Hops:
    """Links between endpoints over shortest paths, the two to the endpoints included.

    From every switch that holds endpoints, or from :data:`MOST_SOURCES` of them spread evenly, fewer in huge graphs.
    Pairs in separate planes count only where the graph joins them.
    """
    wires = topology.wires
    ends = np.zeros(len(wires.nodes))
    if topology.endpoints:
        ends[[wires.index[node] for node in topology.endpoints]] = 1.0
    else:
        ends[:] = [data.get("hosts", 0) for _, data in topology.graph.nodes(data=True)]
    beside = 0.0 if topology.endpoints else 2.0
    sources = np.flatnonzero(ends)
    most = min(MOST_SOURCES, max(MOST_CROSSED // max(len(wires.tail), 1), 4))
    sources = sources[:: -(-len(sources) // most)]
    pairs = summed = longest = 0.0
    for source in sources:
        away = distances(wires, int(source))
        joined = ends * (away >= 0) * ends[source]
        joined[source] -= ends[source]  # an endpoint is no pair with itself
        pairs += joined.sum()
        summed += float((joined * (away + beside)).sum())
        longest = max(longest, float((away + beside)[joined > 0].max(initial=0.0)))
    return Hops(int(longest), summed / pairs if pairs else 0.0)


def distances(wires: Wires, source: int) -> NDArray[np.int64]:
    """Links from ``source`` to every node by breadth-first search; -1 where there is no way."""
    away = np.full(len(wires.nodes), -1, dtype=np.int64)
    away[source] = 0
    front = np.array([source], dtype=np.int64)
    step = 0
    while front.size:
        step += 1
        arcs = _leaving(wires, front)
        reached = np.unique(wires.head[arcs])
        front = reached[away[reached] < 0]
        away[front] = step
    return away


def _leaving(wires: Wires, nodes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Arcs that leave any of ``nodes``."""
    counts = wires.first[nodes + 1] - wires.first[nodes]
    starts = np.repeat(wires.first[nodes] - np.concatenate([[0], np.cumsum(counts)[:-1]]), counts)
    arcs: NDArray[np.int64] = starts + np.arange(counts.sum())
    return arcs
