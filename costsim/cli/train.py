"""`costsim train`: one training layout's step time, MFU, memory, and what the whole run takes."""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from costsim.cli import job, whole_run
from costsim.cli.ask import Key, Words, add_keys, add_subject, answer, given, precision_for, supply

if TYPE_CHECKING:
    from costsim.predict.report import Report

NAME = "train"
HELP = "one training layout: step time and its parts, MFU, memory per rank, GPU hours and USD"
EXAMPLE = """
costsim train --accelerator h800-sxm --gpus 2048 --pp 16 --ep 64 --seq 4096 --global-batch 15360 --tokens 14.8e12
costsim train --accelerator h20-96g --gpus 2048 --pp 8,16 --ep 32,64 --json
costsim train --megatron job.sh --accelerator h100-sxm --write-megatron better.sh
costsim train --fp8-savings
costsim train --run
costsim train --run --assume final-run-share=30% --assume staff=60
"""

PLAN = (
    Key("gpus", "cards of the job"),
    Key("tp", "tensor-parallel width"),
    Key("pp", "pipeline stages"),
    Key("vpp", "virtual stages on each pipeline rank"),
    Key("ep", "ranks that share one set of experts"),
    Key("cp", "context-parallel width"),
    Key("zero", "ZeRO stage: what data-parallel ranks shard", minimum=0, maximum=3),
)
LOAD = (
    Key("seq", "tokens of a sequence"),
    Key("micro_batch", "sequences at a time on a data-parallel rank"),
    Key("global_batch", "sequences per step"),
    Key("tokens", "tokens of the whole run, like 14.8e12"),
)
#: the published run: 2048 H800, 16 pipeline stages, experts over 64 ranks [deepseek-v3-report, sec. 3.2, 4.2]
DEFAULTS: dict[str, Any] = {
    "gpus": 2048, "tp": 1, "pp": 16, "vpp": 1, "ep": 64, "cp": 1, "zero": 1, "recompute": "selective",
    "routing": "balanced", "seq": 4096, "micro_batch": 1, "global_batch": 15360, "tokens": 14.8e12,
}  # fmt: skip


def words() -> tuple[Words, ...]:
    """The options that take a word."""
    from costsim.spec import plan

    return (
        Words("precision", "arithmetic of the matrix products", plan.PRECISIONS),
        Words("recompute", "activations computed again in the backward pass", plan.RECOMPUTES),
        Words("routing", "how evenly tokens meet experts", plan.ROUTINGS),
    )


def configure(parser: argparse.ArgumentParser) -> None:
    add_subject(parser, "deepseek-v3", "h800-sxm")
    add_keys(parser, "plan (numbers take lists and ranges)", [*PLAN, *words()])
    add_keys(parser, "load (numbers take lists and ranges)", LOAD)
    whole_run.configure(parser)
    job.configure(parser)


def run(args: argparse.Namespace) -> int:
    from costsim.spec.catalog import load_accelerator, load_model
    from costsim.spec.plan import TrainingLoad, TrainingPlan

    model, chip = load_model(args.model), load_accelerator(args.accelerator)
    from_job = job.apply(args, model, [*PLAN, *words(), *LOAD])
    args.precision, about_precision = precision_for(chip, args.precision)
    price, cluster, about_supply = supply(args, chip)
    defaults = DEFAULTS if model.moe else {**DEFAULTS, "ep": 1}
    asked = given(args, [*PLAN, *words(), *LOAD], defaults)
    asked = replace(asked, assumed=(*asked.assumed, *about_precision, *about_supply))
    if whole_run.asked(args):
        return whole_run.answer(args, asked, model, chip, price, cluster, from_job)
    load_names = {key.name for key in LOAD}

    from costsim.predict.training import predict_training

    def ask(point: dict[str, Any]) -> Report:
        plan = TrainingPlan(**{k: v for k, v in point.items() if k not in load_names}, **asked.words)
        load = TrainingLoad(**{k: v for k, v in point.items() if k in load_names})
        report = predict_training(model, chip, plan, load, price, cluster)
        return replace(report, notes=(*report.notes, *from_job))

    status = answer(args, asked, ask)
    job.save(args, model, chip, asked)
    return status
