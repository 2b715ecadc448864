"""From a named topology or a cluster of the catalog to its counts and its graph."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from costsim.errors import DoesNotDivide, Malformed, OutOfRange, UnknownField
from costsim.network import fabrics, nodes
from costsim.network.topology import Counts, Topology
from costsim.spec.cluster import Cluster
from costsim.spec.topology import LinkKind, TopologySpec, Wiring

LoadLink = Callable[[str], LinkKind]
#: planes and level-2 chips a plane of CloudMatrix384's UB fabric [cloudmatrix384, sec. 3]
UB_PLANES, UB_SPINES = 7, 16
#: cards of a cluster whose graph is built in a few seconds
MOST_CARDS = 32_768


def counts(spec: TopologySpec) -> Counts:
    """Endpoints, switches and cables from the kind's formula, without a graph.

    fat-tree-2: r²/2, 3r/2, r²/2; planes multiply it. fat-tree-3: r³/4, 5r²/4, r³/2. Slim Fly of q = 4w + δ:
    2q² switches of degree (3q − δ)/2. Dragonfly: a·g switches, g·a(a − 1)/2 + ⌊g·a·h/2⌋ cables.
    [deepseek-isca-2025, table 3; slim-fly, sec. II; dragonfly, sec. 3]
    """
    p = spec.parameters
    if spec.kind in ("fat-tree-2", "multi-plane"):
        r, planes = p["radix"], p.get("planes", 1)
        return Counts(r * r // 2 * planes, 3 * r // 2 * planes, r * r // 2 * planes)
    if spec.kind == "fat-tree-3":
        r = p["radix"]
        return Counts(r**3 // 4, 5 * r * r // 4, r**3 // 2)
    if spec.kind == "slim-fly":
        q = p["q"]
        delta = {0: 0, 1: 1, 3: -1}.get(q % 4)
        if delta is None:
            raise Malformed(f"{spec.id}: slim-fly needs q = 4w or 4w ± 1; {q} is neither")
        switches = 2 * q * q
        return Counts(switches * p["hosts"], switches, switches * ((3 * q - delta) // 2) // 2)
    if spec.kind == "dragonfly":
        a, g = p["group_switches"], p["groups"]
        return Counts(a * g * p["hosts"], a * g, g * a * (a - 1) // 2 + g * a * p["global_ports"] // 2)
    if spec.kind == "ub":
        n, planes, spines = p["nodes"], p["planes"], p["spines"]
        return Counts(n * p["node_devices"], planes * (n + spines), n * planes * spines)
    return Counts(p["devices"], p.get("switches", 0), 0)


def ports(spec: TopologySpec) -> int:
    """Ports that a switch of the topology uses."""
    p = spec.parameters
    if spec.kind == "slim-fly":
        return counts(spec).links * 2 // counts(spec).switches + p["hosts"]
    if spec.kind == "dragonfly":
        return p["hosts"] + p["group_switches"] - 1 + p["global_ports"]
    return p.get("radix", 0)


def usd(spec: TopologySpec, load_link: LoadLink) -> float | None:
    """What a named topology costs; None where no price is known for switches like its."""
    return counts(spec).usd(load_link(spec.link), ports(spec))


def topology(spec: TopologySpec, load_link: LoadLink) -> Topology:
    """The graph of a named topology; BadInput where its kind cannot be built at these parameters."""
    link, p = load_link(spec.link), spec.parameters
    rate = spec.bandwidth or link.bandwidth
    if rate is None:
        raise UnknownField(f"{spec.id}: neither it nor the link {link.id} states a bandwidth")
    if spec.kind == "fat-tree-2":
        graph = fabrics.fat_tree_2(p["radix"], link.id, rate)
    elif spec.kind == "multi-plane":
        graph = fabrics.multi_plane(p["radix"], p["planes"], link.id, rate)
    elif spec.kind == "fat-tree-3":
        graph = fabrics.fat_tree_3(p["radix"], link.id, rate)
    elif spec.kind == "slim-fly":
        graph = fabrics.slim_fly(p["q"], p["hosts"], link.id, rate)
    elif spec.kind == "dragonfly":
        graph = fabrics.dragonfly(p["hosts"], p["group_switches"], p["global_ports"], p["groups"], link.id, rate)
    else:
        return _domain(spec, link, rate)
    return Topology(spec.id, graph, {link.id: link})


def _domain(spec: TopologySpec, link: LinkKind, rate: float) -> Topology:
    """A scale-up fabric alone; ``bandwidth`` of the spec is a card's, all links together."""
    import networkx as nx

    p, graph = spec.parameters, nx.Graph()
    size = p["nodes"] * p["node_devices"] if spec.kind == "ub" else p["devices"]
    members = nodes.add_endpoints(graph, size, p.get("node_devices", size))
    if spec.kind == "nvswitch":
        nodes.add_nvswitch(graph, members, p["switches"], link.id, rate, "0")
    elif spec.kind == "full-mesh":
        nodes.add_full_mesh(graph, members, link.id, rate)
    else:
        nodes.add_unified_bus(graph, members, p["node_devices"], p["planes"], p["spines"], link.id, rate)
    return Topology(spec.id, graph, {link.id: link}, size)


