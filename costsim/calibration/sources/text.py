"""What readers of logs share: bounded reading and numbers with the place they came from."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from costsim.errors import Malformed
from costsim.files import json_of, read_text

MAX_LOG_BYTES = 64_000_000


def read_log(path: Path, what: str) -> str:
    """The file's text; BadInput when it is missing, larger than 64 MB or not text."""
    return read_text(path, what, MAX_LOG_BYTES)


def read_object(text: str, where: str) -> dict[str, Any]:
    """A JSON object, or BadInput with the place at fault."""
    document = json_of(text, where)
    if not isinstance(document, dict):
        raise Malformed(f"{where}: expected a JSON object at the top, found {type(document).__name__}")
    return document


def number(value: Any, name: str, where: str, positive: bool = False) -> float:
    """A finite number that is not negative, from text or JSON."""
    try:
        found = float(value) if not isinstance(value, bool) else math.nan
    except (TypeError, ValueError, OverflowError):
        found = math.nan
    if not math.isfinite(found) or found < 0 or (positive and found == 0):
        shown = repr(value)[:40]
        raise Malformed(
            f"{where}: {name} = {shown} must be a {'positive' if positive else 'finite, not negative'} number"
        )
    return found
