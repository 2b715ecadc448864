"""`costsim place`: experts on GPUs for a load: balance, traffic, and what that does to step time and cost."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from costsim.cli import ask as asking
from costsim.cli.output import finish, progress
from costsim.cli.parser import add_choice, add_quantity
from costsim.errors import BadOption, BadQuantity, Contradiction, DoesNotDivide, Malformed, OutOfRange

if TYPE_CHECKING:
    from costsim.explore.placing import Question
    from costsim.placement.load import ExpertLoads
    from costsim.placement.optimize import Goal
    from costsim.placement.placement import Placement, Shape
    from costsim.placement.traffic import Choices
    from costsim.predict.placing import Deployment
    from costsim.spec.model import ModelSpec

NAME = "place"
HELP = "expert placement and replication for a load: balance, traffic, step time and cost"
EXAMPLE = """
costsim place --loads counts.npy --gpus 32 --nodes 4 --slots 288 --groups 8 --out placement.html
costsim place --loads lognormal:0.8 --gpus 144 --nodes 18 --slots 288 --groups 8 --json
"""
#: most slots, layers × experts of one call: larger ones are no deployment
MOST_SLOTS, MOST_GPUS, MOST_CELLS = 16_384, 4_096, 4_000_000
OBJECTIVES = ("both", "balance", "local")
#: how long a window is where none is given: experts are rearranged about every ten minutes
#: [deepseek-v3-report, sec. 3.4.1]
WINDOW_S = 600.0
#: requests a card whose decode step is timed; halved until they fit
BATCH = 128


def configure(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("load")
    group.add_argument("--loads", metavar="FILE", help="layers × experts token counts or a layers × tokens × top_k "
                       "trace (.npy .csv .json), or lognormal:SIGMA or powerlaw:EXPONENT")  # fmt: skip
    group.add_argument("--coactivation", metavar="FILE", help="trace of token-level choices, for traffic")
    group.add_argument("--later", metavar="FILE", help="loads of a later window, to judge the placement on")
    group.add_argument("--present", metavar="FILE", help="placement in use (JSON of this verb): moves are counted")
    asking.add_subject(parser, "deepseek-v3", "h800-sxm")
    group = parser.add_argument_group("placement")
    for flag, text in (
        ("--gpus", "expert-parallel ranks"),
        ("--nodes", "nodes that they fill; default: eight ranks a node"),
        ("--slots", "experts held in all, replicas included, the same number on each rank"),
        ("--groups", "groups that routing chooses among; default: the model's, 1 where they do not divide"),
        ("--max-moves", "slots a layer that may change from --present; default: as many as it takes"),
        ("--seed", "of the search (0)"),
    ):
        group.add_argument(flag, type=int, metavar="N", help=text)
    add_choice(group, "--objective", OBJECTIVES, "both: balance within the slack of remote copies; balance: nodes "
               "ignored; local: groups stay on their node")  # fmt: skip
    add_quantity(group, "--remote-slack", "ratio", "remote copies beyond a node-local placement's (4%%)")
    add_quantity(group, "--drift", "ratio", "spread of an expert's load between windows (0.15); 0: this window alone")
    add_quantity(group, "--window", "time", "length of a window, for how often to rebalance (10min)")
    add_choice(group, "--phase", ("prefill", "decode"), "whose step is timed; default: prefill where groups divide")
    group.add_argument("--quick", action="store_true", help="the placement alone: no front, no study of drift")
    parser.set_defaults(objective="both", seed=0, window=WINDOW_S)


def run(args: argparse.Namespace) -> int:
    from costsim.explore.placing import outcomes, studied
    from costsim.report.placements import placement_document

    question = _question(args)
    if not args.quick:
        progress("placed; studying front, drift and redundancy")
    study = None if args.quick else studied(question)
    return finish(args, placement_document(question, outcomes(question), study))


def _question(args: argparse.Namespace) -> Question:
    """Everything that was asked, read, checked, and placed."""
    from time import perf_counter, process_time

    from costsim.explore.placing import Question
    from costsim.placement.optimize import optimise
    from costsim.placement.traffic import Choices

    for name in ("loads", "gpus", "slots"):
        if getattr(args, name) is None:
            raise BadOption(f"--{name}: needed, as in `costsim place --loads counts.npy --gpus 32 --slots 288`")
    if not 0 <= args.seed < 2**31:
        raise OutOfRange(f"--seed {args.seed}: from 0 to {2**31 - 1}")
    if args.window <= 0:
        raise OutOfRange("--window: a time above zero, such as 10min")
    model = _model(args)
    loads, model, notes = _loads(args, model)
    moe = model.moe
    assert moe is not None
    shape = _shape(args, loads.counts.shape, moe.groups)
    later = _later(args, loads)
    trace = _coactivation(args, shape, loads, notes)
    choices = Choices(moe.top_k if trace is None else trace.shape[2], _chosen_groups(model, shape), trace)
    goal = _goal(args, loads, later, notes)
    deployment = _deployment(args, model, shape, notes)
    present = None if args.present is None else _present(args.present, shape, len(loads.counts))
    if args.max_moves is not None and present is None:
        raise Malformed("--max-moves: counts changes from the placement in use; give it with --present FILE")
    clock, cpu = perf_counter(), process_time()
    if present is None:
        placed = optimise(shape, loads.counts, choices, goal)
    else:
        placed = _moved(present, loads, choices, goal, args.max_moves)
    return Question(
        shape=shape, loads=loads.counts, later=later, choices=choices, goal=goal, deployment=deployment,
        placed=placed, present=present, elapsed_s=perf_counter() - clock, cpu_s=process_time() - cpu,
        window_s=args.window, notes=tuple(notes),
    )  # fmt: skip


def _moved(present: Placement, loads: ExpertLoads, choices: Choices, goal: Goal, most: int | None) -> Placement:
    """From the placement in use: a few changes, or a new one renamed towards it."""
    from costsim.placement.moves import nearby, relabelled
    from costsim.placement.optimize import optimise

    if most is not None:
        return nearby(present, loads.counts, most, seed=goal.seed)
    return relabelled(present, optimise(present.shape, loads.counts, choices, goal))


def _model(args: argparse.Namespace) -> ModelSpec:
    from costsim.spec.catalog import load_model

    model = load_model(args.model)
    if model.moe is None:
        raise Contradiction(f"--model {model.id}: has no experts to place; see `costsim models list`")
    return model


def _loads(args: argparse.Namespace, model: ModelSpec) -> tuple[ExpertLoads, ModelSpec, list[str]]:
    """Loads of the file or the generator; a file with other experts than the default model's brings its own number."""
    from costsim.placement.load import lognormal, power_law, read_loads

    moe = model.moe
    assert moe is not None
    kind, _, value = args.loads.partition(":")
    if kind in ("lognormal", "powerlaw") and not Path(args.loads).exists():
        try:
            number = float(value)
        except ValueError:
            raise BadQuantity(f"--loads {args.loads[:60]}: a number follows the colon, as in {kind}:0.8") from None
        make = lognormal if kind == "lognormal" else power_law
        synthetic = make(model.moe_layers, moe.experts, number, seed=args.seed)
        return synthetic, model, [f"loads are drawn, not recorded: {args.loads}"]
    own = args.model != "deepseek-v3"
    loads = read_loads(args.loads, moe.experts if own else None)
    layers, width = loads.counts.shape
    if width != moe.experts and layers == moe.experts:
        raise Malformed(f"--loads {args.loads}: {layers} layers × {width} experts; is it transposed?")
    if loads.tokens is not None and not own and width < moe.experts:
        loads = read_loads(args.loads, moe.experts)
        width = moe.experts
    if width == moe.experts:
        return loads, model, []
    groups = args.groups or 1
    if groups < 1 or width % groups:
        raise DoesNotDivide(f"--groups {groups}: does not divide {width} experts")
    chosen = max(min(moe.top_groups, groups), 1)
    change = {"experts": width, "top_k": min(moe.top_k, width), "groups": groups, "top_groups": chosen}
    model = model.model_copy(update={"moe": moe.model_copy(update=change)})
    return loads, model, [f"the file has {width} experts a layer: times are of {model.id} with {width} experts"]


