"""A placement weighed: against doing nothing and against the published balancer, its front, its drift, its slots."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from costsim.errors import BadInput
from costsim.frames import Framed, Rows
from costsim.placement import eplb
from costsim.placement.bound import lower_bound
from costsim.placement.drift import (
    SAMPLES,
    Remedy,
    ageing,
    averaged,
    mean_imbalance,
    remedies,
    windows,
)
from costsim.placement.moves import moved
from costsim.placement.optimize import Goal, optimise
from costsim.placement.placement import Loads, Placement, Shape, naive
from costsim.placement.traffic import Choices, Traffic, measure
from costsim.predict.placing import Case, Deployment, Effect, effect, effects, move_s

#: slacks of remote copies on the front; None: nodes ignored
SLACKS: tuple[float | None, ...] = (0.0, 0.005, 0.01, 0.02, 0.04, None)
#: windows between rebalances that are tried
INTERVALS = (1, 2, 4, 8, 16, 32)
#: moved slots a layer of a small rebalance in the study of intervals
SMALL = 16


@dataclass(frozen=True)
class Question:
    """What was asked and what was placed. ``later`` is the next window where one was recorded."""

    shape: Shape
    loads: Loads
    later: Loads | None
    choices: Choices
    goal: Goal
    deployment: Deployment
    placed: Placement
    present: Placement | None
    elapsed_s: float
    cpu_s: float
    window_s: float
    notes: tuple[str, ...] = ()

    def next_windows(self) -> list[Loads]:
        """The later window, sampled ones where none was given, or this one where drift is none."""
        if self.later is not None:
            return [self.later]
        return windows(self.loads, self.goal.drift, SAMPLES, self.goal.seed + 7) if self.goal.drift else [self.loads]


@dataclass(frozen=True)
class Outcome:
    """One placement measured: imbalance by layer now, mean in the next window, traffic, and the step that follows."""

    name: str
    placement: Placement
    imbalance: Loads
    next_imbalance: float
    traffic: Traffic
    effect: Effect


@dataclass(frozen=True)
class FrontPoint:
    """Balance against traffic at one slack of remote copies (None: nodes ignored)."""

    slack: float | None
    imbalance: float
    next_imbalance: float
    remote_nodes: float
    effect: Effect | None


@dataclass(frozen=True)
class Interval:
    """Rebalancing every ``windows``: mean imbalance between, seconds of each rebalance, and net tokens/s of a GPU."""

    windows: int
    imbalance: float
    rebalance_s: float
    tokens_per_s_per_gpu: float


@dataclass(frozen=True)
class Redundancy:
    """``slots`` in all: balance planned and in the next window, and what the deployment does with it."""

    slots: int
    imbalance: float
    next_imbalance: float
    effect: Effect | None


@dataclass(frozen=True)
class Study(Framed):
    """Everything around the answer."""

    front: tuple[FrontPoint, ...]
    remedies: tuple[tuple[Remedy, Effect | None, float], ...]
    intervals: tuple[Interval, ...]
    redundancy: tuple[Redundancy, ...]

    def rows(self) -> Rows:
        """``front``: balance against traffic; ``intervals``: rebalancing; ``redundancy``: slots; ``remedies``."""

        def rate(effect: Effect | None) -> float | None:
            return None if effect is None else effect.tokens_per_s_per_gpu.value

        return {
            "front": [
                {"slack": p.slack, "imbalance": p.imbalance, "next_imbalance": p.next_imbalance,
                 "remote_nodes": p.remote_nodes, "tokens_per_s_per_gpu": rate(p.effect)}
                for p in self.front
            ],
            "intervals": [
                {"windows": p.windows, "imbalance": p.imbalance, "rebalance_s": p.rebalance_s,
                 "tokens_per_s_per_gpu": p.tokens_per_s_per_gpu}
                for p in self.intervals
            ],
            "redundancy": [
                {"slots": p.slots, "imbalance": p.imbalance, "next_imbalance": p.next_imbalance,
                 "tokens_per_s_per_gpu": rate(p.effect)}
                for p in self.redundancy
            ],
            "remedies": [
                {"remedy": remedy.name, "tokens_per_s_per_gpu": rate(effect), "seconds": seconds}
                for remedy, effect, seconds in self.remedies
            ],
        }  # fmt: skip


def outcomes(question: Question) -> list[Outcome]:
    """Before (the placement in use, else experts in order), the published balancer, and ours."""
    before = question.present or naive(question.shape, len(question.loads))
    named = [
        ("in use" if question.present else "in order", before),
        ("EPLB", eplb.eplb(question.shape, question.loads)),
        ("ours", question.placed),
    ]
    later = question.next_windows()
    return [_outcome(name, placement, question, later) for name, placement in named]


def _outcome(name: str, placement: Placement, question: Question, later: Sequence[Loads]) -> Outcome:
    traffic = measure(placement, question.loads, question.choices)
    ahead = mean_imbalance(placement, later)
    case = Case(ahead, traffic.remote_nodes_per_token, question.shape.slots)
    return Outcome(
        name, placement, placement.imbalance(question.loads), ahead, traffic, effect(question.deployment, case)
    )


def bounds(question: Question) -> Loads:
    """The lower bound of each layer."""
    return lower_bound(question.shape, question.loads)


def studied(question: Question) -> Study:
    """Front, remedies against drift, intervals of rebalancing, and numbers of slots."""
    later = question.next_windows()
    remote = measure(question.placed, question.loads, question.choices).remote_nodes_per_token
    return Study(
        front=_front(question, later),
        remedies=_remedies(question, later, remote),
        intervals=_intervals(question, remote),
        redundancy=_redundancy(question, later),
    )


def _front(question: Question, later: Sequence[Loads]) -> tuple[FrontPoint, ...]:
    if not question.shape.node_local:
        return ()
    found = []
    for slack in SLACKS:
        goal = replace(question.goal, remote_slack=slack)
        placement = optimise(question.shape, question.loads, question.choices, goal)
        remote = measure(placement, question.loads, question.choices).remote_nodes_per_token
        ahead = mean_imbalance(placement, later)
        case = Case(ahead, remote, question.shape.slots)
        level = float(placement.imbalance(question.loads).mean())
        found.append(FrontPoint(slack, level, ahead, remote, effects(question.deployment, [case])[0]))
    return tuple(found)


def _remedies(
    question: Question, later: Sequence[Loads], remote: float
) -> tuple[tuple[Remedy, Effect | None, float], ...]:
    if not question.goal.drift and question.later is None:
        return ()
    found = remedies(question.placed, question.loads, later, question.choices, question.goal)
    cases = [Case(each.imbalance, remote, question.shape.slots + each.more_slots) for each in found]
    results = effects(question.deployment, cases)
    return tuple(
        (each, result, move_s(question.deployment, each.moved)) for each, result in zip(found, results, strict=True)
    )


def _intervals(question: Question, remote: float) -> tuple[Interval, ...]:
    """Net rate when experts are placed afresh every so many windows and serving waits for them."""
    if not question.goal.drift:
        return ()
    ages = ageing(question.placed, question.loads, question.goal.drift, INTERVALS, question.goal.seed)
    planned = float(question.placed.imbalance(question.loads).mean())
    aged = windows(question.loads, question.goal.drift, 1, question.goal.seed + 3)[0]
    fresh = optimise(question.shape, aged, question.choices, question.goal)
    seconds = move_s(question.deployment, float(moved(question.placed, fresh).mean()))
    levels = [averaged(INTERVALS, ages, planned, n) for n in INTERVALS]
    results = effects(question.deployment, [Case(level, remote, question.shape.slots) for level in levels])
    found = []
    for n, level, result in zip(INTERVALS, levels, results, strict=True):
        if result is not None:
            lost = min(seconds / (n * question.window_s), 1.0)
            found.append(Interval(n, level, seconds, result.tokens_per_s_per_gpu.value * (1.0 - lost)))
    return tuple(found)


def _redundancy(question: Question, later: Sequence[Loads]) -> tuple[Redundancy, ...]:
    """From as few slots as hold every expert to three more a GPU than the plan has."""
    shape = question.shape
    least = -(-shape.experts // shape.gpus)
    found = []
    for per_gpu in range(least, max(shape.per_gpu, least) + 4):
        slots = per_gpu * shape.gpus
        wider = Shape(shape.experts, slots, shape.gpus, shape.nodes, shape.groups)
        try:
            placement = optimise(wider, question.loads, question.choices, question.goal)
        except BadInput:
            continue
        remote = measure(placement, question.loads, question.choices).remote_nodes_per_token
        ahead = mean_imbalance(placement, later)
        result = effects(question.deployment, [Case(ahead, remote, slots)])[0]
        level = float(placement.imbalance(question.loads).mean())
        found.append(Redundancy(slots, level, ahead, result))
    return tuple(found)


def best_redundancy(study: Study) -> Redundancy | None:
    """The slots at which a GPU makes most tokens per second."""
    fit = [row for row in study.redundancy if row.effect is not None]
    return max(fit, key=lambda row: row.effect.tokens_per_s_per_gpu.value if row.effect else 0.0, default=None)


def node_heat(traffic: Traffic) -> Loads:
    """Copies that come into each node from others over the mean of all nodes: which links get hot."""
    incoming = traffic.node_matrix.copy()
    np.fill_diagonal(incoming, 0.0)
    total = incoming.sum(axis=0)
    mean = total.mean()
    return np.asarray(total / mean) if mean > 0 else np.ones_like(total)
