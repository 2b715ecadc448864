"""Confirm deployments of the closed form by simulation: arrivals and queues as they come, more units where needed."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np

from costsim.errors import BadInput
from costsim.explore.deployments import Deployed
from costsim.explore.units import Demand, Unit
from costsim.predict.counted import AUTO
from costsim.predict.report import Metric
from costsim.predict.service import Service
from costsim.predict.simulation import Simulated, latencies, predict_simulation
from costsim.serving.arrivals import SPREAD_RATIO, longest, open_loop
from costsim.serving.policy import Policy
from costsim.serving.request import Requests
from costsim.spec.catalog import load_accelerator
from costsim.spec.model import ModelSpec
from costsim.spec.plan import ServingPlan

#: requests of one run; a larger deployment is simulated as one of its equal slices
MAX_REQUESTS = 6_000
#: share of requests that must meet both targets
ATTAINMENT = 0.9
#: what is shown with its band for the deployment that is chosen
BANDED = ("ttft_p50_s", "ttft_p90_s", "tpot_p50_s", "tpot_p90_s", "output_tokens_per_s_per_gpu")
_JUDGED = ("ttft", "tpot")
#: tokens of a block of the prefix cache
CACHE_BLOCK = 64
#: times that units are added before a deployment is given up
MAX_ROUNDS = 12
#: difference of two factors on step times that is none
SAME_PACE = 0.01


@dataclass(frozen=True)
class Confirmed:
    """``deployed`` with as many units as the simulator needed; ``metrics``: what it saw, per slice of 1/``slices``;
    ``refused``: why it could not be simulated at all; ``banded``: latencies with P10, P90 and grade, of the first.
    ``pace``: step times over those predicted in this run; ``slow``: those of P90."""

    planned: Deployed
    deployed: Deployed
    attained: float
    metrics: dict[str, float]
    slices: int
    requests: int
    refused: str = ""
    banded: Mapping[str, Metric] = field(default_factory=dict)
    pace: float = 1.0
    slow: float = 1.0

    @property
    def met(self) -> bool:
        return self.attained >= ATTAINMENT


@dataclass(frozen=True)
class Wanted:
    """What a deployment is confirmed for: the load, the targets, the most cards, and ``paces``: step times of each
    accelerator at P90 of their band over those predicted, as a first guess; None for the prediction itself."""

    model: ModelSpec
    demand: Demand
    ttft_s: float = math.inf
    tpot_s: float = math.inf
    max_gpus: float | None = None
    seed: int = 0
    paces: Mapping[str, float] | None = None

    def pace(self, deployed: Deployed) -> float:
        return 1.0 if self.paces is None else max(self.paces.get(unit.accelerator, 1.0) for unit in deployed.units)


def confirm(
    chosen: Sequence[Deployed],
    wanted: Wanted,
    count: int | None = None,
    progress: Callable[[str], None] | None = None,
) -> list[Confirmed]:
    """Simulate each deployment under Poisson arrivals; add units where fewer than ATTAINMENT of requests meet the
    targets. Stops after ``count`` that do. Cheapest first, those that never meet them last."""
    done: list[Confirmed] = []
    for number, deployed in enumerate(chosen, start=1):
        if count is not None and sum(one.met for one in done) >= count:
            break
        if progress is not None:
            progress(f"simulating {number}{' at P90' if wanted.paces else ''}")
        done.append(_confirm(deployed, wanted))
    done.sort(key=lambda one: (not one.met, one.deployed.usd_per_h))
    if done and done[0].met and wanted.paces is None:
        _, run = _run(done[0].deployed, wanted, bands=True)
        done[0] = replace(done[0], banded={name: run.report.metrics[name] for name in BANDED})
    return done


def _confirm(planned: Deployed, wanted: Wanted) -> Confirmed:
    now, pace = planned, wanted.pace(planned)
    for _ in range(MAX_ROUNDS):
        result = _simulate(planned, now, wanted, pace)
        if wanted.paces is not None and abs(result.slow / pace - 1.0) > SAME_PACE and not result.refused:
            pace = result.slow  # the band at what this deployment in fact runs
            continue
        if result.met or result.refused:
            break
        late = result.metrics["ttft_p90_s"] > wanted.ttft_s
        slow = result.metrics["tpot_p90_s"] > wanted.tpot_s
        # TTFT is made by the first pool; TPOT, and queues before decode, by the last.
        grown = [
            _grown(unit) if len(now.units) == 1 or (late and i == 0) or (slow and i == 1) else unit
            for i, unit in enumerate(now.units)
        ]
        larger = replace(now, units=tuple(grown))
        if larger == now or (wanted.max_gpus is not None and larger.gpus > wanted.max_gpus):
            break
        now = larger
    return result


def _grown(unit: Unit) -> Unit:
    """A tenth more units, at least one."""
    count = unit.count + max(1, math.ceil(unit.count * 0.1))
    return replace(unit, count=count, usd_per_h=unit.usd_per_h / unit.count * count)


def _simulate(planned: Deployed, now: Deployed, wanted: Wanted, pace: float) -> Confirmed:
    """One run, judged."""
    slices = _slices(now, wanted.demand)
    try:
        count, run = _run(now, wanted, pace)
    except BadInput as error:
        nothing = {"ttft_p90_s": math.inf, "tpot_p90_s": math.inf}
        return Confirmed(planned, now, 0.0, nothing, slices, 0, str(error))
    outcome, among = run.outcome, run.window.among
    if not run.window.steady:  # where more comes than is let through, it gets worse: the later half is judged
        among = np.arange(count) >= count // 2
    seen = latencies(outcome, among)
    metrics = {f"{name}_p{q}_s": float(np.nan_to_num(seen[f"{name}_p{q}_s"])) for name in _JUDGED for q in (50, 90)}
    metrics["busy_share"] = run.report["busy_share"]
    good = outcome.good(wanted.ttft_s, wanted.tpot_s)[among]
    return Confirmed(planned, now, float(np.mean(good)), metrics, slices, count, pace=pace, slow=run.band[1])


def _cached(requests: Requests, demand: Demand) -> Requests:
    """The same requests, the demand's share of every prompt being a prefix that all of them know."""
    if demand.cached <= 0:
        return requests
    known = np.round(demand.cached / demand.isl * requests.isl / CACHE_BLOCK).astype(int)
    return replace(requests, blocks=[range(n) for n in known.tolist()], block_tokens=CACHE_BLOCK)


