"""Num: a scalar for one question, an array for a sweep. Every formula of the library takes both."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

Num = float | NDArray[Any]
