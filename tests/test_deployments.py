"""Deployment search against brute force over every pair of units; its answers against the simulator and by hand."""

from __future__ import annotations

import itertools
import json
import math
from typing import Any

import numpy as np
import pytest

from costsim.cli.deployments import parse_load
from costsim.cli.main import main
from costsim.errors import BadInput
from costsim.explore.confirm import ATTAINMENT, Wanted, confirm, plan_of
from costsim.explore.deployments import break_even, search_deployments
from costsim.explore.units import Demand
from costsim.predict.inference import predict_inference
from costsim.predict.phases import KV_SHARE, setting_for
from costsim.predict.service import replica_cards
from costsim.predict.steady import serve
from costsim.spec.catalog import load_accelerator, load_model
from costsim.spec.plan import DecodeLoad, PrefillLoad, ServingLoad, ServingPlan
from costsim.spec.price import default_rate, in_usd, parse_rate

MODEL = load_model("deepseek-v3")
GRID: dict[str, list[Any]] = {
    "gpus": [8, 16, 32], "tp": [1, 8], "pp": [1], "ep": [1, 8, 16, 32], "overlap": ["none"], "routing": ["default"],
    "precision": ["fp8"], "concurrency": [8, 64, 256], "batch_per_gpu": [8, 32, 64], "tokens_per_gpu": [1024, 8192],
}  # fmt: skip
DEMAND = Demand(12.0, 2048, 512)
TARGETS = (1.5, 0.04)
TERMS = ("weights_bytes", "kv_bytes", "activations_bytes", "communication_bytes")


def brute_force(chip_id: str, ttft: float, tpot: float, headroom: float) -> tuple[float, float]:
    """(cheapest USD/h, fastest TPOT) by asking for every plan alone and every pair of pools."""
    chip = load_accelerator(chip_id)
    rate = default_rate(chip)
    assert rate is not None
    both, prefills, decodes = [], [], []
    for gpus, tp, ep in itertools.product(GRID["gpus"], GRID["tp"], GRID["ep"]):
        plan = ServingPlan(gpus, tp=tp, ep=ep, routing="default")
        try:
            if replica_cards(MODEL, chip, plan) != gpus:
                continue
        except BadInput:
            continue

        def ask(load: Any, plan: ServingPlan = plan) -> Any:
            try:
                report = predict_inference(MODEL, chip, plan, load)
            except BadInput:
                return None
            used = sum(v for name, v in report.memory.items() if name in TERMS)
            return report.metrics if used <= KV_SHARE * chip.rank().need("memory") else None

        def usd(per_s: float, gpus: int = gpus) -> float:
            return max(1, math.ceil(DEMAND.requests_per_s / (headroom * per_s) - 1e-9)) * gpus * in_usd(rate)

        for n in GRID["concurrency"]:
            # The search reads the closed form, and simulates only what it recommends.
            blend = serve(setting_for(MODEL, chip, plan), ServingLoad(2048, 512, n), strict=False)
            terms = blend.decode.memory.terms()
            used = sum(float(np.max(v)) for name, v in terms.items() if name in TERMS)
            broken = any(bool(np.any(rule.broken)) for rule in blend.rules)
            if broken or used > KV_SHARE * chip.rank().need("memory"):
                continue
            m = {name: float(np.max(value)) for name, (value, _) in blend.metrics.items()}
            if m["ttft_s"] <= ttft and m["tpot_s"] <= tpot:
                both += [(usd(m["output_tokens_per_s_per_gpu"] * gpus / 512), m["tpot_s"])]
        for n in GRID["tokens_per_gpu"]:
            if m := ask(PrefillLoad(2048, n)):
                wait = 0.5 + headroom / (2 * (1 - headroom))
                if m["ttft_s"].value + wait * m["step_s"].value <= ttft:
                    prefills.append(usd(m["tokens_per_s_per_gpu"].value * gpus / 2048))
        for n in GRID["batch_per_gpu"]:
            if (m := ask(DecodeLoad(2048 + 256, n))) and m["tpot_s"].value <= tpot:
                decodes += [(usd(m["tokens_per_s_per_gpu"].value * gpus / 512), m["tpot_s"].value)]
    ways = both + [(p + d, t) for p in prefills for d, t in decodes]
    return min(cost for cost, _ in ways), min(t for _, t in ways)