def _shape(args: argparse.Namespace, counted: tuple[int, ...], model_groups: int) -> Shape:
    """The shape asked for, bounded."""
    from costsim.placement.placement import Shape

    layers, experts = counted
    for name, most in (("slots", MOST_SLOTS), ("gpus", MOST_GPUS)):
        if not 1 <= getattr(args, name) <= most:
            raise OutOfRange(f"--{name} {getattr(args, name)}: from 1 to {most:,}")
    if layers * args.slots > MOST_CELLS:
        raise OutOfRange(f"--slots {args.slots} on {layers} layers: at most {MOST_CELLS:,} slots in all")
    nodes = args.nodes
    if nodes is None:
        nodes = args.gpus // 8 if args.gpus % 8 == 0 else 1
    groups = args.groups
    if groups is None:
        groups = model_groups if experts % model_groups == 0 else 1
    return Shape(experts, args.slots, args.gpus, nodes, groups)


def _chosen_groups(model: ModelSpec, shape: Shape) -> int:
    moe = model.moe
    assert moe is not None
    return max(min(moe.top_groups if shape.groups == moe.groups else shape.groups, shape.groups), 1)


def _later(args: argparse.Namespace, loads: ExpertLoads) -> Any:
    from costsim.placement.load import read_loads

    if args.later is None:
        return None
    later = read_loads(args.later, loads.counts.shape[1]).counts
    if later.shape != loads.counts.shape:
        raise Malformed(f"--later {args.later}: {later.shape[0]} layers; --loads has {loads.counts.shape[0]}")
    return later


