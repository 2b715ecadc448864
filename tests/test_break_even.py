"""Break-even with an API: closed forms against brute force, and the published prices."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some

from costsim import ServingPlan, load_accelerator, load_model, predict_inference
from costsim.cli import main as cli
from costsim.economics.break_even import (
    Step,
    api_price,
    api_usd_per_h,
    api_usd_per_mtok_output,
    break_even_load,
    break_even_share,
    fleet_usd_per_h,
    usd_at_share,
)
from costsim.errors import BadInput, UnknownName
from costsim.predict.break_even import API, OWN, SHARE
from costsim.report.break_even import fleet_section, load_section
from costsim.spec.plan import ServingLoad
from costsim.spec.price import parse_rate


def test_list_prices_are_the_published_ones() -> None:
    r1 = api_price("deepseek-r1")
    assert (r1.input, r1.cached, r1.output) == (0.55, 0.14, 2.19)
    assert api_usd_per_mtok_output(r1, 1000, 1000) == pytest.approx(0.55 + 2.19)
    assert api_usd_per_mtok_output(r1, 3000, 1000, 3000) == pytest.approx(3 * 0.14 + 2.19)
    with pytest.raises(UnknownName):
        api_price("no-such-api")


def test_the_day_s_published_tokens_cost_at_list_price_what_was_published() -> None:
    """608 billion tokens in, 56.3 % of them cached, and 168 billion out: 562,027 USD [deepseek-open-infra-day6]."""
    isl, osl, cached = 608.0, 168.0, 0.563 * 608.0
    usd = api_usd_per_mtok_output(api_price("deepseek-r1"), isl, osl, cached) * 168e9 / 1e6
    assert usd == pytest.approx(562_027, rel=2e-3)


def test_at_the_break_even_share_both_cost_the_same() -> None:
    own, api = np.array([0.5, 1.0, 2.5]), 2.0
    shares = break_even_share(own, api)
    assert usd_at_share(own, shares) == pytest.approx(np.full(3, api))


@given(
    carries=some.lists(some.floats(0.3, 9.0), min_size=1, max_size=3),
    costs=some.lists(some.floats(0.5, 90.0), min_size=3, max_size=3),
    each=some.floats(1e-4, 0.05),
)
def test_break_even_loads_agree_with_brute_force(carries: list[float], costs: list[float], each: float) -> None:
    """On a fine grid of loads: nothing is cheaper before the first break-even, nothing dearer after the last."""
    steps = [Step(a, b) for a, b in zip(carries, costs, strict=False)]
    most = 40.0
    first, always = break_even_load(steps, each, most)
    loads = np.linspace(1e-3, most, 20_001)
    cheaper = np.asarray(fleet_usd_per_h(loads, steps)) <= np.asarray(api_usd_per_h(loads, each)) * (1 + 1e-9)
    pace = loads[1] - loads[0]
    if first is None:
        assert not cheaper[loads < most * (1 - 1e-9)].any()
        return
    assert not cheaper[loads < first * (1 - 1e-6) - 1e-9].any()
    if cheaper.any():
        assert loads[np.argmax(cheaper)] >= first * (1 - 1e-6)
    if always is not None:
        assert cheaper[(loads > always * (1 + 1e-6)) & (loads < most - pace)].all()
        assert first <= always * (1 + 1e-9)


def test_a_single_unit_breaks_even_where_rent_meets_bill() -> None:
    first, always = break_even_load([Step(100.0, 36.0)], 0.001, 90.0)
    assert first == pytest.approx(36.0 / 3600.0 / 0.001)
    assert always == pytest.approx(first)
    assert break_even_load([Step(1.0, 360.0)], 0.001, 50.0) == (None, None)


def _said(capsys: pytest.CaptureFixture[str], *argv: str) -> dict[str, Any]:
    assert cli.main([*argv, "--json"]) == 0
    answer: dict[str, Any] = json.loads(capsys.readouterr().out)
    return answer


ARGV = ("infer", "--phase=serving", "--accelerator=h200-sxm", "--gpus=8", "--tp=8", "--concurrency=64")


def test_the_verb_adds_break_even_to_a_deployment(capsys: pytest.CaptureFixture[str]) -> None:
    metrics = _said(capsys, *ARGV, "--price=2USD/h", "--api=deepseek-r1")["metrics"]
    plan = ServingPlan(gpus=8, tp=8, routing="default", precision="fp8")
    report = predict_inference(
        load_model("deepseek-v3"), load_accelerator("h200-sxm"), plan, ServingLoad(isl=1024, osl=1024, concurrency=64),
        parse_rate("2USD/h", "price"),
    )  # fmt: skip
    rent = 2.0 / 3600 / report["output_tokens_per_s_per_gpu"] * 1e6
    assert metrics[OWN]["value"] == pytest.approx(rent)
    assert metrics[SHARE]["value"] == pytest.approx(rent / (0.55 + 2.19))
    assert metrics[SHARE]["low"] < metrics[SHARE]["value"] < metrics[SHARE]["high"]
    assert metrics[API]["grade"] == "A"
    assert metrics[SHARE]["grade"] >= metrics["output_tokens_per_s_per_gpu"]["grade"]


def test_a_price_of_ones_own_is_that_of_the_list_with_the_same_amounts(capsys: pytest.CaptureFixture[str]) -> None:
    own = "input=0.55USD/Mtok,output=2.19USD/Mtok,cached=0.14USD/Mtok"
    ask = (*ARGV, "--price=2USD/h")
    listed, mine = (_said(capsys, *ask, f"--api-price={api}")["metrics"] for api in ("deepseek-r1", own))
    assert api_price("deepseek-r1").cached == 0.14
    for name in (OWN, API, SHARE):
        assert mine[name]["value"] == pytest.approx(listed[name]["value"])
    assert api_price("input=7 CNY/Mtok,output=7 CNY/Mtok").output == pytest.approx(7 / 7.2, rel=0.05)
    for text, words in (("2USD/Mtok", "say what for"), ("input=1USD/Mtok", "output="), ("input=1,output=2", "input")):
        with pytest.raises(BadInput, match=words):
            api_price(text)


def test_the_verb_refuses_what_it_cannot_compare(capsys: pytest.CaptureFixture[str]) -> None:
    for argv in (("infer", "--api=deepseek-r1"), (*ARGV, "--api=nobody")):
        assert cli.main(list(argv)) == 2
        assert capsys.readouterr().err.count("\n") == 1


def test_lines_of_a_deployment_cross_at_its_break_even_share(capsys: pytest.CaptureFixture[str]) -> None:
    metrics = _said(capsys, *ARGV, "--api=deepseek-r1")["metrics"]
    figure = load_section(metrics).charts[0].figure
    own = next(line for line in figure["data"] if line["name"] == "own cards")
    api = metrics[API]["value"]
    above = [x for x, y in zip(own["x"], own["y"], strict=True) if y <= api]
    assert min(above) == pytest.approx(metrics[SHARE]["value"], rel=0.06)
    assert figure["layout"]["shapes"][0]["x0"] == metrics[SHARE]["value"]
    never = {**metrics, SHARE: {**metrics[SHARE], "value": 1.7}}
    section = load_section(never)
    assert "no load pays off" in section.paragraphs[0]
    assert "shapes" not in section.charts[0].figure["layout"]


def test_lines_of_a_fleet_hold_the_searched_deployment(capsys: pytest.CaptureFixture[str]) -> None:
    argv = ("search", "--phase=deployment", "--load=20req/s", "--tpot=50ms", "--ttft=2s", "--confirm=0")
    found = _said(capsys, *argv, "--api=deepseek-v3")
    section = fleet_section(found)
    assert section is not None
    own, api = section.charts[0].figure["data"][:2]
    at = min(range(len(own["x"])), key=lambda i: abs(own["x"][i] - 20.0))
    assert own["y"][at] == pytest.approx(found["break_even"]["usd_per_h"])
    assert api["y"][at] == pytest.approx(found["break_even"]["api_usd_per_h"])
    assert fleet_section({**found, "break_even": None}) is None
    rungs = [{"requests_per_s": load, "usd_per_h": usd} for load, usd in ((5.0, 9.0), (20.0, 40.0), (99.0, 1.0))]
    more = {**found, "by_load": rungs, "break_even": {**found["break_even"], "least_requests_per_s": 3.25}}
    section = fleet_section(more)
    assert section is not None
    assert section.charts[0].figure["data"][2]["x"] == [5.0, 20.0]
    assert any("3.25 requests/s" in words for words in section.paragraphs)
