"""Ledger: what has happened to every request so far, in columns that the replicas of a simulation share."""

from __future__ import annotations

import math
from collections.abc import Sequence

from costsim.serving.request import Requests

#: why a request ended without its answer
WAITED, TOO_LONG, REFUSED = 1, 2, 3


class Ledger:
    """Times and token counts by request, as plain lists: the simulator touches single entries millions of times.

    ``prompt``: tokens to compute before the next token (grows by what was generated when a request is preempted);
    ``left``: answer tokens still to come; ``aborted``: 0, WAITED, TOO_LONG or REFUSED, at ``aborted_s``.
    """

    def __init__(self, requests: Requests) -> None:
        n = len(requests)
        self.requests = requests
        self.isl: list[int] = requests.isl.tolist()
        self.osl: list[int] = requests.osl.tolist()
        self.prompt: list[int] = list(self.isl)
        self.left: list[int] = list(self.osl)
        self.priority: list[int] = [0] * n if requests.priority is None else requests.priority.tolist()
        self.prioritised = len(set(self.priority)) > 1
        self.arrival_s: list[float] = requests.arrival_s.tolist()
        self.admitted_s = [math.nan] * n
        self.first_s = [math.nan] * n
        self.finish_s = [math.nan] * n
        self.cached = [0] * n
        self.preemptions = [0] * n
        self.aborted = [0] * n
        self.aborted_s = [math.nan] * n
        #: gaps between tokens of all replicas: see :class:`costsim.serving.statistics.Statistics`
        self.gaps: dict[int, float] = {}
        #: requests given up since the simulation last looked
        self.dropped: list[int] = []

    def blocks(self, index: int) -> Sequence[int]:
        """Whole prefix blocks of a request's prompt, which are what engines keep; none where they are unknown."""
        table = self.requests.blocks
        return [] if table is None else table[index][: self.isl[index] // self.requests.block_tokens]

    def end(self, index: int, reason: int, now_s: float) -> None:
        """A request ends without its answer."""
        self.aborted[index], self.aborted_s[index] = reason, now_s

    def drop(self, index: int, now_s: float) -> None:
        """A request has waited longer than its client does."""
        self.end(index, WAITED, now_s)
        self.dropped.append(index)
