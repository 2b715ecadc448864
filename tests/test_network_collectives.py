"""Collectives on graphs: the closed form where nothing contends, published points, and what a matrix adds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmarks import networks
from costsim.calibration.store import device_for
from costsim.errors import BadInput
from costsim.network import traffic
from costsim.network.build import cluster_topology
from costsim.network.collectives import Factors, Sent, factors, time_collective, time_sent, time_traffic
from costsim.network.deepep import FREE, GROUP_LIMITED, RELEASES, exchange, traffic_of
from costsim.network.summary import PATTERNS, all_reduces, collectives, pattern_traffic
from costsim.network.topology import Topology
from costsim.physics.comm import expert_wires
from costsim.physics.layout import Layout
from costsim.physics.op import act_bytes
from costsim.physics.routing import units_touched
from costsim.physics.training.ffn import expert_wires as training_wires
from costsim.physics.training.passes import Recipe
from costsim.physics.training.shard import Shard
from costsim.spec import catalog
from costsim.timing.device import Device
from costsim.timing.duration import time_wire

H800 = catalog.load_cluster("h800-8x400g-ib")
TRUTH = pytest.mark.skipif(
    not (networks.TRUTH / "network").is_dir(), reason="the measured tables are not beside the checkout"
)


def wired(ranks: int, kind: str | None = None) -> Topology:
    return cluster_topology(H800, catalog.load_link, ranks, kind)


@pytest.fixture(scope="module")
def device() -> Device:
    return device_for(catalog.load_accelerator("h800-sxm"), H800)


# The published tables


@TRUTH
def test_nccl_points() -> None:
    points = list(networks.nccl_points())
    assert len(points) == 10
    median, _ = networks.summary(points)
    assert median <= networks.NCCL_BAR
    median, _ = networks.summary([point for point in points if not point.fitted])
    assert median <= networks.NCCL_BAR


@TRUTH
def test_deepep_tables_of_both_releases() -> None:
    points = [point for point in networks.deepep_points() if point.judged]
    assert len(points) == 40
    median, worst = networks.summary(points)
    assert median <= networks.DEEPEP_BAR
    assert worst <= networks.DEEPEP_WORST
    # The release that no law was fitted on, alone.
    unseen = [point for point in points if not point.fitted]
    median, worst = networks.summary(unseen)
    assert (len(unseen), median <= networks.DEEPEP_BAR, worst <= networks.DEEPEP_WORST) == (20, True, True)


@TRUTH
def test_version_2_of_deepep_on_a_400_gb_nic() -> None:
    points = [point for point in networks.deepep_points() if "V2" in point.group and "CX7" in point.group]
    assert len(points) == 6
    assert max(abs(point.error) for point in points) <= 0.20


@TRUTH
def test_latencies_and_costs() -> None:
    assert max(abs(point.error) for point in networks.latency_points()) < 1e-9
    assert max(abs(point.error) for point in networks.cost_points()) < 0.02


def test_the_floor_of_two_h20_nodes() -> None:
    """10–11 µs in a node, 46–48 µs across two, from 4 B to 1 KB [nccl-issues; deepep-issues].

    The law between nodes is of six installations, of which this is one."""
    h20 = device_for(catalog.load_accelerator("h20-96g"))
    sizes = np.array([128.0, 512.0, 1024.0])
    inside = time_collective("all_reduce", sizes, 8, 8, h20).time_s
    across = time_collective("all_reduce", sizes, 16, 8, h20).time_s
    assert np.all((inside >= 10e-6) & (inside <= 11e-6))
    assert np.all((across >= 0.93 * 46e-6) & (across <= 1.07 * 48e-6))


# One truth: the graph's answer is the closed form's where nothing contends


@pytest.mark.parametrize("low_latency", [False, True])
@pytest.mark.parametrize("ranks", [8, 16, 32, 64])
def test_expert_traffic_has_the_bytes_of_the_closed_form(ranks: int, low_latency: bool) -> None:
    model = catalog.load_model("deepseek-v3")
    layout = Layout(1.0, 1.0, ranks, 1.0, ranks, 8.0, 256 / ranks, "fp8", "bf16")
    tokens, hidden = 4096.0, float(model.hidden)
    for wire in expert_wires(model, layout, tokens, 1.0, low_latency):
        size = hidden * (act_bytes("fp8") if wire.part == "dispatch" else 2.0)
        sent = traffic.expert_traffic(GROUP_LIMITED, ranks, 8, tokens, size, low_latency)
        skew = float(np.asarray(layout.skew(tokens * 8, "decode" if low_latency else "prefill")))
        assert sent.busiest(up=True) * skew == pytest.approx(float(wire.up_bytes))
        assert sent.busiest(up=False) * skew == pytest.approx(float(wire.out_bytes))


@pytest.mark.parametrize("kind", PATTERNS)
@pytest.mark.parametrize("ranks", [8, 16, 64])
def test_a_rail_network_adds_nothing_to_aligned_collectives(device: Device, kind: str, ranks: int) -> None:
    """Ring, gather and neighbour traffic stays on its rail: the graph's time is time_wire's."""
    graph = wired(ranks)
    sent = pattern_traffic(kind, ranks, 8, 1e9)
    found = factors(graph, sent, device)
    assert found.out == pytest.approx(1.0)
    assert found.up == pytest.approx(1.0)
    assert found.latency_s == 0.0
    timed = time_collective(kind, 1e9, ranks, 8, device, found)
    wire = Sent(kind, 1e9, 1e9, ranks, 8)
    if kind == "all_to_all":
        wire = Sent(kind, sent.busiest(up=True), sent.busiest(up=False), ranks, 8)
    assert float(timed.time_s) == pytest.approx(float(time_wire(wire, device).time_s))


def test_relays_keep_every_byte_and_stay_on_their_rail() -> None:
    rng = np.random.default_rng(0)
    matrix = rng.random((24, 24))
    np.fill_diagonal(matrix, 0.0)
    sent = traffic.relayed(matrix, 8)
    node, index = np.arange(24) // 8, np.arange(24) % 8
    apart, alike = node[:, None] != node, index[:, None] == index
    assert not sent.out[~(apart & alike)].any()
    assert not sent.up[apart].any()
    # What arrives over a rail and what comes from neighbours for it is what the rank was sent.
    assert sent.out.sum() == pytest.approx(matrix[apart].sum())
    np.testing.assert_allclose(sent.out.sum(axis=0), (matrix * apart).sum(axis=0))
    direct = (matrix * ~apart).sum() + (matrix * (apart & ~alike)).sum()
    assert sent.up.sum() == pytest.approx(direct)


@pytest.mark.parametrize("kind", ["all_reduce", "all_gather", "reduce_scatter"])
@pytest.mark.parametrize("ranks", [8, 32])
def test_traffic_of_rings_has_the_bytes_of_the_closed_form(device: Device, kind: str, ranks: int) -> None:
    from dataclasses import replace

    from costsim.timing.duration import line_seconds

    plain = replace(device, in_network_reduction=False)
    up_s, out_s = line_seconds(Sent(kind, 1e9, 1e9, ranks, 8), plain)
    sent = pattern_traffic(kind, ranks, 8, 1e9)
    assert sent.busiest(up=True) / device.fabric("up") == pytest.approx(float(up_s))
    assert sent.busiest(up=False) / device.fabric("out") == pytest.approx(float(out_s))


# What only the graph knows


@pytest.mark.parametrize("ranks", [16, 64, 128])
def test_multi_plane_equals_multi_rail(device: Device, ranks: int) -> None:
    """Published: training on both networks 19.926 and 19.946 s a step, 0.1 % apart [deepseek-isca-2025, table 4]."""
    times = []
    for kind in ("multi-plane", "multi-rail"):
        (timed,) = collectives(wired(ranks, kind), device, [1e6, 1e9], kinds=("all_to_all",))
        times.append(timed.seconds)
    np.testing.assert_allclose(times[0], times[1], rtol=0.01)
    for way in ("dispatch", "combine"):
        sent = traffic_of(way, ranks, 4096.0, 7168.0, False, RELEASES["2025-04"])
        one, other = (time_traffic(way, sent, device, factors(wired(ranks, kind), sent, device)).time_s
                      for kind in ("multi-plane", "multi-rail"))  # fmt: skip
        assert float(one) == pytest.approx(float(other), rel=0.01)


def test_hash_collisions_cost_an_all_to_all_over_spines(device: Device) -> None:
    graph = wired(128, "fat-tree-2")
    sent = traffic.point_to_point(128, 8, 1e9, 64)
    shared, hashed = factors(graph, sent, device, "ecmp"), factors(graph, sent, device, "static")
    assert shared.out == pytest.approx(1.0)
    assert hashed.out >= 2.0
    slow, fast = (float(time_traffic("p2p", sent, device, f).time_s) for f in (hashed, shared))
    assert slow > 1.5 * fast


def test_the_busiest_receiver_sets_the_time(device: Device) -> None:
    """Twice the bytes to one rank alone takes nearly as long as twice the bytes to all."""
    sent = traffic.expert_traffic(GROUP_LIMITED, 32, 8, 4096.0, 7168.0, low_latency=True)
    hot = traffic.Traffic(sent.up.copy(), sent.out.copy(), sent.domain)
    hot.up[:, 5] *= 2.0
    hot.out[:, 5] *= 2.0
    even, skewed, double = (float(time_traffic("dispatch_ll", t, device).time_s) for t in (sent, hot, sent.scaled(2.0)))
    assert skewed == pytest.approx(double)
    assert skewed > 1.7 * even
    # On the way back that rank sends most.
    assert float(time_traffic("combine_ll", hot.returned(), device).time_s) > float(
        time_traffic("combine_ll", sent.returned(), device).time_s
    )


def group_limited_tokens(tokens: int, ranks: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Ranks of eight experts a token from four of eight groups, drawn evenly; and each token's own rank."""
    rng = np.random.default_rng(seed)
    groups = rng.random((tokens, 8)).argsort(axis=1)[:, :4]
    inside = rng.random((tokens, 4, 32)).argsort(axis=2)[:, :, :2]
    experts = (groups[:, :, None] * 32 + inside).reshape(tokens, 8)
    return experts // (256 // ranks), np.arange(tokens) % ranks


