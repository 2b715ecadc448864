"""Prefix cache of one attention rank: blocks that running requests hold, least-recently-used ones, a slower tier.

A block that a running request holds is that request's own memory, counted once however many share it; when the last
of them leaves it stays as far as there is room (:meth:`PrefixCache.room`), then goes to the host tier, then away.
Within a prompt the last block goes first, as a prefix is of no use without its beginning.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

#: who has this many times the requests of the least loaded gets no more for its cache's sake
IMBALANCE, SLACK = 1.5, 4


class PrefixCache:
    """``held``: blocks of running requests and how many of them share each; ``idle``: others, oldest first;
    ``host``: the slower tier, of at most ``host_blocks``. A prefix matches as far as its blocks are present."""

    def __init__(self, block_tokens: int, host_blocks: int = 0) -> None:
        self.block_tokens = block_tokens
        self.host_blocks = host_blocks
        self.held: dict[int, int] = {}
        self.idle: OrderedDict[int, None] = OrderedDict()
        self.host: OrderedDict[int, None] = OrderedDict()

    @property
    def held_tokens(self) -> int:
        """Memory of the blocks that running requests hold."""
        return len(self.held) * self.block_tokens

    def match(self, blocks: Sequence[int]) -> tuple[int, int]:
        """(blocks present from the start, how many of those in the host tier)."""
        found = slow = 0
        for block in blocks:
            if block not in self.held and block not in self.idle:
                if block not in self.host:
                    break
                slow += 1
            found += 1
        return found, slow

    def shared(self, blocks: Sequence[int]) -> int:
        """Blocks from the start that running requests hold: those take no memory again."""
        found = 0
        for block in blocks:
            if block not in self.held:
                break
            found += 1
        return found

    def take(self, blocks: Sequence[int]) -> None:
        """A running request holds these: found ones and, once its prompt is computed, its own."""
        for block in blocks:
            count = self.held.get(block, 0)
            if not count:
                self.idle.pop(block, None)
                self.host.pop(block, None)
            self.held[block] = count + 1

    def release(self, blocks: Sequence[int]) -> None:
        """A request that held these leaves; the prompt's beginning is kept longest."""
        for block in reversed(blocks):
            count = self.held[block] - 1
            if count:
                self.held[block] = count
            else:
                del self.held[block]
                self.idle[block] = None

    def room(self, idle_blocks: int) -> None:
        """Keep no more idle blocks than memory has room for; the oldest move to the host tier or away."""
        while len(self.idle) > max(idle_blocks, 0):
            block, _ = self.idle.popitem(last=False)
            if self.host_blocks > 0:
                self.host[block] = None
                if len(self.host) > self.host_blocks:
                    self.host.popitem(last=False)


def nearest(loads: Sequence[int], found: Sequence[int]) -> int:
    """Which of several holds the longest prefix, among those that are not overloaded; the least loaded if none."""
    fewest = min(loads)
    best, longest = -1, 0
    for i, (load, blocks) in enumerate(zip(loads, found, strict=True)):
        if blocks > longest and load <= IMBALANCE * fewest + SLACK:
            best, longest = i, blocks
    return best if best >= 0 else loads.index(fewest)
