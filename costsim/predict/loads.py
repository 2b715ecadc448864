"""Loads by name: the recorded traces that ship with costsim, or a user's own file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from costsim.errors import BadOption, BadQuantity, NothingFound, OutOfRange, UnknownName
from costsim.serving.clients import read_clients
from costsim.serving.request import Requests
from costsim.serving.traces import read_trace
from costsim.spec.catalog import ROOT

TRACES = ROOT / "hwprofiles" / "traces"
_SUFFIXES = (".csv.gz", ".jsonl.gz", ".json.gz")
#: the service that is described by its clients instead of by requests
CLIENTS = "deepseek-r1-clients"


def trace_names() -> list[str]:
    """Names of the shipped traces."""
    return sorted(
        path.name.removesuffix(end) for path in TRACES.iterdir() for end in _SUFFIXES if path.name.endswith(end)
    )


#: what makes the requests of a simulation, with its defaults; None where another key says it
ASKED: Mapping[str, Any] = {
    "trace": None, "start_s": 0.0, "end_s": None, "rate": None, "concurrency": None, "requests": None, "isl": 1024,
    "osl": 1024, "cv": 1.0, "speed": 1.0, "seed": 0, "priorities": None,
}  # fmt: skip


def load_of(asked: Mapping[str, Any]) -> tuple[Requests, int | None]:
    """The requests of a trace, of open arrivals at a ``rate`` or of a closed loop, and the loop's concurrency.

    Keys are those of ASKED. Raises BadInput for an unknown key or a load that says not, or twice, how it arrives.
    """
    for key, value in asked.items():
        if key not in ASKED:
            raise OutOfRange(f"load: {key[:40]!r} is not one of {', '.join(ASKED)}")
        if key in ("trace", "priorities") or value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise BadQuantity(f"load: {key}: a number is needed")
    a = {**ASKED, **asked}
    requests, concurrency = _requests(a)
    if a["priorities"] is not None:
        try:
            shares = [float(share) for share in str(a["priorities"])[:200].split(",")]
        except ValueError:
            raise BadQuantity("load: priorities: shares with commas are needed, like 0.1,0.9") from None
        requests = requests.drawn(shares, int(a["seed"]))
    return requests, concurrency


def _requests(a: Mapping[str, Any]) -> tuple[Requests, int | None]:
    from costsim.serving.arrivals import SPREAD_RATIO, closed_loop, longest, open_loop

    concurrency, count, seed = a["concurrency"], a["requests"], int(a["seed"])
    if a["trace"] is not None:
        requests = load_trace(str(a["trace"]), a["start_s"], a["end_s"], seed)
        return (requests if count is None else requests.first(count)).faster(a["speed"]), concurrency
    if (concurrency is None) == (a["rate"] is None):
        raise BadOption("load: give a trace, a rate or a concurrency")
    isl, osl = longest(a["isl"]), longest(a["osl"])
    if concurrency is not None:
        return closed_loop(count or 10 * concurrency, isl, osl, SPREAD_RATIO, seed), concurrency
    return open_loop(count or 1000, a["rate"], isl, osl, SPREAD_RATIO, a["cv"], seed), None


def load_trace(name: str, start_s: float = 0.0, end_s: float | None = None, seed: int = 0) -> Requests:
    """The requests of a shipped trace or of a file, between two times of it.

    A service described by clients is drawn anew for ``seed``; the first hour of the day where no end is given.
    Raises UnknownName for neither, BadInput for a span without requests.
    """
    path = Path(name)
    if not path.is_file():
        known = trace_names()
        if name not in known:
            raise UnknownName("trace", name, known)
        path = next(TRACES / f"{name}{end}" for end in _SUFFIXES if (TRACES / f"{name}{end}").is_file())
    if path.name == f"{CLIENTS}.json.gz":
        return read_clients(path).draw(start_s, 3600.0 + start_s if end_s is None else end_s, seed=seed)
    requests = read_trace(path)
    if start_s == 0.0 and end_s is None:
        return requests
    chosen = (requests.arrival_s >= start_s) & (requests.arrival_s < (float("inf") if end_s is None else end_s))
    if not chosen.any():
        raise NothingFound(
            f"{path.name}: no request between {start_s:g} and {end_s} s; it lasts {requests.arrival_s[-1]:g} s"
        )
    return requests.where(chosen)
