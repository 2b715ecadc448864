"""Autoscaling: how many units of each kind run at each time of a day, given the load and a policy.

The day is periodic: tomorrow is like today. Demand and capacity are in the same unit (tokens per second).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from costsim.errors import OutOfRange

Array = NDArray[np.float64]
Counts = NDArray[np.int64]


@dataclass(frozen=True)
class Kind:
    """Units of one kind: ``capacity`` of each, ``least`` that always run, ``most`` that there are."""

    capacity: float
    least: int
    most: int

    def __post_init__(self) -> None:
        if not self.capacity > 0:
            raise OutOfRange(f"a unit's capacity must be above zero, not {self.capacity:g}")
        if not 0 <= self.least <= self.most:
            raise OutOfRange(f"units: least = {self.least} and most = {self.most}; least must not exceed most")


@dataclass(frozen=True)
class Rule:
    """``target`` utilisation; ``lead`` and ``hold`` in steps of the day; ``hysteresis`` as a share of capacity.

    With ``forecast`` units are there ``lead`` steps before the load; without, ``lead`` steps after it.
    """

    target: float = 1.0
    lead: int = 0
    hold: int = 0
    hysteresis: float = 0.0
    forecast: bool = True


def day_curve(weights: Sequence[float], steps: int) -> Array:
    """A periodic day of ``steps`` values with mean 1 from bars of equal length.

    Between the middles of the bars the curve is straight; each bar then gets its own height back as its mean, as far
    as that leaves nothing negative, so that a bar's tokens are its own.
    """
    bars = np.asarray(weights, dtype=float)
    count = len(bars)
    time = (np.arange(steps) + 0.5) * count / steps
    curve = np.interp(time, np.arange(-1, count + 1) + 0.5, np.concatenate([bars[-1:], bars, bars[:1]]))
    bar = np.minimum(time.astype(int), count - 1)
    if steps >= count:
        means = np.bincount(bar, curve, count) / np.bincount(bar, minlength=count)
        curve = curve * np.divide(bars, means, out=np.zeros(count), where=means > 0)[bar]
    out: Array = curve / np.mean(curve)
    return out


def needed(demand: float, kinds: Sequence[Kind], target: float) -> Counts:
    """Units that carry ``demand`` at ``target``: the least of every kind, then kinds in their order, cheapest first."""
    counts = np.array([kind.least for kind in kinds], dtype=np.int64)
    missing = demand / target - sum(kind.least * kind.capacity for kind in kinds)
    for i, kind in enumerate(kinds):
        if missing <= 0:
            break
        more = min(int(np.ceil(missing / kind.capacity - 1e-9)), kind.most - kind.least)
        counts[i] += more
        missing -= more * kind.capacity
    return counts


def schedule(demand: Array, kinds: Sequence[Kind], rule: Rule) -> Counts:
    """Units by step and kind, [steps, kinds].

    With forecast, step t provides for the largest demand of steps t … t + lead; a unit goes once it has not been
    needed for ``hold`` steps. Both are sliding maxima over the periodic day. Hysteresis keeps a unit whose going
    would leave less than that share of the rest's capacity free.
    """
    if len(demand) == 0 or not np.all(np.isfinite(demand)) or np.any(demand < 0):
        raise OutOfRange("demand: finite values of at least zero are needed")
    if not kinds:
        raise OutOfRange("a pool needs at least one kind of unit")
    raw = demand
    ahead = [np.roll(raw, -i) for i in range(rule.lead + 1)] if rule.forecast else [np.roll(raw, rule.lead)]
    seen = np.max(ahead, axis=0)
    wanted = np.array([needed(float(value), kinds, rule.target) for value in seen])
    held: Counts = np.max([np.roll(wanted, i, axis=0) for i in range(rule.hold + 1)], axis=0)
    return _kept(held, seen, kinds, rule) if rule.hysteresis > 0 else held


def _kept(counts: Counts, seen: Array, kinds: Sequence[Kind], rule: Rule) -> Counts:
    """Go twice round the day, letting a step's units go only where enough room stays free."""
    capacity = np.array([kind.capacity for kind in kinds])
    out, now = counts.copy(), counts[-1]
    for t in [*range(len(counts)), *range(len(counts))]:
        goal = counts[t]
        if np.any(goal < now):
            room = 1.0 - seen[t] / rule.target / max(float(goal @ capacity), 1e-300)
            goal = goal if room >= rule.hysteresis else np.maximum(goal, now)
        out[t] = now = goal
    return out


def utilisation(demand: Array, counts: Counts, kinds: Sequence[Kind]) -> Array:
    """Demand over the capacity that runs, by step."""
    running = counts @ np.array([kind.capacity for kind in kinds])
    nothing = np.where(demand > 0, np.inf, 0.0)
    out: Array = np.divide(demand, running, out=nothing, where=running > 0)
    return out
