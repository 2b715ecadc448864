"""Valid examples that edits start from: shipped files and small ones made here, so that nothing outside is needed."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
PROFILES = ROOT / "hwprofiles"
FIXTURES = ROOT / "tests" / "fixtures"
FIELDS = "vocab_size hidden_size num_hidden_layers intermediate_size num_attention_heads num_key_value_heads"


def file(*parts: str) -> bytes:
    """A file of the repository."""
    return ROOT.joinpath(*parts).read_bytes()


def beginning(lines: int, *parts: str) -> bytes:
    """The first lines of a file of the repository."""
    return b"".join(file(*parts).splitlines(keepends=True)[:lines])


def dumps(value: Any) -> bytes:
    return json.dumps(value).encode()


def config(kind: str) -> bytes:
    """A Hugging Face config.json of one family."""
    base: dict[str, Any] = dict(zip(FIELDS.split(), (32000, 1024, 8, 2816, 16, 4), strict=True))
    base |= {"model_type": kind, "torch_dtype": "bfloat16", "rope_theta": 1e4, "tie_word_embeddings": False}
    if kind == "deepseek_v3":
        base |= {"q_lora_rank": 384, "kv_lora_rank": 128, "qk_nope_head_dim": 64, "qk_rope_head_dim": 32,
                 "v_head_dim": 64, "n_routed_experts": 16, "num_experts_per_tok": 4, "moe_intermediate_size": 512,
                 "n_shared_experts": 1, "first_k_dense_replace": 1, "n_group": 4, "topk_group": 2,
                 "scoring_func": "sigmoid", "topk_method": "noaux_tc", "num_nextn_predict_layers": 1,
                 "num_key_value_heads": 16, "quantization_config": {"quant_method": "fp8"}}  # fmt: skip
    if kind == "qwen3_moe":
        base |= {"num_experts": 16, "num_experts_per_tok": 4, "moe_intermediate_size": 256, "head_dim": 64,
                 "decoder_sparse_step": 1, "mlp_only_layers": [], "norm_topk_prob": True}  # fmt: skip
    if kind == "mixtral":
        base |= {"num_local_experts": 8, "num_experts_per_tok": 2}
    if kind == "qwen2":
        base |= {"use_sliding_window": True, "sliding_window": 512, "max_window_layers": 0}
    return dumps(base)


@lru_cache(maxsize=1)
def reports() -> tuple[bytes, ...]:
    """Reports as the verbs write them."""
    from costsim.predict.inference import predict_inference
    from costsim.predict.training import predict_training
    from costsim.report.jsonable import dumps as written
    from costsim.spec.catalog import load_accelerator, load_model
    from costsim.spec.plan import DecodeLoad, ServingPlan, TrainingLoad, TrainingPlan

    model, chip = load_model("deepseek-v2-lite"), load_accelerator("h800-sxm")
    decode = predict_inference(model, chip, ServingPlan(8, ep=8), DecodeLoad(1024, 8))
    training = predict_training(model, chip, TrainingPlan(16, pp=1, ep=8), TrainingLoad(4096, 512, tokens=1e10))
    return tuple(written(report.json()).encode() for report in (decode, training))


def page() -> bytes:
    """A page that carries a scenario, without what else stands on it."""
    from costsim.report.document import Document
    from costsim.report.html import page as written

    return written(Document("A page", [], {}, again=scenario().decode())).encode()


@lru_cache(maxsize=1)
def days() -> tuple[bytes, ...]:
    """A fleet's day as its verb writes it."""
    from costsim.predict.fleet import predict_fleet
    from costsim.report.fleets import fleet_document
    from costsim.report.jsonable import dumps as written
    from costsim.spec.fleet import load_fleet

    return (written(fleet_document(predict_fleet(load_fleet("deepseek-2025-02-27")), None).payload).encode(),)


def scenario() -> bytes:
    return b"""title = "a question"
[model]
id = "deepseek-v2-lite"
[cluster]
accelerator = "h800-sxm"
compare = ["h20-96g"]
[plan]
precision = "best"
routing = "balanced"
max_gpus = 16
[workload]
isl = 1024
context = 1024
tpot = "50 ms"
[training]
gpus = 16
pp = 1
ep = 8
global_batch = 512
tokens = 1e10
[price]
rate = "2 USD/h"
"""


def npy(shape: tuple[int, ...], high: int = 100) -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.random.default_rng(0).integers(0, high, shape), allow_pickle=False)
    return stream.getvalue()


def loads_csv() -> bytes:
    rows = np.random.default_rng(1).integers(1, 100, (3, 64))
    return "\n".join(",".join(map(str, row)) for row in rows).encode() + b"\n"


