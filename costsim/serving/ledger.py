"""Ledger: what has happened to every request so far, in columns that the replicas of a simulation share."""

from __future__ import annotations

import math

from costsim.serving.request import Requests

#: why a request ended without its answer
WAITED, TOO_LONG = 1, 2


class Ledger:
    """Times and token counts by request, as plain lists: the simulator touches single entries millions of times.

    ``prompt``: tokens to compute before the next token (grows by what was generated when a request is preempted);
    ``left``: answer tokens still to come; ``aborted``: 0, WAITED or TOO_LONG.
    """

    def __init__(self, requests: Requests) -> None:
        n = len(requests)
        self.requests = requests
        self.isl: list[int] = requests.isl.tolist()
        self.osl: list[int] = requests.osl.tolist()
        self.prompt: list[int] = list(self.isl)
        self.left: list[int] = list(self.osl)
        self.priority: list[int] = [0] * n if requests.priority is None else requests.priority.tolist()
        self.arrival_s: list[float] = requests.arrival_s.tolist()
        self.admitted_s = [math.nan] * n
        self.first_s = [math.nan] * n
        self.finish_s = [math.nan] * n
        self.cached = [0] * n
        self.preemptions = [0] * n
        self.aborted = [0] * n
        #: requests given up since the simulation last looked
        self.dropped: list[int] = []

    def blocks(self, index: int) -> list[int]:
        """Prefix blocks of a request's prompt; none where they are unknown."""
        table = self.requests.blocks
        return [] if table is None else list(table[index])

    def drop(self, index: int) -> None:
        """A request has waited longer than its client does."""
        self.aborted[index] = WAITED
        self.dropped.append(index)
