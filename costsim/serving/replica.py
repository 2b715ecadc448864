"""Replica: one engine instance, its attention ranks in step. Continuous batching over paged KV, in macro-steps.

All ranks pass a barrier each iteration (routed experts are shared between them), so an iteration lasts as long as the
fullest rank. While nothing but decoding happens, iterations differ only by the growing KV, and attention is piecewise
linear in it: the replica then takes n iterations in one step, to the next finish, the next arrival, the edge of
memory or a quarter more KV, whichever is first. An arrival during such a step cuts it at the iteration under way.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from heapq import heappop, heappush
from operator import attrgetter

from costsim.serving.cache import PrefixCache, nearest
from costsim.serving.delay import Delay
from costsim.serving.engine import Engine, Step
from costsim.serving.ledger import REFUSED, TOO_LONG, Ledger
from costsim.serving.rank import Rank
from costsim.serving.statistics import Statistics

#: a macro-step ends when the KV has grown by this share, so that attention stays near linear in it
KV_GROWTH = 0.25

#: what a rank's turn goes by
_REQUESTS, _MEMORY = attrgetter("load"), attrgetter("memory")

Chunk = tuple[int, int, int]
"""(request, rank, tokens) of a prompt computed in an iteration."""


class Replica:
    """See the module. The simulation calls :meth:`arrive`, :meth:`complete` and :meth:`start` in order of time."""

    def __init__(self, engine: Engine, ledger: Ledger, caches: Sequence[PrefixCache] = (), aware: bool = False) -> None:
        """``caches``: one for each rank, or none; ``aware``: requests go to the rank that knows their prefix."""
        self.engine, self.ledger, self.aware = engine, ledger, aware and len(caches) > 1
        self.ranks = [
            Rank(i, ledger, engine.policy, engine.kv_tokens, caches[i] if caches else None) for i in range(engine.ranks)
        ]
        self.statistics = Statistics(ledger.gaps)
        self.step: Step | None = None
        self.count = 0
        #: (iteration at which it ends, request, rank, iteration at which it joined); stale where it left since
        self.finishing: list[tuple[int, int, int, int]] = []
        self.stall_s = 0.0
        #: (time, request, rank) not yet seen by the scheduler, and when the iteration under way was decided
        self.coming: deque[tuple[float, int, int]] = deque()
        self.decided_s = -math.inf
        self.delay = Delay(engine.policy)
        #: (start, end, iterations, prompt tokens, requests decoding) of every step, where somebody asked for it
        self.log: list[tuple[float, float, int, int, int]] | None = None

    def arrive(self, index: int, now_s: float) -> bool:
        """Queue a request on the rank with the fewest; True where the step under way was cut short for it."""
        rank = self._rank_for(index)
        if rank.rounded(index) + self.ledger.left[index] > self.engine.kv_tokens:
            self.ledger.end(index, TOO_LONG, now_s)
            return False
        if self.engine.policy.max_waiting and rank.coming + len(rank.waiting) >= self.engine.policy.max_waiting:
            self.ledger.end(index, REFUSED, now_s)
            return False
        rank.accept(index)
        step, ahead = self.step, self.engine.policy.ahead
        if ahead and step is not None:
            self.coming.append((now_s, index, rank.number))
            rank.coming += 1
        else:
            rank.queue(index)
        if step is None or not step.decoding or step.n == 1 or rank.full or not rank.fits(index):
            return False
        return step.cut(now_s, int(ahead))

    def _rank_for(self, index: int) -> Rank:
        """The rank with the fewest requests or the least KV, or that knows the prefix where the router asks for it."""
        if len(self.ranks) == 1:
            return self.ranks[0]
        if self.aware:
            return self.ranks[nearest([r.load for r in self.ranks], self._prefixes(self.ledger.blocks(index)))]
        return min(self.ranks, key=_REQUESTS if self.engine.policy.spread == "requests" else _MEMORY)

    # -- the end of a step --------------------------------------------------------------------------------------

    def complete(self) -> tuple[list[int], list[int]]:
        """Book the step that has ended: (finished requests, requests handed over after their prompt)."""
        step = self.step
        assert step is not None
        self.step = None
        self.decided_s = step.last_start_s
        duration = step.end_s - step.start_s
        statistics = self.statistics
        statistics.busy_s += duration
        statistics.prompt_s += step.prompt_s
        statistics.cached_s += step.cached_s
        before = self.kv_share
        grown = step.n * self.engine.tokens_per_step * sum(len(r.active) for r in self.ranks) if step.decoding else 0.0
        statistics.used(duration, before, before + grown / (self.engine.kv_tokens * len(self.ranks)))
        if self.log is not None:
            decoding = sum(len(r.active) for r in self.ranks) if step.decoding else 0
            self.log.append((step.start_s, step.end_s, step.n, sum(c[2] for c in step.chunks), decoding))
        finished: list[int] = []
        handed: list[int] = []
        self.delay.passed(step)
        if step.decoding:
            self._advance(step, duration, finished)
        else:
            self.stall_s += duration
            statistics.iterations += 1
        for index, number, tokens in step.chunks:
            self._computed(index, self.ranks[number], tokens, step.end_s, finished, handed)
        return finished, handed

    def _advance(self, step: Step, duration: float, finished: list[int]) -> None:
        """Every running request has made ``step.n`` more iterations."""
        n = step.n
        self.count += n
        for rank in self.ranks:
            rank.grow(n * self.engine.tokens_per_step)
        self.statistics.decoded(n, duration / n, sum(len(r.active) for r in self.ranks), self.stall_s)
        self.stall_s = 0.0
        while self.finishing and self.finishing[0][0] <= self.count:
            _, index, number, joined = heappop(self.finishing)
            rank = self.ranks[number]
            if rank.active.get(index) != joined:
                continue  # preempted since
            self._leave(index, rank)
            rank.gone(index)
            self.ledger.left[index] = 0
            self.ledger.finish_s[index] = step.end_s
            finished.append(index)

    def _computed(
        self, index: int, rank: Rank, tokens: int, now_s: float, finished: list[int], handed: list[int]
    ) -> None:
        """``tokens`` of a prompt are in the cache; its last chunk yields a token."""
        rest = rank.partial[index] - tokens
        self.statistics.prompt_tokens += tokens
        if rest > 0:
            rank.partial[index] = rest
            return
        del rank.partial[index]
        ledger = self.ledger
        rank.computed(index)
        ledger.left[index] -= 1
        self.statistics.output_tokens += 1
        if math.isnan(ledger.first_s[index]):
            ledger.first_s[index] = now_s
        if self.engine.role == "prefill":
            rank.give_back(index)
            rank.gone(index)
            handed.append(index)
        elif ledger.left[index] <= 0:
            rank.give_back(index)
            rank.gone(index)
            ledger.finish_s[index] = now_s
            finished.append(index)
        else:
            self._join(index, rank)

    def _join(self, index: int, rank: Rank) -> None:
        rank.join(index, self.count)
        iterations = math.ceil(self.ledger.left[index] / self.engine.tokens_per_step)
        heappush(self.finishing, (self.count + iterations, index, rank.number, self.count))

    def _leave(self, index: int, rank: Rank) -> float:
        """Take a decoding request off its rank; returns the tokens it has generated there."""
        made = (self.count - rank.active[index]) * self.engine.tokens_per_step
        self.statistics.output_tokens += min(made, self.ledger.left[index])
        rank.leave(index, made)
        return made

    # -- planning -----------------------------------------------------------------------------------------------

    def start(self, now_s: float) -> float | None:
        """Plan the next step; its end, or None where there is nothing to do."""
        policy = self.engine.policy
        if self.coming:
            self._see()
        chunks: list[Chunk] = []
        prompt_s = cached_s = 0.0
        holding = self.engine.role == "both" and self.delay.hold(self.ranks, now_s)
        for rank in () if holding else self.ranks:
            if rank.waiting or rank.partial:
                attention_s, held_s = self._fill(rank, now_s, chunks)
                prompt_s, cached_s = max(prompt_s, attention_s), max(cached_s, held_s)
        if chunks and policy.order == "prefill-first":
            return self._begin(now_s, chunks, prompt_s, cached_s, decoding=False)
        if policy.reserve < 1.0:
            self._make_room(chunks)
        if chunks:
            return self._begin(now_s, chunks, prompt_s, cached_s, decoding=any(r.active for r in self.ranks))
        return self._decode(now_s)

    def _see(self) -> None:
        """The iteration to start was decided when the last one began; where there is nothing else, the host waits."""
        idle = not any(rank.waiting or rank.partial or rank.active for rank in self.ranks)
        if not idle and not self.delay.looked:
            return
        while self.coming and (idle or self.coming[0][0] <= self.decided_s):
            _, index, number = self.coming.popleft()
            self.ranks[number].coming -= 1
            self.ranks[number].queue(index)

    def _fill(self, rank: Rank, now_s: float, chunks: list[Chunk]) -> tuple[float, float]:
        """Choose prompts for one rank's iteration; seconds of their attention with fetched KV, and due to cached KV."""
        engine, ledger, attend = self.engine, self.ledger, self.engine.timer.attend_prefill
        policy = engine.policy
        budget = policy.token_budget
        if policy.order == "mixed":
            budget = max(budget - int(len(rank.active) * engine.verified), 1)
        seconds = cached_s = 0.0
        for index, rest in rank.partial.items():
            tokens = min(rest, budget)
            if tokens <= 0:
                break
            chunks.append((index, rank.number, tokens))
            seconds += attend(tokens, ledger.prompt[index] - rest)
            budget -= tokens
        whole = budget
        while budget > 0 and not rank.full and (index_ := rank.next(now_s)) is not None:
            if engine.role == "decode" and ledger.preemptions[index_] == 0:
                rank.admit(now_s)
                ledger.first_s[index_] = now_s  # the client is answered from here
                self._join(index_, rank)
                continue
            held, slow = rank.cached(index_)
            new = ledger.prompt[index_] - held
            if not policy.chunked and new > budget and budget < whole:
                break
            tokens = min(new, budget) if policy.chunked else new
            rank.admit(now_s)
            rank.partial[index_] = new
            ledger.cached[index_] = held
            chunks.append((index_, rank.number, tokens))
            attention_s = attend(tokens, held)
            if held:
                fetch_s = slow * engine.host_kv_s_per_token
                cached_s += attention_s - attend(tokens, 0) + fetch_s
                attention_s += fetch_s
            seconds += attention_s
            budget -= tokens
        return seconds, cached_s

    def _make_room(self, chunks: list[Chunk]) -> None:
        """Preempt the least important, latest admitted until one more iteration fits; it is computed again later."""
        ledger, each = self.ledger, self.engine.tokens_per_step
        for rank in self.ranks:
            while len(rank.active) + len(rank.partial) > 1 and rank.active:
                if rank.held + each * len(rank.active) <= self.engine.kv_tokens:
                    break
                if len(rank.active) > 1:
                    index = rank.last()
                    made = self._leave(index, rank)
                    ledger.left[index] = max(ledger.left[index] - int(made), 1)
                    ledger.prompt[index] = ledger.isl[index] + ledger.osl[index] - ledger.left[index]
                else:  # the last one that decodes goes on, a prompt beside it waits
                    index, _ = rank.partial.popitem()
                    rank.give_back(index)
                    chunks[:] = [chunk for chunk in chunks if chunk[0] != index]
                ledger.preemptions[index] += 1
                rank.queue(index)

    def _begin(self, now_s: float, chunks: list[Chunk], prompt_s: float, cached_s: float, decoding: bool) -> float:
        """One iteration with prompts in it, beside one token of every running request if ``decoding``."""
        engine, alone_s = self.engine, 0.0
        tokens = [0.0] * len(self.ranks)
        for _, number, new in chunks:
            tokens[number] += new
        if decoding:
            running = [engine.verified * len(r.active) for r in self.ranks]
            attention_s = self._fullest()[0]
            alone_s = engine.timer.rest(max(running), sum(running), False) + attention_s
            tokens = [t + more for t, more in zip(tokens, running, strict=True)]
            prompt_s += attention_s
        held = max(len(r.active) + len(r.partial) for r in self.ranks)
        seconds = max(engine.timer.rest(max(tokens), sum(tokens), True) + prompt_s, engine.launch_s)
        seconds += engine.request_s * held
        due_s = max(seconds - alone_s, 0.0)
        self.step = Step(now_s, now_s + seconds, 1, seconds, 0.0, decoding, chunks, due_s, min(cached_s, due_s))
        return self.step.end_s

    def _fullest(self) -> tuple[float, float, int]:
        """(seconds of decode attention of a rank with the most KV and the most requests of any, KV, requests)."""
        if len(self.ranks) == 1:
            kv, batch = self.ranks[0].kv, len(self.ranks[0].active)
        else:
            kv, batch = max(r.kv for r in self.ranks), max(len(r.active) for r in self.ranks)
        return self.engine.timer.attend_decode(batch, kv), kv, batch

    def _decode(self, now_s: float) -> float | None:
        """As many decode iterations at once as nothing can interrupt."""
        engine = self.engine
        total = sum(len(rank.active) for rank in self.ranks)
        if not total:
            return None
        attention, kv, batch = self._fullest()
        each = engine.tokens_per_step
        growth = each * batch
        n = max(1, min(self._next_finish() - self.count, int(KV_GROWTH * kv / growth) + 1))
        if engine.policy.reserve < 1.0:
            for rank in self.ranks:
                if rank.active:
                    n = max(1, min(n, int((engine.kv_tokens - rank.held) / (each * len(rank.active)))))
        if self.coming:
            n = min(n, self.delay.unlooked)  # they are to be looked at before the next but one
        if self.delay.holding:
            n = max(1, min(n, self.delay.patience))
        first = engine.timer.rest(engine.verified * batch, engine.verified * total, False) + attention
        first += engine.request_s * batch
        slope = 0.0
        if n > 1:
            slope = (engine.timer.attend_decode(batch, kv + growth * (n - 1)) - attention) / (n - 1)
        seconds = n * first + 0.5 * slope * n * (n - 1)
        self.step = Step(now_s, now_s + seconds, n, first, slope, True, [])
        return self.step.end_s

    def _next_finish(self) -> int:
        """The iteration count at which the next running request ends."""
        while True:
            count, index, number, joined = self.finishing[0]
            if self.ranks[number].active.get(index) == joined:
                return count
            heappop(self.finishing)

    # -- what routers and the series look at --------------------------------------------------------------------

    @property
    def requests(self) -> int:
        """Requests waiting or running here."""
        return sum(rank.load for rank in self.ranks)

    @property
    def running(self) -> int:
        return sum(len(rank.active) + len(rank.partial) for rank in self.ranks)

    @property
    def kv_share(self) -> float:
        """KV in use over KV there is."""
        return sum(rank.held for rank in self.ranks) / (self.engine.kv_tokens * len(self.ranks))

    def prefix(self, blocks: Sequence[int]) -> int:
        """Blocks of this prefix that some rank of the replica knows."""
        return max(self._prefixes(blocks))

    def _prefixes(self, blocks: Sequence[int]) -> list[int]:
        return [0 if rank.cache is None else rank.cache.match(blocks)[0] for rank in self.ranks]
