"""A deployment as the serving simulator sees it: step-time tables and KV capacity of one replica."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace
from typing import Any

import numpy as np

from costsim.errors import BadInput, DoesNotFit
from costsim.physics.memory import activation_bytes, communication_bytes, kv_bytes_per_rank, weight_bytes_per_rank
from costsim.predict.fits import cure
from costsim.predict.layout import refuse
from costsim.predict.phases import (
    Setting,
    accepted_tokens,
    attention_ranks,
    cache_bytes,
    decode,
    launch_seconds,
    prefill,
    setting_for,
)
from costsim.serving.engine import Engine
from costsim.serving.policy import Policy
from costsim.serving.timer import TableTimer, curve, surface
from costsim.spec.accelerator import Accelerator
from costsim.spec.framework import Framework, Host
from costsim.spec.model import ModelSpec
from costsim.spec.plan import DecodeLoad, PrefillLoad, ServingPlan
from costsim.units import GIGA

#: sequence length at which prompts are short enough that attention is a small part of the step
_SHORT = 128.0
_MAX_CONTEXT, _MAX_PREFILL = 2.0**20, 2.0**18
#: requests up to which decode steps are tabulated; beyond, the tables continue in a straight line
MAX_BATCH = 2048
#: length over which KV bytes a token are averaged: sliding windows keep no more than theirs
_LONG = 8192.0


def _geometric(low: float, high: float, a_doubling: int) -> Any:
    """Whole numbers from low to high, ``a_doubling`` of them each time the value doubles, plus every small one."""
    count = int(np.ceil(np.log2(high / low) * a_doubling)) + 1
    return np.unique(np.round(np.geomspace(low, high, count)))


def step_tables(setting: Setting, max_batch: int, drafts: float = 0.0, acceptance: float = 0.0) -> TableTimer:
    """Tabulate :func:`decode` and :func:`prefill` of one replica for the simulator.

    Decode: step(batch, context) = rank(batch) + shared(batch) + attention, with attention measured against a
    context of one token. Prefill: step(new, before) likewise, against short prompts. Where communication overlaps
    compute the two are not separable by rank, and all of a step goes by the fullest rank.
    """
    if setting.framework is not None:  # the engine applies the least time of a step to its whole, not to its parts
        host = setting.framework.host.model_copy(update={"launch_s": 0.0})
        setting = replace(setting, framework=setting.framework.model_copy(update={"host": host}))
    layout, dies = setting.layout, setting.chip.dies
    replica = float(np.max(layout.tp * layout.pp / dies))
    ranks = float(ranks_of(setting))
    batch = _geometric(1.0, max(2.0 * max_batch, 2.0), 4)
    context = _geometric(1.0, _MAX_CONTEXT, 2)
    mtp = (drafts, acceptance)

    def decode_s(b: Any, c: Any) -> Any:
        load = DecodeLoad(c, np.asarray(b, dtype=float) / replica, *mtp)
        return decode(setting, load, strict=False)

    grid = np.asarray(decode_s(batch[:, None], context[None, :]).step_s)
    base = decode_s(batch, np.ones_like(batch))
    shared = _shared(setting, base)
    rank_s = np.asarray(base.step_s) - shared
    tokens = batch * (1.0 + drafts)
    new = _geometric(1.0, _MAX_PREFILL, 2)
    before = np.concatenate([[0.0], _geometric(64.0, _MAX_CONTEXT, 1)])
    cards = float(np.max(layout.tp / dies))

    def prefill_s(n: Any, c: Any, isl: Any) -> Any:
        return prefill(setting, PrefillLoad(isl, np.asarray(n, dtype=float) / cards, c), strict=False)

    plain = prefill_s(new, np.zeros_like(new), np.minimum(new, _SHORT))
    whole = np.asarray(prefill_s(new[:, None], before[None, :], new[:, None] + before[None, :]).step_s)
    plain_shared = _shared(setting, plain)
    return TableTimer(
        decode_rank=curve(tokens, rank_s),
        decode_shared=curve(tokens * ranks, shared),
        prefill_rank=curve(new, np.asarray(plain.step_s) - plain_shared),
        prefill_shared=curve(new * ranks, plain_shared),
        decode_attention=surface(batch, context, np.maximum(grid - np.asarray(base.step_s)[:, None], 0.0)),
        prefill_attention=surface(new, before.tolist(), np.maximum(whole - np.asarray(plain.step_s)[:, None], 0.0)),
    )


#: tables of the deployments asked last, with the model and the accelerator they belong to
_KNOWN: OrderedDict[Any, tuple[ModelSpec, Accelerator, TableTimer]] = OrderedDict()
_MOST_KNOWN = 64


def _tables(setting: Setting, max_batch: int, drafts: float, acceptance: float) -> TableTimer:
    """Tables of a setting, kept: many loads ask the same deployment. Nouns are compared by identity."""
    key = (
        id(setting.model),
        id(setting.chip),
        repr(setting.plan),
        repr(setting.cluster),
        repr(setting.framework),
        max_batch,
        drafts,
        acceptance,
    )
    found = _KNOWN.get(key)
    if found is None or found[0] is not setting.model or found[1] is not setting.chip:
        found = (setting.model, setting.chip, step_tables(setting, max_batch, drafts, acceptance))
        _KNOWN[key] = found
        if len(_KNOWN) > _MOST_KNOWN:
            _KNOWN.popitem(last=False)
    return found[2]


def _shared(setting: Setting, answer: Any) -> Any:
    """Seconds that go by the tokens of all ranks together: routed experts and their transfers, times pp."""
    size = np.shape(answer.step_s)
    if setting.plan.overlap != "none" or setting.model.moe is None or float(np.max(setting.layout.attention_dp)) == 1.0:
        return np.zeros(size)
    phase = answer.phase
    seconds = phase.part_s("moe") + phase.wire_s("dispatch", "combine", "moe")
    return np.broadcast_to(np.asarray(seconds * setting.layout.pp), size)


def kv_capacity_tokens(setting: Setting, token_budget: int, drafts: float = 0.0) -> int:
    """Tokens of KV that fit on one attention replica beside weights, activations and buffers.

    Raises DoesNotFit where not even the weights do.
    """
    weights, live, room, each = _room(setting, token_budget, drafts)
    if room >= each:
        return int(room / each)

    def fits(plan: ServingPlan, _load: None) -> bool:
        """A replica of this plan has room for a token, and breaks no rule."""
        try:
            own = setting_for(setting.model, setting.chip, plan)
            broken = prefill(own, PrefillLoad(1024.0, 1024.0), strict=False).rules
            there, needed = _room(own, token_budget, drafts)[2:]
        except BadInput:
            return False
        return there >= needed and not any(bool(np.any(rule.broken)) for rule in broken)

    raise DoesNotFit(
        f"does not fit: weights take {weights / GIGA:.1f} GB and a step of {token_budget} tokens {live / GIGA:.1f} "
        f"GB of the {(room + weights + live) / GIGA:.1f} GB that an engine uses of each rank of {setting.chip.id}; "
        f"{cure(setting, None, fits)}"
    )


def _room(setting: Setting, token_budget: int, drafts: float) -> tuple[float, float, float, float]:
    """Bytes of a rank: weights, what is live in a step, what is left for KV (maybe negative), KV of a token."""
    model, layout = setting.model, setting.layout
    weights = float(np.max(weight_bytes_per_rank(model, layout, with_mtp=drafts > 0)))
    live = 0.0
    if setting.framework is None or setting.framework.memory.activations:
        live = float(np.max(activation_bytes(model, layout, float(token_budget), True)))
        live += float(np.max(communication_bytes(model, layout, float(token_budget), low_latency=False)))
    each = float(np.max(kv_bytes_per_rank(model, layout, 1.0, _LONG))) / _LONG
    return weights, live, float(cache_bytes(setting, weights + live)), each


#: requests in flight from which a recipe's engine polls for new ones at its longer interval
MANY = 16.0


def policy_for(framework: Framework | None, isl: float, concurrency: float, batch: int = 0) -> Policy:
    """The scheduler of a framework for a load; a plain one (vLLM's way) where there is none.

    ``batch``: requests that a rank runs at once, 0 for the framework's own limit.
    """
    if framework is None:
        return Policy(max_running=batch or Policy.max_running, ahead=True)
    s = framework.scheduler
    budget = max(s.token_budget + s.budget_isl * isl + s.budget_concurrency * concurrency, s.budget_least)
    return Policy(
        order=s.order, token_budget=max(int(budget), 1), balance=s.balance,
        poll=s.poll if concurrency >= MANY else s.poll_small, chunked=s.chunked, max_running=batch or s.max_running,
        reserve=s.reserve, block=s.block, ahead=s.ahead,
    )  # fmt: skip


def engine_for(
    setting: Setting, policy: Policy, role: str = "both", drafts: float = 0.0, acceptance: float = 0.0
) -> Engine:
    """One replica of a plan: all attention ranks that share one set of experts, behind one barrier."""
    refuse(prefill(setting, PrefillLoad(1024.0, 1024.0), strict=False).rules)
    host = setting.framework.host if setting.framework is not None else Host()
    return Engine(
        timer=_tables(setting, MAX_BATCH, drafts, acceptance),
        policy=policy,
        kv_tokens=kv_capacity_tokens(setting, policy.token_budget, drafts),
        ranks=ranks_of(setting),
        role=role,
        tokens_per_step=float(accepted_tokens(drafts, acceptance)),
        verified=1.0 + drafts,
        launch_s=float(np.max(launch_seconds(setting))),
        request_s=host.request_s,
    )


def ranks_of(setting: Setting) -> int:
    """Attention ranks behind one barrier, as a whole number."""
    return max(int(np.max(attention_ranks(setting))), 1)
