"""Lists and ranges in options: ``8,16,32``, ``1:1024`` (inclusive), ``64:1024:64``, and any mix of them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

from costsim.errors import BadQuantity, OutOfRange

#: values that one option may stand for; more would only fill the memory
MAX_VALUES = 5_000_000
#: a range ends on its last value even where floating-point steps fall just short of it
_STEP_SLACK = 1e-9
_FORMS = "a number, a list 8,16,32, a range 1:1024 or a range with a step 64:1024:64"


def parse_grid(
    text: str,
    field: str,
    whole: bool = True,
    minimum: float = -math.inf,
    maximum: float = math.inf,
) -> list[int] | list[float]:
    """The values that ``text`` stands for, each once, in the order written.

    ``whole`` accepts integers only (``1e6`` is one). Raises BadInput, naming ``field``, for anything that is
    not a number, an empty or downward range, a value outside [minimum, maximum], or over 5 million values.
    """
    values: dict[float, None] = {}
    for item in text.split(","):
        values.update(dict.fromkeys(_expand(item, field, whole, MAX_VALUES - len(values))))
    for value in (min(values), max(values)):
        if not minimum <= value <= maximum:
            limit = f"at least {minimum:g}" if value < minimum else f"at most {maximum:g}"
            raise OutOfRange(f"{field}: {value:g} is out of range; it must be {limit}")
    return [int(value) for value in values] if whole else list(values)


def _expand(item: str, field: str, whole: bool, room: int) -> Sequence[float]:
    parts = item.split(":")
    if not 1 <= len(parts) <= 3:
        raise BadQuantity(f"{field}: {item[:60]!r} has too many colons; write {_FORMS}")
    numbers = [_number(part, field, whole) for part in parts]
    if len(numbers) == 1:
        count, first, step = 1, numbers[0], 1.0
    else:
        first, last, step = numbers[0], numbers[1], numbers[2] if len(numbers) == 3 else 1.0
        if step <= 0 or last < first:
            raise BadQuantity(
                f"{field}: range {item[:60]!r} is empty; write it upward with a positive step, like 64:1024:64"
            )
        steps = (last - first) / step
        count = math.floor(steps + _STEP_SLACK) + 1 if steps <= MAX_VALUES else MAX_VALUES + 1
    if count > room:
        raise OutOfRange(
            f"{field}: {item[:60]!r} makes more than {MAX_VALUES:,} values; use a larger step, like 1:1000000:100"
        )
    return [first + index * step for index in range(count)]


def _number(text: str, field: str, whole: bool) -> float:
    try:
        value = float(text)
    except ValueError:
        raise BadQuantity(f"{field}: {text.strip()[:60]!r} is not a number; write {_FORMS}") from None
    if not math.isfinite(value):
        raise BadQuantity(f"{field}: {text.strip()[:60]!r} is not finite; write {_FORMS}")
    if whole and value != int(value):
        raise BadQuantity(f"{field}: {text.strip()[:60]!r} is not a whole number; nearest: {round(value)}")
    return value


def points(grid: Mapping[str, Sequence[Any]], limit: int) -> list[dict[str, Any]]:
    """Every combination of the values, the last key fastest; BadInput where there are more than ``limit``."""
    count = math.prod(len(values) for values in grid.values())
    if count > limit:
        raise OutOfRange(
            f"these ranges make {count:,} combinations; this verb answers {limit:,} (`costsim search` takes millions)"
        )
    return [dict(zip(grid, combination, strict=True)) for combination in itertools.product(*grid.values())]
