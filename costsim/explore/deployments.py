"""Deployments for a load under targets: closed form over every unit of a grid, then the best few simulated.

A deployment is a number of equal units that do both phases, or prefill units and decode units. Its cost is the sum
over its units, TTFT depends on the prefill units and TPOT on the decode units, so the cheapest of all pairs is the
cheapest of each: no pair is looped over.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from costsim.errors import BadInput
from costsim.explore.grid import Block, Values, blocks
from costsim.explore.pareto import pareto
from costsim.predict.layout import Rule
from costsim.predict.phases import KV_SHARE, decode, prefill, setting_for
from costsim.predict.steady import serve
from costsim.spec.accelerator import Accelerator
from costsim.spec.model import ModelSpec
from costsim.spec.plan import DecodeLoad, PrefillLoad, ServingLoad, ServingPlan
from costsim.spec.price import Price, default_rate, in_usd
from costsim.units import MEGA

Array = NDArray[np.float64]
ROLES = ("both", "prefill", "decode")
_LOADS: dict[str, type[Any]] = {"both": ServingLoad, "prefill": PrefillLoad, "decode": DecodeLoad}
#: units of one accelerator and role that are kept, beside the cheapest
KEEP = 64


@dataclass(frozen=True)
class Demand:
    """Requests per second and their mean lengths; ``cached`` prompt tokens of each are found in a prefix cache."""

    requests_per_s: float
    isl: float
    osl: float
    cached: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.requests_per_s < 1e9:
            raise BadInput(f"load: {self.requests_per_s:g} requests a second; must be above zero")
        if self.isl < 1 or self.osl < 1 or not 0 <= self.cached < self.isl:
            raise BadInput("load: isl and osl must be at least 1, and cached less than isl")


@dataclass(frozen=True)
class Unit:
    """One replica: its plan and load keys, cards, price, and what ``count`` of them do under the demand."""

    role: str
    accelerator: str
    plan: dict[str, Any]
    count: int
    requests_per_s: float
    latency_s: float
    usd_per_h: float

    @property
    def gpus(self) -> int:
        return int(self.plan["gpus"]) * self.count

    def json(self) -> dict[str, Any]:
        return {
            "role": self.role, "accelerator": self.accelerator, "plan": self.plan, "count": self.count,
            "gpus": self.gpus, "requests_per_s_each": self.requests_per_s, "usd_per_h": self.usd_per_h,
        }  # fmt: skip


@dataclass(frozen=True)
class Deployed:
    """Units that carry the demand together, prefill first; ``usd_per_h`` of all of them."""

    units: tuple[Unit, ...]
    ttft_s: float
    tpot_s: float

    @property
    def usd_per_h(self) -> float:
        return sum(unit.usd_per_h for unit in self.units)

    @property
    def gpus(self) -> int:
        return sum(unit.gpus for unit in self.units)

    def metrics(self, demand: Demand) -> dict[str, float]:
        """Latencies, cost and rates under the demand."""
        tokens_per_s = demand.requests_per_s * demand.osl
        return {
            "usd_per_h": self.usd_per_h, "gpus": float(self.gpus), "ttft_s": self.ttft_s, "tpot_s": self.tpot_s,
            "usd_per_mtok_output": self.usd_per_h / 3600.0 / tokens_per_s * MEGA,
            "tokens_per_s_per_gpu": tokens_per_s / self.gpus,
        }  # fmt: skip


@dataclass
class _Tally:
    evaluated: int = 0
    feasible: int = 0
    rejected: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class DeploymentSearch:
    """``frontier``: TPOT against cost, fastest first; ``why_not``: for every accelerator and way, what it would cost
    or why it cannot; ``units``: cheapest feasible units of each (accelerator, role)."""

    evaluated: int
    feasible: int
    rejected: dict[str, int]
    frontier: tuple[Deployed, ...]
    cheapest: Deployed | None
    fastest: Deployed | None
    why_not: tuple[dict[str, Any], ...]


def search_deployments(
    model: ModelSpec,
    chips: Sequence[Accelerator],
    demand: Demand,
    grid: Mapping[str, Values],
    *,
    ttft_s: float | None = None,
    tpot_s: float | None = None,
    headroom: float = 0.85,
    max_gpus: float | None = None,
    prices: Mapping[str, Price] | None = None,
    progress: Callable[[str], None] | None = None,
) -> DeploymentSearch:
    """Every unit of ``grid`` (plan keys, ``concurrency``, ``batch_per_gpu``, ``tokens_per_gpu``) in every role.

    ``headroom``: share of a unit's closed-form rate that is planned for; what queues need beyond that, the simulator
    says. Raises BadInput where no accelerator has a price or a number format of the grid.
    """
    if not 0 < headroom <= 1:
        raise BadInput(f"headroom {headroom:g}: must be above 0 and at most 1")
    tally, ways, why = _Tally(), [], []
    for chip in chips:
        if progress is not None:
            progress(chip.id)
        rate = (prices or {}).get(chip.id) or default_rate(chip)
        if rate is None:
            why.append({"accelerator": chip.id, "way": "any", "reason": "no hourly price is known; pass --price"})
            continue
        found: dict[str, list[Unit]] = {}
        reasons: dict[str, str] = {}
        own = grid if "precision" in grid else {**grid, "precision": [_narrowest(chip)]}
        for role in ROLES:
            before = Counter(tally.rejected)
            try:
                found[role] = _units(model, chip, role, demand, own, (ttft_s, tpot_s), headroom, in_usd(rate), tally)
            except BadInput as error:
                found[role], reasons[role] = [], str(error)
                continue
            lost = (tally.rejected - before).most_common(1)
            reasons[role] = f"no unit is feasible; most fell out because: {lost[0][0]}" if lost else "no unit fits"
        ways += _ways(chip.id, found, reasons, why)
    if max_gpus is not None:
        ways = [way for way in ways if way.gpus <= max_gpus]
    return _result(tally, ways, why)


def _narrowest(chip: Accelerator) -> str:
    """The format that the chip multiplies fastest in."""
    return next((dtype for dtype in ("fp8", "int8", "bf16") if chip.known(dtype)), "bf16")


def _result(tally: _Tally, ways: list[Deployed], why: list[dict[str, Any]]) -> DeploymentSearch:
    rejected = dict(tally.rejected.most_common())
    if not ways:
        return DeploymentSearch(tally.evaluated, tally.feasible, rejected, (), None, None, tuple(why))
    cost = np.array([way.usd_per_h for way in ways])
    tpot = np.array([way.tpot_s for way in ways])
    front = tuple(ways[i] for i in pareto(tpot, cost))
    cheapest = ways[int(np.argmin(cost))]
    best: dict[tuple[str, str], Deployed] = {}
    for way in ways:
        key = (way.units[0].accelerator, "pools" if len(way.units) > 1 else "together")
        if key not in best or way.usd_per_h < best[key].usd_per_h:
            best[key] = way
    for (chip, kind), way in best.items():
        if way is not cheapest:
            more = way.usd_per_h / cheapest.usd_per_h
            reason = f"costs {more:.2f} times the cheapest" if more > 1.0005 else "costs the same"
            why.append({"accelerator": chip, "way": kind, "reason": reason, "usd_per_h": way.usd_per_h})
    return DeploymentSearch(
        tally.evaluated, tally.feasible, rejected, front, cheapest, min(ways, key=lambda way: way.tpot_s), tuple(why)
    )


def _ways(
    chip: str, found: Mapping[str, list[Unit]], reasons: Mapping[str, str], why: list[dict[str, Any]]
) -> list[Deployed]:
    """Both phases together, and pools: the cheapest prefill units with every decode unit worth having."""
    ways = [Deployed((unit,), unit.latency_s, float(unit.plan["tpot_s"])) for unit in found["both"]]
    if not found["both"]:
        why.append({"accelerator": chip, "way": "together", "reason": reasons["both"]})
    if found["prefill"] and found["decode"]:
        first = min(found["prefill"], key=lambda unit: unit.usd_per_h)
        ways += [Deployed((first, unit), first.latency_s + unit.latency_s, unit.latency_s) for unit in found["decode"]]
    else:
        role = "prefill" if not found["prefill"] else "decode"
        why.append({"accelerator": chip, "way": "pools", "reason": f"{role}: {reasons[role]}"})
    return [
        Deployed(tuple(_plain_unit(unit) for unit in way.units), way.ttft_s, way.tpot_s) for way in ways
    ]  # fmt: skip


def _plain_unit(unit: Unit) -> Unit:
    """The unit without the latency that travelled with its plan."""
    plan = {name: value for name, value in unit.plan.items() if name != "tpot_s"}
    return Unit(unit.role, unit.accelerator, plan, unit.count, unit.requests_per_s, unit.latency_s, unit.usd_per_h)


#: load keys of each role that the demand sets, and the grid keys that it has beside the plan's
_OWN = {"both": "concurrency", "prefill": "tokens_per_gpu", "decode": "batch_per_gpu"}
_PLAN_ONLY = ("concurrency", "tokens_per_gpu", "batch_per_gpu")


def _role_grid(role: str, demand: Demand, grid: Mapping[str, Values]) -> dict[str, Values]:
    """The plan keys with this role's own load."""
    out: dict[str, Values] = {name: values for name, values in grid.items() if name not in _PLAN_ONLY}
    out[_OWN[role]] = grid[_OWN[role]]
    if role == "decode":
        out["context"] = [demand.isl + demand.osl / 2.0]
    else:
        out |= {"isl": [demand.isl], "cached": [demand.cached]}
    if role == "both":
        out["osl"] = [demand.osl]
    if role == "prefill":
        out = {name: values for name, values in out.items() if not name.startswith("mtp_")}
    return out


