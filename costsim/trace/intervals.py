"""Sets of time on the real line as sorted, disjoint intervals: arrays ``[n, 2]`` of starts and ends.

Everything is arithmetic on end points, without a raster, so a sum of lengths is exact to rounding. Intervals
of length zero carry no time and are dropped.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

#: disjoint intervals in order of time, shape [n, 2]
Intervals = NDArray[np.float64]
Times = NDArray[np.float64]

EMPTY: Intervals = np.zeros((0, 2))


def union(start: Times, end: Times) -> Intervals:
    """The points that any of the intervals [start, end) covers; those that touch become one."""
    kept = end > start
    start, end = start[kept], end[kept]
    if start.size == 0:
        return EMPTY
    order = np.argsort(start, kind="stable")
    start, reach = start[order], np.maximum.accumulate(end[order])
    opens = np.concatenate(([True], start[1:] > reach[:-1]))
    closes = np.concatenate((opens[1:], [True]))
    return np.column_stack((start[opens], reach[closes]))


def length(a: Intervals) -> float:
    """Total time covered."""
    return float(np.sum(a[:, 1] - a[:, 0]))


def covered_before(a: Intervals, at: Times) -> Times:
    """How much of ``a`` lies before each time."""
    if a.shape[0] == 0:
        return np.zeros(np.shape(at))
    sums = np.concatenate(([0.0], np.cumsum(a[:, 1] - a[:, 0])))
    index = np.searchsorted(a[:, 0], at, side="right") - 1
    inside = np.minimum(at, a[np.maximum(index, 0), 1]) - a[np.maximum(index, 0), 0]
    return np.where(index < 0, 0.0, sums[np.maximum(index, 0)] + inside)


def overlap_of(start: Times, end: Times, a: Intervals) -> Times:
    """For each single interval, how much of it ``a`` covers."""
    return np.maximum(covered_before(a, end) - covered_before(a, start), 0.0)


def _inside(a: Intervals, at: Times) -> NDArray[np.bool_]:
    index = np.searchsorted(a[:, 0], at, side="right") - 1
    return (index >= 0) & (at < a[np.maximum(index, 0), 1]) if a.shape[0] else np.zeros(at.shape, bool)


def _combined(a: Intervals, b: Intervals, keep_b: bool) -> Intervals:
    edges = np.unique(np.concatenate((a.ravel(), b.ravel())))
    if edges.size < 2 or a.shape[0] == 0:
        return EMPTY
    start, end = edges[:-1], edges[1:]
    kept = _inside(a, start) & (_inside(b, start) == keep_b)
    return union(start[kept], end[kept])


def intersection(a: Intervals, b: Intervals) -> Intervals:
    """The time in both."""
    return _combined(a, b, True)


def difference(a: Intervals, b: Intervals) -> Intervals:
    """The time in ``a`` and not in ``b``."""
    return _combined(a, b, False)


def gaps(a: Intervals) -> Intervals:
    """The time between the first start and the last end that ``a`` does not cover."""
    return np.column_stack((a[:-1, 1], a[1:, 0])) if a.shape[0] > 1 else EMPTY


def thinned(a: Intervals, least: float) -> Intervals:
    """``a`` with gaps shorter than ``least`` closed: what a drawing of that resolution can show."""
    if a.shape[0] < 2:
        return a
    opens = np.concatenate(([True], a[1:, 0] - a[:-1, 1] >= least))
    closes = np.concatenate((opens[1:], [True]))
    return np.column_stack((a[opens, 0], a[closes, 1]))
