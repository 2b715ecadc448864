"""Topologies against published counts and graph theory."""

from __future__ import annotations

from itertools import combinations

import networkx as nx
import numpy as np
import pytest

from costsim.errors import BadInput
from costsim.network import fabrics
from costsim.network.build import cluster_topology, counts, ports, topology, usd
from costsim.network.cut import bisection, max_flow
from costsim.network.topology import Counts, Topology, hops
from costsim.spec import catalog
from costsim.spec.base import build
from costsim.spec.topology import TopologySpec

#: endpoints, switches, links, MUSD, kUSD an endpoint [deepseek-isca-2025, table 3]
PUBLISHED = {
    "ft2-64": (2048, 96, 2048, 9, 4.39),
    "mpft-64x8": (16384, 768, 16384, 72, 4.39),
    "ft3-64": (65536, 5120, 131072, 491, 7.5),
    "slim-fly-28": (32928, 1568, 32928, 146, 4.4),
    "dragonfly-511": (261632, 16352, 384272, 1522, 5.8),
}
GIGA = 1e9


def named(name: str) -> Topology:
    return topology(catalog.load_topology(name), catalog.load_link)


def hosts(found: Topology) -> list[object]:
    return [node for node, count in found.graph.nodes(data="hosts") if count]


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_counts_and_costs(name: str) -> None:
    endpoints, switches, links, musd, kusd = PUBLISHED[name]
    found = counts(catalog.load_topology(name))
    assert found == Counts(endpoints, switches, links)
    cost = usd(catalog.load_topology(name), catalog.load_link)
    assert cost is not None
    # Prices are solved from FT2, FT3 and Slim Fly; Dragonfly is the check, 1.5 % off.
    assert cost / 1e6 == pytest.approx(musd, rel=0.02)
    assert cost / endpoints / 1e3 == pytest.approx(kusd, rel=0.02)


@pytest.mark.parametrize("name", [name for name in catalog.names(catalog.TOPOLOGIES) if name != "slim-fly-28"])
def test_a_built_graph_has_the_counts_of_its_formula(name: str) -> None:
    spec, found = catalog.load_topology(name), named(name)
    assert found.counts == counts(spec)
    assert found.usd == pytest.approx(usd(spec, catalog.load_link))
    if spec.kind not in ("nvswitch", "full-mesh", "ub"):
        assert found.ports_of("infiniband") == ports(spec)


def test_switches_of_few_ports_have_no_price() -> None:
    """The price known is one of 64-port switches."""
    assert usd(catalog.load_topology("fat-tree-4"), catalog.load_link) is None
    assert named("slim-fly-5").usd is None


def test_no_field_of_28_elements_no_slim_fly() -> None:
    with pytest.raises(BadInput, match=r"not a prime.*23, 29"):
        named("slim-fly-28")


@pytest.mark.parametrize("q", [5, 7, 11, 13, 17])
def test_slim_fly_is_regular_with_diameter_two(q: int) -> None:
    graph = fabrics.slim_fly(q, 1, "infiniband", 1.0)
    delta = 1 if q % 4 == 1 else -1
    degree = (3 * q - delta) // 2
    assert {d for _, d in graph.degree} == {degree}
    assert graph.number_of_nodes() == 2 * q * q
    assert nx.diameter(graph) == 2
    # Moore bound of diameter 2: 1 + k². Slim Fly keeps 8/9 of it in the limit; q = 5 meets it.
    moore = 1 + degree**2
    assert 2 * q * q <= moore
    assert 2 * q * q >= (0.88 if q % 4 == 1 else 0.79) * moore
    assert (2 * q * q == moore) == (q == 5)


def test_slim_fly_5_is_hoffman_singleton() -> None:
    found = fabrics.slim_fly(5, 1, "infiniband", 1.0)
    assert nx.is_isomorphic(found, nx.hoffman_singleton_graph())


@pytest.mark.parametrize("q", [5, 7, 11, 13, 29])
def test_generators_are_symmetric_and_cover_the_field(q: int) -> None:
    even, odd = fabrics.generators(q)
    for found in (even, odd):
        assert {(-x) % q for x in found} == found
        assert 0 not in found
    assert even | odd == set(range(1, q))


