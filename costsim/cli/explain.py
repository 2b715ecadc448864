"""`costsim explain`: where a number comes from, from the metric down to laws, points and sources."""

from __future__ import annotations

import argparse

from costsim.cli import infer
from costsim.cli.output import finish
from costsim.errors import BadInput, BadOption, Malformed

NAME = "explain"
HELP = "where a number came from: op by op, law, grade, source"
EXAMPLE = """
costsim explain tpot_s --phase decode --accelerator h800-sxm --gpus 128 --context 4096 --batch-per-gpu 128
costsim explain step_s --op experts
costsim explain weights_bytes --phase prefill
costsim explain gpu_hours --report run.json
costsim explain usd_per_day --report day.json
"""
#: bytes of a report that is read back
MOST_BYTES = 20_000_000


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("metric", help="a metric or a memory term of `costsim infer`, as its --json names it")
    parser.add_argument("--op", metavar="NAME", help="all that is known of the ops whose name contains NAME")
    parser.add_argument(
        "--report", metavar="FILE",
        help="the metric of this report instead: the .json or .html that train, posttrain, simulate or infer wrote",
    )  # fmt: skip
    infer.configure(parser)


def run(args: argparse.Namespace) -> int:
    if args.report is not None:
        return _of_report(args)
    from dataclasses import replace

    from costsim.predict.explain import explain_inference
    from costsim.report.explained import explained_document

    question = infer.question(args)
    if question.asked.varied:
        raise BadOption(f"explain takes one value of each option; given several of {', '.join(question.asked.varied)}")
    plan, load, chosen = question.point({name: values[0] for name, values in question.asked.grid.items()})
    found = explain_inference(question.model, question.chip, plan, load, args.metric, question.price, question.cluster)
    if question.asked.assumed:
        note = f"defaults: {'  '.join(question.asked.assumed)}"
        notes = (*found.report.notes, *([chosen] if chosen else []), note)
        found = replace(found, report=replace(found.report, notes=notes))
    return finish(args, explained_document(found, args.op))


def _of_report(args: argparse.Namespace) -> int:
    """The tree of a metric from a report's own breakdown."""
    from pathlib import Path

    from costsim.files import json_of, read_text
    from costsim.predict.explain_fleet import explain_fleet, is_fleet
    from costsim.predict.explain_report import explain_report, from_json
    from costsim.report.explained import tree_document
    from costsim.spec.scenario import carried_text

    if args.op is not None:
        raise BadOption("--op: a report holds no facts of single ops; ask without --report")
    try:
        page = args.report.lower().endswith((".html", ".htm"))
        text = carried_text(args.report) if page else read_text(Path(args.report), "report", MOST_BYTES)
        document = json_of(text, f"report {args.report}")
        if is_fleet(document):
            return finish(args, tree_document(explain_fleet(document, args.metric)))
        report = from_json(document)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        if isinstance(error, BadInput):
            raise
        raise Malformed(
            f"--report {args.report}: not a report's JSON ({type(error).__name__}: {str(error)[:60]})"
        ) from None
    return finish(args, tree_document(explain_report(report, args.metric)))
