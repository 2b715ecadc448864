"""What every noun shares: frozen, strict, no unknown keys; and how TOML files are read."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError, model_validator

from costsim.errors import Malformed
from costsim.files import MAX_SPEC_BYTES, read_text, toml_of

__all__ = [
    "MAX_SPEC_BYTES",
    "CatalogId",
    "Frozen",
    "OwnId",
    "build",
    "listed",
    "plain",
    "read_text",
    "read_toml",
    "refuse_far",
]


#: no number or text of a specification comes near; token counts of a run reach 1e14
MAX_WHOLE, MAX_LETTERS = 10**16, 5_000


class Frozen(BaseModel):
    """An immutable value. Unknown keys, NaN and what is larger than any specification are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, arbitrary_types_allowed=True)

    @model_validator(mode="before")
    @classmethod
    def _bounded(cls, raw: Any) -> Any:
        """No whole number that would overflow later, no text that would flood a page."""
        for key, value in raw.items() if isinstance(raw, dict) else ():
            if isinstance(value, int) and abs(value) > MAX_WHOLE:
                raise ValueError(f"{str(key)[:40]}: whole numbers are at most {MAX_WHOLE:.0e} here")
            if isinstance(value, str) and len(value) > MAX_LETTERS:
                raise ValueError(f"{str(key)[:40]}: a text of {len(value):,} letters; at most {MAX_LETTERS:,}")
        return raw


T = TypeVar("T", bound=BaseModel)


def read_toml(path: Path, what: str) -> dict[str, Any]:
    """The table in a TOML file."""
    return toml_of(read_text(path, what), f"{what} {path}")


def build(cls: type[T], data: dict[str, Any], where: str) -> T:
    """``cls`` from plain data; the first thing wrong becomes one line that names field and value."""
    try:
        return cls.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part)[:40] for part in first["loc"]) or "(top level)"
        shown = repr(first.get("input"))[:60]
        raise Malformed(f"{where}: {field}: {first['msg']} (got {shown})") from None


_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+ -]*")


def plain(name: str) -> str:
    """The name, where it can stand in the name of a file: no path, no sign that a shell or a terminal would obey."""
    if len(name) > 100 or _ID.fullmatch(name) is None:
        raise Malformed(f"{name[:60]!r}: letters, digits and . _ + - alone make a name, the first a letter or digit")
    return name


def listed(name: str) -> str:
    """The name that a file gives, where it can be an id of a catalog: what a file says is never followed as a path."""
    if name and (plain(name).endswith((".toml", ".json")) or Path(name).is_dir()):
        raise Malformed(f"{name[:60]!r} is not an id of a catalog; a file may not name another file here")
    return name


#: a field of a file that names a model, an accelerator or a cluster of the catalog
CatalogId = Annotated[str, AfterValidator(listed)]
#: the id that a file gives to what it describes
OwnId = Annotated[str, AfterValidator(plain)]


def refuse_far(name: str, file: Path, where: str) -> None:
    """BadInput where ``name``, a value in ``file``, leads to a file outside that file's folder and the current one."""
    if name.endswith((".toml", ".json")) or "/" in name or "\\" in name or name in (".", ".."):
        try:
            target = Path(name).resolve()
            near = [target.is_relative_to(folder) for folder in (file.resolve().parent, Path().resolve())]
        except (OSError, RuntimeError, ValueError):
            near = [False]
        if not any(near):
            raise Malformed(f"{where}: {name[:60]!r} lies outside the folder of {file.name} and the current one")
