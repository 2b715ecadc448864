"""Engine: what a replica is, as values; Step: the iterations that it has under way."""

from __future__ import annotations

import math
from dataclasses import dataclass

from costsim.serving.policy import Policy
from costsim.serving.timer import StepTimer

#: what a replica does: both phases, prompts only (hands over after the first token), or answers only
ROLES = ("both", "prefill", "decode")


@dataclass(frozen=True)
class Engine:
    """What a replica is: its step times, scheduler, memory and ranks.

    ``kv_tokens``: KV capacity of one attention rank in tokens; ``ranks``: attention ranks behind one barrier;
    ``tokens_per_step``: tokens a decode iteration adds to each request (MTP: 1 + accepted), ``verified``: tokens it
    computes for that (1 + drafted). ``host_kv_s_per_token``: seconds to bring a cached token from the host tier.
    ``launch_s``: least seconds of an iteration with prompts in it, whose kernels the host launches one by one;
    ``request_s``: host seconds of every iteration for each request in it, which the device waits for.
    """

    timer: StepTimer
    policy: Policy
    kv_tokens: int
    ranks: int = 1
    role: str = "both"
    tokens_per_step: float = 1.0
    verified: float = 1.0
    host_kv_s_per_token: float = 0.0
    launch_s: float = 0.0
    request_s: float = 0.0


@dataclass(slots=True)
class Step:
    """The step under way: ``n`` iterations from ``start_s``, the i-th lasting first_s + i·growth_s.

    ``chunks``: (request, rank, tokens) of the prompts computed in it. ``prompt_s`` of it are due to those prompts, and
    ``cached_s`` of these to the cached tokens that they attend to or fetch.
    """

    start_s: float
    end_s: float
    n: int
    first_s: float
    growth_s: float
    decoding: bool
    chunks: list[tuple[int, int, int]]
    prompt_s: float = 0.0
    cached_s: float = 0.0

    @property
    def last_start_s(self) -> float:
        """When the last of the iterations starts."""
        return self.end_s - self.first_s - self.growth_s * (self.n - 1)

    def cut(self, now_s: float, more: int = 0) -> bool:
        """End ``more`` iterations after the one under way at ``now_s``; True where that is earlier than planned.

        n iterations last n·t + c·n(n − 1)/2; solved for the least whole n that reaches ``now_s``.
        """
        elapsed, t, c = max(now_s - self.start_s, 0.0), self.first_s, self.growth_s
        if c > 1e-12 * t:
            b = t - 0.5 * c
            iterations = (-b + math.sqrt(b * b + 2.0 * c * elapsed)) / c
        else:
            iterations = elapsed / t
        n = max(1, math.ceil(iterations - 1e-9)) + more
        if n >= self.n:
            return False
        self.n = n
        self.end_s = self.start_s + n * t + 0.5 * c * n * (n - 1)
        return True
