"""`costsim diff A B`: why two answers differ, input by input, adding up to the difference."""

from __future__ import annotations

import argparse

from costsim.cli.output import finish

NAME = "diff"
HELP = "two reports or scenarios: what changed, attributed to inputs, adding up"
EXAMPLE = """
costsim diff before.json after.json
costsim diff h800.json h20.json --metric usd_per_mtok_output
costsim diff mine.toml theirs.toml --out diff.html
"""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "a",
        metavar="A",
        help="a report's .json or .html (--out of infer, train, posttrain, simulate, fleet), or a scenario",
    )
    parser.add_argument("b", metavar="B", help="another of the same kind")
    parser.add_argument("--metric", metavar="NAME", help="only this metric; default: the main ones")


def run(args: argparse.Namespace) -> int:
    from costsim.explore.diff import diff
    from costsim.explore.inputs import read_question
    from costsim.report.compared import diff_document

    found = diff(read_question(args.a), read_question(args.b))
    return finish(args, diff_document(found, args.metric))
