"""Training layouts as Megatron-LM arguments: read from a job script or an argument file, and written back.

Names, choices and mutual exclusions follow ``megatron/training/arguments.py``. [megatron-lm, file arguments.py]
"""

from __future__ import annotations

import difflib
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from costsim.errors import Contradiction, DoesNotDivide, Malformed
from costsim.spec.megatron_rules import contradiction
from costsim.spec.model import ModelSpec
from costsim.spec.shell import Script, read_script

#: key of a plan or load -> the argument that holds it
INTEGERS = {
    "tp": "--tensor-model-parallel-size", "pp": "--pipeline-model-parallel-size", "cp": "--context-parallel-size",
    "ep": "--expert-model-parallel-size", "seq": "--seq-length", "micro_batch": "--micro-batch-size",
    "global_batch": "--global-batch-size",
}  # fmt: skip
_DEFAULTS = {"tp": 1, "pp": 1, "cp": 1, "ep": 1}
#: module names of --recompute-modules -> tensors of a recompute policy
MODULES = {
    "layernorm": "norm", "moe_act": "act", "mla_up_proj": "mla_up_proj", "core_attn": "core_attn", "mlp": "mlp",
    "moe": "moe",
}  # fmt: skip
#: what the short words of a plan stand for, in Megatron's modules
SELECTIVE = ("layernorm", "moe_act", "mla_up_proj")
_SHARDING = {"no_shard": 0, "optim": 1, "optim_grads": 2, "optim_grads_params": 3}
#: sizes of the model that a script may state -> what the same is called here
_SIZES = {
    "--num-layers": "layers", "--hidden-size": "hidden", "--num-attention-heads": "attention.heads",
    "--num-experts": "moe.experts", "--moe-router-topk": "moe.top_k", "--kv-lora-rank": "attention.kv_lora_rank",
}  # fmt: skip
#: with these, embedding and loss fill a place in the pipeline as a layer would
_COUNTED = ("--account-for-embedding-in-pipeline-split", "--account-for-loss-in-pipeline-split")
_LAUNCHER = ("--nnodes", "--nproc-per-node", "--node-rank", "--master-addr", "--master-port", "--rdzv-endpoint")
#: arguments that are read here, with how many values each takes ("*" for a list)
READ: dict[str, int | str] = {
    **dict.fromkeys(INTEGERS.values(), 1), **dict.fromkeys(_SIZES, 1), **dict.fromkeys(_LAUNCHER, 1),
    "--expert-tensor-parallel-size": 1, "--num-layers-per-virtual-pipeline-stage": 1,
    "--num-virtual-stages-per-pipeline-rank": 1, "--pipeline-model-parallel-layout": 1, "--recompute-granularity": 1,
    "--recompute-method": 1, "--recompute-num-layers": 1, "--recompute-modules": "*", "--recompute-activations": 0,
    "--moe-token-dispatcher-type": 1, "--moe-enable-deepep": 0, "--moe-deepep-num-sms": 1,
    "--moe-flex-dispatcher-backend": 1, "--overlap-moe-expert-parallel-comm": 0, "--delay-wgrad-compute": 0,
    "--moe-shared-expert-overlap": 0, "--moe-router-force-load-balancing": 0, "--bf16": 0, "--fp16": 0,
    "--fp8-format": 1, "--fp8-recipe": 1, "--fp4-format": 1, "--use-distributed-optimizer": 0, "--use-megatron-fsdp": 0,
    "--use-torch-fsdp2": 0, "--data-parallel-sharding-strategy": 1, "--overlap-grad-reduce": 0,
    "--overlap-param-gather": 0, "--sequence-parallel": 0, "--tp-comm-overlap": 0, "--train-iters": 1,
    "--train-samples": 1, "--rampup-batch-size": "*", "--batch-size": 1, "--model-parallel-size": 1,
    "--checkpoint-activations": 0, "--moe-grouped-gemm": 0, **dict.fromkeys(_COUNTED, 0),
}  # fmt: skip
#: arguments of Megatron whose names come near one that is read
_NEAR = frozenset({
    "--overlap-param-gather-with-optimizer-step", "--decoder-seq-length", "--encoder-seq-length",
    "--moe-layer-recompute",
    "--eval-global-batch-size", "--eval-micro-batch-size", "--retriever-seq-length", "--q-lora-rank", "--bf16-params",
    "--hierarchical-context-parallel-sizes", "--encoder-num-layers", "--decoder-num-layers", "--mtp-num-layers",
    "--ffn-hidden-size", "--moe-ffn-hidden-size", "--fp8-margin", "--fp4-recipe", "--tp-comm-overlap-ag",
    "--tp-comm-overlap-rs", "--tp-comm-overlap-cfg", "--disable-tp-comm-overlap-ag", "--disable-tp-comm-overlap-rs",
    "--indexer-batch-size", "--query-in-block-prob", "--master-port-base", "--save-interval", "--lr-warmup-samples",
    "--lr-decay-samples", "--lr-decay-iters", "--lr-warmup-iters", "--eval-iters", "--no-overlap-p2p-communication",
    "--cpu-offloading-num-layers", "--first-last-layers-bf16", "--num-layers-at-start-in-bf16",
    "--num-layers-at-end-in-bf16", "--moe-router-num-groups", "--moe-router-group-topk", "--num-query-groups",
    "--fp8-interval", "--fp8-param-gather", "--overlap-p2p-communication-warmup-flush", "--fp4-param-gather",
    "--num-dataset-builder-threads", "--max-position-embeddings", "--node-rank",
})  # fmt: skip


