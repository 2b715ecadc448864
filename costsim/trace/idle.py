"""Gaps: times without work, and whether the host was late or the work waited for something else."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from costsim.trace.intervals import Intervals, gaps, length
from costsim.trace.summary import Gap, Idle
from costsim.trace.work import Work, launch_of

LARGEST = 8


def idle_times(work: Work, computing: NDArray[np.bool_]) -> tuple[Idle, ...]:
    """Gaps of all streams together and, where others communicate, of the computing streams."""
    rows = [_idle(work, np.ones(len(work.spans), bool), "all streams")]
    if computing.any() and not computing.all():
        rows.append(_idle(work, computing, "computing streams"))
    return tuple(rows)


def _idle(work: Work, kept: NDArray[np.bool_], where: str) -> Idle:
    spans, launch = work.spans.where(kept), launch_of(work)[kept]
    between = gaps(work.covered(kept))
    late = _launched(work, launch)
    starts = between[:, 0] if len(between) else np.zeros(0)
    after = np.searchsorted(spans.start_s, between[:, 1], side="left") if len(between) else np.zeros(0, np.int64)
    after = np.minimum(after, len(spans) - 1)
    is_late = late[after] > starts
    known = bool(np.any(launch >= 0))
    late_s = float(np.sum((between[:, 1] - between[:, 0])[is_late])) if known and len(between) else None
    time_s = length(between)
    by_end = np.argsort(spans.end_s, kind="stable")
    largest = _largest(work, spans.name, by_end, spans.end_s, between, after, is_late, launch >= 0)
    return Idle(where, len(between), time_s, time_s / (work.wall_s or 1.0), late_s if known else None, largest)


def _launched(work: Work, launch: NDArray[np.int64]) -> NDArray[np.float64]:
    """When each piece was launched; minus infinity where that is not recorded."""
    launches = work.trace.launches
    if not len(launches):
        return np.full(launch.shape, -np.inf)
    return np.where(launch >= 0, launches.start_s[launch], -np.inf)


def _largest(
    work: Work, name: NDArray[np.int64], by_end: NDArray[np.int64], end_s: NDArray[np.float64], between: Intervals,
    after: NDArray[np.int64], is_late: NDArray[np.bool_], launched: NDArray[np.bool_],
) -> tuple[Gap, ...]:  # fmt: skip
    names, first = work.trace.names, float(work.spans.start_s.min())
    before = by_end[np.maximum(np.searchsorted(end_s[by_end], between[:, 0], side="right") - 1, 0)]
    rows = []
    for gap in np.argsort(between[:, 0] - between[:, 1], kind="stable")[:LARGEST].tolist():
        cause = "late launch" if is_late[gap] else "waited" if launched[after[gap]] else ""
        start, end = between[gap].tolist()
        rows.append(Gap(start - first, end - start, names[name[before[gap]]],
                        names[name[after[gap]]], cause))  # fmt: skip
    return tuple(rows)
