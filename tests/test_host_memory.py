"""What a card with a coherent link cannot hold waits in host memory: weights of prefill, activations of training."""

from __future__ import annotations

from dataclasses import replace

import pytest

import costsim
from costsim.errors import DoesNotFit
from costsim.predict.host import host_link
from costsim.predict.training import predict_training
from costsim.spec.plan import PrefillLoad, ServingPlan, TrainingLoad, TrainingPlan

DEEPSEEK, LLAMA = costsim.load_model("deepseek-v3"), costsim.load_model("llama-3.1-70b")
RACK, BOX = costsim.load_accelerator("gb200-nvl72"), costsim.load_accelerator("b200-sxm")
NARROW = ServingPlan(gpus=2, ep=2, precision="fp4", kv_dtype="fp8", overlap="none")
SHARDED = TrainingPlan(gpus=64, zero=3, recompute="offload")
BATCH = TrainingLoad(seq=8192, global_batch=256, micro_batch=2)


def test_prefill_streams_the_weights_that_do_not_fit() -> None:
    """LMSYS ran prefill on two GB200 a replica this way: 26,156 tokens/s a GPU [lmsys-gb200-part2]."""
    report = costsim.predict_inference(DEEPSEEK, RACK, NARROW, PrefillLoad(2000, 16384))
    memory = report.memory
    assert memory["host_bytes"] > 10e9
    assert memory["total_bytes"] <= memory["capacity_bytes"]
    link = host_link(RACK)
    assert link is not None
    assert link.seconds(memory["host_bytes"]) <= report["step_s"], "hidden beside compute"
    assert "lmsys-gb200-part2" in report.sources
    assert report["tokens_per_s_per_gpu"] == pytest.approx(26156, rel=0.3)


def test_short_steps_cannot_hide_the_stream() -> None:
    with pytest.raises(DoesNotFit, match="does not fit"):
        costsim.predict_inference(DEEPSEEK, RACK, NARROW, PrefillLoad(2000, 1024))


def test_no_link_no_stream() -> None:
    assert host_link(BOX) is None
    with pytest.raises(DoesNotFit, match="does not fit"):
        costsim.predict_inference(DEEPSEEK, BOX, NARROW, PrefillLoad(2000, 16384))
    with pytest.raises(DoesNotFit, match="coherent link"):
        predict_training(LLAMA, BOX, SHARDED, BATCH)


def test_an_edited_copy_keeps_its_parts_link() -> None:
    mine = RACK.model_copy(update={"id": "my-rack", "sibling": "gb200-nvl72"})
    assert host_link(mine) == host_link(RACK)


def test_offloaded_activations_cost_no_second_forward_pass() -> None:
    offloaded = predict_training(LLAMA, RACK, SHARDED, BATCH)
    again = predict_training(LLAMA, RACK, replace(SHARDED, recompute="full"), BATCH)
    assert offloaded.memory["host_bytes"] > 0
    assert offloaded.memory["total_bytes"] <= RACK.rank().need("memory")
    assert offloaded["step_s"] < 0.9 * again["step_s"]
    assert any("host memory" in note for note in offloaded.notes)
    # Megatron-Bridge, 64 GB200, FP8, fully sharded, 4,040 tokens/s a card
    assert offloaded["tokens_per_s_per_gpu"] == pytest.approx(4040, rel=0.25)


def test_what_fits_stays() -> None:
    small = predict_training(LLAMA, RACK, replace(SHARDED, precision="bf16"), replace(BATCH, micro_batch=1, seq=1024))
    assert "host_bytes" not in small.memory
