"""Num: a scalar for one question, an array for a sweep. Every formula of the library takes both."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: a name for annotations only: what names it need not load numpy, which a list of options does not need
Num: TypeAlias = "float | NDArray[Any]"
