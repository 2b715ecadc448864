"""`costsim sensitivity`: what a number rests on, and how sure an order of several answers is."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from costsim.cli.output import finish, progress
from costsim.cli.parser import add_quantity
from costsim.errors import BadOption, OutOfRange

if TYPE_CHECKING:
    from costsim.explore.inputs import Question

NAME = "sensitivity"
HELP = "what a number rests on: a tornado over bands; how often one answer beats another"
EXAMPLE = """
costsim sensitivity h800-sxm
costsim sensitivity h20-96g h800-sxm h100-sxm --metric usd_per_mtok_output --draws 1000
costsim sensitivity mine.json theirs.json --metric gpu_hours --out ranking.html
"""
#: the first of these that the first answer has, where nobody names a metric
_METRICS = ("usd_per_mtok_output", "usd_per_mtok_input", "usd_per_run", "tokens_per_s_per_gpu", "step_s")


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "answers", nargs="+", metavar="A",
        help="a report's .json or .html of infer or train, or an accelerator: its cheapest decode plan is searched",
    )  # fmt: skip
    parser.add_argument("--metric", metavar="NAME", help="the number; default: its cost")
    parser.add_argument("--draws", type=int, default=400, metavar="N", help="draws from all bands (400)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the draws (0)")
    parser.add_argument("--model", default="deepseek-v3", metavar="ID", help="with accelerators: the model")
    add_quantity(parser, "--tpot", "time", "with accelerators: largest time per token (50ms)")
    parser.add_argument("--context", type=int, default=4096, metavar="N", help="with accelerators: mean KV length")
    parser.add_argument("--price", metavar="PRICE", help="with accelerators: one hourly price for every card")


def run(args: argparse.Namespace) -> int:
    from costsim.explore.robustness import LEAST, MOST, ranking
    from costsim.explore.sensitivity import tornado
    from costsim.report.compared import tornado_document

    if not LEAST <= args.draws <= MOST:
        raise OutOfRange(f"--draws {args.draws}: must be from {LEAST} to {MOST:,}")
    if args.seed < 0:
        raise BadOption(f"--seed {args.seed}: must not be negative")
    if args.context < 1:
        raise OutOfRange(f"--context {args.context}: must be at least 1")
    questions = [_question(name, args) for name in args.answers]
    metric = args.metric or _metric(questions[0])
    progress(f"{args.draws} draws for {len(questions)} answers")
    found = tornado(questions[0], metric, args.draws, args.seed)
    ranked = [ranking(questions, metric, args.draws, args.seed)] if len(questions) > 1 else []
    return finish(args, tornado_document(found, ranked))


def _question(name: str, args: argparse.Namespace) -> Question:
    from dataclasses import replace

    from costsim.evidence.claims.asked import best_decode
    from costsim.explore.inputs import of_report, read_question

    if name.endswith((".json", ".html", ".htm")):
        return read_question(name)
    answer = best_decode(name, model=args.model, context=args.context, tpot=args.tpot or 0.05, price=args.price)
    progress(f"{name}: {answer.command}")
    question = of_report(answer.report.json(), name)
    # the report names a chip by its id; a file of the user's own is found again by its path alone
    return replace(question, name=name, values={**question.values, "accelerator": name})


def _metric(question: Question) -> str:
    return next((name for name in _METRICS if name in question.stored), "step_s")
