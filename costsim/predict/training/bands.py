"""P10-P90 band and grade of a training step: laws by their held-out residuals, and what no law shows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from costsim.physics.op import Op, Wire
from costsim.predict.training.constants import measured
from costsim.predict.training.setting import TrainingSetting
from costsim.predict.training.step import TrainingStep
from costsim.timing.device import worse, worst
from costsim.timing.duration import combined_band, grade_at, light_s

if TYPE_CHECKING:
    from costsim.predict.training.answer import Parts

#: spread that kernel tables of training show around the constants of this model: the ratio of a kernel to its law lies
#: within 0.79 and 1.19 of the middle for four in five GEMMs; errors of many kernels do not all point one way
KERNEL_BAND = 0.10
#: what is assumed of software where a plan does not say: overlap of transfers, versions, clocks
SOFTWARE_BAND = 0.10
#: what a change of part or format adds: no such training kernels of this silicon are published, and frameworks follow a
#: new part for a year (published steps of one layout on one new part differ by as much between releases)
TRANSFER_BAND = 0.20
#: an op that takes less of the step than this does not set its grade
MATTERS = 0.02


@dataclass(frozen=True)
class Band:
    """Factors on the step's seconds, and the worst grade of what matters."""

    low: float
    high: float
    grade: str


def step_band(setting: TrainingSetting, step: TrainingStep, parts: Parts | None) -> Band:
    """Deviations of laws add linearly within a law, in quadrature between laws and with the two model bands."""
    seconds = float(np.max(step.step_s)) if parts is None else parts.step_s
    hides = setting.overlap == "pair"
    rows = [(float(np.max(t.total_s)) * float(np.max(often)), t) for t, often in step.timed
            if not (hides and isinstance(t.item, Wire))]  # fmt: skip
    low, high, _ = combined_band(((s, t.each.fitted) for s, t in rows), seconds)
    from_kernels = measured(setting.chip, setting.constants, setting.plan.precision)
    model = KERNEL_BAND**2 + SOFTWARE_BAND**2 + (0.0 if from_kernels else TRANSFER_BAND**2)
    down = float(np.sqrt((1.0 - low / seconds) ** 2 + model))
    up = float(np.sqrt((high / seconds - 1.0) ** 2 + model))
    light = sum(float(np.max(light_s(t.item, setting.device) * t.item.count)) * float(np.max(often))
                for t, often in step.timed if isinstance(t.item, Op))  # fmt: skip
    floor = min(light / seconds, 1.0)
    grades = [grade_at(t.item, t.each.fitted) if isinstance(t.item, Op) else t.each.grade
              for s, t in rows if s >= MATTERS * seconds]  # fmt: skip
    # The ratios of training kernels come from another part or format at least for some of them.
    return Band(max(1.0 - down, floor, 0.05), 1.0 + up, worst([*grades, worse("B")]))
