"""Training against published runs, kernels and traces; closed forms against the timeline; what memory counts."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from costsim.calibration.store import device_for
from costsim.errors import BadInput, DoesNotDivide, DoesNotFit
from costsim.physics.op import gemm
from costsim.physics.training.passes import Recipe, linear
from costsim.physics.training.recompute import recomputed_tensors
from costsim.predict.report import Report
from costsim.predict.training import predict_chunk, predict_training, timeline_of, training_step
from costsim.predict.training.constants import constants_for, slowest, training_constants
from costsim.predict.training.kernels import Clock
from costsim.spec.catalog import load_accelerator, load_model
from costsim.spec.cluster import standard_cluster
from costsim.spec.plan import TrainingLoad, TrainingPlan
from costsim.timing.duration import time_op

KERNELS = Path(__file__).resolve().parent.parent / "hwprofiles" / "training"
V3 = load_model("deepseek-v3")
H800, H100, B200, B300 = (load_accelerator(f"{n}-sxm") for n in ("h800", "h100", "b200", "b300"))
RECIPE = TrainingPlan(
    2048, pp=16, ep=64, schedule="dualpipe", recompute="RMSNorm + MLA up-proj", comm_sms=20, routing="trained"
)
LOAD = TrainingLoad(4096, 15_360, tokens=14.8e12)


@pytest.fixture(scope="module")
def published() -> Report:
    return predict_training(V3, H800, RECIPE, LOAD)


@pytest.mark.parametrize(
    ("metric", "measured", "bar"),
    [
        ("step_s", 19.926, 0.05), ("forward_only_s", 1.13, 0.20), ("backward_only_s", 1.99, 0.20),
        ("weight_only_s", 0.48, 0.20), ("forward_backward_s", 13.95, 0.20), ("optimizer_s", 0.29, 0.20),
        ("tokens_per_day", 272.8e9, 0.05), ("mfu_causal", 0.3894, 0.05), ("mfu_noncausal", 0.4373, 0.05),
        ("tflops_per_gpu_causal", 385.0, 0.05), ("gpu_hours_per_trillion_tokens", 180e3, 0.05),
        ("gpu_hours", 2.664e6, 0.05),
    ],
)  # fmt: skip
def test_the_published_run(published: Report, metric: str, measured: float, bar: float) -> None:
    """2,048 H800, DualPipe, EP64 [deepseek-isca-2025, table 4; deepseek-v3-report]."""
    found = published.metrics[metric]
    assert found.value == pytest.approx(measured, rel=bar)
    assert found.low is not None
    assert found.high is not None
    assert found.low <= measured <= found.high


def test_parts_add_up_to_the_step(published: Report) -> None:
    names = ("forward_only_s", "backward_only_s", "weight_only_s", "forward_backward_s", "bubble_s", "optimizer_s")
    assert sum(published[name] for name in names) == pytest.approx(published["step_s"], abs=2e-3)
    shown = sum(line.time_s for line in published.breakdown if not line.overlapped)
    assert shown == pytest.approx(published["step_s"], rel=0.02)


def test_one_overlapped_pair_and_its_phases() -> None:
    """Four routed layers forward and backward in 129.0 ms, phases in order of size [deepseek-profile-data]."""
    plan = TrainingPlan(64, ep=64, schedule="dualpipe", layers=4, comm_sms=20, recompute="norm,mla_up_proj")
    report = predict_chunk(V3, H800, plan, TrainingLoad(4096, 64))
    assert report["forward_backward_pair_s"] == pytest.approx(0.12901, rel=0.08)
    phases = {line.name: line.time_s for line in report.breakdown}
    # Milliseconds of the trace's compute stream; its weight gradients of experts run on a second stream too.
    trace = {"attn B": 37.36, "mlp W": 14.16 + 11.36, "mlp B": 21.22, "mlp F": 18.41, "attn F": 17.45, "attn W": 9.55}
    assert sorted(trace, key=lambda name: -phases[name]) == list(trace)
    for name, ms in trace.items():
        assert phases[name] == pytest.approx(ms * 1e-3, rel=0.2), name


#: layers, tp, cp, pp, dp, ep, seq → allocated bytes of Megatron-LM on one node of B200 [simumax]
MEMORY = [
    ("llama-3.1-70b", 12, 1, 1, 2, 4, 1, 4096, 71_457_518_387),
    ("llama-3.1-70b", 12, 4, 1, 1, 2, 1, 4096, 41_951_093_063),
    ("deepseek-v2", 4, 1, 1, 1, 8, 8, 4096, 48_994_839_429),
    ("deepseek-v3", 4, 1, 1, 1, 8, 8, 4096, 111_991_272_243),
    ("llama-3.1-405b", 4, 1, 1, 2, 4, 1, 4096, 93_501_438_033),
    ("llama-3.1-405b", 4, 4, 1, 1, 2, 1, 4096, 56_790_205_071),
    ("llama-3.1-70b", 12, 2, 4, 1, 1, 1, 32_768, 73_476_153_016),
    ("llama-3.1-405b", 4, 2, 4, 1, 1, 1, 131_072, 126_841_121_669),
]  # fmt: skip


def node_plan(layers: int, tp: int, cp: int, pp: int, ep: int, **more: Any) -> TrainingPlan:
    return TrainingPlan(
        8, tp=tp, cp=cp, pp=pp, ep=ep, layers=layers, precision="bf16", recompute="none", overlap="none", **more
    )


def test_memory_of_one_node() -> None:
    errors = []
    for name, layers, tp, cp, pp, dp, ep, seq, measured in MEMORY:
        report = predict_training(load_model(name), B200, node_plan(layers, tp, cp, pp, ep), TrainingLoad(seq, 4 * dp))
        errors.append(abs(report["peak_memory_bytes"] / measured - 1.0))
        kinds = ("weights", "gradients", "master", "moments", "activations", "transient", "communication")
        assert sum(report.memory[f"{kind}_bytes"] for kind in kinds) == pytest.approx(report["peak_memory_bytes"])
    assert np.mean(errors) < 0.015
    assert max(errors) < 0.025


def test_step_of_one_node() -> None:
    """Llama-3 405B cut to four layers, two pipeline stages, BF16, nothing overlapped: 1.9354 s [simumax]."""
    report = predict_training(load_model("llama-3.1-405b"), B200, node_plan(4, 1, 1, 2, 1), TrainingLoad(4096, 32))
    assert report["step_s"] == pytest.approx(1.9354, rel=0.06)
    assert report["bubble_s"] > 0


def kernel_rows(name: str = "b200-sxm") -> list[dict[str, str]]:
    lines = [line for line in (KERNELS / f"{name}.csv").read_text(encoding="utf-8").splitlines() if line[0] != "#"]
    return list(csv.DictReader(lines))


def test_ratios_of_the_published_trace() -> None:
    """Hopper's constants: the trace's FP8 GEMMs over the law on the cores that transfers leave."""
    device, constants = device_for(H800, standard_cluster(H800, 2048)), constants_for("hopper")
    ratios: dict[bool, list[float]] = {True: [], False: []}
    for row in kernel_rows("h800-sxm"):
        groups, m, n, k, seconds = (float(row[name]) for name in ("groups", "m", "n", "k", "seconds"))
        law = groups * float(time_op(gemm("", m, n, k, "fp8", 1.0, ""), device, 112.0 / 132.0).time_s)
        ratios[row["pass"] == "weight_gradient"].append(seconds / law)
    assert np.median(ratios[False]) == pytest.approx(constants.gemm("fp8"), rel=0.03)
    assert np.median(ratios[True]) == pytest.approx(constants.block_weight_gradient, rel=0.05)


def test_ratios_of_training_kernels_are_those_of_the_table() -> None:
    """Blackwell's constants follow from the shipped kernels and the laws, and from nothing else."""
    device, constants = device_for(B200, standard_cluster(B200, 8)), training_constants(B200)
    ratios, over, rest = [], [], []
    for row in kernel_rows():
        if row["kind"] == "attention":
            continue
        groups, m, n, k = (float(row[name]) for name in ("groups", "m", "n", "k"))
        flop = 2.0 * groups * m * n * k
        for column, shape in (("forward", (m, n, k)), ("input_gradient", (m, k, n)), ("weight_gradient", (n, k, m))):
            law = groups * float(time_op(gemm("", *shape, "bf16", 1.0, ""), device).time_s)
            seconds = flop / (2250e12 * float(row[column]))
            if column != "weight_gradient":
                ratios.append(seconds / law)
            else:
                over.append(seconds - constants.gemm("bf16") * law)
                rest.append(8.0 * groups * n * k / device.bandwidth)
    assert np.median(ratios) == pytest.approx(constants.gemm("bf16"), rel=0.02)
    # Main gradients: seconds beyond the product, over their traffic at full bandwidth, by least squares.
    share = float(np.dot(over, rest) / np.dot(rest, rest))
    assert share == pytest.approx(constants.main_gradient, rel=0.08)


