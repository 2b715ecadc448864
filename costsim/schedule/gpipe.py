"""GPipe: all forwards, then all backwards in reverse order [gpipe, sec. 2.3].

Bubble (pp − 1)(F + B), of (micro_batches + pp − 1)(F + B) in all; every micro-batch's activations are held at once.
"""

from __future__ import annotations

from costsim.num import Num
from costsim.schedule.task import Chunk, Kind, Orders, Pipe, Schedule, Task, check_counts


def orders(pp: int, micro_batches: int, vpp: int = 1) -> Orders:
    """Every rank alike: F of 0 … m − 1, then backwards of m − 1 … 0."""
    check_counts("gpipe", pp, micro_batches, vpp)
    return [
        [Task(Kind.F, rank, m) for m in range(micro_batches)]
        + [Task(Kind.BW, rank, m) for m in reversed(range(micro_batches))]
        for rank in range(pp)
    ]


def published_bubble_s(chunk: Chunk, pipe: Pipe) -> Num:
    """(pp − 1)(F + B) [gpipe, sec. 2.3]: a share (pp − 1)/(m + pp − 1) of the step."""
    return (pipe.pp - 1) * (chunk.forward_s + chunk.backward_s)


def work_s(chunk: Chunk, pipe: Pipe) -> Num:
    """m(F + B)."""
    return pipe.micro_batches * (chunk.forward_s + chunk.backward_s)


def step_s(chunk: Chunk, pipe: Pipe) -> Num:
    """(m + pp − 1)(F + B), and every boundary once each way."""
    return work_s(chunk, pipe) + published_bubble_s(chunk, pipe) + 2 * (pipe.pp - 1) * chunk.send_s


def in_flight(rank: Num, pipe: Pipe) -> Num:
    """All micro-batches, on every rank."""
    return pipe.micro_batches + 0 * rank


GPIPE = Schedule("gpipe", "GPipe", orders, work_s, step_s, published_bubble_s, in_flight)
