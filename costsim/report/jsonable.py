"""Any answer as strict JSON: NaN and infinity become null, numpy and frozen values become plain ones."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from costsim.errors import spelled_out


def jsonable(value: Any) -> Any:
    """Plain JSON data for ``value``; whatever has no JSON form becomes its text."""
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, str):
        # a file name that is not UTF-8 arrives with lone surrogates, which no JSON file can hold
        return value.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, Mapping):
        return {str(jsonable(key)): jsonable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [jsonable(item) for item in value]
    if isinstance(value, (set, frozenset)):
        return sorted((jsonable(item) for item in value), key=str)
    return _jsonable_object(value)


def _jsonable_object(value: Any) -> Any:
    if hasattr(value, "tolist"):  # numpy arrays and scalars, without importing numpy
        return jsonable(value.tolist())
    if hasattr(value, "model_dump"):
        return jsonable(value.model_dump())
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: jsonable(getattr(value, field.name)) for field in dataclasses.fields(value)}
    return str(jsonable(str(value))) if not isinstance(value, Path) else str(value)


def dumps(value: Any, indent: int | None = 2) -> str:
    """One JSON document, with a newline at its end."""
    return spelled_out(json.dumps(jsonable(value), indent=indent, allow_nan=False, ensure_ascii=False)) + "\n"
