"""Units at the edge: text with a unit in, SI floats inside, text with a unit out.

The only file that holds 1e9 or 1024. Decimal prefixes are powers of ten (``GB`` = 10⁹ bytes,
``Gb`` = 10⁹ bits), binary ones say so (``GiB`` = 2³⁰ bytes). Bandwidths are per direction and
peaks are dense: the parser cannot know, so the catalogs' field names say it.
"""

from __future__ import annotations

import math
import re
from typing import Final

from costsim.errors import BadQuantity

KILO, MEGA, GIGA, TERA, PETA = 1e3, 1e6, 1e9, 1e12, 1e15
MICRO, MILLI = 1e-6, 1e-3
HOUR_S: Final = 3600.0
DAY_S: Final = 86400.0
HOURS_PER_YEAR: Final = 8766.0
BITS_PER_BYTE: Final = 8

_DECIMAL = {"": 1.0, "k": KILO, "K": KILO, "M": MEGA, "G": GIGA, "T": TERA, "P": PETA}
_BINARY = {"Ki": 1024.0, "Mi": 1024.0**2, "Gi": 1024.0**3, "Ti": 1024.0**4}
_CURRENCIES = {"USD": "USD", "CNY": "CNY", "RMB": "CNY", "EUR": "EUR"}


def _scaled(base: str, factor: float = 1.0) -> dict[str, float]:
    return {prefix + base: scale * factor for prefix, scale in _DECIMAL.items()}


def _bytes() -> dict[str, float]:
    binary = {prefix + "B": scale for prefix, scale in _BINARY.items()}
    return _scaled("B") | binary


def _bandwidth() -> dict[str, float]:
    per_second = {unit + "/s": scale for unit, scale in _bytes().items()}
    return per_second | _scaled("b/s", 1 / BITS_PER_BYTE) | _scaled("bps", 1 / BITS_PER_BYTE)


def _flop_rate() -> dict[str, float]:
    names = ("FLOP/s", "FLOPS", "OP/s", "OPS")
    return {unit: scale for name in names for unit, scale in _scaled(name).items()}


def _money_per(*denominators: str) -> dict[str, float]:
    return {f"{money}/{per}": 1.0 for money in _CURRENCIES for per in denominators}


#: dimension -> accepted unit -> factor to the SI base named in :data:`SI_NAME`
UNITS: Final[dict[str, dict[str, float]]] = {
    "bytes": _bytes(),
    "bandwidth": _bandwidth(),
    "flop_rate": _flop_rate(),
    "time": {"ns": 1e-9, "us": MICRO, "µs": MICRO, "ms": MILLI, "s": 1.0, "min": 60.0, "h": HOUR_S, "d": DAY_S},
    "frequency": _scaled("Hz"),
    "power": _scaled("W"),
    "money_rate": _money_per("h"),
    "money_per_mtok": _money_per("Mtok"),
    "money_per_kwh": _money_per("kWh"),
    "money": dict.fromkeys(_CURRENCIES, 1.0),
    "count": {"": 1.0},
    "ratio": {"": 1.0, "%": 0.01},
}
SI_NAME: Final = {
    "bytes": "B",
    "bandwidth": "B/s",
    "flop_rate": "FLOP/s",
    "time": "s",
    "frequency": "Hz",
    "power": "W",
    "money_rate": "USD/h",
    "money_per_mtok": "USD/Mtok",
    "money_per_kwh": "USD/kWh",
    "money": "USD",
    "count": "",
    "ratio": "",
}
_EXAMPLE = {
    "bytes": "80 GB",
    "bandwidth": "3.35 TB/s",
    "flop_rate": "989 TFLOP/s",
    "time": "50 ms",
    "frequency": "1830 MHz",
    "power": "700 W",
    "money_rate": "2 USD/h",
    "money_per_mtok": "0.55 USD/Mtok",
    "money_per_kwh": "0.08 USD/kWh",
    "money": "30000 USD",
    "count": "132",
    "ratio": "1.3",
}
_QUANTITY = re.compile(r"^\s*([+-]?(?:\d[\d_]*\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*([^\s\d].*?)?\s*$")


def parse(text: str | float | int, dimension: str, field: str) -> float:
    """SI value of ``text`` such as ``"3.35 TB/s"``.

    ``dimension`` is a key of :data:`UNITS`, ``field`` the name to blame. A bare number is refused
    wherever the dimension has units: 400 may be Gb/s or GB/s, and the difference is a factor 8.
    Raises BadInput, with the field, for a missing, unknown or wrong unit and for NaN or infinity.
    """
    units = UNITS[dimension]
    example = _EXAMPLE[dimension]
    if isinstance(text, bool) or not isinstance(text, (str, int, float)):
        raise BadQuantity(f"{field}: expected a quantity like {example!r}, not {type(text).__name__}")
    shown = str(text)
    match = _QUANTITY.match(shown) if len(shown) <= 64 else None
    if match is None:
        raise BadQuantity(f"{field}: {str(text)[:64]!r} is not a quantity; write it like {example!r}")
    unit = match.group(2) or ""
    if unit not in units:
        what = f"unknown unit {unit!r}" if unit else "a bare number"
        raise BadQuantity(f"{field}: {what} in {str(text)!r}; write it like {example!r}")
    value = float(match.group(1).replace("_", "")) * units[unit]
    if not math.isfinite(value):
        raise BadQuantity(f"{field}: {str(text)!r} is not finite; write it like {example!r}")
    return value


def currency(text: str) -> str:
    """The currency a money quantity is written in: ``currency("12 CNY/h") == "CNY"``."""
    return next((money for name, money in _CURRENCIES.items() if name in str(text)), "USD")


def format_si(value: float | None, unit: str, digits: int = 3) -> str:
    """``format_si(3.35e12, "B/s") == "3.35 TB/s"``: an SI value with a readable prefix."""
    if value is None or not math.isfinite(value):
        return "–"
    if unit == "s":
        return _format_time(value, digits)
    if unit in ("", "USD") or "USD" in unit or "CNY" in unit:
        return f"{value:,.{digits}g} {unit}".strip() if abs(value) < KILO else f"{value:,.0f} {unit}".strip()
    for prefix, scale in (("P", PETA), ("T", TERA), ("G", GIGA), ("M", MEGA), ("k", KILO)):
        if abs(value) >= scale:
            return f"{value / scale:.{digits}g} {prefix}{unit}"
    return f"{value:.{digits}g} {unit}"


def _format_time(seconds: float, digits: int) -> str:
    for unit, scale in (("h", HOUR_S), ("s", 1.0), ("ms", MILLI), ("µs", MICRO)):
        if abs(seconds) >= scale:
            return f"{seconds / scale:.{digits}g} {unit}"
    return f"{seconds / 1e-9:.{digits}g} ns" if seconds else "0 s"
