"""`costsim simulate`: requests of a trace, a rate or a closed loop through a deployment, one by one."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from costsim.cli import ask as asking
from costsim.cli import bench, infer, simulate_grid
from costsim.cli import launch as launching
from costsim.cli.ask import Key
from costsim.cli.output import FORMATS as _FORMATS
from costsim.cli.output import extension, finish, progress, write
from costsim.cli.parser import add_choice, add_grid, add_quantity
from costsim.cli.simulate_load import add_warmup, check_cache, load_of, one, shares_of, warmup_of
from costsim.errors import BadInput

if TYPE_CHECKING:
    from costsim.predict.launch import Launch
    from costsim.predict.service import Service
    from costsim.predict.simulation import Simulated
    from costsim.serving.policy import Policy
    from costsim.serving.request import Requests
    from costsim.spec.framework import Host
    from costsim.spec.model import ModelSpec
    from costsim.spec.plan import ServingPlan
    from costsim.spec.price import Price

NAME = "simulate"
HELP = "requests one by one through a deployment: queues, latency quantiles, goodput, USD per million tokens"
EXAMPLE = """
costsim simulate --trace azure-conv-2023 --accelerator h200-sxm --gpus 8 --tp 8 --ttft 1s --tpot 50ms
costsim simulate --rate 4 --isl 2000 --osl 500 --gpus 32 --ep 32 --accelerator h800-sxm --requests 2000
costsim simulate --rate 1:8 --gpus 8,16 --isl 2000 --osl 500 --workers 2 --resume sweep/ --out sweep.parquet
costsim simulate --trace mooncake-synthetic --gpus 64 --tp 8 --prefix-cache --router cache-aware --out r.parquet
costsim simulate --rate 20 --priorities 0.9,0.1 --timeout 30s --framework sglang --perfetto steps.json
costsim simulate --rate 2 --accelerator h20-96g --gpus 16 --ep 16 --prefill-accelerator h800-sxm --prefill-gpus 16
"""
FORMATS = (*_FORMATS, "parquet")

PLAN = (
    Key("gpus", "cards of the whole deployment (with --prefill-gpus: of the decode pool)"),
    Key("tp", "tensor-parallel width of attention"),
    Key("pp", "pipeline stages"),
    Key("ep", "ranks that share one set of experts"),
    Key("moe_tp", "ranks that split each expert's width; default: tp/ep, at least 1"),
    Key("redundant_experts", "replicas of hot experts beyond one copy of each (0)", minimum=0),
    Key("imbalance", "busiest expert rank over the mean, as `costsim place` finds; default: from --routing", False),
    Key("remote_nodes", "further nodes a token is sent to, as `costsim place` finds", whole=False, minimum=0),
)
PREFILL = (
    Key("prefill_gpus", "cards of a separate prefill pool"),
    Key("prefill_tp", "its tensor-parallel width (1)"),
    Key("prefill_ep", "its expert-parallel width (all its cards for an MoE model with tp 1)"),
)
POLICY = (
    Key("token_budget", "new tokens of an iteration on one attention rank (8192, or the framework's)"),
    Key("max_running", "requests that decode on one attention rank (256, or the framework's)"),
    Key("block", "tokens of a KV block (64, or the framework's)"),
    Key("reserve", "share of an answer whose KV is set aside at admission (0, or the framework's)", whole=False,
        minimum=0, maximum=1),
    Key("reserve_tokens", "KV tokens kept free for each running request (0; 512 on a decode pool)", minimum=0),
    Key("max_waiting", "requests that may wait on a rank, further ones are refused (any)"),
)  # fmt: skip
LOAD = (
    Key("isl", "prompt tokens of a synthetic load (1024)"),
    Key("osl", "answer tokens of a synthetic load (1024)"),
    Key("requests", "how many requests; of a trace, the first so many"),
    Key("concurrency", "closed loop: requests in flight"),
    Key("rate", "open arrivals: requests a second", whole=False, minimum=1e-9),
    Key("cv", "burstiness of open arrivals: coefficient of variation of the gaps (1)", whole=False, minimum=0),
    Key("speed", "play a trace so many times as fast", whole=False, minimum=1e-6),
    Key("seed", "of everything random (0)", minimum=0),
    Key("mtp_tokens", "tokens drafted per step (0)", minimum=0, maximum=8),
    Key("mtp_acceptance", "chance that a drafted token is kept if those before it were", whole=False, minimum=0,
        maximum=1),
)  # fmt: skip
ORDERS = ("mixed", "prefill-first")


def configure(parser: argparse.ArgumentParser) -> None:
    from costsim.serving.policy import ROUTERS, SPREADS

    asking.add_subject(parser, "deepseek-v3", "h200-sxm")
    asking.add_keys(parser, "plan", [*PLAN, *infer.words()])
    asking.add_keys(parser, "separate prefill", PREFILL)
    other = parser.add_argument_group("separate prefill on other cards")
    other.add_argument("--prefill-accelerator", metavar="ID", help="accelerator of the prefill pool (the same)")
    other.add_argument("--prefill-price", metavar="PRICE", help="its price: an id or a quantity like 2USD/h")
    group = parser.add_argument_group("load")
    group.add_argument("--trace", metavar="FILE", help="a shipped trace by name, or your own .csv or .jsonl (.gz)")
    group.add_argument("--hours", metavar="A-B", help="only these hours of the trace, like 20-22")
    for key in LOAD:
        add_grid(group, key.flag, key.help, key.whole, key.minimum, key.maximum)
    group.add_argument("--mtp-positions", metavar="P,…", help="share of steps that keep draft 1, 2, …: 0.85,0.6,0.4")
    group.add_argument("--priorities", metavar="S,…", help="shares of requests of priority 0 (first), 1, …: 0.1,0.9")
    engine = parser.add_argument_group("engine")
    add_choice(engine, "--order", ORDERS, "prompts beside answers, or before them (mixed)")
    engine.add_argument("--whole-prompts", action="store_true", help="never cut a prompt into chunks")
    for key in POLICY:
        add_grid(engine, key.flag, key.help, key.whole, key.minimum, key.maximum)
    add_choice(engine, "--router", ROUTERS, "which replica takes a request (least-loaded)")
    add_choice(engine, "--spread", SPREADS, "what requests are spread over its attention ranks by (requests)")
    engine.add_argument("--prefix-cache", action="store_true", help="reuse the KV of equal prompt beginnings")
    add_quantity(engine, "--host-cache", "bytes", "host memory behind each replica for cached prefixes, like 1TB")
    add_quantity(engine, "--timeout", "time", "clients give up that have waited so long, like 30s (never)")
    add_quantity(engine, "--host-step", "time", "host time of every iteration in place of the framework's")
    add_quantity(engine, "--frontend", "time", "time of the process in front for a request in place of the framework's")
    targets = parser.add_argument_group("targets and output")
    add_quantity(targets, "--ttft", "time", "time to first token that counts as good, like 1s")
    add_quantity(targets, "--tpot", "time", "time per token that counts as good, like 50ms")
    targets.add_argument("--no-bands", action="store_true", help="one run instead of three: no P10 and P90")
    targets.add_argument("--perfetto", metavar="FILE", help="every replica's steps as a Chrome trace (.json)")
    add_warmup(targets)
    launching.add_option(targets)
    bench.add_option(targets)
    simulate_grid.add_options(parser)


def simulated(args: argparse.Namespace, load: tuple[Requests, int | None, list[str]] | None = None) -> Simulated:
    """The scenario that the options describe, run; every option has one value. ``load`` replaces theirs."""
    from costsim.predict.simulation import predict_simulation
    from costsim.spec.catalog import load_accelerator, load_model

    model, chip = load_model(args.model), load_accelerator(args.accelerator)
    args.precision, about = asking.precision_for(chip, args.precision, model)
    price, cluster, about_supply = asking.supply(args, chip)
    plan, service = _plan(args, model), service_of(args, model)
    requests, concurrency, about_load = load or load_of(args)
    check_cache(service, requests)
    result = predict_simulation(
        model, chip, plan, requests, service, concurrency=concurrency, price=price, cluster=cluster,
        prefill_price=_prefill_price(args),
        progress=lambda done, every: progress(f"{done:,} of {every:,} requests", done / every),
        bands=not args.no_bands, record=getattr(args, "perfetto", None) is not None,
        warmup=None if load is not None else warmup_of(args),
    )  # fmt: skip
    about_routing = [f"--routing {plan.routing}"] if args.routing is None and model.moe else []
    report = asking.with_assumed(result.report, (*about, *about_routing, *about_supply, *about_load))
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
    document = simulation_document(result)
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
    return launching.launches(args.launch, model, chip, _plan(args, model), service_of(args, model))


def routing_of(args: argparse.Namespace, model: ModelSpec) -> Any:
    """How evenly tokens meet experts where the options do not say: as in an engine without a balancer."""
    from costsim.cli.infer import DEFAULTS

    return args.routing or (DEFAULTS["serving"]["routing"] if model.moe else "balanced")


def _plan(args: argparse.Namespace, model: ModelSpec) -> ServingPlan:
    from costsim.spec.plan import ServingPlan

    gpus, tp = one(args, "gpus", 8), one(args, "tp", 1 if args.ep else 8)
    return ServingPlan(
        gpus=gpus, tp=tp, pp=one(args, "pp", 1), ep=one(args, "ep", 1), moe_tp=one(args, "moe_tp", None),
        precision=args.precision, kv_dtype=args.kv_dtype or "bf16", overlap=args.overlap or "none",
        routing=routing_of(args, model), framework=args.framework or "",
        redundant_experts=one(args, "redundant_experts", 0), imbalance=one(args, "imbalance", None),
        remote_nodes=one(args, "remote_nodes", None),
    )  # fmt: skip


def service_of(args: argparse.Namespace, model: ModelSpec) -> Service:
    from costsim.predict.service import Service, acceptance_of
    from costsim.spec.catalog import load_accelerator

    if args.host_cache is not None and not args.prefix_cache:
        raise BadInput("--host-cache keeps cached prefixes; give --prefix-cache with it")
    prefill = None
    gpus = one(args, "prefill_gpus", None)
    if gpus is None and (args.prefill_tp or args.prefill_ep):
        raise BadInput("--prefill-tp and --prefill-ep describe a prefill pool; give --prefill-gpus")
    if gpus is None and (args.prefill_accelerator or args.prefill_price):
        raise BadInput("--prefill-accelerator and --prefill-price describe a prefill pool; give --prefill-gpus")
    other = None if args.prefill_accelerator is None else load_accelerator(args.prefill_accelerator)
    if gpus is not None:
        tp = one(args, "prefill_tp", 1)
        ep = one(args, "prefill_ep", gpus if model.moe and tp == 1 else 1)
        prefill = replace(_plan(args, model), gpus=gpus, tp=tp, ep=ep, pp=1, moe_tp=None)
        if other is not None:
            prefill = replace(prefill, precision=asking.precision_for(other, None, model)[0])
    drafts, acceptance = one(args, "mtp_tokens", 0), one(args, "mtp_acceptance", 0.0)
    if args.mtp_positions is not None:
        if args.mtp_tokens or args.mtp_acceptance:
            raise BadInput("--mtp-positions says both how many tokens are drafted and kept; leave out the others")
        shares = shares_of("--mtp-positions", args.mtp_positions)
        drafts, acceptance = len(shares), acceptance_of(shares)
    elif bool(drafts) != bool(acceptance):
        raise BadInput("--mtp-tokens and --mtp-acceptance go together; give both, or --mtp-positions")
    service = Service(
        policy=policy_of(args), router=args.router or "least-loaded", prefix_cache=args.prefix_cache,
        host_cache_bytes=args.host_cache or 0.0, mtp_tokens=float(drafts),
        mtp_acceptance=acceptance, prefill=prefill, prefill_chip=other, host=_host(args),
    )  # fmt: skip
    targets = {name: getattr(args, name.removesuffix("_s")) for name in ("ttft_s", "tpot_s")}
    return replace(service, **{name: value for name, value in targets.items() if value is not None})


def policy_of(args: argparse.Namespace) -> Policy:
    """The framework's scheduler, or a plain one, with what the options change."""
    from costsim.predict.engine import policy_for
    from costsim.serving.policy import Policy
    from costsim.spec.framework import framework_for

    named = policy_for(framework_for(args.framework), 0.0, 1.0) if args.framework else Policy()
    given = {
        name: one(args, name, None)
        for name in ("token_budget", "max_running", "reserve", "block", "reserve_tokens", "max_waiting")
    } | {
        "order": args.order,
        "spread": args.spread,
        "timeout_s": args.timeout,
        "chunked": False if args.whole_prompts else None,
    }
    return replace(named, **{name: value for name, value in given.items() if value is not None})


def _host(args: argparse.Namespace) -> Host | None:
    """The framework's host with what the options change; None where they change nothing."""
    from costsim.spec.framework import framework_for

    given = {"step_s": args.host_step, "frontend_s": args.frontend}
    given = {name: value for name, value in given.items() if value is not None}
    if not given:
        return None
    if not args.framework:
        raise BadInput("--host-step and --frontend change a framework's host; give --framework")
    return framework_for(args.framework).host.model_copy(update=given)


def _prefill_price(args: argparse.Namespace) -> Price | None:
    from costsim.spec.price import parse_rate

    return None if args.prefill_price is None else parse_rate(args.prefill_price, "--prefill-price")


def _write_requests(path: Path, result: Simulated) -> None:
    """One row a request."""
    from costsim.report.simulations import request_frame

    frame = request_frame(result.window)
    if extension(path) == "csv":
        write(path, frame.to_csv(index=False))
        progress(f"wrote {path}")
    else:
        simulate_grid.write_parquet(path, frame)
