"""What stands behind a law in use: its entry in the calibration file of the part that it was measured on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from costsim.files import read_json
from costsim.spec.catalog import CALIBRATION
from costsim.timing.device import FittedLaw


@dataclass(frozen=True)
class Evidence:
    """The stored law: the ``family/dtype`` it was fitted as, its points, and its error on held-out shapes."""

    key: str
    measured_on: str
    points: int
    median_ape: float
    p90_ape: float
    rejected: int


@lru_cache(maxsize=64)
def stored_laws(name: str) -> Mapping[str, Any]:
    """The laws of a calibration file as they are written; empty where there is no file."""
    path = CALIBRATION / f"{name}.json"
    if not path.is_file():
        return {}
    laws: Mapping[str, Any] = read_json(path, "calibration")["laws"]
    return laws


def evidence(fitted: FittedLaw, key: str) -> list[Evidence]:
    """The stored laws behind ``fitted``, asked for as ``family/dtype``: one, or one for each part of an average.

    Several entries may share number and range of points (one table, two dtypes): the key decides, then the family.
    """
    out = []
    for part in fitted.origin.split("+"):
        laws = stored_laws(part)
        like = [name for name, law in laws.items() if _same(law, fitted)] or ([key] if key in laws else [])
        if not like:
            continue
        family = key.split("/")[0]
        name = min(like, key=lambda n: (n != key, n.split("/")[0] != family, n))
        law = laws[name]
        held = law["held_out"]
        out.append(Evidence(name, part, int(law["n"]), float(held["median_ape"]), float(held["p90_ape"]),
                            int(law.get("rejected_faster_than_light", 0))))  # fmt: skip
    return out


def _same(law: Mapping[str, Any], fitted: FittedLaw) -> bool:
    ranges = {name: tuple(span) for name, span in law["range"].items()}
    known = {name: tuple(span) for name, span in (fitted.ranges or {}).items()}
    return law["law"] == fitted.law.kind and law["n"] == fitted.points and ranges == known
