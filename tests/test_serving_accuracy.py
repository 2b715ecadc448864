"""Serving predictions: frameworks as data, the closed form against the events, and published runs as a regression."""

from __future__ import annotations

import csv
import tomllib
from pathlib import Path

import numpy as np
import pytest

from costsim.errors import BadInput
from costsim.evidence.points import Point, read_points
from costsim.evidence.serving import precision_of, serving_plan
from costsim.evidence.validate import Row, predict_point, validate
from costsim.predict.engine import engine_for, kv_capacity_tokens, policy_for
from costsim.predict.inference import predict_disaggregated, predict_inference
from costsim.predict.phases import Setting, decode, launch_seconds, prefill, setting_for
from costsim.predict.serving import serve_events
from costsim.predict.steady import serve
from costsim.serving.arrivals import closed_loop, open_loop
from costsim.serving.engine import Engine
from costsim.serving.policy import Policy
from costsim.serving.simulation import Deployment, Pool, simulate
from costsim.serving.timer import ConstantTimer
from costsim.spec.catalog import load_accelerator, load_model
from costsim.spec.framework import PATH, framework_for, frameworks, published_band, recipe_in, recipe_of, recipes
from costsim.spec.plan import DecodeLoad, Disaggregated, PoolPlan, PrefillLoad, ServingLoad, ServingPlan

TRUTH = Path(__file__).resolve().parents[2] / "shared" / "truth" / "points_serving.csv"
H200, H100 = "h200-sxm", "h100-sxm"


def setting(model: str, chip: str, **plan: object) -> Setting:
    return setting_for(load_model(model), load_accelerator(chip), ServingPlan(**plan))  # type: ignore[arg-type]


# -- frameworks as data -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", frameworks())
@pytest.mark.parametrize("recipe", ["", *recipes()])
def test_every_framework_builds_under_every_recipe(name: str, recipe: str) -> None:
    found = framework_for(name, "", recipe)
    assert found.sources
    assert found.host.launch_s > 0
    assert policy_for(found, 1000.0, 8.0).token_budget >= 1000


def test_every_constant_says_where_it_comes_from() -> None:
    table = tomllib.loads(PATH.read_text(encoding="utf-8"))
    for name, engine in table["engine"].items():
        assert engine["sources"], name
        for key in ("launch", "step"):
            said = engine["host"][key]
            assert said.get("fitted") or said.get("note") or said.get("sources"), f"{name}.{key}"
        for change in engine.get("since", []):
            assert change["sources"], f"{name} since {change['version']}"
    fitted = [
        v["fitted"]
        for e in table["engine"].values()
        for v in e["host"].values()
        if isinstance(v, dict) and "fitted" in v
    ]
    assert all("Qwen3-32B" in text for text in fitted)
    assert 0 < len(fitted) <= 10


def test_versions_change_what_they_changed() -> None:
    assert not framework_for("sglang", "0.5.1.post1").kernels.norm_in_reduce
    assert framework_for("sglang", "0.5.10").kernels.norm_in_reduce
    assert not framework_for("vllm", "0.12.0").scheduler.ahead
    assert framework_for("vllm").scheduler.ahead


def test_recipes_follow_from_the_source() -> None:
    assert recipe_in("x: inferencex_db_2026-04-27") == recipe_of("inferencex")
    assert recipe_in("nv_internal") == recipe_of("aiconfigurator")
    assert recipe_in("my own bench") is None
    assert policy_for(framework_for("trtllm", "", "inferencex"), 1024.0, 64.0).token_budget == 1152


def test_unknown_framework_is_refused_by_name() -> None:
    with pytest.raises(BadInput, match="framework"):
        setting("qwen3-32b", H100, gpus=1, precision="bf16", framework="triton")


# -- what the engine adds -----------------------------------------------------------------------------------------


def alone(policy: Policy, **engine: float) -> Deployment:
    timer = ConstantTimer(0.010, 1e-5)
    return Deployment((Pool(Engine(timer, policy, 10**7, **engine)),))  # type: ignore[arg-type]


def test_a_request_waits_one_iteration_more_where_they_are_decided_ahead() -> None:
    """Prompt 1 ms, decode 10 ms: beside a running request a new one waits for the iteration under way and one more."""
    load = open_loop(400, 0.9, 100, 60, cv=1.0, seed=3)
    first = {}
    for ahead in (False, True):
        outcome = simulate(alone(Policy(order="prefill-first", ahead=ahead)), load)
        first[ahead] = outcome.ttft_s
    late = first[True] - first[False]
    assert np.all(late > -1e-9 - 0.011)
    beside = late[late > 1e-6]
    assert beside.size > 50
    assert np.median(beside) == pytest.approx(0.010, rel=0.15)


