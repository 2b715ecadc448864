"""Tables of shapes, accelerators and architectures that a law has not seen."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from costsim.calibration.fit import FOLDS, PRIOR, _learn, _Table, law_kind, light, predict, residual_steps
from costsim.calibration.left_out import (
    SHOWN_ONLY,
    LeftOut,
    bands_from,
    bands_text,
    coverage,
    error_of,
    leave_out,
    measured_rows,
)
from costsim.calibration.measurement import Measurement
from costsim.calibration.run import silicon_rows
from costsim.calibration.sources.aiconfigurator import systems
from costsim.calibration.store import device_for
from costsim.calibration.transfer import PATH, TUNED
from costsim.report.document import Cell, Content, Section, Table
from costsim.report.words import percent
from costsim.spec.catalog import load_accelerator

Progress = Callable[[str], None]
UNSEEN_PARTS = ("h100-sxm", "h200-sxm", "b200-sxm")
UNSEEN_BAR, ACCELERATOR_BAR, ARCHITECTURE_BAR = 0.15, 0.10, 0.15
COVERAGE_BAR = (0.70, 0.90)
ARCHITECTURES = ("ampere", "hopper", "blackwell", "ada")


def mark(value: float | None, bar: float | None) -> str:
    """met, missed, or nothing where the bar does not exist."""
    return "" if value is None or bar is None else "met" if value <= bar else "missed"


def share(value: float | None) -> Content:
    """A ratio in percent that sorts by its value."""
    return None if value is None else Cell(percent(value), value)


def signed(value: float) -> Content:
    return Cell(f"{value:+.1%}", value)


def unseen_section(progress: Progress) -> Section:
    """Experts of models never seen: whole (n, k) matrices left out, the law and its grid fitted on the rest."""
    rows: list[list[Content]] = []
    for name in UNSEEN_PARTS:
        groups: dict[str, list[Measurement]] = {}
        for row in silicon_rows(name):
            if row.family == "moe":
                groups.setdefault(row.key, []).append(row)
        for key, group in groups.items():
            progress(f"unseen expert shapes: {name} {key}")
            misses = _unseen(name, key, group)
            errors = np.abs(np.expm1(-misses))
            median = float(np.median(errors))
            rows.append([name, key, len(errors), share(median), share(float(np.quantile(errors, 0.9))),
                         mark(median, UNSEEN_BAR)])  # fmt: skip
    text = f"Whole (n, k) expert matrices left out, five folds; bar: median {UNSEEN_BAR:.0%}."
    columns = ("accelerator", "family/dtype", "n", "median", "P90", "bar")
    return Section("Model shapes never seen: grouped experts", [text], [Table(columns, rows)])


def _unseen(name: str, key: str, rows: Sequence[Measurement]) -> np.ndarray:
    """log(measured/predicted) of every row by a fit that saw no row with its expert matrix."""
    family, dtype = key.split("/")
    device, kind = device_for(load_accelerator(name)), law_kind(family, dtype)
    table = _Table.of(rows)
    table = table.take(table.time_s >= light(family, dtype, table, device))
    matrices = np.stack([table.shape["n"], table.shape["k"]], axis=1)
    _, which = np.unique(matrices, axis=0, return_inverse=True)
    # a fixed shuffle, so that a fold is not one corner of the shapes
    fold = np.random.default_rng(0).permutation(which.max() + 1)[which.ravel()] % FOLDS
    out = np.empty(len(fold))
    prior, steps = PRIOR.get(family) or PRIOR[kind], residual_steps(family, table)
    for i in range(FOLDS):
        left = fold == i
        rest, held = table.take(~left), table.take(left)
        law, grid = _learn(kind, family, dtype, rest, device, prior, steps)
        out[left] = np.log(held.time_s / predict(law, family, dtype, held, device))
        if grid is not None:
            out[left] -= grid.log(held.coordinates)
    return out


def transfer_results(progress: Progress, write_bands: bool) -> list[LeftOut]:
    """Every part predicted by the others; ``write_bands`` also renews ``hwprofiles/transfer.json``."""
    rows = measured_rows(systems(), progress)
    progress("leaving out each accelerator and each architecture")
    results = leave_out(rows)
    if write_bands:
        PATH.write_text(bands_text(results), encoding="utf-8")
        progress(f"wrote {PATH}")
    return results


def accelerator_section(results: Sequence[LeftOut]) -> Section:
    """Leave-one-accelerator-out by family, over the datacentre parts, and by part."""
    known = [r for r in results if r.scope == "accelerator" and r.part not in SHOWN_ONLY]
    rows = []
    for key in sorted({r.key for r in known}):
        error = error_of([r for r in known if r.key == key])
        rows.append([key, int(error["n"]), *_error_cells(error), mark(error["median_ape"], ACCELERATOR_BAR)])
    parts: list[list[Content]] = []
    for part in sorted({r.part for r in results}):
        own = [r for r in results if r.part == part and r.scope == "accelerator"]
        bands = bands_from(results, without=[part])
        inside = float(np.mean(np.concatenate([r.inside(bands.of(r.key, r.grade)) for r in own])))
        error = error_of(own)
        donors = ", ".join(sorted({origin for r in own for origin in r.donor.split("+")}))
        parts.append([part, "".join(sorted({r.grade for r in own})), donors, *_error_cells(error), share(inside)])
    text = (
        f"Each part predicted by the laws and corrections of the others; bar: median {ACCELERATOR_BAR:.0%} per family "
        f"over the datacentre parts (without {', '.join(SHOWN_ONLY)}). In band: share of the rows inside the band "
        "of the transferred law, the band itself measured without the part."
    )
    return Section("Leave one accelerator out", [text], [
        Table(("family/dtype", "n", "median", "P90", "bias", "bar"), rows),
        Table(("accelerator", "grade", "donors", "median", "P90", "bias", "in band"), parts),
    ])  # fmt: skip


def architecture_section(results: Sequence[LeftOut]) -> Section:
    """Leave-one-architecture-out: medians and bias by family, coverage of the band by architecture."""
    known = [r for r in results if r.scope == "architecture"]
    rows: list[list[Content]] = []
    for key in sorted({r.key for r in known}):
        pooled = [r for r in known if r.key == key and r.part not in SHOWN_ONLY]
        cells: list[Content] = []
        for name in ARCHITECTURES:
            own = [r for r in known if r.key == key and r.architecture == name]
            error = error_of(own) if own else None
            cells.append(
                Cell(f"{error['median_ape']:.1%} ({error['bias']:+.0%})", error["median_ape"]) if error else None
            )
        median = error_of(pooled)["median_ape"] if pooled else None
        rows.append([key, *cells, share(median), mark(median, ARCHITECTURE_BAR)])
    totals: list[list[Content]] = []
    everything = bands_from(results)
    for name in ARCHITECTURES:
        own = [r for r in known if r.architecture == name]
        error = error_of(own)
        inside = coverage(own, everything, "D")
        blind = coverage(own, bands_from(results, without=[name]), "D")
        low, high = COVERAGE_BAR
        totals.append([name, *_error_cells(error), mark(error["median_ape"], ARCHITECTURE_BAR), share(inside),
                       "met" if low <= inside <= high else "missed", share(blind),
                       "met" if low <= blind <= high else "missed"])  # fmt: skip
    text = (
        f"No part of the architecture lends a law; bar: median {ARCHITECTURE_BAR:.0%}, "
        f"{low:.0%}–{high:.0%} of the rows in the band. "
        f"In band: with the shipped bands. Blind: with bands from the other architectures alone, which the left-out "
        f"one never touched. Donors of kernels: {' and '.join(TUNED)} only."
    )
    return Section("Leave one architecture out", [text], [
        Table(("family/dtype", *(f"{name} (bias)" for name in ARCHITECTURES), "all but Ada", "bar"), rows),
        Table(("architecture", "median", "P90", "bias", "bar", "in band", "bar ", "blind", "bar  "), totals),
    ])  # fmt: skip


def _error_cells(error: dict[str, float]) -> list[Content]:
    return [share(error["median_ape"]), share(error["p90_ape"]), signed(error["bias"])]
