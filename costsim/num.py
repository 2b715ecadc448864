"""Num: a scalar for one question, an array for a sweep. Every formula of the library takes both."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Num = float | NDArray[Any]


def single(value: Num) -> float:
    """The one element of what a single question gave; ValueError where there are more."""
    return float(np.asarray(value).item())
