"""Prefix hits of a fleet by the size of its cache: how long a block stays against how soon it is asked for again.

A cache of C bytes that takes in λ bytes a second keeps a block for T = C/λ: an LRU cache hits what is used again within
T [che-lru]. How soon prefixes come back is measured on a recorded trace with hash ids [mooncake]; the operator's own
hit rate is what a cache without end finds. Misses and answers both fill the cache, so a smaller one fills faster.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from costsim.errors import Malformed, OutOfRange
from costsim.physics.attention import kv_bytes_per_layer_token
from costsim.predict.loads import load_trace
from costsim.spec.fleet import FleetLoad
from costsim.spec.model import ModelSpec
from costsim.units import DAY_S

#: conversations with the hash ids of their prompts
TRACE = "mooncake-conversation"


@dataclass(frozen=True)
class CacheHits:
    """What a cache of ``bytes`` over the whole fleet finds: the share of input tokens, and for how long blocks stay."""

    bytes: float
    hit_share: float
    kept_s: float


@lru_cache(maxsize=4)
def reuse(trace: str = TRACE) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(seconds since a prefix block was last used, ascending; share of all hit tokens that come back within them)."""
    requests = load_trace(trace)
    if requests.blocks is None:
        raise Malformed(f"trace {trace}: no hash ids of prompts in it")
    last: dict[int, float] = {}
    gaps = []
    for blocks, now in zip(requests.blocks, requests.arrival_s.tolist(), strict=True):
        hit = True
        for block in blocks:
            hit = hit and block in last
            if hit:
                gaps.append(now - last[block])
            last[block] = now
    seconds = np.sort(np.array(gaps))
    return seconds, np.arange(1, seconds.size + 1) / seconds.size


def kept_share(seconds: float) -> float:
    """Share of hits that an LRU cache keeps whose blocks stay for so long."""
    times, share = reuse()
    index = int(np.searchsorted(times, seconds, side="left"))
    return float(share[index - 1]) if index else 0.0


def hits(load: FleetLoad, model: ModelSpec, cache_bytes: float, kv_dtype: str = "bf16") -> CacheHits:
    """The hit rate of a cache of ``cache_bytes``: h = h∞·F(T), T = C / (bytes of misses and answers a second).

    h∞: the operator's own rate; F: :func:`kept_share`. Solved for h by bisection, as a lower h fills the cache faster.
    Raises BadInput for a size below zero.
    """
    if not cache_bytes >= 0:
        raise OutOfRange(f"cache {cache_bytes:g}: must be at least 0 bytes")
    each = kv_bytes_per_layer_token(model.attention, kv_dtype) * model.layers
    most = load.cached_tokens / load.input_tokens

    def kept_s(share: float) -> float:
        return float(cache_bytes / (each * ((1.0 - share) * load.input_tokens + load.output_tokens) / DAY_S))

    low, high = 0.0, most
    for _ in range(60):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if most * kept_share(kept_s(middle)) > middle else (low, middle)
    return CacheHits(cache_bytes, high, kept_s(high))
