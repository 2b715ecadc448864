"""Prefill, decode and the two together on one deployment: seconds, throughput and memory, before money.

Every field broadcasts: one question passes floats, a sweep passes arrays.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from costsim.calibration.store import device_for
from costsim.errors import Contradiction
from costsim.num import Num
from costsim.physics.layout import Layout
from costsim.physics.memory import Footprint, footprint
from costsim.physics.step import decode_demand, draft_demand, prefill_demand
from costsim.predict.layout import (
    Rule,
    check_choices,
    comm_sms_rule,
    not_negative,
    plan_rules,
    positive,
    refuse,
    serving_layout,
)
from costsim.predict.phase import (
    Phase,
    StepTime,
    serial_step,
    single_batch_step,
    time_demand,
    two_batch_stages,
    two_batch_step,
    two_batch_streams,
)
from costsim.predict.question import most_cards
from costsim.predict.system import System, system_of
from costsim.spec.accelerator import Accelerator
from costsim.spec.cluster import Cluster, standard_cluster
from costsim.spec.framework import Framework, framework_for
from costsim.spec.model import ModelSpec
from costsim.spec.plan import DecodeLoad, PrefillLoad, ServingPlan
from costsim.timing.device import Device

#: share of its kernel-level throughput that a production fleet keeps over a day: balanced profile against
#: 24 h average, prefill 7,839 → 4,026 and decode 2,325 → 1,850 tokens/s per GPU [deepseek-open-infra-day6]
PRODUCTION_UTILISATION = {"prefill": 0.5, "decode": 0.8}


#: share of device memory that serving engines give to weights and KV cache together (their usual 0.9)
KV_SHARE = 0.9
#: bytes of a card for each of its nominal GB: GiB, less the driver's share (an H200 of 141 GB shows 143,771 MiB)
CARD_BYTES = 1.068
#: cores with which dispatch and combine reach the full rate of NVLink and InfiniBand [deepseek-v3-report, sec. 3.2.2]
ENOUGH_SMS = 20.0


@dataclass(frozen=True)
class Setting:
    """What every phase of one deployment shares."""

    model: ModelSpec
    chip: Accelerator
    plan: ServingPlan
    cluster: Cluster
    layout: Layout
    device: Device
    system: System
    framework: Framework | None = None

    @property
    def step_host_s(self) -> float:
        """Host seconds of a step that the device waits for."""
        return self.system.step_host_s if self.framework is None else self.framework.host.step_s


@dataclass(frozen=True)
class Answer:
    """A timed phase before it is priced. ``tokens_per_s`` is per card; all fields broadcast."""

    setting: Setting
    phase: Phase
    step: StepTime
    draft_s: Num
    step_s: Num
    tokens_per_s: Num
    memory: Footprint
    metrics: dict[str, tuple[Num, str]]
    rules: list[Rule]
    micro_batches: int
    tokens_per_step: Num

    @property
    def at_once(self) -> float:
        """Share of the ops' own seconds by which the step grows: below 1 where two streams compute at once."""
        parts = ("attention", "dense", "shared", "moe", "head")
        own = float(np.max(self.phase.part_s(*parts))) * self.micro_batches
        return min(float(np.max(self.step.total_s)) / own, 1.0) if own > 0 else 1.0


def setting_for(model: ModelSpec, chip: Accelerator, plan: ServingPlan, cluster: Cluster | None = None) -> Setting:
    """Resolve the plan on its cluster; refuses unknown words and missing number formats."""
    check_choices(plan, chip)
    if cluster is not None and cluster.accelerator != chip.id:
        raise Contradiction(f"cluster {cluster.id} is made of {cluster.accelerator}, not {chip.id}")
    if cluster is None:
        cluster = standard_cluster(chip, most_cards(plan.gpus))
    framework = _framework(model, chip, plan)
    layout = serving_layout(model, chip, plan, cluster)
    whole = float(np.max(layout.ep * layout.moe_tp)) <= float(np.max(layout.tp))
    tables = framework.kernels.tables if framework is not None and whole else ""
    device = replace(device_for(chip, cluster), kernels=tables or plan.framework)
    return Setting(model, chip, plan, cluster, layout, device, system_of(chip), framework)


