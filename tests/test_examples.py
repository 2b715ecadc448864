"""The scripts under examples/ run, and their conclusions follow from their numbers."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

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
