"""Assumption: a number nobody measured for this case, with the range that sources allow and who says so.

``hwprofiles/ladder.toml`` and the recovery table of ``reliability.toml`` are made of them. Each can be moved.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

from pydantic import model_validator

from costsim import units
from costsim.errors import BadQuantity, OutOfRange, UnknownName
from costsim.spec.accelerator import Confidence
from costsim.spec.base import Frozen, build, cited, read_toml
from costsim.spec.catalog import ROOT

LADDER: Final = ROOT / "hwprofiles" / "ladder.toml"
RELIABILITY: Final = ROOT / "hwprofiles" / "reliability.toml"


class Assumption(Frozen):
    """``value`` between ``low`` and ``high`` (read as P10 and P90), in SI; ``unit`` is for people.

    In TOML the three are text with units, ``dimension`` is a key of units.UNITS and ``source`` a bib key or a list.
    """

    id: str
    dimension: str
    value: float
    low: float
    high: float
    text: str
    unit: str = ""
    confidence: Confidence = "D"
    sources: tuple[str, ...] = ()
    note: str = ""

    @model_validator(mode="before")
    @classmethod
    def _read(cls, raw: Any) -> Any:
        if not isinstance(raw, dict) or "text" in raw:
            return raw
        dimension = raw.get("dimension")
        if dimension not in units.UNITS:
            raise ValueError(f"unknown dimension {dimension!r}; known: {', '.join(units.UNITS)}")
        ends = {name: units.parse(raw.get(name, ""), dimension, name) for name in ("value", "low", "high")}
        return cited(raw) | ends | {"text": str(raw["value"])}

    @model_validator(mode="after")
    def _ordered(self) -> Assumption:
        if not self.low <= self.value <= self.high:
            raise ValueError(f"value {self.value:g} is not between low {self.low:g} and high {self.high:g}")
        return self

    def moved(self, text: str) -> Assumption:
        """The same assumption at a value the user states: no band, his word as source."""
        value = units.parse(text, self.dimension, self.id)
        if value < 0 or (value == 0 and self.low > 0):
            raise OutOfRange(f"{self.id}: {text!r} must be above zero")
        if self.dimension == "ratio" and self.high <= 1.0 < value:
            raise BadQuantity(f"{self.id}: {text!r} is a share; write it from 0 to 1, like {self.text!r}")
        if self.dimension == "ratio" and self.low >= 1.0 > value:
            raise OutOfRange(f"{self.id}: {text!r} is below 1; it is a factor on what it adds to, like {self.text!r}")
        changed = {"value": value, "low": value, "high": value, "text": text, "confidence": "A", "note": "given"}
        return self.model_copy(update={**changed, "sources": ()})

    @property
    def shown(self) -> str:
        """The value as written, with its unit."""
        return f"{self.text} {self.unit}".strip()


@lru_cache(maxsize=1)
def load_assumptions() -> dict[str, Assumption]:
    """Every assumption behind what a run costs, by id, in the order of the files."""
    tables = (
        (RELIABILITY.name, read_toml(RELIABILITY, "reliability").get("recovery", {})),
        (LADDER.name, read_toml(LADDER, "cost ladder").get("assumption", {})),
    )
    return {
        name: build(Assumption, {"id": name, **entry}, f"{file}: {name}")
        for file, table in tables
        for name, entry in table.items()
    }


def assume(changes: Sequence[str] = ()) -> Mapping[str, Assumption]:
    """The assumptions with the user's changes, each ``name=value``; UnknownName or BadInput for a bad one."""
    chosen = dict(load_assumptions())
    for change in changes:
        name, equals, text = change.partition("=")
        key = name.strip().lower().replace("-", "_")
        if not equals:
            raise BadQuantity(f"assumption {change[:60]!r}: write it as name=value, like final_run_share=30%")
        if key not in chosen:
            raise UnknownName("assumption", name.strip(), chosen)
        chosen[key] = chosen[key].moved(text.strip())
    return chosen