def _framework(model: ModelSpec, chip: Accelerator, plan: ServingPlan) -> Framework | None:
    """The plan's engine, as a recipe sets it for this model on this part."""
    if not plan.framework:
        return None
    about = (model.id, chip.architecture, plan.precision)
    return framework_for(plan.framework, plan.framework_version, plan.recipe, *about)


def _cores_share(setting: Setting) -> Num:
    """Cores left for compute while communication kernels run beside it."""
    plan, device = setting.plan, setting.device
    sms = plan.comm_sms
    if sms is None:
        sms = setting.system.comm_sm_share * device.cores if plan.overlap == "two-batch" else 0.0
    return 1.0 - np.asarray(sms, dtype=float) / device.cores


def _starved(setting: Setting) -> Num:
    """Slowdown of normal-mode transfers by too few communication cores: 20 of 132 fill both fabrics.

    [deepseek-v3-report, sec. 3.2.2]
    """
    sms = setting.plan.comm_sms
    return 1.0 if sms is None else np.maximum(ENOUGH_SMS / np.maximum(np.asarray(sms, dtype=float), 1e-9), 1.0)


def _sending_cores(setting: Setting) -> list[Rule]:
    """Overlapped transfers of prefill run on cores: none of them cannot send."""
    sms = setting.plan.comm_sms
    if sms is None or setting.plan.overlap != "two-batch":
        return []
    message = "comm_sms = 0: overlapped prefill sends with cores; leave it out or give at least 1 (20 fill the wires)"
    return [Rule("no cores to send with", message, np.asarray(sms) < 1)]


def _rules(setting: Setting, loads: dict[str, Any]) -> list[Rule]:
    rules = plan_rules(setting.model, setting.chip, setting.plan, setting.layout)
    return [*rules, comm_sms_rule(setting.plan.comm_sms, setting.device.cores), *positive(loads)]


def _production(setting: Setting, phase: str) -> float:
    return PRODUCTION_UTILISATION[phase] if setting.plan.routing == "production" else 1.0


def prefill(setting: Setting, load: PrefillLoad, *, strict: bool = True) -> Answer:
    """One prefill step of ``tokens_per_gpu`` new tokens on each card.

    With ``strict`` a broken rule is refused; a sweep passes False and reads ``rules``.
    """
    model, plan, layout, chip = setting.model, setting.plan, setting.layout, setting.chip
    isl, cached = np.asarray(load.isl, dtype=float), np.asarray(load.cached, dtype=float)
    rules = _rules(setting, {"isl": isl, "tokens_per_gpu": load.tokens_per_gpu, "isl − cached": isl - cached})
    rules.append(not_negative("cached", cached))
    rules += _sending_cores(setting)
    if strict:
        refuse(rules)
    batches = 2 if plan.overlap == "two-batch" else 1
    tokens = np.asarray(load.tokens_per_gpu, dtype=float) / chip.dies * layout.tp
    demand = prefill_demand(model, layout, tokens / batches, isl, cached)
    contention = setting.system.gemm_contention if plan.overlap == "two-batch" else 1.0
    phase = time_demand(demand, setting.device, setting.system, _cores_share(setting), contention)
    step = _overlapped(phase, setting, setting.system.overlap_slowdown * _starved(setting))
    step_s = np.maximum(step.total_s * layout.pp, _launch_s(setting, phase)) + setting.step_host_s
    rate = load.tokens_per_gpu / step_s * _production(setting, "prefill")
    steps, prompts = _chunks(isl - cached, tokens)
    memory = footprint(model, layout, chip.rank().need("memory"), prompts, isl, tokens / batches, prefill=True)
    metrics: dict[str, tuple[Num, str]] = {
        "tokens_per_s_per_gpu": (rate, "token/s"),
        "step_s": (step_s, "s"),
        "ttft_s": (steps * step_s, "s"),
    }
    if strict:
        # Useful work counts every token once, however unevenly experts are met.
        even = prefill_demand(model, replace(layout, routing="balanced", imbalance=None), tokens / batches, isl, cached)
        metrics["flop_per_token"] = (even.flop * layout.pp / (tokens / batches) * layout.tp, "FLOP")
        metrics["mfu"] = (_mfu(even.flop * batches * layout.pp, step_s, setting), "")
    return Answer(setting, phase, step, 0.0, step_s, rate, memory, metrics, rules, batches, 1.0)


