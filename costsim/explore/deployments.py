"""Deployments for a load under targets: closed form over every unit of a grid, then the best few simulated.

A deployment is a number of equal units that do both phases, or prefill units and decode units, each on an accelerator
of its own. Its cost is the sum over its units, TTFT depends on the prefill units and TPOT on the decode units, so the
cheapest of all pairs is the cheapest of each: no pair is looped over.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from costsim.errors import BadInput
from costsim.explore.grid import Values
from costsim.explore.pareto import pareto
from costsim.explore.units import ROLES, Demand, Tally, Unit, units_of
from costsim.spec.accelerator import Accelerator
from costsim.spec.model import ModelSpec
from costsim.spec.price import Price, default_rate, in_usd
from costsim.units import HOUR_S, MEGA

#: loads between a thousandth of the demand and four times it at which the cheapest deployment is looked up
LADDER = tuple(2.0 ** (step / 2) for step in range(-20, 5))

Found = dict[str, dict[str, list[Unit]]]
"""Units by accelerator and role."""


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

    @property
    def capacity_per_s(self) -> float:
        """Requests per second that the closed form lets through at most."""
        return min(unit.count * unit.requests_per_s for unit in self.units)

    def metrics(self, demand: Demand) -> dict[str, float]:
        """Latencies, cost and rates under the demand."""
        tokens_per_s = demand.requests_per_s * demand.osl
        return {
            "usd_per_h": self.usd_per_h, "gpus": float(self.gpus), "ttft_s": self.ttft_s, "tpot_s": self.tpot_s,
            "usd_per_mtok_output": self.usd_per_h / HOUR_S / tokens_per_s * MEGA,
            "tokens_per_s_per_gpu": tokens_per_s / self.gpus,
            "utilisation": demand.requests_per_s / self.capacity_per_s,
        }  # fmt: skip


@dataclass(frozen=True)
class DeploymentSearch:
    """``frontier``: TPOT against cost, fastest first; ``why_not``: for every accelerator and way, what it would cost
    or why it cannot; ``ladder``: (requests per second, cheapest deployment that carries them) upward; ``prices``: the
    hourly rate that each accelerator was costed at; ``ways``: the cheapest of every accelerator and way."""

    evaluated: int
    feasible: int
    rejected: dict[str, int]
    frontier: tuple[Deployed, ...]
    cheapest: Deployed | None
    fastest: Deployed | None
    why_not: tuple[dict[str, Any], ...]
    ladder: tuple[tuple[float, Deployed], ...] = ()
    prices: tuple[tuple[str, Price], ...] = ()
    ways: tuple[Deployed, ...] = ()


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
    loads: Sequence[float] = (),
    paces: Mapping[str, float] | None = None,
    progress: Callable[[str], None] | None = None,
) -> DeploymentSearch:
    """Every unit of ``grid`` (plan keys, ``concurrency``, ``batch_per_gpu``, ``tokens_per_gpu``) in every role.

    ``headroom``: share of a unit's closed-form rate that is planned for; what queues need beyond that, the simulator
    says. ``loads``: further requests per second at which the cheapest deployment is wanted, beside the ladder around
    the demand. ``paces``: step times of an accelerator over those predicted, 1 where it is not named. Prefill and
    decode pools may be on two accelerators of one vendor.
    Raises BadInput where no accelerator has a price or a number format of the grid.
    """
    if not 0 < headroom < 1:
        raise BadInput(f"headroom {headroom:g}: must be above 0 and below 1, where queues never end")
    tally, why = Tally(), []
    every = [demand.requests_per_s, *sorted({*loads, *(demand.requests_per_s * step for step in LADDER)})]
    found: list[Found] = [{} for _ in every]
    reasons: dict[str, dict[str, str]] = {}
    rates: dict[str, Price] = {}
    for chip in chips:
        if progress is not None:
            progress(chip.id)
        rate = (prices or {}).get(chip.id) or default_rate(chip)
        if rate is None:
            why.append({"accelerator": chip.id, "way": "any", "reason": "no hourly price is known; pass --price"})
            continue
        rates[chip.id], reasons[chip.id] = rate, {}
        own = grid if "precision" in grid else {**grid, "precision": [_narrowest(chip)]}
        one = partial(
            units_of, model, chip, demand=demand, loads=every, grid=own, targets=(ttft_s, tpot_s), headroom=headroom,
            usd_per_gpu_h=in_usd(rate), tally=tally, pace=(paces or {}).get(chip.id, 1.0),
        )  # fmt: skip
        for role in ROLES:
            by_load, reasons[chip.id][role] = _units(one, role, tally, len(every))
            for mine, units in zip(found, by_load, strict=True):
                mine.setdefault(chip.id, {})[role] = units
    ways = [_ways(one, chips, max_gpus) for one in found]
    why += _cannot(found[0], reasons)
    if not ways[0]:
        why += _too_few(_ways(found[0], chips, None), max_gpus)
    ladder = tuple(
        (load, min(some, key=lambda way: way.usd_per_h)) for load, some in zip(every[1:], ways[1:], strict=True) if some
    )
    result = _result(tally, ways[0], why)
    return replace(result, ladder=ladder, prices=tuple(rates.items()))


def _units(
    ask: Callable[..., list[list[Unit]]], role: str, tally: Tally, loads: int
) -> tuple[list[list[Unit]], str]:  # fmt: skip
    """Units of one role for every load, and what is said where there are none."""
    before = Counter(tally.rejected)
    try:
        found = ask(role=role)
    except BadInput as error:
        return [[] for _ in range(loads)], str(error)
    return found, _fell(tally.rejected - before)


def _too_few(ways: Sequence[Deployed], max_gpus: float | None) -> list[dict[str, Any]]:
    """That the cards allowed are fewer than any deployment needs."""
    if not ways or max_gpus is None:
        return []
    least = min(way.gpus for way in ways)
    return [{"accelerator": "any", "way": "any", "reason": f"{max_gpus:g} cards are allowed and {least} needed"}]


def _fell(rejected: Counter[str]) -> str:
    """Why no unit is left. Plans meet the targets last: what missed them is what was nearest."""
    lost = sorted(rejected.items(), key=lambda one: (not one[0].startswith("misses"), -one[1]))
    return f"no unit is feasible; the last fell out because: {lost[0][0]}" if lost else "no unit fits"


def _narrowest(chip: Accelerator) -> str:
    """The format that the chip multiplies fastest in."""
    return next((dtype for dtype in ("fp8", "int8", "bf16") if chip.known(dtype)), "bf16")


def break_even(ladder: Sequence[tuple[float, Deployed]], usd_per_request: float) -> float | None:
    """Least requests per second at which hardware costs no more than an API at this price a request; None where none
    on the ladder does.

    A deployment that carries load L costs C an hour whatever comes: it pays from C/(3600·price) on, if that is at
    most L.
    """
    pays = [
        at for load, way in ladder if (at := way.usd_per_h / HOUR_S / usd_per_request) <= load * (1 + 1e-9)
    ]  # fmt: skip
    return min(pays, default=None)


def _result(tally: Tally, ways: list[Deployed], why: list[dict[str, Any]]) -> DeploymentSearch:
    rejected = dict(tally.rejected.most_common())
    if not ways:
        return DeploymentSearch(tally.evaluated, tally.feasible, rejected, (), None, None, tuple(why))
    cost = np.array([way.usd_per_h for way in ways])
    tpot = np.array([way.tpot_s for way in ways])
    front = tuple(ways[i] for i in pareto(tpot, cost))
    cheapest = ways[int(np.argmin(cost))]
    best: dict[tuple[str, str], Deployed] = {}
    for way in ways:
        names = " + ".join(dict.fromkeys(unit.accelerator for unit in way.units))
        key = (names, "pools" if len(way.units) > 1 else "together")
        if key not in best or way.usd_per_h < best[key].usd_per_h:
            best[key] = way
    for (chip, kind), way in best.items():
        if way is not cheapest:
            more = way.usd_per_h / cheapest.usd_per_h
            reason = f"costs {more:.2f} times the cheapest" if more > 1.0005 else "costs the same"
            why.append({
                "accelerator": chip, "way": kind, "reason": reason, "usd_per_h": way.usd_per_h, "gpus": way.gpus,
            })  # fmt: skip
    return DeploymentSearch(
        tally.evaluated,
        tally.feasible,
        rejected,
        front,
        cheapest,
        min(ways, key=lambda way: way.tpot_s),
        tuple(why),
        ways=tuple(best.values()),
    )


def _ways(found: Found, chips: Sequence[Accelerator], max_gpus: float | None) -> list[Deployed]:
    """Both phases together, and pools: the cheapest prefill units of each accelerator with every decode unit worth
    having, on the same accelerator or another of its vendor, that keeps the KV cache in the same format."""
    ways = []
    for roles in found.values():
        ways += [Deployed((unit,), unit.latency_s, float(unit.plan["tpot_s"])) for unit in roles["both"]]
    vendor = {chip.id: chip.vendor for chip in chips}
    for here, roles in found.items():
        first: dict[str, Unit] = {}
        for unit in sorted(roles["prefill"], key=lambda unit: unit.usd_per_h):
            first.setdefault(str(unit.plan.get("kv_dtype", "bf16")), unit)
        for there, others in found.items():
            for unit in others["decode"] if vendor[here] == vendor[there] else ():
                one = first.get(str(unit.plan.get("kv_dtype", "bf16")))
                if one is not None:
                    ways.append(Deployed((one, unit), one.latency_s + unit.latency_s, unit.latency_s))
    ways = [replace(way, units=tuple(_plain_unit(unit) for unit in way.units)) for way in ways]
    return ways if max_gpus is None else [way for way in ways if way.gpus <= max_gpus]


def _cannot(found: Found, reasons: Mapping[str, Mapping[str, str]]) -> list[dict[str, Any]]:
    """Accelerators and ways without a feasible unit, and why."""
    why = []
    for chip, roles in found.items():
        if not roles["both"]:
            why.append({"accelerator": chip, "way": "together", "reason": reasons[chip]["both"]})
        why += [
            {"accelerator": chip, "way": "pools", "reason": f"{role}: {reasons[chip][role]}"}
            for role in ("prefill", "decode")
            if not roles[role]
        ]
    return why


def _plain_unit(unit: Unit) -> Unit:
    """The unit without the latency that travelled with its plan."""
    return replace(unit, plan={name: value for name, value in unit.plan.items() if name != "tpot_s"})