def test_nics_are_as_uneven_as_nodes_not_as_ranks() -> None:
    """Tokens of log-normal popularity on experts in order: what the closed form says of the busiest NIC is between the
    mean and what single tokens bring it, and far from what its rank is sent inside the node."""
    model = catalog.load_model("deepseek-v3")
    rng, ranks, tokens = np.random.default_rng(3), 32, 6000
    for _ in range(3):
        score = np.log(rng.lognormal(0.0, 0.8, 256)) + rng.gumbel(size=(tokens, 256))
        groups = np.sort(score.reshape(tokens, 8, 32), axis=2)[:, :, -2:].sum(axis=2)
        allowed = np.argsort(groups, axis=1)[:, -4:]
        masked = np.where((np.arange(8) == allowed[:, :, None]).any(axis=1).repeat(32, axis=1), score, -np.inf)
        target = np.argsort(masked, axis=1)[:, -8:] // 8
        sent = traffic.token_traffic(target, rng.integers(0, ranks, tokens), ranks, 8, 1.0)
        load = np.bincount(target.ravel(), minlength=ranks)
        rank, nic = float(load.max() / load.mean()), float(sent.out.sum(axis=0).max() / sent.out.sum(axis=0).mean())
        layout = Layout(1, 1, 32, 1, 32, 8, 8.0, "fp8", "bf16", imbalance=rank)
        node = float(layout.node_skew(1e6, "prefill", 4.0))
        assert nic < 1.0 + 0.5 * (rank - 1.0)
        assert abs(node - nic) < 0.3 * (rank - nic)
        assert float(replace(layout, imbalance=None, routing="default").node_skew(1e6, "prefill", 1.0)) == 1.0
        normal, low = (expert_wires(model, layout, 1e6, 1.0, way)[0] for way in (False, True))
        even = [expert_wires(model, replace(layout, imbalance=1.0), 1e6, 1.0, way)[0] for way in (False, True)]
        assert normal.up_bytes / even[0].up_bytes == pytest.approx(rank, rel=0.01)
        assert normal.out_bytes / even[0].out_bytes == pytest.approx(node, rel=0.01)
        assert low.out_bytes / even[1].out_bytes == pytest.approx(rank, rel=0.01)
        # training counts the same way; plain copies go to the rank that holds the expert
        shard = Shard(1e6, 4096.0, 1.0, 1.0, 1.0, 32.0, 1.0, 8.0, 8.0, imbalance=rank)
        for copies, skew in ((False, node), (True, rank)):
            recipe = Recipe("bf16", copies=copies)
            ours, flat = (training_wires(model, s, recipe).forward[0] for s in (shard, replace(shard, imbalance=1.0)))
            assert ours.up_bytes / flat.up_bytes == pytest.approx(rank, rel=0.01)
            assert ours.out_bytes / flat.out_bytes == pytest.approx(skew, rel=0.01)


