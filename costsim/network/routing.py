"""Where bytes go: loads of directed links under a traffic matrix, for three ways to route.

``ecmp`` splits at every node over all next hops of shortest paths, by bandwidth (adaptive routing at its best);
``static`` sends each flow along one shortest path, chosen by a hash (what colliding flows cost); ``valiant`` sends
every flow by a random intermediate endpoint, which makes any matrix look uniform at twice the hops [valiant].
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from costsim.errors import Contradiction, NothingFound, OutOfRange
from costsim.network import ROUTINGS
from costsim.network.topology import Array, Node, Topology, Wires, distances


@dataclass(frozen=True, eq=False)
class Loads:
    """Bytes on every directed link of ``wires``, and what they cost in seconds at line rate."""

    wires: Wires
    moved: Array

    @property
    def seconds(self) -> Array:
        """Of each link."""
        return self.moved / self.wires.bandwidth

    def slowest_s(self, up: bool) -> float:
        """Seconds of the busiest scale-up (or scale-out) link; 0 where there is none."""
        chosen = self.seconds[self.wires.up == up]
        return float(chosen.max()) if chosen.size else 0.0

    def busiest(self, count: int = 10) -> list[tuple[Node, Node, float, float]]:
        """(from, to, bytes, seconds) of the most loaded links."""
        order = np.argsort(-self.seconds, kind="stable")[:count]
        nodes = self.wires.nodes
        return [(nodes[self.wires.tail[i]], nodes[self.wires.head[i]], float(self.moved[i]), float(self.seconds[i]))
                for i in order]  # fmt: skip


def link_loads(topology: Topology, matrix: Array, routing: str = "ecmp", seed: int = 0) -> Loads:
    """Bytes on every link when endpoint i sends ``matrix[i, j]`` bytes to endpoint j; the diagonal stays at home.

    Raises BadInput for a matrix of another size, for entries that are negative or not finite, for an unknown routing
    and for endpoints that no path joins.
    """
    matrix = checked(topology, matrix)
    if routing == "valiant":
        spread = np.full(len(matrix), 1.0 / len(matrix))
        out = matrix.sum(axis=1)[:, None] * spread
        back = spread[:, None] * matrix.sum(axis=0)
        np.fill_diagonal(out, 0.0)
        np.fill_diagonal(back, 0.0)
        moved = link_loads(topology, out, "ecmp").moved + link_loads(topology, back, "ecmp").moved
        return Loads(topology.wires, moved)
    step = {"ecmp": _split, "static": _hashed}.get(routing)
    if step is None:
        raise OutOfRange(f"routing {routing[:40]!r} is not one of {', '.join(ROUTINGS)}")
    wires = topology.cables if routing == "static" else topology.wires
    moved = np.zeros(len(wires.tail))
    ranks = np.array([wires.index[node] for node in topology.endpoints], dtype=np.int64)
    for part, mine in _by_fabric(topology, wires, matrix):
        arcs, some = (None, wires) if mine is None else (mine, wires.only(mine))
        here = np.zeros(len(some.tail))
        for target in np.flatnonzero(part.sum(axis=0)):
            away = distances(some, int(ranks[target]))
            sources = np.flatnonzero(part[:, target])
            if (away[ranks[sources]] < 0).any():
                raise NothingFound(f"{topology.name}: no path joins some endpoints that the traffic joins")
            step(some, away, ranks[sources], part[sources, target], here, seed * 7919 + int(target))
        moved[slice(None) if arcs is None else arcs] += here
    return Loads(wires, moved)


def _by_fabric(topology: Topology, wires: Wires, matrix: Array) -> list[tuple[Array, NDArray[np.int64] | None]]:
    """(traffic, arcs it may take): what stays in a domain keeps to scale-up links, the rest may take any."""
    up = np.flatnonzero(wires.up)
    if topology.domain == 1 or not up.size or len(up) == len(wires.up):
        return [(matrix, None)]
    of = np.arange(len(matrix)) // topology.domain
    same = of[:, None] == of
    return [(matrix * same, up), (matrix * ~same, None)]


def checked(topology: Topology, matrix: Array) -> Array:
    """The matrix as floats without its diagonal, or BadInput."""
    size = len(topology.endpoints)
    given = np.asarray(matrix, dtype=float)
    if given.shape != (size, size):
        raise Contradiction(f"traffic matrix of shape {given.shape}: {topology.name} has {size} endpoints")
    if not np.isfinite(given).all() or (given < 0).any():
        raise OutOfRange("traffic matrix: bytes must be finite and not negative")
    return given * (1.0 - np.eye(size))


def _shortest(wires: Wires, away: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Arcs that lie on a shortest path to the node that ``away`` counts from."""
    chosen: NDArray[np.bool_] = (away[wires.tail] > 0) & (away[wires.head] == away[wires.tail] - 1)
    return chosen


