"""Device: one rank's supply. Datasheet numbers, its fabrics, and the law and grade for each family of op."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from costsim.errors import UnknownField
from costsim.num import Num
from costsim.timing.laws import AnyLaw

GRADES = "ABCD"


def worse(grade: str, steps: int = 1) -> str:
    """The grade ``steps`` further from a measurement: A → B → C → D."""
    return GRADES[min(GRADES.index(grade) + steps, len(GRADES) - 1)]


def worst(grades: list[str]) -> str:
    """A sum is known no better than its least-known part."""
    return max(grades, key=GRADES.index) if grades else "D"


class Correction(Protocol):
    """What measurements say beyond the law, inside their range: a factor on its seconds."""

    def factor(self, shape: Mapping[str, Num]) -> Num: ...


@dataclass(frozen=True)
class FittedLaw:
    """A law with its evidence: grade, P10/P90 of measured/predicted on held-out points, and sources.

    ``ranges`` gives the measured range of each shape variable; outside it the grade falls to B and the
    ``correction`` fades away. ``gap_included``: timed back to back in a graph, so that the idle time between
    kernels is in it.
    """

    law: AnyLaw
    grade: str
    low: float
    high: float
    sources: tuple[str, ...]
    points: int = 0
    ranges: Mapping[str, tuple[float, float]] | None = None
    origin: str = ""
    correction: Correction | None = None
    gap_included: bool = False


@dataclass(frozen=True)
class Device:
    """One rank: peaks by dtype in FLOP/s, HBM and fabrics in bytes/s per direction.

    ``laws`` maps ``family/dtype`` to its law. ``up`` and ``out`` are None where unknown or absent;
    a question that needs them is refused by name. ``in_network_reduction``: the scale-up switch adds
    (NVLink SHARP), so an all-reduce sends each byte once. ``processor``: a CPU, whose laws have no tiles.
    """

    id: str
    peaks: Mapping[str, float]
    bandwidth: float
    cores: float
    up: float | None
    out: float | None
    laws: Mapping[str, FittedLaw]
    in_network_reduction: bool = False
    processor: bool = False

    def peak(self, dtype: str) -> float:
        return self.peaks[dtype]

    def law(self, family: str, dtype: str) -> FittedLaw:
        """The law for this family: the exact dtype, else the family's other dtype at a lower grade."""
        exact = self.laws.get(f"{family}/{dtype}")
        if exact is not None:
            return exact
        raise UnknownField(f"{self.id}: no efficiency law for {family}/{dtype}; run `costsim calibrate` for this part")

    def fabric(self, which: str) -> float:
        """Bytes/s of ``up`` or ``out``; raises UnknownField where the datasheet has none."""
        value = self.up if which == "up" else self.out
        if not value:
            name = "scale_up_bandwidth" if which == "up" else "scale_out_bandwidth"
            raise UnknownField(f"{name} is unknown or absent for {self.id}; this plan sends data over it")
        return value
