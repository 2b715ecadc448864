"""Self-hosting against an API: rent is paid by the hour whatever the load, an API by the token.

Let r be USD per hour of the cards, T their output tokens per second when full, u the share of that which is used.
A million output tokens cost r / 3600 / (T·u) · 10⁶ at home and p_out + p_in·(isl − cached)/osl + p_cached·cached/osl
at the API (prompt tokens charged to the answers they lead to). They meet at u = own cost when full / API price.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from costsim.errors import BadInput
from costsim.num import Num
from costsim.spec.base import build
from costsim.spec.price import Price, in_usd, load_price
from costsim.units import HOUR_S

#: slack against a unit too many where a load is a whole number of units up to rounding
_ROUNDING = 1e-9


@dataclass(frozen=True)
class ApiPrice:
    """Prices of one API in USD per million tokens, with who says so."""

    id: str
    input: float
    cached: float
    output: float
    confidence: str
    sources: tuple[str, ...]


@dataclass(frozen=True)
class Step:
    """Units of one role: what each carries, in requests per second, and what each costs."""

    requests_per_s: float
    usd_per_h: float


def api_price(text: str) -> ApiPrice:
    """Prices ``ID-input``, ``ID-input-cached`` and ``ID-output`` of the catalog, or one's own:
    ``input=0.5USD/Mtok,output=2USD/Mtok,cached=0.1USD/Mtok``; cached tokens at the input's price where not given.

    UnknownName for other ids, BadInput for amounts without their unit or their part.
    """
    if "=" in text:
        return _own_prices(text)
    if text.strip()[:1].isdigit():
        raise BadInput(f"--api-price {text[:60]!r}: say what for, like input=0.5USD/Mtok,output=2USD/Mtok")
    parts = {part: load_price(f"{text}-{part}") for part in ("input", "input-cached", "output")}
    sources = dict.fromkeys(source for price in parts.values() for source in price.sources)
    worst = max(price.confidence for price in parts.values())
    usd = {part: in_usd(price) for part, price in parts.items()}
    return ApiPrice(text, usd["input"], usd["input-cached"], usd["output"], worst, tuple(sources))


def _own_prices(text: str) -> ApiPrice:
    given: dict[str, float] = {}
    for part in text.split(","):
        name, _, price = (word.strip() for word in part.partition("="))
        if name not in ("input", "output", "cached") or name in given:
            raise BadInput(f"--api-price: {part.strip()[:60]!r}; write input=0.5USD/Mtok,output=2USD/Mtok")
        kind = "api_input_cached" if name == "cached" else f"api_{name}"
        given[name] = in_usd(build(Price, {"id": "given", "kind": kind, "value": price}, f"--api-price {name}"))
    if not {"input", "output"} <= set(given) or min(given.values()) < 0:
        raise BadInput(f"--api-price {text[:60]!r}: both input= and output= are needed, not negative")
    return ApiPrice("given", given["input"], given.get("cached", given["input"]), given["output"], "A", ())


def api_usd_per_mtok_output(price: ApiPrice, isl: Num, osl: Num, cached: Num = 0.0) -> Num:
    """USD per million answer tokens with their prompts: p_out + (p_in (isl − cached) + p_cached cached) / osl."""
    return price.output + (price.input * (isl - cached) + price.cached * cached) / osl


def break_even_share(own_usd: Num, api_usd: Num) -> Num:
    """Share of full load at which owning costs what the API charges; above 1 it never does."""
    return own_usd / api_usd


def usd_at_share(own_usd: Num, share: Num) -> Num:
    """Cost of a token when only ``share`` of the full load comes: the rent is spread over fewer tokens."""
    return own_usd / share


def fleet_usd_per_h(load: Num, steps: Sequence[Step]) -> Num:
    """USD per hour of as many whole units of each role as ``load`` requests per second need; at least one of each."""
    return sum(
        np.maximum(np.ceil(load / step.requests_per_s - _ROUNDING), 1.0) * step.usd_per_h for step in steps
    )  # fmt: skip


def api_usd_per_h(load: Num, usd_per_request: float) -> Num:
    """USD per hour of ``load`` requests per second at the API."""
    return load * usd_per_request * HOUR_S


def break_even_load(steps: Sequence[Step], usd_per_request: float, most: float) -> tuple[float | None, float | None]:
    """Requests per second where units first cost no more than the API, and from where on they never cost more.

    Between two whole units' loads the rent is level while the API's bill rises: each level has at most one crossing.
    None where there is none up to ``most`` requests per second.
    """
    loads = [np.arange(1, int(most / step.requests_per_s) + 2) * step.requests_per_s for step in steps]
    ends = np.unique(np.concatenate([*loads, [most]]))
    ends = ends[ends <= most]
    starts = np.concatenate([[0.0], ends[:-1]])
    crossings = np.asarray(fleet_usd_per_h(ends, steps)) / HOUR_S / usd_per_request
    cheaper = crossings <= ends
    if not cheaper.any():
        return None, None
    first = int(np.argmax(cheaper))
    dearer = crossings > starts
    last = int(np.flatnonzero(dearer)[-1])  # the level on whose start the API is still cheaper
    always = float(crossings[last]) if cheaper[last] else None
    return float(max(crossings[first], starts[first])), always


__all__ = [
    "ApiPrice", "Step", "api_price", "api_usd_per_h", "api_usd_per_mtok_output", "break_even_load",
    "break_even_share", "fleet_usd_per_h", "usd_at_share",
]  # fmt: skip
