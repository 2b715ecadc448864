"""Service: how a deployment is run (scheduler, cache, router, pools), and the replicas that this makes of a plan."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from costsim.errors import BadInput
from costsim.predict.engine import engine_for
from costsim.predict.handover import handover, kv_bytes_per_token
from costsim.predict.phases import Setting, setting_for
from costsim.predict.serving import frontend
from costsim.serving.engine import Engine
from costsim.serving.policy import Policy
from costsim.serving.simulation import Deployment, Pool, at_once
from costsim.serving.timer import StepTimer
from costsim.spec.accelerator import Accelerator
from costsim.spec.cluster import Cluster
from costsim.spec.framework import Host
from costsim.spec.model import ModelSpec
from costsim.spec.plan import ServingPlan

#: vLLM's: prompts in chunks beside the answers
DEFAULT_POLICY = Policy()


@dataclass(frozen=True)
class Service:
    """What is simulated besides the plan: the scheduler, the prefix cache, the router, targets, a prefill pool.

    ``ttft_s``, ``tpot_s``: targets that goodput counts; ``prefill``: plan of separate prefill cards, if any, on
    ``prefill_chip`` (None: the same accelerator); ``host_cache_bytes``: memory behind each replica for cached
    prefixes, 0 for none; ``host``: what an engine's host takes in place of its published constants.
    """

    policy: Policy = DEFAULT_POLICY
    router: str = "least-loaded"
    prefix_cache: bool = False
    host_cache_bytes: float = 0.0
    ttft_s: float = math.inf
    tpot_s: float = math.inf
    mtp_tokens: float = 0.0
    mtp_acceptance: float = 0.0
    prefill: ServingPlan | None = None
    prefill_chip: Accelerator | None = None
    host: Host | None = None


@dataclass(frozen=True)
class Scaled:
    """A timer all of whose seconds are ``factor`` times as long: the ends of the band."""

    timer: StepTimer
    factor: float

    def rest(self, rank_tokens: float, all_tokens: float, prefill: bool) -> float:
        return self.factor * self.timer.rest(rank_tokens, all_tokens, prefill)

    def attend_prefill(self, new: float, before: float) -> float:
        return self.factor * self.timer.attend_prefill(new, before)

    def attend_decode(self, batch: float, kv: float) -> float:
        return self.factor * self.timer.attend_decode(batch, kv)


def acceptance_of(shares: Sequence[float]) -> float:
    """The chance a of one drafted token that keeps as many of n as the measured ``shares`` of steps that keep the
    first, the second, …: a + a² + … + aⁿ = Σ shares. Raises BadInput where they rise."""
    if any(later > earlier + 1e-9 for earlier, later in itertools.pairwise(shares)):
        raise BadInput("mtp: a later draft is kept only where all before it are; shares cannot rise")
    target, low, high = sum(shares), 0.0, 1.0
    for _ in range(60):
        middle = 0.5 * (low + high)
        kept = sum(middle**i for i in range(1, len(shares) + 1))
        low, high = (middle, high) if kept < target else (low, middle)
    return 0.5 * (low + high)


def replica_cards(model: ModelSpec, chip: Accelerator, plan: ServingPlan) -> int:
    """Cards of one replica: those that share a set of experts, or one tensor- and pipeline-parallel group.

    Raises BadInput where the plan's cards are no whole number of replicas.
    """
    tp, pp, ep = float(plan.tp), float(plan.pp), float(plan.ep) if model.moe else 1.0
    moe_tp = float(plan.moe_tp) if plan.moe_tp is not None else max(tp / ep, 1.0)
    ranks = max(tp, ep * moe_tp) * pp if model.moe else tp * pp
    cards = ranks / chip.dies
    if cards < 1 or cards != int(cards) or float(plan.gpus) % cards:
        raise BadInput(
            f"gpus = {float(plan.gpus):g}: must be a multiple of a replica's {cards:g} cards (tp {tp:g}, pp {pp:g}, "
            f"ep {ep:g}); try {max(1, round(float(plan.gpus) / max(cards, 1.0))) * max(cards, 1.0):g}"
        )
    return int(cards)


def deployment_of(
    model: ModelSpec, chip: Accelerator, plan: ServingPlan, service: Service, cluster: Cluster | None
) -> tuple[Deployment, list[Setting]]:
    """The pools of a deployment, prefill first, and the setting of one replica of each."""
    pools, settings = [], []
    for role, own, one in parts_of(chip, plan, service):
        cards = replica_cards(model, own, one)
        setting = _setting(model, own, replace(one, gpus=cards), cluster if own is chip else None, service.host)
        drafts = (service.mtp_tokens, service.mtp_acceptance) if role != "prefill" else (0.0, 0.0)
        policy = service.policy
        if role == "decode" and not policy.reserve and not policy.reserve_tokens:
            policy = replace(policy, reserve_tokens=DECODE_RESERVE)
        engine = engine_for(setting, policy, role, *drafts)
        blocks = 0
        if service.host_cache_bytes:
            each = kv_bytes_per_token(setting)
            blocks = int(service.host_cache_bytes / each / BLOCK_TOKENS)
            engine = replace(engine, host_kv_s_per_token=each / float(np.max(setting.layout.tp)) / HOST_BYTES_PER_S)
        cached = service.prefix_cache and role != "decode"
        pools.append(Pool(engine, int(float(one.gpus) / cards), service.router, cached, blocks))
        settings.append(setting)
    transfer = handover(settings[0], settings[1]) if service.prefill else at_once
    return Deployment(tuple(pools), transfer, frontend(settings[0])), settings


#: KV tokens that a decode server keeps free for each running request: SGLang's default [sglang-server-args]
DECODE_RESERVE = 512


def parts_of(chip: Accelerator, plan: ServingPlan, service: Service) -> list[tuple[str, Accelerator, ServingPlan]]:
    """(role, accelerator, plan) of each pool, prefill first."""
    if service.prefill is None:
        return [("both", chip, plan)]
    return [("prefill", service.prefill_chip or chip, service.prefill), ("decode", chip, plan)]


def _setting(
    model: ModelSpec, chip: Accelerator, plan: ServingPlan, cluster: Cluster | None, host: Host | None
) -> Setting:
    setting = setting_for(model, chip, plan, cluster)
    if host is None:
        return setting
    if setting.framework is None:
        raise BadInput("host times belong to an engine; name its framework")
    return replace(setting, framework=setting.framework.model_copy(update={"host": host}))


#: tokens of a block that traces hash; PCIe 5.0 ×16 from host memory to a card, 85 % of 63 GB/s (grade D)
BLOCK_TOKENS, HOST_BYTES_PER_S = 512, 0.85 * 63e9


def scaled(deployment: Deployment, factor: float) -> Deployment:
    """The deployment with all step times ``factor`` times as long."""
    if factor == 1.0:
        return deployment

    def slower(engine: Engine) -> Engine:
        return replace(engine, timer=Scaled(engine.timer, factor))

    return replace(deployment, pools=tuple(replace(p, engine=slower(p.engine)) for p in deployment.pools))