def _run(now: Deployed, wanted: Wanted, pace: float = 1.0, bands: bool = False) -> tuple[int, Simulated]:
    """(requests, the simulation) of a slice that holds a whole number of every unit, or nearly so."""
    demand = wanted.demand
    slices = _slices(now, demand)
    rate = demand.requests_per_s / slices
    plans = [plan_of(unit.plan, max(1, round(unit.count / slices))) for unit in now.units]
    # A slice of rounded pools would not have its share of cards: the arrivals follow the tighter pool.
    rate *= min(max(1, round(u.count / slices)) * slices / u.count for u in now.units)
    count = int(min(max(200.0, 12.0 * rate * demand.osl * now.tpot_s), MAX_REQUESTS))
    requests = _cached(
        open_loop(count, rate, longest(demand.isl), longest(demand.osl), SPREAD_RATIO, 1.0, wanted.seed), demand
    )
    last = now.units[-1]
    service = Service(
        policy=Policy(max_running=running_of(last), token_budget=budget_of(now.units[0])),
        ttft_s=wanted.ttft_s, tpot_s=wanted.tpot_s,
        prefix_cache=demand.cached > 0, prefill=plans[0] if len(plans) > 1 else None,
        mtp_tokens=float(last.plan.get("mtp_tokens", 0)), mtp_acceptance=float(last.plan.get("mtp_acceptance", 0)),
    )  # fmt: skip
    chip, first = load_accelerator(last.accelerator), load_accelerator(now.units[0].accelerator)
    if len(plans) > 1 and first.id != chip.id:
        service = replace(service, prefill_chip=first)
    return count, predict_simulation(
        wanted.model, chip, plans[-1], requests, service, bands=bands, warmup=AUTO, pace=pace
    )


def _slices(now: Deployed, demand: Demand) -> int:
    """Equal parts so that each needs at most MAX_REQUESTS for a dozen answers' time."""
    needed = 12.0 * demand.requests_per_s * demand.osl * now.tpot_s
    most = min(unit.count for unit in now.units)
    return int(min(max(1, math.ceil(needed / MAX_REQUESTS)), most))


def running_of(unit: Unit) -> int:
    """Requests that decode on one attention rank: what the unit was planned with, and room for bursts."""
    plan = unit.plan
    cards = float(plan["gpus"])
    asked = float(plan.get("concurrency", float(plan.get("batch_per_gpu", 64)) * cards))
    dies = load_accelerator(unit.accelerator).dies
    ranks = max(cards * dies / (float(plan.get("tp", 1)) * float(plan.get("pp", 1))), 1.0)
    return max(4, math.ceil(1.3 * asked / ranks))


def budget_of(unit: Unit) -> int:
    """Prompt tokens of a step on one attention rank: what a prefill unit was planned with, else an engine's usual."""
    if "tokens_per_gpu" not in unit.plan:
        return 8192
    dies = load_accelerator(unit.accelerator).dies
    return max(512, round(float(unit.plan["tokens_per_gpu"]) * float(unit.plan.get("tp", 1)) / dies))


def plan_of(plan: dict[str, Any], count: int = 1) -> ServingPlan:
    """The plan keys of a found unit as a ServingPlan of ``count`` such units."""
    names = {f.name for f in fields(ServingPlan)}
    values = {name: value for name, value in plan.items() if name in names}
    return ServingPlan(**{**values, "gpus": values["gpus"] * count})
