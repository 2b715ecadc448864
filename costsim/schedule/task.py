"""Task and Schedule: what a rank does next, and what every schedule's file gives."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from costsim.errors import DoesNotDivide, OutOfRange
from costsim.num import Num

if TYPE_CHECKING:
    from costsim.schedule.program import Program


class Kind(IntEnum):
    """What a task does. B and W are the two halves of a backward that zero-bubble schedules split [zero-bubble]."""

    F = 0  #: forward
    B = 1  #: backward for the input alone
    W = 2  #: backward for the weights alone
    BW = 3  #: full backward
    PAIR = 4  #: forward of one micro-batch overlapped with the full backward of another
    SEND = 5  #: a boundary tensor on its way to another rank


#: how reports name kinds
KIND_NAMES = {
    Kind.F: "forward", Kind.B: "backward input", Kind.W: "weight gradient", Kind.BW: "backward",
    Kind.PAIR: "forward & backward", Kind.SEND: "send",
}  # fmt: skip


class Task(NamedTuple):
    """One chunk on a rank's compute lane; ``back_*`` name what the backward half of a PAIR works on."""

    kind: Kind
    stage: int
    micro_batch: int
    back_stage: int = -1
    back_micro_batch: int = -1


#: tasks of every rank, in the order each rank runs them
Orders = list[list[Task]]


@dataclass(frozen=True)
class Chunk:
    """Equal stages, for closed forms: seconds of one micro-batch on one virtual stage. Every field broadcasts.

    ``pair_s``: an overlapped forward and full backward, at least as long as either; None is one after the other.
    ``send_s``: a boundary tensor to the next rank, short against the rest.
    """

    forward_s: Num
    backward_input_s: Num
    weight_s: Num
    pair_s: Num | None = None
    send_s: Num = 0.0

    @property
    def backward_s(self) -> Num:
        """A full backward."""
        return self.backward_input_s + self.weight_s

    @property
    def paired_s(self) -> Num:
        """``pair_s``, or its default."""
        return self.forward_s + self.backward_s if self.pair_s is None else self.pair_s


@dataclass(frozen=True)
class Pipe:
    """Shape of a pipeline, for closed forms: ranks, micro-batches, virtual stages per rank. Every field broadcasts."""

    pp: Num
    micro_batches: Num
    vpp: Num = 1


@dataclass(frozen=True)
class Schedule:
    """One pipeline schedule.

    - ``orders(pp, micro_batches, vpp)``: the tasks of each rank. Raises BadInput for numbers it cannot run.
    - ``work_s(chunk, pipe)``: what the first rank computes in a step of equal stages; broadcasts.
    - ``step_s(chunk, pipe)``: what that step takes: the event timeline's answer, in one formula; broadcasts.
    - ``published_bubble_s(chunk, pipe)``: the bubble as its paper states it, which may hold for special times only.
    - ``in_flight(rank, pipe)``: peak number of stage activations held on a rank; broadcasts.
    - ``chunks``: stages on a rank, times vpp where the schedule interleaves; ``mirrored``: every layer is on two ranks.
    - ``splits_backward``, ``overlaps``: whether weight gradients are delayed, and whether chunks run in pairs.
    """

    name: str
    title: str
    orders: Callable[[int, int, int], Orders]
    work_s: Callable[[Chunk, Pipe], Num]
    step_s: Callable[[Chunk, Pipe], Num]
    published_bubble_s: Callable[[Chunk, Pipe], Num]
    in_flight: Callable[[Num, Pipe], Num]
    chunks: int = 1
    interleaves: bool = False
    mirrored: bool = False
    splits_backward: bool = False
    overlaps: bool = False

    @property
    def weight_copies(self) -> int:
        """How often each layer's weights exist along the pipeline."""
        return 2 if self.mirrored else 1

    def bubble_s(self, chunk: Chunk, pipe: Pipe) -> Num:
        """What the first rank waits in a step of equal stages."""
        return self.step_s(chunk, pipe) - self.work_s(chunk, pipe)

    def uneven_step_s(self, mean: Chunk, busiest: Chunk, pipe: Pipe) -> Num:
        """A step whose stages differ, for sweeps: it fills and drains at the mean stage and runs at the busiest rank.

        ``busiest``: the mean over the stages of the rank with the most work (of DualPipe, over both its stages).
        Against timelines with stages within ±10 % and at least six micro-batches a rank: −1 … +3 %, mostly above.
        """
        return self.step_s(mean, pipe) + self.work_s(busiest, pipe) - self.work_s(mean, pipe)

    def stages_of(self, rank: int, pp: int, vpp: int = 1) -> list[int]:
        """The virtual stages that a rank holds."""
        if self.mirrored or self.chunks == 2:
            return [rank, self.stages(pp, vpp) - 1 - rank]
        return list(range(rank, self.stages(pp, vpp), pp))

    def stages(self, pp: int, vpp: int = 1) -> int:
        """Number of virtual stages the model is cut into."""
        return pp if self.mirrored else pp * self.chunks * (vpp if self.interleaves else 1)

    def program(self, pp: int, micro_batches: int, vpp: int = 1) -> Program:
        """The tasks with their dependencies, ready to run with any stage times; kept for the next call."""
        check_counts(self.name, pp, micro_batches, vpp, self.interleaves)
        return _program(self, int(pp), int(micro_batches), int(vpp))


@lru_cache(maxsize=16)
def _program(schedule: Schedule, pp: int, micro_batches: int, vpp: int) -> Program:
    from costsim.schedule.program import compiled

    return compiled(schedule.orders(pp, micro_batches, vpp), schedule.stages(pp, vpp), micro_batches)


#: tasks of one step beyond which a timeline is refused: it would take minutes and gigabytes
MAX_TASKS = 2_000_000


def check_counts(name: str, pp: int, micro_batches: int, vpp: int = 1, interleaves: bool = False) -> None:
    """Refuse counts that no order exists for; ``interleaves`` lets ``vpp`` pass 1."""
    for what, value in (("pp", pp), ("micro-batches", micro_batches), ("vpp", vpp)):
        if isinstance(value, bool) or not 1 <= value < math.inf or int(value) != value:
            raise OutOfRange(f"{name}: {what} must be a whole number of at least 1, not {value}")
    if vpp > 1 and not interleaves:
        raise DoesNotDivide(f"{name}: vpp {vpp} needs the interleaved schedule; give vpp 1")
    if 3 * pp * micro_batches * vpp > MAX_TASKS:
        raise OutOfRange(
            f"{name}: pp {pp} × {micro_batches} micro-batches × vpp {vpp} is more than {MAX_TASKS:,} tasks; "
            "use the closed form or fewer micro-batches"
        )