def test_dragonfly_groups_are_joined_and_ports_used_once() -> None:
    p, a, h, g = 2, 4, 2, 9
    graph = fabrics.dragonfly(p, a, h, g, "infiniband", 1.0)
    assert nx.diameter(graph) == 3  # local, global, local
    between = {frozenset((x[0], y[0])) for x, y in graph.edges if x[0] != y[0]}
    assert between == {frozenset(pair) for pair in combinations(range(g), 2)}
    for node in graph:
        outside = sum(data["count"] for _, other, data in graph.edges(node, data=True) if other[0] != node[0])
        assert outside == h


def test_dragonfly_uses_spare_ports_twice() -> None:
    graph = fabrics.dragonfly(1, 4, 2, 7, "infiniband", 1.0)  # 8 ports a group, 6 other groups
    used = dict.fromkeys(range(7), 0)
    for (x, _), (y, _), data in graph.edges(data=True):
        if x != y:
            used[x] += data["count"]
            used[y] += data["count"]
    assert set(used.values()) == {8}


def test_dragonfly_with_too_many_groups_is_refused() -> None:
    with pytest.raises(BadInput, match="there are 8"):
        fabrics.dragonfly(1, 4, 2, 12, "infiniband", 1.0)


@pytest.mark.parametrize("name", ["ft2-64", "fat-tree-4"])
def test_fat_trees_have_full_bisection_by_max_flow(name: str) -> None:
    found = named(name)
    ends = sorted(hosts(found), key=lambda node: found.graph.nodes[node]["place"])
    half = len(ends) // 2
    full = found.counts.endpoints / 2 * 50 * GIGA
    assert max_flow(found, ends[:half], ends[half:]) == pytest.approx(full)
    assert bisection(found).bytes_per_s == pytest.approx(full)


@pytest.mark.parametrize("name", ["slim-fly-5", "dragonfly-9", "fat-tree-4"])
def test_bisection_bounds_the_max_flow_of_its_halves(name: str) -> None:
    found = named(name)
    ends = hosts(found)
    left = [node for node in ends if found.graph.nodes[node]["place"] < 0.5]
    right = [node for node in ends if found.graph.nodes[node]["place"] >= 0.5]
    assert max_flow(found, left, right) <= bisection(found).bytes_per_s * (1 + 1e-9) * 1.05


def test_slim_fly_bisection_lies_above_the_spectral_bound() -> None:
    found = named("slim-fly-5")
    graph = nx.Graph(found.graph.edges)
    second = np.sort(nx.laplacian_spectrum(graph))[1]
    left = sum(place < 0.5 for _, place in found.graph.nodes(data="place"))
    least = second * left * (len(graph) - left) / len(graph) * 50 * GIGA  # any cut ≥ λ₂·s·(n − s)/n
    assert bisection(found).bytes_per_s >= least * (1 - 1e-9)


LONGEST = {
    "ft2-64": 4, "fat-tree-4": 6, "slim-fly-29": 4, "dragonfly-9": 5, "hgx-h800": 2, "mi300x-mesh": 1,
    "cloudmatrix384-ub": 4,
}  # fmt: skip


@pytest.mark.parametrize(("name", "longest"), LONGEST.items())
def test_longest_paths(name: str, longest: int) -> None:
    assert hops(named(name)).diameter == longest


def test_mean_hops_equal_networkx() -> None:
    found = named("fat-tree-4").drawn()
    ends = found.endpoints
    away = dict(nx.all_pairs_shortest_path_length(found.graph))
    mean = np.mean([away[a][b] for a in ends for b in ends if a != b])
    assert hops(found).mean == pytest.approx(mean)
    assert hops(named("fat-tree-4")).mean == pytest.approx(mean)


def test_cloudmatrix_is_not_oversubscribed() -> None:
    found = named("cloudmatrix384-ub")
    for node, data in found.graph.nodes(data=True):
        if data["kind"] == "switch" and data["tier"] == 1:
            down = sum(d["bandwidth"] for _, o, d in found.graph.edges(node, data=True) if o[0] == "gpu")
            up = sum(d["bandwidth"] for _, o, d in found.graph.edges(node, data=True) if o[0] == "l2")
            assert up == pytest.approx(down)
    # A level-2 chip has 48 ports, one for each node, of 28 GB/s.
    chips = [node for node in found.graph if node[0] == "l2"]
    assert len(chips) == 7 * 16
    assert {found.graph.degree(chip) for chip in chips} == {48}
    assert {d["bandwidth"] for _, _, d in found.graph.edges(chips, data=True)} == {28 * GIGA}


