"""A fleet's day: unit capacities from the laws, units by time from a policy, then nodes, money and rates."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from costsim.frames import Framed, Rows
from costsim.predict.fleet_units import UnitKind, check_mix, kinds_of
from costsim.predict.fleet_what_if import WhatIf, changed, words
from costsim.predict.report import Metric
from costsim.serving.autoscale import Kind, Rule, day_curve, schedule, utilisation
from costsim.spec.catalog import load_accelerator
from costsim.spec.fleet import Fleet, FleetPolicy
from costsim.spec.price import default_rate, in_usd, load_price, parse_rate
from costsim.timing.device import worst
from costsim.units import DAY_S, HOUR_S, MEGA

Array = NDArray[np.float64]
Counts = NDArray[np.int64]
PHASES = ("prefill", "decode")


@dataclass(frozen=True)
class FleetDay(Framed):
    """What a day comes to. ``units[phase]``: units by step and kind; ``nodes``: all nodes by step; ``load``: demand
    over what the running units carry in production, by phase and step; ``hours``: the steps' hours since the start.
    ``asked``: the day as it was given and what else was asked of it, from which it can be predicted again."""

    fleet: Fleet
    kinds: Mapping[str, tuple[UnitKind, ...]]
    hours: Array
    units: Mapping[str, Counts]
    nodes: Array
    demand: Mapping[str, Array]
    load: Mapping[str, Array]
    metrics: Mapping[str, Metric]
    notes: tuple[str, ...]
    policy: FleetPolicy
    what_if: WhatIf
    asked: Mapping[str, Any]

    def rows(self) -> Rows:
        """``metrics``, and ``schedule``: nodes, demand and load by time."""
        schedule = [
            {"hour": float(hour), "nodes": float(self.nodes[i])}
            | {f"{phase}_demand": float(values[i]) for phase, values in self.demand.items()}
            | {f"{phase}_load": float(values[i]) for phase, values in self.load.items()}
            for i, hour in enumerate(self.hours)
        ]
        return {"metrics": [{"metric": name, **m.json()} for name, m in self.metrics.items()], "schedule": schedule}

    @property
    def mixed(self) -> bool:
        """Whether these are other units or another load than those of the day itself."""
        return self.what_if.asked or any(len(kinds) > 1 or kinds[0].unit.most is None for kinds in self.kinds.values())


def predict_fleet(
    fleet: Fleet,
    *,
    mix: Mapping[str, float] | None = None,
    policy: FleetPolicy | None = None,
    what_if: WhatIf | None = None,
    lease_usd_per_gpu_h: float = 0.0,
    lease_least_h: float = 1.0,
) -> FleetDay:
    """Predict the day. ``mix``: accelerator → share of the peak's capacity; None: the units that the day itself has.

    ``what_if``: another cache, another price at night and what it moves.
    Unit capacity is the kernel path's throughput times what a full unit keeps of it in production (see
    :mod:`costsim.predict.fleet_units`); demand follows ``hourly``.
    Idle nodes earn ``lease_usd_per_gpu_h`` in every stretch of at least ``lease_least_h`` hours.
    Raises BadInput for shares that do not sum to one and accelerators without a unit.
    """
    policy, what_if = policy or fleet.policy, what_if or WhatIf()
    if mix is not None:
        check_mix(mix, fleet)
    lease = (lease_usd_per_gpu_h, lease_least_h)
    asked = _asked(fleet, mix, what_if, lease)
    steps = max(round(DAY_S / policy.interval), len(fleet.load.hourly))
    curve = day_curve(fleet.load.hourly, steps)
    hours = np.arange(steps) * 24.0 / steps
    # What a full unit keeps in production is known from the day as it was.
    tokens = {"prefill": fleet.load.missed_tokens, "decode": fleet.load.output_tokens}
    peaks = {phase: float(curve.max()) * tokens[phase] / DAY_S for phase in PHASES}
    load, curve, paid = changed(fleet, what_if, curve, hours)
    fleet = fleet.model_copy(update={"load": load})
    tokens = {"prefill": load.missed_tokens, "decode": load.output_tokens}
    demand = {phase: curve * tokens[phase] / DAY_S for phase in PHASES}
    kinds = {
        phase: kinds_of(fleet, phase, mix, peaks[phase], policy.target, float(demand[phase].max())) for phase in PHASES
    }
    apart = what_if.cache_bytes is not None
    runs = {end: _scaled(kinds, demand, policy, end, apart) for end in ("value", "high", "low")}
    units = runs["value"]
    metrics = _metrics(fleet, kinds, runs, lease, paid)
    nodes = _nodes(units, kinds)
    full = {p: utilisation(demand[p], units[p], [_kind(k) for k in kinds[p]]) for p in PHASES}
    notes = (*_notes(kinds, full, policy), *words(fleet, what_if))
    return FleetDay(fleet, kinds, hours, units, nodes, demand, full, metrics, notes, policy, what_if, asked)


def rule_of(policy: FleetPolicy, steps: int) -> Rule:
    """The policy in whole steps of the day."""
    each = DAY_S / steps
    return Rule(
        policy.target, math.ceil(policy.lead / each - 1e-9), math.ceil(policy.hold / each - 1e-9), policy.hysteresis,
        policy.forecast,
    )  # fmt: skip


def _kind(kind: UnitKind, end: str = "value") -> Kind:
    return Kind(kind.capacity(end), min(kind.unit.spare, kind.most), kind.most)


def _scaled(
    kinds: Mapping[str, tuple[UnitKind, ...]], demand: Mapping[str, Array], policy: FleetPolicy, end: str,
    apart: bool = False,
) -> dict[str, Counts]:  # fmt: skip
    """Units by step of both pools with capacities at one end of their band.

    A fleet of one kind of unit in each phase scales by groups: as many as the tighter phase needs. A mixed fleet's
    pools scale ``apart``, each taking the units with the cheapest tokens first.
    """
    rule = rule_of(policy, len(demand["decode"]))
    if apart or any(len(kinds[p]) > 1 or kinds[p][0].unit.most is None for p in PHASES):
        return {p: schedule(demand[p], [_kind(kind, end) for kind in kinds[p]], rule) for p in PHASES}
    tightest = np.zeros(len(demand["decode"]))
    most = 0
    for p in PHASES:
        (kind,) = kinds[p]
        unit, each = kind.unit, kind.capacity(end)
        missing = demand[p] / policy.target - unit.spare * each
        tightest = np.maximum(tightest, missing / (unit.per_group * each))
        most = max(most, math.ceil((kind.most - unit.spare) / unit.per_group))
    groups = schedule(tightest, [Kind(1.0, min(1, most), most)], replace(rule, target=1.0))
    return {
        p: np.minimum(kinds[p][0].unit.spare + kinds[p][0].unit.per_group * groups, kinds[p][0].most) for p in PHASES
    }


def policy_table(
    day: FleetDay, minutes: tuple[float, ...] = (0.0, 15.0, 30.0, 60.0)
) -> dict[tuple[float, float], float]:
    """Node-hours of the day by (lead, hold) in minutes, all else as it is: what is policy and not load."""
    out = {}
    for lead in minutes:
        for hold in minutes:
            policy = day.policy.model_copy(update={"lead": lead * 60.0, "hold": hold * 60.0})
            units = _scaled(day.kinds, day.demand, policy, "value", day.what_if.cache_bytes is not None)
            out[lead, hold] = float(_nodes(units, day.kinds).mean()) * 24.0
    return out


def _nodes(units: Mapping[str, Counts], kinds: Mapping[str, tuple[UnitKind, ...]]) -> Array:
    total: Array = np.sum([units[p] @ np.array([kind.nodes for kind in kinds[p]]) for p in PHASES], axis=0)
    return total


def revenue_usd(fleet: Fleet) -> float:
    """Tokens at their list prices: input that missed the cache, input that hit, output."""
    load, price = fleet.load, fleet.price
    parts = (
        (load.missed_tokens, price.input), (load.cached_tokens, price.cached), (load.output_tokens, price.output),
    )  # fmt: skip
    return sum(tokens / MEGA * in_usd(load_price(name)) for tokens, name in parts)


def _day(
    fleet: Fleet, kinds: Mapping[str, tuple[UnitKind, ...]], units: Mapping[str, Counts],
    lease: tuple[float, float], paid: float,
) -> dict[str, tuple[float, str]]:  # fmt: skip
    """Every figure of one schedule; ``paid``: share of the list price that the average token brings."""
    steps = len(units["decode"])
    each_h = 24.0 / steps
    nodes = {p: units[p] @ np.array([kind.nodes for kind in kinds[p]]) for p in PHASES}
    usd_per_h = sum(
        units[p] @ np.array([kind.usd_per_h * kind.unit.gpus for kind in kinds[p]]) for p in PHASES
    )  # fmt: skip
    cost, revenue = float(np.sum(usd_per_h) * each_h), revenue_usd(fleet) * paid
    every = nodes["prefill"] + nodes["decode"]
    out = {
        "node_hours": (float(every.sum()) * each_h, "node·h"), "mean_nodes": (float(every.mean()), "nodes"),
        "peak_nodes": (float(every.max()), "nodes"), "usd_per_day": (cost, "USD"),
        "revenue_usd": (revenue, "USD"), "margin": (revenue / cost - 1.0, "ratio"),
    }  # fmt: skip
    tokens = {"prefill": fleet.load.input_tokens, "decode": fleet.load.output_tokens}
    for p in PHASES:
        mean = float(nodes[p].mean())
        out[f"{p}_tokens_per_s_per_node"] = (tokens[p] / DAY_S / mean if mean else math.nan, "token/s")
    out["mean_prefill_nodes"] = (float(nodes["prefill"].mean()), "nodes")
    out["mean_decode_nodes"] = (float(nodes["decode"].mean()), "nodes")
    out["usd_per_mtok_output"] = (cost / fleet.load.output_tokens * MEGA, "USD/Mtok")
    if lease[0] > 0:
        idle_h = sum(
            _leased(kind.most - units[p][:, i], each_h, lease[1]) * kind.unit.gpus
            for p in PHASES
            for i, kind in enumerate(kinds[p])
        )
        out["leased_gpu_hours"] = (float(idle_h), "h")
        out["lease_usd"] = (float(idle_h) * lease[0], "USD")
        out["margin_with_lease"] = ((revenue + float(idle_h) * lease[0]) / cost - 1.0, "ratio")
    return out


def _leased(idle: Counts, each_h: float, least_h: float) -> float:
    """Unit-hours of stretches of at least ``least_h`` hours, unit by unit, round the periodic day."""
    total, steps = 0.0, len(idle)
    for level in range(int(idle.max(initial=0))):
        free = idle > level
        if free.all():
            total += steps * each_h
            continue
        turned = np.roll(free, -int(np.argmin(free)))  # begin where the unit is busy
        edges = np.flatnonzero(np.diff(np.concatenate([[False], turned, [False]]).astype(int)))
        for start, end in edges.reshape(-1, 2):
            hours = (end - start) * each_h
            total += hours if hours >= least_h - 1e-9 else 0.0
    return total


def _metrics(
    fleet: Fleet, kinds: Mapping[str, tuple[UnitKind, ...]], runs: Mapping[str, Mapping[str, Counts]],
    lease: tuple[float, float], paid: float,
) -> dict[str, Metric]:  # fmt: skip
    """Figures with bands: the whole schedule again with capacities at the ends of theirs."""
    mid, low, high = (_day(fleet, kinds, runs[end], lease, paid) for end in ("value", "high", "low"))
    grade = worst([k.report.metrics["tokens_per_s_per_gpu"].grade for ks in kinds.values() for k in ks])
    metrics = {}
    for name, (value, unit) in mid.items():
        ends = sorted((value, low[name][0], high[name][0]))
        metrics[name] = Metric(value, unit, ends[0], ends[-1], "A" if name == "revenue_usd" else grade)
    return metrics


def _notes(
    kinds: Mapping[str, tuple[UnitKind, ...]], load: Mapping[str, Array], policy: FleetPolicy
) -> tuple[str, ...]:
    notes = []
    for phase in PHASES:
        for kind in kinds[phase]:
            rate = kind.report["tokens_per_s_per_gpu"]
            notes.append(
                f"{phase} on {kind.chip.id}: at most {kind.most} units of {kind.nodes:g} nodes; kernel path "
                f"{rate:,.0f} tokens/s a card × {kind.kept:.3f} kept in production = {kind.capacity():,.0f} tokens/s "
                f"a unit; {kind.usd_per_h:.3g} USD per card and hour"
            )
        over = float(np.mean(load[phase] > policy.target * (1 + 1e-9)))
        if over > 0:
            notes.append(f"{phase}: over target {over:.0%} of the day, at most {load[phase].max():.1%} of capacity")
    notes.append(
        "kept in production: what all units carry in the peak hour over the operator's profile of the same kernels"
    )
    when = f"{policy.lead / 60:g} min ahead" if policy.forecast else f"{policy.lead / 60:g} min behind"
    notes.append(
        f"policy: target {policy.target:g}, every {policy.interval / 60:g} min, {when}, hold {policy.hold / 60:g} min, "
        f"hysteresis {policy.hysteresis:g}"
    )
    return tuple(notes)


def accounting(fleet: Fleet) -> dict[str, float]:
    """The published schedule summed up: what is arithmetic, not prediction. Empty where none was published.

    node-hours = Σ nodes·hours; cost = node-hours × cards × price; revenue as the operator states it.
    """
    published = fleet.published
    if published is None:
        return {}
    starts = [hour for hour, _ in published.schedule]
    spans = [end - start for start, end in zip(starts, [*starts[1:], 24.0], strict=True)]
    node_hours = sum(nodes * span for (_, nodes), span in zip(published.schedule, spans, strict=True))
    own = next(unit for unit in fleet.unit if unit.most is not None)
    rate = parse_rate(own.price, "price") if own.price else default_rate(load_accelerator(own.accelerator))
    usd = 0.0 if rate is None else in_usd(rate)
    cost = node_hours * load_accelerator(own.accelerator).node_devices * usd
    return {
        "node_hours": node_hours, "mean_nodes": node_hours / 24.0, "usd_per_day": cost,
        "revenue_usd_of_rounded_tokens": revenue_usd(fleet), "revenue_usd": published.revenue_usd,
        "margin": published.revenue_usd / cost - 1.0,
    }  # fmt: skip


def published_nodes(fleet: Fleet, hours: Array) -> Array | None:
    """The published nodes at these hours since the start."""
    if fleet.published is None:
        return None
    starts = np.array([hour for hour, _ in fleet.published.schedule])
    nodes = np.array([n for _, n in fleet.published.schedule])
    out: Array = nodes[np.clip(np.searchsorted(starts, hours, side="right") - 1, 0, len(nodes) - 1)].astype(float)
    return out


def inputs_of(day: FleetDay) -> dict[str, Any]:
    """What the day was predicted from: its load as a what-if left it, and under ``day`` as it was given."""
    fleet = day.fleet
    return {
        "fleet": fleet.id, "model": fleet.model, "load": fleet.load.model_dump(), "policy": day.policy.model_dump(),
        "hours_per_step": 24.0 / len(day.hours), "seconds_per_hour": HOUR_S, **day.asked,
    }  # fmt: skip


def _asked(
    fleet: Fleet, mix: Mapping[str, float] | None, what_if: WhatIf, lease: tuple[float, float]
) -> dict[str, Any]:
    """What :func:`predict_fleet` was given, as plain values; the policy stands apart."""
    night = {
        "price": what_if.night_price,
        "shift": what_if.night_shift,
        "from": what_if.night[0],
        "to": what_if.night[1],
    }
    return {
        "day": fleet.model_dump(mode="json", exclude={"published", "policy", "model", "sources"}),
        "mix": None if mix is None else dict(mix), "cache_bytes": what_if.cache_bytes, "night": night,
        "lease": {"usd_per_gpu_h": lease[0], "least_h": lease[1]},
    }  # fmt: skip