@pytest.mark.parametrize("low_latency", [False, True])
@pytest.mark.parametrize("ranks", [8, 16, 32])
def test_real_tokens_meet_the_expectation(ranks: int, low_latency: bool) -> None:
    tokens = 60_000
    where, own = group_limited_tokens(tokens, ranks, 3)
    sent = traffic.token_traffic(where, own, ranks, 8, 1.0, low_latency)
    expected = traffic.expert_traffic(GROUP_LIMITED, ranks, 8, tokens / ranks, 1.0, low_latency)
    assert sent.out.sum() == pytest.approx(expected.out.sum(), rel=0.01)
    assert sent.up.sum() == pytest.approx(expected.up.sum(), rel=0.02)
    assert sent.busiest(up=True) >= expected.busiest(up=True) * 0.99
    if not low_latency and ranks > 8:
        nodes = sent.out.sum() / tokens + (1.0 / (ranks / 8)) * float(units_touched(GROUP_LIMITED, ranks / 8))
        assert nodes <= 4.0  # node-limited routing


def test_normal_dispatch_crosses_the_network_once_a_node() -> None:
    where = np.array([[8, 9, 10, 11, 16, 17, 0, 1]])
    sent = traffic.token_traffic(where, np.array([3]), 24, 8, 1.0)
    assert sent.out.sum() == 2.0  # nodes 1 and 2, once each, to the rank of index 3
    assert (sent.out[3, 11], sent.out[3, 19]) == (1.0, 1.0)
    assert sent.up.sum() == 8.0
    assert (sent.up[11, 8], sent.up[11, 11], sent.up[19, 17], sent.up[3, 0]) == (1.0, 1.0, 1.0, 1.0)
    direct = traffic.token_traffic(where, np.array([3]), 24, 8, 1.0, low_latency=True)
    assert direct.out.sum() == 6.0


