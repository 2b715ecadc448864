"""Pareto filter of two quantities that should both be small."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def pareto(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.intp]:
    """Indices of points that no other point beats in both, in order of x. NaN is never on the front.

    Sort by x then y; a point survives when its y is below everything before it: O(n log n).
    """
    finite = np.flatnonzero(np.isfinite(x) & np.isfinite(y))
    order = finite[np.lexsort((y[finite], x[finite]))]
    if order.size == 0:
        return order
    best = np.minimum.accumulate(y[order])
    keep = np.ones(order.size, dtype=bool)
    keep[1:] = y[order][1:] < best[:-1]
    return order[keep]
