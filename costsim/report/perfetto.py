"""A pipeline timeline as a Chrome trace, which ui.perfetto.dev and chrome://tracing open [chrome-trace-format].

A rank is a process; its lanes are threads: compute, with the bubbles as slices of their own so that the lane adds up to
the step; all-to-all, as long as it is under way, in the middle of its chunk; and sends to other ranks.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from costsim.report.gantt import task_label
from costsim.schedule import COMPUTE, KIND_NAMES, Kind, Timeline
from costsim.units import MICRO

#: thread of each lane
COMPUTE_LANE, ALL_TO_ALL_LANE, SEND_LANE = 1, 2, 3
_LANES = {COMPUTE_LANE: "compute", ALL_TO_ALL_LANE: "all-to-all", SEND_LANE: "send"}
Event = dict[str, Any]


def perfetto(
    timeline: Timeline, name: str, notes: Mapping[str, object] | None = None, ranks: Sequence[int] | None = None
) -> str:
    """The trace as JSON text, times in µs. ``name`` is shown with every process; ``notes`` go along as text.

    ``ranks``: which, by default all. Quotes, control characters and ``<`` are escaped: names come from users' files,
    and a page may carry a trace inside a script element.
    """
    shown = range(timeline.program.ranks) if ranks is None else ranks
    events = [event for rank in shown for event in _rank_events(timeline, name, int(rank))]
    other = {"step_us": _us(timeline.step_s), **{str(key): str(value) for key, value in (notes or {}).items()}}
    text = json.dumps(
        {"displayTimeUnit": "ms", "otherData": other, "traceEvents": events},
        allow_nan=False, ensure_ascii=True, separators=(",", ":"),
    )  # fmt: skip
    return text.replace("<", "\\u003c") + "\n"


def _rank_events(timeline: Timeline, name: str, rank: int) -> Iterator[Event]:
    yield {"ph": "M", "pid": rank, "name": "process_name", "args": {"name": f"rank {rank} · {name}"[:300]}}
    yield {"ph": "M", "pid": rank, "name": "process_sort_index", "args": {"sort_index": rank}}
    for lane, title in _LANES.items():
        yield {"ph": "M", "pid": rank, "tid": lane, "name": "thread_name", "args": {"name": title}}
        yield {"ph": "M", "pid": rank, "tid": lane, "name": "thread_sort_index", "args": {"sort_index": lane}}
    mine = np.flatnonzero(timeline.rank == rank)
    mine = mine[np.lexsort((timeline.end_s[mine], timeline.start_s[mine]))]
    compute = [int(task) for task in mine if timeline.lane[task] == COMPUTE]
    yield from _with_bubbles(timeline, rank, compute)
    inside = timeline.all_to_all_s()
    for task in mine.tolist():
        start, end = float(timeline.start_s[task]), float(timeline.end_s[task])
        if timeline.kind[task] == Kind.SEND:
            if end > start:
                yield _slice(rank, SEND_LANE, _task_name(timeline, task), start, end, _args(timeline, task))
        elif inside[task] > 0:
            middle = (start + end) / 2
            half = float(inside[task]) / 2
            yield _slice(rank, ALL_TO_ALL_LANE, "all-to-all", middle - half, middle + half, _args(timeline, task))


def _with_bubbles(timeline: Timeline, rank: int, tasks: Iterable[int]) -> Iterator[Event]:
    """Compute slices in order, and what lies before, between and behind them as bubbles."""
    at = 0.0
    for task in tasks:
        start, end = float(timeline.start_s[task]), float(timeline.end_s[task])
        if _us(start) > _us(at):
            yield _slice(rank, COMPUTE_LANE, "bubble", at, start, {})
        if _us(end) > _us(start):
            yield _slice(rank, COMPUTE_LANE, _task_name(timeline, task), start, end, _args(timeline, task))
        at = end
    if _us(timeline.step_s) > _us(at):
        yield _slice(rank, COMPUTE_LANE, "bubble", at, timeline.step_s, {})


def _task_name(timeline: Timeline, task: int) -> str:
    return KIND_NAMES[Kind(timeline.kind[task])]


def _args(timeline: Timeline, task: int) -> dict[str, Any]:
    return {"what": task_label(timeline, task)}


def _slice(rank: int, lane: int, name: str, start: float, end: float, args: dict[str, Any]) -> Event:
    """A complete event. Its ends are rounded, not its length, so that slices that touch still do."""
    begins, finishes = _us(start), _us(end)
    duration = round(finishes - begins, 3)
    return {"ph": "X", "pid": rank, "tid": lane, "name": name, "cat": name, "ts": begins, "dur": duration, "args": args}


def _us(seconds: float) -> float:
    """Microseconds to a nanosecond."""
    return round(seconds / MICRO, 3)
