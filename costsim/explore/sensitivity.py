"""Sensitivity: how far the band of each input alone moves a number, widest first."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from costsim.explore.inputs import Question
from costsim.explore.moved import Asked
from costsim.frames import Framed, Rows
from costsim.spec.accelerator import PEAK_OF, Accelerator
from costsim.spec.base import read_toml
from costsim.spec.catalog import ROOT
from costsim.spec.price import RENTALS, in_usd, load_prices

BANDS = ROOT / "hwprofiles" / "sensitivity.toml"
#: standard normal quantile of P90
P90 = 1.2815515655446004
#: bars narrower than this share of the number are left out
_LEAST = 1e-4


@dataclass(frozen=True)
class Lever:
    """An input that can move: factors (or, for acceptance, values) at P10 and P90, the middle, and why. ``stated``: the
    answer says at which value it holds (a price), so that its own band leaves this out."""

    name: str
    low: float
    high: float
    why: str
    middle: float = 1.0
    stated: bool = False

    def drawn(self, z: NDArray[np.float64]) -> NDArray[np.float64]:
        """Two half log-normals about the middle that meet P10 and P90 at z = ∓1.28; clipped to [0, 1] if a chance."""
        if self.name == "acceptance":
            half = np.where(z > 0, self.high - self.middle, self.middle - self.low)
            return np.clip(self.middle + z / P90 * half, 0.0, 1.0)
        span = np.where(z > 0, math.log(self.high / self.middle), -math.log(self.low / self.middle))
        return np.asarray(self.middle * np.exp(z / P90 * span), dtype=float)


@dataclass(frozen=True)
class Bar:
    """One input of a tornado: the number with it at its low and at its high end."""

    name: str
    low: float
    high: float
    at_low: float
    at_high: float
    why: str

    @property
    def swing(self) -> float:
        return abs(self.at_high - self.at_low)


@dataclass(frozen=True)
class Tornado(Framed):
    """Bars of one metric, widest first; ``low`` and ``high`` are the answer's own P10 and P90, at the price that it
    states, and ``any_price`` those with all inputs and the price drawn together; None where no price matters."""

    name: str
    metric: str
    unit: str
    value: float
    low: float
    high: float
    bars: tuple[Bar, ...]
    any_price: tuple[float, float] | None = None

    def rows(self) -> Rows:
        """``bars``: one row an input; ``metric``: the number with all inputs drawn together."""
        whole = {"metric": self.metric, "value": self.value, "unit": self.unit, "low": self.low, "high": self.high}
        return {"metric": [whole], "bars": self.json()["bars"]}

    def json(self) -> dict[str, Any]:
        return {
            "name": self.name, "metric": self.metric, "unit": self.unit, "value": self.value, "low": self.low,
            "high": self.high, "any_price": None if self.any_price is None else list(self.any_price),
            "bars": [{"input": bar.name, "low": bar.low, "high": bar.high, "at_low": bar.at_low,
                      "at_high": bar.at_high, "swing": bar.swing, "why": bar.why} for bar in self.bars],
        }  # fmt: skip


@lru_cache(maxsize=1)
def _bands() -> dict[str, Any]:
    return read_toml(BANDS, "sensitivity")


def levers(asked: Asked) -> list[Lever]:
    """Every input of a question that has a band: laws that it used, datasheet fields, price, drafts, the rest."""
    chip = asked.chip
    found = [Lever(name, law.low, law.high, f"law {law.grade}") for name, law in asked.laws.items()]
    found += _sheet(chip, str(asked.question.values.get("plan.precision", "fp8")))
    if asked.metric.startswith("usd"):
        found.append(_price(chip, float(asked.question.values.get("price") or 0.0)))
    kept = asked.question.values.get("load.mtp_acceptance")
    if kept and asked.question.values.get("load.mtp_tokens"):
        doubt = float(_bands()["acceptance"]["value"])
        found.append(Lever("acceptance", max(kept - doubt, 0.0), min(kept + doubt, 1.0), "reported range", float(kept)))
    share = float(_bands()["system"]["value"])
    found.append(Lever(f"system of {chip.id}", 1.0 - share, 1.0 + share, "assumed"))
    return found


def _sheet(chip: Accelerator, precision: str) -> list[Lever]:
    """Bands of the datasheet by the confidence of each field."""
    widths = _bands()["datasheet"]
    fields = {"memory_bandwidth": "memory_bandwidth", "peak": PEAK_OF.get(precision, "bf16"),
              "scale_up_bandwidth": "scale_up_bandwidth", "scale_out_bandwidth": "scale_out_bandwidth"}  # fmt: skip
    found = []
    for name, field in fields.items():
        datum = chip.datasheet[field]
        if datum.value:
            width = float(widths[datum.confidence[0]])
            why = f"sheet {datum.confidence}"
            found.append(Lever(f"{name} of {chip.id}", 1.0 - width, 1.0 + width, why))
    return found


def _price(chip: Accelerator, rate: float) -> Lever:
    """The spread of the catalog's hourly prices for this card about the one used, at least a little."""
    known = [in_usd(price) for price in load_prices()
             if price.accelerator == chip.id and price.kind in (*RENTALS, "tco_owning_neocloud")]  # fmt: skip
    band = _bands()["price"]
    if rate > 0 and len(known) >= 2:
        least = float(band["least"])
        low, high = min(min(known) / rate, 1.0 - least), max(max(known) / rate, 1.0 + least)
        return Lever(f"price of {chip.id}", low, high, f"{len(known)} prices", stated=True)
    width = float(band["alone"])
    return Lever(f"price of {chip.id}", 1.0 - width, 1.0 + width, "assumed", stated=True)


