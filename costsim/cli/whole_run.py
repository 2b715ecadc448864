"""``costsim train --run``: options and answer for a whole training run. Owned by ``train``; not a verb."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from costsim.cli.output import finish
from costsim.errors import BadOption

if TYPE_CHECKING:
    from costsim.cli.ask import Given
    from costsim.spec.accelerator import Accelerator
    from costsim.spec.cluster import Cluster
    from costsim.spec.model import ModelSpec
    from costsim.spec.price import Price
    from costsim.spec.run import RunSpec

#: options that describe one phase; a run with phases of its own does not take them
_OF_ONE_PHASE = ("seq", "global_batch", "tokens")


def configure(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("whole run")
    group.add_argument(
        "--run", nargs="?", const="", metavar="FILE",
        help="all phases (batch ramp, context extension), stops and checkpoints, energy, and the cost ladder from "
        "the run's rental price to cluster and staff; phases from FILE.toml, the catalog (hwprofiles/runs), or "
        "one phase from --seq, --global-batch and --tokens",
    )  # fmt: skip
    group.add_argument(
        "--fp8-savings", action="store_true",
        help="BF16 to FP8 on this layout as a waterfall: compute, expert transfers, activations, memory, cards, USD",
    )  # fmt: skip
    group.add_argument(
        "--assume", action="append", default=[], metavar="NAME=VALUE",
        help="move an assumption of --run, like final-run-share=30%% or pue=1.1; may be repeated",
    )  # fmt: skip


def asked(args: argparse.Namespace) -> bool:
    """Whether the whole run is asked for; ``--assume`` without it is refused."""
    if args.assume and args.run is None:
        raise BadOption("--assume: moves assumptions of a whole run; add --run")
    if args.fp8_savings and args.run is not None:
        raise BadOption("--fp8-savings and --run are two questions; leave one out")
    return args.run is not None or args.fp8_savings


def answer(
    args: argparse.Namespace, given: Given, model: ModelSpec, chip: Accelerator, price: Price | None,
    cluster: Cluster | None, notes: Sequence[str] = (),
) -> int:  # fmt: skip
    """Predict and print the run on the one layout that the options give."""
    from costsim.predict.run import training_run
    from costsim.report.run import run_document
    from costsim.spec.assumption import assume
    from costsim.spec.plan import TrainingPlan

    if given.varied:
        what = "--fp8-savings" if args.fp8_savings else "--run"
        raise BadOption(f"--{given.varied[0].replace('_', '-')}: {what} answers one layout; give one value")
    point = {name: values[0] for name, values in given.grid.items()}
    if args.fp8_savings:
        return _savings(args, given, point, model, chip, price, cluster, notes)
    spec = _spec(args, model, point)
    chosen = assume(args.assume)
    micro = point.get("micro_batch", 1)
    plan = TrainingPlan(**{**_plan_of(point), **given.words})
    result = training_run(model, chip, spec, plan, micro, price, cluster, chosen)
    unused = () if spec.id == "one-phase" else _OF_ONE_PHASE
    told = [text for text in given.assumed if text.split()[0].lstrip("-").replace("-", "_") not in unused]
    return finish(args, run_document(result, chosen, told, notes))


def _savings(
    args: argparse.Namespace, given: Given, point: Mapping[str, Any], model: ModelSpec, chip: Accelerator,
    price: Price | None, cluster: Cluster | None, notes: Sequence[str],
) -> int:  # fmt: skip
    from costsim.predict.fp8 import fp8_savings
    from costsim.report.fp8 import savings_document
    from costsim.spec.plan import TrainingLoad, TrainingPlan

    plan = TrainingPlan(**{**_plan_of(point), **given.words})
    load = TrainingLoad(**{name: v for name, v in point.items() if name in TrainingLoad.__dataclass_fields__})
    savings = fp8_savings(model, chip, plan, load, price, cluster)
    told = [f"defaults: {'  '.join(given.assumed)}"] if given.assumed else []
    return finish(args, savings_document(savings, [*notes, *told]))


def _plan_of(point: Mapping[str, Any]) -> dict[str, Any]:
    from costsim.spec.plan import TrainingPlan

    known = TrainingPlan.__dataclass_fields__
    return {name: value for name, value in point.items() if name in known}


def _spec(args: argparse.Namespace, model: ModelSpec, point: Mapping[str, Any]) -> RunSpec:
    """The file named, else the catalog's run of this model, else one phase made of the load options."""
    from costsim.spec.run import PhaseSpec, RunSpec, known_runs, load_run

    own = [name for name in _OF_ONE_PHASE if getattr(args, name) is not None]
    if args.run:
        _refuse(own, args.run)
        return load_run(args.run)
    if model.id in known_runs() and not own:
        return load_run(model.id)
    one = PhaseSpec(
        name="pre-training", tokens=float(point["tokens"]), seq=int(point["seq"]),
        global_batch=int(point["global_batch"]),
    )  # fmt: skip
    return RunSpec(id="one-phase", title=f"{model.name}, one phase", model=model.id, phase=(one,))


def _refuse(own: Sequence[str], run: str) -> None:
    if own:
        raise BadOption(f"--{own[0].replace('_', '-')}: the phases of {run} say it; leave one of the two out")
