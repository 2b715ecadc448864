"""The FP8 waterfall: changes add up to the whole, ends are the predictions of the two plans, FLOP rates bound it."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from costsim.cli.main import main
from costsim.errors import BadInput
from costsim.predict.fp8 import Fp8Savings, fp8_savings
from costsim.predict.training import predict_training
from costsim.report.fp8 import savings_document, savings_payload
from costsim.spec.catalog import load_accelerator, load_model
from costsim.spec.plan import TrainingLoad, TrainingPlan
from costsim.spec.price import parse_rate

V3, H800 = load_model("deepseek-v3"), load_accelerator("h800-sxm")
PLAN = TrainingPlan(gpus=2048, pp=16, ep=64, schedule="dualpipe", recompute="norm,mla_up_proj")
LOAD = TrainingLoad(seq=4096, global_batch=15360, tokens=14.8e12)
RATE = parse_rate("2 USD/h", "price")


@pytest.fixture(scope="module")
def savings() -> Fp8Savings:
    return fp8_savings(V3, H800, PLAN, LOAD, RATE)


@pytest.mark.parametrize("name", ["step_s", "memory_bytes", "cards", "usd"])
def test_changes_add_up_to_the_total(savings: Fp8Savings, name: str) -> None:
    first, last = (float(getattr(savings.levels[i], name)) for i in (0, -1))
    assert first + sum(change for _, change in savings.changes(name)) == pytest.approx(last)
    assert first != last


def test_the_last_level_is_the_fp8_plan_and_the_first_the_bf16_one(savings: Fp8Savings) -> None:
    heavy, light = savings.recompute
    narrow = predict_training(V3, H800, replace(PLAN, precision="fp8", recompute=light), LOAD, RATE)
    assert savings.levels[-1].step_s == pytest.approx(narrow["step_s"])
    assert savings.levels[-1].memory_bytes == pytest.approx(narrow["peak_memory_bytes"])
    assert savings.levels[-1].usd == pytest.approx(narrow["usd_per_run"])
    wide = predict_training(V3, H800, replace(PLAN, precision="bf16", recompute=heavy), LOAD, RATE)
    assert savings.levels[0].step_s == pytest.approx(wide["step_s"], rel=0.02)


def test_each_change_touches_what_its_name_says(savings: Fp8Savings) -> None:
    time, memory = dict(savings.changes("step_s")), dict(savings.changes("memory_bytes"))
    assert time["matrix products and casts"] < 0 < -time["expert transfers"]
    assert memory["matrix products and casts"] == memory["expert transfers"] == memory["less recomputation"] == 0
    assert time["activations kept"] == time["copies of weights"] == 0
    assert memory["activations kept"] < 0
    assert time["less recomputation"] <= 0


def test_activations_and_time_shrink_no_more_than_the_format_allows(savings: Fp8Savings) -> None:
    """FP8 has twice the rate and half the bytes. Block-scaled FP8 also drops SwiGLU's output, a third of what a gated
    FFN keeps, so that no less than a third of the bytes stays; recomputation left out, time no more than halves."""
    kinds = [level.memory["activations_bytes"] for level in savings.levels]
    assert 1.0 / 3.0 <= kinds[-1] / kinds[0] < 1.0
    before_recompute = savings.levels[-2].step_s
    assert 0.5 < before_recompute / savings.levels[0].step_s < 1.0


def test_cards_and_money_follow_the_step(savings: Fp8Savings) -> None:
    first, last = savings.levels[0], savings.levels[-1]
    assert last.cards == pytest.approx(2048 * last.step_s / first.step_s)
    assert first.usd is not None
    assert last.usd == pytest.approx(first.usd * last.step_s / first.step_s)
    assert first.usd == pytest.approx(14.8e12 / (15360 * 4096) * first.step_s * 2048 / 3600 * 2.0)


def test_a_dense_model_has_no_expert_transfers() -> None:
    model, chip = load_model("llama-3.1-405b"), load_accelerator("h100-sxm")
    plan = TrainingPlan(gpus=1024, tp=8, pp=8, cp=2, recompute="selective")
    found = fp8_savings(model, chip, plan, TrainingLoad(seq=8192, global_batch=512, tokens=1e12))
    assert dict(found.changes("step_s"))["expert transfers"] == 0
    assert found.report["speedup"] > 1.0


def test_a_chip_without_fp8_is_refused() -> None:
    with pytest.raises(BadInput, match="fp8"):
        fp8_savings(V3, load_accelerator("a100-80g-sxm"), PLAN, LOAD)


def test_the_page_has_a_table_and_waterfalls_whose_bars_are_the_changes(savings: Fp8Savings) -> None:
    section = savings_document(savings).sections[0]
    assert [len(row) for row in section.tables[0].rows] == [5] * 7
    assert len(section.charts) == 4
    bars = section.charts[0].figure["data"][0]
    assert bars["type"] == "waterfall"
    assert sum(bars["x"][:-1]) == pytest.approx(savings.levels[-1].step_s)
    assert {"levels", "changes", "recompute", "metrics"} <= set(savings_payload(savings))


def test_the_command_answers_and_refuses(capsys: pytest.CaptureFixture[str]) -> None:
    base = ["train", "--fp8-savings", "--schedule", "dualpipe", "--recompute", "norm,mla_up_proj"]
    assert main([*base, "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["levels"][0]["id"] == "bf16"
    assert main([*base, "--run"]) == 2
    assert main([*base, "--pp", "8,16"]) == 2
    assert main([*base, "--accelerator", "a100-80g-sxm"]) == 2
    assert capsys.readouterr().err.count("costsim: error:") == 3


def test_what_has_no_say_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    base = ["train", "--fp8-savings", "--schedule", "interleaved", "--vpp", "2", "--global-batch", "16384"]
    assert main([*base, "--precision", "bf16", "--comm-sms", "8"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "precision bf16, where both formats are compared: left out" in told
    assert "comm_sms counts under overlap pair alone, not gradients: left out" in told
    assert main(base) == 0
    assert "left out" not in capsys.readouterr().out
