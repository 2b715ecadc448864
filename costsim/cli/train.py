"""`costsim train`: one training layout's step time, MFU, memory, and what the whole run takes."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from costsim.cli import job, whole_run
from costsim.cli.ask import Key, Words, add_keys, add_subject, answer, given, precision_for, supply, with_assumed
from costsim.cli.output import extension, finish, progress, write
from costsim.errors import BadOption

if TYPE_CHECKING:
    from costsim.predict.report import Report
    from costsim.report.document import Document
    from costsim.schedule import Timeline

NAME = "train"
HELP = "one training layout: step time and its parts, MFU, memory per rank, GPU hours and USD"
EXAMPLE = """
costsim train
costsim train --pp 8,16 --ep 32,64 --schedule 1f1b --json
costsim train --accelerator h100-sxm --gpus 1024 --tp 2 --pp 8 --vpp 4 --schedule interleaved --global-batch 8192
costsim train --out run.html --perfetto run.json
costsim train --megatron job.sh --accelerator h100-sxm --write-megatron better.sh
costsim train --fp8-savings
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
    Key("comm_sms", "cores that overlapped transfers take"),
    Key("layers", "cut the model to so many layers"),
    Key("imbalance", "busiest expert rank over the mean of a measured load; default: from --routing", False),
)
LOAD = (
    Key("seq", "tokens of a sequence"),
    Key("micro_batch", "sequences at a time on a data-parallel rank"),
    Key("global_batch", "sequences per step"),
    Key("tokens", "tokens of the whole run, like 14.8e12"),
)
#: the published run: 2048 H800, 16 pipeline stages, experts over 64 ranks, DualPipe; norms and up-projections computed
#: again [deepseek-v3-report, sec. 3.2, 4.2]
DEFAULTS: dict[str, Any] = {
    "gpus": 2048, "tp": 1, "pp": 16, "vpp": 1, "ep": 64, "cp": 1, "zero": 1, "recompute": "norm,mla_up_proj",
    "schedule": "dualpipe", "routing": "trained", "seq": 4096, "micro_batch": 1, "global_batch": 15360,
    "tokens": 14.8e12,
}  # fmt: skip
#: what a dense model, or interleaved stages, take instead
DENSE = {"ep": 1, "schedule": "auto", "routing": "balanced", "recompute": "selective"}


def words() -> tuple[Words, ...]:
    """The options that take a word."""
    from costsim.spec import words as plan

    return (
        Words("precision", "arithmetic of the matrix products", plan.TRAINING_PRECISIONS),
        Words("recompute", "what the backward pass computes again: none, selective, full, offload, or a list of norm, "
              "act, mla_up_proj, core_attn, mlp, moe", ()),
        Words("routing", "how evenly tokens meet experts", plan.ROUTINGS),
        Words("schedule", "pipeline schedule", plan.SCHEDULE_WORDS),
        Words("overlap", "which transfers run beside compute", plan.TRAINING_OVERLAPS),
        Words("framework", "whose kernels and number formats", plan.FRAMEWORKS),
        Words("dispatcher", "how tokens reach experts", plan.DISPATCHERS),
        Words("graphs", "what runs as captured CUDA graphs", plan.GRAPHS),
    )  # fmt: skip


def configure(parser: argparse.ArgumentParser) -> None:
    add_subject(parser, "deepseek-v3", "h800-sxm")
    add_keys(parser, "plan (numbers take lists and ranges)", [*PLAN, *words()])
    add_keys(parser, "load (numbers take lists and ranges)", LOAD)
    whole_run.configure(parser)
    job.configure(parser)
    group = parser.add_argument_group("timeline of one plan")
    group.add_argument("--perfetto", metavar="FILE", help="write every task as a Chrome trace (ui.perfetto.dev), .json")


