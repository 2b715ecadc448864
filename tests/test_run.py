"""Whole runs and the cost ladder: the published arithmetic is exact, predicted hours are predicted, rungs add up."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from costsim.cli.main import main
from costsim.economics.ladder import RESTS_ON, RUNGS, Job, ladder
from costsim.errors import BadInput, DoesNotFit, UnknownName
from costsim.predict.run import RAMP_STEPS, predict_run, ramp_batches, training_run
from costsim.spec.assumption import Assumption, assume, load_assumptions
from costsim.spec.base import build
from costsim.spec.catalog import load_accelerator, load_model
from costsim.spec.plan import TrainingPlan
from costsim.spec.price import cluster_price, load_price, parse_rate
from costsim.spec.run import RUNS, PhaseSpec, RunSpec, known_runs, load_run

V3, H800 = load_model("deepseek-v3"), load_accelerator("h800-sxm")
PLAN = TrainingPlan(gpus=2048, pp=16, ep=64, schedule="dualpipe", recompute="norm,mla_up_proj")
PUBLISHED = {"pre-training": 2_664_000.0, "context extension": 119_000.0, "post-training": 5_000.0}
JOB = Job(
    gpu_hours=2_788_000, low_hours=2_788_000, high_hours=2_788_000, cards=2048, node_cards=8, usd_per_h=2.0,
    card_usd=50_000, all_in=True, tdp_w=700, parameters=671e9, grade="A",
)  # fmt: skip


def test_published_hours_make_the_published_price_exactly() -> None:
    """2.664M + 0.119M + 0.005M = 2.788M GPU hours; at 2 USD an hour 5.576M USD."""
    told = load_run("deepseek-v3").published_hours("h800-sxm")
    assert told == PUBLISHED
    assert sum(told.values()) == 2_788_000
    assert ladder(JOB, assume()).rungs[0].usd == 5_576_000
    result = training_run(V3, H800, load_run("deepseek-v3"), PLAN, price=parse_rate("2 USD/h", "price"))
    assert result.published is not None
    assert result.published.rungs[0].usd == 5_576_000


def test_the_published_rate_is_the_measured_step_times_the_steps() -> None:
    """180K GPU hours per trillion tokens follow from 19.926 s a step of 15,360 x 4,096 tokens: no stops are in them."""
    hours_per_token = 19.926 * 2048 / 3600 / (15_360 * 4096)
    assert hours_per_token * 1e12 == pytest.approx(180_000, rel=2e-3)


def test_published_hours_stand_only_beside_their_own_accelerator() -> None:
    result = training_run(V3, load_accelerator("h20-96g"), load_run("deepseek-v3"), PLAN)
    assert result.published is None
    assert not result.published_hours
    assert result.ladder is not None


def test_hours_of_a_phase_without_ramp_are_step_times_steps() -> None:
    spec = RunSpec(id="one", phase=(PhaseSpec(name="one", tokens=14.8e12, global_batch=15360),))
    result = training_run(V3, H800, spec, PLAN)
    phase = result.phases[0]
    assert phase.step_s is not None
    assert phase.gpu_hours == pytest.approx(14.8e12 / (15360 * 4096) * phase.step_s * 2048 / 3600)
    assert phase.low_hours < phase.gpu_hours < phase.high_hours


def test_a_ramp_costs_more_than_the_full_batch_and_no_more_than_its_smallest() -> None:
    full = PhaseSpec(name="full", tokens=469e9, global_batch=15360)
    ramp = full.model_copy(update={"ramp_from": 7680, "ramp_tokens": 469e9})
    small = full.model_copy(update={"global_batch": 7680})
    hours = [training_run(V3, H800, RunSpec(id="r", phase=(phase,)), PLAN).gpu_hours for phase in (full, ramp, small)]
    assert hours[0] < hours[1] < hours[2]


@pytest.mark.parametrize("unit", [1, 128, 960])
def test_ramp_keeps_every_token_and_rounds_to_what_a_job_can_run(unit: int) -> None:
    phase = load_run("deepseek-v3").phase[0]
    batches, tokens = ramp_batches(phase, unit)
    assert len(batches) == RAMP_STEPS + 1
    assert tokens.sum() == pytest.approx(14.8e12)
    assert tokens[:-1].sum() == pytest.approx(469e9)
    assert np.all(batches % unit == 0)
    assert np.all(np.diff(batches) >= 0)
    assert 3072 <= batches[0] <= 3072 + 2 * max(unit, 768)
    assert batches[-1] == 15360


def test_context_extension_costs_several_times_more_a_token() -> None:
    """Attention grows with the sequence: published 119K hours for 126B tokens are five times the 180K a trillion."""
    result = training_run(V3, H800, load_run("deepseek-v3"), PLAN)
    rate = {p.spec.name: p.gpu_hours / p.spec.all_tokens for p in result.phases if not p.stated}
    assert rate["context to 128K"] > 2 * rate["context to 32K"] > 2 * rate["pre-training"]
    both = [p for p in result.phases if p.spec.group == "context extension"]
    assert sum(p.spec.all_tokens for p in both) == pytest.approx(125.8e9, rel=1e-3)
    low, high = sum(p.low_hours for p in both), sum(p.high_hours for p in both)
    assert low < PUBLISHED["context extension"] < high


def test_predicted_hours_hold_the_published_ones_in_their_band() -> None:
    report = predict_run(V3, H800, load_run("deepseek-v3"), PLAN)
    metric = report.metrics["gpu_hours"]
    assert metric.low is not None
    assert metric.high is not None
    assert metric.low < 2_788_000 < metric.high
    assert metric.value == pytest.approx(2_788_000, rel=0.25)
    assert report.metrics["post_training_gpu_hours"].value == 5_000
    assert sum(line.time_s for line in report.breakdown) == pytest.approx(metric.value / 2048 * 3600)
    assert sum(line.share for line in report.breakdown) == pytest.approx(1.0)


def test_rungs_follow_from_their_assumptions_by_hand() -> None:
    """The same arithmetic with pencil and paper, from the values in the file."""
    steps = ladder(JOB, assume())
    rented, stopped, research, owned, people = (rung.usd for rung in steps.rungs)
    assert stopped == pytest.approx(rented / steps.goodput)
    assert research == pytest.approx(stopped / 0.20)
    capex = 2048 * 50_000
    kwh = 2048 * 0.7 * 0.8 * 1.3 * 1.3 * 8766
    assert owned == pytest.approx(capex / 4 + capex * 0.05 + kwh * 0.08)
    assert people - owned == pytest.approx(139 * 150_000)
    assert steps.cash_usd == pytest.approx(capex * 1.05 + kwh * 0.08 + 139 * 150_000)
    assert [rung.id for rung in steps.rungs] == list(RUNGS)


def test_a_cluster_is_as_large_as_the_research_needs() -> None:
    hungry = ladder(JOB, assume(["final_run_share=5%", "project_years=0.6"]))
    hours = 2_788_000 / hungry.goodput / 0.05
    assert hungry.cards == math.ceil(hours / (0.6 * 8766 * 0.8))
    assert ladder(JOB, assume(["final_run_share=100%"])).cards == 2048


def test_cost_is_linear_in_the_rental_price_and_bands_hold_the_value() -> None:
    one, two = ladder(JOB, assume()), ladder(replace(JOB, usd_per_h=4.0), assume())
    for a, b in zip(one.rungs[:3], two.rungs[:3], strict=True):
        assert b.usd == pytest.approx(2 * a.usd)
    for rung in one.rungs:
        assert rung.low_usd <= rung.usd <= rung.high_usd
    assert one.rungs[-1].grade == "D"
    assert one.rungs[0].low_usd == one.rungs[0].usd, "stated hours at a stated price have no band"


def test_a_moved_assumption_loses_its_band_and_moves_its_rung_alone() -> None:
    before, after = ladder(JOB, assume()), ladder(JOB, assume(["staff=60"]))
    for a, b in zip(before.rungs[:4], after.rungs[:4], strict=True):
        assert a.usd == b.usd
    assert after.rungs[4].usd - after.rungs[3].usd == pytest.approx(60 * 150_000)
    assert "staff" not in after.swing
    assert "staff" in before.swing


def test_every_assumption_enters_the_ladder_and_has_range_source_and_reason() -> None:
    chosen = load_assumptions()
    assert set(chosen) == {name for names in RESTS_ON.values() for name in names}
    for assumption in chosen.values():
        assert assumption.low < assumption.high, assumption.id
        assert assumption.note, assumption.id
    same = {
        "pue": "pue-air-cooled", "server_overhead": "server-overhead", "electricity": "electricity-us-industrial",
        "amortisation_years": "useful-life-4-years",
    }  # fmt: skip
    for name, price in same.items():
        assert chosen[name].value == load_price(price).value, name


@pytest.mark.parametrize(
    ("change", "error"),
    [("stuff=3", UnknownName), ("staff", BadInput), ("pue=-1", BadInput), ("final_run_share=5", BadInput),
     ("electricity=0.1", BadInput), ("restart=ten", BadInput)],
)  # fmt: skip
def test_bad_assumptions_are_refused_in_one_line(change: str, error: type[BadInput]) -> None:
    with pytest.raises(error) as caught:
        assume([change])
    assert "\n" not in str(caught.value)


def test_an_assumption_outside_its_own_range_is_refused() -> None:
    entry = {"id": "x", "dimension": "ratio", "value": "2", "low": "0.1", "high": "1"}
    with pytest.raises(BadInput, match="not between"):
        build(Assumption, entry, "x")


def test_price_to_buy_a_card_falls_back_to_the_sibling() -> None:
    assert cluster_price(load_accelerator("h100-sxm")) == (50_000, True)
    assert cluster_price(H800) == cluster_price(load_accelerator("h100-sxm"))
    assert cluster_price(load_accelerator("h20-96g")) == (14_000, False)


def test_a_phase_that_does_not_fit_is_named() -> None:
    with pytest.raises(DoesNotFit, match="phase pre-training"):
        training_run(V3, H800, load_run("deepseek-v3"), replace(PLAN, pp=2, ep=64))


def test_catalogued_runs_load_and_name_a_model() -> None:
    assert "deepseek-v3" in known_runs()
    for name in known_runs():
        assert load_run(name).model in {"", load_model(name).id}
    assert RUNS.is_dir()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("id='x'\n", "phase"),
        ("id='x'\n[[phase]]\nname='a'\n", "give one of tokens"),
        ("id='x'\n[[phase]]\nname='a'\ntokens=1e9\nsteps=2\n", "give one of tokens"),
        ("id='x'\n[[phase]]\nname='a'\ntokens=1e9\nramp_from=4\n", "ramp_tokens"),
        ("id='x'\n[[phase]]\nname='a'\ntokens=-1\n", "greater than 0"),
        ("id='x'\n[[phase]]\nname='a'\ntokens=1\nspeed=3\n", "speed"),
    ],
)
def test_a_bad_run_file_says_what_is_wrong(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "own.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(BadInput, match=words):
        load_run(str(path))


def test_the_command_shows_a_founder_where_the_stated_cost_stands(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--run", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert [rung["id"] for rung in shown["ladder"]["predicted"]] == list(RUNGS)
    assert shown["ladder"]["published"][0]["usd"] == 5_576_000
    assert shown["published_gpu_hours"] == PUBLISHED
    assert {phase["how"] for phase in shown["phases"]} == {"predicted", "stated"}
    assert main(["train", "--run"]) == 0
    page = capsys.readouterr().out
    assert "5.576 million USD" in page
    assert "The cost ladder" in page


def test_the_command_takes_one_phase_and_a_file_and_refuses_both(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = tmp_path / "own.toml"
    own.write_text("id='own'\n[[phase]]\nname='short'\ntokens=1e12\nglobal_batch=15360\n", encoding="utf-8")
    assert main(["train", "--run", str(own), "--json"]) == 0
    by_file = json.loads(capsys.readouterr().out)
    assert main(["train", "--run", "--tokens", "1e12", "--json"]) == 0
    by_option = json.loads(capsys.readouterr().out)
    assert by_file["metrics"]["gpu_hours"] == by_option["metrics"]["gpu_hours"]
    assert main(["train", "--run", str(own), "--tokens", "1e12"]) == 2
    assert main(["train", "--assume", "staff=3"]) == 2
    assert main(["train", "--run", "--pp", "8,16"]) == 2
    assert main(["train", "--run", str(tmp_path / "none.toml")]) == 2
    assert capsys.readouterr().err.count("costsim: error:") == 4


def test_every_number_of_a_run_has_a_band_that_holds_it() -> None:
    report = predict_run(V3, H800, load_run("deepseek-v3"), PLAN)
    for name, metric in report.metrics.items():
        assert metric.low is not None, name
        assert metric.high is not None, name
        assert metric.low <= metric.value <= metric.high, name
        assert metric.grade in "ABCD", name
    assert report.metrics["goodput"].high is not None
    assert report.metrics["goodput"].high <= 1.0
