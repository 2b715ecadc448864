"""Loads move: how far from one window to the next, what that does to a placement, and what each remedy buys."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from costsim.errors import Contradiction
from costsim.placement import eplb
from costsim.placement.moves import moved, nearby
from costsim.placement.optimize import Goal, optimise
from costsim.placement.placement import Loads, Placement, Shape
from costsim.placement.splitting import resplit
from costsim.placement.traffic import Choices

#: moved slots a layer that small corrections are tried with
FEW_MOVES = (4, 16)
#: redundant experts beyond the plan's that are tried; rounded up to whole slots a GPU
MORE_SLOTS = (16, 32, 64)
#: windows that a sampled answer is the mean of
SAMPLES = 3


@dataclass(frozen=True)
class Remedy:
    """What one answer to drift gives: busiest GPU over the mean in the next window, and what it costs.

    ``more_slots`` in all beyond the plan; ``moved`` slots a layer and rebalance; ``solves`` a program every batch.
    """

    name: str
    imbalance: float
    more_slots: int = 0
    moved: float = 0.0
    solves: bool = False


def spread(before: Loads, after: Loads) -> float:
    """Relative spread ν of an expert's load between two windows, counting noise taken off.

    ν² = Var[ln(after/before)] − mean(1/before + 1/after) over experts that both windows have.
    """
    if before.shape != after.shape:
        raise Contradiction(
            f"windows of shape {before.shape} and {after.shape}: the same layers and experts are needed"
        )
    both = (before > 0) & (after > 0)
    scale = before.sum(axis=1, keepdims=True) / after.sum(axis=1, keepdims=True)
    change = np.log((after * scale)[both] / before[both])
    noise = float(np.mean(1.0 / before[both] + 1.0 / after[both]))
    return float(np.sqrt(max(float(np.var(change)) - noise, 0.0)))


def windows(loads: Loads, drift: float, count: int, seed: int = 0) -> list[Loads]:
    """``count`` possible next windows: every expert's load times e^{νz}, independent; an assumption."""
    rng = np.random.default_rng(seed)
    return [loads * np.exp(rng.normal(0.0, drift, loads.shape)) for _ in range(count)]


def mean_imbalance(placement: Placement, later: Sequence[Loads], split: bool = False) -> float:
    """Mean over windows and layers of the busiest GPU over the mean; ``split`` re-solves the split in each."""
    return float(np.mean([_by_layer(placement, loads, split).mean() for loads in later]))


def _by_layer(placement: Placement, loads: Loads, split: bool) -> Loads:
    if not split:
        return placement.imbalance(loads)
    each = resplit(placement, loads)
    return np.asarray(each.max(axis=1) / each.mean(axis=1))


def remedies(placement: Placement, loads: Loads, later: Sequence[Loads], choices: Choices, goal: Goal) -> list[Remedy]:
    """Next-window balance of ``placement`` as it is, re-split, with more slots, and rebalanced a little or afresh."""
    shape = placement.shape
    found = [
        Remedy("EPLB, as planned", mean_imbalance(eplb.eplb(shape, loads), later)),
        Remedy("this placement, as planned", mean_imbalance(placement, later)),
        Remedy("replicas re-split each batch", mean_imbalance(placement, later, split=True), solves=True),
    ]
    found += more_slots(shape, loads, later, choices, goal)
    for most in FEW_MOVES:
        near = [nearby(placement, window, most) for window in later]
        found.append(_rebalanced(f"rebalanced by at most {most} moves", placement, near, later))
    fresh = [optimise(shape, window, choices, goal) for window in later]
    found.append(_rebalanced("rebalanced from scratch", placement, fresh, later))
    return found


def _rebalanced(name: str, placement: Placement, new: Sequence[Placement], later: Sequence[Loads]) -> Remedy:
    level = float(np.mean([p.imbalance(window).mean() for p, window in zip(new, later, strict=True)]))
    return Remedy(name, level, moved=float(np.mean([moved(placement, p).mean() for p in new])))


def more_slots(shape: Shape, loads: Loads, later: Sequence[Loads], choices: Choices, goal: Goal) -> list[Remedy]:
    """Further slots, rounded up to the same number on each GPU."""
    found = []
    for more in sorted({-(-wanted // shape.gpus) * shape.gpus for wanted in MORE_SLOTS}):
        larger = Shape(shape.experts, shape.slots + more, shape.gpus, shape.nodes, shape.groups)
        placed = optimise(larger, loads, choices, goal)
        found.append(Remedy(f"{more} more slots", mean_imbalance(placed, later), more_slots=more))
        both = mean_imbalance(placed, later, split=True)
        found.append(Remedy(f"{more} more slots, re-split each batch", both, more_slots=more, solves=True))
    return found


def aged(loads: Loads, drift: float, age: int, count: int, seed: int = 0) -> list[Loads]:
    """``count`` windows ``age`` windows on: logarithms drift by ν a window and revert to their layer's mean.

    ln w' = m + ρⁿ (ln w − m) + σ√(1 − ρ²ⁿ) z with ρ = 1 − ν²/2σ², so that the popularity keeps its spread σ and one
    window changes it by ν. An assumption: no long public record of loads shows their memory.
    """
    logs = np.log(np.maximum(loads, 0.5))
    middle = logs.mean(axis=1, keepdims=True)
    sigma = np.maximum(logs.std(axis=1, keepdims=True), 1e-9)
    kept = np.clip(1.0 - drift**2 / (2.0 * sigma**2), 0.0, 1.0) ** age
    rng = np.random.default_rng(seed)
    noise = rng.normal(0.0, 1.0, (count, *loads.shape))
    return list(np.exp(middle + kept * (logs - middle) + sigma * np.sqrt(1.0 - kept**2) * noise))


def ageing(placement: Placement, loads: Loads, drift: float, ages: Sequence[int], seed: int = 0) -> list[float]:
    """Mean imbalance of a placement ``ages`` windows after it was planned."""
    return [mean_imbalance(placement, aged(loads, drift, age, SAMPLES, seed + age)) for age in ages]


def averaged(ages: Sequence[int], levels: Sequence[float], planned: float, interval: int) -> float:
    """Mean imbalance over windows 1…``interval`` after a rebalance, between the measured ages in √n."""
    windows_since = np.arange(1, interval + 1)
    known = np.sqrt(np.concatenate([[0.0], ages]))
    return float(np.interp(np.sqrt(windows_since), known, np.concatenate([[planned], levels])).mean())
