"""Charts and tables that are read as they are drawn: ticks in their own units, series told apart, parts that add up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from costsim import (
    DecodeLoad,
    ServingPlan,
    TrainingLoad,
    TrainingPlan,
    load_accelerator,
    load_model,
    predict_inference,
    predict_training,
)
from costsim.predict.fp8 import fp8_savings
from costsim.report.figures import log_ticks, predicted_against_measured
from costsim.report.memory import beside
from costsim.report.pages import document_of

ROOT = Path(__file__).resolve().parents[1]
MODEL, CHIP = load_model("deepseek-v3"), load_accelerator("h800-sxm")


def test_every_logarithmic_axis_has_ticks_in_full() -> None:
    """The drawing library's own say 2 where 0.2 stands; figures take theirs from one place."""
    for path in [*ROOT.glob("costsim/**/*.py"), *ROOT.glob("dashboards/**/*.py")]:
        text = path.read_text(encoding="utf-8")
        assert text.count('"log"') == (path.name == "figures.py"), f"{path}: use log_ticks"


@pytest.mark.parametrize("values", [(0.05, 0.5), (0.187, 0.48), (1e-6, 1e3), (3.0, 3.1)])
def test_ticks_read_as_their_values(values: tuple[float, float]) -> None:
    axis = log_ticks(values)
    scale = {"k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15}
    for value, text in zip(axis["tickvals"], axis["ticktext"], strict=True):
        assert float(text.rstrip("kMGTP")) * scale.get(text[-1], 1.0) == pytest.approx(value)
    assert axis["tickvals"][0] <= min(values)
    assert axis["tickvals"][-1] >= max(values)


def test_twenty_groups_look_different() -> None:
    figure = predicted_against_measured({f"kind {i}": [(1.0, 1.1, "")] for i in range(20)}, "all", "s", 0.1)
    marks = [(trace["marker"]["color"], trace["marker"]["symbol"]) for trace in figure["data"] if "marker" in trace]
    assert len(marks) == len(set(marks)) == 20


@pytest.mark.parametrize("kind", ["training", "inference"])
def test_memory_parts_add_up_to_the_total(kind: str) -> None:
    """In the report and in the table that its page shows: the same meaning of the total in both kinds."""
    report: Any
    if kind == "training":
        report = predict_training(MODEL, CHIP, TrainingPlan(gpus=2048, pp=16, ep=64), TrainingLoad(4096, 15360))
        assert report.memory["allocated_bytes"] == report.metrics["peak_memory_bytes"].value
    else:
        report = predict_inference(MODEL, CHIP, ServingPlan(gpus=128, ep=128), DecodeLoad(4096, 64))
    sums = ("total_bytes", "allocated_bytes", "capacity_bytes")
    parts = {name: value for name, value in report.memory.items()
             if name.endswith("_bytes") and name not in sums and not beside(report.memory, name)}  # fmt: skip
    assert sum(parts.values()) == pytest.approx(report.memory["total_bytes"], rel=1e-9)
    (section,) = (one for one in document_of(report).sections if one.heading == "Memory per device")
    (table,) = section.tables
    shown = {str(row[0]): row[1].value for row in table.rows}
    assert not any(name.startswith("rank ") for name in shown)
    assert "optimizer" not in shown or "moments" not in shown


def test_one_memory_has_one_band() -> None:
    """The FP8 plan of the savings is the plan that training predicts."""
    plan, load = TrainingPlan(gpus=2048, pp=16, ep=64), TrainingLoad(4096, 15360)
    saved = fp8_savings(MODEL, CHIP, plan, load).report.metrics["fp8_memory_bytes"]
    assert saved == predict_training(MODEL, CHIP, plan, load).metrics["peak_memory_bytes"]
