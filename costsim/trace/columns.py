"""Spans as columns: what is kept of a trace's events, some 50 bytes each, whatever the file's size."""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from costsim.errors import Malformed

#: limits that a real trace does not reach; beyond them names and shapes are pooled, and spans refused
MAX_SPANS = 60_000_000
MAX_NAMES = 200_000
MAX_NAME = 400
MAX_DETAILS = 100_000
MAX_DETAIL = 4_000
MAX_TRACKS = 4_096
OTHER_NAMES = "(further names)"
NONE = -1
#: 32 bits for numbers of pooled values, 64 for identifiers
Ints = NDArray[Any]


@dataclass(frozen=True)
class Spans:
    """``n`` events with a start and an end, in order of start. Times in seconds from the start of the trace.

    ``correlation`` joins a kernel with its launch, ``external`` with the operator that asked for it; ``detail``
    points into ``Trace.details``. NONE where an event has none. ``blocks`` is the size of the kernel's grid.
    """

    name: Ints
    track: Ints
    start_s: NDArray[np.float64]
    end_s: NDArray[np.float64]
    correlation: Ints
    external: Ints
    detail: Ints
    blocks: Ints

    def __len__(self) -> int:
        return int(self.name.shape[0])

    @property
    def time_s(self) -> NDArray[np.float64]:
        return self.end_s - self.start_s

    def where(self, kept: NDArray[Any]) -> Spans:
        """The spans chosen by a mask or an index."""
        return Spans(
            self.name[kept], self.track[kept], self.start_s[kept], self.end_s[kept], self.correlation[kept],
            self.external[kept], self.detail[kept], self.blocks[kept],
        )  # fmt: skip

    @staticmethod
    def joined(first: Spans, second: Spans) -> Spans:
        """Both, in order of start."""
        columns = [np.concatenate((getattr(first, name), getattr(second, name))) for name in Spans.__dataclass_fields__]
        both = Spans(*columns)
        return both.where(np.lexsort((-both.end_s, both.start_s)))


class Columns:
    """Spans while they are read. Times in microseconds from the first event, as the format has them."""

    __slots__ = ("_ints", "_times", "count")

    def __init__(self) -> None:
        self._ints = tuple(array("i" if wide == 4 else "q") for wide in (4, 4, 8, 8, 4, 4))
        self._times = (array("d"), array("d"))
        self.count = 0

    def add(
        self, name: int, track: int, start: float, duration: float, correlation: int = NONE, external: int = NONE,
        detail: int = NONE, blocks: int = 0,
    ) -> None:  # fmt: skip
        for column, value in zip(self._ints, (name, track, correlation, external, detail, blocks), strict=True):
            column.append(value)
        self._times[0].append(start)
        self._times[1].append(duration)
        self.count += 1
        if self.count > MAX_SPANS:
            raise Malformed(f"trace: more than {MAX_SPANS:,} spans; profile fewer steps")

    def spans(self, zero_us: float) -> Spans:
        """The columns as arrays, in order of start and the longest first, so that a parent stands before its parts."""
        start, duration = (np.frombuffer(column, dtype=np.float64) for column in self._times)
        ints = [np.frombuffer(column, dtype=f"i{column.itemsize}") for column in self._ints]
        start = start - zero_us
        end = (start + duration) * 1e-6  # summed before scaling: what touches in the file touches here
        start *= 1e-6
        return Spans(ints[0], ints[1], start, end, *ints[2:]).where(np.lexsort((-end, start)))

    def starts_us(self) -> NDArray[np.float64]:
        return np.array(self._times[0], dtype=np.float64)


class Pool:
    """Values that repeat, each kept once and known by its number; beyond ``most`` all further ones are one."""

    def __init__(self, most: int) -> None:
        self.values: list[Any] = []
        self._number: dict[str, int] = {}
        self._most = most

    def number(self, key: str, value: Any) -> int:
        found = self._number.get(key)
        if found is None:
            if len(self.values) >= self._most:
                return NONE
            found = self._number[key] = len(self.values)
            self.values.append(value)
        return found
