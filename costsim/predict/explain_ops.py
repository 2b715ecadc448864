"""Where the seconds of one op or transfer come from: demand, law, terms, correction, speed of light, evidence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from costsim.calibration.evidence import evidence
from costsim.num import Num
from costsim.physics.op import Op, Wire
from costsim.predict.phase import Timed
from costsim.timing.device import Device, FittedLaw
from costsim.timing.duration import Duration, grade_at, light_s, line_seconds
from costsim.timing.laws import blend

#: how each law turns its terms into seconds
FORMULAS = {
    "tile": "overhead + √(compute² + memory²), compute in tiles and waves",
    "tiling": "overhead + √(compute² + memory²), compute in the fastest of several tilings",
    "experts": "overhead + √(compute² + memory²), two grouped GEMMs in tiles",
    "attend": "overhead + √(compute² + memory²), compute = flop·(1 + s0/context)/rate",
    "stream": "overhead + bytes/(bandwidth·memory_efficiency)",
    "hop": "latency + (out⁴ + up⁴)^¼ on two fabrics",
}


def plain(value: Num) -> float:
    """The one value of a question, as a float."""
    return float(np.max(np.asarray(value)))


def op_facts(timed: Timed, device: Device) -> dict[str, Any]:
    """Everything behind one execution of a kernel."""
    op, each = timed.item, timed.each
    assert isinstance(op, Op)
    law_s = plain(blend(each.fixed_s, each.compute_s, each.memory_s))
    light = plain(light_s(op, device))
    shape = {name: plain(value) for name, value in op.shape.items()}
    return {
        "family": op.family,
        "dtype": op.dtype,
        "shape": shape,
        "flop": plain(op.flop),
        "bytes": plain(op.bytes),
        **_common(timed, each, law_s, light, _factor(each.fitted, op.shape)),
        "terms": {"overhead_s": plain(each.fixed_s), "compute_s": plain(each.compute_s),
                  "memory_s": plain(each.memory_s)},
        "grade": grade_at(op, each.fitted),
        "outside": outside(shape, each.fitted),
        **_evidence(each.fitted, f"{op.family}/{op.dtype}"),
    }  # fmt: skip


def wire_facts(timed: Timed, device: Device) -> dict[str, Any]:
    """Everything behind one execution of a collective, alone on the fabric."""
    wire, each = timed.item, timed.each
    assert isinstance(wire, Wire)
    up_s, out_s = line_seconds(wire, device)
    law = each.fitted.law
    law_s = plain(law.seconds(up_s, out_s, wire.ranks)) if law.kind == "hop" else plain(each.time_s)  # type: ignore[union-attr]
    shape = {"up_bytes": wire.up_bytes, "ranks": wire.ranks}
    return {
        "family": wire.kind,
        "dtype": "bytes",
        "shape": {"ranks": plain(wire.ranks), "domain": plain(wire.domain)},
        "up_bytes": plain(wire.up_bytes),
        "out_bytes": plain(wire.out_bytes),
        **_common(timed, each, law_s, max(plain(up_s), plain(out_s)), _factor(each.fitted, shape)),
        "terms": {"overhead_s": plain(each.fixed_s), "scale_up_line_s": plain(up_s), "scale_out_line_s": plain(out_s)},
        "grade": each.grade,
        "outside": [],
        **_evidence(each.fitted, f"{wire.kind}/bytes"),
    }


def _common(timed: Timed, each: Duration, law_s: float, light: float, factor: float) -> dict[str, Any]:
    seconds = plain(each.time_s)
    corrected = max(law_s * factor, light)
    return {
        "bound": each.bound,
        "count": plain(timed.item.count),
        "each_s": seconds,
        "light_s": light,
        "above_light": seconds / light if light > 0 else None,
        "law": each.fitted.law.kind,
        "formula": FORMULAS.get(each.fitted.law.kind, ""),
        "parameters": asdict(each.fitted.law),
        "law_s": law_s,
        "correction": factor,
        # what is left: GEMMs beside communication kernels take longer
        "contention": seconds / corrected if corrected > 0 else 1.0,
    }


def _factor(fitted: FittedLaw, shape: Mapping[str, Num]) -> float:
    return 1.0 if fitted.correction is None else plain(fitted.correction.factor(shape))


def outside(shape: Mapping[str, float], fitted: FittedLaw) -> list[str]:
    """Shape variables beyond the measured range: "m 5 (measured 16 to 4,096)"."""
    out = []
    for name, (low, high) in (fitted.ranges or {}).items():
        value = shape.get(name)
        if value is not None and not low <= value <= high:
            out.append(f"{name} {value:g} (measured {low:g} to {high:g})")
    return out


def _evidence(fitted: FittedLaw, key: str) -> dict[str, Any]:
    """Points, held-out error and band; an average of several parts lists each."""
    found = evidence(fitted, key)
    return {
        "points": fitted.points,
        "p10_ratio": fitted.low,
        "p90_ratio": fitted.high,
        "measured_on": fitted.origin,
        "fitted_as": found[0].key if found else None,
        "held_out_median_ape": max((e.median_ape for e in found), default=None),
        "held_out_p90_ape": max((e.p90_ape for e in found), default=None),
        "sources": list(fitted.sources),
    }
