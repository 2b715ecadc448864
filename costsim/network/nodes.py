"""Scale-up fabrics: cards joined by NVSwitches, directly (full mesh), or by two levels of UB switches.

Each builder adds one domain's links to a graph whose endpoints are there already; all are marked ``up``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from costsim.network.topology import Node


def add_endpoints(graph: Any, count: int, node_devices: int) -> list[Node]:
    """Endpoints ("gpu", node, index) in rank order."""
    ranks: list[Node] = [("gpu", rank // node_devices, rank % node_devices) for rank in range(count)]
    for rank, name in enumerate(ranks):
        graph.add_node(name, kind="endpoint", tier=0, place=rank / count)
    return ranks


def add_nvswitch(graph: Any, members: Sequence[Node], switches: int, link: str, rate: float, name: str) -> None:
    """Every card to every switch with an equal share of its ``rate`` (18 NVLinks over 4 chips are near enough).

    Their tier is -1: below the cards, where drawings put them.
    """
    place = graph.nodes[members[0]]["place"]
    for i in range(switches):
        graph.add_node(("nvswitch", name, i), kind="switch", tier=-1, place=place, hosts=0)
        for member in members:
            graph.add_edge(member, ("nvswitch", name, i), link=link, bandwidth=rate / switches, count=1, up=True)


def add_full_mesh(graph: Any, members: Sequence[Node], link: str, rate: float) -> None:
    """Every pair directly: one peer is reached at rate/(n − 1) [stas-ml-engineering, sec. network]."""
    for i, a in enumerate(members):
        for b in members[i + 1 :]:
            graph.add_edge(a, b, link=link, bandwidth=rate / (len(members) - 1), count=1, up=True)


def add_unified_bus(
    graph: Any, members: Sequence[Node], node_devices: int, planes: int, spines: int, link: str, rate: float
) -> None:
    """Level 1: ``planes`` switches in each node, one link of each card to each. Level 2: ``spines`` chips per plane,
    each joined to that plane's level-1 switch of every node; uplinks carry what the cards can send
    [cloudmatrix384, sec. 3]."""
    nodes = len(members) // node_devices
    for plane in range(planes):
        for spine in range(spines if nodes > 1 else 0):
            graph.add_node(("l2", plane, spine), kind="switch", tier=2, place=-1.0, hosts=0)
        for node in range(nodes):
            own = members[node * node_devices : (node + 1) * node_devices]
            first = ("l1", node, plane)
            graph.add_node(first, kind="switch", tier=1, place=graph.nodes[own[0]]["place"], hosts=0)
            for member in own:
                graph.add_edge(member, first, link=link, bandwidth=rate / planes, count=1, up=True)
            for spine in range(spines if nodes > 1 else 0):
                uplink = rate / planes * node_devices / spines
                graph.add_edge(first, ("l2", plane, spine), link=link, bandwidth=uplink, count=1, up=True)