def tornado(question: Question, metric: str, draws: int = 200, seed: int = 0) -> Tornado:
    """Move each input alone to the ends of its band, and all together ``draws`` times. Raises BadInput."""
    asked = Asked(question, metric)
    known = levers(asked)
    bars = [Bar(lever.name, lever.low, lever.high, asked.at({lever.name: lever.low}),
                asked.at({lever.name: lever.high}), lever.why) for lever in known]  # fmt: skip
    seen = [bar for bar in bars if bar.swing > _LEAST * abs(asked.value)]
    low, high = band_of(asked, known, draws, seed)
    unit = asked.report.metrics[metric].unit
    ordered = tuple(sorted(seen, key=lambda bar: -bar.swing))
    any_price = None
    if any(lever.stated for lever in known):
        wide = np.quantile(sampled([asked], [known], draws, seed)[0], [0.1, 0.9])
        any_price = (min(low, float(wide[0])), max(high, float(wide[1])))
    return Tornado(question.name, metric, unit, asked.value, low, high, ordered, any_price)


def band_of(asked: Asked, known: Sequence[Lever], draws: int, seed: int) -> tuple[float, float]:
    """P10 and P90 of an answer: those that it carries, so that a number has one band wherever it is shown; drawn from
    the inputs, at the price stated, where it carries none."""
    own = asked.report.metrics[asked.metric]
    if own.low is not None and own.high is not None:
        return own.low, own.high
    doubted = [lever for lever in known if not lever.stated]
    low, high = np.quantile(sampled([asked], [doubted], draws, seed)[0], [0.1, 0.9])
    return float(low), float(high)


def sampled(
    asked: Sequence[Asked], known: Sequence[Sequence[Lever]], draws: int, seed: int
) -> list[NDArray[np.float64]]:
    """Every question's metric for common draws: an input of the same name moves alike in all of them."""
    rng = np.random.default_rng(seed)
    names = sorted({lever.name for each in known for lever in each})
    normal = {name: rng.standard_normal(draws) for name in names}
    out = []
    for one, each in zip(asked, known, strict=True):
        factors = {lever.name: lever.drawn(normal[lever.name]) for lever in each}
        out.append(np.array([one.at({name: float(f[i]) for name, f in factors.items()}) for i in range(draws)]))
    return out
