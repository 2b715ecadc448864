"""Calibration files: laws on disk, and the device a prediction runs on.

``hwprofiles/calibration/<id>.json`` holds what was measured on one accelerator. A part without its own
measurements takes its sibling's (same silicon, grade C), else those of the best-measured donor (grade D).
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import fields, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from costsim.calibration.between import FAMILY, between_nodes
from costsim.calibration.fit import FOLDS, Fit
from costsim.calibration.residual import from_json
from costsim.calibration.transfer import SHEET, anchor, distance, find, shipped_bands, tile_cores
from costsim.errors import BadInput, Contradiction, Malformed
from costsim.files import read_json
from costsim.spec.accelerator import PEAK_OF, Accelerator
from costsim.spec.catalog import CALIBRATION, load_accelerator
from costsim.spec.cluster import Cluster
from costsim.spec.schema import carried
from costsim.timing.device import Device, FittedLaw
from costsim.timing.laws import Hop, law_from

SCHEMA = 1
#: fewer points than this show what a kernel did once, not how a law extrapolates
MIN_POINTS = 10
#: families that fall back to another family's law when they have none
_STANDS_FOR = {
    "batched_gemm": ("gemm",),
    "moe": ("moe_normal", "moe_masked"),
    "moe_normal": ("moe", "moe_masked"),
    "moe_masked": ("moe_normal", "moe"),
    "attention_prefill": ("mla_prefill",),
    "mla_prefill": ("attention_prefill",),
    "all_gather": ("all_reduce",),
    "reduce_scatter": ("all_reduce",),
    "all_to_all": ("all_gather",),
    "p2p": ("all_reduce",),
}
#: mean |ln| distance of two sheets up to which parts are twins: H800 and H100 0, H200 and H100 0.09, H20 and H100 1.5
TWIN = 0.2
#: formats whose law may stand in for another's, in this order
_OTHER_DTYPES = ("fp8", "bf16", "int8", "fp4", "bytes")
#: sources that time kernels back to back inside CUDA graphs; the others report the kernel's own duration
GRAPH_TIMED = frozenset({"aiconfigurator-core"})
#: architectures whose scale-up switch reduces in the network (NVLink SHARP), where there is one: domains of 8 and more
_REDUCES_IN_SWITCH = ("hopper", "blackwell")


#: a small message across leaf switches of InfiniBand [deepseek-isca-2025, table 5]
MESSAGE_S = 3.7e-6

#: held-out median error above which a law is not what "measured on this part" promises
CREDIBLE = 0.35


def law_json(fit: Fit) -> dict[str, Any]:
    """One law in its stored form."""
    low, high = fit.band
    return {
        "law": fit.law.kind,
        "parameters": {name: _round(getattr(fit.law, name)) for name in (f.name for f in fields(fit.law))},
        "grade": "A" if fit.points >= MIN_POINTS and fit.median_ape <= CREDIBLE else "B",
        "n": fit.points,
        "rejected_faster_than_light": fit.rejected,
        "range": {name: list(span) for name, span in fit.ranges.items()},
        "held_out": {
            "folds": FOLDS,
            "median_ape": _round(fit.median_ape),
            "p90_ape": _round(fit.p90_ape),
            "p10_ratio": _round(low),
            "p90_ratio": _round(high),
        },
        "sources": list(fit.sources),
    } | ({} if fit.residual is None else {"residual": fit.residual.as_json()})


def _round(value: float) -> float:
    return float(f"{value:.4g}")


def calibration_text(accelerator: str, laws: Mapping[str, Fit], date: str) -> str:
    """The text of a calibration file."""
    document = {
        "schema": SCHEMA,
        "accelerator": accelerator,
        "date": date,
        "laws": {key: law_json(fit) for key, fit in sorted(laws.items())},
    }
    return json.dumps(document, indent=1) + "\n"


@lru_cache(maxsize=64)
def read_calibration(name: str) -> dict[str, FittedLaw]:
    """The measured laws of an accelerator by id; empty where there is no file."""
    path = CALIBRATION / f"{name}.json"
    laws = parse_calibration(path) if path.is_file() else {}
    other = next((law.origin for law in laws.values() if law.origin != name), None)
    if other is not None:
        raise Contradiction(f"calibration {path}: was measured on {other}, not on {name}")
    return laws


@lru_cache(maxsize=64)
def own_calibration(path: str, name: str) -> dict[str, FittedLaw]:
    """The laws in a user's calibration file; BadInput where they were measured on another part."""
    laws = parse_calibration(Path(path))
    other = next((law.origin for law in laws.values() if law.origin != name), None)
    if other is not None:
        raise Contradiction(f"calibration {path}: was measured on {other}, not on {name}")
    return laws


