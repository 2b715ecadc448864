"""What can be wrong with what a user asked, each as one line: what, where, what would work.

Everything here is the user's to mend, so the command line turns it into exit status 2.
Anything else that escapes is a defect of costsim (exit status 1).
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class BadInput(ValueError):
    """Input that cannot be answered. The message is one line and says what would work."""

    code = "bad-input"

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))


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