def test_an_iteration_with_prompts_takes_at_least_its_launches() -> None:
    fast = simulate(alone(Policy(order="prefill-first")), closed_loop(1, 100, 2), 1)
    slow = simulate(alone(Policy(order="prefill-first"), launch_s=0.080), closed_loop(1, 100, 2), 1)
    assert fast.ttft_s[0] == pytest.approx(0.001)
    assert slow.ttft_s[0] == pytest.approx(0.080)


def test_host_time_for_each_request_is_in_every_iteration() -> None:
    outcome = simulate(alone(Policy(), request_s=1e-3), closed_loop(8, 10, 101), 8)
    assert np.allclose(outcome.tpot_s, 0.010 + 8e-3, rtol=0.02)


def test_prefill_floor_is_the_published_one() -> None:
    """82.6 ms for one token of DeepSeek-V3 launched kernel by kernel [sglang-prefill-graph]."""
    s = setting("deepseek-v3", H200, gpus=8, tp=8, framework="sglang", framework_version="0.5.4")
    assert float(launch_seconds(s)) == pytest.approx(0.0826, rel=0.1)


def test_prefill_of_8192_tokens_is_the_published_one() -> None:
    """16 prompts of 512 tokens, DeepSeek-V3.1 on 8 H200: 289 ms [sglang-allreduce-fusion]."""
    s = setting("deepseek-v3", H200, gpus=8, tp=8, framework="sglang", routing="default")
    assert float(prefill(s, PrefillLoad(512.0, 1024.0)).step_s) == pytest.approx(0.289, rel=0.1)


def test_decode_of_16_is_the_published_one() -> None:
    """16 sequences of 512 to 1,024 tokens, DeepSeek-V3.1 on 8 H200: 16.2 ms [sglang-allreduce-fusion]."""
    s = setting("deepseek-v3", H200, gpus=8, tp=8, framework="sglang", routing="default")
    assert float(decode(s, DecodeLoad(768.0, 2.0)).step_s) == pytest.approx(0.0162, rel=0.10)


def test_kv_capacity_follows_the_engines_rule() -> None:
    """vLLM's 0.9 of 79.6 GiB less 2 × 32.8 GB of BF16 weights over two cards."""
    plain = setting("qwen3-32b", H100, gpus=2, tp=2, precision="bf16", framework="vllm", framework_version="0.12.0")
    tokens = kv_capacity_tokens(plain, 8192)
    each = 64 * 8 / 2 * 128 * 2 * 2
    assert tokens * each == pytest.approx(0.9 * 80e9 * 1.068 - 32.8e9, rel=0.06)


def test_own_kernels_come_first() -> None:
    general = setting("deepseek-v3", H200, gpus=8, tp=8)
    own = setting("deepseek-v3", H200, gpus=8, tp=8, framework="sglang")
    assert own.device.law("moe", "fp8") != general.device.law("moe", "fp8")
    assert own.device.law("gemm", "fp8") == general.device.law("gemm", "fp8")


# -- the closed form against the events ---------------------------------------------------------------------------

LAYOUTS = [
    ("deepseek-v3", H200, {"gpus": 8.0, "tp": 8.0}),
    ("llama-3.1-70b", H100, {"gpus": 4.0, "tp": 4.0}),
    ("qwen3-235b-a22b", H100, {"gpus": 8.0, "tp": 8.0, "ep": 8.0}),
]
LOADS = [(1024, 1024, 8), (1024, 1024, 32), (8192, 1024, 4), (8192, 1024, 32), (1024, 4096, 16), (2048, 256, 16)]


@pytest.mark.parametrize("framework", ["", *frameworks()])
@pytest.mark.parametrize(("model", "chip", "plan"), LAYOUTS, ids=[name for name, _, _ in LAYOUTS])
def test_closed_form_agrees_with_the_events(model: str, chip: str, plan: dict[str, float], framework: str) -> None:
    """Random lengths: throughput within 8 %, TPOT within 10 %, TTFT within 20 %."""
    s = setting(model, chip, **plan, framework=framework)
    for isl, osl, concurrency in LOADS:
        load = ServingLoad(float(isl), float(osl), float(concurrency), length_ratio=0.5)
        events, closed = serve_events(s, load).metrics(), serve(s, load).metrics
        for metric, within in (("tpot_s", 0.10), ("output_tokens_per_s_per_gpu", 0.08), ("ttft_s", 0.20)):
            assert float(closed[metric][0]) == pytest.approx(events[metric][0], rel=within), (metric, isl, osl)


