"""Routers: which replica takes a request. Each is a function of the replicas as they are at its arrival."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from costsim.errors import OutOfRange
from costsim.serving.cache import nearest
from costsim.serving.policy import ROUTERS
from costsim.serving.replica import Replica

Router = Callable[[Sequence[Replica], int], int]


def router(name: str) -> Router:
    """The router of this name."""
    makers: dict[str, Callable[[], Router]] = {
        "round-robin": round_robin, "least-loaded": lambda: least_loaded, "cache-aware": lambda: cache_aware,
    }  # fmt: skip
    if name not in makers:
        raise OutOfRange(f"router: {name[:40]!r} is not one of {', '.join(ROUTERS)}")
    return makers[name]()


def round_robin() -> Router:
    """Each replica in turn."""
    turn = -1

    def choose(replicas: Sequence[Replica], _index: int) -> int:
        nonlocal turn
        turn = (turn + 1) % len(replicas)
        return turn

    return choose


def least_loaded(replicas: Sequence[Replica], _index: int) -> int:
    """The replica with the fewest requests, the first of equals."""
    return min(range(len(replicas)), key=lambda i: replicas[i].requests)


def cache_aware(replicas: Sequence[Replica], index: int) -> int:
    """The longest known prefix, among replicas that are not overloaded; the least loaded where none is known."""
    blocks = replicas[0].ledger.blocks(index)
    return nearest([replica.requests for replica in replicas], [replica.prefix(blocks) for replica in replicas])
