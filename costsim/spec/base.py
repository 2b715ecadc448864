"""What every noun shares: frozen, strict, no unknown keys; and how TOML files are read."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
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
    "cited",
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
        raise Malformed(f"{where}: {field}: {_wrong(first, field, _fields(cls, first['loc'][:-1]))}") from None


#: what pydantic calls a wrong type, in the words of the file
_NEEDED = {
    "string_type": "a text in quotes is needed", "bool_type": "true or false is needed",
    "bool_parsing": "true or false is needed", "list_type": "a list is needed", "tuple_type": "a list is needed",
    "model_type": "a table is needed, with a line for each field", "float_parsing": "a number is needed",
    "dict_type": "a table is needed, with a line for each field", "int_type": "a whole number is needed",
    "float_type": "a number is needed", "int_parsing": "a whole number is needed",
    "int_from_float": "a whole number is needed", "finite_number": "a finite number is needed",
}  # fmt: skip


def _wrong(first: Mapping[str, Any], field: str, known: Sequence[str]) -> str:
    """What is wrong with one field, and what it held: a table or a list by its kind, never by its content."""
    kind, got = str(first["type"]), first.get("input")
    name = field.rpartition(".")[2]
    if kind == "missing":
        return "is missing"
    if kind == "extra_forbidden":
        near = get_close_matches(name, known, n=3, cutoff=0.4) or list(known)[:8]
        return f"no such field; nearest: {', '.join(near) or 'none'}"
    said = _NEEDED.get(kind) or str(first["msg"]).removeprefix("Value error, ")
    for prefix in (f"{field}: ", f"{name}: "):
        said = said.removeprefix(prefix)
    if kind.endswith("_error") and isinstance(got, dict | list | tuple):  # our own words name what is wrong in it
        return said
    shown = "a table" if isinstance(got, dict) else "a list" if isinstance(got, list | tuple) else repr(got)[:60]
    return f"{said} (got {shown})"


def _fields(cls: type[BaseModel], path: Sequence[int | str]) -> list[str]:
    """The fields of the table at ``path`` of a file; none where the path leads through a list or a free table."""
    for part in path:
        field = cls.model_fields.get(str(part))
        inner = None if field is None else field.annotation
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            return []
        cls = inner
    return list(cls.model_fields)


def cited(raw: dict[str, Any]) -> dict[str, Any]:
    """A table of a file with ``source``, a key of the bibliography or a list of them, as ``sources``."""
    source = raw.get("source", ())
    if not isinstance(source, (str, list, tuple)):
        raise ValueError("source: expected a key of the bibliography, or a list of them")
    sources = (source,) if isinstance(source, str) else tuple(source)
    return {key: value for key, value in raw.items() if key != "source"} | {"sources": sources}


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
