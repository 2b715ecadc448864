"""Timing: warm-up, samples of a few milliseconds, and samples thrown out while someone else used the device."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from model.profile.backends.interface import Backend

#: a sample lasts at least this long, so that the clock and its reading do not matter
SAMPLE_S = 3e-3
#: others may use this share of the device's time (of one core on a CPU) before a visit's samples are thrown out
OTHERS = 0.10
#: the shortest visit in which the kernel's ticks of 10 ms can show that share, and what two of them may be off by
WINDOW_S, TICK_S = 0.06, 0.015


@dataclass
class Samples:
    """Seconds of one call, from several visits; ``rejected`` were taken while others used the device.

    ``by_visit``: what each visit alone would have answered; minutes lie between them.
    """

    kept: list[float] = field(default_factory=list)
    disturbed: list[float] = field(default_factory=list)
    visits: int = 0
    by_visit: list[float] = field(default_factory=list)

    @property
    def rejected(self) -> int:
        return len(self.disturbed) if self.kept else 0

    @property
    def used(self) -> list[float]:
        """The samples that count: undisturbed ones, or all where there are none."""
        return self.kept or self.disturbed

    @property
    def seconds(self) -> float:
        """Mean of the samples without the slowest tenth, which are disturbances that nothing reported.

        A mean, since a run is predicted by adding kernels: means add, quartiles do not. A clock that wanders by a
        tenth would otherwise show every kernel at its fastest and the run at its average.
        """
        ordered = sorted(self.used)
        return statistics.fmean(ordered[: max(len(ordered) * 9 // 10, 1)])

    @property
    def spread(self) -> float:
        """How far a repeat may lie off: the slower and the faster half against the answer, of samples and of visits.

        max over both of |median of a half / answer − 1|. A machine changes more from minute to minute than within a
        visit; one visit alone, or none undisturbed, cannot show that, and OTHERS is added: what the bound on others
        lets pass.
        """
        seen = max(_apart(self.used, self.seconds), _apart(self.by_visit, self.seconds))
        return seen if self.kept and len(self.by_visit) > 1 else seen + OTHERS

    def join(self, fresh: Samples) -> None:
        """One more visit."""
        self.by_visit.append(fresh.seconds)
        self.kept += fresh.kept
        self.disturbed += fresh.disturbed
        self.visits += fresh.visits


def _apart(values: list[float], answer: float) -> float:
    """How far the medians of the slower and the faster half lie from ``answer``; 0 where there is nothing."""
    ordered = sorted(values)
    half = (len(ordered) + 1) // 2
    halves = (ordered[:half], ordered[-half:]) if ordered else ()
    return max((abs(statistics.median(part) / answer - 1.0) for part in halves), default=0.0)


def visit(backend: Backend, call: Callable[[], Any], samples: Samples, *, count: int, warm: int = 2) -> int:
    """Add at least ``count`` samples of ``call``, each the mean of as many calls as last SAMPLE_S; how often it ran.

    A sample that waited for the device is disturbed, and so is a whole visit if others used more than OTHERS of the
    device meanwhile (beyond what this process leaves free). Short visits are lengthened to WINDOW_S, which is what it
    takes to see others at all.
    """
    once = min(backend.seconds(call) for _ in range(warm))
    backend.synchronize()
    turns = max(1, math.ceil(SAMPLE_S / max(once, 1e-7)))
    before, taken, spent = backend.others_busy_s(), Samples(), 0.0

    def many() -> None:
        for _ in range(turns):
            call()

    while len(taken.kept) + len(taken.disturbed) < count or (before is not None and spent < WINDOW_S):
        own = time.process_time()
        elapsed = backend.seconds(many)
        fair, stalled = backend.fair(elapsed, time.process_time() - own)
        (taken.disturbed if stalled else taken.kept).append(fair / turns)
        spent += elapsed
    after = backend.others_busy_s()
    others = 0.0 if before is None or after is None else max(after - before, 0.0)
    if others > max((OTHERS + backend.spare()) * spent, TICK_S):
        taken.disturbed, taken.kept = taken.disturbed + taken.kept, []
    samples.kept += taken.kept
    samples.disturbed += taken.disturbed
    return warm + turns * (len(taken.kept) + len(taken.disturbed))