def _coactivation(args: argparse.Namespace, shape: Shape, loads: ExpertLoads, notes: list[str]) -> Any:
    """Token-level choices: of --coactivation, or of --loads where that is a trace."""
    from costsim.placement.load import read_loads

    if args.coactivation is None:
        if loads.tokens is None:
            notes.append(
                "no trace: groups taken as equally likely, experts in them drawn by load (--coactivation FILE)"
            )
        return loads.tokens
    tokens = read_loads(args.coactivation, shape.experts).tokens
    if tokens is None:
        raise Malformed(f"--coactivation {args.coactivation}: counts; a layers × tokens × top_k trace is needed")
    if len(tokens) != len(loads.counts):
        notes.append(f"the trace's {len(tokens)} layers stand in turn for the {len(loads.counts)} of the loads")
    return tokens


def _goal(args: argparse.Namespace, loads: ExpertLoads, later: Any, notes: list[str]) -> Goal:
    from costsim.placement.optimize import DRIFT, REMOTE_SLACK, Goal

    drift = DRIFT if args.drift is None else args.drift
    if later is not None:
        from costsim.placement.drift import spread

        notes.append(f"spread between the two windows, counting noise taken off: {spread(loads.counts, later):.3f}")
    elif args.drift is None:
        notes.append(f"a relative spread of {DRIFT:g} between windows is an assumption (--drift, --later)")
    slack = {"balance": None, "local": 0.0}.get(args.objective, REMOTE_SLACK)
    if args.remote_slack is not None:
        if args.objective != "both":
            raise BadOption(f"--remote-slack: applies to --objective both, not {args.objective}")
        slack = args.remote_slack
    return Goal(drift, slack, args.seed)


def _present(name: str, shape: Shape, layers: int) -> Placement:
    """A placement written by this verb, or a bare list of rows."""
    import numpy as np

    from costsim.files import read_json
    from costsim.placement.load import MOST_TEXT_BYTES
    from costsim.placement.placement import Placement

    content = read_json(Path(name), "--present", MOST_TEXT_BYTES)
    rows = content.get("physical_to_logical") if isinstance(content, dict) else content
    try:
        table = np.array(rows)
    except (ValueError, OverflowError):
        table = np.array("ragged")
    if table.dtype.kind not in "iu" or table.shape != (layers, shape.slots):
        raise Malformed(f"--present {name}: physical_to_logical must be {layers} rows of {shape.slots} expert numbers")
    return Placement(shape, table.astype(np.int64))


def _deployment(args: argparse.Namespace, model: ModelSpec, shape: Shape, notes: list[str]) -> Deployment:
    """The phase whose step the placement sets: 16,384 prompt tokens a card, or as many requests as fit."""
    from costsim.errors import DoesNotFit
    from costsim.predict.placing import Case, Deployment, cluster_of, effect
    from costsim.spec.catalog import load_accelerator
    from costsim.spec.plan import DecodeLoad, PrefillLoad, ServingPlan

    chip = load_accelerator(args.accelerator)
    price, cluster, assumed = asking.supply(args, chip)
    precision, about = asking.precision_for(chip, None)
    phase = args.phase or ("prefill" if shape.node_local or shape.nodes == 1 else "decode")
    cluster = cluster or cluster_of(chip, shape.gpus, shape.gpus // shape.nodes)
    plan = ServingPlan(gpus=shape.gpus // chip.dies, ep=shape.gpus, precision=precision, overlap="two-batch")
    load: PrefillLoad | DecodeLoad = PrefillLoad(4096, 16384)
    batch = BATCH
    while True:
        if phase == "decode":
            load = DecodeLoad(4096, batch)
        deployment = Deployment(model, chip, plan, load, cluster, price)
        try:
            effect(deployment, Case(1.0, 0.0, shape.slots))
            break
        except DoesNotFit:
            if phase == "prefill" or batch <= 2:
                raise
            batch //= 2
    what = "prompts of 4,096, 16,384 tokens a card" if phase == "prefill" else f"context 4,096, {batch} requests a card"
    notes.append(f"step: {phase}, {what}, two micro-batches; {', '.join([*assumed, *about]) or 'price as given'}")
    return deployment