def _units(
    model: ModelSpec, chip: Accelerator, role: str, demand: Demand, grid: Mapping[str, Values],
    targets: tuple[float | None, float | None], headroom: float, usd_per_gpu_h: float, tally: _Tally,
) -> list[Unit]:  # fmt: skip
    """Units of one role on one accelerator that nothing beats in both cost and latency."""
    kept: list[Unit] = []
    for block in blocks(_role_grid(role, demand, grid)):
        with np.errstate(all="ignore"):
            metrics, rules, fits = _evaluate(block, model, chip, role)
            good = np.ones(block.shape, dtype=bool)
            reasons = [(rule.reason, rule.broken) for rule in rules] + [("does not fit in memory", ~np.asarray(fits))]
            # Engines give what they use a share of the memory; the driver's reserve lies in the rest.
            over = np.asarray(metrics["used_bytes"]) > KV_SHARE * chip.rank().need("memory")
            reasons.append(("does not fit in memory", over))
            reasons.append(("holds several replicas: a smaller unit does the same", _larger(block, model, chip)))
            rate, ttft, tpot = _rates(role, block, metrics, demand, headroom)
            for name, value, target in (("ttft_s", ttft, targets[0]), ("tpot_s", tpot, targets[1])):
                if target is not None and value is not None:
                    reasons.append((f"misses the {name} target", value > target))
            for reason, broken in reasons:
                out = good & np.broadcast_to(broken, block.shape)
                if out.any():
                    tally.rejected[reason] += int(out.sum())
                    good &= ~out
        tally.evaluated += block.size
        tally.feasible += int(good.sum())
        kept += _best_units(role, chip, block, good, (rate, ttft, tpot), demand, headroom, usd_per_gpu_h)
    latency = np.array([float(unit.plan.get("tpot_s", unit.latency_s)) for unit in kept])
    cost = np.array([unit.usd_per_h for unit in kept])
    return [kept[i] for i in pareto(latency, cost)[-KEEP:]] if kept else []


