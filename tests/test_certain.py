"""Cards for P90: against the bands of an independent simulation, a search with targets that are tightened by hand,
and what must follow from slower steps."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from costsim.cli.main import main
from costsim.explore.certain import certain, paces_of
from costsim.explore.confirm import ATTAINMENT, Wanted, _run, confirm
from costsim.explore.deployments import DeploymentSearch, search_deployments
from costsim.explore.units import Demand
from costsim.spec.catalog import load_accelerator, load_model

MODEL, CHIP = load_model("deepseek-v3"), load_accelerator("h200-sxm")
GRID: dict[str, list[Any]] = {
    "gpus": [8, 16, 32], "tp": [1, 8], "pp": [1], "ep": [1, 8, 16, 32], "overlap": ["none"], "routing": ["default"],
    "precision": ["fp8"], "concurrency": [8, 16, 32, 64, 128], "batch_per_gpu": [4, 8, 16, 32, 64],
    "tokens_per_gpu": [1024, 8192],
}  # fmt: skip
DEMAND = Demand(12.0, 2048, 512)
TTFT, TPOT = 1.5, 0.035


def search(paces: dict[str, float] | None = None, ttft: float = TTFT, tpot: float = TPOT) -> DeploymentSearch:
    return search_deployments(MODEL, [CHIP], DEMAND, GRID, ttft_s=ttft, tpot_s=tpot, paces=paces)


def test_a_pace_is_the_same_as_tighter_targets_for_more_load() -> None:
    """Steps p times as long: TTFT and TPOT targets a pth, and p times the requests, give the same units."""
    slow = search({"h200-sxm": 1.3})
    more = replace(DEMAND, requests_per_s=DEMAND.requests_per_s * 1.3)
    tight = search_deployments(MODEL, [CHIP], more, GRID, ttft_s=TTFT / 1.3, tpot_s=TPOT / 1.3)
    assert slow.cheapest is not None
    assert tight.cheapest is not None
    assert slow.cheapest.usd_per_h == pytest.approx(tight.cheapest.usd_per_h)
    assert slow.cheapest.tpot_s == pytest.approx(1.3 * tight.cheapest.tpot_s)
    assert search({"h200-sxm": 1.0}) == search()


def test_slower_steps_never_cost_less() -> None:
    costs = [search({"h200-sxm": pace}).cheapest for pace in (1.0, 1.1, 1.2, 1.4)]
    assert [way.usd_per_h for way in costs if way] == sorted(way.usd_per_h for way in costs if way)


def test_the_answer_holds_at_the_end_of_the_band_and_the_median_answer_does_not() -> None:
    """The oracle is `simulate`'s own band: two further runs of the same deployment at its P10 and P90."""
    found = search()
    wanted = Wanted(MODEL, DEMAND, TTFT, TPOT)
    confirmed = confirm(sorted(found.frontier, key=lambda way: way.usd_per_h)[:6], wanted, 1)
    median = confirmed[0].deployed
    sure = certain(found, wanted, median, 2, lambda paces: search(dict(paces)))
    assert sure is not None
    assert sure.best is not None
    assert all(1.0 < pace < 3.0 for pace in sure.paces.values())
    assert sure.best.usd_per_h > median.usd_per_h

    def worst(way: Any) -> float:
        low = _run(way, wanted, bands=True)[1].report.metrics["goodput_share"].low
        assert low is not None
        return low

    assert worst(sure.best) >= ATTAINMENT
    assert worst(median) < ATTAINMENT


def test_the_pace_is_the_widest_of_the_units_of_a_chip() -> None:
    ways = search().ways
    every = paces_of(MODEL, ways, DEMAND)
    assert every == {"h200-sxm": max(paces_of(MODEL, [way], DEMAND)["h200-sxm"] for way in ways)}


def test_units_are_not_added_beyond_the_cards_allowed() -> None:
    found = search_deployments(MODEL, [CHIP], Demand(1.0, 2048, 512), GRID, tpot_s=0.04)
    assert found.cheapest is not None
    wanted = Wanted(MODEL, Demand(60.0, 2048, 512), 1.5, 0.04, max_gpus=24)
    (one,) = confirm([found.cheapest], wanted)
    assert not one.met
    assert one.deployed.gpus <= 24


def test_the_verb_says_both(capsys: pytest.CaptureFixture[str]) -> None:
    text = "search --phase deployment --accelerator h200-sxm --load 10req/s --tpot 40ms --ttft 2s --confirm 1"
    assert main([*text.split(), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    sure = answer["p90"]
    assert sure["best"]["metrics"]["gpus"] >= answer["best"]["metrics"]["gpus"]
    assert sure["confirmed"][0]["met"]
    assert sure["confirmed"][0]["step_times"] > 1
    slow = {rung["requests_per_s"]: rung["gpus"] for rung in sure["by_load"]}
    for rung in answer["by_load"]:
        assert slow.get(rung["requests_per_s"], rung["gpus"]) >= rung["gpus"]
    assert main(text.split()) == 0
    shown = capsys.readouterr().out
    assert "For P90 (simulated" in " ".join(shown.split())
    assert max(len(line) for line in shown.splitlines()) <= 80


def test_too_few_cards_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    text = "search --phase deployment --accelerator h200-sxm --load 20req/s --tpot 50ms --max-gpus 8 --confirm 0"
    assert main(text.split()) == 0
    assert "8 cards are allowed and" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    "text",
    [
        "search --accelerator h800-sxm --gpus 8,16 --tpot 1ns",
        "search --phase deployment --accelerator h200-sxm --load 20req/s --max-gpus 8 --confirm 0",
    ],
)
def test_scripts_can_tell_that_nothing_was_found(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The question was answered: 0, and 3 where the status is asked for. One that finds something is 0 in both."""
    assert main([*text.split(), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["best"] is None
    assert main([*text.split(), "--exit-code", "--json"]) == 3
    assert json.loads(capsys.readouterr().out)["best"] is None
    assert main(["search", "--accelerator", "h200-sxm", "--gpus", "16", "--ep", "16", "--exit-code"]) == 0