@pytest.mark.parametrize("chip", ["h200-sxm", "h20-96g"])
def test_the_cheapest_and_the_fastest_are_those_of_brute_force(chip: str) -> None:
    found = search_deployments(
        MODEL, [load_accelerator(chip)], DEMAND, GRID, ttft_s=TARGETS[0], tpot_s=TARGETS[1], headroom=0.8
    )
    cost, tpot = brute_force(chip, *TARGETS, 0.8)
    assert found.cheapest is not None
    assert found.fastest is not None
    assert found.cheapest.usd_per_h == pytest.approx(cost, rel=1e-9)
    assert found.fastest.tpot_s == pytest.approx(tpot, rel=1e-9)
    assert found.evaluated == sum(found.rejected.values()) + found.feasible
    for way in found.frontier:
        assert way.ttft_s <= TARGETS[0] * 1.2
        assert way.tpot_s <= TARGETS[1]
        for unit in way.units:
            assert unit.count * unit.requests_per_s * 0.8 >= DEMAND.requests_per_s - 1e-9
    costs = [way.usd_per_h for way in found.frontier]
    assert costs == sorted(costs, reverse=True), "the faster the dearer"


def test_pools_on_two_accelerators_are_found_where_they_are_cheaper() -> None:
    """Prompts where FLOPs are cheap, answers where memory is: no worse than either accelerator alone, by hand."""
    chips = [load_accelerator(name) for name in ("h800-sxm", "h20-96g")]
    prices = {"h800-sxm": parse_rate("1 USD/h", "price"), "h20-96g": parse_rate("0.9 USD/h", "price")}
    both = search_deployments(MODEL, chips, DEMAND, GRID, ttft_s=4.0, tpot_s=0.06, prices=prices)
    alone = [
        search_deployments(MODEL, [chip], DEMAND, GRID, ttft_s=4.0, tpot_s=0.06, prices=prices).cheapest
        for chip in chips
    ]
    assert both.cheapest is not None
    assert both.cheapest.usd_per_h <= min(one.usd_per_h for one in alone if one is not None)
    mixed = [
        way for way in (*both.frontier, both.cheapest) if len({unit.accelerator for unit in way.units}) == 2
    ]  # fmt: skip
    told = {w["accelerator"] for w in both.why_not} | {" + ".join(u.accelerator for u in w.units) for w in mixed}
    assert {"h800-sxm + h20-96g", "h20-96g + h800-sxm"} <= told, "both ways round are answered for"
    for way in mixed:
        first, last = way.units
        assert (first.role, last.role) == ("prefill", "decode")


def test_no_pools_across_vendors_and_none_with_two_formats_of_kv() -> None:
    chips = [load_accelerator(name) for name in ("h800-sxm", "ascend-910c")]
    grid = {name: values for name, values in GRID.items() if name != "precision"} | {"kv_dtype": ["bf16", "fp8"]}
    found = search_deployments(MODEL, chips[:1], DEMAND, grid, ttft_s=1.5, tpot_s=0.04)
    for way in found.frontier:
        assert len({unit.plan["kv_dtype"] for unit in way.units}) == 1
    grid.pop("kv_dtype")
    found = search_deployments(MODEL, chips, DEMAND, grid, ttft_s=1.5, tpot_s=0.04)
    assert all(len({unit.accelerator for unit in way.units}) == 1 for way in found.frontier)


