"""`costsim search`: every plan of a grid costed, the Pareto frontier shown, and why the rest fell out."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from costsim.cli import ask as asking
from costsim.cli import deployments, infer, job, train
from costsim.cli.ask import Key, Words
from costsim.cli.output import LISTENER, finish, progress
from costsim.cli.parser import add_choice, add_quantity
from costsim.errors import BadOption, OutOfRange

if TYPE_CHECKING:
    from costsim.spec.accelerator import Accelerator
    from costsim.spec.model import ModelSpec

NAME = "search"
HELP = "layouts or deployments under constraints: the Pareto frontier, and why the rest fell out"
EXAMPLE = """
costsim search --accelerator h20-96g --gpus 8,16,32 --ep 8,16,32 --batch-per-gpu 1:256 --tpot 50ms
costsim search --phase deployment --accelerator h800-sxm,h20-96g --load 20req/s --ttft 2s --tpot 50ms
costsim search --phase training --accelerator h800-sxm --gpus 2048 --pp 1,2,4,8,16 --ep 8,16,32,64 --objective step_s
"""
PHASES = ("decode", "prefill", "serving", "training", "deployment")
OBJECTIVES = ("usd_per_mtok", "tokens_per_s_per_gpu", "step_s")
#: what is searched when the user names nothing: a small grid that covers how such models are deployed
_SERVING_GRID: dict[str, list[Any]] = {
    "gpus": [8, 16, 32, 64, 128, 256], "tp": [1, 2, 4, 8], "pp": [1], "ep": [1, 2, 4, 8, 16, 32, 64, 128, 256],
    "overlap": ["none", "two-batch"],
}  # fmt: skip
_LOAD_GRID: dict[str, dict[str, list[Any]]] = {
    "decode": {"context": [4096], "batch_per_gpu": [1, 2, 4, 8, 16, 32, 48, 64, 96, 128, 192, 256, 384, 512]},
    "prefill": {"isl": [4096], "tokens_per_gpu": [1024, 2048, 4096, 8192, 16384, 32768]},
    "serving": {"isl": [1024], "osl": [1024], "concurrency": [1, 4, 16, 64, 256, 1024]},
    "training": {"seq": [4096], "micro_batch": [1, 2, 4], "global_batch": [15360]},
}
_TRAINING_GRID: dict[str, list[Any]] = {
    "gpus": [2048], "tp": [1, 2, 4, 8], "pp": [1, 2, 4, 8, 16, 32], "vpp": [1, 2, 4],
    "ep": [1, 2, 4, 8, 16, 32, 64, 128], "cp": [1, 2, 4], "recompute": ["none", "selective", "full"],
    "schedule": ["1f1b", "interleaved", "zb-h1", "dualpipe"],
}  # fmt: skip


def configure(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("question")
    add_choice(group, "--phase", PHASES, "what to search over (decode)")
    add_choice(group, "--objective", OBJECTIVES, "what to make best (usd_per_mtok)")
    add_quantity(group, "--ttft", "time", "largest time to the first token, like 2s")
    add_quantity(group, "--tpot", "time", "largest time per output token, like 50ms")
    group.add_argument("--max-gpus", type=int, metavar="N", help="largest number of cards")
    group.add_argument("--top", type=int, default=20, metavar="N", help="rows of the frontier to print (20)")
    group.add_argument("--exit-code", action="store_true", help="exit status 3 where nothing meets the constraints (0)")
    parser.set_defaults(phase="decode", objective="usd_per_mtok")
    asking.add_subject(parser, "deepseek-v3", "h800-sxm")
    asking.add_keys(parser, "plan and load (lists and ranges)", _keys())
    deployments.add_options(parser)
    training = _training_words()
    for words in infer.words():
        if words.name in training:
            training[words.name] += f"; serving: {', '.join(words.choices)}"
            continue
        parser.add_argument(
            f"--{words.name.replace('_', '-')}", metavar="WORDS", help=f"{words.help}: {', '.join(words.choices)}"
        )
    for name, text in training.items():
        parser.add_argument(f"--{name}", metavar="WORDS", help=f"training: {text}")
    parser.add_argument(
        "--write-megatron", metavar="FILE", help="training: write the best layout as Megatron-LM arguments"
    )


def _training_words() -> dict[str, str]:
    """Word fields of a training plan that serving has not, with what they may hold."""
    from costsim.spec.words import FRAMEWORKS, SCHEDULE_WORDS

    return {
        "recompute": "activations recomputed: none, selective, full, offload; lists of tensors with + between them",
        "schedule": ", ".join(SCHEDULE_WORDS),
        "framework": f"kernels and number formats: {', '.join(FRAMEWORKS)}",
    }


def _keys() -> list[Key]:
    plan: list[Key | Words] = [*infer.PLAN, *train.PLAN]
    loads = [key for keys in infer.LOADS.values() for key in keys]
    every = [key for key in (*plan, *loads, *train.LOAD) if isinstance(key, Key)]
    return list({key.name: key for key in every}.values())


def run(args: argparse.Namespace) -> int:
    from costsim.explore.search import search
    from costsim.report.frontier import frontier_document
    from costsim.spec.catalog import load_accelerator, load_model

    for flag, value in (("--top", args.top), ("--max-gpus", args.max_gpus)):
        if value is not None and value < 1:
            raise OutOfRange(f"{flag} {value}: must be at least 1")
    if args.write_megatron is not None and args.phase != "training":
        raise BadOption("--write-megatron: goes with --phase training")
    job.check(args)
    if args.phase == "deployment":
        return deployments.run(args)
    deployments.refuse_foreign(args)
    model, chip = load_model(args.model), load_accelerator(args.accelerator)
    price, cluster, about = asking.supply(args, chip)
    grid, assumed = _grid(args, model, chip)
    result = search(
        model, chip, args.phase, grid, objective=args.objective, ttft_s=args.ttft, tpot_s=args.tpot,
        max_gpus=args.max_gpus, price=price, cluster=cluster, progress=_bar,
    )  # fmt: skip
    document = frontier_document(result, model.id, chip.id, args.phase, (*assumed, *about), args.top)
    status = finish(args, document)
    if args.write_megatron is not None and result.best is not None:
        job.write_layout(args.write_megatron, model, chip, result.best.plan)
    return deployments.NOTHING if args.exit_code and result.best is None else status


def _grid(args: argparse.Namespace, model: ModelSpec, chip: Accelerator) -> tuple[dict[str, list[Any]], list[str]]:
    """The user's axes, and the small default grid for keys left out; what was filled in is said."""
    from costsim.explore.search import plan_keys

    known = plan_keys(args.phase)
    defaults = dict(_TRAINING_GRID if args.phase == "training" else _SERVING_GRID) | _LOAD_GRID[args.phase]
    precision, _ = asking.precision_for(chip, None, None if args.phase == "training" else model)
    defaults["precision"] = [precision]
    if args.phase == "training":
        defaults["precision"] = ["fp8", "bf16"] if precision == "fp8" else ["bf16"]
        defaults["routing"] = [(train.DEFAULTS if model.moe else train.DENSE)["routing"]]
        if model.moe and model.attention.kind == "mla":  # what the published run computes again
            defaults["recompute"] = [train.DEFAULTS["recompute"].replace(",", "+"), *defaults["recompute"]]
    if model.moe is None:
        defaults["ep"] = [1]
    if args.phase != "training":
        even = model.moe is None or args.phase != "serving"
        defaults["routing"] = ["balanced" if even else infer.DEFAULTS["serving"]["routing"]]
    grid: dict[str, list[Any]] = {}
    for name in known:
        value = getattr(args, name, None)
        if isinstance(value, str):
            value = [word.strip() for word in value.split(",")]
        if value is not None:
            grid[name] = value
        elif name in defaults:
            grid[name] = defaults[name]
    _refuse_foreign(args, known)
    assumed = [
        f"--{name.replace('_', '-')} {','.join(str(v) for v in grid[name])}"
        for name in grid
        if getattr(args, name, None) is None
    ]
    return grid, assumed


def _refuse_foreign(args: argparse.Namespace, known: tuple[str, ...]) -> None:
    every = _keys()
    own = [key for key in every if key.name in known]
    asking.refuse_foreign(args, every, own, f"--phase {args.phase}")


def _bar(done: int, total: int) -> None:
    """Progress on a terminal, one line that rewrites itself."""
    if LISTENER.get() is not None:
        progress(f"{done:,} of {total:,} plans", done / total)
    if LISTENER.get() is not None or not sys.stderr.isatty():
        return
    end = "\n" if done >= total else ""
    print(f"\r{done:,} of {total:,} plans", end=end, file=sys.stderr, flush=True)
