"""Launch: the command lines and configuration with which serving engines realise a plan.

``hwprofiles/launch.toml`` holds the names of the options and the release that they were checked against. What an
engine cannot be told, such as experts spread over some of its ranks, is refused or said in a note.
"""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from costsim.errors import Contradiction, UnknownName
from costsim.predict.phases import KV_SHARE
from costsim.serving.policy import Policy
from costsim.spec.accelerator import Accelerator
from costsim.spec.base import read_toml
from costsim.spec.catalog import ROOT
from costsim.spec.model import ModelSpec
from costsim.spec.plan import ServingPlan

PATH = ROOT / "hwprofiles" / "launch.toml"
#: engines that a plan can be launched on; vLLM on Ascend is a build of its own
ENGINES = ("sglang", "vllm", "trtllm")
#: the cards' stand-in for where the weights are
MODEL = "$MODEL"


@dataclass(frozen=True)
class Wanted:
    """What is to be launched: one replica's plan on its chip and how it is run.

    ``role``: both, prefill or decode; ``replicas``: how many of these stand behind a router; ``peer``: attention
    replicas and tensor-parallel width of the other pool, where it is known.
    """

    model: ModelSpec
    chip: Accelerator
    plan: ServingPlan
    policy: Policy
    role: str = "both"
    replicas: int = 1
    mtp_tokens: int = 0
    prefix_cache: bool = False
    peer: tuple[int, int] | None = None

    @property
    def ranks(self) -> int:
        return int(float(self.plan.gpus) * self.chip.dies)

    @property
    def tp(self) -> int:
        return int(float(self.plan.tp))

    @property
    def pp(self) -> int:
        return int(float(self.plan.pp))

    @property
    def ep(self) -> int:
        return int(float(self.plan.ep)) if self.model.moe is not None else 1

    @property
    def dp(self) -> int:
        """Attention replicas."""
        return max(self.ranks // (self.tp * self.pp), 1)

    @property
    def nodes(self) -> int:
        return max(-(-int(float(self.plan.gpus)) // self.chip.node_devices), 1)


@dataclass(frozen=True)
class Launch:
    """``commands``: one for each node of a replica; ``files``: configuration that they name; ``version`` of the
    engine that the names were checked against."""

    engine: str
    version: str
    role: str
    replicas: int
    commands: tuple[str, ...]
    files: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def json(self) -> dict[str, Any]:
        return {
            "engine": self.engine, "version": self.version, "role": self.role, "replicas": self.replicas,
            "commands": list(self.commands), "files": dict(self.files), "notes": list(self.notes),
        }  # fmt: skip


@lru_cache(maxsize=1)
def options() -> dict[str, Any]:
    """The table of option names."""
    return read_toml(PATH, "launch options")


def launch(engine: str, wanted: Wanted) -> Launch:
    """Commands for one replica. Raises UnknownName for an engine, BadInput for a plan it cannot realise."""
    if engine not in ENGINES:
        raise UnknownName("engine", engine, ENGINES)
    if wanted.plan.overlap != "none" and wanted.ep == 1:
        raise Contradiction(f"--launch: overlap {wanted.plan.overlap} hides the exchange of experts; ep = 1 has none")
    if engine == "trtllm":
        return _trtllm(wanted)
    if engine == "vllm":
        ascend = wanted.chip.vendor == "Huawei"
        return _vllm(wanted, "vllm-ascend" if ascend else "vllm")
    return _sglang(wanted)


def _line(command: list[str], flags: list[tuple[str, Any]]) -> str:
    """A shell command; True is a bare flag, None is left out."""
    words = list(command)
    for name, value in flags:
        if value is None or value is False:
            continue
        words.append(name)
        if value is not True:
            # Variables are the shell's to fill in; everything else is quoted where it must be.
            words.append(str(value) if str(value).startswith("$") else shlex.quote(str(value)))
    return " ".join(words)


def _sglang(w: Wanted) -> Launch:
    """SGLang: tp-size counts all ranks of a stage, attention data parallelism lies inside it. [sglang-server-args]

    Its limits on requests and chunk tokens are for all attention replicas together.
    """
    plan, policy = w.plan, w.policy
    wide = w.ep > 1 and w.dp > 1
    if wide and w.ep != w.ranks // w.pp:
        raise Contradiction(
            f"--launch sglang: with DeepEP experts spread over all {w.ranks // w.pp} ranks of a stage, not over ep = "
            f"{w.ep}; use ep {w.ranks // w.pp}"
        )
    modes = {"prefill": "normal", "decode": "low_latency", "both": "auto"}
    chunk = policy.token_budget * w.dp if policy.chunked else -1
    flags: list[tuple[str, Any]] = [
        ("--model-path", MODEL), ("--trust-remote-code", True), ("--tp-size", w.ranks // w.pp),
        ("--pp-size", w.pp if w.pp > 1 else None), ("--attn-dp-size", w.dp if w.dp > 1 else None),
        ("--ep-size", w.ep if w.ep > 1 else None), ("--moe-a2a-backend", "deepep" if wide else None),
        ("--deepep-mode", modes[w.role] if wide else None), ("--moe-dense-tp-size", 1 if wide and w.tp == 1 else None),
        ("--enable-two-batch-overlap", plan.overlap == "two-batch"),
        ("--enable-single-batch-overlap", plan.overlap == "single-batch"),
        ("--enable-eplb", _balanced(w)), ("--ep-num-redundant-experts", int(float(plan.redundant_experts)) or None),
        ("--kv-cache-dtype", "fp8_e4m3" if plan.kv_dtype == "fp8" else None),
        ("--max-running-requests", policy.max_running * w.dp),
        ("--chunked-prefill-size", None if w.role == "decode" else chunk),
        ("--enable-mixed-chunk", policy.order == "mixed" and w.role == "both"),
        ("--mem-fraction-static", f"{KV_SHARE:g}"), ("--page-size", policy.block),
        ("--disable-radix-cache", not w.prefix_cache),
        ("--disaggregation-mode", None if w.role == "both" else w.role),
        ("--load-balance-method", "total_tokens" if policy.spread == "kv" and w.dp > 1 else None),
    ]  # fmt: skip
    if w.mtp_tokens and w.role != "prefill":
        flags += [
            ("--speculative-algorithm", "NEXTN"), ("--speculative-num-steps", w.mtp_tokens),
            ("--speculative-eagle-topk", 1), ("--speculative-num-draft-tokens", w.mtp_tokens + 1),
        ]  # fmt: skip
    if w.chip.vendor == "Huawei":
        flags += [("--device", "npu"), ("--attention-backend", "ascend")]
    if w.plan.precision == "int8":
        flags.append(("--quantization", "modelslim"))
    command = ["python", "-m", "sglang.launch_server"]
    lines = [
        _line(command, [*flags, *([("--nnodes", w.nodes), ("--node-rank", n), ("--dist-init-addr", "$HEAD:5000")]
                                  if w.nodes > 1 else [])])
        for n in range(w.nodes)
    ]  # fmt: skip
    notes = list(_notes(w))
    if w.dp > 1:
        notes.append(f"releases before {options()['sglang']['version']}: --dp-size {w.dp} --enable-dp-attention")
    return Launch("sglang", options()["sglang"]["version"], w.role, w.replicas, tuple(lines), {}, tuple(notes))


def _vllm(w: Wanted, build: str) -> Launch:
    """vLLM: experts always span tp × dp; limits are for one attention replica. [vllm-engine-args; vllm-ascend-docs]"""
    plan, policy, ascend = w.plan, w.policy, build == "vllm-ascend"
    if w.ep not in (1, w.tp * w.dp):
        raise Contradiction(
            f"--launch vllm: its expert parallelism spans tp × dp = {w.tp * w.dp} ranks, not ep = {w.ep}; "
            f"use ep {w.tp * w.dp} or 1"
        )
    notes = list(_notes(w))
    if policy.order == "prefill-first":
        notes.append("vLLM always runs prompts beside answers: order prefill-first has no option")
    wide = w.ep > 1 and w.dp > 1 and not ascend
    backends = {"prefill": "deepep_high_throughput", "decode": "deepep_low_latency", "both": "deepep_low_latency"}
    redundant = int(float(plan.redundant_experts))
    producer = {"prefill": "kv_producer", "decode": "kv_consumer"}.get(w.role)
    transfer: dict[str, Any] = {"kv_connector": "NixlConnector", "kv_role": producer}
    if ascend:  # its connector wants a port outside of what the transport takes, and the layout of both sides
        sides: dict[str, Any] = {w.role: {"dp_size": w.dp, "tp_size": w.tp}}
        if w.peer is not None:
            sides["decode" if w.role == "prefill" else "prefill"] = {"dp_size": w.peer[0], "tp_size": w.peer[1]}
        transfer = {
            "kv_connector": "MooncakeConnectorV1", "kv_role": producer, "kv_port": "36000",
            "engine_id": "0" if w.role == "prefill" else "1",
            "kv_connector_extra_config": sides,
        }  # fmt: skip
    flags: list[tuple[str, Any]] = [
        ("--trust-remote-code", True), ("--tensor-parallel-size", w.tp),
        ("--pipeline-parallel-size", w.pp if w.pp > 1 else None), ("--data-parallel-size", w.dp if w.dp > 1 else None),
        ("--enable-expert-parallel", w.ep > 1), ("--all2all-backend", backends[w.role] if wide else None),
        ("--enable-dbo", plan.overlap == "two-batch" and wide), ("--enable-eplb", _balanced(w) and not ascend),
        ("--eplb-config", json.dumps({"num_redundant_experts": redundant}) if redundant and not ascend else None),
        ("--max-num-seqs", policy.max_running), ("--max-num-batched-tokens", policy.token_budget),
        ("--no-enable-chunked-prefill", not policy.chunked), ("--gpu-memory-utilization", f"{KV_SHARE:g}"),
        ("--kv-cache-dtype", "fp8" if plan.kv_dtype == "fp8" and not ascend else None),
        ("--block-size", 128 if ascend else policy.block),
        ("--enable-prefix-caching" if w.prefix_cache else "--no-enable-prefix-caching", True),
        ("--quantization", "ascend" if ascend and plan.precision == "int8" else None),
    ]  # fmt: skip
    if w.mtp_tokens and w.role != "prefill":
        method = json.dumps({"method": "mtp", "num_speculative_tokens": w.mtp_tokens})
        flags.append(("--speculative-config", method))
    if producer is not None:
        flags.append(("--kv-transfer-config", json.dumps(transfer)))
        if ascend and w.peer is None:
            notes.append("kv_connector_extra_config also wants the other pool's dp_size and tp_size")
    if plan.overlap == "single-batch" or (plan.overlap != "none" and not wide):
        notes.append(f"overlap {plan.overlap}: this engine has no option for it in this layout")
    lines = _vllm_nodes(w, flags)
    return Launch(build, options()[build]["version"], w.role, w.replicas, lines, {}, tuple(notes))


def _vllm_nodes(w: Wanted, flags: list[tuple[str, Any]]) -> tuple[str, ...]:
    """One command a node: attention replicas are spread over the nodes, the first node answers requests."""
    if w.nodes == 1:
        return (_line(["vllm", "serve", MODEL], flags),)
    local = w.dp // w.nodes
    if local < 1 or w.dp % w.nodes:
        raise Contradiction(
            f"--launch vllm: {w.dp} attention replicas do not spread over {w.nodes} nodes; lower tp, or launch it with "
            "sglang"
        )
    lines = []
    for n in range(w.nodes):
        more: list[tuple[str, Any]] = [
            ("--data-parallel-size-local", local), ("--data-parallel-address", "$HEAD"),
            ("--data-parallel-rpc-port", 13345), ("--data-parallel-start-rank", n * local if n else None),
            ("--headless", n > 0),
        ]  # fmt: skip
        lines.append(_line(["vllm", "serve", MODEL], [*flags, *more]))
    return tuple(lines)


def _trtllm(w: Wanted) -> Launch:
    """TensorRT-LLM: attention runs either split over all ranks or whole on each. [tensorrt-llm-docs]"""
    plan, policy = w.plan, w.policy
    if w.dp > 1 and w.tp > 1:
        raise Contradiction(
            f"--launch trtllm: attention is split over all {w.ranks // w.pp} ranks or whole on each; tp = {w.tp} is "
            f"neither; use tp {w.ranks // w.pp} or 1"
        )
    notes = list(_notes(w))
    config: dict[str, Any] = {
        "backend": "pytorch", "enable_attention_dp": w.dp > 1, "max_batch_size": policy.max_running,
        "max_num_tokens": policy.token_budget, "enable_chunked_prefill": policy.chunked,
        "kv_cache_config": {
            "free_gpu_memory_fraction": KV_SHARE, "dtype": "fp8" if plan.kv_dtype == "fp8" else "auto",
            "enable_block_reuse": w.prefix_cache, "tokens_per_block": policy.block,
        },
    }  # fmt: skip
    redundant = int(float(plan.redundant_experts))
    if redundant and w.model.moe is not None:
        config["moe_config"] = {"load_balancer": {"num_slots": w.model.moe.experts + redundant}}
    if w.mtp_tokens and w.role != "prefill":
        config["speculative_config"] = {"decoding_type": "MTP", "max_draft_len": w.mtp_tokens}
    if w.role != "both":
        config["cache_transceiver_config"] = {"backend": "DEFAULT"}
    if plan.overlap != "none":
        notes.append(f"overlap {plan.overlap}: TensorRT-LLM has no option for it")
    if "speculative_config" in config:
        notes.append("releases up to 1.2 call max_draft_len of MTP num_nextn_predict_layers")
    notes.append("free_gpu_memory_fraction is of the memory that weights leave, not of all of it")
    name = f"{w.role}.yaml" if w.role != "both" else "config.yaml"
    flags: list[tuple[str, Any]] = [
        ("--tp_size", w.ranks // w.pp), ("--pp_size", w.pp if w.pp > 1 else None),
        ("--ep_size", w.ep if w.ep > 1 else None), ("--trust_remote_code", True), ("--config", name),
    ]  # fmt: skip
    start = ["trtllm-serve", MODEL] if w.nodes == 1 else ["mpirun", "-n", str(w.ranks), "trtllm-llmapi-launch",
                                                          "trtllm-serve", MODEL]  # fmt: skip
    line = _line(start, flags)
    version = options()["trtllm"]["version"]
    return Launch("trtllm", version, w.role, w.replicas, (line,), {name: _yaml(config)}, tuple(notes))


def _balanced(w: Wanted) -> bool:
    return w.ep > 1 and (float(w.plan.redundant_experts) > 0 or w.plan.routing in ("eplb", "production"))


def _yaml(value: dict[str, Any], indent: str = "") -> str:
    """Nested tables of plain values as YAML."""
    text = ""
    for name, item in value.items():
        if isinstance(item, dict):
            text += f"{indent}{name}:\n{_yaml(item, indent + '  ')}"
        else:
            text += f"{indent}{name}: {str(item).lower() if isinstance(item, bool) else item}\n"
    return text


def _notes(w: Wanted) -> tuple[str, ...]:
    notes = [f"{MODEL}: the checkpoint of {w.model.id} in {w.plan.precision}"]
    if w.nodes > 1:
        notes.append("$HEAD: address of the first node; one command a node, in this order")
    if w.replicas > 1:
        notes.append(f"{w.replicas} of these behind a router")
    if w.plan.moe_tp is not None and w.ep > 1 and float(w.plan.moe_tp) > 1:
        notes.append(f"moe_tp {float(w.plan.moe_tp):g}: follows from the ranks that ep leaves, where the engine can")
    return tuple(notes)
