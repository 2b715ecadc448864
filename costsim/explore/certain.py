"""Deployments that hold at P90: how many cards so that the targets are met at the slow end of the band of step times.

The median answer is right half of the time. Here every unit of the grid is costed with the step times of each
accelerator at their P90, and the cheapest are simulated like that, units added until the targets hold.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from costsim.explore.confirm import Confirmed, Wanted, confirm, plan_of
from costsim.explore.deployments import Deployed, DeploymentSearch
from costsim.explore.units import Demand, Unit
from costsim.predict.bands import step_band
from costsim.predict.phases import Answer, decode, prefill, setting_for
from costsim.spec.catalog import load_accelerator
from costsim.spec.model import ModelSpec
from costsim.spec.plan import DecodeLoad, PrefillLoad


@dataclass(frozen=True)
class Certain:
    """``paces``: step times at P90 over the predicted ones, by accelerator; ``search``: the closed form with them;
    ``confirmed``: what was simulated with them, cheapest first."""

    paces: Mapping[str, float]
    search: DeploymentSearch
    confirmed: tuple[Confirmed, ...]

    @property
    def best(self) -> Deployed | None:
        """The cheapest that was simulated and holds; of the closed form where nothing was simulated."""
        if not self.confirmed:
            return self.search.cheapest
        return next((one.deployed for one in self.confirmed if one.met), None)


def paces_of(model: ModelSpec, ways: Sequence[Deployed], demand: Demand) -> dict[str, float]:
    """Step times at P90 over the predicted ones: of each accelerator the widest among its cheapest ways."""
    paces: dict[str, float] = {}
    for unit in (unit for way in ways for unit in way.units):
        paces[unit.accelerator] = max(paces.get(unit.accelerator, 1.0), slow_end(model, unit, demand))
    return paces


def slow_end(model: ModelSpec, unit: Unit, demand: Demand) -> float:
    """Step time of a unit at P90 over the predicted one, the larger of its phases'."""
    chip, plan = load_accelerator(unit.accelerator), unit.plan
    setting = setting_for(model, chip, plan_of(plan))
    answers: list[Answer] = []
    if unit.role != "decode":
        tokens = float(plan.get("tokens_per_gpu", (demand.isl - demand.cached) / float(plan["gpus"])))
        answers.append(prefill(setting, PrefillLoad(demand.isl, tokens, demand.cached), strict=False))
    if unit.role != "prefill":
        batch = float(plan.get("batch_per_gpu", float(plan.get("concurrency", 1)) / float(plan["gpus"])))
        answers.append(decode(setting, DecodeLoad(demand.isl + demand.osl / 2.0, batch), strict=False))
    bands = [step_band(a.phase, a.step, a.micro_batches, a.setting.plan.routing, a.setting.device) for a in answers]
    return float(np.max([band[1] for band in bands]))


def certain(
    found: DeploymentSearch,
    wanted: Wanted,
    chosen: Deployed | None,
    count: int,
    again: Callable[[Mapping[str, float]], DeploymentSearch],
    progress: Callable[[str], None] | None = None,
) -> Certain | None:
    """``again``: the search that made ``found``, with paces. ``chosen``: the answer at the median, a candidate with
    more units. None where nothing was feasible at the median."""
    if not found.ways:
        return None
    paces = paces_of(wanted.model, found.ways, wanted.demand)
    slow = again(paces)
    if not count:
        return Certain(paces, slow, ())
    slowly = replace(wanted, paces=paces)
    held = confirm(sorted(slow.frontier, key=lambda way: way.usd_per_h)[: 3 * count], slowly, min(count, 2), progress)
    if chosen is not None:
        held += confirm([chosen], slowly, None, progress)
    return Certain(paces, slow, tuple(sorted(held, key=lambda one: (not one.met, one.deployed.usd_per_h))))