def test_power_limits_slow_parts_with_fewer_watts_for_their_peak() -> None:
    parts = [training_constants(load_accelerator(name)) for name in ("gb300-nvl72", "gb200-nvl72", "b200-sxm")]
    assert 1.0 < parts[0].gemm("bf16") < parts[1].gemm("bf16") < parts[2].gemm("bf16") == 1.33
    assert [round(one.gemm("fp8"), 3) for one in parts] == [1.0, 1.006, 1.032]  # (5/1.2 over 4.5/1.1)^(1/3), 1.1^(1/3)
    assert training_constants(load_accelerator("h20-96g")).gemm("bf16") == 1.0


LINEAR = ((12288, 4096), (4096, 4096), (16384, 4096), (4096, 16384))
TOKENS = 15872


def profiled() -> dict[tuple[str, str], list[float]]:
    """Seconds of a layer's linear maps by format and cast, forward, input and weight gradients."""
    passes = ("forward", "input_gradient", "weight_gradient")
    return {(r["format"], r["cast"]): [float(r[p]) / 1e3 for p in passes] for r in kernel_rows("b300-sxm")}


def test_ratios_of_formats_are_those_of_the_profiled_layer() -> None:
    device, constants = device_for(B300, standard_cluster(B300, 8)), training_constants(B300)
    for dtype, names in (("bf16", ["bf16"]), ("fp8", ["fp8-tensor", "mxfp8"]), ("fp4", ["nvfp4"])):
        shapes = [[(TOKENS, n, k), (TOKENS, k, n), (n, k, TOKENS)] for n, k in LINEAR]
        laws = [sum(float(time_op(gemm("", *s[i], dtype, 1.0, ""), device).time_s) for s in shapes) for i in range(3)]
        ratios = [took / law for name in names for took, law in zip(profiled()[name, "no"], laws, strict=True)]
        assert np.median(ratios) == pytest.approx(constants.gemm(dtype), rel=0.01)


