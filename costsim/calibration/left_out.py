"""How wrong a transferred law is: every measured part in turn, predicted by the others as if nobody had measured it.

Leaving out an accelerator keeps its siblings in; leaving out a whole architecture is the honest stand-in for
a chip nobody measured. Both use the stored laws and corrections of the other parts, which never saw the left-out
one, and the rule of :mod:`costsim.calibration.transfer`. The bands of grade C come from the first, those of
grade D from the second.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from costsim.calibration.fit import _Table, light, predict
from costsim.calibration.measurement import Measurement
from costsim.calibration.run import silicon_rows
from costsim.calibration.store import device_for, read_calibration
from costsim.calibration.transfer import SCHEMA, Bands, Tables, find
from costsim.spec.accelerator import Accelerator
from costsim.spec.catalog import load_accelerator
from costsim.timing.device import FittedLaw

Array = NDArray[np.float64]
#: rows of one family and dtype that are predicted, an even sample
SAMPLE = 3000
#: parts that are shown but set no band: graphics memory and a large cache, unlike any datacentre part
SHOWN_ONLY = ("l40s",)
_NONE = Bands({"C": {"": (1.0, 1.0)}, "D": {"": (1.0, 1.0)}})

Rows = Mapping[str, Mapping[str, Sequence[Measurement]]]


@dataclass(frozen=True)
class LeftOut:
    """One family of one part, predicted by others. ``misses`` are log(measured/predicted) of its rows.

    ``scope``: "accelerator" or "architecture", what was left out; ``own`` the P10 and P90 of the donor's law.
    """

    scope: str
    part: str
    architecture: str
    key: str
    grade: str
    donor: str
    misses: Array
    own: tuple[float, float]

    @property
    def family(self) -> str:
        return self.key.split("/")[0]

    def inside(self, band: tuple[float, float]) -> Array:
        """Whether each row lies in the band that the transferred law would state."""
        low, high = min(band[0], self.own[0]), max(band[1], self.own[1])
        found: Array = ((self.misses >= np.log(low)) & (self.misses <= np.log(high))).astype(float)
        return found


def measured_rows(names: Sequence[str], progress: Callable[[str], None] | None = None) -> Rows:
    """Part → family/dtype → an even sample of its measured rows."""
    out: dict[str, dict[str, list[Measurement]]] = {}
    for name in names:
        if progress is not None:
            progress(f"reading the rows of {name}")
        groups: dict[str, list[Measurement]] = defaultdict(list)
        for row in silicon_rows(name):
            groups[row.key].append(row)
        out[name] = {key: rows[:: -(-len(rows) // SAMPLE)] for key, rows in groups.items()}
    return out


def misses_of(chip: Accelerator, key: str, rows: Sequence[Measurement], fitted: FittedLaw) -> Array:
    """log(measured/predicted) of the rows that light allows, by a law and its correction on ``chip``."""
    family, dtype = key.split("/")
    device, table = device_for(chip), _Table.of(rows)
    least = light(family, dtype, table, device)
    seconds = predict(fitted.law, family, dtype, table, device)
    if fitted.correction is not None:
        seconds = seconds * fitted.correction.factor(table.coordinates)
    sane = table.time_s >= least
    found: Array = np.log(table.time_s / np.maximum(seconds, least))[sane]
    return found


def leave_out(rows: Rows, tables: Tables | None = None) -> list[LeftOut]:
    """Every family of every part, predicted without the part and without its architecture."""
    chips = {name: load_accelerator(name) for name in rows}
    tables = {name: read_calibration(name) for name in rows} if tables is None else tables
    out = []
    for name, chip in chips.items():
        others = {
            "accelerator": [other for other in chips.values() if other.id != name],
            "architecture": [other for other in chips.values() if other.architecture != chip.architecture],
        }
        for key, group in rows[name].items():
            for scope, parts in others.items():
                law = find(chip, key, parts, tables, _NONE)
                if law is not None:
                    misses = misses_of(chip, key, group, law)
                    out.append(LeftOut(scope, name, chip.architecture, key, law.grade, law.origin, misses,
                                       (law.low, law.high)))  # fmt: skip
    return out


def bands_from(results: Sequence[LeftOut], without: Collection[str] = ()) -> Bands:
    """Bands by grade and family, each architecture with one vote; parts or architectures in ``without`` left out.

    Grade C from left-out accelerators that had a sibling, grade D from left-out architectures.
    """
    table: dict[str, dict[str, tuple[float, float]]] = {}
    for grade, scope in (("C", "accelerator"), ("D", "architecture")):
        groups: dict[str, list[LeftOut]] = defaultdict(list)
        for result in results:
            hidden = {result.part, result.architecture} & set(without)
            if result.scope == scope and result.grade == grade and result.part not in SHOWN_ONLY and not hidden:
                for name in (result.key, result.family, ""):
                    groups[name].append(result)
        table[grade] = {name: _band(group) for name, group in groups.items()}
    return Bands(table)


def _band(results: Sequence[LeftOut]) -> tuple[float, float]:
    """The band of measured/predicted that holds four rows in five, where every architecture weighs the same.

    At least as wide, either way, as the P80 of |log| says: a law that runs low from here to there runs high from
    there to here, and which way the next transfer goes is not known.
    """
    rows: dict[str, int] = defaultdict(int)
    for result in results:
        rows[result.architecture] += len(result.misses)
    misses = np.concatenate([result.misses for result in results])
    weights = np.concatenate([np.full(len(r.misses), 1.0 / max(rows[r.architecture], 1)) for r in results])
    half = _quantile(np.abs(misses), weights, 0.8)
    low, high = min(_quantile(misses, weights, 0.1), -half), max(_quantile(misses, weights, 0.9), half)
    return float(np.exp(low)), float(np.exp(high))


def _quantile(values: Array, weights: Array, share: float) -> float:
    """The value below which ``share`` of the weight lies."""
    order = np.argsort(values)
    cumulated = np.cumsum(weights[order]) / weights.sum()
    return float(values[order][min(int(np.searchsorted(cumulated, share)), len(order) - 1)])


def error_of(results: Sequence[LeftOut]) -> dict[str, float]:
    """Rows, median and P90 of |predicted/measured − 1|, and bias: the median of predicted/measured − 1."""
    misses = np.concatenate([result.misses for result in results])
    errors = np.expm1(-misses)
    return {
        "n": float(len(misses)),
        "median_ape": float(np.median(np.abs(errors))),
        "p90_ape": float(np.quantile(np.abs(errors), 0.9)),
        "bias": float(np.median(errors)),
    }


def coverage(results: Sequence[LeftOut], bands: Bands, grade: str) -> float:
    """Share of the rows inside the band of their transferred law."""
    return float(np.mean(np.concatenate([result.inside(bands.of(result.key, grade)) for result in results])))


def bands_document(results: Sequence[LeftOut]) -> dict[str, Any]:
    """The stored form of the bands, with the parts that they were measured on."""
    bands = bands_from(results)
    parts = sorted({result.part for result in results if result.part not in SHOWN_ONLY})
    return {
        "schema": SCHEMA,
        "parts": parts,
        "bands": {
            grade: {
                name: {"p10_ratio": float(f"{low:.4g}"), "p90_ratio": float(f"{high:.4g}")}
                for name, (low, high) in sorted(table.items())
            }
            for grade, table in bands.table.items()
        },
    }


def bands_text(results: Sequence[LeftOut]) -> str:
    """The text of ``hwprofiles/transfer.json``."""
    return json.dumps(bands_document(results), indent=1) + "\n"
