"""Phases: which annotation of the program asked for which work, and how long it took on each stream.

A kernel belongs to the innermost annotation that was open on the thread that launched it, when it was launched. The
autograd engine launches from threads of its own, which carry no annotation; then the annotation counts that was open
on another thread of the process, for backward() holds it open until the engine is done.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from costsim.trace.columns import Spans
from costsim.trace.recording import Trace
from costsim.trace.summary import PhaseUse
from costsim.trace.work import COLLECTIVE_SPAN, Work, launch_of, own_pieces

OUTSIDE = "(outside annotations)"
_COUNTER = re.compile(r"#\d+$")


def phases(work: Work, most: int = 200) -> tuple[PhaseUse, ...]:
    """Time by annotation and stream, in order of first appearance; () where the trace holds no annotation."""
    trace = work.trace
    names, occurrences, of_piece = _phase_of_pieces(work)
    if not names:
        return ()
    spans, waiting, rows = work.spans, work.of_roles("wait"), []
    key = of_piece * len(trace.tracks) + spans.track
    for number in dict.fromkeys(key.tolist()):
        kept = key == number
        name = names[number // len(trace.tracks)]
        time_s = float(np.sum(spans.time_s[kept]))
        if time_s > 0:
            count = occurrences.get(name, 1)
            stream = trace.tracks[number % len(trace.tracks)].label
            wait_s = float(np.sum(spans.time_s[kept & waiting]))
            rows.append(PhaseUse(name, stream, count, int(np.sum(work.opens[kept])), time_s, wait_s, time_s / count))
        if len(rows) >= most:
            break
    return tuple(rows)


def _phase_of_pieces(work: Work) -> tuple[list[str], Counter[str], NDArray[np.int64]]:
    """Names of phases, how often each occurs, and the phase of each piece as an index into the names."""
    trace = work.trace
    ranges = trace.ranges if len(trace.ranges) else trace.device_ranges
    by_host = len(trace.ranges) > 0
    own = np.array([not COLLECTIVE_SPAN.match(name) for name in trace.names])
    ranges = ranges.where(own[ranges.name])
    if not len(ranges):
        return [], Counter(), np.zeros(0, np.int64)
    shown = [_COUNTER.sub("", name) for name in trace.names]
    found = np.full(len(work.spans), -1, dtype=np.int64)
    if not work.on_device:
        found = _innermost(ranges, work.spans.track, work.spans.start_s, trace)
    elif by_host:
        launch = launch_of(work)
        known = launch >= 0
        launches = trace.launches.where(launch[known])
        found[known] = _innermost(ranges, launches.track, launches.start_s, trace)
    else:
        found = _innermost(ranges, work.spans.track, work.spans.start_s, None)
    names = list(dict.fromkeys(shown[name] for name in ranges.name.tolist()))
    number_of = {name: number for number, name in enumerate(names)}
    by_name = np.array([number_of.get(name, -1) for name in shown] + [-1])  # [-1]: no annotation
    occurrences = Counter(shown[name] for name in ranges.name.tolist())
    numbers = by_name[found]
    if np.any(numbers < 0):
        names = [*names, OUTSIDE]
        numbers = np.where(numbers < 0, len(names) - 1, numbers)
    return names, occurrences, numbers


def _innermost(ranges: Spans, track: NDArray[Any], at: NDArray[np.float64], trace: Trace | None) -> NDArray[np.int64]:
    """The name of the innermost annotation open at each time on that track, else in its process if ``trace``; or -1."""
    pieces, _ = own_pieces(ranges)
    found = np.full(at.shape, -1, dtype=np.int64)
    process = np.array(_process_numbers(trace)) if trace else np.zeros(0, np.int64)
    for other in np.unique(pieces.track).tolist():
        of_track = pieces.where(pieces.track == other)
        place = np.searchsorted(of_track.start_s, at, side="right") - 1
        inside = (place >= 0) & (at <= of_track.end_s[np.maximum(place, 0)])
        name = of_track.name[np.maximum(place, 0)]
        beside = (found < 0) & (process[track] == process[other]) if trace else False
        found = np.where(inside & ((track == other) | beside), name, found)
    return found


def _process_numbers(trace: Trace) -> list[int]:
    numbers: dict[str, int] = {}
    return [numbers.setdefault(track.process, len(numbers)) for track in trace.tracks]
