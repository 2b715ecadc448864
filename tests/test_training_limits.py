"""Limits of training answers: closed forms against the timeline off the published layouts, order between parts of one
die, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from costsim.errors import DoesNotDivide
from costsim.explore.layouts import training_fit
from costsim.predict.training import predict_training, training_step
from costsim.predict.training.constants import laws_of_ratios, training_constants
from costsim.predict.training.fits import memory_by_rank
from costsim.predict.training.pipeline import played
from costsim.predict.training.setting import training_setting
from costsim.predict.training.step import TrainingStep
from costsim.predict.training.sync import send_seconds
from costsim.spec.catalog import load_accelerator, load_model
from costsim.spec.cluster import standard_cluster
from costsim.spec.plan import TrainingLoad, TrainingPlan

V3, DENSE, QWEN = (load_model(name) for name in ("deepseek-v3", "llama-3.1-70b", "qwen3-235b-a22b"))
H800, H100, B200 = (load_accelerator(f"{name}-sxm") for name in ("h800", "h100", "b200"))
RECIPE = TrainingPlan(2048, pp=16, ep=64, schedule="dualpipe", recompute="norm,mla_up_proj", routing="trained")
LOAD = TrainingLoad(4096, 15_360)


def step_of(model: Any, chip: Any, plan: TrainingPlan, load: TrainingLoad) -> TrainingStep:
    return training_step(model, chip, plan, load, standard_cluster(chip, int(plan.gpus)))[0]


def test_a_sweep_finds_room_for_the_published_layout() -> None:
    step = step_of(V3, H800, RECIPE, LOAD)
    assert not any(bool(out) for _, out in training_fit(step.memory, H800))


#: plans whose closed form has to follow the timeline in time and in memory
AWAY: list[tuple[Any, dict[str, Any], int]] = [
    (DENSE, {"gpus": 64, "pp": 16, "schedule": "dualpipe", "overlap": "none"}, 128),
    (DENSE, {"gpus": 16, "pp": 4, "cp": 2, "schedule": "dualpipe", "overlap": "gradients"}, 32),
    (QWEN, {"gpus": 64, "pp": 4, "ep": 4, "schedule": "dualpipe", "overlap": "gradients"}, 512),
    (DENSE, {"gpus": 64, "pp": 8, "tp": 2, "schedule": "interleaved"}, 64),
    (DENSE, {"gpus": 64, "pp": 8, "tp": 4, "schedule": "dualpipev"}, 256),
]


@pytest.mark.parametrize(("model", "plan", "batch"), AWAY)
def test_closed_forms_off_the_published_layouts(model: Any, plan: dict[str, Any], batch: int) -> None:
    whole, load = TrainingPlan(**plan), TrainingLoad(4096, batch)
    setting = training_setting(model, H800, whole, load, standard_cluster(H800, plan["gpus"]))
    game = played(setting, float(send_seconds(setting)))
    step = step_of(model, H800, whole, load)
    after = float(step.gradient_s) + float(step.optimizer_s)
    assert float(step.step_s) - after == pytest.approx(game.timeline.step_s, rel=0.09)
    assert float(step.memory.total_bytes) > 0.93 * memory_by_rank(setting, game)["allocated_bytes"]


def test_interleaving_one_stage_is_1f1b() -> None:
    plan = TrainingPlan(64, pp=8, tp=8, vpp=1, schedule="interleaved")
    load = TrainingLoad(4096, 12)  # no multiple of pp is asked for either
    one = predict_training(DENSE, H800, plan, load)
    same = predict_training(DENSE, H800, replace(plan, schedule="1f1b"), load)
    assert one["step_s"] == same["step_s"]
    assert one["peak_memory_bytes"] == same["peak_memory_bytes"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"comm_sms": 132}, "comm_sms = 132: must be from 0 to 131"),
        ({"comm_sms": 200}, "comm_sms = 200"),
        ({"schedule": "1f1b", "overlap": "pair"}, "pair needs interleaved stages"),
        ({"schedule": "interleaved", "vpp": 2}, "120 micro-batches .* multiple of pp = 16"),
    ],
)
def test_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(DoesNotDivide, match=message):
        predict_training(V3, H800, replace(RECIPE, **change), LOAD)


def test_context_parallel_ranks_share_whole_tokens() -> None:
    with pytest.raises(DoesNotDivide, match="cp = 3 does not divide seq = 4096"):
        predict_training(DENSE, H800, TrainingPlan(24, tp=8, cp=3), TrainingLoad(4096, 16))


def test_recomputing_the_dense_ffn_leaves_routed_layers_alone() -> None:
    """Nothing is freed where nothing is computed again: every layer of this model is routed."""
    plan, load = TrainingPlan(256, pp=8, tp=2, ep=32, vpp=4, recompute="none"), TrainingLoad(4096, 2048)
    model = V3.model_copy(update={"moe": V3.moe.model_copy(update={"first_dense": 0})}) if V3.moe else V3
    none, mlp = (step_of(model, H800, replace(plan, recompute=word), load) for word in ("none", "mlp"))
    assert float(mlp.step_s) == float(none.step_s)
    assert float(mlp.memory.total_bytes) == float(none.memory.total_bytes)


@pytest.mark.parametrize("precision", ["fp8", "bf16"])
@pytest.mark.parametrize("tp", [1, 2, 4, 8])
def test_a_faster_fabric_is_never_slower(tp: int, precision: str) -> None:
    """H100 is H800 with more NVLink: the step does not grow."""
    plan = TrainingPlan(1024, tp=tp, pp=8, ep=64, vpp=4, precision=precision)
    load = TrainingLoad(4096, 8192)
    slow, fast = (float(step_of(V3, chip, plan, load).step_s) for chip in (H800, H100))
    assert fast < 1.01 * slow


def test_ratios_divide_by_the_law_they_were_taken_against() -> None:
    assert set(laws_of_ratios(H100, training_constants(H100))) == {"gemm/fp8"}
    assert laws_of_ratios(H800, training_constants(H800)) == {}
    assert laws_of_ratios(B200, training_constants(B200)) == {}
    # Another peak: the law is another one too.
    h20 = load_accelerator("h20-96g")
    assert laws_of_ratios(h20, training_constants(h20)) == {}


def test_a_format_without_training_kernels_has_a_wider_band() -> None:
    load = TrainingLoad(4096, 512)
    wide, narrow = (
        predict_training(DENSE, B200, TrainingPlan(64, tp=8, precision=word), load).metrics["step_s"]
        for word in ("fp8", "bf16")
    )
    for side in ("low", "high"):
        assert abs(getattr(wide, side) / wide.value - 1.0) > abs(getattr(narrow, side) / narrow.value - 1.0) + 0.05
