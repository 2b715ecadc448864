"""`costsim validate`: predictions beside measured points, every row answered or refused with a reason."""

from __future__ import annotations

import argparse
from pathlib import Path

from costsim.cli.output import finish

NAME = "validate"
HELP = "predictions against measured points"
EXAMPLE = """
costsim validate
costsim validate --points my_measurements.csv --json
"""


def configure(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("question")
    group.add_argument(
        "--points",
        action="append",
        metavar="FILE",
        help="points CSV, may be repeated; default: the published points shipped with costsim",
    )


def run(args: argparse.Namespace) -> int:
    from costsim.evidence.points import read_points
    from costsim.evidence.validate import validate
    from costsim.report.accuracy import accuracy_document
    from costsim.spec.catalog import POINTS

    files = [Path(name) for name in args.points] if args.points else sorted(POINTS.glob("*.csv"))
    points = [point for file in files for point in read_points(file)]
    return finish(args, accuracy_document(validate(points)))
