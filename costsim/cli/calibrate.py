"""`costsim calibrate`: measurements into the laws of an accelerator, with their held-out errors."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from costsim.cli.output import extension, finish, progress, write
from costsim.errors import Absent, BadOption, CannotWrite, Malformed, NothingFound
from costsim.report.words import percent

if TYPE_CHECKING:
    from costsim.calibration.fit import Fit
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
costsim calibrate --draft my-chip --measurements out/profile/measurements.csv --folder .
"""


def configure(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("question")
    group.add_argument(
        "accelerators", nargs="*", metavar="ID", help="accelerators; default: all whose measurements are shipped"
    )
    group.add_argument(
        "--measurements", metavar="FILE", action="append",
        help="measurement CSV of your own, for one accelerator; more than one may be given",
    )  # fmt: skip
    group.add_argument(
        "--draft", metavar="NAME",
        help="an accelerator that no catalog has: also write NAME.toml with the measured peaks into --folder",
    )  # fmt: skip
    group.add_argument("--facts", metavar="FILE", help="machine.json for --draft (default: beside the measurements)")
    group.add_argument("--trace", metavar="FILE", help="profiler trace with shapes, recorded on one accelerator")
    group.add_argument(
        "--silicon", action="store_true", help="use the measured GPU tables (extra silicon); default IDs: all it has"
    )
    group.add_argument("--folder", metavar="DIR", help="where <id>.json is written; without it nothing is")


def run(args: argparse.Namespace) -> int:
    from costsim.calibration.run import calibrate, shipped_measurements, written_text
    from costsim.calibration.sources.aiconfigurator import systems
    from costsim.spec.catalog import load_accelerator

    if args.draft is not None or args.facts is not None:
        return _draft(args)
    names = args.accelerators or (systems() if args.silicon else shipped_measurements())
    if (args.measurements or args.trace) and len(args.accelerators) != 1:
        flag = "--measurements" if args.measurements else "--trace"
        raise BadOption(f"{flag}: name the one accelerator that the file was measured on")
    _need_scipy()
    folder = _folder(args)
    results, points = [], []
    plotted = _plotted(args)
    for name in names:
        chip, rows = load_accelerator(name), _rows(args, name)
        results.append(calibrate(chip, rows, progress))
        if not results[-1].fits:
            raise NothingFound(f"calibrate {chip.id}: no law could be fitted: {_why_not(results[-1])}")
        points.append(_points(chip, rows, results[-1]) if plotted else {})
    for result in results:
        if folder is not None:
            target = folder / f"{result.accelerator}.json"
            write(target, written_text(result, target))
            progress(f"wrote {target}")
    return finish(args, _document(results, points))


def _draft(args: argparse.Namespace) -> int:
    """An unknown accelerator: its TOML with measured peaks, and its laws beside it."""
    from costsim.calibration.draft import drafted
    from costsim.calibration.run import calibrate, written_text

    if args.draft is None or not args.measurements or args.accelerators or args.silicon:
        raise BadOption("--draft NAME takes --measurements FILE and nothing of the catalog")
    _need_scipy()
    folder = _folder(args) or Path()
    rows = _rows(args, args.draft)
    text, chip = drafted(args.draft, rows, _facts(args))
    result = calibrate(chip, rows, progress)
    if not result.fits:
        raise NothingFound(f"calibrate {chip.id}: no law could be fitted: {_why_not(result)}")
    sheet, laws = folder / f"{args.draft}.toml", folder / f"{args.draft}.json"
    write(sheet, text)
    write(laws, written_text(result, laws))
    progress(f"wrote {sheet} and {laws}; costsim infer --accelerator {sheet} uses both")
    return finish(args, _document([result], [_points(chip, rows, result) if _plotted(args) else {}]))


def _plotted(args: argparse.Namespace) -> bool:
    return args.out is not None and extension(Path(args.out)) == "html"


def _folder(args: argparse.Namespace) -> Path | None:
    folder = None if args.folder is None else Path(args.folder)
    if folder is not None and not folder.is_dir():
        raise CannotWrite(f"--folder {folder}: is not a directory; make it first")
    return folder


def _facts(args: argparse.Namespace) -> dict[str, Any]:
    """What the machine said of itself: the file named, or machine.json beside the first measurements; else nothing."""
    from costsim.files import read_json

    path = Path(args.facts) if args.facts else Path(args.measurements[0]).parent / "machine.json"
    if not args.facts and not path.is_file():
        return {}
    facts = read_json(path, "facts")
    if not isinstance(facts, dict):
        raise Malformed(f"--facts {path}: a JSON object is needed, as `costsim profile` writes machine.json")
    return facts


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

    own = [row for file in args.measurements or () for row in read_measurements(Path(file))]
    if args.trace:
        from costsim.trace.measurements import trace_rows

        return [*own, *trace_rows(Path(args.trace))]
    if own:
        return own
    return silicon_rows(name) if args.silicon else measurements_of(name)


def _need_scipy() -> None:
    from importlib.util import find_spec

    if find_spec("scipy") is None:
        raise Absent("calibrate fits laws with scipy, which is not installed: pip install 'costsim[profile]'")


#: fewer rows than this say little of other shapes; a law further off than this on shapes left out is a scale, not a law
FEW_ROWS, FAR_OFF = 8, 0.30


def _doubt(law: Fit) -> str:
    """Why a fitted law should not be leaned on, or nothing."""
    doubts = []
    if law.points < FEW_ROWS:
        doubts.append(f"too few rows ({law.points}) to speak for other shapes; measure at least {FEW_ROWS}")
    if law.median_ape > FAR_OFF:
        doubts.append(f"off by {percent(law.median_ape)} on shapes left out: an order of magnitude, no more")
    return "; ".join(doubts)


def _document(results: list[Calibrated], points: list[dict[str, Points]]) -> Document:
    from costsim.report.document import Cell, Content, Document, Section, Table
    from costsim.report.laws import law_section
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
        notes += [f"{key}: {doubt}" for key, law in sorted(result.fits.items()) if (doubt := _doubt(law))]
        sections.append(Section(result.accelerator, notes, [Table(columns, rows)]))
        laws = {key: law.law for key, law in result.fits.items()}
        sections.append(law_section(laws, drawn, f"{result.accelerator}: laws and points"))
    payload = {"accelerators": [result.json() for result in results], "version": __version__}
    return Document(
        "Laws fitted to measurements; median and P90 error on shapes left out of the fit", sections, payload, rows=flat
    )
