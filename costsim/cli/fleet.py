"""`costsim fleet`: a day of load on pools of units that scale with it; nodes, cost and income beside the published."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from costsim.cli.output import finish, progress
from costsim.cli.parser import add_quantity
from costsim.errors import BadOption, OutOfRange

if TYPE_CHECKING:
    from costsim.predict.fleet_what_if import WhatIf
    from costsim.spec.fleet import Fleet, FleetPolicy

NAME = "fleet"
HELP = "a day of load on prefill and decode pools with autoscaling: nodes by time, cost, income, margin"
EXAMPLE = """
costsim fleet --day deepseek-2025-02-27 --out day.html
costsim fleet --requests --hour-s 15s
costsim fleet --cache 200TB
costsim fleet --night-price 0.5 --night-shift 0.1 --lease 1USD/h
costsim fleet --mix h800-sxm=0.5,h20-96g=0.3,ascend-910c=0.2 --lease 1.2USD/h --lease-hours 4
"""
DEFAULT = "deepseek-2025-02-27"


def configure(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("day")
    group.add_argument("--day", default=DEFAULT, metavar="ID", help=f"a shipped day or your own .toml ({DEFAULT})")
    group.add_argument("--mix", metavar="ID=SHARE,…", help="accelerators and their shares of the peak's capacity")
    group.add_argument("--requests", action="store_true", help="also play the day request by request (a sample)")
    add_quantity(group, "--hour-s", "time", "how long each hour is played with --requests (30s)")
    group.add_argument("--seed", type=int, default=0, metavar="N", help="of the sampled requests (0)")
    policy = parser.add_argument_group("autoscaling")
    for name, words in (
        ("target", "load of a unit over its capacity that is aimed at"),
        ("hysteresis", "share of capacity that must stay free when a unit goes"),
    ):
        policy.add_argument(f"--{name}", type=float, metavar="X", help=words)
    for name, words in (
        ("interval", "how often the scaler acts, like 15min"), ("lead", "from the decision to a unit that serves"),
        ("hold", "how long a unit must have been idle before it goes"),
    ):  # fmt: skip
        add_quantity(policy, f"--{name}", "time", words)
    policy.add_argument("--reactive", action="store_true", help="units come after the load, not ahead of it")
    other = parser.add_argument_group("what if")
    add_quantity(other, "--cache", "bytes", "prefix cache of the whole fleet, like 200TB")
    other.add_argument("--night-price", type=float, metavar="X", help="share of the list price at night, like 0.5 (1)")
    other.add_argument("--night-shift", type=float, metavar="X", help="share of the other load that moves there (0)")
    other.add_argument("--night-hours", metavar="A-B", help="the night by the clock (0.5-8.5: the operator's discount)")
    lease = parser.add_argument_group("idle nodes")
    lease.add_argument("--lease", metavar="PRICE", help="what an idle card earns: an id or a quantity like 1USD/h")
    lease.add_argument("--lease-hours", type=float, default=1.0, metavar="X", help="shortest stretch leased out (1)")


def run(args: argparse.Namespace) -> int:
    from costsim.predict.fleet import predict_fleet
    from costsim.report.fleets import fleet_document
    from costsim.spec.fleet import load_fleet
    from costsim.spec.price import in_usd, parse_rate

    fleet = load_fleet(args.day)
    if not 0 < args.lease_hours <= 24:
        raise OutOfRange(f"--lease-hours {args.lease_hours:g}: must be above 0 and at most 24")
    if args.seed < 0:
        raise OutOfRange(f"--seed {args.seed}: must be at least 0")
    if args.hour_s is not None and not args.requests:
        raise BadOption("--hour-s says how the day is played; give --requests with it")
    lease = in_usd(parse_rate(args.lease, "--lease")) if args.lease is not None else 0.0
    day = predict_fleet(
        fleet, mix=_mix(args.mix), policy=_policy(args, fleet), what_if=_what_if(args), lease_usd_per_gpu_h=lease,
        lease_least_h=args.lease_hours,
    )  # fmt: skip
    played = None
    if args.requests:
        from costsim.predict.fleet_requests import play

        played = play(day, args.hour_s or 30.0, args.seed, lambda n, all_: progress(f"{n:,} of {all_:,} requests"))
    return finish(args, fleet_document(day, played))


def _what_if(args: argparse.Namespace) -> WhatIf:
    from costsim.predict.fleet_what_if import NIGHT, WhatIf

    night = NIGHT
    if args.night_hours is not None:
        if args.night_price is None and args.night_shift is None:
            raise BadOption("--night-hours says when; give --night-price or --night-shift with it")
        low, _, high = args.night_hours.partition("-")
        try:
            night = (float(low), float(high))
        except ValueError:
            raise BadOption(f"--night-hours {args.night_hours[:40]!r}: two hours are needed, like 0.5-8.5") from None
    price = 1.0 if args.night_price is None else args.night_price
    return WhatIf(args.cache, price, args.night_shift or 0.0, night)


def _mix(text: str | None) -> dict[str, float] | None:
    """``h800-sxm=0.5,h20-96g=0.5`` as shares."""
    if text is None:
        return None
    shares: dict[str, float] = {}
    for part in text.split(","):
        name, sign, share = part.strip().partition("=")
        try:
            value = float(share)
        except ValueError:
            sign = ""
        if not sign or name in shares:
            raise BadOption(f"--mix: {part.strip()[:40]!r} is not ID=SHARE, once each; write h800-sxm=0.6,h20-96g=0.4")
        shares[name] = value
    return shares


def _policy(args: argparse.Namespace, fleet: Fleet) -> FleetPolicy:
    """The day's policy with what the options change."""
    from costsim.spec.base import build
    from costsim.spec.fleet import FleetPolicy

    given: dict[str, Any] = {
        name: getattr(args, name)
        for name in ("target", "hysteresis", "interval", "lead", "hold")
        if getattr(args, name) is not None
    }
    if args.reactive:
        given["forecast"] = False
    return build(FleetPolicy, fleet.policy.model_dump() | given, "policy")
