"""One question: every field of a plan and load is one number or one word, refused by its name before any arithmetic."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np

from costsim.errors import OutOfRange
from costsim.num import Num

_NUMBERS = (int, float, np.integer, np.floating)
#: no deployment comes near either; beyond them arithmetic would only overflow
LARGEST, SMALLEST = 1e15, 1e-9
#: fields that count devices, parts or sequences: whole and at least one
_COUNTS = ("gpus", "tp", "pp", "vpp", "ep", "cp", "moe_tp", "micro_batch", "global_batch")
#: lengths of one sequence in tokens; means need not be whole
_LENGTHS = ("isl", "osl", "context", "seq")
#: loads of nothing are no question
_POSITIVE = ("tokens_per_gpu", "batch_per_gpu", "concurrency", "tokens")


def check_values(*parts: Any) -> None:
    """Refuse, by field, what is not one finite number (or word) in a range that can mean something.

    Arrays are for sweeps. Which words and which divisors are right is checked later.
    """
    for part in parts:
        for field in fields(part):
            value = getattr(part, field.name)
            if value is None and field.default is None:
                continue
            if isinstance(field.default, str):
                if not isinstance(value, str):
                    raise OutOfRange(f"{field.name} = {_shown(value)}: must be a word")
                continue
            _check_number(field.name, value)


def _check_number(name: str, value: Any) -> None:
    if isinstance(value, bool | np.bool_ | str) or np.ndim(value) or not isinstance(value, _NUMBERS):
        raise OutOfRange(f"{name} = {_shown(value)}: one number is needed here; ranges go to `costsim search`")
    if not 0 <= value <= LARGEST:
        raise OutOfRange(f"{name} = {_shown(value)}: must be from 0 to {LARGEST:g}")
    if name in _COUNTS and (value < 1 or value != int(value)):
        raise OutOfRange(f"{name} = {_shown(value)}: must be a whole number of at least 1")
    if name in _LENGTHS and value < 1:
        raise OutOfRange(f"{name} = {_shown(value)}: must be at least 1 token")
    if name in _POSITIVE and value < SMALLEST:
        raise OutOfRange(f"{name} = {_shown(value)}: must be above zero")


def most_cards(gpus: Num) -> int:
    """Cards of the largest plan in a sweep, for its standard cluster; values that a rule throws out do not count."""
    cards = np.asarray(gpus, dtype=float)
    return int(np.max(cards[np.isfinite(cards)], initial=1.0))


def _shown(value: Any) -> str:
    if isinstance(value, int) and abs(value) > LARGEST:
        return "a number of many digits"  # Python refuses to write out the longest ones
    return f"{value:g}" if isinstance(value, float) else str(value)[:40]
