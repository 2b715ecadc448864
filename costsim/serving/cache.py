"""Prefix cache: least-recently-used blocks in the room that running requests leave, with a slower tier behind."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence


class PrefixCache:
    """Hash blocks of prompts, in two tiers.

    Blocks live in device memory as far as running requests leave room (:meth:`room`), then in a host tier of
    ``host_blocks``, then nowhere. A prefix matches as far as its blocks are present one after the other.
    A running request's own KV is counted with the request; sharing between running requests saves time here, not
    memory.
    """

    def __init__(self, block_tokens: int, host_blocks: int = 0) -> None:
        self.block_tokens = block_tokens
        self.host_blocks = host_blocks
        self.device: OrderedDict[int, None] = OrderedDict()
        self.host: OrderedDict[int, None] = OrderedDict()

    def match(self, blocks: Sequence[int]) -> tuple[int, int]:
        """(blocks found from the start, how many of those came from the host tier); found ones become recent."""
        found = slow = 0
        for block in blocks:
            if block in self.device:
                self.device.move_to_end(block)
            elif block in self.host:
                del self.host[block]
                self.device[block] = None
                slow += 1
            else:
                break
            found += 1
        return found, slow

    def held(self, blocks: Sequence[int]) -> int:
        """Blocks present from the start, without touching their order: for routers."""
        found = 0
        for block in blocks:
            if block not in self.device and block not in self.host:
                break
            found += 1
        return found

    def insert(self, blocks: Sequence[int]) -> None:
        """A prompt has been computed: its blocks are now known."""
        for block in blocks:
            self.device[block] = None
            self.device.move_to_end(block)

    def room(self, device_blocks: int) -> None:
        """Shrink to the blocks that device memory has room for; the oldest move to the host tier or away."""
        while len(self.device) > max(device_blocks, 0):
            block, _ = self.device.popitem(last=False)
            if self.host_blocks > 0:
                self.host[block] = None
                if len(self.host) > self.host_blocks:
                    self.host.popitem(last=False)
