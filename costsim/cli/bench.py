"""`costsim simulate --bench FILE`: the runs of a serving benchmark beside their prediction, row by row."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from costsim.cli.output import finish, progress
from costsim.errors import BadInput

if TYPE_CHECKING:
    from costsim.calibration.sources.vllm_bench import Serving
    from costsim.predict.bench import Compared
    from costsim.serving.request import Requests

#: options that the file answers itself
_OWN = ("trace", "hours", "isl", "osl", "requests", "concurrency", "rate", "cv", "speed")


def add_option(group: argparse._ActionsContainer) -> None:
    group.add_argument(
        "--bench", metavar="FILE", help="result of `vllm bench serve` or SGLang's bench_serving: compare with it"
    )


def run(args: argparse.Namespace) -> int:
    """A simulation of each run with the deployment of the options, a table of the differences, and with a framework
    its host constants under which the runs come out as measured."""
    from costsim.calibration.sources.vllm_bench import read_runs
    from costsim.cli.simulate import simulated
    from costsim.predict.bench import compare, corrected, load_of, summary
    from costsim.report.bench import bench_document

    for name in _OWN:
        if getattr(args, name) is not None:
            raise BadInput(f"--{name} and --bench: the file says itself what was sent")
    if args.warmup is not None:
        raise BadInput("--warmup and --bench: a benchmark counts all of its run, and so does what is beside it")
    runs = read_runs(Path(args.bench))
    loads = [load_of(one) for one in runs]

    def against() -> list[Compared]:
        """Every figure of every run beside its prediction."""
        rows = []
        for number, (one, (requests, concurrency)) in enumerate(zip(runs, loads, strict=True), start=1):
            progress(f"run {number} of {len(runs)}")
            rows += compare(number, one, simulated(args, load=(requests, concurrency, [])).report)
        return rows

    rows = against()
    notes = [_words(number, one, load) for number, (one, (load, _)) in enumerate(zip(runs, loads, strict=True), 1)]
    notes += _speculation(args, runs)
    correction, after = None, []
    if args.framework:
        from costsim.spec.framework import framework_for

        host = framework_for(args.framework).host
        step = host.step_s if args.host_step is None else args.host_step
        front = host.frontend_s if args.frontend is None else args.frontend
        own, args.no_bands = args.no_bands, True

        def again(step_s: float, frontend_s: float) -> list[Compared]:
            """The runs under other host constants, without bands."""
            args.host_step, args.frontend = step_s, frontend_s
            return against()

        correction = corrected(rows, again, step, front, _kept(args))
        after, args.no_bands = again(correction.step_s, correction.frontend_s), own
    else:
        notes.append("give --framework to have its host constants corrected by these runs")
    document = bench_document(rows, summary(rows), args.model, args.accelerator, notes, correction, summary(after))
    return finish(args, document)


def _kept(args: argparse.Namespace) -> float:
    """Tokens that a decode iteration keeps for each request, as the options say."""
    from costsim.cli.simulate import service_of
    from costsim.predict.phases import accepted_tokens
    from costsim.spec.catalog import load_model

    service = service_of(args, load_model(args.model))
    return float(accepted_tokens(service.mtp_tokens, service.mtp_acceptance))


def _speculation(args: argparse.Namespace, runs: list[Serving]) -> list[str]:
    """A word where the benchmark ran with speculative decoding and the options do not, or the other way round."""
    kept = [run.tokens_per_step for run in runs if run.tokens_per_step and run.tokens_per_step > 1.01]
    asked = _kept(args)
    if kept and abs(asked / max(kept) - 1.0) > 0.02:
        return [f"speculative decoding kept {max(kept):.2f} tokens a step there and {asked:.2f} here: --mtp-positions"]
    return []


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
