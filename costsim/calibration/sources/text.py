"""What readers of logs share: bounded reading and numbers with the place they came from."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from costsim.errors import BadInput

MAX_LOG_BYTES = 64_000_000


def read_log(path: Path, what: str) -> str:
    """The file's text; BadInput when it is missing, larger than 64 MB or not text."""
    try:
        if path.stat().st_size > MAX_LOG_BYTES:
            raise BadInput(f"{what} {path}: larger than {MAX_LOG_BYTES // 1_000_000} MB; give one run a file")
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise BadInput(f"{what} {path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise BadInput(f"{what} {path}: not UTF-8 text") from None
    if "\0" in text:
        raise BadInput(f"{what} {path}: not text (it holds NUL bytes)")
    return text


def read_object(text: str, where: str) -> dict[str, Any]:
    """A JSON object, or BadInput with the line at fault."""
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        raise BadInput(f"{where} line {error.lineno}: not JSON ({error.msg})") from None
    except (RecursionError, ValueError):
        raise BadInput(f"{where}: not JSON that can be read (nested too deeply, or a number too long)") from None
    if not isinstance(document, dict):
        raise BadInput(f"{where}: expected a JSON object at the top, found {type(document).__name__}")
    return document


def number(value: Any, name: str, where: str, positive: bool = False) -> float:
    """A finite number that is not negative, from text or JSON."""
    try:
        found = float(value) if not isinstance(value, bool) else math.nan
    except (TypeError, ValueError, OverflowError):
        found = math.nan
    if not math.isfinite(found) or found < 0 or (positive and found == 0):
        shown = repr(value)[:40]
        raise BadInput(
            f"{where}: {name} = {shown} must be a {'positive' if positive else 'finite, not negative'} number"
        )
    return found
