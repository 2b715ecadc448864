"""What a simulated deployment costs: every replica's cards for all the time, and who pays for it.

A replica's money and energy are shared by what it spent its time on: prompts pay for the seconds that they added to
iterations, cached tokens for the attention to them and for fetching them, answers for the rest; idle time follows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from costsim.economics.cost import wall_power
from costsim.predict.report import Metric
from costsim.serving.outcome import Outcome
from costsim.serving.statistics import Statistics
from costsim.spec.accelerator import Accelerator
from costsim.spec.price import Price, in_usd
from costsim.timing.device import GRADES
from costsim.units import HOUR_S, MEGA

PARTS = ("input", "cached", "output")


@dataclass(frozen=True)
class Hired:
    """``replicas`` of one pool: the cards of each, USD per card and hour, and watts of a card at the wall."""

    role: str
    replicas: int
    cards: float
    usd_per_h: float | None
    watts: float | None
    low_watts: float | None


def hired(role: str, replicas: int, cards: float, chip: Accelerator, price: Price | None) -> Hired:
    """A pool at its price and its power."""
    power = wall_power(chip)
    return Hired(
        role, replicas, cards, None if price is None else in_usd(price), None if power is None else power.watts,
        None if power is None else power.low_watts,
    )  # fmt: skip


def of_pools(outcome: Outcome, pools: Sequence[Hired]) -> list[tuple[Hired, Statistics]]:
    """Each replica's statistics with the pool that it belongs to."""
    every = [pool for pool in pools for _ in range(pool.replicas)]
    return list(zip(every, outcome.statistics, strict=True))


def bill(outcome: Outcome, pools: Sequence[Hired]) -> dict[str, tuple[float, str]]:
    """USD per million tokens and joules per token by part, and both in all; nothing where a price or TDP is unknown."""
    out: dict[str, tuple[float, str]] = {}
    if all(pool.usd_per_h is not None for pool in pools):
        parts = _split(outcome, pools, [(pool.usd_per_h or 0.0) / HOUR_S for pool in pools])
        out |= {f"usd_per_mtok_{name}": (each * MEGA, "USD/Mtok") for name, each in _each(outcome, parts).items()}
        out["usd"] = (sum(parts.values()), "USD")
    return out


def energy(outcome: Outcome, pools: Sequence[Hired], low: bool = False) -> dict[str, tuple[float, str]]:
    """Joules per token by part; ``low``: at the least that busy cards draw."""
    watts = [pool.low_watts if low else pool.watts for pool in pools]
    if any(w is None for w in watts):
        return {}
    parts = _split(outcome, pools, [w or 0.0 for w in watts])
    return {f"joules_per_token_{name}": (each, "J") for name, each in _each(outcome, parts).items()}


def billed(outcome: Outcome, pools: Sequence[Hired], made: Metric, price_grade: str = "A") -> dict[str, Metric]:
    """:func:`bill` and :func:`energy` with bands: ``made`` is the throughput that they divide by, with its band.

    What is made faster costs less in proportion; joules also fall to what busy cards draw at least.
    """
    least, most = (1.0 if v is None or not v else made.value / v for v in (made.high, made.low))
    out = {
        name: Metric(value, unit, value * least, value * most, max(made.grade, price_grade, key=GRADES.index))
        for name, (value, unit) in bill(outcome, pools).items()
        if name != "usd"
    }
    below = energy(outcome, pools, low=True)
    return out | {
        name: Metric(value, unit, below[name][0] * least, value * most, "D")
        for name, (value, unit) in energy(outcome, pools).items()
    }


def _split(outcome: Outcome, pools: Sequence[Hired], per_card_s: Sequence[float]) -> dict[str, float]:
    """An amount per card and second, over all cards for all the time, by part."""
    parts = dict.fromkeys(PARTS, 0.0)
    for pool, rate in zip(pools, per_card_s, strict=True):
        own = [s for p, s in of_pools(outcome, pools) if p is pool]
        total = pool.replicas * pool.cards * outcome.end_s * rate
        busy = sum(s.busy_s for s in own)
        if not busy:
            parts["input" if pool.role == "prefill" else "output"] += total
            continue
        cached, prompt = sum(s.cached_s for s in own) / busy, sum(s.prompt_s for s in own) / busy
        for name, share in zip(PARTS, (prompt - cached, cached, 1.0 - prompt), strict=True):
            parts[name] += total * share
    return parts


def _each(outcome: Outcome, parts: dict[str, float]) -> dict[str, float]:
    """An amount by part over the tokens of that part."""
    done = outcome.finished
    cached = float(np.sum(outcome.cached[done]))
    computed, made = float(np.sum(outcome.isl[done])) - cached, float(np.sum(outcome.osl[done]))
    tokens = {"input": computed, "cached": cached, "output": made}
    return {name: parts[name] / tokens[name] for name in PARTS if tokens[name] > 0}


def usage(outcome: Outcome, pools: Sequence[Hired]) -> dict[str, float]:
    """Busy share and KV in use over all the time, weighed by cards; by pool where there are two."""
    paired = of_pools(outcome, pools)
    span = max(outcome.end_s, 1e-300)

    def mean(values: Sequence[float], cards: Sequence[float]) -> float:
        return float(np.dot(values, cards) / np.sum(cards)) / span

    cards = [pool.cards for pool, _ in paired]
    out = {
        "busy_share": mean([s.busy_s for _, s in paired], cards),
        "kv_mean_share": mean([s.kv_s for _, s in paired], cards),
        "kv_peak_share": max(s.kv_peak for _, s in paired),
    }
    if len(pools) > 1:
        for pool in pools:
            own = [s for p, s in paired if p is pool]
            ones = [1.0] * len(own)
            out[f"{pool.role}_busy_share"] = mean([s.busy_s for s in own], ones)
            out[f"{pool.role}_kv_mean_share"] = mean([s.kv_s for s in own], ones)
    return out
