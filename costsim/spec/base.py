"""What every noun shares: frozen, strict, no unknown keys; and how TOML files are read."""

from __future__ import annotations

import stat
import tomllib
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from costsim.errors import Malformed, UnreadableFile

#: Largest TOML or JSON file read as a specification; the shipped ones are under 10 kB.
MAX_SPEC_BYTES = 1_000_000


class Frozen(BaseModel):
    """An immutable value. Unknown keys and NaN are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, arbitrary_types_allowed=True)


T = TypeVar("T", bound=BaseModel)


def read_text(path: Path, what: str, most: int = MAX_SPEC_BYTES) -> str:
    """The text of a user's file of at most ``most`` bytes, or BadInput: never a traceback. A leading BOM is dropped."""
    try:
        state = path.stat()
        if not stat.S_ISREG(state.st_mode):
            raise UnreadableFile(f"{what} {path}: is not a plain file")
        if state.st_size > most:
            raise UnreadableFile(f"{what} {path}: larger than {most:,} bytes; is this the right file?")
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UnreadableFile(f"{what} {path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise Malformed(f"{what} {path}: not UTF-8 text") from None
    if "\0" in text:
        raise Malformed(f"{what} {path}: not text (it holds NUL bytes)")
    return text


def read_toml(path: Path, what: str) -> dict[str, Any]:
    """The table in a TOML file."""
    try:
        return tomllib.loads(read_text(path, what))
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise Malformed(f"{what} {path}: not valid TOML: {error}") from None


def build(cls: type[T], data: dict[str, Any], where: str) -> T:
    """``cls`` from plain data; the first thing wrong becomes one line that names field and value."""
    try:
        return cls.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "(top level)"
        shown = repr(first.get("input"))[:60]
        raise Malformed(f"{where}: {field}: {first['msg']} (got {shown})") from None