@dataclass(frozen=True)
class MegatronJob:
    """What a job script says about layout and load, as keys of TrainingPlan and TrainingLoad.

    ``plan`` and ``load`` hold only what was said or what Megatron's defaults imply; ``notes`` what was not taken over.
    """

    plan: Mapping[str, Any]
    load: Mapping[str, Any]
    arguments: Mapping[str, tuple[str, ...]]
    notes: tuple[str, ...]

    @property
    def keys(self) -> dict[str, Any]:
        """Plan and load in one mapping."""
        return {**self.plan, **self.load}


def read_megatron(text: str, model: ModelSpec, where: str) -> MegatronJob:
    """The layout in a job script or a plain list of arguments.

    Raises BadInput, naming the argument, for values of the wrong kind, arguments that contradict each other or the
    model, a misspelt argument, and what this simulator has no answer for (FP4, FP32, legacy names).
    """
    script = read_script(text, where)
    found, repeated = _arguments(script)
    if not any(name in found for name in (*INTEGERS.values(), "--bf16", "--fp16")):
        raise Malformed(f"{where}: no argument of Megatron-LM in it, like --tensor-model-parallel-size 2")
    _refuse_misspelt(found, where)
    problem = contradiction(found)
    if problem:
        raise Malformed(f"{where}: {problem}")
    _check_model(found, model, where)
    ints = {key: _integer(found, name, where) for key, name in INTEGERS.items() if name in found}
    sizes = {**_DEFAULTS, **{key: value for key, value in ints.items() if key in _DEFAULTS}}
    notes = _notes(found, script, repeated, model)
    plan: dict[str, Any] = {**sizes, "vpp": _virtual(found, sizes["pp"], model, where), "zero": _zero(found)}
    plan["precision"] = "fp8" if "--fp8-format" in found else "bf16"
    plan["recompute"] = _recompute(found)
    plan["schedule"] = "interleaved" if plan["vpp"] > 1 else "1f1b"
    plan["framework"] = "megatron"
    plan["overlap"] = _overlap(found)
    if model.moe is not None and plan["ep"] > 1:
        flex = (found.get("--moe-token-dispatcher-type") or ("",))[0] == "flex"
        plan["dispatcher"] = "deepep" if flex else "alltoall"
    if "--moe-deepep-num-sms" in found:
        plan["comm_sms"] = _integer(found, "--moe-deepep-num-sms", where)
    if "--moe-router-force-load-balancing" in found:
        plan["routing"] = "balanced"
    cards = _cards(found, where)
    if cards is not None:
        plan["gpus"] = cards
        _whole_job(plan, ints, where)
    load: dict[str, int] = {key: ints[key] for key in ("seq", "micro_batch", "global_batch") if key in ints}
    tokens = _tokens(found, load, where)
    return MegatronJob(plan, load | ({} if tokens is None else {"tokens": tokens}), found, tuple(notes))


def _arguments(script: Script) -> tuple[dict[str, tuple[str, ...]], list[str]]:
    """Every ``--name value …`` of the commands (of the variables where no command has any), the last of equals."""
    words = [word for command in script.commands for word in command]
    if not any(_name(word) in READ and _name(word) not in _LAUNCHER for word in words):
        words += [word for value in script.values.values() for word in _words(value)]
    found: dict[str, tuple[str, ...]] = {}
    repeated = []
    index = 0
    while index < len(words):
        word = words[index]
        index += 1
        if not word.startswith("--") or len(word) < 3:
            continue
        name, equals, inline = _name(word), "=" in word, word.partition("=")[2]
        values = [inline] if equals else []
        most = READ.get(name, "*")
        while index < len(words) and not words[index].startswith("--") and (most == "*" or len(values) < int(most)):
            values.append(words[index])
            index += 1
        if name in found and found[name] != tuple(values) and name in READ:
            repeated.append(name)
        found[name] = tuple(values)
    return found, repeated