def run(args: argparse.Namespace) -> int:
    from costsim.predict.training import predict_training
    from costsim.spec.catalog import load_accelerator, load_model
    from costsim.spec.plan import TrainingLoad, TrainingPlan

    _check_trace(args.perfetto)
    model, chip = load_model(args.model), load_accelerator(args.accelerator)
    from_job = job.apply(args, model, [*PLAN, *words(), *LOAD])
    args.precision, about_precision = precision_for(chip, args.precision)
    if args.precision == "int8" and about_precision:
        args.precision, about_precision = "bf16", [f"--precision bf16 ({chip.id} has no FP8 peak in the catalog)"]
    price, cluster, about_supply = supply(args, chip)
    defaults = DEFAULTS if model.moe else {**DEFAULTS, **DENSE}
    if args.schedule is None and args.vpp is not None and max(args.vpp) > 1:
        defaults = {**defaults, "schedule": "interleaved"}
    asked = given(args, [*PLAN, *words(), *LOAD], defaults)
    asked = replace(asked, assumed=(*asked.assumed, *about_precision, *about_supply))
    if whole_run.asked(args):
        return whole_run.answer(args, asked, model, chip, price, cluster, from_job)
    load_names = {key.name for key in LOAD}

    def parts(point: dict[str, Any]) -> tuple[TrainingPlan, TrainingLoad]:
        numbers = {k: v for k, v in point.items() if k not in load_names}
        return TrainingPlan(**numbers, **asked.words), TrainingLoad(**{k: point[k] for k in load_names if k in point})

    def ask(point: dict[str, Any]) -> Report:
        plan, load = parts(point)
        return with_said(predict_training(model, chip, plan, load, price, cluster), from_job)

    drawn = args.perfetto is not None or (args.out is not None and extension(Path(args.out)) == "html")
    if asked.varied and args.perfetto is not None:
        raise BadOption(f"--perfetto takes one plan; {', '.join(asked.varied)} varies")
    if asked.varied or not drawn:
        status = answer(args, asked, ask)
        job.save(args, model, chip, asked)
        return status
    point = {name: values[0] for name, values in asked.grid.items()}
    report = with_assumed(ask(point), asked.assumed)
    from costsim.predict.training import timeline_of

    timeline = timeline_of(model, chip, *parts(point), cluster)
    status = _with_timeline(args, report, timeline)
    job.save(args, model, chip, asked)
    return status


def with_said(report: Report, said: tuple[str, ...]) -> Report:
    """The report with more notes."""
    return replace(report, notes=(*report.notes, *said))


def _check_trace(path: str | None) -> None:
    """Refuse a trace file that could not be written, before any work is done for it."""
    if path is None:
        return
    if extension(Path(path)) != "json":
        raise BadOption(f"--perfetto {path}: a trace is JSON; give a name that ends in .json")
    if not Path(path).absolute().parent.is_dir():
        raise BadOption(f"--perfetto {path}: there is no directory {Path(path).parent}; make it first")


def _with_timeline(args: argparse.Namespace, report: Report, timeline: Timeline) -> int:
    """The report with its Gantt chart; the trace beside it."""
    from costsim.report.pages import document_of
    from costsim.report.perfetto import perfetto
    from costsim.report.tables import render

    if args.perfetto is not None:
        name = f"{report.inputs['model']} on {report.inputs['accelerator']}"
        notes = {key: metric.value for key, metric in report.metrics.items() if metric.unit == "s"}
        write(Path(args.perfetto), perfetto(timeline, name, notes))
        progress(f"wrote {args.perfetto}")
    return finish(args, _drawn(document_of(report), timeline), lambda: render(report))


def _drawn(document: Document, timeline: Timeline) -> Document:
    """The document with the pipeline's Gantt chart behind its result."""
    from costsim.report.document import Chart, Section
    from costsim.report.gantt import gantt

    program = timeline.program
    parts = timeline.mean_parts()
    shares = ", ".join(f"{name[:-2].replace('_', ' ')} {value:.2f} s" for name, value in parts.items() if value > 0)
    label = (
        f"{program.ranks} pipeline ranks and {program.micro_batches} micro-batches, "
        f"{timeline.step_s:.2f} s to the last backward; a mean rank: {shares}."
    )
    chart = Chart(gantt(timeline, "Pipeline"), label)
    section = Section("Pipeline", [label, "Blank is bubble. What follows the last backward is not drawn."], (), [chart])
    return replace(document, sections=[document.sections[0], section, *document.sections[1:]])