@pytest.mark.parametrize("framework", ["", *frameworks()])
def test_closed_form_with_a_barrier_of_ranks(framework: str) -> None:
    """Sixteen attention ranks in step: TPOT within 10 %, TTFT within 40 %."""
    s = setting("deepseek-v3", H200, gpus=16.0, ep=16.0, framework=framework, routing="default")
    for isl, osl, concurrency in (*LOADS, (1024, 1024, 256)):
        load = ServingLoad(float(isl), float(osl), float(concurrency), length_ratio=0.5)
        events, closed = serve_events(s, load).metrics(), serve(s, load).metrics
        for metric, within in (("tpot_s", 0.10), ("ttft_s", 0.40)):
            assert float(closed[metric][0]) == pytest.approx(events[metric][0], rel=within), (metric, isl, osl)


def test_throughput_obeys_littles_law() -> None:
    """concurrency = rate × (TTFT + TPOT·(osl − 1)) while the loop is full."""
    s = setting("llama-3.1-70b", H100, gpus=4, tp=4, framework="vllm")
    metrics = serve_events(s, ServingLoad(1024, 1024, 32, length_ratio=0.8)).metrics()
    rate = metrics["output_tokens_per_s_per_gpu"][0] * 4 / (0.9 * 1024)
    assert rate * metrics["e2e_s"][0] == pytest.approx(32, rel=0.10)  # it fills and drains


# -- disaggregated ------------------------------------------------------------------------------------------------


def pools(prefill_workers: int, decode_workers: int) -> Disaggregated:
    side = ServingPlan(4, tp=4, framework="sglang")
    return Disaggregated(PoolPlan(side, prefill_workers), PoolPlan(side, decode_workers, batch=64))


def test_more_prefill_workers_shorten_the_first_token_only() -> None:
    model, chip = load_model("llama-3.1-70b"), load_accelerator(H100)
    load = ServingLoad(4096, 512, 64, length_ratio=0.8)
    one, three = (predict_disaggregated(model, chip, pools(n, 2), load).metrics for n in (1, 3))
    assert three["ttft_s"].value < 0.6 * one["ttft_s"].value
    assert three["tpot_s"].value >= one["tpot_s"].value * 0.95


def test_a_decode_pool_sees_no_prompts() -> None:
    """TPOT of a decode pool is its decode step, without the prompts that slow a shared one."""
    model, chip = load_model("llama-3.1-70b"), load_accelerator(H100)
    load = ServingLoad(4096, 512, 64, length_ratio=0.8)
    apart = predict_disaggregated(model, chip, pools(4, 1), load).metrics["tpot_s"].value
    together = predict_inference(model, chip, ServingPlan(4, tp=4, framework="sglang"), load).metrics["tpot_s"].value
    assert apart < together


def row(plan: str, **changes: object) -> Point:
    fields = dict(part.split("=") for part in plan.split(";"))
    base = {
        "id": "d", "kind": "serving", "model": "deepseek-v3", "accelerator": H200, "gpus": 24.0, "precision": "fp8",
        "plan": fields, "load": {"isl": "1024", "osl": "256", "concurrency": "64"}, "metric": "tpot_s", "value": 0.03,
        "unit": "s", "source": "inferencex", "confidence": "primary", "notes": "",
    }  # fmt: skip
    return Point(**{**base, **changes})  # type: ignore[arg-type]


DISAGGREGATED = (
    "mode=disaggregated;framework=sglang;prefill_tp=8;prefill_moe_tp=1;prefill_moe_ep=8;prefill_workers=1;"
    "decode_tp=1;decode_attention_dp=8;decode_moe_tp=1;decode_moe_ep=8;decode_workers=2;decode_batch=32"
)


@pytest.mark.parametrize("metric", ["tpot_s", "ttft_s", "output_tokens_per_s_per_gpu"])
def test_disaggregated_rows_are_predicted(metric: str) -> None:
    found = predict_point(row(DISAGGREGATED, metric=metric))
    assert found.error is None
    assert 0 < (found.low or 0) <= (found.predicted or 0) <= (found.high or 0)


