"""All-reduces between nodes: one law for every part, fitted on published runs of a collective library.

What such a transfer costs below a few megabytes is the library's protocols, its proxy threads and the adapters, not
the chip; so all installations of ``hwprofiles/between_nodes/all_reduce.csv`` share one law, each on its own fabrics.
Engines' own all-reduces stay inside a node: they store into the peers' memory. The band comes from leaving out one
installation at a time, and is wide because installations differ.
"""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from costsim.errors import Malformed
from costsim.spec.base import read_text
from costsim.spec.catalog import ROOT, load_accelerator
from costsim.timing.device import Device, FittedLaw
from costsim.timing.duration import line_seconds
from costsim.timing.laws import Relay, law_from

Array = NDArray[np.float64]
FOLDER = ROOT / "hwprofiles" / "between_nodes"
ROWS, LAW = FOLDER / "all_reduce.csv", FOLDER / "all_reduce.json"
SCHEMA = 1
FAMILY = "all_reduce_nodes"
#: start and prior: latency of the library's own tuning model for trees in its low-latency protocol, 6.8 us and twice
#: 5 us for a doubling of nodes, and 2·(28 − 5) us more for its simple one [nccl-tuning]
PRIOR = Relay(6.8e-6, 0.6, 0.9, 5e-6, 1e-9, 0.03, 46e-6)
#: bounds of the parameters that are fitted; the latency of leaving a node is in ``overhead_s``: all rows leave it
BOUNDS = {
    "overhead_s": (1e-6, 1e-4), "up_efficiency": (0.1, 1.0), "out_efficiency": (0.1, 1.0),
    "per_doubling_s": (1e-8, 3e-5), "low_latency_efficiency": (1e-3, 1.0), "simple_s": (1e-6, 5e-4),
}  # fmt: skip
PRIOR_WEIGHT = 0.02
#: residual beyond which a row counts linearly, not squared
ROBUST = 0.1


@dataclass(frozen=True)
class Run:
    """The rows of one installation as arrays, with its fabrics."""

    name: str
    source: str
    fitted: bool
    device: Device
    ranks: Array
    domain: Array
    bytes: Array
    time_s: Array

    @property
    def kind(self) -> str:
        return "all_reduce"

    @property
    def up_bytes(self) -> Array:
        return self.bytes

    @property
    def out_bytes(self) -> Array:
        return self.bytes

    def predicted(self, law: Relay) -> Array:
        return np.asarray(law.seconds(*line_seconds(self, self.device), self.ranks))


def read_runs(path: Path = ROWS) -> list[Run]:
    """One entry for each installation; BadInput names what a row lacks."""
    from costsim.calibration.store import device_for

    lines = [line for line in read_text(path, "all-reduces between nodes").splitlines() if not line.startswith("#")]
    groups: dict[str, list[dict[str, str]]] = {}
    for row in csv.DictReader(io.StringIO("\n".join(lines))):
        groups.setdefault(row["installation"], []).append(row)
    runs = []
    for name, rows in groups.items():
        try:
            column = {key: np.array([float(r[key]) for r in rows]) for key in ("ranks", "domain", "bytes", "time_s")}
            out = float(rows[0]["out_bytes_per_s"])
        except (KeyError, ValueError) as error:
            raise Malformed(f"{path.name}: installation {name}: {error}") from None
        device = replace(device_for(load_accelerator(rows[0]["accelerator"])), out=out)
        runs.append(Run(name, rows[0]["source"], rows[0]["use"] == "fit", device, **column))
    return runs


def fit_runs(runs: list[Run]) -> Relay:
    """Robust least squares on log(measured/predicted), every installation that is fitted with the same weight."""
    runs = [run for run in runs if run.fitted]
    from scipy.optimize import least_squares

    names = list(BOUNDS)
    low, high = np.log(np.array([BOUNDS[name] for name in names])).T
    start = np.log([getattr(PRIOR, name) for name in names])

    def law_of(x: Array) -> Relay:
        return replace(PRIOR, **dict(zip(names, np.exp(x).tolist(), strict=True)))

    def miss(x: Array) -> Array:
        law, out = law_of(x), []
        for run in runs:
            residual = np.log(run.time_s / run.predicted(law))
            soft = ROBUST * np.sign(residual) * np.sqrt(2.0 * (np.sqrt(1.0 + (residual / ROBUST) ** 2) - 1.0))
            out.append(soft * np.sqrt(10.0 / len(residual)))
        return np.concatenate([*out, PRIOR_WEIGHT * (x - start)])

    return law_of(least_squares(miss, start, bounds=(low, high)).x)


def left_out(runs: list[Run]) -> dict[str, Array]:
    """log(measured/predicted) of every installation by a law that never saw it."""
    return {
        run.name: np.log(run.time_s / run.predicted(fit_runs([other for other in runs if other is not run])))
        for run in runs
    }


def law_text(runs: list[Run]) -> str:
    """The law's file: parameters, and the error on installations left out, one vote each."""
    law, held = fit_runs(runs), left_out(runs)
    # As many draws from each installation: a long table is not a better witness than a short one.
    votes = np.concatenate([np.quantile(values, (np.arange(20) + 0.5) / 20.0) for values in held.values()])
    low, high = np.quantile(votes, (0.1, 0.9))

    def short(value: float) -> float:
        return float(f"{value:.4g}")

    document = {
        "schema": SCHEMA,
        "law": law.kind,
        "parameters": {field.name: short(getattr(law, field.name)) for field in fields(law)},
        "n": int(sum(len(run.time_s) for run in runs)),
        "held_out": {
            "what": "one installation at a time",
            "median_ape": short(float(np.median(np.abs(np.expm1(-votes))))),
            "p10_ratio": short(float(np.exp(min(low, 0.0)))),
            "p90_ratio": short(float(np.exp(max(high, 0.0)))),
            "by_installation": {name: short(float(np.exp(np.median(values)))) for name, values in held.items()},
        },
        "sources": sorted({run.source for run in runs} | {"nccl-tuning"}),
    }
    return json.dumps(document, indent=1) + "\n"


@lru_cache(maxsize=1)
def between_nodes() -> FittedLaw:
    """The shipped law; grade C, for no row is of the network that a question asks about."""
    try:
        document: dict[str, Any] = json.loads(read_text(LAW, "law between nodes"))
        held = document["held_out"]
        law = law_from(document["law"], document["parameters"])
        if document["schema"] != SCHEMA:
            raise ValueError(f"schema {document['schema']}, this version reads {SCHEMA}")
        low, high = float(held["p10_ratio"]), float(held["p90_ratio"])
        return FittedLaw(law, "C", low, high, tuple(document["sources"]), int(document["n"]), origin="")
    except (KeyError, TypeError, ValueError) as error:
        raise Malformed(f"{LAW}: not a law between nodes ({type(error).__name__}: {error})") from None