def test_the_ladder_is_what_each_load_alone_gives_and_pays_from_there_on() -> None:
    chip = [load_accelerator("h200-sxm")]
    found = search_deployments(MODEL, chip, DEMAND, GRID, tpot_s=0.04, loads=[1.0, 5.0])
    by_load = dict(found.ladder)
    for load in (1.0, 5.0):
        alone = search_deployments(MODEL, chip, Demand(load, 2048, 512), GRID, tpot_s=0.04)
        assert alone.cheapest is not None
        assert by_load[load].usd_per_h == pytest.approx(alone.cheapest.usd_per_h)
        assert by_load[load].gpus == alone.cheapest.gpus
        assert by_load[load].capacity_per_s >= load
    costs = [way.usd_per_h for _, way in found.ladder]
    assert costs == sorted(costs), "more load never costs less"
    price = 2e-3  # USD a request
    pays = break_even(found.ladder, price)
    assert pays is not None
    least = search_deployments(MODEL, chip, Demand(pays, 2048, 512), GRID, tpot_s=0.04).cheapest
    assert least is not None
    assert least.usd_per_h <= pays * 3600 * price * 1.0001
    below = search_deployments(MODEL, chip, Demand(pays * 0.98, 2048, 512), GRID, tpot_s=0.04).cheapest
    assert below is not None
    assert below.usd_per_h > pays * 0.98 * 3600 * price
    assert break_even(found.ladder, 1e-9) is None


def test_every_accelerator_is_answered_for() -> None:
    chips = [load_accelerator(name) for name in ("h200-sxm", "h20-96g", "rtx4090")]
    found = search_deployments(MODEL, chips, DEMAND, GRID, ttft_s=1.5, tpot_s=0.04)
    said = {(w["accelerator"], w["way"]) for w in found.why_not}
    assert found.cheapest is not None
    winner = found.cheapest.units[0].accelerator
    assert {name for name, _ in said} | {winner} == {chip.id for chip in chips}
    assert all(w["reason"] for w in found.why_not)


def test_twice_the_load_costs_at_most_twice_and_not_less() -> None:
    chip = [load_accelerator("h200-sxm")]
    costs = []
    for rate in (5.0, 10.0, 20.0, 40.0):
        found = search_deployments(MODEL, chip, Demand(rate, 2048, 512), GRID, tpot_s=0.04)
        assert found.cheapest is not None
        costs.append(found.cheapest.usd_per_h)
    for small, large in itertools.pairwise(costs):
        assert small <= large <= 2 * small


def test_simulation_confirms_or_adds_units() -> None:
    found = search_deployments(MODEL, [load_accelerator("h200-sxm")], DEMAND, GRID, ttft_s=1.5, tpot_s=0.04)
    assert found.cheapest is not None
    (one,) = confirm([found.cheapest], Wanted(MODEL, DEMAND, 1.5, 0.04))
    assert one.met
    assert one.attained >= ATTAINMENT
    assert one.metrics["tpot_p90_s"] <= 0.04 * 1.3
    assert one.deployed.gpus >= one.planned.gpus
    again = confirm([found.cheapest], Wanted(MODEL, DEMAND, 1.5, 0.04))[0]
    assert again.metrics == one.metrics, "deterministic by seed"
    assert plan_of(found.cheapest.units[0].plan, 2).gpus == 2 * found.cheapest.units[0].plan["gpus"]


def test_an_overload_is_not_confirmed_as_it_stands() -> None:
    """A single small unit under ten times its rate: units are added, or it is not met."""
    found = search_deployments(MODEL, [load_accelerator("h200-sxm")], Demand(1.0, 2048, 512), GRID, tpot_s=0.04)
    assert found.cheapest is not None
    (one,) = confirm([found.cheapest], Wanted(MODEL, Demand(60.0, 2048, 512), 1.5, 0.04))
    assert not one.met or one.deployed.gpus > one.planned.gpus


@pytest.mark.parametrize(
    ("text", "rate"), [("20req/s", 20.0), ("2Mreq/day", 2e6 / 86400), ("168Btok/day", 168e9 / 86400 / 500)]
)
def test_loads_read_with_their_units(text: str, rate: float) -> None:
    assert parse_load(text, 500) == pytest.approx(rate)


