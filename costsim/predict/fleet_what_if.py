"""What if the day were another: a smaller prefix cache, a lower price at night, load that follows it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from costsim.errors import OutOfRange
from costsim.predict.fleet_cache import TRACE, hits
from costsim.spec.catalog import load_model
from costsim.spec.fleet import Fleet, FleetLoad
from costsim.units import HOUR_S, TERA

Array = NDArray[np.float64]

#: hours of the operator's own discount, 16:30 to 00:30 UTC, on its clock (UTC+8) [deepseek-api-pricing]
NIGHT = (0.5, 8.5)


@dataclass(frozen=True)
class WhatIf:
    """``cache_bytes``: prefix cache of the whole fleet (None: the operator's, of unknown size); ``night_price``: share
    of the list price from ``night``'s first hour to its last; ``night_shift``: share of the other hours' load that
    moves there."""

    cache_bytes: float | None = None
    night_price: float = 1.0
    night_shift: float = 0.0
    night: tuple[float, float] = NIGHT

    def __post_init__(self) -> None:
        for name, value in (("night price", self.night_price), ("night shift", self.night_shift)):
            if not 0 <= value <= 1:
                raise OutOfRange(f"{name} {value:g}: a share from 0 to 1 is needed")
        first, last = self.night
        if not (0 <= first < 24 and 0 < last <= 24 and first != last):
            raise OutOfRange(f"night {first:g}-{last:g}: two different hours of the day are needed, like 0.5-8.5")

    @property
    def asked(self) -> bool:
        """Whether anything is other than it was."""
        return self.cache_bytes is not None or self.night_price < 1 or self.night_shift > 0

    def at_night(self, clock: Array) -> NDArray[np.bool_]:
        """Which hours of the clock lie in the night, which may pass midnight."""
        first, last = self.night
        after, before = clock >= first, clock < last
        out: NDArray[np.bool_] = after & before if first < last else after | before
        return out


def changed(fleet: Fleet, what_if: WhatIf, curve: Array, hours: Array) -> tuple[FleetLoad, Array, float]:
    """(load, curve of mean 1, share of the list price that the average token brings) of the day that is asked about.

    Load that moves comes from the other hours in proportion and spreads evenly over the night.
    """
    load = fleet.load
    if what_if.cache_bytes is not None:
        found = hits(load, load_model(fleet.model), what_if.cache_bytes)
        load = load.model_copy(update={"cached_tokens": found.hit_share * load.input_tokens})
    night = what_if.at_night((fleet.start + hours) % 24.0)
    moved = np.where(night, 0.0, what_if.night_shift * curve)
    curve = curve - moved + np.where(night, moved.sum() / max(int(night.sum()), 1), 0.0)
    paid = float(np.sum(curve * np.where(night, what_if.night_price, 1.0)) / np.sum(curve))
    return load, curve, paid


def words(fleet: Fleet, what_if: WhatIf) -> tuple[str, ...]:
    """What was changed, and on what that rests; ``fleet`` with the changed load."""
    notes = []
    if what_if.cache_bytes is not None:
        share = fleet.load.cached_tokens / fleet.load.input_tokens
        kept = hits(fleet.load, load_model(fleet.model), what_if.cache_bytes).kept_s
        notes.append(
            f"a cache of {what_if.cache_bytes / TERA:,.4g} TB keeps blocks for {kept / HOUR_S:.3g} h and finds "
            f"{share:.1%} of input tokens; how soon prefixes come back is that of {TRACE}, an hour long (grade D); "
            "pools scale apart"
        )
    if what_if.night_price < 1 or what_if.night_shift > 0:
        first, last = what_if.night
        notes.append(
            f"from {first:g} to {last:g} o'clock tokens bring {what_if.night_price:.0%} of the list price, and "
            f"{what_if.night_shift:.0%} of the other hours' load moves there"
        )
    return tuple(notes)