@pytest.mark.parametrize(("dtype", "name"), [("fp8", "fp8-tensor"), ("fp4", "nvfp4")])
def test_casts_take_what_the_profiled_layer_shows(dtype: str, name: str) -> None:
    """Judged, not fitted: seconds an element of casts both ways round (profiled passes cast both operands each time;
    training casts activations and gradients once)."""
    x, w, g = (float(sum(v)) for v in zip(*((TOKENS * k, n * k, TOKENS * n) for n, k in LINEAR), strict=True))
    extra = [a - b for a, b in zip(profiled()[name, "yes"], profiled()[name, "no"], strict=True)]
    measured = sum(extra) / (2.0 * (x + w + g)) * (x + g)
    clock = Clock(device_for(B300, standard_cluster(B300, 8)), training_constants(B300))
    ours = 0.0
    for n, k in LINEAR:
        passes = linear("", float(TOKENS), float(n), float(k), Recipe(dtype, False, False), "mlp")
        items = (*passes.forward, *passes.backward, *passes.weight)
        ours += sum(float(np.max(t.total_s)) for t in clock.ops(items) if t.item.name.endswith(("cast", "transpose")))
    assert ours == pytest.approx(measured, rel=0.2)


def test_the_slowest_of_many() -> None:
    """Against draws of a normal spread."""
    draws = np.random.default_rng(0).standard_normal((4000, 256)).max(axis=1).mean()
    assert slowest(256, 0.02) == pytest.approx(1.0 + 0.02 * draws, abs=0.004)
    assert float(slowest(1, 0.02)) == 1.0


AGREE: list[tuple[str, str, dict[str, Any], int]] = [
    ("deepseek-v3", "h800-sxm", {"gpus": 2048, "pp": 16, "ep": 64, "schedule": name}, 15_360)
    for name in ("dualpipe", "dualpipev", "1f1b", "zb-h1")
] + [
    ("deepseek-v3", "h800-sxm", {"gpus": 2048, "pp": 8, "vpp": 4, "tp": 2, "ep": 64}, 8192),
    ("deepseek-v3", "h800-sxm", {"gpus": 2048, "pp": 8, "vpp": 4, "tp": 2, "ep": 64, "overlap": "pair"}, 8192),
    ("llama-3.1-405b", "h100-sxm", {"gpus": 1024, "pp": 8, "vpp": 8, "tp": 8, "cp": 2}, 512),
    ("llama-3.1-70b", "b200-sxm", {"gpus": 64, "pp": 4, "tp": 4, "precision": "bf16", "overlap": "none"}, 256),
    ("qwen3-235b-a22b", "h100-sxm", {"gpus": 256, "pp": 8, "vpp": 4, "tp": 2, "ep": 32}, 2048),
]


@pytest.mark.parametrize(("name", "chip", "plan", "batch"), AGREE)
def test_the_closed_form_agrees_with_the_timeline(name: str, chip: str, plan: dict[str, Any], batch: int) -> None:
    model, part, whole = load_model(name), load_accelerator(chip), TrainingPlan(**plan)
    load, cluster = TrainingLoad(4096, batch), standard_cluster(part, plan["gpus"])
    step, _ = training_step(model, part, whole, load, cluster)
    report = predict_training(model, part, whole, load, cluster=cluster)
    assert report["step_s"] == pytest.approx(float(step.step_s), rel=0.03)
    assert report["peak_memory_bytes"] == pytest.approx(float(step.memory.total_bytes), rel=0.18)
    assert float(step.memory.total_bytes) > 0.95 * report["peak_memory_bytes"]  # a sweep must not promise room


