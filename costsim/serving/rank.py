"""Rank: one attention rank of a replica. Who waits, is being computed and decodes there, and the KV they hold.

Room is counted in tokens: a prompt takes whole blocks and one more for the block that its answer has begun, so that
what running requests hold never exceeds what was granted them; prefix blocks that several share count once. With
``reserve`` r, admission also sets r of the answer aside: committed = prompts + r·answers + (1 − r)·generated.
"""

from __future__ import annotations

import math
from heapq import heappop, heappush

from costsim.serving.cache import PrefixCache
from costsim.serving.ledger import Ledger
from costsim.serving.policy import Policy


class Rank:
    """``active``: decoding requests and the iteration at which each joined, in order of admission;
    ``partial``: prompts under way and the tokens left of each; ``kv``: tokens that decode attention reads; ``coming``:
    requests that have arrived too late for the iteration already decided; ``taken``: prefix blocks that each running
    request holds in the ``cache``; ``prompts``: room of prompts outside of it; ``load``, ``tokens``: requests that are
    here, waiting or running, and their prompts' tokens."""

    __slots__ = (
        "active", "cache", "coming", "generated", "kv", "kv_tokens", "ledger", "load", "number", "partial", "policy",
        "promised", "prompts", "taken", "tokens", "waiting",
    )  # fmt: skip

    def __init__(
        self, number: int, ledger: Ledger, policy: Policy, kv_tokens: int, cache: PrefixCache | None = None
    ) -> None:
        self.number, self.ledger, self.policy, self.kv_tokens = number, ledger, policy, kv_tokens
        self.cache = cache
        self.waiting: list[tuple[int, int]] = []
        self.partial: dict[int, int] = {}
        self.coming = 0
        self.active: dict[int, int] = {}
        self.taken: dict[int, int] = {}
        self.prompts = self.promised = self.generated = self.kv = 0.0
        self.load = self.tokens = 0

    def accept(self, index: int) -> None:
        """A request has come here."""
        self.load += 1
        self.tokens += self.ledger.isl[index]

    def gone(self, index: int) -> None:
        """A request has left, with its answer or without."""
        self.load -= 1
        self.tokens -= self.ledger.isl[index]

    @property
    def memory(self) -> float:
        """KV tokens of all that are here, those that wait included."""
        return self.tokens + self.generated

    @property
    def held(self) -> float:
        """KV tokens in use by running requests, blocks rounded up."""
        shared = 0 if self.cache is None else self.cache.held_tokens
        return self.prompts + self.generated + shared

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
                self.gone(index)
                ledger.drop(index, now_s)
                continue
            return index if self.fits(index) else None
        return None

    def rounded(self, index: int) -> int:
        """Room of a prompt: whole blocks, and one more for the answer's first."""
        block = self.policy.block
        return (-(-self.ledger.prompt[index] // block) + 1) * block

    def fits(self, index: int) -> bool:
        """Whether a request can be admitted beside those that run; one alone always can."""
        reserve, running = self.policy.reserve, len(self.active) + len(self.partial)
        committed = self.held - self.generated + self.promised + (1.0 - reserve) * self.generated
        needed = self.rounded(index) + reserve * self.ledger.osl[index]
        if running:
            needed += self.policy.reserve_tokens * (running + 1)
            if self.cache is not None:
                needed -= self.cache.shared(self.ledger.blocks(index)) * self.cache.block_tokens
        return committed + needed <= self.kv_tokens

    def cached(self, index: int) -> tuple[int, int]:
        """(tokens of the prompt found in the cache, how many of them in the host tier); one is always computed."""
        if self.cache is None:
            return 0, 0
        size = self.cache.block_tokens
        self._evict(self.cache)
        found, slow = self.cache.match(self.ledger.blocks(index))
        return min(found * size, self.ledger.prompt[index] - 1), slow * size

    def admit(self, now_s: float) -> None:
        """The first of the queue gets its room, and holds what is known of its prefix."""
        index = heappop(self.waiting)[1]
        self.prompts += self.rounded(index)
        self.promised += self.policy.reserve * self.ledger.osl[index]
        if math.isnan(self.ledger.admitted_s[index]):
            self.ledger.admitted_s[index] = now_s
        if self.cache is not None:
            self._take(index, self.cache.match(self.ledger.blocks(index))[0])
            self._evict(self.cache)

    def computed(self, index: int) -> None:
        """A prompt is computed: all its blocks are known."""
        if self.cache is not None:
            self._take(index, len(self.ledger.blocks(index)))

    def _evict(self, cache: PrefixCache) -> None:
        """Blocks that nobody holds live in what running requests leave."""
        cache.room(int((self.kv_tokens - self.held) // cache.block_tokens))

    def _take(self, index: int, count: int) -> None:
        """The request's first ``count`` blocks lie in the cache, and no longer in its own room."""
        assert self.cache is not None
        already = self.taken.get(index, 0)
        self.cache.take(self.ledger.blocks(index)[already:count])
        self.taken[index] = count
        self.prompts -= (count - already) * self.cache.block_tokens

    def give_back(self, index: int) -> None:
        """The room taken at admission is free again; prefix blocks stay as long as there is room."""
        self.prompts -= self.rounded(index)
        self.promised -= self.policy.reserve * self.ledger.osl[index]
        if self.cache is not None:
            count = self.taken.pop(index)
            self.cache.release(self.ledger.blocks(index)[:count])
            self.prompts += count * self.cache.block_tokens

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

    def last(self) -> int:
        """Whom memory is taken from: the least important of those that decode, the latest admitted of equals."""
        if not self.ledger.prioritised:
            return next(reversed(self.active))
        priority = self.ledger.priority
        return max(reversed(self.active), key=lambda index: priority[index])

    def grow(self, tokens: float) -> None:
        """``tokens`` more for every running request."""
        grown = tokens * len(self.active)
        self.generated += grown
        self.kv += grown
