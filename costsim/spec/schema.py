"""Versions of file formats: which one a file is written in, and the steps that carry an old file over while reading."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from costsim.errors import UnknownSchema

#: what turns a document of one version into one of the next
Step = Callable[[dict[str, Any]], dict[str, Any]]


def carried(
    document: Mapping[str, Any], where: str, current: int, steps: Mapping[int, Step], absent: int
) -> dict[str, Any]:
    """The document as version ``current`` without its ``schema`` key; a file that has none is of version ``absent``.

    Raises UnknownSchema for a version that is no number, newer than this costsim, or older than any step.
    """
    said = document.get("schema", absent)
    if isinstance(said, bool) or not isinstance(said, int):
        raise UnknownSchema(
            f"{where}: schema = {str(said)[:40]!r}: a whole number is needed; this costsim is at {current}"
        )
    oldest = min([*steps, current])
    if said > current:
        raise UnknownSchema(f"{where}: schema = {str(said)[:20]}: this costsim reads {oldest} to {current}; upgrade it")
    if said < oldest:
        raise UnknownSchema(
            f"{where}: schema = {str(said)[:20]}: this costsim reads {oldest} to {current}; write it anew"
        )
    found = {key: value for key, value in document.items() if key != "schema"}
    for version in range(said, current):
        found = steps[version](found)
    return found
