"""Expert placement: the published balancer's figures, bounds and optima, another solver, properties."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import lru_cache
from itertools import combinations, combinations_with_replacement, permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from costsim.errors import BadInput
from costsim.placement import eplb, local
from costsim.placement.bound import lower_bound
from costsim.placement.drift import mean_imbalance, remedies, spread, windows
from costsim.placement.load import lognormal, power_law, statistics
from costsim.placement.moves import moved, nearby, relabelled
from costsim.placement.optimize import Goal, optimise
from costsim.placement.placement import Loads, Placement, Shape, naive
from costsim.placement.splitting import resplit
from costsim.placement.traffic import Choices, measure, remote_nodes, symmetric_mean

SHARED = Path(__file__).resolve().parents[2] / "shared" / "truth" / "expert_load"
V3 = Choices(8, 4)
NOW, BALANCE = Goal(0.0), Goal(0.0, None)
EP32, EP144 = Shape(256, 288, 32, 4, 8), Shape(256, 288, 144, 18, 8)


@lru_cache
def shared(name: str) -> Any:
    path = SHARED / name
    if not path.is_file():
        pytest.skip("recorded loads and placements are in shared/, which this checkout lacks")
    return json.loads(path.read_text()) if path.suffix == ".json" else np.load(path)


def loads(sigma: float, later: bool = False) -> Loads:
    return np.asarray(shared(f"lognormal_s{sigma}_58x256{'_next' if later else ''}.npy"), dtype=float)


def published() -> dict[str, Any]:
    return {row["name"]: row for row in shared("eplb_baseline.json")}


README = np.array([[90, 132, 40, 61, 104, 165, 39, 4, 73, 56, 183, 86],
                   [20, 107, 104, 64, 19, 197, 187, 157, 172, 86, 16, 27]], dtype=float)  # fmt: skip
TOY = np.array([[600, 560, 120, 120, 20, 10, 10, 10]], dtype=float)


def test_eplb_on_its_own_example() -> None:
    """[eplb, README]: 12 experts, 16 replicas, 4 groups, 2 nodes, 8 GPUs; and the example of a faster balancer."""
    assert eplb.eplb(Shape(12, 16, 8, 2, 4), README).imbalance(README).mean() == pytest.approx(1.2252, abs=5e-4)
    assert eplb.eplb(Shape(12, 16, 8), README).imbalance(README).mean() == pytest.approx(1.1315, abs=5e-4)
    assert eplb.eplb(Shape(8, 16, 8), TOY).imbalance(TOY).mean() == pytest.approx(1.28, abs=5e-4)
    # The readme's first layer, hierarchical, as printed there up to the order of equal GPUs.
    printed = [5, 6, 5, 7, 8, 4, 3, 4, 10, 9, 10, 2, 0, 1, 11, 1]
    ours = eplb.eplb(Shape(12, 16, 8, 2, 4), README).expert_of[0]
    assert sorted(map(sorted, ours.reshape(8, 2).tolist())) == sorted(
        sorted(pair) for pair in np.reshape(printed, (8, 2)).tolist()
    )


def test_eplb_equals_the_published_algorithm() -> None:
    """max/mean to three digits on every shipped case, mean and worst layer."""
    seen = 0
    for name, row in published().items():
        sigma = re.match(r"lognormal s=([\d.]+) (?!naive)", name)
        if sigma is None:
            continue
        w = loads(float(sigma[1]))
        shape = Shape(256, row["replicas"], row["gpus"], row["nodes"], row["groups"])
        imbalance = eplb.eplb(shape, w).imbalance(w)
        assert imbalance.mean() == pytest.approx(row["max_mean_avg"], abs=6e-4), name
        assert imbalance.max() == pytest.approx(row["max_mean_worst"], abs=6e-4), name
        seen += 1
    assert seen == 24


@pytest.mark.parametrize(("sigma", "most"), [(0.4, 1.049), (0.6, 1.077), (0.8, 1.175), (1.0, 1.3137)])
def test_static_balance_at_ep144(sigma: float, most: float) -> None:
    """Two slots a GPU: EPLB's own replicas are paired optimally, so the gain is from what is replicated."""
    w = loads(sigma)
    base, low = eplb.eplb(EP144, w).imbalance(w), lower_bound(EP144, w)
    for goal in (Goal(), BALANCE):
        ours = optimise(EP144, w, V3, goal).imbalance(w)
        assert (ours <= base + 1e-9).all()
        assert (low <= ours + 1e-9).all()
        assert ours.mean() <= most
    still = optimise(EP144, w, V3, BALANCE).imbalance(w)
    # What search finds for this window alone, well under EPLB where its pairs, not its hottest copy, are the limit.
    assert still.mean() <= {0.4: 1.025, 0.6: 1.065, 0.8: 1.170, 1.0: 1.3125}[sigma]