def trace() -> bytes:
    """A Kineto trace of two kernels, their launches, an operator with shapes and a collective."""
    kernel = {"ph": "X", "cat": "kernel", "pid": 0, "tid": 7}
    launch = {"ph": "X", "cat": "cuda_runtime", "name": "cudaLaunchKernel", "pid": 9, "tid": 1, "ts": 1.0, "dur": 2.0}
    return dumps({
        "schemaVersion": 1, "deviceProperties": [{"id": 0, "name": "NVIDIA H800", "numSms": 132}],
        "distributedInfo": {"rank": 0, "world_size": 8, "backend": "nccl"}, "displayTimeUnit": "ms",
        "baseTimeNanoseconds": 1700000000000000000,
        "traceEvents": [
            {"ph": "M", "name": "process_name", "pid": 0, "args": {"name": "GPU 0"}},
            {"ph": "M", "name": "thread_name", "pid": 0, "tid": 7, "args": {"name": "stream 7"}},
            {"ph": "X", "cat": "cpu_op", "name": "aten::mm", "pid": 9, "tid": 1, "ts": 0.0, "dur": 9.0,
             "args": {"External id": 5, "Input Dims": [[128, 256], [256, 512]], "Input type": ["c10::BFloat16"] * 2}},
            {**launch, "args": {"External id": 5, "correlation": 11}},
            {**kernel, "name": "sm90_gemm_bf16", "ts": 4.0, "dur": 20.5,
             "args": {"External id": 5, "correlation": 11, "device": 0, "stream": 7, "grid": [4, 1, 1]}},
            {**kernel, "name": "ncclDevKernel_AllReduce_Sum", "ts": 25.0, "dur": 10.0, "tid": 13,
             "args": {"stream": 13, "Collective name": "allreduce", "In msg nelems": 4096, "dtype": "BFloat16",
                      "Group size": 8, "correlation": 12}},
            {"ph": "B", "name": "step", "pid": 9, "tid": 1, "ts": 0.0}, {"ph": "E", "pid": 9, "tid": 1, "ts": 50.0},
            {"ph": "X", "cat": "user_annotation", "name": "ProfilerStep#1", "pid": 9, "tid": 1, "ts": 0.0, "dur": 50.0},
        ],
    })  # fmt: skip


def bare_trace() -> bytes:
    return dumps([{"ph": "X", "name": f"op{i}", "pid": 1, "tid": i % 2, "ts": 10.0 * i, "dur": 4.0} for i in range(6)])


REQUESTS = {
    "own": b"arrival_s,isl,osl,priority\n0,100,20,0\n0.5,200,10,1\n1.5,50,5,0\n",
    "azure": b"TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:17:03.9799600,374,44\n"
             b"2023-11-16 18:17:04.0319600,396,109\n",
    "mooncake": b'{"timestamp": 0, "input_length": 6755, "output_length": 500, "hash_ids": [0, 1, 2]}\n'
                b'{"timestamp": 3000, "input_length": 7319, "output_length": 490, "hash_ids": [0, 14]}\n',
}  # fmt: skip


def clients() -> bytes:
    quarter = {"isl": [100, 200], "osl": [10, 20]}
    one = {"rate_per_s": [0.1, 0.2], "cv": [1.0, 2.0], "lengths": [quarter, quarter]}
    return dumps({"window_s": 600.0, "quarter_s": 600.0, "clients": [one, one]})


MEGATRON = b"""#!/bin/bash
#SBATCH --nodes=2
GPUS_PER_NODE=8
TP=2
ARGS=(
    --tensor-model-parallel-size $TP --pipeline-model-parallel-size 2 --expert-model-parallel-size 4
    --seq-length 4096 --micro-batch-size 1 --global-batch-size 512 --train-samples 1000000
    --num-layers 27 --hidden-size 2048 --num-attention-heads 16 --bf16 --fp8-format hybrid
    --recompute-granularity selective --use-distributed-optimizer --moe-router-load-balancing-type aux_loss
)
torchrun --nproc_per_node $GPUS_PER_NODE --nnodes 2 pretrain.py ${ARGS[@]}
"""

PLACEMENT = dumps({"physical_to_logical": [list(range(8))] * 2})


def safetensors() -> bytes:
    head = dumps({"__metadata__": {"format": "pt"}, "a": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}})
    return len(head).to_bytes(8, "little") + head + bytes(16)


def index() -> bytes:
    return dumps({"metadata": {"total_size": 16}, "weight_map": {"a": "model.safetensors"}})


STATE = dumps({"v": "1", "m": "deepseek-v3", "a": "h20-96g", "p": "decode", "c": "4096", "b": "64", "view": "Cost"})


def lines(name: str) -> bytes:
    """A result twice, one a line, as SGLang's benchmark appends them."""
    return (dumps(json.loads(file("tests", "fixtures", name))) + b"\n") * 2


QUESTION = b"""page = "inference"
version = 1
[values]
model = "deepseek-v3"
gpus = 64
precision = "fp8"
context = 4096
"""


def packed(one: Callable[[], Sequence[bytes]]) -> Callable[[], Sequence[bytes]]:
    return lambda: [gzip.compress(data, mtime=0) for data in one()]


def shipped(*names: str, folder: str = "hwprofiles") -> Callable[[], Sequence[bytes]]:
    return lambda: [file(*f"{folder}/{name}".split("/")) for name in names]


def kernels() -> Sequence[bytes]:
    return [beginning(80, "hwprofiles", "measurements", f"{name}.csv") for name in ("h800-sxm", "ascend-910c")]


def points() -> Sequence[bytes]:
    return [beginning(5, "hwprofiles", "points", f"{name}.csv") for name in ("serving_phases", "training")]


def traces() -> Sequence[bytes]:
    return [trace(), bare_trace()]