def _evaluate(block: Block, model: ModelSpec, chip: Accelerator, role: str) -> tuple[dict[str, Any], list[Rule], Any]:
    """Metrics of every plan of the block in this role, the rules it may break, and where it fits in memory."""
    both: dict[str, Any] = {**block.words, **block.numbers}
    plan = ServingPlan(**{f.name: both[f.name] for f in fields(ServingPlan) if f.name in both})
    load: Any = _LOADS[role](**{f.name: both[f.name] for f in fields(_LOADS[role]) if f.name in both})
    setting = setting_for(model, chip, plan)
    if role == "both":
        blend = serve(setting, load, strict=False)
        metrics: dict[str, Any] = {name: value for name, (value, _) in blend.metrics.items()}
        metrics["tokens_per_s_per_gpu"] = metrics["output_tokens_per_s_per_gpu"]
        metrics["memory_bytes"] = blend.decode.memory.total_bytes
        metrics["used_bytes"] = blend.decode.memory.total_bytes - blend.decode.memory.reserve_bytes
        return metrics, blend.rules, blend.decode.memory.fits
    answer = prefill(setting, load, strict=False) if role == "prefill" else decode(setting, load, strict=False)
    metrics = {name: value for name, (value, _) in answer.metrics.items()}
    metrics["memory_bytes"] = answer.memory.total_bytes
    metrics["used_bytes"] = answer.memory.total_bytes - answer.memory.reserve_bytes
    return metrics, answer.rules, answer.memory.fits


