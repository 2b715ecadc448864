"""Launch commands: parsed back with argparse, every option known to its engine, and the ranks add up to the plan's."""

from __future__ import annotations

import argparse
import json
import shlex
from typing import Any

import pytest

from costsim.cli.launch import launches
from costsim.cli.main import main
from costsim.errors import BadInput, UnknownName
from costsim.predict.launch import ENGINES, Launch, Wanted, launch, options
from costsim.predict.service import Service
from costsim.serving.policy import Policy
from costsim.spec.catalog import load_accelerator, load_model
from costsim.spec.plan import ServingPlan

MODEL = load_model("deepseek-v3")
H800 = load_accelerator("h800-sxm")
BARE = {
    "--trust-remote-code", "--trust_remote_code", "--enable-two-batch-overlap", "--enable-single-batch-overlap",
    "--enable-eplb", "--enable-mixed-chunk", "--disable-radix-cache", "--enable-expert-parallel", "--enable-dbo",
    "--headless", "--no-enable-chunked-prefill", "--enable-prefix-caching", "--no-enable-prefix-caching",
}  # fmt: skip


def parsed(one: Launch, number: int = 0) -> dict[str, Any]:
    """The options of a command, read by a parser that knows the engine's names and nothing else."""
    parser = argparse.ArgumentParser(allow_abbrev=False, exit_on_error=False)
    for flag in options()[one.engine]["flags"]:
        if flag in BARE:
            parser.add_argument(flag, action="store_true")
        else:
            parser.add_argument(flag)
    parser.add_argument("words", nargs="*")
    words = shlex.split(one.commands[number])
    first = next(i for i, word in enumerate(words) if word.startswith("--"))
    assert words[0] in ("python", "vllm", "trtllm-serve", "mpirun")
    found, unknown = parser.parse_known_args(words[first:])
    assert not unknown, f"{one.engine}: {unknown}"
    return {k: v for k, v in vars(found).items() if v not in (None, False, [])}


def keys_of(text: str) -> set[str]:
    return {line.strip().split(":")[0] for line in text.splitlines()}


