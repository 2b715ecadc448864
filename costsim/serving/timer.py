"""Seconds of one engine iteration, tabulated: what the simulator asks instead of a model.

An iteration is the sum of attention, which depends on each sequence's length, and of everything else, which depends
on how many new tokens there are:

    t = rest(rank tokens, all tokens) + attend_decode(batch, kv) + Σ attend_prefill(new, before)

``rank tokens``: new tokens on the fullest attention rank; ``all tokens``: on all ranks that share the experts.
Tables hold exact values on a grid and are linear between; a simulation asks them some 10⁵ times a second, so the
lookups are plain Python on lists.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from costsim.errors import OutOfRange


class StepTimer(Protocol):
    """What the engine needs to know of a deployment."""

    def rest(self, rank_tokens: float, all_tokens: float, prefill: bool) -> float:
        """Seconds of everything but attention, host included; ``prefill``: some of the tokens are prompt."""
        ...

    def attend_prefill(self, new: float, before: float) -> float:
        """Seconds of attention of one prompt's ``new`` tokens after ``before`` tokens already in the cache."""
        ...

    def attend_decode(self, batch: float, kv: float) -> float:
        """Seconds of attention of ``batch`` sequences that hold ``kv`` tokens in all, on one rank."""
        ...


@dataclass(frozen=True)
class Curve:
    """Piecewise linear y(x); constant before the first point, continued beyond the last."""

    x: tuple[float, ...]
    y: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.x) < 2 or len(self.x) != len(self.y):
            raise OutOfRange("curve: needs at least two points, as many x as y")
        if any(b <= a for a, b in zip(self.x, self.x[1:], strict=False)):
            raise OutOfRange("curve: x must increase")

    def __call__(self, value: float) -> float:
        x, y = self.x, self.y
        if value <= x[0]:
            return y[0]
        i = min(bisect_right(x, value), len(x) - 1)
        return y[i - 1] + (value - x[i - 1]) * (y[i] - y[i - 1]) / (x[i] - x[i - 1])


@dataclass(frozen=True)
class Surface:
    """Bilinear z(x, y) on a grid; clamped below, continued above. ``z[i][j]`` belongs to ``x[i], y[j]``."""

    x: tuple[float, ...]
    y: tuple[float, ...]
    z: tuple[tuple[float, ...], ...]

    def __call__(self, a: float, b: float) -> float:
        xs, ys = self.x, self.y
        a, b = max(a, xs[0]), max(b, ys[0])
        i, j = min(bisect_right(xs, a), len(xs) - 1), min(bisect_right(ys, b), len(ys) - 1)
        x0, y0 = xs[i - 1], ys[j - 1]
        u, v = (a - x0) / (xs[i] - x0), (b - y0) / (ys[j] - y0)
        low, high = self.z[i - 1], self.z[i]
        return (1.0 - u) * ((1.0 - v) * low[j - 1] + v * low[j]) + u * ((1.0 - v) * high[j - 1] + v * high[j])


@dataclass(frozen=True)
class TableTimer:
    """A StepTimer from tables.

    ``decode_rank``/``prefill_rank``: seconds of what each attention rank does for its own tokens, host time included;
    ``decode_shared``/``prefill_shared``: of what all ranks' tokens share (routed experts, their transfers).
    ``decode_attention``: over (batch, mean KV tokens of a sequence); ``prefill_attention``: over (new, before).
    """

    decode_rank: Curve
    decode_shared: Curve
    prefill_rank: Curve
    prefill_shared: Curve
    decode_attention: Surface
    prefill_attention: Surface

    def rest(self, rank_tokens: float, all_tokens: float, prefill: bool) -> float:
        if prefill:
            return self.prefill_rank(rank_tokens) + self.prefill_shared(all_tokens)
        return self.decode_rank(rank_tokens) + self.decode_shared(all_tokens)

    def attend_prefill(self, new: float, before: float) -> float:
        return self.prefill_attention(new, before) if new > 0 else 0.0

    def attend_decode(self, batch: float, kv: float) -> float:
        return self.decode_attention(batch, kv / batch) if batch > 0 else 0.0


@dataclass(frozen=True)
class ConstantTimer:
    """Every decode iteration ``decode_s``, every prompt token ``prefill_s_per_token``: queues with known answers."""

    decode_s: float
    prefill_s_per_token: float = 0.0

    def rest(self, rank_tokens: float, all_tokens: float, prefill: bool) -> float:  # noqa: ARG002 - the protocol's
        return 0.0 if prefill else self.decode_s

    def attend_prefill(self, new: float, before: float) -> float:  # noqa: ARG002
        return new * self.prefill_s_per_token

    def attend_decode(self, batch: float, kv: float) -> float:  # noqa: ARG002
        return 0.0


def curve(x: Sequence[float], y: Sequence[float]) -> Curve:
    """A curve from any sequences of numbers."""
    return Curve(tuple(float(v) for v in x), tuple(float(v) for v in y))


def surface(x: Sequence[float], y: Sequence[float], z: Sequence[Sequence[float]]) -> Surface:
    """A surface from any nested sequences of numbers."""
    return Surface(tuple(map(float, x)), tuple(map(float, y)), tuple(tuple(float(v) for v in row) for row in z))
