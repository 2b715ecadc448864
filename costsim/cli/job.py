"""``costsim train --megatron FILE`` and ``--write-megatron FILE``: layouts from and to Megatron-LM. Not a verb."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from costsim.cli.output import progress, write
from costsim.errors import BadOption

if TYPE_CHECKING:
    from costsim.cli.ask import Given, Key, Words
    from costsim.spec.accelerator import Accelerator
    from costsim.spec.model import ModelSpec

#: largest script that is read
MAX_BYTES = 400_000


def configure(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("Megatron-LM")
    group.add_argument(
        "--megatron", metavar="FILE",
        help="take layout and load from a Megatron-LM job script or argument file, read as data and never run; "
        "options given here win",
    )  # fmt: skip
    group.add_argument("--write-megatron", metavar="FILE", help="write the layout as Megatron-LM arguments")


def check(args: argparse.Namespace) -> None:
    """Refuse a ``--write-megatron`` that could not be written, before any work."""
    if args.write_megatron is None:
        return
    if getattr(args, "run", None) is not None:
        raise BadOption("--write-megatron: writes the layout of one step; leave --run out")
    path = Path(args.write_megatron)
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise BadOption(f"--write-megatron {path}: name a file in a directory that is there")


def apply(args: argparse.Namespace, model: ModelSpec, keys: Sequence[Key | Words]) -> tuple[str, ...]:
    """Fill the options that the user left out from the script, and say what was taken; () without ``--megatron``."""
    check(args)
    if args.megatron is None:
        return ()
    from costsim.cli.ask import Words
    from costsim.spec.base import read_text
    from costsim.spec.megatron import read_megatron

    path = Path(args.megatron)
    job = read_megatron(read_text(path, "Megatron-LM job", MAX_BYTES), model, path.name)
    known = {key.name: key for key in keys}
    taken, own, unknown = [], [], []
    for name, value in job.keys.items():
        if name not in known:
            unknown.append(name)
        elif getattr(args, name) is not None:
            own.append(known[name].flag)
        else:
            setattr(args, name, value if isinstance(known[name], Words) else [value])
            taken.append(f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}")
    notes = [f"from {path.name}: {'  '.join(taken)}"]
    notes += [f"{path.name}: your {', '.join(own)} in place of its own"] if own else []
    notes += [f"{path.name}: no option here for {', '.join(unknown)}"] if unknown else []
    return (*notes, *(f"{path.name}: {note}" for note in job.notes))


def save(args: argparse.Namespace, model: ModelSpec, chip: Accelerator, asked: Given) -> None:
    """Write the one layout that was answered, where ``--write-megatron`` asks for it."""
    if args.write_megatron is None:
        return
    if asked.varied:
        raise BadOption(f"--{asked.varied[0].replace('_', '-')}: --write-megatron writes one layout; give one value")
    point = {name: values[0] for name, values in asked.grid.items()} | asked.words
    write_layout(args.write_megatron, model, chip, point)


def write_layout(file: str, model: ModelSpec, chip: Accelerator, point: Mapping[str, Any]) -> None:
    """Write plan and load, given as plain values, as Megatron-LM arguments."""
    from costsim.spec.megatron_write import write_megatron

    cards = int(point["gpus"]) * chip.dies
    text = write_megatron({**point, "gpus": cards}, point, model, chip.node_devices * chip.dies)
    write(Path(file), text)
    progress(f"wrote {file}")
