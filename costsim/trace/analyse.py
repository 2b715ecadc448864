"""A trace's work as a summary: streams, families, top kernels, overlap, gaps, phases, collectives and a timeline."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from costsim.trace.collectives import collectives
from costsim.trace.families import ROLES
from costsim.trace.idle import idle_times
from costsim.trace.intervals import gaps, intersection, length, overlap_of, thinned
from costsim.trace.phases import phases
from costsim.trace.summary import FamilyUse, KernelUse, Lane, Overlap, StreamUse, TraceSummary
from costsim.trace.work import Work

#: rows of the table of kernels, steps that a timeline's drawing tells apart, and streams that it shows
TOP_KERNELS, TIMELINE_STEPS, MOST_LANES = 30, 1200, 24
WAITING = "waiting"
MOVING: tuple[Any, ...] = ("transfer", "wait")


def analyse(work: Work, notes: tuple[str, ...] = ()) -> TraceSummary:
    """Everything that one rank's trace says of itself."""
    trace, roles = work.trace, stream_roles(work)
    devices = dict.fromkeys(trace.devices)
    device = ", ".join(devices) if devices and work.on_device else "CPU" if not work.on_device else "unnamed device"
    return TraceSummary(
        file=trace.file,
        rank=trace.shown + ("" if trace.world is None else f" of {trace.world}"),
        device=device,
        wall_s=work.wall_s,
        busy_s=length(work.covered(np.ones(len(work.spans), bool))),
        streams=_streams(work, roles),
        families=_families(work),
        kernels=_kernels(work),
        overlaps=overlaps(work, roles),
        idle=idle_times(work, _computing_streams(work, roles)),
        phases=phases(work),
        collectives=collectives(work),
        lanes=_lanes(work),
        notes=(*trace.notes, *notes, *_remarks(work)),
    )


def stream_roles(work: Work) -> dict[int, str]:
    """What each track spends most of its busy time on: computing or communication."""
    moving, roles = work.of_roles(*MOVING), {}
    for track in np.unique(work.spans.track).tolist():
        on = work.spans.track == track
        share = length(work.covered(on & moving)), length(work.covered(on & ~moving))
        roles[track] = "communication" if share[0] > share[1] else "computing"
    return roles


def _computing_streams(work: Work, roles: dict[int, str]) -> NDArray[np.bool_]:
    return np.isin(work.spans.track, [track for track, role in roles.items() if role == "computing"])


def _streams(work: Work, roles: dict[int, str]) -> tuple[StreamUse, ...]:
    rows, wall = [], work.wall_s or 1.0
    for track, role in roles.items():
        on = work.spans.track == track
        busy = work.covered(on)
        between = gaps(busy)
        largest = float(np.max(between[:, 1] - between[:, 0])) if len(between) else 0.0
        label = work.trace.tracks[track].label
        time_s = length(busy)
        rows.append(StreamUse(label, role, int(np.sum(work.opens[on])), time_s, time_s / wall, largest))
    return tuple(sorted(rows, key=lambda row: -row.busy_s))