def _words(value: str) -> list[str]:
    try:
        return shlex.split(value)
    except ValueError:
        return []


def _name(word: str) -> str:
    """``--tensor_model_parallel_size=2`` → ``--tensor-model-parallel-size``."""
    return word.partition("=")[0].replace("_", "-") if word.startswith("--") else word


def _refuse_misspelt(found: Mapping[str, tuple[str, ...]], where: str) -> None:
    for name in found:
        if name in READ or name in _NEAR or not re.fullmatch(r"--[a-z0-9-]+", name):
            continue
        near = difflib.get_close_matches(name, READ, n=1, cutoff=0.9)
        if near:
            raise Malformed(f"{where}: {name} is no argument of Megatron-LM; {near[0]} is")


def _integer(found: Mapping[str, tuple[str, ...]], name: str, where: str) -> int:
    values = found[name]
    text = values[0] if values else ""
    if not re.fullmatch(r"\d{1,12}", text) or int(text) < 1:
        why = "its variable is never set here" if "$" in text else "must be a whole number of at least 1"
        raise Malformed(f"{where}: {name} {text[:40]!r}: {why}".replace(" ''", ""))
    return int(text)


def _check_model(found: Mapping[str, tuple[str, ...]], model: ModelSpec, where: str) -> None:
    for name, path in _SIZES.items():
        if name not in found:
            continue
        own: Any = model
        for part in path.split("."):
            own = getattr(own, part, None)
        stated = _integer(found, name, where)
        if own != stated:
            has = "none" if own is None else f"{own:g}"
            raise Contradiction(f"{where}: {name} {stated} is not {model.id}, which has {has}; give the right --model")


def _virtual(found: Mapping[str, tuple[str, ...]], pp: int, model: ModelSpec, where: str) -> int:
    """Virtual stages a pipeline rank: stated, from layers a stage, or from a layout string."""
    if "--num-virtual-stages-per-pipeline-rank" in found:
        vpp = _integer(found, "--num-virtual-stages-per-pipeline-rank", where)
    elif "--num-layers-per-virtual-pipeline-stage" in found:
        each = _integer(found, "--num-layers-per-virtual-pipeline-stage", where)
        layers = model.layers + sum(name in found for name in _COUNTED)
        if layers % (pp * each):
            raise DoesNotDivide(
                f"{where}: --num-layers-per-virtual-pipeline-stage {each} on {pp} pipeline ranks does not divide the "
                f"{layers} layers of {model.id} (embedding and loss count only with {' and '.join(_COUNTED)})"
            )
        vpp = layers // (pp * each)
    elif "--pipeline-model-parallel-layout" in found:
        stages = layout_stages(" ".join(found["--pipeline-model-parallel-layout"]), where)
        if stages % pp:
            raise DoesNotDivide(
                f"{where}: --pipeline-model-parallel-layout has {stages} stages, not a multiple of the {pp} of "
                "--pipeline-model-parallel-size"
            )
        vpp = stages // pp
    else:
        return 1
    if vpp > 1 and pp == 1:
        raise Malformed(f"{where}: virtual stages need --pipeline-model-parallel-size above 1")
    return vpp


def layout_stages(text: str, where: str) -> int:
    """Stages of a layout string such as ``Et*3|(tt|)*29,m|L``: bars, repeats expanded, plus one."""
    flat = text.replace(",", "").replace(" ", "").strip("\"'")
    for _ in range(len(flat) + 1):
        match = re.search(r"\(([^()]*)\)\*(\d{1,4})|(\|)\*(\d{1,4})", flat)
        if match is None:
            break
        body, times = (match[1], int(match[2])) if match[2] else (match[3], int(match[4]))
        if len(body) * times + len(flat) > 100_000:
            raise Malformed(f"{where}: --pipeline-model-parallel-layout repeats too often")
        flat = flat[: match.start()] + body * times + flat[match.end() :]
    if not re.fullmatch(r"[A-Za-z|*\d]+", flat):
        raise Malformed(
            f"{where}: --pipeline-model-parallel-layout {text[:40]!r} is not understood; write it like Et*3|L"
        )
    return flat.count("|") + 1


def _zero(found: Mapping[str, tuple[str, ...]]) -> int:
    if "--use-torch-fsdp2" in found:
        return 3
    if "--use-megatron-fsdp" in found:
        return _SHARDING[(found.get("--data-parallel-sharding-strategy") or ("no_shard",))[0]]
    return int("--use-distributed-optimizer" in found)


