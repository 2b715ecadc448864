"""`costsim simulate` over a grid: every combination of its ranges, on local processes or a Dask cluster, resumable."""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from costsim.cli.grid import points
from costsim.cli.output import extension, finish, progress, write
from costsim.errors import Absent, BadInput, BadOption, OutOfRange

if TYPE_CHECKING:
    import pandas as pd

#: scenarios of one call
MAX_POINTS = 100_000
#: options that say how the sweep runs, not what is simulated
_HOW = ("out", "json", "workers", "scheduler", "resume", "perfetto", "launch", "bench")
_TABLE_METRICS = 6


def add_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("sweeps (any number above takes lists and ranges)")
    group.add_argument("--workers", type=int, metavar="N", help="local processes (1)")
    group.add_argument("--scheduler", metavar="ADDRESS", help="a Dask scheduler instead, like tcp://host:8786")
    group.add_argument("--resume", metavar="DIR", help="keep finished chunks there, and take up what it holds")


def varied(args: argparse.Namespace) -> list[str]:
    """The options that were given several values."""
    return [name for name, value in vars(args).items() if isinstance(value, list) and len(value) > 1]


def check_single(args: argparse.Namespace) -> None:
    """Options of sweeps mean nothing for one scenario."""
    for name in ("workers", "scheduler", "resume"):
        if getattr(args, name, None) is not None:
            raise BadOption(f"--{name} runs a sweep; give some option a list or a range, like --rate 1:16")


def answer_points(scenarios: list[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Simulate scenarios, each given as the options of the verb; a refusal becomes the row's ``error``."""
    from costsim.cli.simulate import simulated

    rows: list[dict[str, Any]] = []
    for scenario in scenarios:
        args = argparse.Namespace(**scenario)
        try:
            report = simulated(args).report
            # How long it took differs from run to run; all else is the same wherever it runs.
            metrics = {n: m.json() for n, m in report.metrics.items() if n != "elapsed_cpu_s"}
            rows.append({"metrics": metrics})
        except BadInput as error:
            rows.append({"error": str(error)})
    return rows


def run_grid(args: argparse.Namespace, names: Sequence[str]) -> int:
    """The table of a sweep; ``--out`` also takes .parquet."""
    from costsim.explore.sweep import sweep
    from costsim.report.document import Document
    from costsim.report.grid import grid_rows, grid_section
    from costsim.report.tables import render_document
    from costsim.version import __version__

    for name in ("perfetto", "launch", "bench"):
        if getattr(args, name, None) is not None:
            raise BadOption(f"--{name} is about one scenario; leave out the ranges")
    if args.workers is not None and not 1 <= args.workers <= 1024:
        raise OutOfRange(f"--workers {args.workers}: must be from 1 to 1024")
    if args.workers is not None and args.scheduler is not None:
        raise BadOption("--workers are local processes and --scheduler a cluster's; give one")
    every = points({name: getattr(args, name) for name in names}, MAX_POINTS)
    base = {name: value for name, value in vars(args).items() if name not in _HOW}
    base["data"] = _digest(args)
    scenarios = [{**base, **{name: [value] for name, value in point.items()}} for point in every]
    answers = sweep(
        scenarios, answer_points, folder=None if args.resume is None else Path(args.resume), workers=args.workers or 1,
        scheduler=args.scheduler, progress=lambda n, total: progress(f"{n:,} of {total:,} scenarios"),
    )  # fmt: skip
    rows = [{"point": point, **row} for point, row in zip(every, answers, strict=True)]
    failed = [row["error"] for row in rows if "error" in row]
    if len(failed) == len(rows):
        raise BadInput(failed[0])
    if args.out is not None and extension(Path(args.out)) == "parquet":
        import pandas as pd

        write_parquet(Path(args.out), pd.DataFrame(grid_rows(rows)))
        args.out = None
    payload = {"varied": list(names), "rows": rows, "failed": len(failed), "version": __version__}
    section = grid_section(list(names), rows, [], _TABLE_METRICS)
    document = Document(f"{len(rows):,} simulations over {', '.join(names)}", [section], payload, rows=grid_rows(rows))
    return finish(args, document, lambda: render_document(document))


def _digest(args: argparse.Namespace) -> str:
    """What the answers rest on besides the options: laws, constants, prices and the user's own files."""
    from costsim.spec.catalog import CALIBRATION, ROOT

    shipped = [*sorted(CALIBRATION.glob("*.json")), *sorted((ROOT / "hwprofiles").glob("*.[tj]*"))]
    own = [Path(v) for v in (args.model, args.accelerator, args.cluster, args.trace) if v and Path(v).is_file()]
    digest = hashlib.sha256()
    for path in [*shipped, *own]:
        digest.update(path.read_bytes())
    return digest.hexdigest()[:24]


def write_parquet(path: Path, frame: pd.DataFrame) -> None:
    """A table as a parquet file, which needs pyarrow."""
    import io
    from importlib.util import find_spec

    if find_spec("pyarrow") is None:
        raise Absent(f"--out {path}: parquet needs pyarrow: pip install pyarrow, or give a .csv")
    buffer = io.BytesIO()
    frame.to_parquet(buffer, index=False)
    write(path, buffer.getvalue())
    progress(f"wrote {path}")
