"""A fleet's day against the published one; the scaler against brute force; money against arithmetic by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from costsim.cli.main import main
from costsim.errors import BadInput
from costsim.predict.fleet import _leased, accounting, policy_table, predict_fleet, published_nodes, revenue_usd
from costsim.predict.fleet_cache import hits, kept_share, reuse
from costsim.predict.fleet_requests import lengths_of, play
from costsim.predict.fleet_what_if import WhatIf
from costsim.predict.loads import load_trace
from costsim.serving.autoscale import Kind, Rule, day_curve, needed, schedule, utilisation
from costsim.spec.catalog import load_model
from costsim.spec.fleet import Fleet, FleetLoad, load_fleet

DAY = "deepseek-2025-02-27"


@pytest.fixture(scope="module")
def fleet() -> Fleet:
    return load_fleet(DAY)


def test_the_published_day_is_exact_arithmetic(fleet: Fleet) -> None:
    """226.75 nodes · 24 h · 8 GPUs · 2 USD = 87,072 USD, and 562,027 / 87,072 − 1 = 545 %."""
    exact = accounting(fleet)
    assert exact["node_hours"] == 5442
    assert exact["mean_nodes"] == 226.75
    assert exact["usd_per_day"] == 87_072
    assert round(exact["margin"], 2) == 5.45
    by_hand = 266e9 * 0.55e-6 + 342e9 * 0.14e-6 + 168e9 * 2.19e-6
    assert revenue_usd(fleet) == pytest.approx(by_hand, rel=1e-12)
    assert revenue_usd(fleet) == pytest.approx(562_027, rel=2e-4), "token counts are rounded to a billion"


def test_the_predicted_day_meets_the_published_one(fleet: Fleet) -> None:
    """Predicted from load shape, peak and kernels: nothing of the published node-hours goes in."""
    day = predict_fleet(fleet)
    stated = fleet.published
    assert stated is not None
    for name in (
        "node_hours", "usd_per_day", "revenue_usd", "margin", "prefill_tokens_per_s_per_node",
        "decode_tokens_per_s_per_node",
    ):  # fmt: skip
        metric = day.metrics[name]
        assert metric.value == pytest.approx(getattr(stated, name), rel=0.02), name
        assert metric.low is not None
        assert metric.high is not None
        assert metric.low <= metric.value <= metric.high
    assert day.nodes.mean() == pytest.approx(stated.mean_nodes, rel=0.05)
    shown = published_nodes(fleet, day.hours)
    assert shown is not None
    assert np.corrcoef(day.nodes, shown)[0, 1] > 0.95
    assert (day.nodes.max(), day.nodes.min()) == (278, 68)


def test_the_prediction_does_not_read_the_published_schedule(fleet: Fleet) -> None:
    blind = fleet.model_copy(update={"published": None})
    assert predict_fleet(blind).metrics["node_hours"] == predict_fleet(fleet).metrics["node_hours"]


def test_slower_kernels_need_more_nodes_and_a_smaller_target_too(fleet: Fleet) -> None:
    base = predict_fleet(fleet).metrics["node_hours"].value
    eager = predict_fleet(fleet, policy=fleet.policy.model_copy(update={"target": 0.8})).metrics["node_hours"].value
    late = predict_fleet(fleet, policy=fleet.policy.model_copy(update={"forecast": False}))
    assert eager > base
    assert late.load["decode"].max() > predict_fleet(fleet).load["decode"].max(), "a reactive scaler runs over"


def test_mixed_fleets_carry_the_same_day(fleet: Fleet) -> None:
    mix = {"h800-sxm": 0.5, "h20-96g": 0.3, "ascend-910c": 0.2}
    day = predict_fleet(fleet, mix=mix, lease_usd_per_gpu_h=1.0)
    assert day.mixed
    for phase in ("prefill", "decode"):
        assert {kind.chip.id for kind in day.kinds[phase]} == set(mix)
        assert day.load[phase].max() <= 1 + 1e-9
        costs = [kind.usd_per_token for kind in day.kinds[phase]]
        assert costs == sorted(costs), "the cheapest token first"
    assert day.metrics["lease_usd"].value == pytest.approx(day.metrics["leased_gpu_hours"].value)
    idle = sum(
        float((kind.most - day.units[p][:, i]).sum()) * kind.unit.gpus * 24 / len(day.hours)
        for p in day.kinds
        for i, kind in enumerate(day.kinds[p])
    )
    assert day.metrics["leased_gpu_hours"].value <= idle + 1e-6


def test_idle_stretches_shorter_than_a_lease_earn_nothing() -> None:
    idle = np.array([1, 0, 0, 2, 2, 1, 0, 1])
    assert _leased(idle, 1.0, 1.0) == idle.sum()
    assert _leased(idle, 1.0, 2.0) == (3 + 2) + 2, "three hours, two of both, and the two that join over midnight"
    assert _leased(idle, 1.0, 4.0) == 0
    assert _leased(np.full(8, 2), 1.0, 24.0) == 16, "a unit idle all day is one long stretch"


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(0, 100), min_size=4, max_size=24), st.integers(0, 3), st.integers(0, 3),
    st.lists(st.tuples(st.floats(1, 30), st.integers(0, 2), st.integers(2, 6)), min_size=1, max_size=3),
)  # fmt: skip
def test_the_schedule_is_what_stepping_through_the_day_gives(
    demand: list[float], lead: int, hold: int, shapes: list[tuple[float, int, int]]
) -> None:
    """Sliding maxima against a scaler that looks at every step of two days."""
    kinds = [Kind(*shape) for shape in shapes]
    load = np.array(demand)
    got = schedule(load, kinds, Rule(1.0, lead, hold))
    n = len(demand)
    for t in range(n):
        seen = [
            needed(max(demand[(back + ahead) % n] for ahead in range(lead + 1)), kinds, 1.0)
            for back in range(t - hold, t + 1)
        ]
        assert got[t].tolist() == np.max(seen, axis=0).tolist()
    full = all((got[:, i] == kind.most).all() for i, kind in enumerate(kinds))
    runs_over = (utilisation(load, got, kinds) > 1 + 1e-9) & (load > 1e-6)
    capacity = sum(kind.capacity * kind.most for kind in kinds)
    assert full or not (runs_over & (load <= capacity)).any(), "over target only where everything runs"


def test_units_are_the_fewest_that_carry_the_load() -> None:
    kind = Kind(10.0, 1, 100)
    for load in np.linspace(0, 900, 91):
        assert needed(float(load), [kind], 0.9)[0] == max(1, int(np.ceil(load / 9.0 - 1e-9)))


def test_hysteresis_keeps_units_longer_and_never_fewer() -> None:
    load = day_curve([1, 2, 3, 4, 3, 2], 96) * 50
    kinds = [Kind(10.0, 0, 20)]
    plain, kept = (schedule(load, kinds, Rule(hysteresis=h)) for h in (0.0, 0.2))
    assert (kept >= plain).all()
    assert kept.sum() > plain.sum()
    assert np.abs(np.diff(kept[:, 0])).sum() <= np.abs(np.diff(plain[:, 0])).sum()


def test_a_bar_of_the_load_keeps_its_tokens() -> None:
    bars = [3.0, 1.0, 4.0, 1.0, 5.0, 9.0]
    curve = day_curve(bars, 96)
    assert curve.mean() == pytest.approx(1.0)
    assert curve.reshape(6, 16).mean(axis=1) == pytest.approx(np.array(bars) / np.mean(bars))


def test_lengths_have_the_day_s_means() -> None:
    load = FleetLoad(input_tokens=608, cached_tokens=342, output_tokens=168, context=4989, hourly=(1, 1))
    isl, osl = lengths_of(load, 400_000, np.random.default_rng(1))
    assert isl.sum() / osl.sum() == pytest.approx(608 / 168, rel=0.01)
    assert (osl * (isl + osl / 2)).sum() / osl.sum() == pytest.approx(4989, rel=0.015)


def test_the_figures_are_plotly_s(fleet: Fleet) -> None:
    import plotly.graph_objects as go

    from costsim.report.fleets import load_figure, money_figure, nodes_figure

    day = predict_fleet(fleet)
    for make in (nodes_figure, load_figure, money_figure):
        figure = go.Figure(make(day))
        assert all(len(trace.x) == len(trace.y) == 96 for trace in figure.data)
    assert {trace.name for trace in go.Figure(nodes_figure(day)).data} == {"predicted", "published"}


def test_policy_moves_the_day_by_less_than_a_tenth(fleet: Fleet) -> None:
    """How much of the agreement is a choice of lead and hold."""
    table = policy_table(predict_fleet(fleet))
    assert table[15.0, 15.0] == predict_fleet(fleet).metrics["node_hours"].value
    own = table[15.0, 15.0]
    assert all(0.96 * own < hours < 1.07 * own for hours in table.values())
    for hold in (0.0, 15.0, 30.0, 60.0):
        column = [table[lead, hold] for lead in (0.0, 15.0, 30.0, 60.0)]
        assert column == sorted(column), "earlier units are more node-hours"


@pytest.mark.slow
def test_the_day_request_by_request(fleet: Fleet) -> None:
    """Tokens are conserved, the cached share comes out as published, and users see tens of tokens a second."""
    day = predict_fleet(fleet)
    played = play(day, 5.0)
    figures = played.metrics
    assert figures["finished_share"] == 1.0
    assert figures["cached_share"] == pytest.approx(342 / 608, abs=0.01)
    rate = day.metrics["decode_tokens_per_s_per_node"].value
    assert figures["decode_tokens_per_s_per_node"] == pytest.approx(rate, rel=0.03)
    low, high = day.fleet.published.tokens_per_s_per_user  # type: ignore[union-attr]
    assert 0.7 * low < figures["tokens_per_s_per_user"] < 1.3 * high
    # Little's law: requests on a card = its tokens a second / what each user gets
    # (the play is short: its mean is over the time in which requests arrive)
    held = figures["decode_tokens_per_s_per_node"] / 8 / figures["tokens_per_s_per_user"]
    assert figures["requests_per_decode_gpu"] == pytest.approx(held, rel=0.08)


def test_the_verb(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    page = tmp_path / "day.html"
    assert main(["fleet", "--day", DAY, "--json", "--out", str(page)]) == 0
    answer = json.loads(capsys.readouterr().out)
    for name in ("node_hours", "mean_nodes", "usd_per_day", "revenue_usd", "margin"):
        assert answer[name]["published"] is not None
        assert answer[name]["value"] == pytest.approx(answer[name]["published"], rel=0.02)
    assert len(answer["schedule"]) == 96
    assert {"hour", "nodes", "published"} <= answer["schedule"][0].keys()
    assert np.mean([step["nodes"] for step in answer["schedule"]]) == pytest.approx(answer["mean_nodes"]["value"])
    assert "Nodes by hour" in page.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--day", "nowhere"], "unknown fleet"),
        (["--mix", "h800-sxm=0.5"], "sum to 0.5"),
        (["--mix", "h800-sxm"], "ID=SHARE"),
        (["--mix", "h100-sxm=1"], "describes no unit"),
        (["--target", "0"], "target"),
        (["--interval", "1s"], "interval"),
        (["--lease", "-1USD/h"], "--lease"),
        (["--hour-s", "60s"], "--requests"),
        (["--requests", "--hour-s", "1s"], "5 to 3600"),
    ],
)
def test_bad_input(capsys: pytest.CaptureFixture[str], options: list[str], words: str) -> None:
    assert main(["fleet", *options]) == 2
    assert words in capsys.readouterr().err


def test_a_fleet_of_one_s_own_is_data(tmp_path: Path, fleet: Fleet) -> None:
    text = (Path(__file__).parents[1] / "hwprofiles" / "fleets" / f"{DAY}.toml").read_text(encoding="utf-8")
    own = tmp_path / "own.toml"
    own.write_text(text.replace("most = 9", "most = 12"), encoding="utf-8")
    assert load_fleet(str(own)).unit[1].most == 12
    own.write_text(text.replace("cached_tokens = 342", "cached_tokens = 942"), encoding="utf-8")
    with pytest.raises(BadInput, match="cached_tokens"):
        load_fleet(str(own))


def test_a_cache_finds_what_a_plain_lru_finds() -> None:
    """Characteristic time against an LRU cache played over the same trace: within four points of hit rate."""
    trace = load_trace("mooncake-conversation")
    assert trace.blocks is not None
    total = sum(map(len, trace.blocks))
    span = float(trace.arrival_s[-1])
    for blocks in (3_000, 10_000, 30_000):
        lru: dict[int, None] = {}
        found = misses = 0
        for prompt in trace.blocks:
            hit = True
            for block in prompt:
                hit = hit and block in lru
                found += hit
                misses += not hit
                lru.pop(block, None)
                lru[block] = None
            while len(lru) > blocks:
                del lru[next(iter(lru))]
        most = len(reuse()[0]) / total
        predicted = most * kept_share(blocks / (misses / span))
        assert predicted == pytest.approx(found / total, abs=0.04)


def test_hits_rise_with_the_cache_up_to_the_operator_s_own(fleet: Fleet) -> None:
    model = load_model(fleet.model)
    sizes = [0.0, 1e12, 1e13, 1e14, 1e15, 1e17]
    shares = [hits(fleet.load, model, size).hit_share for size in sizes]
    assert shares[0] == pytest.approx(0.0, abs=1e-9)
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(fleet.load.cached_tokens / fleet.load.input_tokens, rel=1e-6)
    costs = []
    for size in (1e13, 1e14, 1e17):
        day = predict_fleet(fleet, what_if=WhatIf(cache_bytes=size))
        costs.append(day.metrics["usd_per_day"].value)
        assert day.load["prefill"].max() <= 1 + 1e-9, "units enough for what misses"
        assert day.mixed, "not the published day: nothing is compared with it"
    assert costs == sorted(costs, reverse=True)


def test_a_night_price_costs_income_and_a_shift_fills_the_night(fleet: Fleet) -> None:
    day = predict_fleet(fleet)
    half = predict_fleet(fleet, what_if=WhatIf(night_price=0.5))
    night = WhatIf().at_night((fleet.start + day.hours) % 24)
    share = float(day.demand["decode"][night].sum() / day.demand["decode"].sum())
    assert half.metrics["revenue_usd"].value == pytest.approx(revenue_usd(fleet) * (1 - 0.5 * share))
    assert half.metrics["node_hours"].value == day.metrics["node_hours"].value
    moved = predict_fleet(fleet, what_if=WhatIf(night_shift=0.2))
    assert moved.demand["decode"].sum() == pytest.approx(day.demand["decode"].sum()), "no token is lost"
    assert moved.nodes.max() - moved.nodes.min() < day.nodes.max() - day.nodes.min()
    assert WhatIf(night=(22, 6)).at_night(np.array([23.0, 5.9, 6.0, 21.9])).tolist() == [True, True, False, False]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--night-price", "2"], "night price"),
        (["--night-hours", "1-5"], "--night-price"),
        (["--night-price", "0.5", "--night-hours", "x"], "two hours"),
        (["--night-price", "0.5", "--night-hours", "5-5"], "two different"),
        (["--cache", "200"], "bare number"),
        (["--cache", "1TB", "--requests"], "as it was"),
    ],
)
def test_bad_what_ifs(capsys: pytest.CaptureFixture[str], options: list[str], words: str) -> None:
    assert main(["fleet", *options]) == 2
    assert words in capsys.readouterr().err
