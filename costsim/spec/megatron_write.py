"""A training layout as Megatron-LM arguments, in a shell fragment that :mod:`costsim.spec.megatron` reads back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from costsim.errors import Malformed
from costsim.spec.megatron import INTEGERS, MODULES, SELECTIVE
from costsim.spec.model import ModelSpec

#: schedules that Megatron-LM runs
SCHEDULES = ("", "auto", "1f1b", "interleaved")
_SHARDED = {2: "optim_grads", 3: "optim_grads_params"}


def write_megatron(plan: Mapping[str, Any], load: Mapping[str, Any], model: ModelSpec, node_devices: int) -> str:
    """Two bash arrays, ``TORCHRUN_ARGS`` and ``LAYOUT_ARGS``; what has no argument there is said in a comment.

    ``plan`` and ``load`` hold the keys of TrainingPlan and TrainingLoad as plain values. Raises BadInput for a
    recompute policy or precision that Megatron-LM has no words for.
    """
    numbers = {key: int(value) for key, value in {**plan, **load}.items() if key in INTEGERS and value is not None}
    args = [f"{INTEGERS[key]} {numbers[key]}" for key in INTEGERS if key in numbers]
    comments: list[str] = []
    args += _pipeline(plan, model, comments)
    args += _precision(str(plan.get("precision", "bf16")), _paired(plan) or plan.get("framework") == "deepseek")
    args += _recompute(str(plan.get("recompute", "none")), model)
    args += _sharding(int(plan.get("zero", 1)), str(plan.get("overlap") or "auto") != "none")
    if numbers.get("tp", 1) > 1:
        args.append("--sequence-parallel")
    if model.moe is not None:
        args += _experts(plan, numbers, comments)
    if load.get("tokens"):
        args.append(f"--train-samples {math.ceil(float(load['tokens']) / numbers['seq'])}")
    gpus = int(plan["gpus"])
    each = math.gcd(gpus, node_devices)
    head = ["#!/usr/bin/env bash", f"# Layout of {model.id} for Megatron-LM; add model, data and optimiser arguments."]
    head += [f"# {line}" for line in comments]
    launcher = _array("TORCHRUN_ARGS", [f"--nnodes {gpus // each}", f"--nproc-per-node {each}"])
    call = '# torchrun "${TORCHRUN_ARGS[@]}" pretrain_gpt.py "${LAYOUT_ARGS[@]}" "${MODEL_ARGS[@]}"'
    return "\n".join([*head, *launcher, *_array("LAYOUT_ARGS", args), call, ""])


def _array(name: str, args: list[str]) -> list[str]:
    return [f"{name}=(", *(f"    {arg}" for arg in args), ")"]


def _pipeline(plan: Mapping[str, Any], model: ModelSpec, comments: list[str]) -> list[str]:
    pp, vpp = int(plan.get("pp", 1)), int(plan.get("vpp", 1))
    schedule = str(plan.get("schedule", ""))
    if pp > 1 and schedule not in SCHEDULES:
        comments.append(f"schedule {schedule}: Megatron-LM has no argument for it; this layout runs as 1F1B there")
    if pp == 1:
        return []
    if model.layers % (pp * vpp):
        return [f"--pipeline-model-parallel-layout '{_spread(model, pp * vpp)}'"]
    return [f"--num-virtual-stages-per-pipeline-rank {vpp}"] if vpp > 1 else []


def _spread(model: ModelSpec, stages: int) -> str:
    """Layers as even as they go: stages in the middle take one more than the ends, which hold embedding and head."""
    least, more = divmod(model.layers, stages)
    first = (stages - more) // 2
    parts = ["t" * (least + (first <= index < first + more)) for index in range(stages)]
    parts[0] = "E" + parts[0]
    parts[-1] += "m" * model.mtp_layers + "L"
    return "|".join(parts)


def _paired(plan: Mapping[str, Any]) -> bool:
    """Whether expert transfers run beside a forward and a backward of two micro-batches."""
    overlap, schedule = str(plan.get("overlap") or "auto"), str(plan.get("schedule", ""))
    return overlap == "pair" or (overlap == "auto" and schedule.startswith("dualpipe"))


def _precision(precision: str, blocks: bool) -> list[str]:
    if precision == "fp8":
        return ["--bf16", "--fp8-format e4m3", f"--fp8-recipe {'blockwise' if blocks else 'tensorwise'}"]
    if precision == "bf16":
        return ["--bf16"]
    raise Malformed(f"precision {precision}: Megatron-LM trains in bf16 or fp8")


def _recompute(policy: str, model: ModelSpec) -> list[str]:
    if policy in ("none", ""):
        return []
    if policy == "full":
        return ["--recompute-granularity full", "--recompute-method uniform", "--recompute-num-layers 1"]
    names = {tensor: module for module, tensor in MODULES.items()}
    tensors = [part.strip() for part in policy.replace("+", ",").split(",")]
    modules = list(SELECTIVE) if policy == "selective" else [names.get(t, t) for t in tensors]
    unknown = [module for module in modules if module not in MODULES]
    if unknown:
        raise Malformed(
            f"recompute {unknown[0][:40]!r}: Megatron-LM has no module of that name; it has {', '.join(MODULES)}"
        )
    if model.attention.kind != "mla" and policy == "selective":
        modules.remove("mla_up_proj")
    return ["--recompute-granularity selective", f"--recompute-modules {' '.join(modules)}"]


def _sharding(zero: int, beside: bool) -> list[str]:
    """What data-parallel ranks shard; ``beside``: their transfers run beside compute."""
    args = []
    if zero in _SHARDED:
        args = ["--use-megatron-fsdp", f"--data-parallel-sharding-strategy {_SHARDED[zero]}"]
    elif zero == 1:
        args = ["--use-distributed-optimizer"]
    if beside:
        args += ["--overlap-grad-reduce", *(["--overlap-param-gather"] if zero else [])]
    return args


def _experts(plan: Mapping[str, Any], numbers: Mapping[str, int], comments: list[str]) -> list[str]:
    ep = numbers.get("ep", 1)
    if ep == 1:
        return [f"--expert-tensor-parallel-size {numbers.get('tp', 1)}"]
    args = ["--expert-tensor-parallel-size 1", "--moe-grouped-gemm"]
    sms = plan.get("comm_sms")
    deepep = str(plan.get("dispatcher") or "auto") == "deepep"
    if not (deepep or _paired(plan)):
        return [*args, "--moe-token-dispatcher-type alltoall"]
    args += ["--moe-token-dispatcher-type flex", "--moe-enable-deepep"]
    args += [f"--moe-deepep-num-sms {int(sms)}"] if sms else []
    if not _paired(plan):
        return args
    if numbers.get("pp", 1) > 1 and int(plan.get("vpp", 1)) == 1:
        comments.append("overlap of expert transfers: Megatron-LM asks for virtual pipeline stages; left out here")
        return args
    if str(plan.get("recompute")) == "full":
        comments.append(
            "overlap of expert transfers: Megatron-LM does not combine it with full recompute; left out here"
        )
        return args
    return [*args, "--overlap-moe-expert-parallel-comm"]