def test_next_window_is_no_worse_on_average() -> None:
    """Over many windows that the search never saw: one window alone is a coin toss at differences this small."""
    ahead = []
    for sigma in (0.4, 0.6, 0.8, 1.0):
        w = loads(sigma)
        base, ours = eplb.eplb(EP144, w), optimise(EP144, w, V3)
        later = windows(w, 0.15, 60, seed=2024)
        gain = np.array([(base.imbalance(x) - ours.imbalance(x)).mean() for x in later])
        assert gain.mean() > -2.0 * gain.std() / len(gain) ** 0.5
        ahead.append(gain.mean())
        recorded = loads(sigma, later=True)
        assert ours.imbalance(recorded).mean() <= base.imbalance(recorded).mean() * 1.005
    assert np.mean(ahead) > 5e-4


@pytest.mark.parametrize("sigma", [0.6, 0.8, 1.0])
def test_balance_and_traffic_at_ep32(sigma: float) -> None:
    """Node-local EPLB leaves 1.035–1.066: half of the excess must go for at most 4 % more remote copies."""
    w = loads(sigma)
    base = eplb.eplb(EP32, w)
    reach = remote_nodes(base, w, V3).mean()
    for goal in (Goal(), NOW):
        ours = optimise(EP32, w, V3, goal)
        assert ours.imbalance(w).mean() - 1.0 <= 0.5 * (base.imbalance(w).mean() - 1.0)
        assert remote_nodes(ours, w, V3).mean() <= 1.04 * reach
    free = optimise(EP32, w, V3, BALANCE)
    assert free.imbalance(w).mean() <= eplb.global_(EP32, w).imbalance(w).mean()
    assert optimise(EP32, w, V3, Goal(0.0, 0.0)).imbalance(w).mean() <= base.imbalance(w).mean()


def test_balance_and_traffic_on_recorded_choices() -> None:
    """Token-level choices: EPLB node-local 2.36 remote nodes a token, global 2.73."""
    tokens = shared("synthetic_topk_4x8192x8_seed42.npy")
    w = np.stack([np.bincount(layer.ravel(), minlength=256) for layer in tokens]).astype(float)
    choices = Choices(8, 4, tokens)
    base, everywhere = eplb.eplb(EP32, w), eplb.global_(EP32, w)
    rows = {(row["name"], row["replica_choice"]): row for row in shared("eplb_internode_synthetic.json")}
    for placement, name in ((base, "hier288 4x8"), (everywhere, "global288 4x8")):
        traffic = measure(placement, w, choices)
        row = rows[name, "random"]
        assert traffic.remote_nodes_per_token == pytest.approx(row["remote_nodes_per_token"], rel=0.005)
        assert traffic.nodes_per_token == pytest.approx(row["nodes_per_token"], rel=0.005)
    near = measure(everywhere, w, choices, copies="local").remote_nodes_per_token
    assert near == pytest.approx(rows["global288 4x8", "local-first"]["remote_nodes_per_token"], rel=0.005)
    ours = optimise(EP32, w, choices)
    assert measure(ours, w, choices).remote_nodes_per_token <= 1.04 * 2.36
    assert ours.imbalance(w).mean() - 1.0 <= 0.5 * (base.imbalance(w).mean() - 1.0)
    # The closed form stands where no trace is: within 2 % of what the trace says.
    for placement in (base, everywhere, ours):
        assert remote_nodes(placement, w, V3).mean() == pytest.approx(
            measure(placement, w, choices).remote_nodes_per_token, rel=0.02
        )


