"""Seconds to play a step: compile the orders, run the timeline, and evaluate the closed form over a sweep.

DeepSeek-V3's step has 16 ranks × 120 micro-batches in DualPipe; the largest case is Llama-405B-like, interleaved.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from costsim.schedule import (
    SCHEDULES,
    Chunk,
    Pipe,
    StageTimes,
    compiled,
    critical_path,
    free_kinds,
    run,
    saved,
    schedule_named,
)

CASES = (
    ("dualpipe", 16, 120, 1), ("dualpipev", 8, 120, 1), ("1f1b", 16, 120, 1), ("zb1p", 16, 120, 1),
    ("interleaved", 8, 128, 4), ("interleaved", 16, 512, 8),
)  # fmt: skip
#: closed forms per array of a sweep
SWEEP = 1_000_000


def best(action: Callable[[], object], times: int = 5) -> float:
    """The shortest of some runs, in CPU seconds."""
    found = []
    for _ in range(times):
        start = time.process_time()
        action()
        found.append(time.process_time() - start)
    return min(found)


def timelines() -> None:
    """Compile and run, each alone."""
    for name, pp, m, vpp in CASES:
        schedule = schedule_named(name)
        stages = schedule.stages(pp, vpp)
        rng = np.random.default_rng(0)
        times = StageTimes(*(rng.uniform(0.9, 1.1, (3, stages)) * [[0.049], [0.075], [0.032]]), send_s=0.001)
        program = schedule.program(pp, m, vpp)
        made = best(lambda s=schedule, p=pp, n=m, v=vpp, k=stages: compiled(s.orders(p, n, v), k, n), 3)  # type: ignore[misc]
        ran = best(lambda p=program, t=times: run(p, t))  # type: ignore[misc]
        print(f"{name:<12} pp {pp:>2} × {m:>3} × vpp {vpp}: {program.tasks:>7,} tasks, "
              f"{1e3 * made:7.1f} ms to compile, {1e3 * ran:6.2f} ms to run")  # fmt: skip


def savings() -> None:
    """What every kind of work would buy on V3's timeline, and its critical path."""
    program = schedule_named("dualpipe").program(16, 120)
    times = StageTimes.equal(16, 0.049, 0.075, 0.032, 0.1438, 0.001)
    seconds = best(lambda: saved(program, times, free_kinds(program, times)))
    path = best(lambda: critical_path(run(program, times)), 2)
    print(f"V3, five what-ifs {1e3 * seconds:.1f} ms; critical path {1e3 * path:.0f} ms")


def closed_forms() -> None:
    """A million unrelated pipelines through each closed form."""
    rng = np.random.default_rng(0)
    pp, m = 2.0 ** rng.integers(1, 6, SWEEP), 2.0 * rng.integers(64, 256, SWEEP)
    f, b, w = rng.uniform(0.01, 0.1, (3, SWEEP))
    chunk, pipe = Chunk(f, b, w, f + b + w, 0.001), Pipe(pp, m, 2.0)
    for schedule in SCHEDULES.values():
        seconds = best(lambda s=schedule: s.step_s(chunk, pipe), 3)  # type: ignore[misc]
        print(f"{schedule.name:<12} closed form: {SWEEP / seconds:>12,.0f} pipelines/s")


def main() -> None:
    timelines()
    savings()
    closed_forms()


if __name__ == "__main__":
    main()
