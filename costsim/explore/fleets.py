"""Fleet days asked again: what `costsim fleet` wrote as flat values, and the answer to them.

``day.`` before the keys of the load, ``unit.ACCELERATOR.PHASE.`` before those of a unit, ``policy.``, ``night.``,
``lease.`` and ``mix.ACCELERATOR`` before theirs. The weights of the hours are one value: only together do they count.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from costsim.errors import Malformed
from costsim.predict.fleet import FleetDay, predict_fleet
from costsim.predict.fleet_what_if import WhatIf
from costsim.spec.base import build
from costsim.spec.fleet import MAX_BARS, Fleet, FleetPolicy

#: units of one day
_UNITS = 50
_PARTS = ("load", "price")


def fleet_values(inputs: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Flat values of the ``inputs`` of a fleet's report. Raises BadInput."""
    day, policy = inputs.get("day"), inputs.get("policy")
    if not isinstance(day, Mapping) or not isinstance(policy, Mapping):
        raise Malformed(f"report {name}: does not hold the day as given; `costsim fleet --out x.json` writes it")
    units = day.get("unit")
    if not isinstance(units, list) or not 0 < len(units) <= _UNITS:
        raise Malformed(f"report {name}: day.unit: a list of 1 to {_UNITS} units is needed")
    values: dict[str, Any] = {"model": inputs.get("model"), "start": day.get("start"),
                              "cache_bytes": inputs.get("cache_bytes")}  # fmt: skip
    for part in _PARTS:
        values |= {f"day.{part}.{key}": value for key, value in _table(day.get(part), f"{name}: day.{part}").items()}
    hours = values.pop("day.load.hourly", None)
    if not isinstance(hours, list) or len(hours) > MAX_BARS:
        raise Malformed(f"report {name}: day.load.hourly: a list of at most {MAX_BARS} numbers is needed")
    values["day.load.hourly"] = ",".join(f"{hour}"[:40] for hour in hours)
    for unit in units:
        table = _table(unit, f"{name}: day.unit")
        prefix = f"unit.{str(table.get('accelerator'))[:80]}.{str(table.get('phase'))[:20]}"
        values |= {f"{prefix}.{key}": value for key, value in table.items()
                   if key not in ("accelerator", "phase", "sources")}  # fmt: skip
    values |= {f"policy.{key}": value for key, value in policy.items() if key != "sources"}
    for part in ("night", "lease", "mix"):
        values |= {f"{part}.{key}": value for key, value in _table(inputs.get(part) or {}, f"{name}: {part}").items()}
    return values


def ask_fleet(values: Mapping[str, Any]) -> FleetDay:
    """The day that flat values describe. Raises BadInput."""
    parts: dict[str, dict[str, Any]] = {}
    for key, value in values.items():
        part, _, rest = key.partition(".")
        if rest and value is not None:
            parts.setdefault(part, {})[rest] = value
    load, price = ({key[len(part) + 1 :]: value for key, value in parts.get("day", {}).items()
                    if key.startswith(f"{part}.")} for part in _PARTS)  # fmt: skip
    load["hourly"] = [_number(word, "hourly") for word in str(load.get("hourly", "")).split(",") if word]
    units: dict[tuple[str, str], dict[str, Any]] = {}
    for key, value in parts.get("unit", {}).items():
        whose, _, field = key.rpartition(".")
        accelerator, _, phase = whose.rpartition(".")
        units.setdefault((accelerator, phase), {"accelerator": accelerator, "phase": phase})[field] = value
    given = {"id": "day", "name": "a day", "model": values.get("model"), "start": values.get("start"),
             "load": load, "price": price, "unit": list(units.values())}  # fmt: skip
    fleet = build(Fleet, given, "day")
    night, lease = ({key: _number(value, part) for key, value in parts.get(part, {}).items()}
                    for part in ("night", "lease"))  # fmt: skip
    usual, cache = WhatIf(), values.get("cache_bytes")
    asked = WhatIf(
        None if cache is None else _number(cache, "cache_bytes"), night.get("price", usual.night_price),
        night.get("shift", usual.night_shift), (night.get("from", usual.night[0]), night.get("to", usual.night[1])),
    )  # fmt: skip
    shares = {key: _number(value, "mix") for key, value in parts.get("mix", {}).items()}
    return predict_fleet(
        fleet,
        mix=shares or None,
        policy=build(FleetPolicy, parts.get("policy", {}), "policy"),
        what_if=asked,
        lease_usd_per_gpu_h=lease.get("usd_per_gpu_h", 0.0),
        lease_least_h=lease.get("least_h", 1.0),
    )


def _table(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise Malformed(f"report {where}: is not an object")
    return {str(key)[:80]: item for key, item in value.items()}


def _number(value: Any, where: str) -> float:
    try:
        found = float(value)
    except (TypeError, ValueError, OverflowError):
        found = float("nan")
    if isinstance(value, bool) or not 0 <= found <= 1e18:
        raise Malformed(f"{where}: {str(value)[:40]!r} is not a number from 0 to 1e18")
    return found