@pytest.mark.parametrize(("link", "near", "far"), [("infiniband", 2.8e-6, 3.7e-6), ("roce", 3.6e-6, 5.6e-6)])
def test_published_latencies_of_small_messages(link: str, near: float, far: float) -> None:
    spec = TopologySpec(id="t", name="t", kind="fat-tree-2", link=link, parameters={"radix": 4})
    found = topology(spec, catalog.load_link).drawn()
    ends = found.endpoints  # two to a leaf
    assert found.latency_s(ends[0], ends[1]) == pytest.approx(near)
    assert found.latency_s(ends[0], ends[-1]) == pytest.approx(far)


def test_nvlink_latency_of_a_node() -> None:
    found = named("hgx-h800")
    assert found.latency_s(found.endpoints[0], found.endpoints[5]) == pytest.approx(3.33e-6)


@pytest.mark.parametrize("name", catalog.names(catalog.CLUSTERS))
def test_every_cluster_is_wired_with_its_own_bandwidths(name: str) -> None:
    cluster = catalog.load_cluster(name)
    found = cluster_topology(cluster, catalog.load_link)
    assert len(found.endpoints) == cluster.devices
    card = found.endpoints[0]
    rates = {True: 0.0, False: 0.0}
    for _, _, data in found.graph.edges(card, data=True):
        rates[bool(data.get("up", False))] += data["bandwidth"] * data["count"]
    assert rates[True] == pytest.approx(cluster.scale_up_bandwidth)
    if cluster.devices > cluster.scale_up_domain:
        assert rates[False] == pytest.approx(cluster.scale_out_bandwidth)
        # Switches have no more ports than they have.
        assert cluster.topology is not None
        for node in found.switches:
            cables = sum(d["count"] for _, _, d in found.graph.edges(node, data=True) if not d.get("up", False))
            assert cables <= cluster.topology.radix
    assert nx.is_connected(found.graph)
    assert bisection(found).share == pytest.approx(1.0)


def test_the_training_cluster_costs_what_a_two_layer_tree_of_its_size_does() -> None:
    found = cluster_topology(catalog.load_cluster("h800-8x400g-ib"), catalog.load_link)
    assert found.counts_of("infiniband") == Counts(2048, 96, 2048)
    assert found.usd is not None
    assert found.usd / 2048 == pytest.approx(4390, rel=0.01)


def test_planes_meet_only_inside_nodes() -> None:
    found = cluster_topology(catalog.load_cluster("h800-8x400g-ib"), catalog.load_link, 64)
    out = nx.Graph((a, b) for a, b, up in found.graph.edges(data="up", default=False) if not up)
    assert nx.number_connected_components(out) == 8
    rails = cluster_topology(catalog.load_cluster("h100-8x400g-ib"), catalog.load_link, 64)
    out = nx.Graph((a, b) for a, b, up in rails.graph.edges(data="up", default=False) if not up)
    assert nx.number_connected_components(out) == 1


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"parameters": {"radix": 0}}, "radix = 0"),
        ({"parameters": {"radix": 64, "planes": 3}}, "takes radix"),
        ({"kind": "torus"}, "kind"),
        ({"bandwidth": 400}, "bare number"),
        ({"parameters": {"radix": 10**9}}, "must be from 1"),
    ],
)
def test_bad_topologies_are_refused_by_name(change: dict[str, object], says: str) -> None:
    good = {"id": "x", "name": "x", "kind": "fat-tree-2", "link": "infiniband", "parameters": {"radix": 8}}
    with pytest.raises(BadInput, match=says):
        build(TopologySpec, good | change, "x.toml")


def test_bad_clusters_are_refused_by_name() -> None:
    cluster = catalog.load_cluster("h800-8x400g-ib")
    with pytest.raises(BadInput, match="do not fill domains of 8"):
        cluster_topology(cluster, catalog.load_link, 12)
    with pytest.raises(BadInput, match=r"no \[topology\]"):
        cluster_topology(cluster.model_copy(update={"topology": None}), catalog.load_link)
    with pytest.raises(BadInput, match="does not join domains"):
        cluster_topology(cluster, catalog.load_link, 16, "torus")
    with pytest.raises(BadInput, match="too many to route"):
        named("ft3-64").drawn()


def test_unknown_links_and_topologies_offer_the_nearest() -> None:
    with pytest.raises(BadInput, match="infiniband"):
        catalog.load_link("infinband")
    with pytest.raises(BadInput, match="mpft-64x8"):
        catalog.load_topology("mpft")
