"""Pipeline schedules: stage seconds in, a timeline out. Knows neither model nor chip.

One file a schedule, each as its paper reads, with a closed form that broadcasts; ``timeline.run`` plays any of them.
"""

from __future__ import annotations

from costsim.errors import Deadlock, UnknownName
from costsim.schedule.critical import CriticalPath, critical_path, free_kinds, saved
from costsim.schedule.dualpipe import DUALPIPE
from costsim.schedule.dualpipev import DUALPIPEV
from costsim.schedule.gpipe import GPIPE
from costsim.schedule.interleaved import INTERLEAVED
from costsim.schedule.one_f_one_b import ONE_F_ONE_B
from costsim.schedule.program import COMPUTE, WIRE, Program, compiled
from costsim.schedule.stage import StageTimes
from costsim.schedule.task import KIND_NAMES, Chunk, Kind, Pipe, Schedule, Task
from costsim.schedule.timeline import PARTS, Held, Timeline, run, step_seconds, varied_step_seconds
from costsim.schedule.zero_bubble import ZERO_BUBBLE

SCHEDULES = {
    schedule.name: schedule
    for schedule in (GPIPE, ONE_F_ONE_B, INTERLEAVED, ZERO_BUBBLE, DUALPIPE, DUALPIPEV)
}  # fmt: skip


def schedule_named(name: str) -> Schedule:
    """The schedule of that name. Raises UnknownName, with the nearest."""
    if name not in SCHEDULES:
        raise UnknownName("schedule", name, SCHEDULES)
    return SCHEDULES[name]


__all__ = [
    "COMPUTE", "KIND_NAMES", "PARTS", "SCHEDULES", "WIRE", "Chunk", "CriticalPath", "Deadlock", "Held", "Kind", "Pipe",
    "Program", "Schedule", "StageTimes", "Task", "Timeline", "compiled", "critical_path", "free_kinds", "run", "saved",
    "schedule_named", "step_seconds", "varied_step_seconds",
]  # fmt: skip