def test_gpus_gathered_by_groups_send_less_at_the_same_balance() -> None:
    """EP144 does not divide by groups: which GPUs share a node is free, and EPLB leaves it to chance."""
    w = lognormal(4, 256, 0.8, seed=12).counts
    ours, base = optimise(EP144, w, V3, BALANCE), eplb.eplb(EP144, w)
    plain = optimise(Shape(256, 288, 144), w, V3, BALANCE)
    np.testing.assert_allclose(ours.imbalance(w), plain.imbalance(w))
    assert remote_nodes(ours, w, V3).mean() < 0.99 * remote_nodes(base, w, V3).mean()


def small_cases(count: int, seed: int) -> list[tuple[Shape, Loads]]:
    rng = np.random.default_rng(seed)
    cases = []
    for _ in range(count):
        gpus, experts = int(rng.integers(2, 17)), int(rng.integers(8, 65))
        slots = (-(-experts // gpus) + int(rng.integers(0, 3))) * gpus
        sigma = float(rng.choice([0.3, 0.6, 0.8, 1.0, 1.2]))
        cases.append((Shape(experts, slots, gpus), np.exp(rng.normal(0.0, sigma, (1, experts)))))
    return cases


def test_small_instances_are_near_the_proven_optimum() -> None:
    """At most 64 experts on 16 GPUs: within 1 % of a proven bound, simple or from HiGHS, in 95 % of random cases."""
    pytest.importorskip("scipy")
    from costsim.placement.reference import optimum

    near, cases = 0, small_cases(30, seed=5)
    for shape, w in cases:
        ours = float(optimise(shape, w, V3, BALANCE).imbalance(w)[0])
        bound = float(lower_bound(shape, w)[0])
        assert bound <= ours + 1e-9
        size = (shape.slots - shape.experts + 1) * shape.experts * shape.gpus
        if ours > 1.01 * bound and size < 4000:
            bound = max(bound, optimum(shape, w[0], limit_s=3.0, known=ours + 1e-9).bound)
        near += ours <= 1.01 * bound
    assert near >= 0.95 * len(cases)


def test_exact_reference_against_enumeration() -> None:
    """Every placement of five experts in six slots on three GPUs."""
    pytest.importorskip("scipy")

    from costsim.placement.reference import optimum

    w = np.array([[9.0, 5.0, 3.0, 2.0, 1.0]])
    shape = Shape(5, 6, 3)
    best = np.inf
    for extra in range(5):
        slots = [*range(5), extra]
        for order in set(permutations(slots)):
            best = min(best, float(Placement(shape, np.array([order])).imbalance(w)[0]))
    solved = optimum(shape, w[0])
    assert solved.found == pytest.approx(best, rel=2e-3)
    assert solved.bound == pytest.approx(best, rel=2e-3)
    assert float(optimise(shape, w, V3, BALANCE).imbalance(w)[0]) == pytest.approx(best, rel=1e-9)


@st.composite
def instances(draw: st.DrawFn) -> tuple[Shape, Loads]:
    nodes, per_node, per_gpu = draw(st.integers(1, 3)), draw(st.integers(1, 4)), draw(st.integers(1, 5))
    slots = nodes * per_node * per_gpu
    groups = draw(st.sampled_from([1, nodes, 2 * nodes]))
    most = slots // groups
    if most == 0:
        groups, most = 1, slots
    experts = groups * draw(st.integers(1, most))
    layers = draw(st.integers(1, 3))
    seed = draw(st.integers(0, 10_000))
    rng = np.random.default_rng(seed)
    w = rng.integers(0, 50, (layers, max(experts, 2))).astype(float)
    w[:, 0] += 1.0
    if experts < 2:
        experts, groups = 2, 1
        slots = max(slots, 2)
        nodes, per_node = 1, 1
        return Shape(2, slots, 1), w
    return Shape(experts, slots, nodes * per_node, nodes, groups), w


@settings(max_examples=40, deadline=None, derandomize=True)
@given(instances(), st.sampled_from([Goal(), NOW, BALANCE, Goal(0.2, 0.0)]))
def test_any_placement_is_whole_and_between_bound_and_eplb(case: tuple[Shape, Loads], goal: Goal) -> None:
    shape, w = case
    choices = Choices(min(4, shape.experts), min(2, shape.groups))
    base = eplb.eplb(shape, w)
    ours = optimise(shape, w, choices, goal)
    for placement in (base, ours, naive(shape, len(w))):
        assert placement.expert_of.shape == (len(w), shape.slots)
        assert (placement.copies >= 1).all()
        assert (placement.copies.sum(axis=1) == shape.slots).all()
        np.testing.assert_allclose(placement.gpu_load(w).sum(axis=1), w.sum(axis=1))
    assert (lower_bound(shape, w) <= ours.imbalance(w) + 1e-9).all()
    assert (ours.imbalance(w) <= base.imbalance(w) + 1e-9).all()
    split = resplit(ours, w)
    np.testing.assert_allclose(split.sum(axis=1), w.sum(axis=1))
    assert (split.max(axis=1) <= ours.gpu_load(w).max(axis=1) * (1 + 1e-6)).all()


def test_names_of_experts_do_not_matter() -> None:
    """Experts renamed within one group: EPLB's balance is the same, ours as good to half a percent."""
    w = lognormal(6, 64, 0.8, seed=3).counts
    order = np.random.default_rng(0).permutation(64)
    shape = Shape(64, 80, 16)
    np.testing.assert_allclose(eplb.eplb(shape, w).imbalance(w), eplb.eplb(shape, w[:, order]).imbalance(w[:, order]))
    first, second = (optimise(shape, x, V3, BALANCE).imbalance(x).mean() for x in (w, w[:, order]))
    assert first == pytest.approx(second, rel=5e-3)


def test_scale_of_loads_does_not_matter() -> None:
    w = lognormal(4, 64, 0.8, seed=4).counts
    first, second = (optimise(Shape(64, 80, 8, 2, 4), x, Choices(4, 2)).expert_of for x in (w, w * 4.0))
    np.testing.assert_array_equal(first, second)


def test_same_seed_same_placement() -> None:
    w = lognormal(4, 64, 0.8, seed=5).counts
    shape = Shape(64, 96, 48, 6, 8)
    np.testing.assert_array_equal(optimise(shape, w, V3).expert_of, optimise(shape, w, V3).expert_of)


def test_fold_is_the_best_pairing() -> None:
    """Largest with smallest against every pairing of eight slots."""

    def best(values: list[float]) -> float:
        if not values:
            return 0.0
        first, rest = values[0], values[1:]
        return min(max(first + rest[i], best(rest[:i] + rest[i + 1 :])) for i in range(len(rest)))

    for seed in range(20):
        values = np.random.default_rng(seed).exponential(1.0, 8)
        assert local.folded(values).max() == pytest.approx(best(values.tolist()))


def test_resplit_against_a_linear_program() -> None:
    scipy = pytest.importorskip("scipy.optimize")
    w, later = lognormal(3, 64, 0.8, seed=6).counts, lognormal(3, 64, 0.8, seed=7).counts
    shape = Shape(64, 96, 16)
    placement = optimise(shape, w, V3)
    found = resplit(placement, later).max(axis=1)
    for layer in range(3):
        experts = placement.expert_of[layer]
        over = np.zeros((16, 97))
        over[np.arange(96) // 6, np.arange(96)] = 1.0
        over[:, -1] = -1.0
        whole = np.zeros((64, 97))
        whole[experts, np.arange(96)] = 1.0
        cost = np.zeros(97)
        cost[-1] = 1.0
        solved = scipy.linprog(cost, over, np.zeros(16), whole, later[layer])
        assert found[layer] == pytest.approx(solved.fun, rel=1e-4)


def test_moves_are_few_where_few_are_allowed() -> None:
    w = lognormal(5, 64, 0.8, seed=8).counts
    later = windows(w, 0.3, 1)[0]
    shape = Shape(64, 80, 16, 2, 4)
    present = optimise(shape, w, V3)
    before = present.imbalance(later).mean()
    last = before
    for most in (0, 2, 6, 20):
        near = nearby(present, later, most)
        assert (moved(present, near) <= most).all()
        assert near.imbalance(later).mean() <= last + 1e-9
        last = near.imbalance(later).mean()
    assert last < before
    fresh = optimise(shape, later, V3)
    named = relabelled(present, fresh)
    np.testing.assert_allclose(named.imbalance(later), fresh.imbalance(later))
    assert remote_nodes(named, later, V3) == pytest.approx(remote_nodes(fresh, later, V3))
    assert moved(present, named).mean() <= moved(present, fresh).mean()
    assert (moved(present, relabelled(present, present)) == 0).all()


def test_relabelling_undoes_a_renaming_of_gpus() -> None:
    w = lognormal(4, 64, 0.8, seed=9).counts
    shape = Shape(64, 96, 32)
    present = optimise(shape, w, V3)
    order = np.random.default_rng(1).permutation(32)
    renamed = Placement(shape, present.expert_of.reshape(4, 32, 3)[:, order].reshape(4, 96))
    assert moved(present, relabelled(present, renamed)).mean() <= 0.02 * 96


def test_drift_spread_and_remedies() -> None:
    w = lognormal(8, 128, 0.8, tokens=1e7, seed=10).counts
    later = windows(w, 0.15, 2)
    assert spread(w, later[0]) == pytest.approx(0.15, rel=0.05)
    counted = np.random.default_rng(2).poisson(w / 1e4) * 1.0
    assert spread(counted, np.random.default_rng(3).poisson(w / 1e4) * 1.0) < 0.06  # counting noise alone is no drift
    placed = optimise(Shape(128, 160, 32, 4, 8), w, V3)
    found = {row.name: row for row in remedies(placed, w, later, V3, Goal())}
    planned = found["this placement, as planned"].imbalance
    assert planned == pytest.approx(mean_imbalance(placed, later))
    assert found["replicas re-split each batch"].imbalance < planned
    assert found["rebalanced from scratch"].imbalance < found["rebalanced by at most 16 moves"].imbalance < planned
    assert found["rebalanced from scratch"].moved > found["rebalanced by at most 4 moves"].moved > 0
    assert found["64 more slots"].imbalance < found["32 more slots"].imbalance < planned


def test_redundant_experts_against_a_measured_rank_imbalance() -> None:
    """EP32, (max − mean)/mean: 1.56 measured without replicas, 0.11 with 32: loads that give one give the other.

    The spread between windows is the 15 % of the shipped pairs of windows, not solved from these figures.
    """
    w = lognormal(58, 256, 1.05, seed=1).counts
    bare = naive(Shape(256, 256, 32), 58).imbalance(w).mean() - 1.0
    assert bare == pytest.approx(1.56, rel=0.12)
    placed = optimise(EP32, w, V3, Goal(remote_slack=None))
    assert mean_imbalance(placed, windows(w, 0.15, 3)) - 1.0 == pytest.approx(0.11, abs=0.035)


def test_generators_and_statistics() -> None:
    drawn = statistics(lognormal(40, 256, 0.8).counts)
    assert drawn.log_sigma.mean() == pytest.approx(0.8, rel=0.03)
    even = statistics(np.ones((2, 16)))
    np.testing.assert_allclose([even.max_over_mean, even.gini + 1, even.top_eighth * 8, even.log_sigma + 1], 1.0)
    law = power_law(3, 64, 1.0)
    np.testing.assert_allclose(np.sort(law.counts[0]), np.sort(law.counts[2]))
    assert statistics(law.counts).max_over_mean[0] == pytest.approx(64 / np.sum(1 / np.arange(1, 65)))
    with pytest.raises(BadInput, match="sigma"):
        lognormal(2, 8, -1.0)


def test_symmetric_mean_is_a_mean_over_subsets() -> None:

    values = np.random.default_rng(0).random((2, 6, 3))
    for chosen in (1, 2, 4, 6):
        sets = [np.prod(values[:, list(some)], axis=1) for some in combinations(range(6), chosen)]
        np.testing.assert_allclose(symmetric_mean(values, chosen), np.mean(sets, axis=0))


@pytest.mark.parametrize(
    ("changes", "blamed"),
    [
        ({"slots": 290}, "slots = 290"),
        ({"slots": 224}, "needs a slot"),
        ({"nodes": 5}, "nodes = 5"),
        ({"groups": 7}, "groups = 7"),
        ({"gpus": 0}, "gpus = 0"),
    ],
)
def test_shapes_that_cannot_be_are_refused(changes: dict[str, int], blamed: str) -> None:
    with pytest.raises(BadInput, match=re.escape(blamed)):
        Shape(**({"experts": 256, "slots": 288, "gpus": 32, "nodes": 4, "groups": 8} | changes))


def packings(items: list[int], size: int) -> Iterator[list[tuple[int, ...]]]:
    """Every way to cut ``items`` (some alike) into parts of ``size``."""
    if not items:
        yield []
        return
    for rest in set(combinations(items[1:], size - 1)):
        left = list(items[1:])
        for item in rest:
            left.remove(item)
        for more in packings(left, size):
            yield [(items[0], *rest), *more]


@pytest.mark.parametrize("seed", range(30))
def test_lower_bound_against_enumeration(seed: int) -> None:
    """No placement of a tiny layer, of all there are, is under the bound."""
    rng = np.random.default_rng(seed)
    gpus, per_gpu = ((2, 2), (3, 2), (2, 3), (6, 1), (1, 4))[seed % 5]
    slots = gpus * per_gpu
    experts = int(rng.integers(2, slots + 1))
    w = np.round(rng.exponential(1.0, experts) ** rng.choice([0.5, 1.0, 2.0]) * 10) + 1
    best = np.inf
    for extra in combinations_with_replacement(range(experts), slots - experts):
        held = [*range(experts), *extra]
        share = w / np.bincount(held)
        best = min(best, *(max(sum(share[e] for e in gpu) for gpu in way) for way in packings(sorted(held), per_gpu)))
    bound = float(lower_bound(Shape(experts, slots, gpus), w[None])[0])
    assert bound <= best / w.sum() * gpus + 1e-9
    ours = float(optimise(Shape(experts, slots, gpus), w[None], V3, BALANCE).imbalance(w[None])[0])
    assert ours <= 1.01 * best / w.sum() * gpus


def test_slots_that_are_offered_hold_every_expert() -> None:
    with pytest.raises(BadInput, match="nearest slots that work: 256"):
        Shape(experts=256, slots=100, gpus=32)
    with pytest.raises(BadInput, match="nearest slots that work: 288 or 320"):
        Shape(experts=256, slots=300, gpus=32)
