"""Grids of plans as open meshes: each key is an axis, and every formula broadcasts over them.

An op that depends on two of the keys is computed on those two axes only; nothing loops over plans.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from costsim.errors import BadOption, OutOfRange

#: plans evaluated at a time: the arrays of one step stay in the processor's cache
CHUNK = 1 << 16
MAX_PLANS = 200_000_000

Values = Sequence[float] | Sequence[str]


@dataclass(frozen=True)
class Block:
    """A part of a grid: words fixed, numbers as arrays of an open mesh of ``shape``."""

    words: dict[str, str]
    numbers: dict[str, NDArray[np.float64]]
    axes: tuple[NDArray[np.float64], ...]
    names: tuple[str, ...]
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64))

    def plan_at(self, index: int) -> dict[str, Any]:
        """The plan at a flat index, as plain values."""
        where = np.unravel_index(index, self.shape)
        numbers = {name: plain(axis[i]) for name, axis, i in zip(self.names, self.axes, where, strict=True)}
        return {**self.words, **numbers}


def plain(value: np.float64) -> int | float:
    """A number of a grid as a person writes it."""
    return int(value) if value == np.floor(value) else float(value)


def plan_count(grid: Mapping[str, Values]) -> int:
    """How many plans a grid holds; refuses an empty axis and absurd sizes."""
    count = 1
    for name, values in grid.items():
        if len(values) == 0:
            raise BadOption(f"{name}: no values to search over")
        count *= len(values)
    if count > MAX_PLANS:
        raise OutOfRange(f"the grid holds {count:,} plans, more than {MAX_PLANS:,}; use larger steps")
    return count


def blocks(grid: Mapping[str, Values], chunk: int = CHUNK) -> Iterator[Block]:
    """Split a grid into blocks of about ``chunk`` plans: words by product, numbers along the longest axis."""
    words = {name: values for name, values in grid.items() if isinstance(values[0], str)}
    names = tuple(name for name in grid if name not in words)
    axes = tuple(np.asarray(grid[name], dtype=float) for name in names)
    size = int(np.prod([len(axis) for axis in axes], dtype=np.int64)) if axes else 1
    longest = max(range(len(axes)), key=lambda i: len(axes[i])) if axes else 0
    pieces = min(-(-size // chunk), len(axes[longest])) if axes else 1
    for chosen in itertools.product(*words.values()):
        fixed = dict(zip(words, (str(word) for word in chosen), strict=True))
        for part in np.array_split(axes[longest], pieces) if axes else [np.empty(0)]:
            cut = tuple(part if i == longest else axis for i, axis in enumerate(axes))
            yield _block(fixed, names, cut)


def _block(words: dict[str, str], names: tuple[str, ...], axes: tuple[NDArray[np.float64], ...]) -> Block:
    shape = tuple(len(axis) for axis in axes)
    numbers = {}
    for i, (name, axis) in enumerate(zip(names, axes, strict=True)):
        numbers[name] = axis.reshape(tuple(-1 if j == i else 1 for j in range(len(axes))))
    return Block(words, numbers, axes, names, shape)


def at_edge(grid: Mapping[str, Values], best: Mapping[str, Any], most_gpus: float | None = None) -> str:
    """A line that names the axes on whose end ``best`` lies although they could go on; empty where there are none.

    An end is no edge where the next value would break a rule: below one, more expert ranks than cards, above
    ``most_gpus``. An axis of one value was not searched.
    """
    ends = []
    for name, values in grid.items():
        at = best.get(name)
        if len(values) < 2 or not isinstance(at, (int, float)):
            continue
        largest, smallest = max(float(v) for v in values), min(float(v) for v in values)
        limit = {"gpus": most_gpus, "ep": float(best.get("gpus", np.inf))}.get(name)
        if at == largest and (limit is None or at < limit):
            ends.append(f"{name} {at:g} is the largest tried")
        elif at == smallest and at > 1:
            ends.append(f"{name} {at:g} is the smallest tried")
    return (
        f"the best plan lies at the edge of the grid ({', '.join(ends)}): a wider one may hold a better" if ends else ""
    )
