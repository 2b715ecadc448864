"""Attribution: how much of a difference each changed input makes, shared so that the parts add up.

Shapley's value φ_i = mean over all orders of changing the inputs of v(S ∪ i) − v(S), where v(S) is the answer with the
inputs in S changed. Combinations without an answer (a chip without the number format, a plan that does not fit)
are avoided: the mean runs over the orders that never meet one, each of which still adds up to the whole.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]
#: changed inputs that are told apart; beyond, every combination would be too many
MOST = 9


@dataclass(frozen=True)
class Share:
    """One group of inputs: its part of the whole, alone on A, and last towards B (NaN where these have no answer)."""

    names: tuple[str, ...]
    part: Vector
    alone: Vector
    last: Vector


@dataclass(frozen=True)
class Attribution:
    """``shares`` add up to ``whole`` = v(all) − v(none); ``interaction`` is what the parts alone leave over."""

    shares: tuple[Share, ...]
    whole: Vector
    start: Vector
    end: Vector
    orders: float
    refused: int

    @property
    def interaction(self) -> Vector:
        alone = sum((share.alone for share in self.shares), start=np.zeros_like(self.whole))
        return np.asarray(self.whole - alone, dtype=float)


def attribute(names: Sequence[str], value: Callable[[frozenset[str]], Vector | None]) -> Attribution:
    """Share out value(all) − value(none); ``value`` is None where a combination has no answer.

    Inputs that no order can change one by one are changed together and share one part. Raises ValueError where one
    of the two ends has no answer.
    """
    groups: list[tuple[str, ...]] = [(name,) for name in names]
    known: dict[frozenset[str], Vector | None] = {}

    def at(mask: int, parts: Sequence[tuple[str, ...]]) -> Vector | None:
        chosen = frozenset(name for bit, part in enumerate(parts) if mask >> bit & 1 for name in part)
        if chosen not in known:
            known[chosen] = value(chosen)
        return known[chosen]

    if at(0, groups) is None or at((1 << len(groups)) - 1, groups) is None:
        raise ValueError("one of the two ends has no answer")
    while True:
        values = [at(mask, groups) for mask in range(1 << len(groups))]
        up, down = paths(values)
        if up[-1] > 0:
            break
        groups = _joined(groups, at)
    refused = sum(found is None for found in known.values())
    return _shared(groups, values, up, down, refused)


def paths(values: Sequence[Vector | None]) -> tuple[list[float], list[float]]:
    """(orders from nothing to each combination, orders from it to everything) that only meet combinations with an
    answer."""
    size = len(values)
    bits = size.bit_length() - 1
    up, down = [0.0] * size, [0.0] * size
    up[0], down[-1] = 1.0, 1.0
    for mask in range(1, size):
        if values[mask] is not None:
            up[mask] = sum(up[mask ^ (1 << bit)] for bit in range(bits) if mask >> bit & 1)
    for mask in range(size - 2, -1, -1):
        if values[mask] is not None:
            down[mask] = sum(down[mask | (1 << bit)] for bit in range(bits) if not mask >> bit & 1)
    return up, down


def _joined(
    groups: list[tuple[str, ...]], at: Callable[[int, Sequence[tuple[str, ...]]], Vector | None]
) -> list[tuple[str, ...]]:
    """Two groups made one: the pair after which some order works, else the first two."""
    size = len(groups)
    tried = [
        [*(g for k, g in enumerate(groups) if k not in (i, j)), groups[i] + groups[j]]
        for i in range(size) for j in range(i + 1, size)
    ]  # fmt: skip
    for merged in tried:
        if paths([at(mask, merged) for mask in range(1 << len(merged))])[0][-1] > 0:
            return merged
    return tried[0]


def _shared(
    groups: Sequence[tuple[str, ...]], values: Sequence[Vector | None], up: Sequence[float], down: Sequence[float],
    refused: int,
) -> Attribution:  # fmt: skip
    start, end = values[0], values[-1]
    assert start is not None and end is not None  # noqa: PT018
    full, unknown = len(values) - 1, np.full_like(start, np.nan)
    shares = []
    for bit, names in enumerate(groups):
        one = 1 << bit
        part = np.zeros_like(start)
        for mask in range(len(values)):
            before, after = values[mask], values[mask | one]
            weight = up[mask] * down[mask | one] / up[-1]
            if not mask & one and weight > 0 and before is not None and after is not None:
                part = part + weight * (after - before)
        first, rest = values[one], values[full ^ one]
        shares.append(Share(names, part, unknown if first is None else first - start,
                            unknown if rest is None else end - rest))  # fmt: skip
    return Attribution(tuple(shares), end - start, start, end, up[-1], refused)
