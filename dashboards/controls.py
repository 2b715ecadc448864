"""Controls: what a page lets its reader choose. One declaration gives widget, URL key, check and option of the verb."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, TypeAdapter, ValidationError

from dashboards.patterns import GRID

Kind = Literal["word", "whole", "real", "text", "flag", "words"]

#: headings of folds
MORE, LAYOUT, ENGINE = "More settings", "Layout", "Engine"
POOL = "Separate prefill pool"


@dataclass(frozen=True)
class Control:
    """``name`` is the verb's option (``option`` where they differ), ``short`` the key in links.

    ``default`` may depend on the page's mode. ``options``: words to choose from, or a function that lists them.
    ``modes``: where the control is shown, all if empty. A value of None means the verb's own default; ``empty`` says
    what that is. ``fold`` is the heading that it is folded away under. ``help`` is an example of what to type, ``note``
    a sentence about this page's use of the setting.
    """

    name: str
    short: str
    kind: Kind
    label: str
    default: Any = None
    options: Sequence[str] | Callable[[], Sequence[str]] = ()
    span: tuple[float, float] = (0, 1e9)
    pattern: str = GRID
    modes: tuple[str, ...] = ()
    fold: str = ""
    help: str = ""
    note: str = ""
    option: str = ""
    empty: str = "default"

    @property
    def flag(self) -> str:
        """The option of the verb."""
        return f"--{(self.option or self.name).replace('_', '-')}"

    def at(self, mode: str) -> Any:
        """The default in a mode."""
        return self.default.get(mode) if isinstance(self.default, Mapping) else self.default

    def choices(self) -> Sequence[str]:
        """The words to choose from."""
        return self.options() if callable(self.options) else self.options

    def shown(self, mode: str) -> bool:
        """Whether the control belongs to a mode."""
        return not self.modes or mode in self.modes

    def checked(self, value: Any) -> Any:
        """The value if it is one of this control's; raises ValueError otherwise. None stands for the default."""
        if value is None or value == "":
            return [] if self.kind == "words" else None
        if self.kind == "words" and isinstance(value, str):
            value = [word for word in value.split(",") if word]
        try:
            return self._type().validate_python(value)
        except ValidationError as error:
            raise ValueError(error.errors()[0]["msg"]) from None

    def _type(self) -> TypeAdapter[Any]:
        known = tuple(self.choices())
        if self.kind in ("word", "words"):
            one = Annotated[str, AfterValidator(lambda text: _among(text, known))]
            return TypeAdapter(Annotated[list[one], Field(max_length=24)] if self.kind == "words" else one)
        return _plain_type(self.kind, *self.span, self.pattern)


def _among(text: str, known: Sequence[str]) -> str:
    if text not in known:
        raise ValueError("not one of those known here")
    return text


@lru_cache(maxsize=256)
def _plain_type(kind: Kind, low: float, high: float, pattern: str) -> TypeAdapter[Any]:
    if kind == "whole":
        return TypeAdapter(Annotated[int, Field(ge=low, le=high)])
    if kind == "real":
        return TypeAdapter(Annotated[float, Field(ge=low, le=high, allow_inf_nan=False)])
    if kind == "flag":
        return TypeAdapter(bool)
    return TypeAdapter(Annotated[str, Field(pattern=pattern, max_length=160)])


def url_text(value: Any) -> str:
    """A value as it stands in a link."""
    if isinstance(value, bool):
        return "1" if value else "0"
    if isinstance(value, float):
        return f"{value:.12g}"
    return ",".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def options_of(
    controls: Sequence[Control], values: Mapping[str, Any], mode: str, spelled: Callable[[str], str]
) -> list[str]:
    """The values as options of a verb, ``--flag=value``: no value can pass for an option. ``spelled`` opens own ids."""
    argv = []
    for control in controls:
        value = values.get(control.name)
        if value is None or value is False or value == [] or not control.shown(mode):
            continue
        words = value if isinstance(value, (list, tuple)) else [value]
        text = ",".join(spelled(url_text(word)) for word in words)
        argv.append(control.flag if value is True else f"{control.flag}={text}")
    return argv
