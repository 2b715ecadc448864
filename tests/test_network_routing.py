"""Link loads against hand-made cases, conservation and other solvers."""

from __future__ import annotations

from itertools import pairwise

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from costsim.errors import BadInput
from costsim.network import ROUTINGS
from costsim.network.build import cluster_topology, topology
from costsim.network.routing import Loads, contention, link_loads, uniform_matrix
from costsim.network.topology import Topology
from costsim.spec import catalog

SMALL = ("fat-tree-4", "dragonfly-9", "hgx-h800", "mi300x-mesh")


def named(name: str) -> Topology:
    found = topology(catalog.load_topology(name), catalog.load_link)
    return found if found.endpoints else found.drawn()


GRAPHS = {name: named(name) for name in SMALL}
GRAPHS["cluster"] = cluster_topology(catalog.load_cluster("h800-8x400g-ib"), catalog.load_link, 32)


def balance(loads: Loads) -> np.ndarray:
    """Bytes out minus bytes in, of every node."""
    size = len(loads.wires.nodes)
    return np.bincount(loads.wires.tail, loads.moved, size) - np.bincount(loads.wires.head, loads.moved, size)


@pytest.mark.parametrize("routing", ROUTINGS)
@pytest.mark.parametrize("name", GRAPHS)
@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_bytes_are_conserved_at_every_node(name: str, routing: str, seed: int) -> None:
    found = GRAPHS[name]
    size = len(found.endpoints)
    matrix = np.random.default_rng(seed).random((size, size)) * (np.random.default_rng(seed + 1).random(size) > 0.3)
    np.fill_diagonal(matrix, 0.0)
    loads = link_loads(found, matrix, routing, seed % 1000)
    net = np.zeros(len(loads.wires.nodes))
    ranks = [loads.wires.index[node] for node in found.endpoints]
    net[ranks] = matrix.sum(axis=1) - matrix.sum(axis=0)
    np.testing.assert_allclose(balance(loads), net, atol=1e-9 * matrix.sum())


@pytest.mark.parametrize("name", SMALL)
def test_shortest_paths_move_bytes_times_distance(name: str) -> None:
    found = GRAPHS[name]
    rng = np.random.default_rng(0)
    matrix = rng.random((len(found.endpoints),) * 2)
    np.fill_diagonal(matrix, 0.0)
    away = dict(nx.all_pairs_shortest_path_length(found.graph))
    expected = sum(
        matrix[i, j] * away[a][b] for i, a in enumerate(found.endpoints) for j, b in enumerate(found.endpoints)
    )
    for routing in ("ecmp", "static"):
        assert link_loads(found, matrix, routing).moved.sum() == pytest.approx(expected)


def test_ecmp_equals_networkx_on_all_shortest_paths() -> None:
    """Where all next hops are alike in bandwidth and lead on symmetrically, ECMP shares over all shortest paths."""
    found = GRAPHS["fat-tree-4"]
    a, b = found.endpoints[0], found.endpoints[-1]
    matrix = np.zeros((16, 16))
    matrix[0, 15] = 1.0
    loads = link_loads(found, matrix)
    paths = list(nx.all_shortest_paths(found.graph, a, b))
    expected: dict[tuple[object, object], float] = {}
    for path in paths:
        for pair in pairwise(path):
            expected[pair] = expected.get(pair, 0.0) + 1.0 / len(paths)
    got = {
        (loads.wires.nodes[t], loads.wires.nodes[h]): moved
        for t, h, moved in zip(loads.wires.tail, loads.wires.head, loads.moved, strict=True)
        if moved > 0
    }
    assert got == pytest.approx(expected)


def test_a_fat_tree_takes_any_permutation_without_contention() -> None:
    found = GRAPHS["fat-tree-4"]
    rng = np.random.default_rng(1)
    for _ in range(5):
        matrix = np.eye(16)[rng.permutation(16)]
        assert contention(found, matrix) == pytest.approx(1.0)


def test_hashed_paths_collide() -> None:
    found = GRAPHS["fat-tree-4"]
    shift = np.roll(np.eye(16), 8, axis=1)
    worst = [contention(found, shift, "static", seed) for seed in range(8)]
    assert max(worst) >= 2.0
    assert min(worst) >= 1.0
    assert contention(found, shift, "static", 3) == contention(found, shift, "static", 3)


def test_valiant_rescues_a_dragonfly_from_its_worst_case() -> None:
    """All of a group to the next group share one cable (and a few detours as short); Valiant's paths use them all."""
    found = GRAPHS["dragonfly-9"]
    size = len(found.endpoints)
    matrix = np.roll(np.eye(size), 8, axis=1)  # a group holds eight endpoints
    minimal, random = contention(found, matrix, "ecmp"), contention(found, matrix, "valiant")
    assert 5.0 <= minimal <= 8.0
    assert random < minimal / 2


def test_one_peer_of_a_mesh_gets_one_link_of_seven() -> None:
    found = GRAPHS["mi300x-mesh"]
    assert contention(found, np.roll(np.eye(8), 1, axis=1)) == pytest.approx(7.0)
    assert contention(found, uniform_matrix(8, 1.0)) == pytest.approx(1.0)
    assert contention(GRAPHS["hgx-h800"], np.roll(np.eye(8), 1, axis=1)) == pytest.approx(1.0)


def test_what_stays_in_a_node_stays_off_the_network() -> None:
    for kind in ("multi-plane", "multi-rail", "fat-tree-2", "fat-tree-3"):
        found = cluster_topology(catalog.load_cluster("h800-8x400g-ib"), catalog.load_link, 16, kind)
        inside = np.kron(np.eye(2), np.ones((8, 8)))
        assert link_loads(found, inside).slowest_s(up=False) == 0.0


def test_loads_are_linear_in_the_traffic() -> None:
    found = GRAPHS["cluster"]
    rng = np.random.default_rng(2)
    a, b = rng.random((2, 32, 32))
    both = link_loads(found, a + 2.0 * b).moved
    np.testing.assert_allclose(both, link_loads(found, a).moved + 2.0 * link_loads(found, b).moved)


def test_no_link_is_faster_than_light() -> None:
    """What crosses the cut takes at least its bytes over the cut's bandwidth."""
    found = GRAPHS["dragonfly-9"]
    size = len(found.endpoints)
    loads = link_loads(found, uniform_matrix(size, 1e9))
    from costsim.network.cut import bisection

    crossing = 1e9 * size / 2 * (size / 2) / (size - 1)
    assert loads.slowest_s(up=False) >= crossing / bisection(found).bytes_per_s * (1 - 1e-9)


@pytest.mark.parametrize(
    ("matrix", "says"),
    [
        (np.ones((3, 3)), "has 16 endpoints"),
        (np.full((16, 16), -1.0), "not negative"),
        (np.full((16, 16), np.nan), "finite"),
    ],
)
def test_bad_matrices_are_refused(matrix: np.ndarray, says: str) -> None:
    with pytest.raises(BadInput, match=says):
        link_loads(GRAPHS["fat-tree-4"], matrix)


def test_bad_routing_and_separate_planes_are_refused() -> None:
    with pytest.raises(BadInput, match="ecmp, static, valiant"):
        link_loads(GRAPHS["fat-tree-4"], np.ones((16, 16)), "magic")
    from costsim.network import fabrics

    graph = fabrics.multi_plane(4, 2, "infiniband", 1.0)
    planes = Topology("planes", graph, {"infiniband": catalog.load_link("infiniband")}).drawn()
    with pytest.raises(BadInput, match="no path joins"):
        link_loads(planes, np.ones((16, 16)))
