"""`costsim profile`: measure this machine's device, calibrate it, predict what was not measured, say how far off."""

from __future__ import annotations

import argparse
import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from costsim.cli.output import finish, progress
from costsim.cli.parser import add_choice
from costsim.errors import Absent, BadOption, CannotWrite

if TYPE_CHECKING:
    from costsim.spec.model import ModelSpec

NAME = "profile"
HELP = "run the real model on this machine's device: measurements, a trace, and predictions against both"
EXAMPLE = """
costsim profile
costsim profile --device cuda --full --out-dir out/h20
torchrun --nproc-per-node 2 -m costsim.cli profile --out-dir out/profile
"""
DTYPES = ("fp32", "bf16")
#: seconds of measuring by level, what of the shapes it takes, and how often a shape is visited at most
LEVELS = {"quick": (60.0, 1), "standard": (260.0, 3), "full": (1200.0, 5)}


def configure(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("question")
    group.add_argument("--device", default="auto", metavar="NAME", help="auto, cpu, cuda[:N], npu, musa, mlu, xpu")
    group.add_argument(
        "--model", default="v2-lite", metavar="ID",
        help="whose narrowed copies run whole: catalog id, .toml or config.json of the DeepSeek family (v2-lite)",
    )  # fmt: skip
    level = group.add_mutually_exclusive_group()
    level.add_argument("--quick", action="store_true", help="a third of the shapes, about two minutes")
    level.add_argument("--full", action="store_true", help="all shapes, about twenty minutes")
    add_choice(group, "--dtype", DTYPES, "number format of the whole-model runs (fp32 on cpu, else bf16)")
    group.add_argument(
        "--threads", type=int, metavar="N",
        help="processor threads (all cores but one, which is left to everything else on the machine)",
    )  # fmt: skip
    group.add_argument("--seconds", type=float, metavar="S", help="time to go on measuring after the first visits")
    group.add_argument("--resume", action="store_true", help="go on from the journal in --out-dir")
    group.add_argument("--id", metavar="NAME", help="id of the drafted accelerator (from the device's name)")
    group.add_argument("--out-dir", default="out/profile", metavar="DIR", help="where everything is written")


def run(args: argparse.Namespace) -> int:
    from costsim.cli import profile_loop as loop

    if find_spec("torch") is None or find_spec("scipy") is None:
        raise Absent("profile runs the model with torch and fits with scipy: pip install 'costsim[profile]'")
    folder = _folder(args.out_dir)
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # torch's tracer has its own words for a person debugging it
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        return loop.collectives(args, folder, finish)
    spec = _model(args.model)
    backend = loop.backend(args.device)
    loop.use_threads(max((os.cpu_count() or 2) - 1, 1) if args.threads is None else args.threads)
    level = "quick" if args.quick else "full" if args.full else "standard"
    seconds, rounds = LEVELS[level]
    asked = loop.Asked(
        spec=spec,
        dtype=args.dtype or ("fp32" if backend.device.type == "cpu" else "bf16"),
        level=level,
        seconds=seconds if args.seconds is None else max(args.seconds, 0.0),
        rounds=rounds,
        resume=args.resume,
        name=args.id,
    )
    measured = loop.measure(asked, backend, folder, _line)
    _line("")
    if measured.interrupted:
        progress(f"interrupted; {folder / 'journal.jsonl'} keeps what is measured: --resume goes on")
        raise KeyboardInterrupt
    return finish(args, loop.answer(asked, measured, folder, _line))


def _line(text: str) -> None:
    """One line that rewrites itself, on a terminal only."""
    if sys.stderr.isatty():
        end = "" if text else "\r"
        print(f"\r{text[:78]:<78}", end=end, file=sys.stderr, flush=True)


def _folder(name: str) -> Path:
    folder = Path(name)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CannotWrite(
            f"--out-dir {name}: cannot be made ({error.strerror}); name a folder you may write to"
        ) from None
    return folder


def _model(name: str) -> ModelSpec:
    """The model by id; ``v2-lite`` and ``v3`` may leave out their family."""
    from costsim.spec.catalog import MODELS, load_model, names

    short: dict[str, Any] = {known.removeprefix("deepseek-"): known for known in names(MODELS)}
    spec = load_model(short.get(name, name))
    if spec.attention.kind != "mla":
        raise BadOption(f"--model {name}: the runnable model is of the DeepSeek family (MLA); try v2-lite or v3")
    return spec
