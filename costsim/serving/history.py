"""History: the state of a run over time, and what had been spent up to some times, both thinned to bounded memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from costsim.serving.replica import Replica

#: points of the state over time that are kept; a longer run keeps every second one, again and again
MAX_POINTS = 4096
#: times at which the counters are kept, thinned likewise
MAX_MARKS = 256
#: columns of what a pool has spent, in replica seconds
BUSY, PROMPT, CACHED, KV = range(4)

Point = tuple[float, int, int, float]
"""(time, requests waiting, running, share of KV in use)."""


@dataclass(frozen=True)
class Mark:
    """Counters up to a time: ``spent`` [pools × (busy, prompt, cached, KV)] in seconds, ``gaps`` between tokens."""

    time_s: float
    spent: NDArray[np.float64]
    gaps: Mapping[int, float]

    def towards(self, other: Mark, share: float) -> Mark:
        """Between this mark and a later one; counters grow evenly in between."""
        gaps = {b: weight - (1.0 - share) * (weight - self.gaps.get(b, 0.0)) for b, weight in other.gaps.items()}
        time_s = self.time_s + share * (other.time_s - self.time_s)
        return Mark(time_s, self.spent + share * (other.spent - self.spent), gaps)


@dataclass(frozen=True)
class History:
    """``points`` of the state, and ``marks`` from the start to the end of the run."""

    points: tuple[Point, ...]
    marks: tuple[Mark, ...]

    def at(self, time_s: float) -> Mark:
        """The counters at a time of the run."""
        marks = self.marks
        after = int(np.searchsorted([mark.time_s for mark in marks], max(time_s, 0.0), side="right"))
        if after >= len(marks):
            return marks[-1]
        before, later = marks[after - 1], marks[after]
        return before.towards(later, (time_s - before.time_s) / (later.time_s - before.time_s))


class Recorder:
    """Notes the state and the counters of the pools of replicas as a simulation goes on."""

    def __init__(self, pools: Sequence[Sequence[Replica]], gaps: dict[int, float]) -> None:
        self.pools, self.gaps = pools, gaps
        self.points: list[Point] = []
        self.marks = [Mark(0.0, np.zeros((len(pools), 4)), {})]
        self._every = self._each = 1
        self._seen = 0

    def add(self, now_s: float) -> None:
        """Note the state at ``now_s``, if it is this event's turn."""
        self._seen += 1
        if self._seen % self._each == 0:
            self._mark(now_s)
        if self._seen % self._every:
            return
        replicas = [replica for pool in self.pools for replica in pool]
        running = sum(replica.running for replica in replicas)
        waiting = sum(replica.requests for replica in replicas) - running
        kv = sum(replica.kv_share for replica in replicas) / len(replicas)
        self.points.append((now_s, waiting, running, kv))
        if len(self.points) >= MAX_POINTS:
            del self.points[::2]
            self._every *= 2

    def _mark(self, now_s: float) -> None:
        rows = []
        for pool in self.pools:
            own = [replica.statistics for replica in pool]
            rows.append([sum(getattr(s, name) for s in own) for name in ("busy_s", "prompt_s", "cached_s", "kv_s")])
        self.marks.append(Mark(now_s, np.array(rows), dict(self.gaps)))
        if len(self.marks) > MAX_MARKS:
            del self.marks[1::2]  # never the first, at time zero
            self._each *= 2

    def history(self, end_s: float) -> History:
        """What was noted, and the counters at the end."""
        self._mark(end_s)
        return History(tuple(self.points), tuple(self.marks))
