"""`costsim calibrate`: measurements into the laws of an accelerator, with their held-out errors."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from costsim.cli.output import extension, finish, progress, write
from costsim.errors import BadInput

if TYPE_CHECKING:
    from costsim.calibration.measurement import Measurement
    from costsim.calibration.points import Points
    from costsim.calibration.run import Calibrated
    from costsim.report.document import Document
    from costsim.spec.accelerator import Accelerator
    from costsim.timing.device import Correction
    from costsim.timing.laws import AnyLaw

NAME = "calibrate"
HELP = "measurements into hwprofiles/calibration/<id>.json, with held-out residuals"
EXAMPLE = """
costsim calibrate
costsim calibrate h800-sxm --measurements my_kernels.csv --folder my_calibration
"""


def configure(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("question")
    group.add_argument(
        "accelerators", nargs="*", metavar="ID", help="accelerators; default: all whose measurements are shipped"
    )
    group.add_argument("--measurements", metavar="FILE", help="measurement CSV of your own, for one accelerator")
    group.add_argument("--trace", metavar="FILE", help="profiler trace with shapes, recorded on one accelerator")
    group.add_argument(
        "--silicon", action="store_true", help="use the measured GPU tables (extra silicon); default IDs: all it has"
    )
    group.add_argument("--folder", metavar="DIR", help="where <id>.json is written; without it nothing is")


def run(args: argparse.Namespace) -> int:
    from costsim.calibration.run import calibrate, shipped_measurements, written_text
    from costsim.calibration.sources.aiconfigurator import systems
    from costsim.spec.catalog import load_accelerator

    names = args.accelerators or (systems() if args.silicon else shipped_measurements())
    if (args.measurements or args.trace) and len(args.accelerators) != 1:
        flag = "--measurements" if args.measurements else "--trace"
        raise BadInput(f"{flag}: name the one accelerator that the file was measured on")
    _need_scipy()
    folder = None if args.folder is None else Path(args.folder)
    if folder is not None and not folder.is_dir():
        raise BadInput(f"--folder {folder}: is not a directory; make it first")
    results, points = [], []
    plotted = args.out is not None and extension(Path(args.out)) == "html"
    for name in names:
        chip, rows = load_accelerator(name), _rows(args, name)
        results.append(calibrate(chip, rows, progress))
        if not results[-1].fits:
            raise BadInput(f"calibrate {chip.id}: no law could be fitted: {_why_not(results[-1])}")
        points.append(_points(chip, rows, results[-1]) if plotted else {})
    for result in results:
        if folder is not None:
            target = folder / f"{result.accelerator}.json"
            write(target, written_text(result, target))
            progress(f"wrote {target}")
    return finish(args, _document(results, points))


def _why_not(result: Calibrated) -> str:
    return next(iter(result.refused.values()), "there are no rows for it")


def _points(chip: Accelerator, rows: list[Measurement], result: Calibrated) -> dict[str, Points]:
    """What each law says of the rows that it was fitted to."""
    from costsim.calibration.points import law_points

    def law_of(key: str) -> tuple[AnyLaw, Correction | None] | None:
        found = result.fits.get(key)
        return None if found is None else (found.law, found.residual)

    return law_points(chip, rows, law_of)


def _rows(args: argparse.Namespace, name: str) -> list[Measurement]:
    from costsim.calibration.measurement import read_measurements
    from costsim.calibration.run import measurements_of, silicon_rows

    if args.trace:
        from costsim.trace.measurements import trace_rows

        own = read_measurements(Path(args.measurements)) if args.measurements else []
        return [*own, *trace_rows(Path(args.trace))]
    if args.measurements:
        return read_measurements(Path(args.measurements))
    return silicon_rows(name) if args.silicon else measurements_of(name)


def _need_scipy() -> None:
    from importlib.util import find_spec

    if find_spec("scipy") is None:
        raise BadInput("calibrate fits laws with scipy, which is not installed: pip install 'costsim[profile]'")


def _document(results: list[Calibrated], points: list[dict[str, Points]]) -> Document:
    from costsim.report.document import Cell, Content, Document, Section, Table
    from costsim.report.laws import law_section
    from costsim.report.words import percent
    from costsim.version import __version__

    sections, flat = [], []
    for result, drawn in zip(results, points, strict=True):
        rows: list[list[Content]] = []
        for key, law in sorted(result.fits.items()):
            rows.append(
                [
                    key,
                    law.points,
                    law.rejected,
                    *(Cell(percent(v), v) for v in (law.median_ape, law.p90_ape)),
                    ", ".join(law.sources),
                ]
            )
            flat.append({"accelerator": result.accelerator, "law": key, "n": law.points, "rejected": law.rejected,
                         "held_out_median_ape": law.median_ape, "held_out_p90_ape": law.p90_ape})  # fmt: skip
        columns = ("family/dtype", "n", "too fast", "median", "P90", "sources")
        notes = [f"{key}: {why}" for key, why in result.refused.items()]
        sections.append(Section(result.accelerator, notes, [Table(columns, rows)]))
        laws = {key: law.law for key, law in result.fits.items()}
        sections.append(law_section(laws, drawn, f"{result.accelerator}: laws and points"))
    payload = {"accelerators": [result.json() for result in results], "version": __version__}
    return Document(
        "Laws fitted to measurements; median and P90 error on shapes left out of the fit", sections, payload, rows=flat
    )
