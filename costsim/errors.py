"""What can be wrong with what a user asked, each as one line: what, where, what would work.

Everything here is the user's to mend, so the command line turns it into exit status 2.
Anything else that escapes is a defect of costsim (exit status 1).
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

#: letters of a message: what is longer loses its middle, since where and what would work stand at its ends
LONGEST = 300


#: what a terminal obeys instead of showing it: controls, and signs that turn the direction of writing or break lines
_OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")


def tame(text: str) -> str:
    """``text`` with a question mark for every sign that a terminal would obey; line breaks and tabs stay."""
    return _OBEYED.sub("?", text)


def spelled_out(text: str) -> str:
    """JSON text with those signs as escapes: they can only stand inside its strings."""
    return _OBEYED.sub(lambda sign: f"\\u{ord(sign.group()):04x}", text)


def one_line(text: str, most: int = LONGEST) -> str:
    """``text`` on one line of at most ``most`` letters; what a terminal would obey (escapes, controls, signs that turn
    the direction of writing) is spelled out, since names and values come from files."""
    line = " ".join(text[: 100 * most].split())
    if not line.isprintable():
        line = "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in line)
    if len(line) > most:
        line = f"{line[: most * 2 // 3]} … {line[3 - most // 3 :]}"
    return line


class BadInput(ValueError):
    """Input that cannot be answered. The message is one line and says what would work."""

    code = "bad-input"

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))


class UnknownName(BadInput):
    """A name that no catalog holds; the nearest names are offered."""

    code = "unknown-name"

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        known = sorted(known)
        near = difflib.get_close_matches(name.lower(), known, n=3, cutoff=0.4) or known[:8]
        super().__init__(f"unknown {kind} {name[:80]!r}; nearest: {', '.join(near) or 'none'}")


class UnknownField(BadInput):
    """A datasheet field that the question needs and no source states."""

    code = "unknown-field"


class UnsupportedDtype(BadInput):
    """A number format that the accelerator does not have."""

    code = "unsupported-dtype"


class DoesNotDivide(BadInput):
    """A parallel plan that does not divide the model or the cluster."""

    code = "does-not-divide"


class DoesNotFit(BadInput):
    """A plan whose memory exceeds the device; the binding term is named."""

    code = "does-not-fit"
