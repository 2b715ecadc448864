"""Interval arithmetic against a raster of whole numbers, on which a set of intervals is a set of cells."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from costsim.trace.intervals import (
    EMPTY,
    Intervals,
    covered_before,
    difference,
    gaps,
    intersection,
    length,
    overlap_of,
    thinned,
    union,
)

SPAN = 40
pairs = st.lists(st.tuples(st.integers(0, SPAN), st.integers(0, 8)), max_size=12)


def cells(spans: list[tuple[int, int]]) -> set[int]:
    return {cell for start, size in spans for cell in range(start, start + size)}


def set_of(spans: list[tuple[int, int]]) -> Intervals:
    start = np.array([float(start) for start, _ in spans])
    return union(start, start + np.array([float(size) for _, size in spans]))


def cells_of(a: Intervals) -> set[int]:
    assert np.all(a[:, 1] > a[:, 0]), "no empty interval is kept"
    assert np.all(a[1:, 0] > a[:-1, 1]), "sorted, disjoint, and what touches is joined"
    return cells([(int(start), int(end - start)) for start, end in a.tolist()])


@given(pairs, pairs)
def test_sets_of_time_are_sets_of_cells(first: list[tuple[int, int]], second: list[tuple[int, int]]) -> None:
    a, b = set_of(first), set_of(second)
    assert cells_of(a) == cells(first)
    assert length(a) == len(cells(first))
    assert cells_of(intersection(a, b)) == cells(first) & cells(second)
    assert cells_of(difference(a, b)) == cells(first) - cells(second)
    assert length(a) == length(intersection(a, b)) + length(difference(a, b))


@given(pairs, pairs)
def test_overlap_of_each_and_time_before(first: list[tuple[int, int]], second: list[tuple[int, int]]) -> None:
    b = set_of(second)
    start = np.array([float(start) for start, _ in first])
    end = start + np.array([float(size) for _, size in first])
    each = [len(cells([span]) & cells(second)) for span in first]
    assert overlap_of(start, end, b).tolist() == each
    before = [len([cell for cell in cells(second) if cell < at]) for at in range(SPAN + 9)]
    assert covered_before(b, np.arange(SPAN + 9, dtype=float)).tolist() == before


@given(pairs, st.integers(1, 6))
def test_gaps_and_thinning(spans: list[tuple[int, int]], least: int) -> None:
    a = set_of(spans)
    if len(a):
        holes = set(range(int(a[0, 0]), int(a[-1, 1]))) - cells(spans)
        assert cells_of(gaps(a)) == holes if len(a) > 1 else not holes
    coarse = thinned(a, least)
    assert cells_of(coarse) >= cells(spans)
    assert all(size >= least for size in (coarse[1:, 0] - coarse[:-1, 1]).tolist())
    assert cells_of(coarse) - cells(spans) <= (cells_of(gaps(a)) if len(a) > 1 else set())


def test_nothing_is_empty() -> None:
    nothing = union(np.zeros(3), np.zeros(3))
    assert nothing.shape == EMPTY.shape == (0, 2)
    some = union(np.array([1.0]), np.array([2.5]))
    assert length(intersection(nothing, some)) == 0
    assert length(difference(some, nothing)) == pytest.approx(1.5)
    assert length(difference(nothing, some)) == 0
