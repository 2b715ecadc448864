"""A fleet's day at request level: one group of units, which is what every other group is, through the whole day.

A router spreads requests evenly, so a group of k sees 1/k of the arrivals at any time. Each hour of the day is
played for ``hour_s`` seconds at its real rate; a repeat with another seed and half that length says how far that may
be off.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from costsim.errors import BadOption, OutOfRange
from costsim.predict.engine import engine_for
from costsim.predict.fleet import FleetDay
from costsim.predict.fleet_units import UnitKind
from costsim.predict.phases import setting_for
from costsim.serving.engine import Engine
from costsim.serving.outcome import Outcome
from costsim.serving.policy import Policy
from costsim.serving.request import MAX_REQUESTS, Requests
from costsim.serving.simulation import Deployment, Pool, simulate
from costsim.serving.timer import ConstantTimer
from costsim.spec.catalog import load_model
from costsim.spec.fleet import FleetLoad
from costsim.spec.plan import ServingPlan
from costsim.timing.device import worst

#: tokens of a block of the on-disk context cache [deepseek-open-infra-day6]
CACHE_BLOCK = 64
#: longest context, prompt and answer together, that the service took at the time [deepseek-api-pricing]
CONTEXT_WINDOW = 65_536

Tokens = NDArray[np.int64]


@dataclass(frozen=True)
class PlayedDay:
    """Latencies of the sampled requests and what one group did; ``error``: relative difference to another
    seed with hours half as long."""

    requests: int
    metrics: dict[str, float]
    error: dict[str, float]
    elapsed_cpu_s: float
    note: str
    grade: str


def lengths_of(load: FleetLoad, count: int, rng: np.random.Generator) -> tuple[Tokens, Tokens]:
    """(isl, osl) of ``count`` requests: exponential and independent, with the day's two known means.

    E[isl]/E[osl] = input/output tokens, and the mean KV length of an output token, E[osl·(isl + osl/2)]/E[osl], is
    E[isl] + E[osl] for exponential lengths. Nobody has published how the day's lengths spread: an assumption.
    """
    ratio = load.input_tokens / load.output_tokens
    osl = load.context / (ratio + 1.0)
    draw = [np.ceil(rng.exponential(mean, count)).astype(np.int64) for mean in (ratio * osl, osl)]
    return np.minimum(draw[0], CONTEXT_WINDOW // 2), np.minimum(draw[1], CONTEXT_WINDOW // 2)


def group_requests(day: FleetDay, groups: NDArray[np.float64], hour_s: float, seed: int) -> Requests:
    """Poisson arrivals at one group, at the rate of each step of the day, each hour played for ``hour_s``."""
    rng = np.random.default_rng(seed)
    step_s = 24.0 * hour_s / len(groups)
    load = day.fleet.load
    rate = day.demand["decode"] / groups * (load.input_tokens / load.output_tokens + 1.0) / load.context
    counts = rng.poisson(rate * step_s)
    if counts.sum() > MAX_REQUESTS or counts.sum() < 1:
        raise OutOfRange(f"about {counts.sum():,} requests: play each hour for a shorter or longer time")
    arrival = np.sort(np.repeat(np.arange(len(groups)), counts) * step_s + rng.random(counts.sum()) * step_s)
    isl, osl = lengths_of(load, int(counts.sum()), rng)
    hit = np.round(load.cached_tokens / load.input_tokens * isl / CACHE_BLOCK).astype(int)
    return Requests(arrival - arrival[0], isl, osl, [range(n) for n in hit.tolist()], CACHE_BLOCK)


def play(
    day: FleetDay, hour_s: float = 30.0, seed: int = 0, progress: Callable[[int, int], None] | None = None
) -> PlayedDay:
    """Run the day twice, with different seeds and lengths.

    Raises BadInput for a mixed fleet, whose units are not all alike, and for hours too short or too long.
    """
    if day.mixed:
        raise BadOption("request level: the day as it was is needed; leave --mix, --cache and the night out")
    if not 5.0 <= hour_s <= 3600.0:
        raise OutOfRange(f"hour_s = {hour_s:g}: each hour is played for 5 to 3600 seconds")
    began = time.process_time()
    prefill, decode = day.kinds["prefill"][0], day.kinds["decode"][0]
    groups = day.units["decode"][:, 0] / decode.unit.per_group
    deployment = _group(day, prefill, decode)
    # A shorter play with another seed: what the sample and the shortened hours may be off by, together.
    runs = []
    for number, length in ((seed, hour_s), (seed + 1, hour_s / 2.0)):
        outcome = simulate(deployment, group_requests(day, groups, length, number), None, progress)
        runs.append((outcome, _figures(outcome, decode, prefill, groups, length)))
    (first, mid), (_, other) = runs
    error = {name: abs(other[name] / value - 1.0) if value else math.nan for name, value in mid.items()}
    grades = [kind.report.metrics["tokens_per_s_per_gpu"].grade for kind in (prefill, decode)]
    note = (
        f"request level: one group of the fleet, {len(first.isl):,} requests, every hour played for {hour_s:g} s; "
        "exponential lengths with the day's own means; Poisson arrivals; the cached share of every prompt is found; "
        "prefill units by their rate"
    )
    return PlayedDay(len(first.isl), mid, error, time.process_time() - began, note, worst(grades))


def _group(day: FleetDay, prefill: UnitKind, decode: UnitKind) -> Deployment:
    """One group of the fleet: its decode units rank by rank, its prefill units by their rate.

    Decode runs at its kernels' own rate: uneven ranks, batches that are not full and waiting for memory, which a
    share kept in production stands for elsewhere, are played here. A prefill unit is a queue that computes its
    capacity in steps of all its cards' tokens: how prompts of very different lengths fall on its ranks depends on
    lengths that nobody has published. Spare units help every group. The operator's decode load balancer keeps KV usage
    even between cards [deepseek-open-infra-day6].
    """
    unit = decode.unit
    plan = ServingPlan(
        unit.gpus, tp=unit.tp, ep=unit.ep, precision=unit.precision, kv_dtype=unit.kv_dtype,
        overlap=unit.overlap, redundant_experts=unit.redundant_experts,  # type: ignore[arg-type]
    )  # fmt: skip
    setting = setting_for(load_model(day.fleet.model), decode.chip, plan)
    engine = engine_for(setting, Policy(block=CACHE_BLOCK, reserve=0.5, spread="kv"), "decode")
    engines = float(day.units["prefill"].sum()) / float(day.units["decode"].sum()) * unit.per_group
    step = prefill.unit.gpus * prefill.unit.tokens_per_gpu
    queue = Engine(
        ConstantTimer(0.0, prefill.unit.per_group / engines / prefill.capacity()),
        Policy(token_budget=step, max_running=1_000_000, block=CACHE_BLOCK), kv_tokens=10**12, role="prefill",
    )  # fmt: skip
    return Deployment((Pool(queue, prefill.unit.per_group, prefix_cache=True), Pool(engine, unit.per_group)))


def _figures(
    outcome: Outcome, decode: UnitKind, prefill: UnitKind, groups: NDArray[np.float64], hour_s: float
) -> dict[str, float]:
    """What users saw, and what the group's nodes did in the time that was played."""
    done = outcome.finished & (outcome.osl > 1)
    tpot, weight = outcome.tpot_s[done], outcome.osl[done]
    span = 24.0 * hour_s
    # A group stands for k of them: its tokens weigh k-fold.
    step = np.minimum((outcome.arrival_s / span * len(groups)).astype(int), len(groups) - 1)
    k = groups[step][outcome.finished]
    made, read = float(outcome.osl[outcome.finished] @ k), float(outcome.isl[outcome.finished] @ k)
    alive = float(np.sum((outcome.finish_s - outcome.first_s)[done]))
    nodes = {"decode": decode.nodes * decode.unit.per_group, "prefill": prefill.nodes * prefill.unit.per_group}
    out = {
        "tokens_per_s_per_user": float(weight.sum() / np.sum(tpot * weight)),
        "ttft_p50_s": float(np.quantile(outcome.ttft_s[outcome.finished], 0.5)),
        "ttft_p99_s": float(np.quantile(outcome.ttft_s[outcome.finished], 0.99)),
        "tpot_p50_s": float(np.quantile(tpot, 0.5)), "tpot_p99_s": float(np.quantile(tpot, 0.99)),
        "requests_per_decode_gpu": alive / span / (decode.unit.gpus * decode.unit.per_group),
        "cached_share": float(outcome.cached[outcome.finished].sum() / outcome.isl[outcome.finished].sum()),
        "kv_tokens_per_output_token": float(np.sum((outcome.isl + outcome.osl / 2)[done] * weight) / weight.sum()),
        "finished_share": float(outcome.finished.mean()),
    }  # fmt: skip
    out["decode_tokens_per_s_per_node"] = made / span / float(groups.mean()) / nodes["decode"]
    out["input_over_output_tokens"] = read / made
    return out
