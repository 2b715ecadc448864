"""Bisection: what one half of the endpoints can send to the other at once, per direction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from costsim.errors import OutOfRange
from costsim.network.topology import Node, Topology

#: largest graph whose maximum flow is computed: networkx is a library for small graphs
MOST_FLOW_EDGES = 60_000


@dataclass(frozen=True)
class Bisection:
    """``bytes_per_s`` across the halves; ``share`` of what half of the endpoints can send."""

    bytes_per_s: float
    share: float


def bisection(topology: Topology) -> Bisection:
    """Links between the left and the right half, as the nodes' ``place`` has them: at least the true bisection.

    Nodes without a place (spines, cores) take the side that costs less. Halves are as even as places allow;
    share = cut/(links of the smaller half's endpoints), at most 1.
    """
    graph = topology.graph
    cut = 0.0
    for a, b, data in graph.edges(data=True):
        sides = {_side(graph, node) for node in (a, b)}
        cut += data["bandwidth"] * data["count"] if sides == {0, 1} else 0.0
    for node, place in graph.nodes(data="place"):
        if place < 0:
            weight = [0.0, 0.0]
            for other in graph.neighbors(node):
                side = _side(graph, other)
                if side is not None:
                    weight[side] += graph.edges[node, other]["bandwidth"] * graph.edges[node, other]["count"]
            cut += min(weight)
    ends = min(_endpoint_rates(topology))
    return Bisection(min(cut, ends), min(cut / ends, 1.0) if ends else 0.0)


def _side(graph: Any, node: Node) -> int | None:
    place = graph.nodes[node]["place"]
    return None if place < 0 else int(place >= 0.5)


def _endpoint_rates(topology: Topology) -> tuple[float, float]:
    """Bytes/s of the endpoints of each half together, on the fabric that spans the network."""
    graph = topology.graph
    rates = [0.0, 0.0]
    for node, data in graph.nodes(data=True):
        if data.get("hosts", 0):
            rates[_side(graph, node) or 0] += data["hosts"] * data["host_bandwidth"]
    out = any(not up for _, _, up in graph.edges(data="up", default=False))
    for node in topology.endpoints:
        for _, _, data in graph.edges(node, data=True):
            if bool(data.get("up", False)) != out:
                rates[_side(graph, node) or 0] += data["bandwidth"] * data["count"]
    return rates[0], rates[1]


def max_flow(topology: Topology, left: Sequence[Node], right: Sequence[Node]) -> float:
    """Bytes/s from all of ``left`` to all of ``right`` at once: by max-flow min-cut, the tightest waist between them.

    Endpoints that are not drawn stand behind their switch. BadInput above ``MOST_FLOW_EDGES`` edges.
    """
    import networkx as nx

    if topology.graph.number_of_edges() > MOST_FLOW_EDGES:
        raise OutOfRange(f"{topology.name}: too many links for a maximum flow; ask for the bisection")
    flow = nx.DiGraph()
    for a, b, data in topology.graph.edges(data=True):
        flow.add_edge(a, b, capacity=data["bandwidth"] * data["count"])
        flow.add_edge(b, a, capacity=data["bandwidth"] * data["count"])
    for terminal, members in (("source", left), ("sink", right)):
        for node in members:
            data = topology.graph.nodes[node]
            rate = data["hosts"] * data["host_bandwidth"] if data.get("hosts") else float("inf")
            pair = (terminal, node) if terminal == "source" else (node, terminal)
            flow.add_edge(*pair, **({} if rate == float("inf") else {"capacity": rate}))
    return float(nx.maximum_flow_value(flow, "source", "sink"))