def test_recompute_words() -> None:
    assert recomputed_tensors("none") == frozenset()
    assert recomputed_tensors("RMSNorm + MLA up-proj") == recomputed_tensors("rmsnorm,mla_up_proj")
    assert recomputed_tensors("norm,act") == {"norm", "act"}
    assert recomputed_tensors("selective") == {"norm", "act", "mla_up_proj"}
    with pytest.raises(BadInput, match="'attn_out' is not known"):
        recomputed_tensors("norm,attn_out")


@pytest.mark.parametrize(
    "change",
    [{"recompute": "none"}, {"recompute": "norm,mla_up_proj"}, {"recompute": "selective"}, {"recompute": "full"}],
)
def test_recompute_trades_time_for_memory(change: dict[str, Any]) -> None:
    """Every tensor that is dropped costs work and frees memory."""
    cluster = standard_cluster(H800, 2048)
    base, _ = training_step(V3, H800, TrainingPlan(2048, pp=16, ep=64, recompute="none"), LOAD, cluster)
    less, _ = training_step(V3, H800, TrainingPlan(2048, pp=16, ep=64, **change), LOAD, cluster)
    if change["recompute"] == "none":
        assert float(less.step_s) == float(base.step_s)
    else:
        assert float(less.step_s) > float(base.step_s)
        assert float(less.memory.activations_bytes) < float(base.memory.activations_bytes)


def test_zero_stages_shard_more_and_send_more() -> None:
    model, cluster = load_model("llama-3.1-70b"), standard_cluster(H100, 64)
    plan = TrainingPlan(64, tp=8, precision="bf16", overlap="none")
    steps = [training_step(model, H100, replace(plan, zero=z), TrainingLoad(4096, 64), cluster)[0] for z in range(4)]
    bytes_ = [float(step.memory.total_bytes) for step in steps]
    assert bytes_ == sorted(bytes_, reverse=True)
    assert len(set(bytes_)) == 4
    assert float(steps[2].gradient_s) > float(steps[1].gradient_s)


def test_dualpipe_hides_what_1f1b_exposes() -> None:
    exposed = {}
    for name in ("1f1b", "zb-h1", "dualpipe"):
        report = predict_training(V3, H800, replace(RECIPE, schedule=name, framework="deepseek"), LOAD)
        exposed[name] = report["exposed_comm_s"]
        if name == "dualpipe":
            assert report["hidden_comm_s"] > 2.0 * report["exposed_comm_s"]
    assert exposed["dualpipe"] < 0.4 * exposed["1f1b"]


def test_what_does_not_fit_names_a_change_that_does() -> None:
    plan = TrainingPlan(1024, pp=16, ep=8, recompute="none", precision="bf16")
    with pytest.raises(DoesNotFit, match=r"it fits with (.*)$") as refused:
        predict_training(V3, H800, plan, TrainingLoad(4096, 8192))
    words = str(refused.value).split("it fits with ")[1].split(" and ")
    changes: dict[str, Any] = {}
    for text in words:
        name, value = text.split(" = ")
        changes[name] = value if name == "recompute" else float(value)
    assert predict_training(V3, H800, replace(plan, **changes), TrainingLoad(4096, 8192))["step_s"] > 0


def test_schedules_refuse_what_they_cannot_run() -> None:
    for plan, load, message in (
        (replace(RECIPE, gpus=960, pp=15), TrainingLoad(4096, 15_360), "even pp"),
        (replace(RECIPE, vpp=2), LOAD, "use interleaved for vpp > 1"),
        (RECIPE, TrainingLoad(4096, 128 * 16), "even number of micro-batches, at least 2·pp"),
        (TrainingPlan(2048, pp=16, vpp=2, ep=64), TrainingLoad(4096, 128 * 17), "multiple of pp"),
    ):
        with pytest.raises(DoesNotDivide, match=message):
            predict_training(V3, H800, plan, load)
    with pytest.raises(BadInput, match="schedule: 'pipedream' is not one of"):
        predict_training(V3, H800, replace(RECIPE, schedule="pipedream"), LOAD)


def test_the_timeline_holds_every_pass() -> None:
    timeline = timeline_of(V3, H800, RECIPE, LOAD)
    assert timeline.program.ranks == 16
    assert timeline.program.micro_batches == 120
    assert sum(timeline.mean_parts().values()) == pytest.approx(timeline.step_s)
