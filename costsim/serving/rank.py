"""Rank: one attention rank of a replica. Who waits, is being computed and decodes there, and the KV they hold.

Room is counted in tokens: a prompt takes whole blocks and one more for the block that its answer has begun, so that
what running requests hold never exceeds what was granted them. With ``reserve`` r, admission also sets r of the
answer aside: committed = prompts + r·answers + (1 − r)·generated.
"""

from __future__ import annotations

import math
from heapq import heappop, heappush

from costsim.serving.ledger import Ledger
from costsim.serving.policy import Policy


class Rank:
    """``active``: decoding requests and the iteration at which each joined, in order of admission;
    ``partial``: prompts under way and the tokens left of each; ``kv``: tokens that decode attention reads; ``coming``:
    requests that have arrived too late for the iteration already decided."""

    __slots__ = (
        "active", "coming", "generated", "kv", "kv_tokens", "ledger", "number", "partial", "policy", "promised",
        "prompts", "waiting",
    )  # fmt: skip

    def __init__(self, number: int, ledger: Ledger, policy: Policy, kv_tokens: int) -> None:
        self.number, self.ledger, self.policy, self.kv_tokens = number, ledger, policy, kv_tokens
        self.waiting: list[tuple[int, int]] = []
        self.partial: dict[int, int] = {}
        self.coming = 0
        self.active: dict[int, int] = {}
        self.prompts = self.promised = self.generated = self.kv = 0.0

    @property
    def load(self) -> int:
        """Requests here, waiting or running."""
        return self.coming + len(self.waiting) + len(self.partial) + len(self.active)

    @property
    def held(self) -> float:
        """KV tokens in use, blocks rounded up."""
        return self.prompts + self.generated

    @property
    def full(self) -> bool:
        """As many requests run as the policy allows."""
        return len(self.active) + len(self.partial) >= self.policy.max_running

    def queue(self, index: int) -> None:
        """A request waits its turn, by priority and then by arrival."""
        heappush(self.waiting, (self.ledger.priority[index], index))

    def next(self, now_s: float) -> int | None:
        """The request whose turn it is, if it fits; those that have waited too long are dropped."""
        ledger = self.ledger
        while self.waiting:
            index = self.waiting[0][1]
            if now_s - ledger.arrival_s[index] > self.policy.timeout_s and math.isnan(ledger.first_s[index]):
                heappop(self.waiting)
                ledger.drop(index)
                continue
            return index if self.fits(index) else None
        return None

    def rounded(self, index: int) -> int:
        """Room of a prompt: whole blocks, and one more for the answer's first."""
        block = self.policy.block
        return (-(-self.ledger.prompt[index] // block) + 1) * block

    def fits(self, index: int) -> bool:
        """Whether a request can be admitted beside those that run."""
        reserve = self.policy.reserve
        committed = self.prompts + self.promised + (1.0 - reserve) * self.generated
        return committed + self.rounded(index) + reserve * self.ledger.osl[index] <= self.kv_tokens

    def admit(self, now_s: float) -> None:
        """The first of the queue gets its room."""
        index = heappop(self.waiting)[1]
        self.prompts += self.rounded(index)
        self.promised += self.policy.reserve * self.ledger.osl[index]
        if math.isnan(self.ledger.admitted_s[index]):
            self.ledger.admitted_s[index] = now_s

    def give_back(self, index: int) -> None:
        """The room taken at admission is free again."""
        self.prompts -= self.rounded(index)
        self.promised -= self.policy.reserve * self.ledger.osl[index]

    def join(self, index: int, count: int) -> None:
        """The request decodes from the iteration after ``count`` on."""
        self.active[index] = count
        self.kv += self.ledger.prompt[index] + 1

    def leave(self, index: int, made: float) -> None:
        """The request stops decoding, having generated ``made`` tokens here."""
        del self.active[index]
        self.generated -= made
        self.kv -= self.ledger.prompt[index] + 1 + made
        self.give_back(index)
        if not self.active:
            self.kv = self.generated = 0.0

    def grow(self, tokens: float) -> None:
        """``tokens`` more for every running request."""
        grown = tokens * len(self.active)
        self.generated += grown
        self.kv += grown
