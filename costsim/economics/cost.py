"""Money and energy from time: USD per million tokens, joules per token."""

from __future__ import annotations

from dataclasses import dataclass

from costsim.num import Num
from costsim.spec.accelerator import Accelerator
from costsim.spec.price import load_price
from costsim.units import HOUR_S, MEGA


def usd_per_mtok(usd_per_h: Num, tokens_per_s: Num) -> Num:
    """USD per million tokens of a device that costs ``usd_per_h`` and makes ``tokens_per_s``: linear in the price."""
    return usd_per_h / HOUR_S / tokens_per_s * MEGA


@dataclass(frozen=True)
class Power:
    """Watts at the wall for one accelerator: TDP × server overhead × PUE.

    An upper estimate (the chip at its TDP all the time); the low end of the band is the share that
    DeepSeek-class decode has been seen to draw at least.
    """

    watts: float
    low_watts: float
    sources: tuple[str, ...]


#: share of TDP below which a busy accelerator does not fall (idle draw of a loaded HBM part); assumption, grade D
LOW_SHARE = 0.5


def wall_power(chip: Accelerator) -> Power | None:
    """Power of one card in its server and hall; None where the TDP is unknown."""
    if not chip.known("tdp"):
        return None
    overhead, pue = load_price("server-overhead"), load_price("pue-air-cooled")
    watts = chip.need("tdp") * overhead.value * pue.value
    sources = (*chip.datasheet["tdp"].sources, *overhead.sources, *pue.sources)
    return Power(watts, LOW_SHARE * watts, tuple(dict.fromkeys(sources)))


def joules_per_token(watts: Num, tokens_per_s: Num) -> Num:
    """Energy of one token: power over rate."""
    return watts / tokens_per_s