@pytest.mark.parametrize("words", ["dynamo-sglang", "SGLang", "somebody's own"])
def test_a_row_names_its_framework_in_its_own_words(words: str) -> None:
    found = predict_point(row(f"framework={words};tp=8;moe_tp=8;moe_ep=1", gpus=8.0))
    known = predict_point(row("framework=sglang;tp=8;moe_tp=8;moe_ep=1", gpus=8.0))
    assert found.error is None
    assert (found.predicted == known.predicted) == ("sglang" in words.lower())


def test_four_bits_are_what_the_part_and_the_checkpoint_make_of_them() -> None:
    """FP4 is multiplied in 4 bits on Blackwell, stored so elsewhere; MXFP4 of gpt-oss has 8-bit activations
    where the part multiplies MX formats, else 16-bit ones."""

    def asked(model: str, chip: str, word: str) -> str:
        return precision_of(row("tp=8", precision=word), load_model(model), load_accelerator(chip))

    assert asked("deepseek-r1", "b200-sxm", "nvfp4") == "fp4"
    assert asked("deepseek-r1", H200, "fp4") == "w4"
    assert asked("gpt-oss-120b", "b200-sxm", "w4a8_mxfp4_mxfp8") == "w4a8"
    assert asked("gpt-oss-120b", "b200-sxm", "mxfp4") == asked("gpt-oss-120b", "b200-sxm", "") == "w4a8"
    assert asked("gpt-oss-120b", "b200-sxm", "w4a16_mxfp4") == asked("gpt-oss-120b", H100, "mxfp4") == "w4"
    assert asked("kimi-k2.5", H200, "") == "w4"
    assert asked("qwen3-32b", H100, "") == "bf16"
    assert asked("deepseek-v3", H200, "fp8_block") == "fp8"


def test_rows_of_an_early_export_get_the_layout_of_their_recipe() -> None:
    """DeepSeek with TensorRT-LLM on H200 ran with experts over all ranks, and attention data-parallel at load."""
    model, chip = load_model("deepseek-v3"), load_accelerator(H200)
    plan = "mode=aggregated;framework=trtllm;tp=8;attention_dp=1;moe_tp=8;moe_ep=1"
    early = serving_plan(row(plan, gpus=8.0), model, chip)
    assert (early.tp, early.ep, early.moe_tp) == (8.0, 8.0, 1.0)
    load = {"isl": "8192", "osl": "1024", "concurrency": "64"}
    loaded = serving_plan(row(plan, gpus=8.0, load=load), model, chip)
    assert (loaded.tp, loaded.ep) == (1.0, 8.0)
    stated = serving_plan(row(plan + ";framework_version=1.2.0", gpus=8.0), model, chip)
    assert (stated.tp, stated.ep) == (8.0, 1.0)
    other = serving_plan(row(plan, gpus=8.0, source="my own"), model, chip)
    assert other.ep == 1.0


def test_a_row_that_only_says_mtp_drafts_as_its_recipe() -> None:
    plan = "framework=trtllm;framework_version=1.2.0;tp=8;moe_tp=1;moe_ep=8"
    plain, drafted = (predict_point(row(f"{plan}{more}", gpus=8.0)) for more in ("", ";spec_decoding=mtp"))
    assert 0.3 < (drafted.predicted or 0) / (plain.predicted or 1) < 0.9


def test_a_disaggregated_row_without_workers_says_so() -> None:
    found = predict_point(row("mode=disaggregated;framework=sglang;prefill_tp=8;decode_tp=8"))
    assert "prefill_workers" in (found.error or "")