def _families(work: Work) -> tuple[FamilyUse, ...]:
    """By family and role, the longest first."""
    families = {family.name: family for family in work.families}
    names, number = work.group_of([family.name for family in work.families])
    time_s, total = work.spans.time_s, float(np.sum(work.spans.time_s)) or 1.0
    moving = work.of_roles(*MOVING)
    computing_time, moving_time = work.covered(~moving), work.covered(moving)
    rows = []
    for pair in np.unique(number * len(ROLES) + work.role).tolist():
        name, role = names[pair // len(ROLES)], ROLES[pair % len(ROLES)]
        kept = (number == pair // len(ROLES)) & (work.role == pair % len(ROLES))
        spent = float(np.sum(time_s[kept]))
        beside = computing_time if role in MOVING else moving_time
        alone = spent - float(np.sum(overlap_of(work.spans.start_s[kept], work.spans.end_s[kept], beside)))
        group = WAITING if role == "wait" else families[name].group
        calls = int(np.sum(kept if role == "wait" else work.opens & kept))
        rows.append(FamilyUse(name, group, role, families[name].tensor, calls, spent, spent / total, alone))
    return tuple(sorted(rows, key=lambda row: -row.time_s))


def _kernels(work: Work) -> tuple[KernelUse, ...]:
    """The kernels that take most time, by name and stream."""
    spans, width = work.spans, len(work.trace.tracks)
    key, group = np.unique(spans.name.astype(np.int64) * width + spans.track, return_inverse=True)
    sums = np.bincount(group, weights=spans.time_s)
    calls = np.bincount(group, weights=work.opens)
    rows = []
    for number in np.argsort(-sums)[:TOP_KERNELS].tolist():
        name, track = divmod(int(key[number]), width)
        kept = group == number
        count = max(int(calls[number]), 1)
        rows.append(
            KernelUse(
                work.trace.names[name], work.trace.tracks[track].label, work.families[name].name, count,
                float(sums[number]), float(sums[number]) / count, float(np.max(spans.time_s[kept])),
                max(int(np.median(spans.blocks[kept])), 0),
            )
        )  # fmt: skip
    return tuple(rows)


def overlaps(work: Work, roles: dict[int, str]) -> tuple[Overlap, ...]:
    """Communication beside computing, counted by stream and by kernel; waiting and transfer apart.

    By stream: all that communication streams do (their casts too) against all that the other streams do.
    By kernel: kernels that move data or wait, wherever they run, against kernels that compute.
    """
    moving = work.of_roles(*MOVING)
    if not moving.any():
        return ()
    computing, wall = work.covered(~moving), work.wall_s or 1.0
    on_streams = ~_computing_streams(work, roles)
    cases = [
        ("transfer and waiting", moving, computing, "computing kernels"),
        ("transfer", work.of_roles("transfer"), computing, "computing kernels"),
        ("waiting", work.of_roles("wait"), computing, "computing kernels"),
    ]
    if on_streams.any() and not on_streams.all():
        cases.insert(0, ("communication streams", on_streams, work.covered(~on_streams), "the other streams"))
    rows = []
    for what, kept, against, words in cases:
        if kept.any():
            busy = work.covered(kept)
            both, all_of_it = length(intersection(busy, against)), length(busy)
            share = both / all_of_it if all_of_it else 0.0
            rows.append(Overlap(what, words, all_of_it, both, all_of_it - both, share, both / wall))
    return tuple(rows)


def _lanes(work: Work) -> tuple[Lane, ...]:
    """The busiest streams, a lane for each group of families, from the start of the work."""
    step, first = work.wall_s / TIMELINE_STEPS, float(work.spans.start_s.min())
    groups, number = work.group_of([family.group for family in work.families])
    number = np.where(work.of_roles("wait"), len(groups), number)
    tracks, place = np.unique(work.spans.track, return_inverse=True)
    busiest = np.argsort(-np.bincount(place, weights=work.spans.time_s), kind="stable")[:MOST_LANES]
    rows = []
    for track in tracks[busiest].tolist():
        on = work.spans.track == track
        for group in np.unique(number[on]).tolist():
            busy = thinned(work.covered(on & (number == group)), step)
            if len(busy):
                rows.append(Lane(work.trace.tracks[track].label, [*groups, WAITING][group], busy - first))
    return tuple(rows)


def _remarks(work: Work) -> list[str]:
    """What a reader must know to read the numbers rightly."""
    remarks = []
    families = {work.families[name].name for name in np.unique(work.spans.name).tolist()}
    if families & {"EP dispatch", "EP combine"}:
        remarks.append(
            "Bytes moved by dispatch and combine are unknown: the profiler records none, so no bandwidth is stated. "
            "Waiting is the notify kernels; what dispatch and combine wait inside themselves counts as transfer."
        )
    if not work.on_device:
        remarks.append(
            "No device in this trace: streams are threads, and times are operators' own, without those inside."
        )
    return remarks
