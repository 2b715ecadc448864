"""Megatron-LM arguments: scripts read as data, contradictions refused by name as its own checks do, round trip."""

from __future__ import annotations

import contextlib
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from costsim.cli.main import main
from costsim.errors import BadInput
from costsim.spec.catalog import load_model
from costsim.spec.megatron import INTEGERS, MODULES, READ, layout_stages, read_megatron
from costsim.spec.megatron_rules import EXCLUSIVE, GONE, NEEDS
from costsim.spec.megatron_write import write_megatron
from costsim.spec.shell import expand, read_script

V3, LLAMA = load_model("deepseek-v3"), load_model("llama-3.1-405b")

#: a job as people write them: defaults that the environment may change, an array, a string, sums, a condition
JOB = r"""#!/bin/bash
export CUDA_DEVICE_MAX_CONNECTIONS=1
GPUS_PER_NODE=8; NUM_NODES=${SLURM_NNODES:-128}
TP=${TP:-2}   # tensor
PP=${PP:-8}; EP=64
MBS=1
GBS=$((64 * (TP * 64)))

DISTRIBUTED_ARGS=(
    --nproc_per_node $GPUS_PER_NODE
    --nnodes $NUM_NODES
    --node_rank $NODE_RANK
)
MODEL_ARGS=(
    --num-layers 61
    # --num-layers 4    for a test
    --hidden-size 7168
    --num-experts 256
)
if [ "$PROFILE" = "1" ]; then
    MODEL_ARGS+=( --profile --profile-step-start 10 )
fi
PARALLEL_ARGS="--tensor-model-parallel-size $TP --pipeline-model-parallel-size ${PP} \
    --expert-model-parallel-size $EP --expert-tensor-parallel-size 1 --num-virtual-stages-per-pipeline-rank=4"

torchrun ${DISTRIBUTED_ARGS[@]} pretrain_gpt.py \
    "${MODEL_ARGS[@]}" $PARALLEL_ARGS \
    --seq-length 4096 --micro-batch-size ${MBS} --global-batch-size ${GBS} \
    --bf16 --fp8-format e4m3 --fp8-recipe blockwise \
    --recompute-granularity selective --recompute-modules mla_up_proj mlp \
    --moe-token-dispatcher-type flex --moe-enable-deepep --moe-deepep-num-sms 24 \
    --overlap-moe-expert-parallel-comm --delay-wgrad-compute \
    --use-distributed-optimizer --overlap-grad-reduce --overlap-param-gather \
    --sequence-parallel --train-iters 1000 --lr 1e-4 --clip-grad 1.0
"""
PLAIN = (
    "--tensor-model-parallel-size 8 --pipeline-model-parallel-size 8 --context-parallel-size 2 --bf16 --seq-length 8192"
)
COUNTED = "--account-for-embedding-in-pipeline-split --account-for-loss-in-pipeline-split"


def read(text: str, model: Any = V3) -> dict[str, Any]:
    return read_megatron(text, model, "job.sh").keys


def test_a_job_script_becomes_a_layout() -> None:
    job = read_megatron(JOB, V3, "job.sh")
    expected = {
        "gpus": 1024, "tp": 2, "pp": 8, "vpp": 4, "ep": 64, "cp": 1, "seq": 4096,
        "micro_batch": 1, "global_batch": 8192, "precision": "fp8",
        "recompute": "mla_up_proj,mlp", "zero": 1, "comm_sms": 24,
        "overlap": "pair", "framework": "megatron",
        "dispatcher": "deepep", "schedule": "interleaved", "tokens": 1000 * 8192 * 4096,
    }  # fmt: skip
    assert {key: job.keys[key] for key in expected} == expected
    words = " ".join(job.notes)
    assert "--lr" in words
    assert "conditions" in words
    assert "--profile" not in job.arguments, "what stands under a condition is not read"


def test_a_plain_list_of_arguments_is_read_too() -> None:
    assert read(PLAIN, LLAMA) | {"zero": 0} == read(PLAIN.replace(" --", "\n--"), LLAMA)
    found = read(PLAIN, LLAMA)
    assert (found["tp"], found["pp"], found["cp"], found["seq"], found["recompute"]) == (8, 8, 2, 8192, "none")


