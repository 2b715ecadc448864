"""`costsim simulate --bench FILE`: the runs of a serving benchmark beside their prediction, row by row."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from costsim.cli.output import finish, progress
from costsim.errors import BadInput

if TYPE_CHECKING:
    from costsim.serving.request import Requests

#: options that the file answers itself
_OWN = ("trace", "hours", "isl", "osl", "requests", "concurrency", "rate", "cv", "speed")


def add_option(group: argparse._ActionsContainer) -> None:
    group.add_argument(
        "--bench", metavar="FILE", help="result of `vllm bench serve` or SGLang's bench_serving: compare with it"
    )


def run(args: argparse.Namespace) -> int:
    """A simulation of each run with the deployment of the options, and a table of the differences."""
    from costsim.calibration.sources.vllm_bench import read_runs
    from costsim.cli.simulate import simulated
    from costsim.predict.bench import compare, load_of, summary
    from costsim.report.bench import bench_document

    for name in _OWN:
        if getattr(args, name) is not None:
            raise BadInput(f"--{name} and --bench: the file says itself what was sent")
    runs = read_runs(Path(args.bench))
    rows, notes = [], []
    for number, one in enumerate(runs, start=1):
        progress(f"run {number} of {len(runs)}")
        requests, concurrency = load_of(one)
        report = simulated(args, load=(requests, concurrency, [])).report
        rows += compare(number, one, report)
        notes.append(_words(number, one, requests))
    return finish(args, bench_document(rows, summary(rows), args.model, args.accelerator, notes))


def _words(number: int, run: Any, requests: Requests) -> str:
    how = (
        f"{run.request_rate:g} requests/s" if run.request_rate is not None
        else f"concurrency {run.concurrency}" if run.concurrency else "all at once"
    )  # fmt: skip
    lengths = "its own lengths" if run.lengths else "mean lengths: give --save-detailed for each request's"
    failed = f", {run.failed} failed" if run.failed else ""
    mean = f"{requests.isl.mean():.0f} in and {requests.osl.mean():.0f} out"
    engine = run.backend or "engine not named"
    return f"run {number}: {engine}, {len(requests):,} requests, {how}, {mean}, {lengths}{failed}"
