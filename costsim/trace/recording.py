"""One recording: where spans lie, what was recorded of collectives, and the spans of one file."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

from costsim.trace.columns import MAX_NAME, Spans

_THREAD = re.compile(r"thread (\d+) \((.+)\)")


@dataclass(frozen=True)
class Track:
    """Where spans lie: a stream of a device, or a thread of a process."""

    process: str
    thread: str
    device: bool
    host_process: str = ""
    place: str = ""

    @property
    def label(self) -> str:
        return f"{self.title}, {self.place}" if self.place else self.title

    @property
    def title(self) -> str:
        """``stream 7`` of a device; ``python 4711`` for what Kineto calls ``thread 4711 (python)``."""
        if self.device:
            return f"stream {self.thread}" if self.thread.isdigit() else self.thread
        named = _THREAD.fullmatch(self.thread)
        return self.thread if named is None else f"{named.group(2)} {named.group(1)}"


@dataclass(frozen=True)
class Collective:
    """What the profiler recorded of one collective call."""

    name: str
    elements_in: float
    elements_out: float
    dtype: str
    ranks: int
    group: str


@dataclass(frozen=True)
class Trace:
    """One file. ``ops`` are the host's operators, ``ranges`` its annotations; ``details`` shapes and collectives."""

    file: str
    rank: int | None
    world: int | None
    devices: tuple[str, ...]
    names: tuple[str, ...]
    tracks: tuple[Track, ...]
    details: tuple[Any, ...]
    kernels: Spans
    launches: Spans
    ops: Spans
    ranges: Spans
    device_ranges: Spans
    notes: tuple[str, ...]

    @property
    def shown(self) -> str:
        """The rank where it is known, else the file."""
        return self.file if self.rank is None else f"rank {self.rank}"


def told_apart_tracks(tracks: list[Track]) -> tuple[Track, ...]:
    """Tracks of equal title carry their device or process with it."""
    count = Counter(track.title for track in tracks)
    return tuple(
        replace(track, place=track.host_process or f"{'device' if track.device else 'process'} {track.process}")
        if count[track.title] > 1
        else track
        for track in tracks
    )


def printable(text: str) -> str:
    """Text without control characters, line breaks and lone surrogates."""
    return "".join(char if char.isprintable() else "?" for char in text[:MAX_NAME])
