"""`costsim explain`: where a number comes from, from the metric down to laws, points and sources."""

from __future__ import annotations

import argparse

from costsim.cli import infer
from costsim.cli.output import finish
from costsim.errors import BadInput

NAME = "explain"
HELP = "where a number came from: op by op, law, grade, source"
EXAMPLE = """
costsim explain tpot_s --phase decode --accelerator h800-sxm --gpus 128 --context 4096 --batch-per-gpu 128
costsim explain step_s --op experts
costsim explain weights_bytes --phase prefill
"""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("metric", help="a metric or a memory term of `costsim infer`, as its --json names it")
    parser.add_argument("--op", metavar="NAME", help="all that is known of the ops whose name contains NAME")
    infer.configure(parser)


def run(args: argparse.Namespace) -> int:
    from dataclasses import replace

    from costsim.predict.explain import explain_inference
    from costsim.report.explained import explained_document

    question = infer.question(args)
    if question.asked.varied:
        raise BadInput(f"explain takes one value of each option; given several of {', '.join(question.asked.varied)}")
    plan, load = question.point({name: values[0] for name, values in question.asked.grid.items()})
    found = explain_inference(question.model, question.chip, plan, load, args.metric, question.price, question.cluster)
    if question.asked.assumed:
        note = f"defaults: {'  '.join(question.asked.assumed)}"
        found = replace(found, report=replace(found.report, notes=(*found.report.notes, note)))
    return finish(args, explained_document(found, args.op))