def _overlap(found: Mapping[str, tuple[str, ...]]) -> str:
    """The word of a plan for what runs beside compute."""
    if "--overlap-moe-expert-parallel-comm" in found:
        return "pair"
    return "gradients" if "--overlap-grad-reduce" in found else "none"


def _recompute(found: Mapping[str, tuple[str, ...]]) -> str:
    """A word or a list of tensors; "selective" without modules is Megatron's default, the core attention."""
    granularity = (found.get("--recompute-granularity") or ("",))[0]
    if granularity == "full":
        return "full"
    if granularity != "selective" and "--recompute-activations" not in found:
        return "none"
    modules = [MODULES[m] for m in found.get("--recompute-modules") or ("core_attn",) if m in MODULES]
    if set(modules) == {MODULES[m] for m in SELECTIVE}:
        return "selective"
    return ",".join(sorted(set(modules), key=list(MODULES.values()).index)) or "none"


def _cards(found: Mapping[str, tuple[str, ...]], where: str) -> int | None:
    """Devices of the launcher: nodes × processes a node; None where the script does not say both as numbers."""
    values = [(found.get(name) or ("",))[0] for name in ("--nnodes", "--nproc-per-node")]
    if "--nproc-per-node" not in found or not values[1].isdigit() or not (values[0] or "1").isdigit():
        return None
    if "--nnodes" in found:
        _integer(found, "--nnodes", where)
    return int(values[0] or 1) * _integer(found, "--nproc-per-node", where)


def _whole_job(plan: Mapping[str, Any], ints: Mapping[str, int], where: str) -> None:
    """The divisions that the launcher's world size must allow."""
    ranks = plan["tp"] * plan["pp"] * plan["cp"]
    if plan["gpus"] % ranks:
        raise DoesNotDivide(f"{where}: {plan['gpus']} devices are not a multiple of TP x PP x CP = {ranks}")
    dp, micro, batch = plan["gpus"] // ranks, ints.get("micro_batch", 1), ints.get("global_batch")
    if batch is not None and batch % (micro * dp):
        raise DoesNotDivide(
            f"{where}: --global-batch-size {batch} is not a multiple of --micro-batch-size {micro} x {dp} data-parallel"
        )


def _tokens(found: Mapping[str, tuple[str, ...]], load: Mapping[str, int], where: str) -> float | None:
    if "--train-samples" in found and "seq" in load:
        return float(_integer(found, "--train-samples", where) * load["seq"])
    if "--train-iters" in found and {"seq", "global_batch"} <= set(load):
        return float(_integer(found, "--train-iters", where) * load["global_batch"] * load["seq"])
    return None


def _notes(
    found: Mapping[str, tuple[str, ...]], script: Script, repeated: Sequence[str], model: ModelSpec
) -> list[str]:
    notes = []
    tp, ep = ((found.get(INTEGERS[key]) or ("1",))[0] for key in ("tp", "ep"))
    etp = (found.get("--expert-tensor-parallel-size") or (tp,))[0]
    if model.moe is not None and ep != "1" and etp != "1":
        stated = "" if "--expert-tensor-parallel-size" in found else " (its default is the tensor-parallel size)"
        notes.append(f"--expert-tensor-parallel-size {etp}{stated}: experts are not split here; answered as 1")
    recipe = (found.get("--fp8-recipe") or ("delayed",))[0]
    if "--fp8-format" in found and recipe in ("blockwise", "mxfp8"):
        notes.append(
            f"--fp8-recipe {recipe}: timed with one scale a tensor; casting in blocks costs a few percent more"
        )
    if "--fp16" in found:
        notes.append("--fp16: answered as bf16, which has the same peak and bytes")
    dispatcher = (found.get("--moe-token-dispatcher-type") or ("allgather",))[0]
    if model.moe is not None and ep != "1" and dispatcher == "allgather":
        notes.append(
            "--moe-token-dispatcher-type allgather (Megatron's default): timed as all-to-all, which moves less"
        )
    if "shared_experts" in found.get("--recompute-modules", ()):
        notes.append("--recompute-modules shared_experts: not taken over")
    if "--rampup-batch-size" in found:
        notes.append("--rampup-batch-size: the full batch is answered; `costsim train --run FILE` takes a ramp")
    notes += [f"{name}: given more than once, the last is taken" for name in dict.fromkeys(repeated)]
    if script.skipped:
        lines = ", ".join(map(str, script.skipped[:12])) + (", …" if len(script.skipped) > 12 else "")
        notes.append(f"lines inside conditions, loops or functions were not read: {lines}")
    rest = [name for name in found if name not in READ]
    if rest:
        more = f" and {len(rest) - 12} more" if len(rest) > 12 else ""
        notes.append(f"arguments not read: {' '.join(rest[:12])}{more}")
    return notes
