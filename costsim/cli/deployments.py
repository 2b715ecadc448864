"""`costsim search --phase deployment`: the cheapest and the fastest deployment for a load, confirmed by simulation."""

from __future__ import annotations

import argparse
import math
import re
from functools import partial
from typing import TYPE_CHECKING, Any

from costsim.cli import ask as asking
from costsim.cli import launch as launching
from costsim.cli.output import finish, progress
from costsim.errors import BadInput

if TYPE_CHECKING:
    from costsim.explore.deployments import Deployed
    from costsim.explore.units import Demand
    from costsim.predict.launch import Launch
    from costsim.spec.accelerator import Accelerator
    from costsim.spec.model import ModelSpec
    from costsim.spec.price import Price

#: exit status of a search that found nothing, where --exit-code asks for one: the question was answered, so that
#: without it the status is 0, as in `git diff --exit-code`
NOTHING = 3
#: what is searched where the user names nothing: units that engines run, and the loads they are run at
_GRID: dict[str, list[Any]] = {
    "gpus": [1, 2, 4, 8, 16, 32, 64, 128], "tp": [1, 2, 4, 8], "pp": [1], "ep": [1, 2, 4, 8, 16, 32, 64, 128],
    "overlap": ["none", "two-batch"], "routing": ["eplb"],
    "concurrency": [1, 2, 4, 8, 16, 32, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 2048, 4096],
    "batch_per_gpu": [1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 160, 192, 256, 384, 512],
    "tokens_per_gpu": [512, 1024, 2048, 4096, 8192, 16384],
    "mtp_tokens": [0], "mtp_acceptance": [0.0], "redundant_experts": [0, 32],
}  # fmt: skip
#: what a model without experts leaves of it
_DENSE: dict[str, list[Any]] = {"ep": [1], "overlap": ["none"], "routing": ["balanced"], "redundant_experts": [0]}
_PLAN_KEYS = (
    "gpus", "tp", "pp", "ep", "moe_tp", "overlap", "routing", "precision", "kv_dtype", "concurrency", "batch_per_gpu",
    "tokens_per_gpu", "mtp_tokens", "mtp_acceptance", "redundant_experts", "comm_sms",
)  # fmt: skip
_LOAD = re.compile(r"^\s*([0-9][0-9_.]*(?:e[0-9]+)?)\s*([kMBT]?)\s*(req|tok)/(s|min|h|d|day)\s*$")
_SCALE = {"": 1.0, "k": 1e3, "M": 1e6, "B": 1e9, "T": 1e12}
_SPAN_S = {"s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0, "day": 86400.0}


def add_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("deployments (--phase deployment; --accelerator takes several, with commas)")
    group.add_argument(
        "--load", metavar="RATE",
        help="what must be carried: 20req/s, or 5Btok/day of output tokens; several, like 1,5,20req/s: how many cards "
        "each takes, and all else for the largest",
    )  # fmt: skip
    group.add_argument("--headroom", type=float, metavar="X", help="share of a unit's rate to plan for, below 1 (0.85)")
    group.add_argument("--confirm", type=int, metavar="N", help="how many of the best to simulate (3; 0: none)")
    group.add_argument(
        "--api-price", "--api", dest="api", metavar="PRICE",
        help="API to break even with: deepseek-r1, deepseek-v3, or input=0.5USD/Mtok,output=2USD/Mtok[,cached=…]",
    )  # fmt: skip
    launching.add_option(group)


def refuse_foreign(args: argparse.Namespace) -> None:
    """Options of deployments mean nothing in the other phases."""
    for name in ("load", "headroom", "confirm", "api", "launch"):
        if getattr(args, name) is not None:
            flag = "api-price" if name == "api" else name
            raise BadInput(f"--{flag} belongs to --phase deployment, not --phase {args.phase}")


def parse_load(text: str, osl: float) -> float:
    """Requests per second from ``20req/s``, ``2Mreq/day`` or ``168Btok/day`` (output tokens)."""
    match = _LOAD.match(text)
    if match is None:
        raise BadInput(f"--load {text[:40]!r}: write it like 20req/s, 2Mreq/day or 5Btok/day (output tokens)")
    try:
        value = float(match[1].replace("_", ""))
    except ValueError:
        raise BadInput(f"--load {text[:40]!r}: {match[1][:20]!r} is not a number") from None
    rate = value * _SCALE[match[2]] / _SPAN_S[match[4]]
    return rate if match[3] == "req" else rate / osl


def parse_loads(text: str, osl: float) -> list[float]:
    """Several loads, each with its unit or all with the last one's: ``1,5,20req/s``."""
    parts = [part.strip() for part in text.split(",")]
    unit = re.sub(r"^[0-9_.]+(e[0-9]+)?", "", parts[-1])
    return [parse_load(part if "/" in part else f"{part}{unit}", osl) for part in parts]


def run(args: argparse.Namespace) -> int:
    from costsim.explore.certain import certain
    from costsim.explore.confirm import Wanted, confirm
    from costsim.explore.deployments import search_deployments
    from costsim.report.deployments import deployment_document
    from costsim.spec.catalog import load_accelerator, load_model

    model = load_model(args.model)
    chips = [load_accelerator(name.strip()) for name in args.accelerator.split(",") if name.strip()]
    if not chips:
        raise BadInput("--accelerator: at least one is needed")
    if args.cluster is not None:
        raise BadInput("--cluster: a deployment search lays units out on each accelerator's standard node")
    if args.confirm is not None and not 0 <= args.confirm <= 20:
        raise BadInput(f"--confirm {args.confirm}: must be from 0 to 20")
    (demand, loads), prices = _demand(args), _prices(args, chips)
    grid, assumed = _grid(args, model)
    ask = partial(
        search_deployments, model, chips, demand, grid, ttft_s=args.ttft, tpot_s=args.tpot,
        headroom=0.85 if args.headroom is None else args.headroom, max_gpus=args.max_gpus, prices=prices, loads=loads,
        progress=progress,
    )  # fmt: skip
    found = ask()
    asked = 3 if args.confirm is None else args.confirm
    # Queues cost some of them more than the closed form says: a few more are at hand.
    best = sorted(found.frontier, key=lambda way: way.usd_per_h)[: 3 * asked]
    wanted = Wanted(model, demand, args.ttft or math.inf, args.tpot or math.inf, args.max_gpus)
    confirmed = confirm(best, wanted, asked, progress)
    held = next((one.deployed for one in confirmed if one.met), None)
    sure = certain(found, wanted, held, asked, lambda paces: ask(paces=paces), progress)
    api = None if args.api is None else _api(args.api, demand)
    document = deployment_document(found, confirmed, demand, model.id, api, assumed, args.top, loads, sure)
    chosen = held or found.cheapest
    if args.launch is not None and chosen is not None:
        document = launching.with_launches(document, _launches(args.launch, model, chosen))
    status = finish(args, document)
    return NOTHING if args.exit_code and chosen is None else status


def _launches(engine: str, model: ModelSpec, chosen: Deployed) -> list[Launch]:
    """Commands for the units of the deployment chosen."""
    from costsim.explore.confirm import budget_of, plan_of, running_of
    from costsim.predict.service import Service
    from costsim.serving.policy import Policy
    from costsim.spec.catalog import load_accelerator

    found = []
    for unit in chosen.units:
        policy = Policy(max_running=running_of(unit), token_budget=budget_of(unit))
        service = Service(policy=policy, mtp_tokens=float(unit.plan.get("mtp_tokens", 0)))
        chip, plan = load_accelerator(unit.accelerator), plan_of(unit.plan, unit.count)
        found += launching.launches(engine, model, chip, plan, service, unit.role)
    return found


def _demand(args: argparse.Namespace) -> tuple[Demand, list[float]]:
    """The largest load, and all of them where there are several."""
    from costsim.explore.units import Demand

    def one(name: str, default: float) -> float:
        values = getattr(args, name)
        if values is None:
            return default
        if len(values) > 1:
            raise BadInput(f"--{name}: a deployment carries one load; give one value")
        return float(values[0])

    if args.load is None:
        raise BadInput("--phase deployment needs --load, like 20req/s or 5Btok/day")
    isl, osl = one("isl", 2048), one("osl", 512)
    loads = parse_loads(args.load, osl)
    if len(loads) > 50:
        raise BadInput(f"--load: {len(loads)} loads; at most 50 are looked up")
    demands = [Demand(load, isl, osl, one("cached", 0)) for load in loads]
    return max(demands, key=lambda each: each.requests_per_s), loads if len(loads) > 1 else []


def _prices(args: argparse.Namespace, chips: list[Accelerator]) -> dict[str, Price]:
    from costsim.spec.price import parse_rate

    if args.price is None:
        return {}
    if "=" not in args.price:
        if len(chips) > 1:
            raise BadInput("--price: say whose it is, like h800-sxm=2USD/h,h20-96g=1USD/h")
        return {chips[0].id: parse_rate(args.price, "--price")}
    known, prices = {chip.id for chip in chips}, {}
    for part in args.price.split(","):
        name, _, rate = (word.strip() for word in part.partition("="))
        if name not in known or name in prices:
            raise BadInput(f"--price: {name[:40]!r} is not one of --accelerator {', '.join(sorted(known))}, once each")
        prices[name] = parse_rate(rate, "--price")
    return prices


def _grid(args: argparse.Namespace, model: ModelSpec) -> tuple[dict[str, Any], list[str]]:
    """The user's axes and the defaults for the rest."""
    asking.refuse_foreign(args, _grid_keys(), [k for k in _grid_keys() if k.name in known_keys()], "--phase deployment")
    grid: dict[str, Any] = {}
    assumed = []
    for name in _PLAN_KEYS:
        value = getattr(args, name, None)
        if isinstance(value, str):
            value = [word.strip() for word in value.split(",")]
        if value is not None:
            grid[name] = value
        elif name in _GRID:
            grid[name] = _DENSE.get(name, _GRID[name]) if model.moe is None else _GRID[name]
            assumed.append(f"--{name.replace('_', '-')} {','.join(str(v) for v in grid[name])}")
    return grid, assumed


def known_keys() -> tuple[str, ...]:
    """Keys that this phase takes: those of the plan and of the demand."""
    return (*_PLAN_KEYS, "isl", "osl", "cached")


def _grid_keys() -> list[asking.Key]:
    from costsim.cli import search

    return search._keys()


def _api(text: str, demand: Demand) -> dict[str, float]:
    """What the same requests cost at a list price, or at prices given by part."""
    from costsim.economics.break_even import api_price

    price = api_price(text)
    each = (demand.isl - demand.cached) * price.input + demand.cached * price.cached + demand.osl * price.output
    return {"usd_per_request": each / 1e6, "input": price.input, "input-cached": price.cached, "output": price.output}
