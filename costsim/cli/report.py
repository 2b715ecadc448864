"""`costsim report`: the whole answer for one scenario, printed and written to out/report.html and out/report.json."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from costsim.cli.output import finish, progress, rendered, write
from costsim.errors import BadOption, CannotWrite

NAME = "report"
HELP = "the main job: cost and efficiency of one scenario on many chips, with the published figures beside"
EXAMPLE = """
costsim report
costsim report --example > my.toml && costsim report my.toml --out my.html
costsim report out/report.html --out again.pdf
"""


def configure(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("question")
    group.add_argument(
        "scenario",
        nargs="?",
        metavar="SCENARIO",
        help="what to answer: a .toml, or the .html of an earlier report; default: DeepSeek-V3 on H800 and six others",
    )
    group.add_argument("--example", action="store_true", help="print a commented scenario and stop")
    group.add_argument(
        "--claims", action=argparse.BooleanOptionalAction, default=None,
        help="what is said in public about DeepSeek, computed and judged; by default in reports on its models",
    )  # fmt: skip
    group.add_argument(
        "--folder", default="out", metavar="DIR", help="where report.html and report.json go (out); - for nowhere"
    )


def run(args: argparse.Namespace) -> int:
    from costsim.spec import scenario as scenarios

    if args.example and (args.json or args.out):
        raise BadOption("--example prints a TOML scenario; it takes neither --json nor --out")
    if args.example:
        sys.stdout.write(scenarios.EXAMPLE)
        return 0
    scenario = scenarios.load_scenario(args.scenario)

    from costsim.evidence.points import read_points
    from costsim.evidence.validate import validate
    from costsim.explore.study import study
    from costsim.report.accuracy import ARITHMETIC
    from costsim.report.study import study_document
    from costsim.report.tables import render_document
    from costsim.spec.catalog import POINTS

    result = study(scenario, lambda name: progress(f"searching plans on {name}"))
    points = read_points(POINTS / "serving_phases.csv")
    rows = validate(point for point in points if point.kind not in ARITHMETIC)
    document = shown = study_document(result, rows)
    if args.claims or (args.claims is None and scenario.model.id.startswith("deepseek-")):
        from costsim.evidence.claims import judge
        from costsim.report.claims import with_claims, with_overview

        progress("judging claims")
        judged = list(judge())
        shown, document = with_overview(document, judged), with_claims(document, judged)
    written = _write_folder(args, document)
    status = finish(args, document, lambda: render_document(shown))
    if written and not args.json:
        print(f"\nwrote {' and '.join(written)}")
    return status


def _write_folder(args: argparse.Namespace, document: object) -> list[str]:
    """report.html and report.json in the folder, made if it is not there."""
    if args.folder == "-" or args.out is not None:
        return []
    folder = Path(args.folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CannotWrite(f"--folder {folder}: cannot be made ({error.strerror})") from None
    names = []
    for form in ("html", "json"):
        path = folder / f"report.{form}"
        write(path, rendered(document, form))  # type: ignore[arg-type]
        names.append(str(path))
    return names
