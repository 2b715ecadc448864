"""The simulation: requests through a router into replicas, optionally from a prefill pool on to a decode pool."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from heapq import heappop, heappush

from costsim.errors import BadInput
from costsim.serving.cache import PrefixCache
from costsim.serving.engine import Engine
from costsim.serving.history import Recorder
from costsim.serving.ledger import Ledger
from costsim.serving.outcome import Outcome
from costsim.serving.replica import Replica
from costsim.serving.request import Requests
from costsim.serving.router import router as router_named


@dataclass(frozen=True)
class Pool:
    """``replicas`` equal engines behind a router; ``host_blocks`` of prefix cache beside device memory."""

    engine: Engine
    replicas: int = 1
    router: str = "least-loaded"
    prefix_cache: bool = False
    host_blocks: int = 0


def at_once(_tokens: int) -> float:
    """A transfer that takes no time."""
    return 0.0


@dataclass(frozen=True)
class Deployment:
    """One pool that does both, or a prefill pool and a decode pool with ``transfer_s(prompt tokens)`` between them.

    ``frontend_s(prompt tokens)``: what the one process in front (HTTP, templates, tokens) does for each request, one
    after the other. It spreads out requests that are sent together, and so which of them share an iteration.
    """

    pools: tuple[Pool, ...]
    transfer_s: Callable[[int], float] = at_once
    frontend_s: Callable[[int], float] = at_once

    def __post_init__(self) -> None:
        roles = tuple(pool.engine.role for pool in self.pools)
        if roles not in (("both",), ("prefill", "decode")):
            raise BadInput("a deployment is one pool of role both, or a prefill and a decode pool")
        if any(pool.replicas < 1 for pool in self.pools):
            raise BadInput("a pool needs at least one replica")


def simulate(
    deployment: Deployment,
    requests: Requests,
    concurrency: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    record: bool = False,
) -> Outcome:
    """Run every request to its end and return what happened.

    ``concurrency``: closed loop with at most so many requests in flight (arrival times are then set by completions);
    None: requests arrive at their own times. Deterministic: equal input gives equal output.
    ``progress(done, all)`` is called every thousand requests; ``record`` keeps every replica's steps.
    Raises BadInput for a concurrency below one.
    """
    if concurrency is not None and concurrency < 1:
        raise BadInput(f"concurrency {concurrency}: must be at least 1")
    return _Run(deployment, requests, concurrency, progress, record).run()


class _Run:
    """One run: a heap of what happens next, in order of time and then of a running number."""

    def __init__(
        self, deployment: Deployment, requests: Requests, concurrency: int | None,
        progress: Callable[[int, int], None] | None, record: bool,
    ) -> None:  # fmt: skip
        self.deployment, self.progress = deployment, progress
        self.ledger = Ledger(requests)
        self.pools = [self._replicas(pool) for pool in deployment.pools]
        for replica in (replica for pool in self.pools for replica in pool):
            replica.log = [] if record else None
        self.routers = [router_named(pool.router) for pool in deployment.pools]
        self.closed = concurrency is not None
        self.total = len(requests)
        #: (time, number, pool, replica or −1 − request, version)
        self.events: list[tuple[float, int, int, int, int]] = []
        self.versions = [[0] * len(replicas) for replicas in self.pools]
        self.number = self.sent = self.done = 0
        self.recorder = Recorder(self.pools, self.ledger.gaps)
        self.frontend_free_s = 0.0
        first = self.total if concurrency is None else min(concurrency, self.total)
        if self.closed:
            for _ in range(first):
                self._send(0.0)

    def _replicas(self, pool: Pool) -> list[Replica]:
        block, ranks = self.ledger.requests.block_tokens, pool.engine.ranks
        aware = pool.router == "cache-aware"

        def caches() -> list[PrefixCache]:
            """Each rank knows its own prefixes, and has its part of the host memory."""
            return [PrefixCache(block, pool.host_blocks // ranks) for _ in range(ranks)] if pool.prefix_cache else []

        return [Replica(pool.engine, self.ledger, caches(), aware) for _ in range(pool.replicas)]

    def _push(self, time_s: float, pool: int, what: int, version: int) -> None:
        self.number += 1
        heappush(self.events, (time_s, self.number, pool, what, version))

    def _send(self, now_s: float) -> None:
        """Closed loop: the next request leaves its client."""
        if self.sent < self.total:
            self.ledger.arrival_s[self.sent] = now_s
            self._enter(self.sent, now_s)
            self.sent += 1

    def _enter(self, index: int, now_s: float) -> None:
        """The request reaches the router when the frontend is done with it."""
        self.frontend_free_s = max(self.frontend_free_s, now_s) + self.deployment.frontend_s(self.ledger.isl[index])
        self._push(self.frontend_free_s, 0, -1 - index, 0)

    def run(self) -> Outcome:
        """Events in order of time; open arrivals are merged in as they come."""
        arrivals, now_s = self.ledger.arrival_s, 0.0
        while True:
            due = arrivals[self.sent] if not self.closed and self.sent < self.total else math.inf
            if not self.events and due == math.inf:
                break
            if due <= (self.events[0][0] if self.events else math.inf):
                now_s = due
                self._enter(self.sent, now_s)
                self.sent += 1
                continue
            now_s, _, pool, what, version = heappop(self.events)
            if what < 0:
                self._arrive(pool, -1 - what, now_s)
            elif version == self.versions[pool][what]:
                self._complete(pool, what, now_s)
        return Outcome.of(self.ledger, [r for pool in self.pools for r in pool], self.recorder.history(now_s), now_s)

    def _arrive(self, pool: int, index: int, now_s: float) -> None:
        replicas = self.pools[pool]
        chosen = self.routers[pool](replicas, index) if len(replicas) > 1 else 0
        replica = replicas[chosen]
        cut = replica.arrive(index, now_s)
        if self.ledger.aborted[index]:
            self._ended(now_s)
        elif replica.step is None:
            self._start(pool, chosen, now_s)
        elif cut:
            self.versions[pool][chosen] += 1
            self._push(replica.step.end_s, pool, chosen, self.versions[pool][chosen])

    def _start(self, pool: int, chosen: int, now_s: float) -> None:
        replica = self.pools[pool][chosen]
        end_s = replica.start(now_s)
        if end_s is not None:
            self.versions[pool][chosen] += 1
            self._push(end_s, pool, chosen, self.versions[pool][chosen])
        while self.ledger.dropped:
            self.ledger.dropped.pop()
            self._ended(now_s)

    def _complete(self, pool: int, chosen: int, now_s: float) -> None:
        replica = self.pools[pool][chosen]
        finished, handed = replica.complete()
        for index in handed:
            if self.ledger.left[index] <= 0:
                self.ledger.finish_s[index] = now_s
                finished.append(index)
            else:
                self._push(now_s + self.deployment.transfer_s(self.ledger.isl[index]), 1, -1 - index, 0)
        self.recorder.add(now_s)
        self._start(pool, chosen, now_s)
        for _ in finished:
            self._ended(now_s)

    def _ended(self, now_s: float) -> None:
        self.done += 1
        if self.closed:
            self._send(now_s)
        if self.progress is not None and self.done % 1000 == 0:
            self.progress(self.done, self.total)
