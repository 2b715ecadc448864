"""`costsim trace`: what profiler traces say of streams, overlap, phases and kernels."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from costsim.cli.output import finish, progress
from costsim.errors import BadOption, OutOfRange

if TYPE_CHECKING:
    from costsim.trace.work import Work

NAME = "trace"
HELP = "profiler traces of any device: busy time, overlap, waiting, phases, kernels"
EXAMPLE = """
costsim trace worker.pt.trace.json.gz
costsim trace rank0.json rank1.json --rank 1 --out trace.html
costsim trace worker.pt.trace.json --tensorboard runs/today --operators
"""
MAX_FILES = 4096


def configure(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("question")
    group.add_argument(
        "files", nargs="+", metavar="FILE", help="trace of torch.profiler or another Chrome trace, plain or gzip"
    )
    group.add_argument("--rank", metavar="N", help="the rank to show in detail; default: the first file")
    group.add_argument(
        "--top", metavar="N", default="12", help="rows of the tables of kernels and operators; default 12"
    )
    group.add_argument(
        "--operators", action="store_true", help="add TensorBoard's tables of operators and kernels (extra profile)"
    )
    group.add_argument("--tensorboard", metavar="DIR", help="copy the traces to DIR as TensorBoard's plugin shows them")


def run(args: argparse.Namespace) -> int:
    from costsim.report.traces import trace_document
    from costsim.trace.analyse import analyse
    from costsim.trace.collectives import told_apart
    from costsim.trace.tensorboard import plugin_tables

    paths = [Path(name) for name in args.files]
    top = _whole(args.top, "--top", 1, 30)
    works = _works(paths)
    shown = _shown(works, args.rank)
    tables = plugin_tables(paths[shown]) if args.operators else None
    parted, notes = told_apart(works)
    summaries = [analyse(work, tuple(notes)) for work in parted]
    if args.tensorboard is not None:
        _copy(Path(args.tensorboard), paths, works)
    return finish(args, trace_document(summaries, shown, tables, top))


def _works(paths: list[Path]) -> list[Work]:
    from costsim.trace.read import read_trace
    from costsim.trace.work import work_of

    if len(paths) > MAX_FILES:
        raise OutOfRange(f"more than {MAX_FILES:,} files; give the traces of one run, or some of its ranks")
    works = []
    for number, path in enumerate(paths, start=1):
        progress(f"reading {path.name} ({number} of {len(paths)})")
        works.append(work_of(read_trace(path)))
    ranks = [work.trace.rank for work in works if work.trace.rank is not None]
    if twice := [rank for rank in ranks if ranks.count(rank) > 1]:
        raise BadOption(f"rank {twice[0]} occurs in more than one file; give one trace of each rank of one run")
    return works


def _shown(works: list[Work], wanted: str | None) -> int:
    """Which file is shown in detail: the one of the rank asked for."""
    if wanted is None:
        return 0
    number = _whole(wanted, "--rank", 0, 10_000_000)
    known = [work.trace.rank for work in works]
    if number not in known:
        have = ", ".join(str(rank) for rank in known[:20] if rank is not None) or "none that says its rank"
        raise BadOption(f"--rank {number}: no file is of that rank; the files are of: {have}")
    return known.index(number)


def _copy(folder: Path, paths: list[Path], works: list[Work]) -> None:
    from costsim.trace.tensorboard import write_logdir

    ranks = [number if work.trace.rank is None else work.trace.rank for number, work in enumerate(works)]
    written = write_logdir(folder, list(zip(paths, ranks, strict=True)))
    progress(f"wrote {len(written)} files; look at them with: tensorboard --logdir {folder}")


def _whole(text: str, flag: str, least: int, most: int) -> int:
    if not text.isascii() or not text.isdigit() or not least <= int(text[:9]) <= most:
        raise OutOfRange(f"{flag} {text[:40]!r}: give a whole number from {least} to {most:,}")
    return int(text[:9])