def _chunks(new: Num, tokens: Num) -> tuple[Num, Num]:
    """(steps a prompt takes, prompts held at once) when a step takes ``tokens`` of ``new`` tokens a prompt."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.maximum(np.ceil(new / tokens - 1e-9), 1.0), np.maximum(tokens / new, 1.0)


def decode(setting: Setting, load: DecodeLoad, *, strict: bool = True) -> Answer:
    """One decode step: every request advances by one token plus the drafted ones that are accepted."""
    model, plan, layout, chip = setting.model, setting.plan, setting.layout, setting.chip
    drafts, accept = np.asarray(load.mtp_tokens, dtype=float), np.asarray(load.mtp_acceptance, dtype=float)
    rules = _rules(setting, {"context": load.context, "batch_per_gpu": load.batch_per_gpu})
    rules += _mtp_rules(model, drafts, accept)
    rules += _two_batch_rule(setting, load.batch_per_gpu)
    if strict:
        refuse(rules)
    batches = 2 if plan.overlap == "two-batch" else 1
    requests = np.asarray(load.batch_per_gpu, dtype=float) / chip.dies * layout.tp
    context = np.asarray(load.context, dtype=float)
    part = requests / batches
    demand = decode_demand(model, layout, part, context, 1.0 + drafts)
    # Low-latency transfers need no cores; those that a plan keeps for them all the same are lost to compute.
    share = 1.0 if plan.comm_sms is None else _cores_share(setting)
    phase = time_demand(demand, setting.device, setting.system, share, free=_free(setting))
    if plan.overlap == "two-batch" and setting.system.decode_streams > 1:
        half = time_demand(demand, setting.device, setting.system, 0.5 * share, free=_free(setting))
        step = two_batch_streams(phase, half, demand.bytes / setting.device.bandwidth)
    else:
        step = _overlapped(phase, setting, 1.0, decoding=True)
    draft_s = _draft_s(setting, part, context, drafts, batches)
    step_s = (step.total_s + draft_s) * layout.pp + setting.step_host_s
    kept = accepted_tokens(drafts, accept)
    rate = load.batch_per_gpu * kept / step_s * _production(setting, "decode")
    memory = footprint(
        model, layout, chip.rank().need("memory"), requests, context + 1 + drafts, part * (1 + drafts),
        prefill=False, with_mtp=drafts > 0,
    )  # fmt: skip
    metrics: dict[str, tuple[Num, str]] = {
        "tokens_per_s_per_gpu": (rate, "token/s"),
        "tpot_s": (step_s / kept, "s"),
        "tokens_per_s_per_user": (kept / step_s, "token/s"),
        "step_s": (step_s, "s"),
        "mbu": (demand.bytes * batches * layout.pp / step_s / setting.device.bandwidth, ""),
    }
    if strict:
        # Useful work is one forward pass for each token kept; rejected drafts and skew are not.
        even = decode_demand(model, replace(layout, routing="balanced", imbalance=None), part, context, 1.0)
        metrics["mfu"] = (_mfu(even.flop * batches * kept * layout.pp, step_s, setting), "")
    return Answer(setting, phase, step, draft_s, step_s, rate, memory, metrics, rules, batches, kept)


#: tokens drafted a step, far above what any engine drafts
MOST_DRAFTS = 64


def accepted_tokens(drafts: Num, accept: Num) -> Num:
    """E[tokens per step] with n drafts each kept with chance a while all before it were: 1 + a + … + aⁿ."""
    n, a = np.asarray(drafts, dtype=float), np.asarray(accept, dtype=float)
    total = np.ones(np.broadcast(n, a).shape)
    term = np.ones_like(total)
    # More than MOST_DRAFTS are refused elsewhere and must only not hang here.
    for i in range(1, int(min(np.max(n, initial=0), MOST_DRAFTS)) + 1):
        term = term * a
        total = total + np.where(i <= n, term, 0.0)
    return total


def _mtp_rules(model: ModelSpec, drafts: Num, accept: Num) -> list[Rule]:
    n, a = np.asarray(drafts), np.asarray(accept)
    with np.errstate(invalid="ignore"):
        odd = ~((n >= 0) & (n <= 8) & (n == np.floor(n)))
        outside = ~((a >= 0) & (a <= 1))
    has_none = (n > 0) & (model.mtp_layers == 0)
    return [
        Rule("mtp_tokens out of range", "mtp_tokens: must be a whole number from 0 to 8", odd),
        Rule("mtp_acceptance out of range", "mtp_acceptance: must be from 0 to 1", outside),
        Rule("model has no MTP", f"mtp_tokens: {model.id} has no MTP module; use mtp_tokens = 0", has_none),
    ]


def _two_batch_rule(setting: Setting, batch_per_gpu: Num) -> list[Rule]:
    """Two micro-batches need a request each."""
    if setting.plan.overlap != "two-batch":
        return []
    replica = np.asarray(batch_per_gpu, dtype=float) * setting.layout.tp / setting.chip.dies
    message = "overlap two-batch splits the requests of a replica in two: give it at least two, or overlap none"
    return [Rule("too few requests for two-batch", message, replica < 2)]


def _overlapped(phase: Phase, setting: Setting, slowdown: Num, decoding: bool = False) -> StepTime:
    if setting.plan.overlap == "two-batch":
        return two_batch_stages(phase) if decoding else two_batch_step(phase, slowdown)
    if setting.plan.overlap == "single-batch":
        return single_batch_step(phase)
    return serial_step(phase, decoding and setting.framework is not None and setting.framework.kernels.shared_beside)


def _launch_s(setting: Setting, phase: Phase) -> Num:
    """The least time of a step whose kernels the host launches one by one."""
    return 0.0 if setting.framework is None else setting.framework.host.launch_s * phase.launches * setting.layout.pp


def launch_seconds(setting: Setting) -> Num:
    """The least time of an iteration with prompts in it: what the host needs to launch its kernels."""
    demand = prefill_demand(setting.model, setting.layout, 1024.0, 1024.0)
    return _launch_s(setting, time_demand(demand, setting.device, setting.system))


def _free(setting: Setting) -> frozenset[str]:
    """Ops of a decode step that another kernel does on the way; reductions that leave the node have no such kernel."""
    fused = setting.framework is not None and setting.framework.kernels.norm_in_reduce
    tp = np.asarray(setting.layout.tp)
    here = float(np.min(tp)) > 1 and bool(np.all(tp <= setting.layout.domain))
    return frozenset(("input norm", "ffn norm")) if fused and here else frozenset()


def _draft_s(setting: Setting, part: Num, context: Num, drafts: Num, batches: int) -> Num:
    """Draft passes: the first reads every verified token, each further one adds one. [deepseek-v3-report, sec. 2.2]"""
    if not bool(np.any(np.asarray(drafts) > 0)):
        return 0.0
    model, layout = setting.model, setting.layout
    first = time_demand(draft_demand(model, layout, part, context, 1.0 + drafts), setting.device, setting.system)
    later = time_demand(draft_demand(model, layout, part, context, 1.0), setting.device, setting.system)
    one, more = (serial_step(phase).total_s * batches for phase in (first, later))
    return np.where(drafts > 0, one + (drafts - 1) * more, 0.0)


def _mfu(flop: Num, seconds: Num, setting: Setting) -> Num:
    """Causal FLOPs over the dense peak of the plan's precision (W4 counts against BF16)."""
    return flop / seconds / setting.device.peak(setting.plan.precision)


def cache_bytes(setting: Setting, taken: Num) -> Num:
    """Bytes of a rank that an engine gives to the KV cache when weights and activations have ``taken`` theirs.

    free_share·(card_share·card − reserved − taken) by the framework's rule; cards hold GiB where their names say GB.
    """
    capacity = setting.chip.rank().need("memory")
    if setting.framework is None:
        return KV_SHARE * capacity - np.asarray(taken)
    rule = setting.framework.memory
    room: Num = rule.free_share * (rule.card_share * CARD_BYTES * capacity - rule.reserved_bytes - np.asarray(taken))
    return room


def attention_ranks(setting: Setting) -> Num:
    """Attention ranks that wait for each other: all that share one set of experts."""
    layout = setting.layout
    if setting.model.moe is None:
        return np.ones_like(np.asarray(layout.tp, dtype=float))
    return np.maximum(np.asarray(layout.ep) * layout.moe_tp / layout.tp, 1.0)
