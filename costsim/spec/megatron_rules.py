"""Which Megatron-LM arguments exclude or need each other, as in its own checks. [megatron-lm, file arguments.py]"""

from __future__ import annotations

from collections.abc import Mapping

Arguments = Mapping[str, tuple[str, ...]]

#: at most one of each group may be given
EXCLUSIVE = (
    ("--num-layers-per-virtual-pipeline-stage", "--num-virtual-stages-per-pipeline-rank",
     "--pipeline-model-parallel-layout"),
    ("--bf16", "--fp16"),
    ("--fp8-format", "--fp4-format"),
    ("--train-iters", "--train-samples"),
    ("--train-iters", "--rampup-batch-size"),
    ("--use-torch-fsdp2", "--use-distributed-optimizer"),
    ("--overlap-moe-expert-parallel-comm", "--moe-shared-expert-overlap"),
)  # fmt: skip
#: an argument and those of which it needs one
NEEDS = (
    ("--overlap-param-gather", ("--use-distributed-optimizer", "--use-megatron-fsdp")),
    ("--overlap-param-gather", ("--overlap-grad-reduce",)),
    ("--tp-comm-overlap", ("--sequence-parallel",)),
    ("--delay-wgrad-compute", ("--overlap-moe-expert-parallel-comm",)),
    ("--recompute-method", ("--recompute-granularity",)),
    ("--recompute-modules", ("--recompute-granularity", "--recompute-activations")),
)
#: words that an argument takes
CHOICES = {
    "--recompute-granularity": ("full", "selective"),
    "--recompute-method": ("uniform", "block"),
    "--recompute-modules": ("core_attn", "moe_act", "layernorm", "mla_up_proj", "mlp", "moe", "shared_experts"),
    "--moe-token-dispatcher-type": ("allgather", "alltoall", "flex"),
    "--fp8-format": ("e4m3", "hybrid"),
    "--fp8-recipe": ("tensorwise", "delayed", "mxfp8", "blockwise", "custom"),
    "--data-parallel-sharding-strategy": ("no_shard", "optim", "optim_grads", "optim_grads_params"),
}
#: names that Megatron gave up -> what to write
GONE = {
    "--batch-size": "--micro-batch-size",
    "--model-parallel-size": "--tensor-model-parallel-size",
    "--checkpoint-activations": "--recompute-granularity",
}


def _word(found: Arguments, name: str, default: str = "") -> str:
    return (found.get(name) or (default,))[0]


def _number(found: Arguments, name: str) -> int:
    text = _word(found, name, "1")
    return int(text) if text.isdigit() else 1


def contradiction(found: Arguments) -> str:
    """The first thing wrong with these arguments together, naming them; empty where nothing is."""
    for old, new in GONE.items():
        if old in found:
            return f"{old} is no longer an argument of Megatron-LM; write {new}"
    for name, words in CHOICES.items():
        for word in found.get(name, ()):
            if word not in words:
                return f"{name} {word[:40]!r} is not one of {', '.join(words)}"
        if name in found and not found[name]:
            return f"{name}: needs a value, one of {', '.join(words)}"
    for group in EXCLUSIVE:
        given = [name for name in group if name in found]
        if len(given) > 1:
            return f"{given[0]} and {given[1]} exclude each other; leave one out"
    for name, others in NEEDS:
        if name in found and not any(other in found for other in others):
            return f"{name} needs {' or '.join(others)}"
    return _precision(found) or _combined(found) or _overlap(found)


def _precision(found: Arguments) -> str:
    if "--fp4-format" in found:
        return "--fp4-format: training in FP4 is not modelled; use --fp8-format or --bf16 alone"
    if "--bf16" not in found and "--fp16" not in found:
        return "neither --bf16 nor --fp16: Megatron-LM would train in FP32, which is not modelled"
    return ""


def _combined(found: Arguments) -> str:
    ep, cp = _number(found, "--expert-model-parallel-size"), _number(found, "--context-parallel-size")
    seq = _word(found, "--seq-length")
    if _word(found, "--recompute-granularity") == "selective" and "--recompute-method" in found:
        return "--recompute-method goes with --recompute-granularity full, not selective"
    if "--recompute-activations" in found and _word(found, "--recompute-granularity") == "full":
        return "--recompute-activations means selective and --recompute-granularity says full; leave one out"
    if ep > 1 and "--fp16" in found:
        return "--fp16 does not go with --expert-model-parallel-size above 1; use --bf16"
    if "--moe-enable-deepep" in found and _word(found, "--moe-token-dispatcher-type") != "flex":
        return "--moe-enable-deepep needs --moe-token-dispatcher-type flex"
    if "--num-experts" in found and _number(found, "--num-experts") % ep:
        experts = _word(found, "--num-experts")
        return f"--num-experts {experts} is not a multiple of --expert-model-parallel-size {ep}"
    if cp > 1 and seq.isdigit() and int(seq) % (2 * cp):
        return f"--seq-length {seq} is not a multiple of twice --context-parallel-size {cp}"
    if "--use-torch-fsdp2" in found and _number(found, "--pipeline-model-parallel-size") > 1:
        return "--use-torch-fsdp2 does not go with --pipeline-model-parallel-size above 1"
    return ""


def _overlap(found: Arguments) -> str:
    """What batch-level overlap of the expert all-to-all asks for."""
    name = "--overlap-moe-expert-parallel-comm"
    if name not in found:
        return ""
    if _number(found, "--expert-model-parallel-size") == 1:
        return f"{name} needs --expert-model-parallel-size above 1"
    if _word(found, "--moe-token-dispatcher-type", "allgather") == "allgather":
        return f"{name} needs --moe-token-dispatcher-type alltoall or flex"
    if _word(found, "--recompute-granularity") == "full":
        return f"{name} does not go with --recompute-granularity full"
    if "moe" in found.get("--recompute-modules", ()):
        return f"{name} does not go with --recompute-modules moe"
    if _number(found, "--pipeline-model-parallel-size") > 1 and not any(n in found for n in EXCLUSIVE[0]):
        return f"{name} with pipeline stages needs --num-virtual-stages-per-pipeline-rank"
    return ""
