"""Num: a scalar for one question, an array for a sweep. Every formula of the library takes both."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Num = float | NDArray[np.float64]
