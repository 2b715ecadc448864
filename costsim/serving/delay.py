"""Delay: why an engine does not compute a prompt at once. It looks for arrivals only now and then, or waits until every
attention rank has one."""

from __future__ import annotations

from collections.abc import Sequence

from costsim.serving.engine import Step
from costsim.serving.policy import Policy
from costsim.serving.rank import Rank


class Delay:
    """Counts of iterations, see :class:`costsim.serving.policy.Policy`. ``looked``: whether the scheduler looked for
    arrivals as the last step ended; ``holding``: whether it keeps prompts back now."""

    __slots__ = ("apart", "holding", "looked", "policy", "unseen")

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        #: decode iterations since the last look, and since prompts last ran on all ranks or were let run
        self.unseen = self.apart = 0
        self.looked, self.holding = True, False

    def passed(self, step: Step) -> None:
        """The iterations of a step are over; one with prompts in it starts both counts anew."""
        policy = self.policy
        total = self.unseen + step.n
        recent = min(1 + int(policy.ahead), step.n)
        self.looked = bool(step.chunks) or total // policy.poll > (total - recent) // policy.poll
        self.unseen = 0 if step.chunks else total % policy.poll
        # Where nobody waits the count runs out unseen, again and again.
        apart = self.apart + step.n
        self.apart = 0 if step.chunks else apart if self.holding else apart % max(policy.balance, 1)

    def hold(self, ranks: Sequence[Rank], now_s: float) -> bool:
        """Whether prompts are held back until every rank has one. [tensorrt-llm, attention_dp_config]

        The count of iterations runs on where nobody waits: a prompt meets it at any value.
        """
        self.holding = False
        if self.policy.balance > 0 and len(ranks) > 1:
            ready = [bool(r.partial) or (not r.full and r.next(now_s) is not None) for r in ranks]
            running = self.apart < self.policy.balance and all(r.active for r in ranks)
            self.holding = any(ready) and not all(ready) and running
        return self.holding

    @property
    def unlooked(self) -> int:
        """Iterations until the next look."""
        return self.policy.poll - self.unseen

    @property
    def patience(self) -> int:
        """Iterations for which prompts are held back yet."""
        return self.policy.balance - self.apart
