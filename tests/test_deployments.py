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
from costsim.explore.confirm import ATTAINMENT, confirm, plan_of
from costsim.explore.deployments import Demand, search_deployments
from costsim.predict.inference import predict_inference
from costsim.predict.phases import KV_SHARE, setting_for
from costsim.predict.service import replica_cards
from costsim.predict.steady import serve
from costsim.spec.catalog import load_accelerator, load_model
from costsim.spec.plan import DecodeLoad, PrefillLoad, ServingLoad, ServingPlan
from costsim.spec.price import default_rate, in_usd

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
    (one,) = confirm(MODEL, [found.cheapest], DEMAND, ttft_s=1.5, tpot_s=0.04)
    assert one.met
    assert one.attained >= ATTAINMENT
    assert one.metrics["tpot_p90_s"] <= 0.04 * 1.3
    assert one.deployed.gpus >= one.planned.gpus
    again = confirm(MODEL, [found.cheapest], DEMAND, ttft_s=1.5, tpot_s=0.04)[0]
    assert again.metrics == one.metrics, "deterministic by seed"
    assert plan_of(found.cheapest.units[0].plan, 2).gpus == 2 * found.cheapest.units[0].plan["gpus"]


def test_an_overload_is_not_confirmed_as_it_stands() -> None:
    """A single small unit under ten times its rate: units are added, or it is not met."""
    found = search_deployments(MODEL, [load_accelerator("h200-sxm")], Demand(1.0, 2048, 512), GRID, tpot_s=0.04)
    assert found.cheapest is not None
    (one,) = confirm(MODEL, [found.cheapest], Demand(60.0, 2048, 512), ttft_s=1.5, tpot_s=0.04)
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


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--phase", "deployment"], "needs --load"),
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
