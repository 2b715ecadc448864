"""The load of a simulation, from the options of `costsim simulate`. Not a verb."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from costsim import units
from costsim.cli.parser import blamed
from costsim.errors import BadInput

if TYPE_CHECKING:
    from costsim.predict.service import Service
    from costsim.serving.request import Requests


def one(args: argparse.Namespace, name: str, default: Any) -> Any:
    """The value of an option that a simulation takes once."""
    values = getattr(args, name)
    if values is None:
        return default
    if len(values) > 1:
        flag = "--" + name.replace("_", "-")
        raise BadInput(f"{flag}: a simulation takes one value, not {len(values)}; run it once for each")
    return values[0]


def add_warmup(group: argparse._ActionsContainer) -> None:
    """``--warmup auto|none|TIME``."""

    def read(text: str) -> float | str:
        return text if text in ("auto", "none") else units.parse(text, "time", "--warmup")

    group.add_argument(
        "--warmup", type=blamed("--warmup", read), metavar="TIME",
        help="what is left out at the start, like 60s: with it, only requests answered while others still come count; "
        "auto: the time of nine in ten answers; none: nothing at either end (auto with --rate, else none)",
    )  # fmt: skip


def warmup_of(args: argparse.Namespace) -> float | str | None:
    """What ``predict_simulation`` takes: open synthetic arrivals are about the steady state; a trace is what it is, and
    a closed loop is counted as benchmark clients count theirs."""
    asked: float | str | None = args.warmup
    if asked is None:
        return None if args.rate is None else "auto"
    return None if asked == "none" else asked


def load_of(args: argparse.Namespace) -> tuple[Requests, int | None, list[str]]:
    """The requests, the concurrency of a closed loop, and the words about what was filled in; ``args.asked_load``
    keeps how they were made."""
    from costsim.predict.loads import load_of as made

    kinds = [name for name in ("trace", "rate", "concurrency") if getattr(args, name) is not None]
    if len(kinds) != 1 and set(kinds) != {"trace", "concurrency"}:
        raise BadInput("give one load: --trace NAME, --rate N (open arrivals) or --concurrency N (closed loop)")
    asked: dict[str, Any] = {name: one(args, name, None) for name in ("concurrency", "requests")}
    asked |= {"seed": one(args, "seed", 0), "priorities": _priorities(args)}
    args.asked_load = asked
    if args.trace is None:
        if args.hours or args.speed:
            raise BadInput("--hours and --speed play a --trace; this load is synthetic")
        asked |= {"isl": one(args, "isl", 1024), "osl": one(args, "osl", 1024)}
        if args.rate is not None:
            asked |= {"rate": one(args, "rate", None), "cv": one(args, "cv", 1.0)}
        elif args.cv:
            raise BadInput("--cv is about open arrivals (--rate); this is a closed loop")
        return *made(asked), ["lengths within 10 % of --isl and --osl"]
    for name in ("isl", "osl", "cv"):
        if getattr(args, name) is not None:
            raise BadInput(f"--{name} describes a synthetic load; the trace has its own")
    start_s, end_s = _hours(args.hours)
    asked |= {"trace": args.trace, "start_s": start_s, "end_s": end_s, "speed": one(args, "speed", 1.0)}
    return *made(asked), []


def _priorities(args: argparse.Namespace) -> str | None:
    """Checked here, and kept as the words that they are."""
    return None if args.priorities is None else ",".join(f"{s:g}" for s in shares_of("--priorities", args.priorities))


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


def shares_of(flag: str, text: str) -> list[float]:
    """Shares from 0 to 1, with commas."""
    try:
        shares = [float(word) for word in text.split(",")]
    except ValueError:
        raise BadInput(f"{flag} {text[:60]!r}: numbers with commas are needed, like 0.8,0.2") from None
    if not 1 <= len(shares) <= 8 or not all(0 <= share <= 1 for share in shares):
        raise BadInput(f"{flag} {text[:60]!r}: one to eight shares from 0 to 1 are needed, like 0.8,0.2")
    return shares


def check_cache(service: Service, requests: Requests) -> None:
    """A cache without anything to find, and a router that follows a cache that is not there, are refused."""
    if service.prefix_cache and requests.blocks is None:
        raise BadInput("--prefix-cache: this load says nothing of its prompts' beginnings; a Mooncake trace does")
    if service.router == "cache-aware" and not service.prefix_cache:
        raise BadInput("--router cache-aware follows cached prefixes; give --prefix-cache with it")