PLANS = {
    "ep": ServingPlan(16, ep=16, overlap="two-batch", redundant_experts=16, routing="eplb"),
    "tp": ServingPlan(8, tp=8, kv_dtype="fp8"),
    "wide": ServingPlan(144, ep=144, overlap="two-batch", redundant_experts=32, routing="production"),
}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
@pytest.mark.parametrize("role", ["both", "prefill", "decode"])
def test_every_option_is_the_engine_s_own(engine: str, plan: ServingPlan, role: str) -> None:
    one = launch(engine, Wanted(MODEL, H800, plan, Policy(), role, 2, mtp_tokens=1))
    ranks = int(plan.gpus)
    for number in range(len(one.commands)):
        found = parsed(one, number)
        if engine == "sglang":
            assert int(found["tp_size"]) == ranks
            assert int(found.get("attn_dp_size", 1)) == ranks // int(plan.tp)
            assert int(found.get("ep_size", 1)) == int(plan.ep)
        elif engine == "vllm":
            assert int(found["tensor_parallel_size"]) * int(found.get("data_parallel_size", 1)) == ranks
            assert ("enable_expert_parallel" in found) == (int(plan.ep) > 1)
        else:
            assert int(found["tp_size"]) == ranks
    nodes = -(-ranks // 8)
    assert len(one.commands) == (1 if engine == "trtllm" else nodes)
    for text in one.files.values():
        assert keys_of(text) <= set(options()[engine]["keys"])


def test_limits_are_per_rank_or_for_all_as_each_engine_counts() -> None:
    policy = Policy(token_budget=2048, max_running=32)
    wanted = Wanted(MODEL, H800, PLANS["ep"], policy)
    assert parsed(launch("sglang", wanted))["max_running_requests"] == str(32 * 16)
    assert parsed(launch("sglang", wanted))["chunked_prefill_size"] == str(2048 * 16)
    assert parsed(launch("vllm", wanted))["max_num_seqs"] == "32"
    assert "max_batch_size: 32" in launch("trtllm", wanted).files["config.yaml"]


def test_nodes_of_vllm_share_the_attention_replicas_without_gaps() -> None:
    one = launch("vllm", Wanted(MODEL, H800, PLANS["wide"], Policy()))
    starts = [int(parsed(one, n).get("data_parallel_start_rank", 0)) for n in range(18)]
    assert starts == [8 * n for n in range(18)]
    assert ["headless" in parsed(one, n) for n in range(18)] == [False] + [True] * 17


def test_multi_token_prediction_and_redundant_experts_travel() -> None:
    wanted = Wanted(MODEL, H800, PLANS["ep"], Policy(), mtp_tokens=2)
    sglang = parsed(launch("sglang", wanted))
    assert (sglang["speculative_num_steps"], sglang["speculative_num_draft_tokens"]) == ("2", "3")
    assert sglang["ep_num_redundant_experts"] == "16"
    vllm = parsed(launch("vllm", wanted))
    assert json.loads(vllm["speculative_config"])["num_speculative_tokens"] == 2
    assert json.loads(vllm["eplb_config"]) == {"num_redundant_experts": 16}
    assert "num_slots: 272" in launch("trtllm", wanted).files["config.yaml"]


def test_ascend_has_a_build_of_its_own() -> None:
    chip = load_accelerator("ascend-910c")
    plan = ServingPlan(16, ep=32, precision="int8")
    one = launch("vllm", Wanted(MODEL, chip, plan, Policy()))
    assert one.engine == "vllm-ascend"
    found = parsed(one)
    assert found["quantization"] == "ascend"
    assert int(found["data_parallel_size"]) == 32, "ranks are dies"
    assert launch("sglang", Wanted(MODEL, chip, plan, Policy())).commands[0].count("--device npu") == 1


def test_pools_on_ascend_know_each_other() -> None:
    chip = load_accelerator("ascend-910c")
    plan, first = ServingPlan(16, ep=32, precision="int8"), ServingPlan(8, tp=8, ep=16, precision="int8")
    pair = launches("vllm", MODEL, chip, plan, Service(prefill=first))
    configs = [json.loads(parsed(one)["kv_transfer_config"]) for one in pair]
    assert [c["kv_role"] for c in configs] == ["kv_producer", "kv_consumer"]
    assert {c["kv_connector"] for c in configs} == {"MooncakeConnectorV1"}
    for c in configs:
        assert c["kv_connector_extra_config"]["prefill"] == {"dp_size": 2, "tp_size": 8}
        assert c["kv_connector_extra_config"]["decode"] == {"dp_size": 32, "tp_size": 1}


def test_what_an_engine_cannot_do_is_refused() -> None:
    with pytest.raises(BadInput, match="DeepEP"):
        launch("sglang", Wanted(MODEL, H800, ServingPlan(16, ep=8), Policy()))
    with pytest.raises(BadInput, match="spans tp × dp = 16"):
        launch("vllm", Wanted(MODEL, H800, ServingPlan(16, ep=8), Policy()))
    with pytest.raises(BadInput, match="split over all 16 ranks"):
        launch("trtllm", Wanted(MODEL, H800, ServingPlan(16, tp=2, ep=16), Policy()))
    with pytest.raises(UnknownName):
        launch("tgi", Wanted(MODEL, H800, PLANS["tp"], Policy()))
    with pytest.raises(BadInput, match="exchange of experts"):
        launch("vllm", Wanted(MODEL, H800, ServingPlan(8, tp=8, overlap="two-batch"), Policy()))


@pytest.mark.parametrize("engine", ENGINES)
def test_the_verbs_print_them(engine: str, capsys: pytest.CaptureFixture[str]) -> None:
    infer = "infer --phase decode --gpus 32 --ep 32 --batch-per-gpu 32 --json --launch"
    assert main([*infer.split(), engine]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["launch"][0]["role"] == "decode"
    assert answer["metrics"]["tpot_s"]["value"] > 0
    simulate = "simulate --gpus 8 --tp 8 --rate 1 --requests 5 --isl 50 --osl 5 --no-bands --json --launch"
    assert main([*simulate.split(), engine]) == 0
    assert json.loads(capsys.readouterr().out)["launch"][0]["commands"]
    pools = "simulate --gpus 8 --ep 8 --prefill-gpus 8 --rate 1 --requests 5 --isl 50 --osl 5 --no-bands --launch"
    assert main([*pools.split(), engine, "--json"]) == 0
    roles = [one["role"] for one in json.loads(capsys.readouterr().out)["launch"]]
    assert roles == ["prefill", "decode"]


def test_launch_is_for_one_deployment(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["infer", "--gpus", "32,64", "--launch", "vllm"]) == 2
    assert "one deployment" in capsys.readouterr().err
    assert main(["simulate", "--rate", "1,2", "--launch", "vllm"]) == 2
    assert "one scenario" in capsys.readouterr().err
    assert main(["search", "--launch", "vllm"]) == 2
    assert "--phase deployment" in capsys.readouterr().err
