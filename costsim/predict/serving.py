"""Serving as events: a closed loop simulated request by request on the step tables of a deployment.

What a benchmark client sees: times to the first and between tokens, throughput, and their spread. The steady-state
closed form of :func:`costsim.predict.steady.serve` answers sweeps; it is tested against this.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from costsim.errors import Contradiction, DoesNotFit
from costsim.num import Num
from costsim.predict.engine import engine_for, policy_for, ranks_of
from costsim.predict.handover import handover
from costsim.predict.phases import Setting
from costsim.serving.arrivals import SPREAD, SPREAD_RATIO, closed_loop
from costsim.serving.outcome import Outcome
from costsim.serving.simulation import Deployment, Pool, at_once, simulate
from costsim.spec.plan import Disaggregated, PoolPlan, ServingLoad

#: benchmark clients send ten requests for each in flight; a long run is simulated in part and its start weighted so
ROUNDS, FEWEST_ROUNDS = 10, 3
MOST_REQUESTS = 6000
SEED = 0

Metrics = dict[str, tuple[Num, str]]


@dataclass(frozen=True)
class Served:
    """A simulated closed loop: the outcome, how many cards made it, and how late a cold server answers at first."""

    outcome: Outcome
    concurrency: int
    gpus: float
    first_round_s: float = 0.0

    @property
    def weights(self) -> Any:
        """Weight of each request: those sent at the start count as one round of ROUNDS, however many were simulated."""
        n = len(self.outcome.isl)
        first = np.arange(n) < self.concurrency
        rest = max(n - self.concurrency, 0)
        return np.where(first, 1.0 / self.concurrency, (ROUNDS - 1.0) / max(rest, 1))

    def mean(self, values: Any) -> float:
        """Weighted mean over requests that have a value."""
        good = np.isfinite(values)
        weights = self.weights[good]
        return float(np.sum(values[good] * weights) / np.sum(weights)) if weights.size else float("nan")

    @property
    def output_tokens_per_s(self) -> float:
        """Output tokens of the whole loop over its duration: B tokens every TPOT while each request also waits TTFT."""
        o = self.outcome
        done = float(np.sum(o.osl[o.finished]))
        return done / o.end_s if o.end_s > 0 else 0.0

    def metrics(self) -> Metrics:
        """What a benchmark client reports; means, and quantiles where the spread matters."""
        o = self.outcome
        itl = o.itl_s([0.5, 0.99])
        ttft = o.ttft_s[np.isfinite(o.ttft_s)]
        out: Metrics = {
            "ttft_s": (self.mean(o.ttft_s) + self.first_round_s / ROUNDS, "s"),
            "tpot_s": (self.mean(o.tpot_s), "s"),
            "output_tokens_per_s_per_gpu": (self.output_tokens_per_s / self.gpus, "token/s"),
            "e2e_s": (self.mean(o.e2e_s), "s"),
        }
        if ttft.size:
            out["ttft_p50_s"], out["ttft_p99_s"] = ((float(np.quantile(ttft, q)), "s") for q in (0.5, 0.99))
        if np.all(np.isfinite(itl)):
            out["itl_p50_s"], out["itl_p99_s"] = ((float(v), "s") for v in itl)
        return out


def replica_gpus(setting: Setting) -> float:
    """Cards of one replica: pipeline stages of the ranks that share one set of experts."""
    return float(np.max(setting.layout.tp * setting.layout.pp)) * ranks_of(setting) / setting.chip.dies


def serve_events(setting: Setting, load: ServingLoad) -> Served:
    """The closed loop on one pool of equal replicas behind a router that picks the least loaded."""
    gpus = float(np.max(setting.plan.gpus))
    each = replica_gpus(setting)
    replicas = round(gpus / each)
    if replicas < 1:
        raise Contradiction(f"gpus = {gpus:g}: one replica of this plan takes {each:g}")
    policy = policy_for(setting.framework, float(load.isl), float(load.concurrency))
    engine = engine_for(setting, policy, "both", float(load.mtp_tokens), float(load.mtp_acceptance))
    return _run(Deployment((Pool(engine, replicas),), frontend_s=frontend(setting)), load, gpus, setting)


def serve_disaggregated(prefill: Setting, decode: Setting, pools: Disaggregated, load: ServingLoad) -> Served:
    """The closed loop on a prefill and a decode pool; each prompt's KV crosses the network between them."""
    parts = []
    for setting, pool, role in ((prefill, pools.prefill, "prefill"), (decode, pools.decode, "decode")):
        policy = policy_for(setting.framework, float(load.isl), float(load.concurrency), _batch(pool, role, load))
        drafts = (float(load.mtp_tokens), float(load.mtp_acceptance)) if role == "decode" else (0.0, 0.0)
        replicas = pool.workers * round(float(np.max(pool.plan.gpus)) / replica_gpus(setting))
        if replicas < 1:
            raise Contradiction(f"{role} gpus = {pool.plan.gpus:g}: one replica takes {replica_gpus(setting):g}")
        parts.append(Pool(engine_for(setting, policy, role, *drafts), replicas))
    deployment = Deployment(tuple(parts), transfer_s=handover(prefill, decode), frontend_s=frontend(prefill))
    return _run(deployment, load, pools.gpus, prefill)


def _batch(pool: PoolPlan, role: str, _load: ServingLoad) -> int:
    """Requests at once on a rank: the decode batch is a limit; a prefill worker's prompts are limited by tokens."""
    return int(pool.batch) if role == "decode" else 0


def _run(deployment: Deployment, load: ServingLoad, gpus: float, setting: Setting) -> Served:
    concurrency = max(round(float(load.concurrency)), 1)
    rounds = int(np.clip(MOST_REQUESTS // concurrency, FEWEST_ROUNDS, ROUNDS))
    longest, ratio = (1.0, float(load.length_ratio)) if load.length_ratio is not None else (1.0 + SPREAD, SPREAD_RATIO)
    isl = max(round((float(load.isl) - float(load.cached)) * longest), 1)
    osl = max(round(float(load.osl) * longest), 1)
    requests = closed_loop(rounds * concurrency, isl, osl, ratio, SEED)
    outcome = simulate(deployment, requests, concurrency)
    if not bool(np.any(outcome.finished)):
        raise DoesNotFit(f"isl + osl = {isl + float(load.osl):g}: no request fits into the KV cache of one replica")
    late = setting.framework.host.first_round_s if setting.framework is not None else 0.0
    return Served(outcome, concurrency, gpus, late)


def frontend(setting: Setting) -> Any:
    """Seconds that the engine's one process in front takes for a prompt of so many tokens."""
    if setting.framework is None:
        return at_once
    host = setting.framework.host
    return lambda tokens: host.frontend_s + host.frontend_token_s * tokens
