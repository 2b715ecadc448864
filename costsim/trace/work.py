"""What a trace's processors did when: kernels on streams or, where there is no device, operators on threads.

Operators of the host nest. Each one's own time is what no operator inside it covers, so the pieces of a thread
never overlap and add up; a call cut into pieces is counted once.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from costsim.errors import Malformed
from costsim.trace.columns import Spans
from costsim.trace.families import ROLES, Family, Role, family_of
from costsim.trace.hccl import cut_by_tasks
from costsim.trace.intervals import Intervals, union
from costsim.trace.recording import Trace

#: annotations that c10d's back ends put around a collective on the thread that carries it out
COLLECTIVE_SPAN = re.compile(r"^(?:gloo|nccl|hccl|mccl|cncl|xccl|ucc|mpi):", re.IGNORECASE)
#: HCCL draws each operation once whole and again task by task on its planes
_HCCL, _PLANE = re.compile(r"hccl|^communication", re.IGNORECASE), re.compile(r"^plane\b", re.IGNORECASE)


@dataclass(frozen=True)
class Work:
    """Pieces of work in order of start; ``opens`` is False for later pieces of one call.

    ``families`` holds the family of each name of the trace; ``role`` what each piece does as a place in ROLES, which
    differs from its family's where waiting was told from transfer.
    """

    trace: Trace
    spans: Spans
    opens: NDArray[np.bool_]
    role: NDArray[np.int8]
    families: tuple[Family, ...]
    on_device: bool

    def covered(self, kept: NDArray[np.bool_]) -> Intervals:
        """When any of the chosen pieces ran."""
        return union(self.spans.start_s[kept], self.spans.end_s[kept])

    def of_roles(self, *roles: Role) -> NDArray[np.bool_]:
        return np.isin(self.role, [ROLES.index(role) for role in roles])

    def group_of(self, key: list[str]) -> tuple[list[str], NDArray[np.int64]]:
        """Distinct values of ``key`` (one for each name of the trace), and the place of each piece among them."""
        distinct = list(dict.fromkeys(key))
        number = {value: place for place, value in enumerate(distinct)}
        return distinct, np.array([number[value] for value in key])[self.spans.name]

    @property
    def wall_s(self) -> float:
        """From the first start to the last end."""
        return float(self.spans.end_s.max() - self.spans.start_s.min())


def work_of(trace: Trace) -> Work:
    """The kernels of a trace, or its operators where it has no kernel; BadInput where it has neither."""
    families = tuple(family_of(name) for name in trace.names)
    if len(trace.kernels):
        return _device_work(trace, families)
    spans, _ = own_pieces(trace.ops)
    carried = np.array([bool(COLLECTIVE_SPAN.match(name)) for name in trace.names])
    collectives = trace.ranges.where(carried[trace.ranges.name])
    if not len(spans) and not len(collectives):
        raise Malformed(f"trace {trace.file}: holds neither kernels nor operators; profile with activities")
    both = Spans.joined(spans, collectives)
    # a piece that is a later part of its call keeps its mark through the merge, by the sign of its block count
    marked = both.blocks < 0
    return Work(trace, both, ~marked, _roles(families, both), families, False)


def _device_work(trace: Trace, families: tuple[Family, ...]) -> Work:
    spans = trace.kernels
    role = _roles(families, spans)
    task = np.array([bool(_PLANE.match(track.thread)) for track in trace.tracks])[spans.track]
    opens = np.ones(len(spans), bool)
    if task.any() and not task.all():
        whole = np.array([bool(_HCCL.search(track.host_process)) for track in trace.tracks])[spans.track]
        spans, role, opens = cut_by_tasks(spans, role, whole, task)
    return Work(trace, spans, opens, role, families, True)


def _roles(families: tuple[Family, ...], spans: Spans) -> NDArray[np.int8]:
    return np.array([ROLES.index(family.role) for family in families], dtype=np.int8)[spans.name]


def launch_of(work: Work) -> NDArray[np.int64]:
    """For each piece, which of the trace's launches asked for it; -1 where that is not recorded."""
    launches = work.trace.launches
    return matched(work.spans.correlation, launches.correlation)


def matched(wanted: NDArray[Any], having: NDArray[Any]) -> NDArray[np.int64]:
    """The place in ``having`` of each wanted identifier, -1 where there is none. The first of equal ones counts."""
    if not having.size:
        return np.full(wanted.shape, -1, dtype=np.int64)
    order = np.argsort(having, kind="stable")
    place = np.minimum(np.searchsorted(having[order], wanted), having.size - 1)
    found = order[place]
    return np.where((having[found] == wanted) & (wanted >= 0), found, -1)


def own_pieces(spans: Spans) -> tuple[Spans, NDArray[np.bool_]]:
    """Each span without the time of those inside it on the same track, as pieces; the second value marks first ones.

    A span that only partly overlaps its predecessor (clocks of threads can) is taken to end the predecessor's time
    where it starts. Later pieces carry -1 as their block count.
    """
    index: list[int] = []
    start: list[float] = []
    end: list[float] = []
    order = np.argsort(spans.track, kind="stable")  # in order of start within each track
    track, begins, ends = spans.track.tolist(), spans.start_s.tolist(), spans.end_s.tolist()

    def piece(which: int, left: float, right: float) -> None:
        if right > left:
            index.append(which)
            start.append(left)
            end.append(right)

    open_spans: list[int] = []
    at, previous = 0.0, -1
    for which in [*order.tolist(), None]:
        begin = begins[which] if which is not None and track[which] == previous else float("inf")
        while open_spans and ends[open_spans[-1]] <= begin:
            last = open_spans.pop()
            piece(last, at, ends[last])
            at = max(at, ends[last])
        if which is None:
            break
        if track[which] != previous:
            previous, at = track[which], begins[which]
            open_spans.clear()
        elif open_spans:
            piece(open_spans[-1], at, begins[which])
        at = max(at, begins[which]) if open_spans else begins[which]
        open_spans.append(which)
    chosen = np.array(index, dtype=np.int64)
    seen = np.zeros(len(spans), bool)
    opens = np.zeros(len(chosen), bool)
    for place, which in enumerate(index):
        opens[place], seen[which] = not seen[which], True
    cut = spans.where(chosen)
    blocks = np.where(opens, 0, -1)
    pieces = replace(cut, start_s=np.array(start), end_s=np.array(end), blocks=blocks)
    by_time = np.argsort(pieces.start_s, kind="stable")
    return pieces.where(by_time), opens[by_time]