@pytest.mark.parametrize(
    ("model", "chip", "precision", "plan"),
    [
        ("deepseek-r1", "b200-sxm", "nvfp4", "framework=trtllm;tp=8;moe_tp=1;moe_ep=8"),
        ("deepseek-r1", "gb200-nvl72", "fp4", "framework=dynamo-trt;tp=8;attention_dp=true;ep=8"),
        ("gpt-oss-120b", H100, "fp4", "framework=vllm;tp=2;moe_tp=2;moe_ep=0"),
        ("gpt-oss-120b", H200, "mxfp4", "framework=trt;tp=4;ep=1"),
        ("kimi-k2.5", H200, "int4", "framework=vllm;framework_version=v0.16.0;tp=8"),
        ("kimi-k2.5", "b200-sxm", "", "framework=vllm;framework_version=nightly;tp=8"),
        ("qwen3.5-397b-a17b", H200, "fp8_block", "framework=sglang;tp=8;moe_ep=8;moe_tp=1"),
        ("glm-5", "b200-sxm", "FP8", "framework=sglang;tp=8;moe_tp=8"),
        ("deepseek-v3.2", H200, "fp8", "framework=sglang;tp=8;moe_tp=8"),
        ("deepseek-r1", "mi355x", "fp4", "framework=mori-sglang;tp=8;moe_tp=8"),
        ("minimax-m2.5", H200, "fp8", "framework=vllm;tp=4;moe_tp=1;moe_ep=4"),
        ("kimi-k2", H200, "w4", "framework=vllm;tp=8;moe_tp=8;moe_ep=1"),
        ("gpt-oss-120b", H100, "w4", "framework=vllm;tp=2;moe_tp=2;moe_ep=1"),
        ("llama-3.1-8b", H200, "bf16", "framework=sglang;tp=1"),
        ("deepseek-v3", "b200-sxm", "fp8", "framework=trtllm;tp=1;attention_dp=8;moe_tp=1;moe_ep=8"),
        ("deepseek-v3", "b200-sxm", "fp8", "framework=sglang;tp=8;moe_tp=8;moe_ep=1"),
    ],
)
def test_models_and_parts_that_no_row_mentions(model: str, chip: str, precision: str, plan: str) -> None:
    said = dict(part.split("=") for part in plan.split(";"))
    gpus = max(float(said[key]) for key in ("tp", "attention_dp", "ep", "moe_ep") if said.get(key, "").isdigit())
    found = predict_point(row(plan, model=model, accelerator=chip, precision=precision, gpus=gpus))
    assert found.error is None
    assert 2e-3 < (found.predicted or 0) < 0.1


# -- published runs -----------------------------------------------------------------------------------------------

#: (mean, median) of |predicted/measured − 1| that a change may not exceed, a little above what is reached
LIMITS = {
    ("deepseek-v3", "tpot_s"): (0.08, 0.075),
    ("deepseek-v3", "ttft_s"): (0.20, 0.12),
    ("qwen3-235b-a22b", "tpot_s"): (0.07, 0.07),
    ("qwen3-235b-a22b", "ttft_s"): (0.20, 0.18),
    ("qwen3-32b", "tpot_s"): (0.07, 0.06),
    ("qwen3-32b", "ttft_s"): (0.22, 0.17),
    ("llama-3.1-70b", "tpot_s"): (0.05, 0.05),
    ("llama-3.1-70b", "ttft_s"): (0.13, 0.11),
}


@pytest.fixture(scope="module")
def published() -> list[Row]:
    if not TRUTH.is_file():
        pytest.skip("points_serving.csv is in shared/truth/, which this checkout lacks")
    return validate(read_points(TRUTH))


def test_every_published_run_is_predicted(published: list[Row]) -> None:
    assert [r.point.id for r in published if r.error] == []


@pytest.mark.parametrize(("model", "metric"), LIMITS)
def test_published_runs(published: list[Row], model: str, metric: str) -> None:
    apes = [r.ape for r in published if r.point.model == model and r.point.metric == metric and r.ape is not None]
    mean, median = LIMITS[model, metric]
    assert len(apes) > 20
    assert np.mean(apes) <= mean
    assert np.median(apes) <= median


def test_bands_hold_most_published_runs(published: list[Row]) -> None:
    judged = [r for r in published if r.point.model != "qwen3-32b"]
    for metric in ("tpot_s", "ttft_s"):
        inside = [bool(r.inside) for r in judged if r.point.metric == metric]
        assert 0.70 <= np.mean(inside) <= 0.97
    assert published_band("tpot")[0] < 1.0 < published_band("ttft")[1]


def test_points_file_has_the_form_of_the_contract() -> None:
    if not TRUTH.is_file():
        pytest.skip("points_serving.csv is in shared/truth/, which this checkout lacks")
    with TRUTH.open(encoding="utf-8") as file:
        assert {r["metric"] for r in csv.DictReader(file)} == {"ttft_s", "tpot_s"}


def test_engine_of_a_deployment_is_reused() -> None:
    s = setting("llama-3.1-70b", H100, gpus=4, tp=4, framework="vllm")
    one, two = (engine_for(s, policy_for(s.framework, 1024.0, c)) for c in (4.0, 64.0))
    assert one.timer is two.timer