def test_own_experts_cost_nothing_in_normal_mode() -> None:
    sent = traffic.token_traffic(np.array([[3, 3]]), np.array([3]), 8, 8, 1.0)
    assert sent.matrix.sum() == 0.0


# Algorithms of the all-reduce


@pytest.mark.parametrize("ranks", [32, 64, 128])
def test_trees_take_fewer_steps_and_rings_fewer_bytes(device: Device, ranks: int) -> None:
    found = all_reduces(wired(ranks), device, [1e3, 4e9])
    assert found["tree"][0] < found["ring"][0]
    assert found["ring"][1] <= found["tree"][1] * 1.001
    nodes = ranks // 8
    step = catalog.load_link("infiniband").endpoint + catalog.load_link("infiniband").hop
    gap = found["ring"][0] - found["tree"][0]
    law = device.law("all_reduce", "bytes").law
    inside = law.per_doubling_s * (7 - 3)  # type: ignore[union-attr]
    assert gap == pytest.approx(2 * (nodes - 1 - np.log2(nodes)) * step + inside, rel=0.02)


def test_a_switch_that_adds_beats_a_ring_in_a_node(device: Device) -> None:
    nvls, ring = (float(time_collective("all_reduce", 1e9, 8, 8, device, algorithm=a).time_s) for a in ("nvls", "ring"))
    assert ring / nvls == pytest.approx((2 * 7 / 8) / (9 / 8), rel=0.02)
    default = float(time_collective("all_reduce", 1e9, 8, 8, device).time_s)
    assert default == pytest.approx(nvls, rel=1e-6)


@pytest.mark.parametrize("nodes", [2, 3, 4, 5, 8, 13, 16, 31])
def test_the_double_tree_reduces_everything_and_shares_the_work(nodes: int) -> None:
    moved = traffic.double_tree(nodes)
    # Each tree has nodes − 1 edges, each carrying half the data up and half down.
    assert moved.sum() == pytest.approx(2.0 * (nodes - 1))
    np.testing.assert_allclose(moved, moved.T)
    assert moved.sum(axis=1).max() <= 2.5


# Speed of light, arrays, refusals


