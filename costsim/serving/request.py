"""Requests: what arrives, as columns. Tokens of prompt and answer, arrival times, prefix blocks, priorities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from costsim.errors import Contradiction, OutOfRange

MAX_REQUESTS = 20_000_000
MAX_TOKENS = 100_000_000


@dataclass(frozen=True)
class Requests:
    """``arrival_s`` (ascending; all zero in a closed loop), ``isl`` and ``osl`` in tokens.

    ``blocks``: for each request the hash ids of its prompt's blocks of ``block_tokens`` tokens, equal ids meaning an
    equal prefix up to there; None where nothing is known of prefixes. ``priority``: lower is served first.
    """

    arrival_s: NDArray[np.float64]
    isl: NDArray[np.int64]
    osl: NDArray[np.int64]
    blocks: Sequence[Sequence[int]] | None = None
    block_tokens: int = 512
    priority: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        n = len(self.isl)
        if not 1 <= n <= MAX_REQUESTS:
            raise OutOfRange(f"requests: {n}; from 1 to {MAX_REQUESTS:,} can be simulated")
        if len(self.osl) != n or len(self.arrival_s) != n:
            raise Contradiction("requests: arrival_s, isl and osl must be equally long")
        for name, values in (("isl", self.isl), ("osl", self.osl)):
            bad = np.flatnonzero((values < 1) | (values > MAX_TOKENS))
            if bad.size:
                i = int(bad[0])
                raise OutOfRange(f"request {i + 1}: {name} = {int(values[i])} must be from 1 to {MAX_TOKENS:,}")
        if not np.all(np.isfinite(self.arrival_s)) or np.any(np.diff(self.arrival_s) < 0):
            raise OutOfRange("requests: arrival times must be finite and ascending")
        if self.blocks is not None and len(self.blocks) != n:
            raise Contradiction("requests: one list of prefix blocks for each request")

    def __len__(self) -> int:
        return len(self.isl)

    def faster(self, factor: float) -> Requests:
        """The same requests ``factor`` times as fast: the usual way to load a recorded trace higher or lower."""
        if not 0 < factor < float("inf"):
            raise OutOfRange(f"rate factor {factor:g}: must be above zero")
        return replace(self, arrival_s=self.arrival_s / factor)

    def where(self, chosen: NDArray[np.bool_]) -> Requests:
        """The requests for which ``chosen`` holds; the first of them arrives at time zero."""
        index = np.flatnonzero(chosen)
        arrival = self.arrival_s[index]
        return replace(
            self,
            arrival_s=arrival - (arrival[0] if index.size else 0.0),
            isl=self.isl[index],
            osl=self.osl[index],
            blocks=None if self.blocks is None else [self.blocks[i] for i in index.tolist()],
            priority=None if self.priority is None else self.priority[index],
        )

    def drawn(self, shares: Sequence[float], seed: int = 0) -> Requests:
        """The same requests with priorities 0, 1, … drawn by ``shares``. Raises BadInput where these do not sum to
        one, or where the requests have priorities of their own."""
        if not all(0 <= share <= 1 for share in shares) or abs(sum(shares) - 1.0) > 1e-6:
            raise OutOfRange(f"priorities: shares sum to {sum(shares):g}; they must sum to 1")
        if self.priority is not None:
            raise Contradiction("priorities: these requests have priorities of their own")
        rng = np.random.default_rng([seed, len(shares)])
        return replace(self, priority=rng.choice(len(shares), len(self), p=np.array(shares)))

    def first(self, count: int) -> Requests:
        """The first ``count`` requests."""
        return self.where(np.arange(len(self)) < count)
