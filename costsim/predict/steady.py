"""Steady state of a closed loop in closed form: what sweeps ask instead of the event simulation.

Every field broadcasts. It is tested against :func:`costsim.predict.serving.serve_events`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from costsim.num import Num
from costsim.physics.memory import kv_bytes_per_rank, weight_bytes_per_rank
from costsim.predict.layout import Rule, positive, refuse
from costsim.predict.phases import Answer, Setting, attention_ranks, cache_bytes, decode, launch_seconds, prefill
from costsim.spec.framework import Host
from costsim.spec.plan import DecodeLoad, PrefillLoad, ServingLoad


def _kv_room(setting: Setting, context: Num, drafts: Num) -> Num:
    """Requests of ``context`` tokens that fit on a replica beside its weights, at least one."""
    layout = setting.layout
    weights = weight_bytes_per_rank(setting.model, layout, with_mtp=np.asarray(drafts) > 0)
    each = kv_bytes_per_rank(setting.model, layout, layout.pp, context)
    return np.maximum(cache_bytes(setting, weights) / each, 1.0)


@dataclass(frozen=True)
class Blend:
    """Prefill and decode sharing the same cards: a closed loop of ``concurrency`` requests."""

    prefill: Answer
    decode: Answer
    metrics: dict[str, tuple[Num, str]]
    rules: list[Rule]


def serve(setting: Setting, load: ServingLoad, *, strict: bool = True) -> Blend:
    """Steady state of an aggregated deployment in closed form.

    B = concurrency / replicas requests share a replica, as far as their KV fits. Each request costs it
    k = osl/B decode iterations of S(B) seconds and its prompt: an iteration of its own, P, where prompts go first;
    beside the decode tokens otherwise, M = P·(1 + B/isl) + decode attention in place of one of the k. So
    T = P + k·S or M + (k − 1)·S, the replica finishes 1/T requests a second, and TPOT = B·T/osl.
    A request meets the iteration under way, L = T/k on average, one more where iterations are decided ahead, the
    prompts before it, ρ·P/(2 − 2ρ) with ρ = P/T, and then its own; a tenth of a benchmark's requests arrive together
    and wait B·P/2, P then being a prompt's part of a full iteration. Requests beyond what fits wait their turn, T
    each (Little's law). Lock-step loads and token budgets need :func:`costsim.predict.serving.serve_events`.
    """
    plan, layout, dies = setting.plan, setting.layout, setting.chip.dies
    rules = positive({"isl": load.isl, "osl": load.osl, "concurrency": load.concurrency})
    rules += positive({"isl − cached": np.asarray(load.isl, dtype=float) - load.cached})
    if strict:
        refuse(rules)
    isl, osl = np.asarray(load.isl, dtype=float) * load.mean, np.asarray(load.osl, dtype=float) * load.mean
    replica = layout.tp * layout.pp / dies
    asked = np.asarray(load.concurrency, dtype=float) / np.asarray(plan.gpus, dtype=float) * replica
    # Requests are at every stage of their answer: on average half of it is in the cache.
    running = np.minimum(np.maximum(asked, 1.0), _kv_room(setting, isl + osl / 2, load.mtp_tokens))
    mtp = (load.mtp_tokens, load.mtp_acceptance)
    d = decode(setting, DecodeLoad(isl + osl / 2, running / replica, *mtp), strict=strict)
    p = prefill(setting, PrefillLoad(isl, (isl - load.cached) / replica, load.cached), strict=strict)
    together = np.clip(FULL_PROMPTS / isl, 1.0, running)
    full = prefill(setting, PrefillLoad(isl, together * (isl - load.cached) / replica, load.cached), strict=False)
    full_s = full.step_s / together
    busy = np.minimum(asked, 1.0)
    step_s = d.step_s + _request_s(setting) * running
    iterations = osl / d.tokens_per_step / running
    request_s = _request_cost_s(setting, p, d, step_s, running, isl, iterations, busy)
    tpot = running * request_s / osl
    # Fewer requests than replicas leave some idle.
    out_rate = osl / request_s / replica * busy
    metrics: dict[str, tuple[Num, str]] = {
        "output_tokens_per_s_per_gpu": (out_rate, "token/s"),
        "tpot_s": (tpot, "s"),
        "ttft_s": (_first_token_s(setting, p, full_s, request_s, running, asked, isl, iterations), "s"),
        "decode_step_s": (step_s, "s"),
        "prefill_share": (np.minimum(p.step_s / request_s, 1.0), ""),
        "busy_share": (busy, ""),
    }
    return Blend(p, d, metrics, [*rules, *p.rules, *d.rules])


def _request_s(setting: Setting) -> float:
    return 0.0 if setting.framework is None else setting.framework.host.request_s


def _prompts_first(setting: Setting) -> bool:
    return setting.framework is not None and setting.framework.scheduler.order == "prefill-first"


def _prompt_iterations(setting: Setting, p: Answer, iterations: Num, busy: Num) -> tuple[Num, Num]:
    """(iterations with a prompt on any rank, for each request of a rank; seconds of one).

    With R ``busy`` ranks behind one barrier, of which each has a prompt in one of k iterations, f = 1 − (1 − 1/k)^R
    of all iterations hold one: k·f for each request, 1 where R = 1. Such an iteration holds R/(k·f) prompts, and what
    all ranks share of it (routed experts, their transfers) shrinks from R prompts to that many.
    """
    ranks, k = np.maximum(attention_ranks(setting) * busy, 1.0), np.maximum(iterations, 1.0)
    each = k * -np.expm1(ranks * np.log1p(-np.minimum(1.0 / k, 1.0 - 1e-9)))
    shared = (p.phase.part_s("moe") + p.phase.wire_s("dispatch", "combine", "moe")) * setting.layout.pp
    # What the host needs to launch the kernels does not shrink with the prompts.
    raw = p.step.total_s * setting.layout.pp - shared * (1.0 - 1.0 / each)
    alone = np.maximum(raw, launch_seconds(setting)) + setting.step_host_s
    return each, np.where(ranks > 1.0, alone, p.step_s)


def _request_cost_s(
    setting: Setting, p: Answer, d: Answer, step_s: Num, running: Num, isl: Num, iterations: Num, busy: Num
) -> Num:
    """Seconds of a replica's time that one request takes: see :func:`serve`."""
    times, prompt_s = _prompt_iterations(setting, p, iterations, busy)
    if _prompts_first(setting):
        return times * prompt_s + iterations * step_s
    core = sum((t.total_s for t in d.phase.ops if t.item.name == "attention"), start=0.0) * setting.layout.pp
    mixed = prompt_s * (1.0 + running / isl) + core + _request_s(setting) * running
    whole = times * mixed + (iterations - times) * step_s
    crowded = mixed * iterations + prompt_s * (1.0 - iterations)
    return np.where(iterations > 1.0, whole, crowded)


#: prompt tokens of an iteration when many prompts wait
FULL_PROMPTS = 8192.0
#: share of a benchmark's requests that arrive together at its start: clients send ten for each in flight
FIRST_ROUND = 0.1


def _first_token_s(
    setting: Setting, p: Answer, full_s: Num, request_s: Num, running: Num, asked: Num, isl: Num, iterations: Num
) -> Num:
    """Mean time to the first token: see :func:`serve`."""
    host = Host() if setting.framework is None else setting.framework.host
    ahead = 1.0 if setting.framework is None or setting.framework.scheduler.ahead else 0.0
    count = iterations + 1.0 if _prompts_first(setting) else np.maximum(iterations, 1.0)
    busy = np.minimum(asked, 1.0)
    # Behind one barrier the iterations of every rank are each request's.
    beside = np.maximum(running * attention_ranks(setting) * busy, 1.0)
    under_way = np.where(beside > 1.0, (1.0 + ahead) * request_s / count, 0.0)
    times, prompt_s = _prompt_iterations(setting, p, iterations, busy)
    load = np.minimum(times * prompt_s / request_s * (1.0 - 1.0 / beside), 0.95)
    queue = load * prompt_s / (2.0 - 2.0 * load)
    frontend = host.frontend_s + host.frontend_token_s * isl
    steady = frontend + under_way + queue + prompt_s
    first = frontend + running * full_s / 2.0 + p.step_s + host.first_round_s
    waiting = np.maximum(asked - running, 0.0) * request_s
    return (1.0 - FIRST_ROUND) * steady + FIRST_ROUND * first + waiting