@pytest.mark.parametrize("text", ["20", "20 tokens", "-3req/s", "1e999req/s", "..req/s"])
def test_loads_without_units_are_refused(text: str) -> None:
    with pytest.raises(BadInput):
        Demand(parse_load(text, 500), 100, 100)


def test_the_verb(capsys: pytest.CaptureFixture[str]) -> None:
    text = "search --phase deployment --accelerator h200-sxm,h20-96g --load 10req/s --tpot 50ms --ttft 2s --json"
    argv = [*text.split(), *["--api", "deepseek-r1", "--confirm", "1", "--isl", "1024", "--osl", "256"]]
    assert main(argv) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["best"]["metrics"]["gpus"] >= 8
    assert answer["confirmed"][0]["met"]
    bands = answer["confirmed"][0]["bands"]["tpot_p90_s"]
    assert bands["low"] <= bands["value"] <= bands["high"]
    even = answer["break_even"]
    by_hand = (1024 * 0.55 + 256 * 2.19) / 1e6
    assert even["api_usd_per_h"] == pytest.approx(by_hand * 10 * 3600)
    assert even["requests_per_s"] == pytest.approx(even["usd_per_h"] / 3600 / by_hand)


def test_several_loads_own_prices_and_an_api_of_one_s_own(capsys: pytest.CaptureFixture[str]) -> None:
    text = (
        "search --phase deployment --accelerator h800-sxm,h20-96g --load 1,4,10req/s --tpot 50ms --json --confirm 0 "
        "--price h800-sxm=2USD/h,h20-96g=1USD/h --isl 1000 --osl 200 --cached 500 "
        "--api-price input=1USD/Mtok,output=4USD/Mtok,cached=0.1USD/Mtok"
    )
    assert main(text.split()) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["load"]["requests_per_s"] == 10
    loads = [rung["requests_per_s"] for rung in answer["by_load"]]
    assert {1.0, 4.0, 10.0} <= set(loads)
    each = (500 * 1.0 + 500 * 0.1 + 200 * 4.0) / 1e6
    assert answer["break_even"]["usd_per_request_api"] == pytest.approx(each)
    for rung in answer["by_load"]:
        assert rung["api_usd_per_h"] == pytest.approx(rung["requests_per_s"] * 3600 * each)
        rate = {"h800-sxm": 2.0, "h20-96g": 1.0}
        assert rung["usd_per_h"] == pytest.approx(sum(u["gpus"] * rate[u["accelerator"]] for u in rung["units"]))
        assert 0 < rung["utilisation"] <= 0.85 + 1e-9
    assert answer["prices"]["h20-96g"]["text"] == "1USD/h"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--phase", "deployment"], "needs --load"),
        (["--phase", "deployment", "--load", "5req/s", "--headroom", "0"], "headroom"),
        (["--phase", "deployment", "--load", "5req/s", "--api-price", "input=1USD/Mtok"], "output="),
        (["--phase", "deployment", "--load", "5req/s", "--api-price", "input=1,output=2"], "api-price input"),
        (["--phase", "deployment", "--load", "5req/s", "--price", "b200=1USD/h"], "not one of"),
        (["--phase", "deployment", "--load", "5"], "write it like"),
        (["--load", "5req/s"], "belongs to --phase deployment"),
        (["--phase", "deployment", "--load", "5req/s", "--isl", "1,2"], "one load"),
        (["--phase", "deployment", "--load", "5req/s", "--headroom", "2"], "headroom"),
        (["--phase", "deployment", "--load", "5req/s", "--accelerator", "h200"], "unknown accelerator"),
        (["--phase", "deployment", "--load", "5req/s", "--api", "x"], "price"),
        (["--phase", "deployment", "--load", "5req/s", "--micro-batch", "1"], "does not apply"),
    ],
)
def test_bad_input(capsys: pytest.CaptureFixture[str], options: list[str], words: str) -> None:
    assert main(["search", *options]) == 2
    assert words in capsys.readouterr().err