def cluster_topology(
    cluster: Cluster, load_link: LoadLink, devices: int | None = None, scale_out: str | None = None
) -> Topology:
    """The cluster's cards with both fabrics as one graph, or its first ``devices``.

    ``scale_out`` asks what another network between the same domains would do. Raises BadInput where the cluster does
    not say how it is wired, or where ``devices`` do not fill its domains.
    """
    wiring = cluster.topology
    if wiring is None:
        raise Malformed(f"{cluster.id}: no [topology] says how it is wired; add scale_up, scale_out and up_link to it")
    count = cluster.devices if devices is None else devices
    domain = min(cluster.scale_up_domain, count)
    if count > MOST_CARDS:
        raise OutOfRange(f"{cluster.id}: a graph of {count:,} cards is too large; at most {MOST_CARDS:,}")
    if not 1 <= count <= cluster.devices or count % domain or count % min(cluster.node_devices, count):
        raise DoesNotDivide(
            f"{cluster.id}: {count} devices do not fill domains of {domain}; give a multiple of it up to "
            f"{cluster.devices}"
        )
    import networkx as nx

    graph, up = nx.Graph(), load_link(wiring.up_link)
    members = nodes.add_endpoints(graph, count, min(cluster.node_devices, count))
    _join_domains(graph, members, cluster, wiring, up, domain)
    links: dict[str, LinkKind] = {up.id: up}
    if count > domain:
        out = load_link(wiring.out_link)
        links[out.id] = out
        kind = wiring.scale_out if scale_out is None else scale_out
        _join_out(graph, members, cluster, wiring, out.id, kind)
    return Topology(cluster.id, graph, links, domain)


def _join_domains(
    graph: Any, members: list[Any], cluster: Cluster, wiring: Wiring, link: LinkKind, domain: int
) -> None:
    rate = cluster.scale_up_bandwidth
    if rate is None:
        raise UnknownField(f"{cluster.id}: scale_up_bandwidth is unknown")
    for start in range(0, len(members), domain):
        own = members[start : start + domain]
        if domain == 1:
            continue
        if wiring.scale_up == "nvswitch":
            nodes.add_nvswitch(graph, own, wiring.switches, link.id, rate, str(start // domain))
        elif wiring.scale_up == "full-mesh":
            nodes.add_full_mesh(graph, own, link.id, rate)
        else:
            width = min(cluster.node_devices, domain)
            nodes.add_unified_bus(graph, own, width, UB_PLANES, UB_SPINES, link.id, rate)


def _join_out(graph: Any, members: list[Any], cluster: Cluster, wiring: Wiring, link: str, kind: str) -> None:
    """Each card's NIC to a leaf of its network.

    multi-plane: card i of every node to plane i. multi-rail: leaf i of a pod of radix/2 nodes serves card i of each,
    and all leaves share the spines. fat-tree-2, fat-tree-3: leaves fill up in rank order.
    """
    import networkx as nx

    rate, half, width = cluster.scale_out_bandwidth, wiring.radix // 2, cluster.node_devices
    if not rate:
        raise UnknownField(f"{cluster.id}: scale_out_bandwidth is unknown or 0")
    groups = len(members) // width
    if kind == "multi-plane":
        built = [fabrics.fat_tree_2(wiring.radix, link, rate, -(-groups // half), plane) for plane in range(width)]
        leaf_of = {m: ("leaf", i % width, i // width // half) for i, m in enumerate(members)}
    elif kind == "multi-rail":
        built = [fabrics.fat_tree_2(wiring.radix, link, rate, -(-groups // half) * width)]
        leaf_of = {m: ("leaf", 0, i // width // half * width + i % width) for i, m in enumerate(members)}
    elif kind == "fat-tree-2":
        built = [fabrics.fat_tree_2(wiring.radix, link, rate, -(-len(members) // half))]
        leaf_of = {m: ("leaf", 0, i // half) for i, m in enumerate(members)}
    elif kind == "fat-tree-3":
        built = [fabrics.fat_tree_3(wiring.radix, link, rate, -(-len(members) // half**2))]
        leaf_of = {m: ("edge", i // half**2, i // half % half) for i, m in enumerate(members)}
    else:
        raise Malformed(f"{cluster.id}: {kind!r} does not join domains; one of multi-plane, multi-rail, fat-tree-2, "
                       "fat-tree-3 does")  # fmt: skip
    for part in built:
        nx.set_node_attributes(part, 0, "hosts")
        graph.update(part)
    for member, leaf in leaf_of.items():
        graph.add_edge(member, leaf, link=link, bandwidth=rate, count=1)


def scale_out_kinds() -> Mapping[str, str]:
    """What may join domains, in words."""
    return {
        "multi-plane": "one two-layer fat tree for each card of a node",
        "multi-rail": "a leaf switch for each card of a node, spines shared",
        "fat-tree-2": "two layers, leaves filled in rank order",
        "fat-tree-3": "three layers, leaves filled in rank order",
    }
