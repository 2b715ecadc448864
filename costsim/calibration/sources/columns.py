"""Measurements of one family as columns, turned into rows: what table-shaped sources share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from costsim.calibration.measurement import Measurement

Array = NDArray[np.float64]
MS, US = 1e-3, 1e-6


def floats(frame: pd.DataFrame, *names: str) -> list[Array]:
    """Columns as float arrays."""
    return [frame[name].to_numpy(float) for name in names]


def groups(frame: pd.DataFrame, by: list[str]) -> Iterator[tuple[list[Any], pd.DataFrame]]:
    """(values, rows) of each combination of the columns ``by``, of which there are two or more."""
    for key, part in frame.groupby(by):
        yield list(key), part


@dataclass(frozen=True)
class Columns:
    """Arrays of one length; scalars stand for every row. ``rows`` leaves out times that are not positive."""

    family: str
    dtype: str
    source: str
    time_s: Any
    flop: Any = 0.0
    bytes: Any = 0.0
    shape: Mapping[str, Any] = field(default_factory=dict)
    wire: Mapping[str, Any] = field(default_factory=dict)

    def rows(self) -> Iterator[Measurement]:
        """One measurement a row."""
        count = len(self.time_s)
        parts = (self._spread(self.time_s), self._spread(self.flop), self._spread(self.bytes))
        records = (self._records(self.shape, count), self._records(self.wire, count))
        for time_s, flop, moved, shape, wire in zip(*parts, *records, strict=True):
            if time_s > 0:
                yield Measurement(self.family, self.dtype, time_s, self.source, flop, moved, shape, wire)

    def _spread(self, value: Any) -> list[float]:
        spread: list[float] = np.broadcast_to(np.asarray(value, dtype=float), len(self.time_s)).tolist()
        return spread

    def _records(self, columns: Mapping[str, Any], count: int) -> list[dict[str, float]]:
        if not columns:
            return [{}] * count
        values = [self._spread(value) for value in columns.values()]
        return [dict(zip(columns, row, strict=True)) for row in zip(*values, strict=True)]
