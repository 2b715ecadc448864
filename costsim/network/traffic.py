"""Traffic: which rank sends how many bytes to which, inside scale-up domains and between them.

Arrays are [from, to] in bytes. The diagonal of ``up`` holds what a rank copies to itself on another's behalf: it
crosses no link, but the same cores and memory move it, as :mod:`costsim.physics.comm` counts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from costsim.errors import DoesNotDivide, OutOfRange
from costsim.network.topology import Array
from costsim.physics.routing import units_touched
from costsim.spec.model import MoE

ALGORITHMS = ("ring", "tree", "nvls")


@dataclass(frozen=True, eq=False)
class Traffic:
    """``up`` and ``out``: [ranks, ranks] bytes; ``domain`` ranks share a scale-up fabric.

    ``rounds`` messages follow one another on the network: what a longer path costs that many times.
    """

    up: Array
    out: Array
    domain: int
    rounds: float = 1.0

    @property
    def ranks(self) -> int:
        return len(self.up)

    @property
    def matrix(self) -> Array:
        """Both fabrics together."""
        return self.up + self.out

    def busiest(self, up: bool) -> float:
        """Bytes of the rank that sends or receives most on the fabric: what sets the time."""
        part = self.up if up else self.out
        return float(max(part.sum(axis=0).max(), part.sum(axis=1).max()))

    def returned(self) -> Traffic:
        """The way back: every copy returns where it came from (combine after dispatch, of the same token size)."""
        return Traffic(self.up.T, self.out.T, self.domain, self.rounds)

    def scaled(self, factor: float) -> Traffic:
        return Traffic(self.up * factor, self.out * factor, self.domain, self.rounds)


def _together(ranks: int, domain: int) -> NDArray[np.bool_]:
    """Whether two ranks share a domain."""
    of = np.arange(ranks) // domain
    same: NDArray[np.bool_] = of[:, None] == of
    return same


def _aligned(ranks: int, domain: int) -> NDArray[np.bool_]:
    """Whether two ranks have the same place in different domains: what one rail or plane joins."""
    index = np.arange(ranks) % domain
    alike: NDArray[np.bool_] = (index[:, None] == index) & ~_together(ranks, domain)
    return alike


def check_ranks(ranks: int, domain: int) -> int:
    """The domain in use: all ranks where they fit one; BadInput where they do not fill several."""
    if ranks < 2:
        raise OutOfRange(f"a collective needs at least 2 ranks; {ranks} given")
    if ranks > domain and ranks % domain:
        raise DoesNotDivide(f"{ranks} ranks do not fill domains of {domain}; give a multiple of {domain}")
    return min(ranks, domain)


def all_to_all(ranks: int, domain: int, size: float) -> Traffic:
    """Each rank holds ``size`` bytes and sends size/ranks to every rank; see :func:`relayed`.

    A rank sends (n − 1)/n·S in its domain of n, and (R − n)/R·S of R ranks over its NIC.
    """
    return relayed(np.full((ranks, ranks), size / ranks), check_ranks(ranks, domain))


def relayed(matrix: Array, domain: int) -> Traffic:
    """Direct messages as NCCL sends them: over NVLink to the neighbour on the receiver's rail, then along that rail.

    The network sees only traffic between ranks of one index, so planes that meet nowhere but in nodes carry it as rails
    that share spines do [deepseek-isca-2025, sec. 5.1; nccl-tests].
    """
    ranks = len(matrix)
    domain = check_ranks(ranks, domain)
    nodes = ranks // domain
    sent = (matrix * (1.0 - np.eye(ranks))).reshape(nodes, domain, nodes, domain)
    here = np.arange(nodes)
    up, out = np.zeros((nodes, domain, nodes, domain)), np.zeros((nodes, domain, nodes, domain))
    inside = sent[here, :, here, :]
    # to a relay of the receiver's index; a sender of that index is its own relay
    remote = (sent.sum(axis=2) - inside) * (1.0 - np.eye(domain))
    up[here, :, here, :] = inside + remote
    rail = np.arange(domain)
    along = sent.sum(axis=1)  # [from node, to node, index]
    along[here, here] = 0.0
    out[:, rail, :, rail] = along.transpose(2, 0, 1)
    return Traffic(up.reshape(ranks, ranks), out.reshape(ranks, ranks), domain)


def point_to_point(ranks: int, domain: int, size: float, distance: int = 1) -> Traffic:
    """Rank i sends ``size`` bytes to rank i + ``distance``, the last to the first: pipeline stages side by side."""
    domain = check_ranks(ranks, domain)
    moved = np.zeros((ranks, ranks))
    moved[np.arange(ranks), (np.arange(ranks) + distance) % ranks] = size
    same = _together(ranks, domain)
    return Traffic(moved * same, moved * ~same, domain)


def all_reduce(ranks: int, domain: int, size: float, algorithm: str = "ring") -> Traffic:
    """Hierarchical: reduce-scatter in the domain, all-reduce of each rank's share over its rail, all-gather.

    ring: 2(n−1)/n·S in the domain and 2(N−1)/N·S/n between N domains of n. tree: the same inside, a double binary
    tree between, up to 2·S/n [two-tree-reduction]. nvls: the switch adds, (n + 1)/n·S inside [nccl-issues].
    """
    if algorithm not in ALGORITHMS:
        raise OutOfRange(f"all-reduce {algorithm[:40]!r} is not one of {', '.join(ALGORITHMS)}")
    domain = check_ranks(ranks, domain)
    inside = 2.0 * (domain - 1) / domain
    if algorithm == "nvls":
        inside = min(inside, (domain + 1) / domain)
    nodes = ranks // domain
    between = double_tree(nodes) if algorithm == "tree" else _ring(nodes) * 2.0 * (nodes - 1) / nodes
    rounds = 2.0 * np.log2(nodes) if algorithm == "tree" else 2.0 * (nodes - 1)
    return Traffic(_in_domains(ranks, domain, inside * size), _on_rails(between * (size / domain), domain), domain,
                   max(rounds, 1.0))  # fmt: skip


def gather(ranks: int, domain: int, size: float) -> Traffic:
    """All-gather or reduce-scatter of ``size`` bytes in all: half of a ring all-reduce."""
    both = all_reduce(ranks, domain, size)
    return Traffic(both.up / 2.0, both.out / 2.0, both.domain, max(both.rounds / 2.0, 1.0))


def _in_domains(ranks: int, domain: int, sent: float) -> Array:
    """Every rank sends ``sent`` bytes, equally to the others of its domain."""
    if domain == 1:
        return np.zeros((ranks, ranks))
    same = _together(ranks, domain) & ~np.eye(ranks, dtype=bool)
    inside: Array = same * np.float64(sent / (domain - 1))
    return inside


def _on_rails(nodes: Array, domain: int) -> Array:
    """Traffic between domains as traffic between ranks of the same index."""
    wide: Array = np.kron(nodes, np.eye(domain)).astype(np.float64)
    return wide


def _ring(nodes: int) -> Array:
    ring = np.zeros((nodes, nodes))
    if nodes > 1:
        ring[np.arange(nodes), (np.arange(nodes) + 1) % nodes] = 1.0
    return ring


def double_tree(nodes: int) -> Array:
    """[from, to] shares of the data that two binary trees move, half each way up and down.

    Tree one: node i's parent clears its lowest set bit's neighbour; tree two is tree one with nodes moved on by one,
    so inner nodes of one are mostly leaves of the other [two-tree-reduction].
    """
    moved = np.zeros((nodes, nodes))
    for shift in (0, 1):
        for i in range(1, nodes):
            parent = _parent(i, nodes)
            a, b = (i + shift) % nodes, (parent + shift) % nodes
            moved[a, b] += 0.5
            moved[b, a] += 0.5
    return moved


def _parent(i: int, nodes: int) -> int:
    """Parent in the in-order binary tree: 0 at the root, leaves odd; a parent beyond the last node passes upward."""
    low = i & -i
    parent = (i & ~low) | (low << 1)
    return parent if parent < nodes else i & ~low


def expert_traffic(moe: MoE, ranks: int, domain: int, tokens: float, token_bytes: float, low_latency: bool) -> Traffic:
    """Dispatch of ``tokens`` of each rank to experts spread evenly, all equally popular.

    Normal (two hops): a token crosses the network once for each remote node it touches, to the rank of its own index
    there, which hands it on to every rank touched (a copy to itself included). Low latency: every expert's copy goes
    straight to its rank. Row sums equal :func:`costsim.physics.comm.expert_wires`.
    [deepep; deepseek-v3-report, sec. 3.2.2]
    """
    domain = check_ranks(ranks, domain)
    nodes = ranks // domain
    same, one = _together(ranks, domain), np.ones((ranks, ranks))
    if low_latency:
        each = one * (tokens * moe.top_k * token_bytes / ranks)
        return Traffic(each * same, each * ~same, domain)
    by_node, by_rank = float(units_touched(moe, nodes)), float(units_touched(moe, ranks))
    out: Array = _aligned(ranks, domain) * np.float64(tokens * token_bytes * by_node / nodes)
    up: Array = same * np.float64(tokens * token_bytes * by_rank / ranks * nodes)
    up = up - np.eye(ranks) * (tokens * token_bytes * by_rank / ranks)  # what a rank keeps of its own tokens
    return Traffic(up, out, domain)


def token_traffic(
    targets: NDArray[np.integer], sources: NDArray[np.integer], ranks: int, domain: int, token_bytes: float,
    low_latency: bool = False,
) -> Traffic:  # fmt: skip
    """Dispatch of single tokens: ``targets`` [tokens, k] are ranks of their experts, ``sources`` [tokens] their own.

    The same two hops as :func:`expert_traffic`, for real routing and placements.
    """
    domain = check_ranks(ranks, domain)
    where, own = np.asarray(targets), np.asarray(sources)
    if where.ndim != 2 or own.shape != where.shape[:1]:
        raise OutOfRange(f"token traffic: targets {where.shape} must be [tokens, k] and sources {own.shape} [tokens]")
    if where.size and not (min(where.min(), own.min()) >= 0 and max(where.max(), own.max()) < ranks):
        raise OutOfRange(f"token traffic: ranks must lie in 0 … {ranks - 1}")
    up, out = np.zeros((ranks, ranks)), np.zeros((ranks, ranks))
    if low_latency:
        np.add.at(out, (np.repeat(own, where.shape[1]), where.ravel()), token_bytes)
        same = _together(ranks, domain)
        return Traffic(out * same, out * ~same, domain)
    touched = np.zeros((len(own), ranks), dtype=bool)
    touched[np.arange(len(own))[:, None], where] = True
    index, home = own % domain, own // domain
    for node in range(ranks // domain):
        here = touched[:, node * domain : (node + 1) * domain]
        relay = node * domain + index
        visits = here.any(axis=1) & (home != node)
        np.add.at(out, (own[visits], relay[visits]), token_bytes)
        token, target = np.nonzero(here)
        np.add.at(up, (relay[token], node * domain + target), token_bytes)
    # A token kept by the rank that made it moves nowhere.
    kept = touched[np.arange(len(own)), own]
    np.add.at(up, (own[kept], own[kept]), -token_bytes)
    return Traffic(up, out, domain)
