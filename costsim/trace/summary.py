"""What is said of a trace: records of plain values, ready for tables, figures and JSON. Times in seconds."""

from __future__ import annotations

from dataclasses import dataclass

from costsim.trace.intervals import Intervals


@dataclass(frozen=True)
class StreamUse:
    """One stream of a device, or one thread. ``role`` is what most of its busy time is spent on."""

    name: str
    role: str
    events: int
    busy_s: float
    share_of_wall: float
    largest_gap_s: float


@dataclass(frozen=True)
class FamilyUse:
    """Kernels of one family; ``matrix`` says that they run on matrix units (tensor cores).

    Times of single kernels are added, also where they run side by side; ``exposed_s`` is the part with none of the
    other kind beside it: computing for communication and the other way round.
    """

    name: str
    group: str
    role: str
    matrix: bool
    calls: int
    time_s: float
    share: float
    exposed_s: float


@dataclass(frozen=True)
class KernelUse:
    """Calls of one kernel on one stream."""

    name: str
    stream: str
    family: str
    calls: int
    time_s: float
    mean_s: float
    max_s: float
    blocks: int


@dataclass(frozen=True)
class Overlap:
    """``busy_s`` of the first set of work, and how much of it ran while the second was busy as well.

    ``share_hidden`` = overlapped_s / busy_s; ``share_of_wall`` = overlapped_s / wall.
    """

    what: str
    against: str
    busy_s: float
    overlapped_s: float
    exposed_s: float
    share_hidden: float
    share_of_wall: float


@dataclass(frozen=True)
class Gap:
    """A time without any work on a set of streams, and what stood before and after it."""

    start_s: float
    time_s: float
    before: str
    after: str
    cause: str


@dataclass(frozen=True)
class Idle:
    """Gaps of one set of streams: how many, how long together, and the largest."""

    where: str
    count: int
    time_s: float
    share_of_wall: float
    late_launch_s: float | None
    largest: tuple[Gap, ...]


@dataclass(frozen=True)
class PhaseUse:
    """Work asked for inside one annotation, on one stream. ``occurrences``: how often it was opened (layers, steps)."""

    name: str
    stream: str
    occurrences: int
    kernels: int
    time_s: float
    wait_s: float
    per_occurrence_s: float


@dataclass(frozen=True)
class CollectiveUse:
    """Calls of one collective with the bytes that the profiler recorded, where it did.

    ``bytes`` is what one rank puts in or takes out, the larger; ``bus_bytes_per_s`` what crosses its link by the
    convention of nccl-tests. ``wait_s`` needs the traces of the other ranks.
    """

    name: str
    calls: int
    ranks: int
    bytes: float | None
    time_s: float
    wait_s: float | None
    bus_bytes_per_s: float | None


@dataclass(frozen=True)
class Lane:
    """One row of a timeline: when a stream was busy with one group of work, thinned to what a drawing can show."""

    stream: str
    group: str
    busy: Intervals


@dataclass(frozen=True)
class TraceSummary:
    """One rank's trace."""

    file: str
    rank: str
    device: str
    wall_s: float
    busy_s: float
    streams: tuple[StreamUse, ...]
    families: tuple[FamilyUse, ...]
    kernels: tuple[KernelUse, ...]
    overlaps: tuple[Overlap, ...]
    idle: tuple[Idle, ...]
    phases: tuple[PhaseUse, ...]
    collectives: tuple[CollectiveUse, ...]
    lanes: tuple[Lane, ...]
    notes: tuple[str, ...]
