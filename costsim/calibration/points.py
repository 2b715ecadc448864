"""Measured rows beside what a law and its correction say of them: what a plot of law against points shows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from costsim.calibration.fit import _Table, light, predict
from costsim.calibration.measurement import Measurement
from costsim.calibration.store import device_for
from costsim.spec.accelerator import Accelerator
from costsim.timing.device import Correction
from costsim.timing.laws import AnyLaw

#: points of one family and dtype on a plot, an even sample: more hide each other
MOST_POINTS = 300
#: (measured, predicted, shape) in seconds
Points = list[tuple[float, float, str]]
#: a law and its correction for ``family/dtype``, None where there is none
Lookup = Callable[[str], tuple[AnyLaw, Correction | None] | None]


def law_points(chip: Accelerator, rows: Sequence[Measurement], law_of: Lookup) -> dict[str, Points]:
    """``family/dtype`` → measured and predicted seconds of a sample of its rows; rows faster than light left out."""
    groups: dict[str, list[Measurement]] = defaultdict(list)
    for row in rows:
        groups[row.key].append(row)
    device = device_for(chip)
    out: dict[str, Points] = {}
    for key, group in sorted(groups.items()):
        found = law_of(key)
        if found is None:
            continue
        law, correction = found
        family, dtype = key.split("/")
        sample = group[:: -(-len(group) // MOST_POINTS)]
        table = _Table.of(sample)
        least = light(family, dtype, table, device)
        seconds = predict(law, family, dtype, table, device)
        if correction is not None:
            seconds = np.maximum(seconds * correction.factor(table.coordinates), least)
        out[key] = [
            (row.time_s, float(predicted), shape_text(row))
            for row, predicted, floor in zip(sample, seconds, least, strict=True)
            if row.time_s >= floor
        ]
    return out


def shape_text(row: Measurement) -> str:
    """``m 64, n 4,096, k 7,168`` of a kernel; bytes and ranks of a collective."""
    named: Mapping[str, float] = row.shape or row.wire
    return ", ".join(f"{name.replace('_', ' ')} {value:,.4g}" for name, value in named.items())
