"""Numbers and names as a reader wants them: ``0.0501, "s"`` → ``50.1 ms``; ``tpot_s`` → ``TPOT``."""

from __future__ import annotations

import math
import re

from costsim import units
from costsim.predict.report import Metric

#: units that take SI prefixes; everything else is written out with separators
_PREFIXED = {"B": "B", "bytes": "B", "B/s": "B/s", "FLOP": "FLOP", "FLOP/s": "FLOP/s", "flop/s": "FLOP/s",
             "s": "s", "Hz": "Hz", "W": "W"}  # fmt: skip
_RATIOS = ("ratio", "share", "fraction")
_ACRONYMS = {
    "api",
    "eplb",
    "fp4",
    "fp32",
    "tf32",
    "l2",
    "tdp",
    "ttft",
    "tpot",
    "itl",
    "e2e",
    "mfu",
    "mbu",
    "kv",
    "gpu",
    "gpus",
    "usd",
    "cny",
    "mtp",
    "moe",
    "mla",
    "hbm",
    "nvlink",
    "tp",
    "pp",
    "vpp",
    "ep",
    "dp",
    "cp",
    "sms",
    "fp8",
    "bf16",
    "int8",
}
_UNIT_SUFFIXES = ("_s", "_bytes", "_usd", "_w", "_j", "_flop", "_flop_per_s", "_bytes_per_s")
_RESPELLED = {"gpus": "GPUs", "sms": "SMs", "moe": "MoE", "nvlink": "NVLink", "mtok": "Mtok"}
MISSING = "–"


def number(value: float | None, digits: int = 4) -> str:
    """A number to ``digits`` significant digits with thousands separators; counts stay whole."""
    if value is None or not math.isfinite(value):
        return MISSING
    if isinstance(value, int):
        return f"{value:,}"
    if value == 0:
        return "0"
    for name, scale in (("trillion", units.TERA), ("billion", units.GIGA)):
        if scale <= abs(value) < units.PETA:
            return f"{value / scale:.{digits}g} {name}"
    magnitude = math.floor(math.log10(abs(value)))
    if not -4 <= magnitude < 15:
        return f"{value:.{digits - 1}e}"
    decimals = max(digits - 1 - magnitude, 0)
    text = f"{value:,.{decimals}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def percent(value: float | None, decimals: int = 1) -> str:
    """A ratio as a percentage."""
    return MISSING if value is None or not math.isfinite(value) else f"{value:.{decimals}%}"


def quantity(value: float | None, unit: str) -> str:
    """A value with its unit, or a dash where it is not known."""
    if value is None or not math.isfinite(value):
        return MISSING
    if unit in _PREFIXED:
        return units.format_si(value, _PREFIXED[unit], 4 if unit == "s" else 3)
    if unit in _RATIOS:
        return percent(value)
    if unit == "x":
        return f"{number(value)}×"
    return f"{number(value)} {unit}".strip()


def unit_of(name: str, unit: str) -> str:
    """The unit to show a metric in: utilisations and shares are ratios, also where no unit says so."""
    words = name.split("_")
    return "ratio" if unit == "" and (words[0] in ("mfu", "mbu") or words[-1] in ("share", "ratio")) else unit


def value_text(name: str, metric: Metric) -> str:
    """A metric's value as a reader wants it."""
    return quantity(metric.value, unit_of(name, metric.unit))


def band(name: str, metric: Metric) -> str:
    """The P10–P90 band of a metric, in the unit of its value unless it says another; empty where it has none."""
    if metric.low is None or metric.high is None:
        return ""
    unit = unit_of(name, metric.unit)
    low, high = quantity(metric.low, unit), quantity(metric.high, unit)
    (start, _, low_unit), (_, _, high_unit) = low.partition(" "), high.partition(" ")
    if low_unit != high_unit:
        return f"{low} … {high}"
    end, _, _ = high.partition(" ")
    return f"{start} … {end}" if value_text(name, metric).partition(" ")[2] == high_unit else f"{start} … {high}"


def label(name: str) -> str:
    """A metric's or field's name in words; a unit suffix goes, for the value beside it carries its unit."""
    for suffix in sorted(_UNIT_SUFFIXES, key=len, reverse=True):
        if name.endswith(suffix) and not name.endswith(f"_per{suffix}") and len(name) > len(suffix):
            name = name[: -len(suffix)]
            break
    for unit in ("_j_per_", "_usd_per_"):
        name = name.replace(unit, "_per_")
    words = re.sub(r"_per_s(?=_|$)", "/s", name).replace("_", " ").replace("-", " ").split()
    spelled = [_RESPELLED.get(word, word.upper() if word in _ACRONYMS else word) for word in words]
    return " ".join(spelled)