@pytest.mark.parametrize("kind", PATTERNS)
@pytest.mark.parametrize("chip", ["h800-8x400g-ib", "h100-8x400g-ib", "mi300x-8x400g", "b200-8x400g", "atlas-800t-a2"])
def test_no_collective_is_faster_than_its_busiest_link(kind: str, chip: str) -> None:
    cluster = catalog.load_cluster(chip)
    graph = cluster_topology(cluster, catalog.load_link, 16)
    device = device_for(catalog.load_accelerator(cluster.accelerator), cluster)
    sizes = 2.0 ** np.arange(10, 34)
    (timed,) = collectives(graph, device, sizes.tolist(), kinds=(kind,))
    from costsim.network.routing import link_loads

    loads = link_loads(graph, pattern_traffic(kind, 16, 8, 1.0).matrix)
    least = loads.slowest_s(up=False) * sizes
    assert np.all(timed.seconds >= least * (1 - 1e-9))
    assert np.all(np.diff(timed.seconds) >= 0)


def test_sizes_broadcast(device: Device) -> None:
    sizes = np.array([1e4, 1e6, 1e8])
    both = time_collective("all_to_all", sizes, 64, 8, device).time_s
    one = [float(time_collective("all_to_all", size, 64, 8, device).time_s) for size in sizes]
    np.testing.assert_allclose(both, one)


def test_messages_beyond_the_measured_sizes_keep_their_bandwidth() -> None:
    """nccl-tests' curves are flat from a few hundred MB on: four times the bytes take four times as long."""
    h100 = device_for(catalog.load_accelerator("h100-sxm"))
    for kind in ("all_reduce", "all_gather", "reduce_scatter", "all_to_all"):
        small, large = (float(time_collective(kind, size, 8, 8, h100).time_s) for size in (2.0**30, 2.0**32))
        assert large / small == pytest.approx(4.0, rel=0.02)


def test_a_longer_path_costs_its_switches(device: Device) -> None:
    near, far = wired(256), wired(512)  # 32 nodes fill a leaf; 64 need a spine
    sent = [traffic_of("dispatch", n, 128.0, 7168.0, True, RELEASES["2025-02"], moe=FREE) for n in (256, 512)]
    link = catalog.load_link("infiniband")
    assert factors(near, sent[0], device).latency_s == 0.0
    assert factors(far, sent[1], device).latency_s == pytest.approx(2 * link.hop)
    plain = time_sent(Sent("p2p", 1e6, 1e6, 16.0, 8.0), device).time_s
    assert float(time_sent(Sent("p2p", 1e6, 1e6, 16.0, 8.0), device, Factors(latency_s=1e-6)).time_s) == pytest.approx(
        float(plain) + 1e-6
    )


@pytest.mark.parametrize(
    ("ask", "says"),
    [
        (lambda d: time_collective("all_shuffle", 1e6, 8, 8, d), "all_shuffle"),
        (lambda d: time_collective("all_reduce", 1e6, 12, 8, d), "do not fill domains of 8"),
        (lambda d: time_collective("all_reduce", 1e6, 1, 8, d), "at least 2 ranks"),
        (lambda d: time_collective("all_reduce", 1e6, 8, 8, d, algorithm="star"), "ring, tree, nvls"),
        (lambda d: time_collective("all_gather", 1e6, 8, 8, d, algorithm="tree"), "only all_reduce"),
        (lambda d: exchange(d, "dispatch", 8, 1.0, 1.0, True, "1999"), "unknown DeepEP release"),
        (lambda d: traffic.token_traffic(np.array([[9]]), np.array([0]), 8, 8, 1.0), "ranks must lie in"),
        (lambda d: traffic.token_traffic(np.array([1]), np.array([0]), 8, 8, 1.0), "must be"),
        (lambda d: factors(wired(16), traffic.all_to_all(8, 8, 1.0), d), "16 endpoints"),
        (lambda d: time_traffic("all_reduce", traffic.all_to_all(8, 8, 1.0), d), "not one of"),
        (lambda d: pattern_traffic("x", 8, 8), "not one of"),
    ],
)
def test_bad_questions_are_one_line(device: Device, ask: object, says: str) -> None:
    with pytest.raises(BadInput, match=says) as caught:
        ask(device)  # type: ignore[operator]
    assert "\n" not in str(caught.value)