def _larger(block: Block, model: ModelSpec, chip: Accelerator) -> Any:
    """Plans with more cards than the ranks that share a set of experts, or than one tensor-parallel group."""

    def axis(name: str) -> Any:
        return block.numbers.get(name, np.ones(1))

    ranks = axis("tp") * axis("pp")
    if model.moe is not None:
        width = block.numbers.get("moe_tp", np.maximum(axis("tp") / axis("ep"), 1.0))
        ranks = np.maximum(axis("tp"), axis("ep") * width) * axis("pp")
    return axis("gpus") * chip.dies > ranks


def _rates(
    role: str, block: Block, metrics: Mapping[str, Array], demand: Demand, headroom: float
) -> tuple[Any, Any, Any]:
    """(requests per second of a unit, TTFT, TPOT); None for a latency that the role does not set.

    Prefill: the prompt's own steps, the half step under way and the wait of an M/D/1 queue at ``headroom``:
    ρ/(2(1 − ρ)) steps. Decode adds its first step.
    """
    rate = metrics["tokens_per_s_per_gpu"] * block.numbers["gpus"]
    if role == "prefill":
        wait = 0.5 + (headroom / (2.0 * (1.0 - headroom)) if headroom < 1 else np.inf)
        return rate / (demand.isl - demand.cached), metrics["ttft_s"] + wait * metrics["step_s"], None
    if role == "decode":
        return rate / demand.osl, None, metrics["tpot_s"]
    return rate / demand.osl, metrics["ttft_s"], metrics["tpot_s"]


def _best_units(
    role: str, chip: Accelerator, block: Block, good: NDArray[np.bool_], answers: tuple[Any, Any, Any],
    demand: Demand, headroom: float, usd_per_gpu_h: float,
) -> list[Unit]:  # fmt: skip
    """Feasible units of a block on the frontier of latency against the cost of as many as the demand needs."""
    where = np.flatnonzero(good)
    if not where.size:
        return []
    rate, ttft, tpot = (None if a is None else np.broadcast_to(a, block.shape).ravel()[where] for a in answers)
    assert rate is not None
    gpus = np.broadcast_to(block.numbers["gpus"], block.shape).ravel()[where]
    count = np.maximum(np.ceil(demand.requests_per_s / (headroom * rate) - 1e-9), 1.0)
    cost = count * gpus * usd_per_gpu_h
    latency = ttft if tpot is None else tpot
    assert latency is not None
    units = []
    for i in pareto(latency, cost):
        plan = block.plan_at(int(where[i]))
        if role == "both":
            assert tpot is not None
            plan["tpot_s"] = float(tpot[i])
        first = ttft if role == "both" else latency
        assert first is not None
        units.append(Unit(role, chip.id, plan, int(count[i]), float(rate[i]), float(first[i]), float(cost[i])))
    return units
