"""How long answers get: a log-normal or exponential law clipped at the limit, solved for its stated mean.

An answer that reaches the limit is cut there, so L = min(X, max) has an atom at max. All quantities broadcast over
the parameters; times t add a last axis.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from costsim.errors import OutOfRange
from costsim.num import Num
from costsim.spec.post_training import LENGTH_LAWS

#: parts of the integrals over answer length, narrow where answers are short: edges at max·(i/POINTS)³
POINTS = 400
_NEWTON_FREE_STEPS = 80
#: clipped means nearer to the limit than this are answers of one length
_NO_TAIL = 1e-6

_erfc = np.vectorize(math.erfc, otypes=[float])


def _above(z: Any) -> Any:
    """P(Z > z) of a standard normal."""
    return 0.5 * _erfc(z / math.sqrt(2.0))


@dataclass(frozen=True)
class LengthLaw:
    """``scale``: median of the log-normal or mean of the exponential before clipping; inf where all are ``most``."""

    kind: str
    scale: Num
    sigma: Num
    mean: Num
    most: Num

    def survival(self, t: Num) -> Any:
        """P(L > t): 0 from the limit on, 1 below it where every answer has the limit's length."""
        t = np.asarray(t, dtype=float)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            raw = np.exp(-t / self.scale) if self.kind == "exponential" else _above(np.log(t / self.scale) / self.sigma)
        raw = np.where(np.isinf(np.asarray(self.scale)) | (t <= 0), 1.0, raw)
        return np.where(t < self.most, raw, 0.0)

    def grid(self) -> tuple[Any, Any]:
        """(t, dt): midpoints and widths of POINTS parts of 0 … max."""
        edges = float(np.max(self.most)) * (np.arange(POINTS + 1) / POINTS) ** 3
        return (edges[1:] + edges[:-1]) / 2.0, np.diff(edges)

    def expected_max(self, n: Num) -> float:
        """E[longest of n answers] = ∫ 1 − (1 − S(t))ⁿ dt."""
        t, width = self.grid()
        return float(np.sum(some_left(self.survival(t), n) * width))


def some_left(survival: Any, n: Num) -> Any:
    """P(at least one of n answers is still being written)."""
    return -np.expm1(np.asarray(n, dtype=float) * np.log1p(-np.minimum(survival, 1.0 - 1e-12)))


def clipped_mean(kind: str, scale: Num, sigma: Num, most: Num) -> Any:
    """E[min(X, m)]: b(1 − e^(−m/b)) for the exponential; e^(μ+σ²/2)·Φ(z − σ) + m·Φ(−z), z = (ln m − μ)/σ."""
    scale, most = np.asarray(scale, dtype=float), np.asarray(most, dtype=float)
    if kind == "exponential":
        return -scale * np.expm1(-most / scale)
    z = np.log(most / scale) / sigma
    return scale * np.exp(np.square(sigma) / 2.0) * _above(sigma - z) + most * _above(z)


def length_law(kind: str, mean: Num, most: Num, sigma: Num) -> LengthLaw:
    """The law whose answers, clipped at ``most``, have this ``mean``; bisection on the scale.

    Raises BadInput for a mean above the limit. A mean at the limit means that every answer has that length.
    """
    if kind not in LENGTH_LAWS:
        raise OutOfRange(f"law: {kind[:40]!r} is not one of {', '.join(LENGTH_LAWS)}")
    mean, most, sigma = (np.asarray(v, dtype=float) for v in (mean, most, sigma))
    if np.any(mean > most):
        raise OutOfRange(f"response_mean = {float(np.max(mean)):g} is above response_max = {float(np.min(most)):g}")
    if not np.all((sigma > 0) & (sigma <= 3)):
        raise OutOfRange(f"sigma = {float(np.min(sigma)):g}: must be above 0 and at most 3")
    fixed = mean >= most * (1.0 - _NO_TAIL)
    low, high = np.log(mean) - 6.0, np.log(most) + 16.0 * np.maximum(sigma, 1.0)
    for _ in range(_NEWTON_FREE_STEPS):
        middle = (low + high) / 2.0
        short = clipped_mean(kind, np.exp(middle), sigma, most) < mean
        low, high = np.where(short, middle, low), np.where(short, high, middle)
    scale = np.where(fixed, np.inf, np.exp((low + high) / 2.0))
    return LengthLaw(kind, scale, sigma, mean, most)


def square_mean(law: LengthLaw) -> float:
    """E[L²] = ∫ 2t·S(t) dt."""
    t, width = law.grid()
    return float(np.sum(2.0 * t * law.survival(t) * width))
