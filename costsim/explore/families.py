"""Families of plans: all that share one value of one key. How many fit, how good the best is, what stopped the rest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from costsim.explore.grid import Block, Values, plain

Mask = NDArray[np.bool_]
#: keys with more values than this are scales (a batch from 1 to 1024), not families
MOST_VALUES = 32
#: a part that loses less than this share of the best plan's time is not named
_TOLD = 0.01


@dataclass(frozen=True)
class Family:
    """Plans with ``key`` = ``value``: ``best`` objective among the feasible (None where none is), with its plan.

    ``reason`` is what most of its plans fell out for; where some are feasible and none is the overall best,
    ``behind`` says what its best plan loses on.
    """

    key: str
    value: Any
    evaluated: int
    feasible: int
    best: float | None
    plan: Mapping[str, Any] | None
    reason: str
    behind: str = ""

    def json(self) -> dict[str, Any]:
        return {
            "family": f"{self.key}={self.value}", "key": self.key, "value": self.value, "evaluated": self.evaluated,
            "feasible": self.feasible, "best": self.best, "plan": None if self.plan is None else dict(self.plan),
            "reason": self.reason, "behind": self.behind,
        }  # fmt: skip


@dataclass
class _Count:
    evaluated: int = 0
    feasible: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    cost: float = np.inf
    plan: dict[str, Any] | None = None


@dataclass
class Tally:
    """Families of a grid, filled block by block."""

    keys: tuple[str, ...]
    counts: dict[tuple[str, Any], _Count] = field(default_factory=dict)

    def add(self, block: Block, out: Sequence[tuple[str, Mask]], good: Mask, cost: NDArray[np.float64]) -> None:
        """``out``: plans that fell out, by reason; ``good``: those left; ``cost``: less is better; all of one shape."""
        words = {key: value for key, value in block.words.items() if key in self.keys}
        axes = {i: name for i, name in enumerate(block.names) if name in self.keys and len(block.axes[i]) > 0}
        held = np.where(good, cost, np.inf)
        best = int(np.argmin(held)) if held.size else 0
        for key, value in words.items():
            self._count(block, (key, value), block.size, int(good.sum()), held.flat[best], best)
            for reason, mask in out:
                self.counts[key, value].reasons[reason] += int(mask.sum())
        for axis, name in axes.items():
            others = tuple(i for i in range(good.ndim) if i != axis)
            feasible = good.sum(axis=others)
            lost = {reason: mask.sum(axis=others) for reason, mask in out}
            least = held.min(axis=others)
            each = block.size // len(block.axes[axis])
            for index, raw in enumerate(block.axes[axis]):
                at = (name, plain(raw))
                known = self.counts.get(at)
                where = 0
                if least[index] < (np.inf if known is None else known.cost):
                    part = np.take(held, index, axis=axis)
                    spot = list(np.unravel_index(int(np.argmin(part)), part.shape))
                    spot.insert(axis, np.intp(index))
                    where = int(np.ravel_multi_index(tuple(spot), held.shape))
                self._count(block, at, each, int(feasible[index]), float(least[index]), where)
                for reason, by_value in lost.items():
                    self.counts[at].reasons[reason] += int(by_value[index])

    def _count(self, block: Block, at: tuple[str, Any], evaluated: int, feasible: int, cost: float, where: int) -> None:
        count = self.counts.setdefault(at, _Count())
        count.evaluated += evaluated
        count.feasible += feasible
        if cost < count.cost:
            count.cost, count.plan = float(cost), block.plan_at(where)

    def families(self, sign: float) -> tuple[Family, ...]:
        """Every family, keys in the order of the grid; ``sign`` turns cost back into the objective."""
        found = []
        for (key, value), count in sorted(self.counts.items(), key=lambda item: self.keys.index(item[0][0])):
            reason = max(count.reasons, key=lambda name: count.reasons[name], default="")
            best = None if count.plan is None else count.cost * sign
            found.append(Family(key, value, count.evaluated, count.feasible, best, count.plan,
                                reason if count.reasons[reason] else ""))  # fmt: skip
        return tuple(found)


Plan = Mapping[str, Any]
Parts = Callable[[Sequence[Plan]], Sequence[Mapping[str, float]]]


def compared(families: Sequence[Family], sign: float, parts: Parts | None) -> tuple[Family, ...]:
    """Families with ``behind`` filled: how far the best plan of each is from the best of all, and in which parts.

    ``parts`` gives the seconds of plans by part, where the question has any; the two largest losses are named.
    """
    known = [family for family in families if family.best is not None and family.plan is not None]
    if not known:
        return tuple(families)
    first = min(known, key=lambda family: (family.best or 0.0) * sign)
    plans = list({_key(family.plan): family.plan or {} for family in known}.values())
    split = dict(zip(map(_key, plans), parts(plans), strict=True)) if parts is not None else {}
    base = split.get(_key(first.plan), {})
    out = []
    for family in families:
        if family.best is None or first.best is None or family.best == first.best:
            out.append(family)
            continue
        words = f"{(family.best / first.best) ** sign:.2f}x the best"
        own = split.get(_key(family.plan), {})
        losses = sorted(((own[name] - base.get(name, 0.0), name) for name in own), reverse=True)[:2]
        told = [f"{name} +{loss:.3g} s" for loss, name in losses if loss > _TOLD * sum(base.values())]
        out.append(replace(family, behind=f"{words}: {', '.join(told)}" if told else words))
    return tuple(out)


def _key(plan: Plan | None) -> tuple[tuple[str, Any], ...]:
    return () if plan is None else tuple(sorted(plan.items(), key=lambda item: item[0]))


def family_keys(grid: Mapping[str, Values], among: Collection[str]) -> tuple[str, ...]:
    """Keys of ``among`` that make families: several values, and not too many."""
    return tuple(name for name, values in grid.items() if name in among and 1 < len(values) <= MOST_VALUES)
