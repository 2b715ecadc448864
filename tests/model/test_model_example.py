"""The arithmetic example learns: GRPO lifts the accuracy of its warm start clearly."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="the model needs torch: pip install costsim[model]")

EXAMPLE = Path(__file__).parents[2] / "examples" / "grpo_arithmetic.py"


@pytest.mark.slow
def test_grpo_lifts_the_reward(capsys):
    main = runpy.run_path(str(EXAMPLE))["main"]
    results = main(["--iterations", "50"])
    assert results["grpo"]["accuracy"] > results["warm start"]["accuracy"] + 0.2
    assert results["grpo"]["format"] > 0.9
    assert "iteration" in capsys.readouterr().out
