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
from costsim.serving.history import BUSY, CACHED, KV, PROMPT
from costsim.serving.window import Window
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


def bill(window: Window, pools: Sequence[Hired]) -> dict[str, tuple[float, str]]:
    """USD per million tokens by part, and USD of the whole run; nothing where a price is unknown."""
    out: dict[str, tuple[float, str]] = {}
    if all(pool.usd_per_h is not None for pool in pools):
        rates = [(pool.usd_per_h or 0.0) / HOUR_S for pool in pools]
        parts = _each(window, _split(window, pools, rates))
        out |= {f"usd_per_mtok_{name}": (each * MEGA, "USD/Mtok") for name, each in parts.items()}
        cards_usd = sum(pool.replicas * pool.cards * rate for pool, rate in zip(pools, rates, strict=True))
        out["usd"] = (cards_usd * window.outcome.end_s, "USD")
    return out


def energy(window: Window, pools: Sequence[Hired], low: bool = False) -> dict[str, tuple[float, str]]:
    """Joules per token by part; ``low``: at the least that busy cards draw."""
    watts = [pool.low_watts if low else pool.watts for pool in pools]
    if any(w is None for w in watts):
        return {}
    parts = _split(window, pools, [w or 0.0 for w in watts])
    return {f"joules_per_token_{name}": (each, "J") for name, each in _each(window, parts).items()}


def billed(window: Window, pools: Sequence[Hired], made: Metric, price_grade: str = "A") -> dict[str, Metric]:
    """:func:`bill` and :func:`energy` with bands: ``made`` is the throughput that they divide by, with its band.

    What is made faster costs less in proportion; joules also fall to what busy cards draw at least.
    """
    least, most = (1.0 if v is None or not v else made.value / v for v in (made.high, made.low))
    out = {
        name: Metric(value, unit, value * least, value * most, max(made.grade, price_grade, key=GRADES.index))
        for name, (value, unit) in bill(window, pools).items()
        if name != "usd"
    }
    below = energy(window, pools, low=True)
    return out | {
        name: Metric(value, unit, below[name][0] * least, value * most, "D")
        for name, (value, unit) in energy(window, pools).items()
    }


def _split(window: Window, pools: Sequence[Hired], per_card_s: Sequence[float]) -> dict[str, float]:
    """An amount per card and second, over all cards for all of the window, by part."""
    parts = dict.fromkeys(PARTS, 0.0)
    for pool, rate, spent in zip(pools, per_card_s, window.spent, strict=True):
        total = pool.replicas * pool.cards * window.span_s * rate
        if not spent[BUSY]:
            parts["input" if pool.role == "prefill" else "output"] += total
            continue
        cached, prompt = spent[CACHED] / spent[BUSY], spent[PROMPT] / spent[BUSY]
        for name, share in zip(PARTS, (prompt - cached, cached, 1.0 - prompt), strict=True):
            parts[name] += total * float(share)
    return parts


def _each(window: Window, parts: dict[str, float]) -> dict[str, float]:
    """An amount by part over the tokens of that part."""
    tokens = window.tokens
    return {name: parts[name] / tokens[name] for name in PARTS if tokens[name] > 0}


def prompt_share(window: Window) -> float:
    """Share of the busy time that prompts added to iterations, over all replicas; 0 where none was busy."""
    busy = float(window.spent[:, BUSY].sum())
    return float(window.spent[:, PROMPT].sum()) / busy if busy else 0.0


def usage(window: Window, pools: Sequence[Hired]) -> dict[str, float]:
    """Busy share and KV in use over the window, weighed by cards; by pool where there are two; KV's peak in the run."""
    spent = window.spent
    cards = np.array([pool.cards for pool in pools])
    replicas = np.array([pool.replicas for pool in pools])
    every = float(np.dot(cards, replicas)) * window.span_s
    out = {
        "busy_share": float(np.dot(cards, spent[:, BUSY])) / every,
        "kv_mean_share": float(np.dot(cards, spent[:, KV])) / every,
        "kv_peak_share": max(s.kv_peak for s in window.outcome.statistics),
    }
    if len(pools) > 1:
        for pool, own in zip(pools, spent, strict=True):
            out[f"{pool.role}_busy_share"] = float(own[BUSY]) / (pool.replicas * window.span_s)
            out[f"{pool.role}_kv_mean_share"] = float(own[KV]) / (pool.replicas * window.span_s)
    return out
