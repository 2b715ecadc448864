"""`costsim simulate`: requests of a trace, a rate or a closed loop through a deployment, one by one."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from costsim.cli import ask as asking
from costsim.cli import bench, simulate_grid
from costsim.cli import launch as launching
from costsim.cli.ask import Key, Words
from costsim.cli.output import FORMATS as _FORMATS
from costsim.cli.output import extension, finish, progress, write
from costsim.cli.parser import add_choice, add_grid, add_quantity
from costsim.errors import BadInput

if TYPE_CHECKING:
    from costsim.predict.launch import Launch
    from costsim.predict.service import Service
    from costsim.predict.simulation import Simulated
    from costsim.serving.request import Requests
    from costsim.spec.model import ModelSpec
    from costsim.spec.plan import ServingPlan

NAME = "simulate"
HELP = "requests one by one through a deployment: queues, latency quantiles, goodput, USD per million tokens"
EXAMPLE = """
costsim simulate --trace azure-conv-2023 --accelerator h200-sxm --gpus 8 --tp 8 --ttft 1s --tpot 50ms
costsim simulate --rate 4 --isl 2000 --osl 500 --gpus 32 --ep 32 --accelerator h800-sxm --requests 2000
costsim simulate --rate 1:8 --gpus 8,16 --isl 2000 --osl 500 --workers 2 --resume sweep/ --out sweep.parquet
costsim simulate --trace mooncake-synthetic --gpus 64 --tp 8 --prefix-cache --router cache-aware --out r.parquet
"""
FORMATS = (*_FORMATS, "parquet")

PLAN = (
    Key("gpus", "cards of the whole deployment (with --prefill-gpus: of the decode pool)"),
    Key("tp", "tensor-parallel width of attention"),
    Key("pp", "pipeline stages"),
    Key("ep", "ranks that share one set of experts"),
    Key("moe_tp", "ranks that split each expert's width; default: tp/ep, at least 1"),
)
PREFILL = (
    Key("prefill_gpus", "cards of a separate prefill pool"),
    Key("prefill_tp", "its tensor-parallel width (1)"),
    Key("prefill_ep", "its expert-parallel width (all its cards for an MoE model with tp 1)"),
)
POLICY = (
    Key("token_budget", "new tokens of an iteration on one attention rank (8192)"),
    Key("max_running", "requests that decode on one attention rank (256)"),
    Key("block", "tokens of a KV block (64)"),
    Key("reserve", "share of an answer whose KV is set aside at admission (0)", whole=False, minimum=0, maximum=1),
)
LOAD = (
    Key("isl", "prompt tokens of a synthetic load (1024)"),
    Key("osl", "answer tokens of a synthetic load (1024)"),
    Key("requests", "how many requests; of a trace, the first so many"),
    Key("concurrency", "closed loop: requests in flight"),
    Key("rate", "open arrivals: requests a second", whole=False, minimum=1e-9),
    Key("cv", "burstiness of open arrivals: coefficient of variation of the gaps (1)", whole=False, minimum=0),
    Key("speed", "play a trace so many times as fast", whole=False, minimum=1e-6),
    Key("seed", "of everything random (0)", minimum=0),
    Key("mtp_tokens", "tokens drafted per step (0)", minimum=0),
    Key("mtp_acceptance", "chance that a drafted token is kept", whole=False, minimum=0, maximum=1),
)
ORDERS = ("mixed", "prefill-first")


def words() -> tuple[Words, ...]:
    """The options that take a word."""
    from costsim.spec import words as plan

    return (
        Words("precision", "arithmetic of the matrix products", plan.PRECISIONS),
        Words("kv_dtype", "format of the KV cache", plan.KV_DTYPES),
        Words("overlap", "how communication hides behind computation", plan.OVERLAPS),
        Words("routing", "how evenly tokens meet experts", plan.ROUTINGS),
    )


def configure(parser: argparse.ArgumentParser) -> None:
    from costsim.serving.policy import ROUTERS

    asking.add_subject(parser, "deepseek-v3", "h200-sxm")
    asking.add_keys(parser, "plan", [*PLAN, *words()])
    asking.add_keys(parser, "separate prefill", PREFILL)
    group = parser.add_argument_group("load")
    group.add_argument("--trace", metavar="FILE", help="a shipped trace by name, or your own .csv or .jsonl (.gz)")
    group.add_argument("--hours", metavar="A-B", help="only these hours of the trace, like 20-22")
    for key in LOAD:
        add_grid(group, key.flag, key.help, key.whole, key.minimum, key.maximum)
    engine = parser.add_argument_group("engine")
    add_choice(engine, "--order", ORDERS, "prompts beside answers, or before them (mixed)")
    engine.add_argument("--whole-prompts", action="store_true", help="never cut a prompt into chunks")
    for key in POLICY:
        add_grid(engine, key.flag, key.help, key.whole, key.minimum, key.maximum)
    add_choice(engine, "--router", ROUTERS, "which replica takes a request (least-loaded)")
    engine.add_argument("--prefix-cache", action="store_true", help="reuse the KV of equal prompt beginnings")
    add_quantity(engine, "--host-cache", "bytes", "host memory behind each replica for cached prefixes, like 1TB")
    targets = parser.add_argument_group("targets and output")
    add_quantity(targets, "--ttft", "time", "time to first token that counts as good, like 1s")
    add_quantity(targets, "--tpot", "time", "time per token that counts as good, like 50ms")
    targets.add_argument("--no-bands", action="store_true", help="one run instead of three: no P10 and P90")
    targets.add_argument("--perfetto", metavar="FILE", help="every replica's steps as a Chrome trace (.json)")
    launching.add_option(targets)
    bench.add_option(targets)
    simulate_grid.add_options(parser)


def simulated(args: argparse.Namespace, load: tuple[Requests, int | None, list[str]] | None = None) -> Simulated:
    """The scenario that the options describe, run; every option has one value. ``load`` replaces theirs."""
    from costsim.predict.simulation import predict_simulation
    from costsim.spec.catalog import load_accelerator, load_model

    model, chip = load_model(args.model), load_accelerator(args.accelerator)
    args.precision, about = asking.precision_for(chip, args.precision)
    price, cluster, about_supply = asking.supply(args, chip)
    plan, service = _plan(args, model), _service(args, model)
    requests, concurrency, about_load = load or _load(args)
    result = predict_simulation(
        model, chip, plan, requests, service, concurrency=concurrency, price=price, cluster=cluster,
        progress=lambda done, every: progress(f"{done:,} of {every:,} requests", done / every),
        bands=not args.no_bands, record=getattr(args, "perfetto", None) is not None,
    )  # fmt: skip
    report = asking.with_assumed(result.report, (*about, *about_supply, *about_load))
    if load is None:  # how the requests were made, so that `costsim diff` can make them again
        said = {key: value for key, value in args.asked_load.items() if value is not None}
        report = replace(report, inputs={**report.inputs, "load": {**report.inputs["load"], "asked": said}})
    return replace(result, report=report)


def run(args: argparse.Namespace) -> int:
    from costsim.report.simulations import simulation_document
    from costsim.report.tables import render_document

    if names := simulate_grid.varied(args):
        return simulate_grid.run_grid(args, names)
    simulate_grid.check_single(args)
    if args.bench is not None:
        return bench.run(args)
    if args.perfetto is not None and extension(Path(args.perfetto)) != "json":
        raise BadInput(f"--perfetto {args.perfetto}: the file must end in .json")
    result = simulated(args)
    if args.perfetto is not None:
        from costsim.report.simulations import steps_trace

        write(Path(args.perfetto), steps_trace(result.outcome, f"{args.model} on {args.accelerator}"))
        progress(f"wrote {args.perfetto}")
    document = simulation_document(result.report, result.outcome)
    if args.out is not None and extension(Path(args.out)) in ("parquet", "csv"):
        _write_requests(Path(args.out), result)
        args.out = None
    if args.launch is not None:
        document = launching.with_launches(document, _launches(args))
    return finish(args, document, lambda: render_document(document))


def _launches(args: argparse.Namespace) -> list[Launch]:
    """The commands that start what was simulated."""
    from costsim.spec.catalog import load_accelerator, load_model

    model, chip = load_model(args.model), load_accelerator(args.accelerator)
    return launching.launches(args.launch, model, chip, _plan(args, model), _service(args, model))


def _one(args: argparse.Namespace, name: str, default: Any) -> Any:
    """The value of an option that a simulation takes once."""
    values = getattr(args, name)
    if values is None:
        return default
    if len(values) > 1:
        flag = "--" + name.replace("_", "-")
        raise BadInput(f"{flag}: a simulation takes one value, not {len(values)}; run it once for each")
    return values[0]


def _plan(args: argparse.Namespace, model: ModelSpec) -> ServingPlan:
    from costsim.spec.plan import ServingPlan

    gpus, tp = _one(args, "gpus", 8), _one(args, "tp", 1 if args.ep else 8)
    return ServingPlan(
        gpus=gpus, tp=tp, pp=_one(args, "pp", 1), ep=_one(args, "ep", 1), moe_tp=_one(args, "moe_tp", None),
        precision=args.precision, kv_dtype=args.kv_dtype or "bf16", overlap=args.overlap or "none",
        routing=args.routing or ("default" if model.moe else "balanced"),
    )  # fmt: skip


def _service(args: argparse.Namespace, model: ModelSpec) -> Service:
    from costsim.predict.service import Service
    from costsim.serving.policy import Policy

    policy = Policy(
        order=args.order or "mixed", token_budget=_one(args, "token_budget", 8192), chunked=not args.whole_prompts,
        max_running=_one(args, "max_running", 256), reserve=_one(args, "reserve", 0.0), block=_one(args, "block", 64),
    )  # fmt: skip
    if args.host_cache is not None and not args.prefix_cache:
        raise BadInput("--host-cache keeps cached prefixes; give --prefix-cache with it")
    prefill = None
    gpus = _one(args, "prefill_gpus", None)
    if gpus is None and (args.prefill_tp or args.prefill_ep):
        raise BadInput("--prefill-tp and --prefill-ep describe a prefill pool; give --prefill-gpus")
    if gpus is not None:
        tp = _one(args, "prefill_tp", 1)
        ep = _one(args, "prefill_ep", gpus if model.moe and tp == 1 else 1)
        prefill = replace(_plan(args, model), gpus=gpus, tp=tp, ep=ep, pp=1, moe_tp=None)
    service = Service(
        policy=policy, router=args.router or "least-loaded", prefix_cache=args.prefix_cache,
        host_cache_bytes=args.host_cache or 0.0, mtp_tokens=float(_one(args, "mtp_tokens", 0)),
        mtp_acceptance=_one(args, "mtp_acceptance", 0.0), prefill=prefill,
    )  # fmt: skip
    targets = {name: getattr(args, name.removesuffix("_s")) for name in ("ttft_s", "tpot_s")}
    return replace(service, **{name: value for name, value in targets.items() if value is not None})


def _load(args: argparse.Namespace) -> tuple[Requests, int | None, list[str]]:
    """The requests, the concurrency of a closed loop, and the words about what was filled in."""
    from costsim.predict.loads import load_of

    kinds = [name for name in ("trace", "rate", "concurrency") if getattr(args, name) is not None]
    if len(kinds) != 1 and set(kinds) != {"trace", "concurrency"}:
        raise BadInput("give one load: --trace NAME, --rate N (open arrivals) or --concurrency N (closed loop)")
    concurrency, count = _one(args, "concurrency", None), _one(args, "requests", None)
    seed = _one(args, "seed", 0)
    asked: dict[str, Any] = {"concurrency": concurrency, "requests": count, "seed": seed}
    if args.trace is None:
        if args.hours or args.speed:
            raise BadInput("--hours and --speed play a --trace; this load is synthetic")
        asked |= {"isl": _one(args, "isl", 1024), "osl": _one(args, "osl", 1024)}
        if concurrency is None:
            asked |= {"rate": _one(args, "rate", None), "cv": _one(args, "cv", 1.0)}
        args.asked_load = asked
        return *load_of(asked), ["lengths 0.8–1.0 of --isl and --osl"]
    for name in ("isl", "osl", "cv"):
        if getattr(args, name) is not None:
            raise BadInput(f"--{name} describes a synthetic load; the trace has its own")
    start_s, end_s = _hours(args.hours)
    asked |= {"trace": args.trace, "start_s": start_s, "end_s": end_s, "speed": _one(args, "speed", 1.0)}
    args.asked_load = asked
    return *load_of(asked), []


def _hours(text: str | None) -> tuple[float, float | None]:
    if text is None:
        return 0.0, None
    low, _, high = text.partition("-")
    try:
        start, end = float(low), float(high)
    except ValueError:
        raise BadInput(f"--hours {text[:40]!r}: two numbers are needed, like 20-22") from None
    if not 0 <= start < end <= 1e6:
        raise BadInput(f"--hours {text[:40]!r}: must run forward from 0")
    return 3600.0 * start, 3600.0 * end


def _write_requests(path: Path, result: Simulated) -> None:
    """One row a request."""
    import io

    from costsim.report.simulations import request_frame

    frame = request_frame(result.outcome)
    if extension(path) == "csv":
        write(path, frame.to_csv(index=False))
    else:
        from importlib.util import find_spec

        if find_spec("pyarrow") is None:
            raise BadInput(f"--out {path}: parquet needs pyarrow: pip install pyarrow, or give a .csv")
        buffer = io.BytesIO()
        frame.to_parquet(buffer, index=False)
        write(path, buffer.getvalue())
    progress(f"wrote {path}")
