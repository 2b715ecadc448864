"""Points: measured numbers, one CSV row each, in the form that contracts between tools fix.

``id,kind,model,accelerator,gpus,precision,plan,load,metric,value,unit,source,confidence,notes``; ``plan`` and
``load`` are ``key=value`` pairs joined by ``;``. SI units.
"""

from __future__ import annotations

import csv
import io
import math
from dataclasses import dataclass
from pathlib import Path

from costsim.errors import Malformed, OutOfRange
from costsim.spec.base import read_text

COLUMNS = ("id", "kind", "model", "accelerator", "gpus", "precision", "plan", "load", "metric", "value", "unit",
           "source", "confidence", "notes")  # fmt: skip
NEEDED = ("id", "kind", "model", "accelerator", "metric", "value")
MAX_BYTES = 50_000_000
MAX_ROWS = 200_000


@dataclass(frozen=True)
class Point:
    """One measured number. ``plan`` and ``load`` stay text values until a question needs them as numbers."""

    id: str
    kind: str
    model: str
    accelerator: str
    gpus: float | None
    precision: str
    plan: dict[str, str]
    load: dict[str, str]
    metric: str
    value: float
    unit: str
    source: str
    confidence: str
    notes: str

    def number(self, key: str, default: float | None = None) -> float:
        """A numeric key of plan or load; raises BadInput that says which statement is missing or odd."""
        text = self.load.get(key, self.plan.get(key))
        if text is None or text == "" or text == "n/a":
            if default is None:
                raise Malformed(f"the row states no {key}")
            return default
        try:
            value = float(text)
        except ValueError:
            raise Malformed(f"{key} = {text[:40]!r} is not a number") from None
        if not math.isfinite(value):
            raise Malformed(f"{key} = {text[:40]!r} is not finite")
        return value


def _pairs(text: str, where: str) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for part in filter(None, (p.strip() for p in text.split(";"))):
        key, equals, value = part.partition("=")
        if not equals or not key.strip():
            raise Malformed(f"{where}: {part[:40]!r} is not key=value")
        pairs[key.strip()] = value.strip()
    return pairs


def _number(text: str, where: str, field: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise Malformed(f"{where}: {field} = {text[:40]!r} is not a number") from None
    if not math.isfinite(value):
        raise Malformed(f"{where}: {field} = {text[:40]!r} is not finite")
    return value


def _positive(text: str, where: str, field: str) -> float:
    value = _number(text, where, field)
    if value <= 0:
        raise OutOfRange(f"{where}: {field} = {text[:40]!r} must be above zero")
    return value


def read_points(path: Path) -> list[Point]:
    """The rows of a points file; BadInput names row and column of the first thing wrong."""
    text = read_text(path, "points", MAX_BYTES)
    try:
        rows = list(csv.DictReader(io.StringIO(text)))
    except csv.Error as error:
        raise Malformed(f"points {path}: not CSV ({error})") from None
    missing = [name for name in NEEDED if rows and name not in rows[0]]
    if missing or not rows:
        raise Malformed(f"points {path}: no column {missing[0]!r}" if missing else f"points {path}: no rows")
    if len(rows) > MAX_ROWS:
        raise Malformed(f"points {path}: more than {MAX_ROWS} rows")
    return [_point(row, f"{path.name} row {i}") for i, row in enumerate(rows, start=1)]


def _point(row: dict[str, str | None], where: str) -> Point:
    get = {name: (row.get(name) or "").strip() for name in COLUMNS}
    return Point(
        id=get["id"],
        kind=get["kind"],
        model=get["model"],
        accelerator=get["accelerator"],
        gpus=_number(get["gpus"], where, "gpus") if get["gpus"] else None,
        precision=get["precision"],
        plan=_pairs(get["plan"], where),
        load=_pairs(get["load"], where),
        metric=get["metric"],
        value=_positive(get["value"], where, "value"),
        unit=get["unit"],
        source=get["source"],
        confidence=get["confidence"],
        notes=get["notes"],
    )
