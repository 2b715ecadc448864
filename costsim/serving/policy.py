"""Policy: how an engine fills an iteration, admits requests and keeps KV blocks. Values only; each engine's
published defaults are data of :mod:`costsim.predict`."""

from __future__ import annotations

from dataclasses import dataclass

from costsim.errors import OutOfRange

#: what an iteration may hold: decode tokens first and prompt chunks beside them (vLLM v1), prompts alone while there
#: are any (SGLang), or whole prompts beside the decode tokens (TensorRT-LLM's in-flight batching)
ORDERS = ("mixed", "prefill-first")
#: what requests are spread over the attention ranks of a replica by
SPREADS = ("requests", "kv")
#: how requests meet replicas; :mod:`costsim.serving.router` does it
ROUTERS = ("round-robin", "least-loaded", "cache-aware")


@dataclass(frozen=True)
class Policy:
    """One engine's scheduler.

    ``order``: "mixed" runs prompt tokens in the same iteration as one token of every running request;
    "prefill-first" runs prompts alone and lets running requests wait.
    ``token_budget``: new tokens of one iteration on one attention rank. ``chunked``: prompts may be cut to fit it;
    otherwise an iteration takes whole prompts, and one longer than the budget runs alone.
    ``max_running``: requests decoding on one attention rank. ``reserve``: share of the answer's tokens for which KV
    is set aside at admission (1: never evicts; 0: preempts when memory runs out). ``block``: tokens of a KV block.
    ``reserve_tokens``: KV kept free for each running request before another is admitted, as decode servers do that
    get prompts from elsewhere. ``timeout_s``: a request that has waited longer is dropped at its turn;
    ``max_waiting``: requests that may wait on a rank, further ones are refused at once (0: any number). ``spread``:
    a request goes to the attention rank with the fewest "requests" or the least "kv". ``ahead``: the host decides an
    iteration while the one before it runs (overlap scheduling), so that a request waits for the end of the one under
    way and for the whole of the next. ``balance``: a replica of several ranks holds prompts back until every rank has
    one to compute, for at most so many iterations; 0: it does not. ``poll``: decode iterations between two looks at
    arrivals.
    """

    order: str = "mixed"
    token_budget: int = 8192
    chunked: bool = True
    max_running: int = 256
    reserve: float = 0.0
    block: int = 64
    timeout_s: float = float("inf")
    ahead: bool = False
    reserve_tokens: int = 0
    max_waiting: int = 0
    spread: str = "requests"
    balance: int = 0
    poll: int = 1

    def __post_init__(self) -> None:
        if self.order not in ORDERS:
            raise OutOfRange(f"order: {self.order[:40]!r} is not one of {', '.join(ORDERS)}")
        if self.spread not in SPREADS:
            raise OutOfRange(f"spread: {self.spread[:40]!r} is not one of {', '.join(SPREADS)}")
        for name, value in (
            ("token_budget", self.token_budget),
            ("max_running", self.max_running),
            ("block", self.block),
            ("poll", self.poll),
        ):
            if value < 1:
                raise OutOfRange(f"{name} = {value}: must be at least 1")
        for name, value in (("reserve_tokens", self.reserve_tokens), ("max_waiting", self.max_waiting)):
            if value < 0:
                raise OutOfRange(f"{name} = {value}: must be at least 0")
        if not 0.0 <= self.reserve <= 1.0:
            raise OutOfRange(f"reserve = {self.reserve:g}: must be from 0 to 1")
        if not self.timeout_s > 0:
            raise OutOfRange(f"timeout_s = {self.timeout_s:g}: must be above zero")
