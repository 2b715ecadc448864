"""The scripts under examples/ run, and their conclusions follow from their numbers."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

import costsim
from costsim.predict.report import Metric

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
#: trains for a minute; its parts are tested with the model
ELSEWHERE = {"grpo_arithmetic"}


def told(name: str, arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[dict[Any, Any], str]:
    """What ``main`` returns and prints."""
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    found = module.main(arguments)
    return found, capsys.readouterr().out


def test_every_script_is_shown_on_the_page() -> None:
    page = (EXAMPLES.parent / "docs" / "examples.md").read_text(encoding="utf-8")
    for path in EXAMPLES.glob("*.py"):
        assert f"examples/{path.name}" in page, path.name


def test_h20_or_h800_breaks_even_where_it_says(capsys: pytest.CaptureFixture[str]) -> None:
    found, text = told("h20_or_h800", [], capsys)
    cheap = "h20-96g" if found["h20_usd"] < found["h800_usd"] else "h800-sxm"
    assert f"Answer: {cheap} is" in text
    assert 0.0 <= found["h20_beats_h800"] <= 1.0
    rate = f"{found['break_even_usd_per_h']:.6f}USD/h"
    again, _ = told("h20_or_h800", ["--h20", rate], capsys)
    assert again["h20_usd"] == pytest.approx(again["h800_usd"], rel=1e-4)


def test_v3_on_910c_says_no_where_nothing_fits(capsys: pytest.CaptureFixture[str]) -> None:
    found, text = told("v3_on_910c", [], capsys)
    assert found["feasible"] > 0
    assert "Answer: it fits" in text
    assert "grade D" in text
    dearer, _ = told("v3_on_910c", ["--price", "24 CNY/h"], capsys)
    assert dearer["usd_ratio"] == pytest.approx(2 * found["usd_ratio"])
    small, text = told("v3_on_910c", ["--cards", "16"], capsys)
    assert small["feasible"] == 0
    assert "Answer: no" in text


def test_redundancy_pays_where_loads_are_uneven(capsys: pytest.CaptureFixture[str]) -> None:
    uneven, text = told("redundancy", ["--gpus", "128", "--sigma", "1.2"], capsys)
    assert max(uneven, key=lambda slots: uneven[slots]) > 256
    assert "Answer: yes" in text
    _, text = told("redundancy", ["--gpus", "32", "--sigma", "0"], capsys)
    assert "Answer: no" in text


def test_r1_breaks_even_where_it_says(capsys: pytest.CaptureFixture[str]) -> None:
    found, text = told("r1_at_2_19_usd", [], capsys)
    assert found["break_even_share"] == pytest.approx(found["usd_per_day"] / found["revenue"])
    assert found["margin"] == pytest.approx(5.45, rel=0.05)  # the published 545 % [deepseek-open-infra-day6]
    assert "Answer: profitable" in text
    _, text = told("r1_at_2_19_usd", ["--paid", f"{0.5 * found['break_even_share']:.4f}"], capsys)
    assert "Answer: at a loss" in text


def test_a_profiled_chip_has_its_own_laws(capsys: pytest.CaptureFixture[str]) -> None:
    found, text = told("profile_own_chip", [], capsys)
    assert found["laws"] == 6
    before, after = (line for line in text.splitlines() if " laws  " in line or "own laws" in line)
    assert "grade D" in before
    assert "grade D" not in after
    assert found["tokens_per_s"] > 0


def test_a_found_plan_asked_again_gives_the_search_s_own_numbers() -> None:
    model, chip = costsim.load_model("deepseek-v3"), costsim.load_accelerator("h800-sxm")
    grid = {"gpus": [32, 64], "ep": [32, 64], "overlap": ["single-batch"], "context": [4096], "batch_per_gpu": [16, 32]}
    found = costsim.search(model, chip, "decode", grid)
    assert found.best is not None
    again = costsim.predict_inference(model, chip, *found.best.question("decode"))
    assert again["usd_per_mtok_output"] == pytest.approx(found.best.metrics["usd_per_mtok"])
    load = {"seq": [4096], "global_batch": [15360]}
    trained = costsim.search(
        model, chip, "training", {"gpus": [2048], "pp": [16], "ep": [64], **load}, objective="step_s"
    )
    assert trained.best is not None
    plan, asked = trained.best.question("training")
    assert (plan.pp, plan.ep, asked.seq, asked.global_batch) == (16, 64, 4096, 15360)


def test_a_number_says_its_unit_band_and_grade() -> None:
    metric = costsim.Report("decode", {}, {"usd": Metric(0.23731, "USD/Mtok", 0.18874, 0.28852, "C")}).metrics["usd"]
    assert str(metric) == "0.2373 USD/Mtok (0.1887 … 0.2885, grade C)"
    assert str(Metric(81.6e9, "FLOP", None, None, "A")) == "81,600,000,000 FLOP (grade A)"
    assert str(Metric(0.4, "", 0.3, 0.5, "D")) == "0.4 (0.3 … 0.5, grade D)"
