"""P10–P90 band and grade of a step from the bands of its laws."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from costsim.physics.op import Op
from costsim.predict.phase import Phase, StepTime
from costsim.timing.device import FittedLaw, worst
from costsim.timing.duration import combined_band, grade_at

#: what no kernel table shows (host, stragglers, power capping, framework glue) moved measured steps of kernel
#: sums by about this much either way, log units at P10–P90
SYSTEM_BAND = 0.10


def step_band(phase: Phase, step: StepTime, micro_batches: int) -> tuple[float, float, str]:
    """(low, high, grade): factors on the step time. Hidden transfers do not widen it."""
    compute = [(float(np.max(t.total_s)) * micro_batches, t.each.fitted) for t in phase.ops]
    wires = [(float(np.max(t.total_s)) * micro_batches, t.each.fitted) for t in phase.wires]
    total = float(np.max(step.total_s))
    exposed = float(np.max(step.exposed_comm_s))
    sent = sum(seconds for seconds, _ in wires)
    shown = [(seconds * exposed / sent, law) for seconds, law in wires] if sent > 0 else []
    low, high, _ = combined_band([*compute, *shown], total)
    down = np.hypot(1.0 - low / total, SYSTEM_BAND)
    up = np.hypot(high / total - 1.0, SYSTEM_BAND)
    return float(max(1.0 - down, 0.05)), float(1.0 + up), _grade(phase, total, micro_batches)


def _grade(phase: Phase, total_s: float, micro_batches: int) -> str:
    """The worst grade among ops that matter: each at least 2 % of the step."""
    grades = [
        grade_at(t.item, t.each.fitted)
        for t in phase.ops
        if isinstance(t.item, Op) and float(np.max(t.total_s)) * micro_batches >= 0.02 * total_s
    ]
    return worst(grades)


def sources_of(laws: Iterable[FittedLaw]) -> tuple[str, ...]:
    """Bibliography keys behind these laws, each once."""
    return tuple(dict.fromkeys(key for law in laws for key in law.sources))
