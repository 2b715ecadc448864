"""Our placement: replicas and packing chosen together, for balance now, balance in the next window, and traffic.

Three steps, each on all layers at once: candidates (the published balancer's placement among them, so the result is
never behind it), local search on each, and a judgement on sampled next windows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from costsim.errors import OutOfRange
from costsim.placement import eplb, homes, leave, local
from costsim.placement.bound import lower_bound
from costsim.placement.placement import Loads, Placement, Shape, Slots
from costsim.placement.traffic import Choices, remote_nodes, strangeness

#: spread of an expert's load from one window to the next, relative: an assumption, adjustable; two recorded windows
#: of one service measure it (``drift.spread``)
DRIFT = 0.15
#: remote copies that a node-local placement may grow by for balance
REMOTE_SLACK = 0.04
#: next windows sampled to judge candidates, the same for all of them: what is to be told apart at two slots a GPU is
#: a thousandth of a busiest GPU that itself varies by a twentieth
WINDOWS = 1024
#: rounds of the search for replicas that drift hurts least
DRIFT_ROUNDS = 24
#: mean of the largest of 1, 2, 3 and 4 standard normals
LUCK = (0.0, 0.564, 0.846, 1.029)
#: work (slots tried) that a search may spend beyond its downhill part
WORK = 1_200_000
#: tokens of a layer that the search looks at; what it finds is measured on more
SEARCHED_TOKENS = 1024
#: layers that tell whether renamed GPUs shorten the way of tokens
JUDGED_LAYERS = 4
#: layers × slots up to which placements that ignore nodes are tried too, and kept where they send no further
SMALL = 2048
#: layers this close to their lower bound are not searched further
CLOSE = 2e-3


@dataclass(frozen=True)
class Goal:
    """What to weigh. ``drift``: relative spread of the next window's loads, 0 for the present window alone.

    ``remote_slack``: share by which remote copies may exceed the node-local placement's; None: balance alone.
    """

    drift: float = DRIFT
    remote_slack: float | None = REMOTE_SLACK
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0.0 <= self.drift <= 2.0:
            raise OutOfRange(f"drift = {self.drift:g}: a relative spread from 0 to 2, such as 0.15")
        if self.remote_slack is not None and not 0.0 <= self.remote_slack <= 100.0:
            raise OutOfRange(f"remote slack = {self.remote_slack:g}: a share of at least 0, such as 0.04")


def optimise(shape: Shape, loads: Loads, choices: Choices, goal: Goal | None = None) -> Placement:
    """Place experts on GPUs. ``loads`` [layers, experts] in any unit; see :class:`Goal` for what is weighed."""
    goal, choices = goal or Goal(), choices.thinned(SEARCHED_TOKENS)
    scaled = loads / loads.sum(axis=1, keepdims=True) * shape.gpus
    baseline = eplb.eplb(shape, loads)  # as given: scaling could break its ties otherwise
    rng = np.random.default_rng(goal.seed)
    if shape.node_local and goal.remote_slack is not None:
        reach = remote_nodes(baseline, scaled, choices)
        found = [_bounded(shape, scaled, choices, goal.remote_slack, reach)]
        if goal.remote_slack > 0 and len(loads) * shape.slots <= SMALL:
            limit = reach * (1.0 + goal.remote_slack) + 1e-9
            for free in _free(shape, scaled, goal, baseline, rng):
                far = remote_nodes(Placement(shape, free), scaled, choices) > limit
                found.append(np.where(far[:, None], found[0], free))
    else:
        found = _free(shape, scaled, goal, baseline, rng)
    experts = judged([baseline.expert_of, *found], shape, scaled, goal)
    bounded = shape.node_local and goal.remote_slack is not None
    return Placement(shape, experts if bounded or shape.nodes == 1 else _nearer(shape, scaled, choices, experts))


def _nearer(shape: Shape, loads: Loads, choices: Choices, experts: Slots) -> Slots:
    """GPUs gathered by groups where that shortens the way of tokens, as a few layers show."""
    few, moved = slice(0, JUDGED_LAYERS), homes.gathered(shape, loads, experts)
    reach = [remote_nodes(Placement(shape, each[few]), loads[few], choices).mean() for each in (experts, moved)]
    return moved if reach[1] < reach[0] else experts


def _bounded(shape: Shape, loads: Loads, choices: Choices, slack: float, reach: Loads) -> Slots:
    """Node-local but for the cheapest moves that level the nodes, at most ``slack`` more remote copies."""
    groups = homes.settle(shape, loads, choices, slack > 0)
    experts = leave.node_local(shape, loads, groups)
    if slack > 0:
        added = strangeness(shape, home_of(shape, groups), choices, len(loads))
        pairs = slack * reach / (1.0 - 1.0 / shape.nodes) / choices.top_k * shape.gpus
        experts = leave.level(shape, loads, experts, added, pairs)[0]
    return leave.packed(shape, loads, experts)


def home_of(shape: Shape, groups: Slots) -> Slots:
    """Node of each expert, [layers, experts], for the groups on each node."""
    layers, size = len(groups), shape.experts // shape.groups
    members = (groups[..., None] * size + np.arange(size)).reshape(layers, -1)
    home = np.empty((layers, shape.experts), dtype=np.int64)
    node = np.repeat(np.arange(shape.nodes), shape.experts // shape.nodes)
    np.put_along_axis(home, members, np.broadcast_to(node, members.shape), axis=1)
    return home


def _free(shape: Shape, loads: Loads, goal: Goal, baseline: Placement, rng: np.random.Generator) -> list[Slots]:
    """Candidates that ignore nodes: for two slots a GPU what to replicate is searched, else slots are swapped."""
    if shape.per_gpu == 1:
        return []
    start = eplb.global_(shape, loads).expert_of if shape.node_local else baseline.expert_of
    if shape.per_gpu == 2:
        return _pairs(shape, loads, goal, start, baseline, rng)
    share = local.shares(start, loads)
    found = [local.swap(start, share, shape.per_gpu, 400)[0]]
    if goal.drift:
        curve = _steepness(shape, goal) * goal.drift**2 / 2.0
        found.append(local.swap(start, share + curve * share**2, shape.per_gpu, 400)[0])
    searched = _shaken(shape, loads, found[0], rng)
    return found if searched is None else [*found, searched]


def _steepness(shape: Shape, goal: Goal) -> float:
    """t of the bound (1/t) ln Σ E e^{tX}: √(2 ln G)/ν is best for G equal normal loads of mean 1 and spread ν."""
    return float(np.sqrt(2.0 * np.log(max(shape.gpus, 2))) / goal.drift)


def _pairs(
    shape: Shape, loads: Loads, goal: Goal, start: Slots, baseline: Placement, rng: np.random.Generator
) -> list[Slots]:
    """Two slots a GPU: what to replicate, scored by the best pairing, for the window itself and for drift."""
    tries = min(32, shape.slots)
    starts = int(np.clip(WORK // (len(loads) * shape.slots * 400), 1, 24))
    rounds = int(np.clip(WORK // (len(loads) * shape.slots * starts * 4), 14, 120))
    many = np.repeat(np.arange(len(loads)), starts)
    pairs = local.Pairs(loads[many])
    still = pairs.improve(local.kicked(start[many], loads, starts, rng), rounds, tries, rng)
    best = pairs.score(local.shares(still, loads[many])).reshape(len(loads), starts).argmin(axis=1)
    still = still[best + np.arange(len(loads)) * starts]
    found = [local.fold(still, local.shares(still, loads))]
    if goal.drift:
        cap = baseline.imbalance(loads)
        drifting = local.Pairs(loads, _steepness(shape, goal), goal.drift, cap)
        for weight in (0.0, 0.25):
            moving = drifting.weighing(weight).improve(start, DRIFT_ROUNDS, tries, rng)
            found.append(local.fold(moving, local.shares(moving, loads)))
    return found


def _shaken(shape: Shape, loads: Loads, start: Slots, rng: np.random.Generator) -> Slots | None:
    """Layers still off their lower bound, searched further, the more the smaller they are."""
    busiest = local.shares(start, loads).reshape(len(loads), shape.gpus, -1).sum(axis=2).max(axis=1)
    off = np.flatnonzero(busiest > lower_bound(shape, loads) * (1.0 + CLOSE))
    work = len(off) * shape.slots * shape.per_gpu
    if not len(off) or work * 4 > WORK:
        return None
    starts = int(np.clip(WORK // (work * 100), 1, 16))
    rounds = int(np.clip(WORK // (work * starts), 4, 400))
    many = np.repeat(off, starts)
    found = local.shake(start[many], loads[many], shape.per_gpu, rounds, rng)
    level = local.shares(found, loads[many]).reshape(len(many), shape.gpus, -1).sum(axis=2).max(axis=1)
    best = level.reshape(len(off), starts).argmin(axis=1) + np.arange(len(off)) * starts
    out = start.copy()
    out[off] = found[best]
    return out


def judged(candidates: list[Slots], shape: Shape, loads: Loads, goal: Goal) -> Slots:
    """By layer, of the candidates that are behind the first in neither window, the one with the least sum of both.

    With drift the next window is WINDOWS sampled ones, the same for every candidate. The luckiest of several seems
    ahead by LUCK standard errors of its difference to the first; only what is ahead by more counts as ahead.
    """
    now = np.stack([Placement(shape, experts).imbalance(loads) for experts in candidates])
    score, behind = now, now > now[0] + 1e-9
    if goal.drift and len(candidates) > 1:
        noise = np.random.default_rng(goal.seed + 1).normal(0.0, goal.drift, (WINDOWS, shape.experts + len(loads) - 1))
        later = np.stack([sampled(experts, shape, loads, np.exp(noise)) for experts in candidates])
        ahead = later[0] - later
        luck = LUCK[min(len(candidates) - 1, len(LUCK)) - 1]
        certain = ahead.mean(axis=1) - luck * ahead.std(axis=1) / WINDOWS**0.5
        behind |= certain < 0.0
        behind[0] = False
        score = now + later.mean(axis=1)
    best = np.where(behind, np.inf, score).argmin(axis=0)
    return np.asarray(np.stack(candidates)[best, np.arange(len(loads))])


def sampled(experts: Slots, shape: Shape, loads: Loads, factors: Loads) -> Loads:
    """max/mean by window and layer when ``loads`` are multiplied by factors.

    ``factors`` [windows, experts + layers − 1]: layer i takes those from i on, so that luck differs between layers.
    """
    layers, by_slot = len(loads), (len(loads), shape.gpus, shape.per_gpu)
    share: Any = (loads / Placement(shape, experts).copies).astype(np.float32)
    # One array of flat indices for each slot of a GPU: long sums over GPUs, not many short ones over slots.
    where = (experts + np.arange(layers)[:, None] * shape.experts).reshape(by_slot).transpose(2, 0, 1).copy()
    out = np.empty((len(factors), layers))
    for i, factor in enumerate(factors.astype(np.float32)):
        drifted = (share * np.lib.stride_tricks.sliding_window_view(factor, shape.experts)).ravel()
        each = drifted.take(where[0])
        for slot in where[1:]:
            each += drifted.take(slot)
        out[i] = each.max(axis=1) / each.mean(axis=1)
    return out