def parse_calibration(path: Path) -> dict[str, FittedLaw]:
    """The laws in a calibration file; BadInput names what is wrong with it."""
    try:
        document = read_json(path, "calibration")
        document = carried(document, f"calibration {path}", SCHEMA, {0: _from_0}, absent=0)
        return {key: _fitted(entry, document["accelerator"]) for key, entry in document["laws"].items()}
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError, OverflowError) as error:
        if isinstance(error, BadInput):
            raise
        raise Malformed(f"calibration {path}: not a calibration file ({type(error).__name__}: {error})") from None


def _from_0(old: dict[str, Any]) -> dict[str, Any]:
    """Version 0 gave a law's held-out errors without the ratios at P10 and P90: those of as much to either side."""
    laws = {}
    for key, law in old["laws"].items():
        held = dict(law["held_out"])
        wide = 1.0 + float(held["p90_ape"])
        laws[key] = {**law, "held_out": {"p10_ratio": 1.0 / wide, "p90_ratio": wide, **held}}
    return {**old, "laws": laws}


def fitted_laws(fits: Mapping[str, Fit], origin: str) -> dict[str, FittedLaw]:
    """Laws straight from their fits, as a file of them would give."""
    return {key: _fitted(law_json(fit), origin) for key, fit in fits.items()}


def _fitted(entry: Mapping[str, Any], origin: str) -> FittedLaw:
    held, parameters = entry["held_out"], entry["parameters"]
    law = law_from(entry["law"], parameters)
    extra = set(parameters) - {field.name for field in fields(law)}
    low, high = float(held["p10_ratio"]), float(held["p90_ratio"])
    sources, grade = entry["sources"], entry["grade"]
    ranges = {str(name): (float(least), float(most)) for name, (least, most) in entry["range"].items()}
    if extra or not all(math.isfinite(value) for value in parameters.values()):
        raise ValueError(f"parameters of a {law.kind} law: {', '.join(sorted(extra)) or 'not finite'}")
    if grade not in ("A", "B", "C", "D"):
        raise ValueError(f"grade {str(grade)[:20]!r} is not one of A, B, C, D")
    if not 0 < low <= 1 <= high < math.inf:
        raise ValueError(f"held_out: p10_ratio {low:g} must be in (0, 1] and p90_ratio {high:g} at least 1")
    if not isinstance(sources, list) or not all(isinstance(source, str) for source in sources):
        raise ValueError("sources: a list of bibliography keys is needed")
    correction = from_json(entry["residual"]) if "residual" in entry else None
    graphed = not GRAPH_TIMED.isdisjoint(sources)
    return FittedLaw(law, grade, low, high, tuple(sources), int(entry["n"]), ranges, origin, correction, graphed)


class Laws(Mapping[str, FittedLaw]):
    """family/dtype → law: measured here, else lent by a twin, relative or stranger; other kernels cost a grade."""

    def __init__(self, chip: Accelerator, instead: Mapping[str, FittedLaw] | None = None) -> None:
        """``instead``: laws that a question puts in the place of this part's own."""
        self._chip = chip
        self._own = read_calibration(chip.id) if not chip.calibration else own_calibration(chip.calibration, chip.id)
        self._found: dict[str, FittedLaw | None] = dict(instead or {})
        self._lendable: dict[str, FittedLaw | None] = {}

    def _search(self, key: str) -> FittedLaw | None:
        """Nearest evidence first: here and on near twins any kernel of the kind, then relatives, then strangers."""
        family, dtype = key.split("/")
        if family == FAMILY:  # of libraries and adapters, not of chips: one law for all
            return between_nodes()
        if "@" in family:  # a framework's own kernels stand for nobody else's, and only on parts like those measured
            return self._lent(key, "twin")
        dtypes = (dtype, *(other for other in _OTHER_DTYPES if other != dtype))
        names = [f"{name}/{other}" for name in (family, *_STANDS_FOR.get(family, ())) for other in dtypes]
        for reach in ("twin", "relative", "stranger"):
            for name in names:
                law = self._lent(name, reach)
                if law is not None:
                    return law if name == key else _stand_in(law, key, _alike(name, key))
        return None

    def _lent(self, key: str, reach: str) -> FittedLaw | None:
        """The law of exactly this key: own or a twin's, a relative's, or from another architecture."""
        if reach == "twin" and key in self._own:
            return self._own[key]
        if key not in self._lendable:  # each reach asks again
            self._lendable[key] = find(self._chip, key, *measured_parts())
        law = self._lendable[key]
        if law is None or (law.grade == "D") != (reach == "stranger"):
            return None
        # A part of much the same sheet runs the same kernel alike; its kernel says more than another one here.
        if reach == "twin" and distance(anchor(self._chip), load_accelerator(law.origin), SHEET) > TWIN:
            return None
        return law

    @property
    def used(self) -> list[FittedLaw]:
        """Every law that a question has asked for."""
        return [law for law in self._found.values() if law is not None]

    def __getitem__(self, key: str) -> FittedLaw:
        if key not in self._found:
            self._found[key] = self._search(key)
        law = self._found[key]
        if law is None:
            raise KeyError(key)
        return law

    def __iter__(self) -> Iterator[str]:
        return iter(self._own)

    def __len__(self) -> int:
        return len(self._own)