def _split(
    wires: Wires, away: NDArray[np.int64], sources: NDArray[np.int64], sent: Array, moved: Array, seed: int
) -> None:
    """Add one target's flows, farthest nodes first, each node's flow in the ratio of its next hops' bandwidths."""
    del seed  # nothing is left to chance
    onward = np.flatnonzero(_shortest(wires, away))
    tail, size = wires.tail[onward], len(away)
    share = wires.bandwidth[onward] / np.bincount(tail, wires.bandwidth[onward], size)[tail]
    flow = np.bincount(sources, sent, size)
    depth = away[tail]
    for level in range(int(away[sources].max(initial=0)), 0, -1):
        chosen = depth == level
        part = flow[tail[chosen]] * share[chosen]
        moved[onward[chosen]] += part
        flow += np.bincount(wires.head[onward[chosen]], part, size)


def _hashed(
    wires: Wires, away: NDArray[np.int64], sources: NDArray[np.int64], sent: Array, moved: Array, seed: int
) -> None:
    """Add one target's flows, each along a single path: at every node the flow's hash picks one next hop."""
    onward = np.flatnonzero(_shortest(wires, away))  # sorted by tail, as arcs are
    tails = wires.tail[onward]
    here = sources.copy()
    for hop in range(int(away[sources].max(initial=0))):
        going = away[here] > 0
        low = np.searchsorted(tails, here[going])
        ways = np.searchsorted(tails, here[going], side="right") - low
        mixed = _mix(sources[going], seed * 31 + hop)
        arcs = onward[low + mixed % ways]
        np.add.at(moved, arcs, sent[going])
        here[going] = wires.head[arcs]


def _mix(values: NDArray[np.int64], salt: int) -> NDArray[np.int64]:
    """A well-stirred hash of integers (the finaliser of splitmix64), the same on every machine."""
    x = values.astype(np.uint64) + np.uint64((salt * 0x9E3779B97F4A7C15) % 2**64)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        x = (x ^ (x >> np.uint64(shift))) * np.uint64(factor)
    return ((x ^ (x >> np.uint64(31))) >> np.uint64(1)).astype(np.int64)


def uniform_matrix(size: int, sent: float) -> Array:
    """Every endpoint sends ``sent`` bytes in all, equally to every other."""
    return (1.0 - np.eye(size)) * (sent / max(size - 1, 1))


def contention(topology: Topology, matrix: Array, routing: str = "ecmp", seed: int = 0) -> float:
    """Seconds of the busiest link over those of the busiest endpoint, were its own links shared evenly: at least 1.

    Of the scale-out links where there are any, else of all.
    """
    loads = link_loads(topology, matrix, routing, seed)
    wires = loads.wires
    mine = ~wires.up if not wires.up.all() else wires.up
    ranks = np.array([wires.index[node] for node in topology.endpoints], dtype=np.int64)
    alone = 0.0
    for ends in (wires.tail, wires.head):
        moved = np.bincount(ends[mine], loads.moved[mine], len(wires.nodes))[ranks]
        rate = np.bincount(ends[mine], wires.bandwidth[mine], len(wires.nodes))[ranks]
        alone = max(alone, float((moved[rate > 0] / rate[rate > 0]).max(initial=0.0)))
    slowest = float(loads.seconds[mine].max(initial=0.0))
    return slowest / alone if alone > 0 else 1.0
