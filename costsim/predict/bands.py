"""P10–P90 band and grade of a step from the bands of its laws."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from costsim.calibration.store import read_calibration
from costsim.physics.op import Op
from costsim.predict.phase import Phase, StepTime
from costsim.predict.phases import Setting
from costsim.spec.framework import published_band
from costsim.timing.device import Device, FittedLaw, worst
from costsim.timing.duration import combined_band, grade_at, light_s

#: what no law shows: which library's kernel runs, host, stragglers, power capping. One shape in three frameworks'
#: tables on the same part spans at P10–P90 0.82–1.04 (BF16 GEMM), 0.9–1.47 (block FP8), 0.6–1.4 (experts); a step
#: mixes them. [aiconfigurator-core]
SYSTEM_BAND = 0.20


def step_band(
    phase: Phase, step: StepTime, micro_batches: int, routing: str, device: Device
) -> tuple[float, float, str]:
    """(low, high, grade): factors on the step time, never below light. Hidden transfers do not widen it."""
    compute = [(float(np.max(t.total_s)) * micro_batches, t.each.fitted) for t in phase.ops]
    wires = [(float(np.max(t.total_s)) * micro_batches, t.each.fitted) for t in phase.wires]
    total = float(np.max(step.total_s))
    exposed = float(np.max(step.exposed_comm_s))
    sent = sum(seconds for seconds, _ in wires)
    shown = [(seconds * exposed / sent, law) for seconds, law in wires] if sent > 0 else []
    low, high, _ = combined_band([*compute, *shown], total)
    down = np.hypot(1.0 - low / total, SYSTEM_BAND)
    up = np.hypot(high / total - 1.0, SYSTEM_BAND)
    floor = min(_light(phase, device) * micro_batches / total, 1.0)
    return float(max(1.0 - down, floor)), float(1.0 + up), _grade(phase, step, micro_batches, routing)


def _light(phase: Phase, device: Device) -> float:
    """Seconds that the ops of a micro-batch take at the datasheet's peaks, one after the other."""
    each = (float(np.max(light_s(t.item, device) * t.item.count)) for t in phase.ops if isinstance(t.item, Op))
    return sum(each, start=0.0)


def serving_band(
    setting: Setting, band: tuple[float, float], metric: str, in_flight: float = 0.0
) -> tuple[float, float]:
    """P10–P90 factors on a simulated time, from the ``band`` of its step.

    Those of published runs where a framework is named, joined by what the step's band holds beyond the system's;
    the step's doubled otherwise, and across scale-up domains, where no published run went. The published runs' own
    kernels were measured: on a part whose kernels were not, all that its laws are unsure of comes on top.
    ``in_flight``: requests a card, infinite where prompts and answers have cards of their own.
    """
    plan, (low, high) = setting.layout, band
    if setting.framework is None or bool(np.any(np.maximum(plan.tp, plan.ep * plan.moe_tp) > plan.domain)):
        return max(2.0 * low - 1.0, 0.05), 2.0 * high - 1.0
    if read_calibration(setting.chip.id):
        below, above = max(1.0 - low - SYSTEM_BAND, 0.0), max(high - 1.0 - SYSTEM_BAND, 0.0)
    else:
        below, above = (float(np.sqrt(max(b * b - SYSTEM_BAND**2, 0.0))) for b in (1.0 - low, high - 1.0))
    seen = published_band("ttft" if "ttft" in metric else "tpot", setting.model.id, setting.chip.id, in_flight)
    return max(1.0 - float(np.hypot(1.0 - seen[0], below)), 0.05), 1.0 + float(np.hypot(seen[1] - 1.0, above))


#: an op or an exposed transfer that takes less of the step than this does not set its grade
MATTERS = 0.02


def _grade(phase: Phase, step: StepTime, micro_batches: int, routing: str) -> str:
    """The worst grade among ops and exposed transfers that matter; how uneven experts are is never better than C."""
    least = MATTERS * float(np.max(step.total_s))
    grades = [
        grade_at(t.item, t.each.fitted)
        for t in phase.ops
        if isinstance(t.item, Op) and float(np.max(t.total_s)) * micro_batches >= least
    ]
    if float(np.max(step.exposed_comm_s)) >= least:
        grades += [t.each.grade for t in phase.wires if float(np.max(t.total_s)) * micro_batches >= least]
    uneven = routing != "balanced" and any(getattr(t.item, "part", "") == "moe" for t in phase.ops)
    return worst([*grades, "C"] if uneven else grades)


def sources_of(laws: Iterable[FittedLaw]) -> tuple[str, ...]:
    """Bibliography keys behind these laws, each once."""
    return tuple(dict.fromkeys(key for law in laws for key in law.sources))