def test_the_shell_agrees_on_what_the_script_says(tmp_path: Path) -> None:
    """The same script run by bash with torchrun replaced by echo: word for word what was read as data."""
    path = tmp_path / "job.sh"
    path.write_text("torchrun() { printf '%s\\n' \"$@\"; }\nNODE_RANK=0\n" + JOB, encoding="utf-8")
    done = subprocess.run(
        ["/bin/bash", str(path)], capture_output=True, text=True, check=True, env={"PATH": "/usr/bin:/bin"}
    )
    ours = read_script("NODE_RANK=0\n" + JOB, "job.sh").commands[-1]
    assert list(ours[1:]) == done.stdout.split("\n")[:-1]


def test_nothing_in_a_script_is_run(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    text = f"X=$(touch {mark})\nY=`touch {mark}`\n$(touch {mark})\ntouch {mark}\neval touch {mark}\n{PLAIN}\n"
    assert read(text, LLAMA)["tp"] == 8
    assert not mark.exists()


@pytest.mark.parametrize(
    ("said", "vpp"),
    [
        ("--num-virtual-stages-per-pipeline-rank 4", 4),
        ("--num-layers-per-virtual-pipeline-stage 9 --pipeline-model-parallel-size 7", 2),
        (f"--num-layers-per-virtual-pipeline-stage 4 {COUNTED}", 4),
        ("--pipeline-model-parallel-layout 'Et*3|(t*4|)*30t*3L'", 4),
    ],
)  # fmt: skip
def test_the_ways_to_say_virtual_stages(said: str, vpp: int) -> None:
    """126 layers on 8 ranks; with embedding and loss counted they are 128, 32 stages of four."""
    assert read(f"{PLAIN} {said}", LLAMA)["vpp"] == vpp


def test_layers_that_do_not_fill_virtual_stages_are_refused() -> None:
    with pytest.raises(BadInput, match="--num-layers-per-virtual-pipeline-stage 4"):
        read(f"{PLAIN} --num-layers-per-virtual-pipeline-stage 4", LLAMA)


def test_layout_strings_count_their_stages() -> None:
    assert layout_stages("Ettt|(tt|)*29,m|L", "x") == 32
    assert layout_stages("E|(t|)*3,m|m||L", "x") == 8
    assert layout_stages("Et|t|t|tL", "x") == 4
    assert layout_stages("E|*3L", "x") == 4
    with pytest.raises(BadInput, match="repeats too often"):
        layout_stages("((t|)*9999)*9999", "x")


def _without(*names: str) -> str:
    text = JOB
    for name in names:
        assert name in text
        text = text.replace(name, "")
    return text


@pytest.mark.parametrize(
    ("added", "named"),
    [
        ("--num-layers-per-virtual-pipeline-stage 2", "--num-virtual-stages-per-pipeline-rank"),
        ("--fp16", "--bf16 and --fp16"),
        ("--fp4-format e2m1", "--fp4-format"),
        ("--train-samples 1000", "--train-samples"),
        ("--recompute-method uniform", "--recompute-method"),
        ("--moe-shared-expert-overlap", "--moe-shared-expert-overlap"),
        ("--recompute-modules moe", "--recompute-modules moe"),
        ("--recompute-modules attention", "core_attn"),
        ("--recompute-granularity full", "--recompute-granularity full"),
        ("--moe-token-dispatcher-type allgather", "--moe-token-dispatcher-type"),
        ("--batch-size 4", "--micro-batch-size"),
        ("--num-layers 60", "--num-layers 60"),
        ("--num-experts 128", "--num-experts 128"),
        ("--seq-length 4097 --context-parallel-size 2", "--context-parallel-size"),
        ("--micro-batch-size 0", "--micro-batch-size"),
        ("--micro-batch-size two", "--micro-batch-size"),
        ("--micro-batch-size $UNSET", "--micro-batch-size"),
        ("--micro-batch-size", "--micro-batch-size"),
        ("--global-batch-size 8190", "--global-batch-size 8190"),
        ("--tensor-model-paralel-size 2", "--tensor-model-parallel-size"),
        ("--fp8-recipe block", "blockwise"),
    ],
)  # fmt: skip
def test_contradictions_are_refused_by_name(added: str, named: str) -> None:
    with pytest.raises(BadInput) as caught:
        read(JOB.rstrip() + " " + added + "\n")
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("job.sh: ")


@pytest.mark.parametrize(
    ("removed", "named"),
    [
        ("--use-distributed-optimizer", "--overlap-param-gather needs --use-distributed-optimizer"),
        ("--overlap-grad-reduce", "--overlap-param-gather needs --overlap-grad-reduce"),
        ("--bf16", "FP32"),
        ("--overlap-moe-expert-parallel-comm", "--delay-wgrad-compute needs"),
        ("--num-virtual-stages-per-pipeline-rank=4", "needs --num-virtual-stages-per-pipeline-rank"),
        ("--recompute-granularity selective", "--recompute-modules needs"),
    ],
)  # fmt: skip
def test_missing_companions_are_refused_by_name(removed: str, named: str) -> None:
    with pytest.raises(BadInput, match="job") as caught:
        read(_without(removed))
    assert named in str(caught.value)


@pytest.mark.parametrize(
    "text",
    ["", "echo hello\n", "A='unclosed\n--bf16", "import os\nprint('hi')\n", "A=$A$A\n" * 40, "\x7f\x00"],
    ids=["empty", "no argument", "quote", "python", "doubling", "bytes"],
)  # fmt: skip
def test_what_is_no_job_is_refused(text: str) -> None:
    with pytest.raises(BadInput):
        read(text)


def test_a_script_cannot_grow_without_bound() -> None:
    """Ten thousand million laughs: each line doubles the last ten times over."""
    lines = ["A0='--bf16 --bf16 --bf16 --bf16 --bf16 --bf16 --bf16 --bf16'"]
    lines += [f'A{i}="{" ".join([f"$A{i - 1}"] * 10)}"' for i in range(1, 12)]
    with pytest.raises(BadInput, match="grows beyond"):
        read("\n".join([*lines, "torchrun x $A11"]))
    with pytest.raises(BadInput, match="nest"):
        expand("$A", {"A": "$B", "B": "$A"}, "x")


@settings(max_examples=150, deadline=None)
@given(text=st.text(alphabet="abcAB01 =-$(){}[]\"'\\\n;|&#*/+.:", max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(BadInput):
        read_megatron(text + "\n--bf16 --micro-batch-size 1", V3, "any")


def test_tables_of_names_are_consistent() -> None:
    for group in (*EXCLUSIVE, *((a, *b) for a, b in NEEDS), tuple(GONE)):
        assert set(group) <= set(READ), group
    assert set(INTEGERS.values()) <= set(READ)


SIZES = st.sampled_from([1, 2, 4, 8, 16])
POLICIES = st.one_of(
    st.sampled_from(["none", "selective", "full"]),
    st.sets(st.sampled_from(sorted(MODULES.values())), min_size=1).map(
        lambda names: "selective" if names == {"norm", "act", "mla_up_proj"}
        else ",".join(t for t in MODULES.values() if t in names)
    ),
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(
    tp=st.sampled_from([1, 2, 4, 8]), pp=SIZES, vpp=st.sampled_from([1, 2, 4]), ep=st.sampled_from([1, 8, 64]),
    cp=st.sampled_from([1, 2, 8]), more=st.integers(1, 9), precision=st.sampled_from(["fp8", "bf16"]),
    recompute=POLICIES, zero=st.integers(0, 3), micro=st.sampled_from([1, 2, 4]), steps=st.integers(1, 10**6),
    overlap=st.sampled_from(["none", "gradients", "pair"]), dispatcher=st.sampled_from(["deepep", "alltoall"]),
)  # fmt: skip
def test_layouts_survive_the_round_trip(
    tp: int, pp: int, vpp: int, ep: int, cp: int, more: int, precision: str, recompute: str, zero: int, micro: int,
    steps: int, overlap: str, dispatcher: str,
) -> None:  # fmt: skip
    vpp = vpp if pp > 1 else 1
    gpus = tp * pp * cp * 8 * more
    plan: dict[str, Any] = {"gpus": gpus, "tp": tp, "pp": pp, "vpp": vpp, "ep": ep, "cp": cp, "precision": precision,
                            "recompute": recompute, "zero": zero}  # fmt: skip
    load = {"seq": 4096, "micro_batch": micro, "global_batch": micro * gpus // (tp * pp * cp) * 3}
    load["tokens"] = steps * load["seq"]
    # what Megatron itself does not combine with overlapped expert transfers
    if overlap == "pair" and (ep == 1 or recompute == "full" or "moe" in recompute or (pp > 1 and vpp == 1)):
        overlap = "gradients"
    plan["overlap"] = overlap
    if ep > 1:
        plan["dispatcher"] = "deepep" if overlap == "pair" else dispatcher
    text = write_megatron(plan, load, V3, 8)
    found = read_megatron(text, V3, "written")
    assert {key: found.keys[key] for key in (*plan, *load)} == {**plan, **load}
    again = write_megatron(found.plan, found.load, V3, 8)
    assert read_megatron(again, V3, "written").keys == found.keys


@pytest.mark.parametrize("name", ["deepseek-v3", "llama-3.1-405b", "qwen3-235b-a22b"])
def test_written_layouts_place_every_layer_once(name: str) -> None:
    model = load_model(name)
    for pp, vpp in ((4, 1), (8, 2), (16, 1), (3, 1)):
        text = write_megatron({"gpus": pp * 8, "pp": pp, "vpp": vpp}, {"seq": 4096}, model, 8)
        if "--pipeline-model-parallel-layout" in text:
            layout = text.split("--pipeline-model-parallel-layout '")[1].split("'")[0]
            assert layout.count("t") == model.layers
            assert layout.count("m") == model.mtp_layers
            assert layout.startswith("E")
            assert layout.endswith("L")
            assert len(layout.split("|")) == pp * vpp
        else:
            assert model.layers % (pp * vpp) == 0


def test_a_schedule_without_an_argument_is_said_and_a_policy_without_one_refused() -> None:
    text = write_megatron({"gpus": 128, "pp": 16, "schedule": "dualpipe"}, {"seq": 4096}, V3, 8)
    assert "# schedule dualpipe" in text
    with pytest.raises(BadInput, match="recompute"):
        write_megatron({"gpus": 8, "recompute": "norm,embedding"}, {}, V3, 8)
    with pytest.raises(BadInput, match="precision"):
        write_megatron({"gpus": 8, "precision": "int8"}, {}, V3, 8)


def test_the_command_reads_answers_and_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script, out = tmp_path / "job.sh", tmp_path / "better.sh"
    script.write_text(PLAIN + " --num-layers 126 --micro-batch-size 1 --global-batch-size 512\n", encoding="utf-8")
    base = ["train", "--model", "llama-3.1-405b", "--accelerator", "b200-sxm", "--megatron", str(script)]
    assert main([*base, "--gpus", "1024", "--recompute", "full", "--write-megatron", str(out), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["inputs"]["plan"]["tp"], shown["inputs"]["load"]["seq"]) == (8, 8192)
    assert any("from job.sh" in note for note in shown["notes"])
    written = read_megatron(out.read_text(encoding="utf-8"), LLAMA, "better.sh")
    assert (written.keys["gpus"], written.keys["recompute"], written.keys["pp"]) == (1024, "full", 8)
    assert main([*base, "--gpus", "1024", "--pp", "8,16", "--write-megatron", str(out)]) == 2
    assert main([*base, "--write-megatron", str(tmp_path / "no" / "x.sh")]) == 2
    assert main(["train", "--megatron", str(tmp_path / "none.sh")]) == 2
    assert main(["train", "--megatron", str(script)]) == 2, "the layers are not those of deepseek-v3"
    assert capsys.readouterr().err.count("costsim: error:") == 4
