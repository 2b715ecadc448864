"""Published training rows: how a row becomes a question, and how far off every kind of row is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from costsim.evidence.points import Point, read_points
from costsim.evidence.validate import Row, predict_point, training_question, validate
from costsim.spec.catalog import ROOT, load_accelerator, load_model
from costsim.spec.training_framework import UNSTATED, framework_in, training_frameworks

TRUTH = Path(__file__).resolve().parents[2] / "shared" / "truth" / "points_training.csv"
V3, H100, A100 = load_model("deepseek-v3"), load_accelerator("h100-sxm"), load_accelerator("a100-80g-sxm")


def row(**changes: object) -> Point:
    base: dict[str, object] = {
        "id": "one", "kind": "training", "model": "deepseek-v3", "accelerator": "h100-sxm", "gpus": 1024,
        "precision": "", "plan": {"tp": "2", "pp": "8", "vpp": "4", "ep": "64", "schedule": "interleaved-1f1b"},
        "load": {"seq": "4096", "global_batch": "8192"}, "metric": "tokens_per_s_per_gpu", "value": 1297.0, "unit": "",
        "source": "", "confidence": "primary", "notes": "",
    }  # fmt: skip
    return Point(**(base | changes))  # type: ignore[arg-type]


def test_what_a_row_leaves_open() -> None:
    plan, load = training_question(row(), V3, H100)
    assert (plan.precision, plan.routing, plan.overlap, plan.schedule) == (
        "fp8",
        "balanced",
        "auto",
        "interleaved-1f1b",
    )
    assert (load.global_batch, load.micro_batch, load.tokens) == (8192, 1, None)
    assert training_question(row(accelerator="a100-80g-sxm"), V3, A100)[0].precision == "bf16"
    assert training_question(row(precision="FP8-CS"), V3, H100)[0].precision == "fp8"
    dense = load_model("llama-3.1-405b")
    assert training_question(row(model=dense.id, plan={"ep": "n/a", "pp": "8"}), dense, H100)[0].ep == 1
    cut = training_question(row(plan={"layers": "4"}, load={"seq": "4096", "micro_batches": "8"}), V3, H100)
    assert cut[0].layers == 4
    assert cut[1].global_batch == 8 * 1024  # eight micro-batches on each data-parallel rank


def test_recipes_of_frameworks_fill_in_what_their_tables_leave_out() -> None:
    bridge = "Megatron-Bridge 067f987 docs/performance-summary-archive.md"
    plan, _ = training_question(row(source=bridge), V3, H100)
    assert (plan.overlap, plan.dispatcher) == ("pair", "auto")
    qwen = load_model("qwen3-235b-a22b")
    assert training_question(row(source=bridge, model=qwen.id), qwen, H100)[0].dispatcher == "alltoall"
    inside = row(source=bridge, plan={"ep": "8", "pp": "8"})
    assert training_question(inside, V3, H100)[0].overlap == "auto"
    oss = row(source=bridge, model="gpt-oss-120b", accelerator="b300-sxm", plan={"ep": "64"})
    assert training_question(oss, load_model(oss.model), load_accelerator(oss.accelerator))[0].overlap == "auto"
    assert framework_in("a blog post") is UNSTATED
    assert training_question(row(), V3, H100)[0].overlap == "auto"
    cited = (ROOT / "hwprofiles" / "references.bib").read_text()
    assert all(f"{{{key}," in cited for one in training_frameworks() for key in one.sources)
    real = training_question(row(plan={"schedule": "dualpipe", "pp": "16", "ep": "64"}), V3, H100)[0]
    assert real.routing == "trained"


def test_a_row_without_recompute_gets_the_least_that_fits() -> None:
    found = predict_point(row())
    assert found.error is None
    stated = predict_point(row(plan={**row().plan, "recompute": "none"}))
    assert stated.predicted is None
    assert "does not fit" in (stated.error or "")


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    if not TRUTH.is_file():
        pytest.skip("the table of measured training rows is not beside this checkout")
    return validate(read_points(TRUTH))


def errors(rows: list[Row], chip: str, metric: str) -> list[float]:
    return [r.ape for r in rows if r.point.accelerator == chip and r.point.metric == metric and r.ape is not None]


def test_every_row_is_predicted(rows: list[Row]) -> None:
    assert [r.point.id for r in rows if r.error] == []


@pytest.mark.parametrize(
    ("chip", "metric", "mape", "most"),
    [
        ("b200-sxm", "step_s", 0.06, 0.12), ("b200-sxm", "peak_memory_bytes", 0.015, 0.03),
        ("h100-sxm", "tokens_per_s_per_gpu", 0.10, 0.15), ("h800-sxm", "step_s", 0.05, 0.05),
        ("h800-sxm", "forward_backward_pair_s", 0.08, 0.08), ("h800-sxm", "pretrain_gpu_hours", 0.05, 0.05),
    ],
)  # fmt: skip
def test_bars(rows: list[Row], chip: str, metric: str, mape: float, most: float) -> None:
    found = errors(rows, chip, metric)
    assert found
    assert np.mean(found) < mape
    assert max(found) < most


def test_bands_hold_four_in_five(rows: list[Row]) -> None:
    inside = [bool(r.inside) for r in rows if r.inside is not None]
    assert np.mean(inside) >= 0.8


def test_a_model_too_large_for_one_stage_ran_sharded() -> None:
    """No sharding is named in tables of fully sharded runs."""
    found = row(
        model="llama-3.1-70b", accelerator="gb200-nvl72", gpus=64, plan={"tp": "1", "pp": "1"},
        load={"seq": "8192", "micro_batch": "2", "global_batch": "256"}, precision="nvfp4",
    )  # fmt: skip
    assert training_question(found, load_model(found.model), load_accelerator(found.accelerator))[0].precision == "fp4"
    assert predict_point(found).error is None
    named = predict_point(row(**{**found.__dict__, "plan": {"tp": "1", "pp": "1", "zero": "1", "recompute": "none"}}))
    assert "does not fit" in (named.error or "")