@lru_cache(maxsize=1)
def measured_parts() -> tuple[tuple[Accelerator, ...], dict[str, dict[str, FittedLaw]]]:
    """Accelerators with a calibration file, and their laws."""
    known = sorted(path.stem for path in CALIBRATION.glob("*.json"))
    return tuple(load_accelerator(name) for name in known), {name: read_calibration(name) for name in known}


def _alike(name: str, key: str) -> bool:
    """Whether a law and what it stands in for are grouped expert GEMMs of one format: the same shapes and tiles."""
    (family, dtype), (asked, wanted) = name.split("/"), key.split("/")
    return family.startswith("moe") and asked.startswith("moe") and dtype == wanted


def _stand_in(law: FittedLaw, key: str, alike: bool = False) -> FittedLaw:
    """Another dtype's or family's law in place of ``key``: two grades down from a measurement, one from a transfer.

    Its correction belongs to other shapes, unless they are ``alike``; its band is at least that of a transfer to
    another architecture. A message between two ranks makes one step, however many ranks there are, and crosses the
    network once.
    """
    if key.startswith("p2p/") and isinstance(law.law, Hop):
        law = replace(law, law=replace(law.law, per_doubling_s=0.0, out_overhead_s=MESSAGE_S))
    grade = "C" if law.grade in "AB" else "D"
    low, high = shipped_bands().of(key, "D")
    correction = law.correction if alike else None
    return replace(law, grade=grade, low=min(law.low, low), high=max(law.high, high), correction=correction)


def device_for(
    chip: Accelerator, cluster: Cluster | None = None, instead: Mapping[str, FittedLaw] | None = None
) -> Device:
    """The device one rank of a plan sees: a die of a multi-die card, with the cluster's fabrics."""
    rank = chip.rank()
    dies = chip.dies
    up = (
        cluster.scale_up_bandwidth / dies
        if cluster and cluster.scale_up_bandwidth
        else _known(rank, "scale_up_bandwidth")
    )
    out = (
        cluster.scale_out_bandwidth / dies
        if cluster and cluster.scale_out_bandwidth
        else _known(rank, "scale_out_bandwidth")
    )
    peaks = {dtype: value for dtype, key in PEAK_OF.items() if (value := rank.datasheet[key].value) is not None}
    return Device(
        id=chip.id,
        peaks=peaks,
        bandwidth=rank.need("memory_bandwidth"),
        cores=cores_of(chip),
        up=up,
        out=out,
        laws=Laws(chip, instead),
        in_network_reduction=chip.architecture in _REDUCES_IN_SWITCH and (_known(rank, "scale_up_domain") or 0) >= 8,
        processor=chip.torch_device == "cpu",
    )


def _known(chip: Accelerator, key: str) -> float | None:
    return chip.datasheet[key].value


def cores_of(chip: Accelerator) -> float:
    """Cores of one rank's device that run tiles."""
    rank = chip.rank()
    return tile_cores(rank) or _typical_cores(anchor(chip).rank())


def _typical_cores(chip: Accelerator) -> float:
    """Cores where no source states them: as many as keep an H800 core's BF16 rate (only tile quantisation sees it)."""
    per_core = 989e12 / 132
    peak = chip.datasheet["bf16"].value
    return max(1.0, round(peak / per_core)) if peak else 64.0
