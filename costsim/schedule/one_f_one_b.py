"""1F1B: after a warm-up of one forward per rank behind, forwards and backwards alternate [megatron-1f1b, sec. 2.2.1].

The bubble is GPipe's, (pp − 1)(F + B), but rank r holds only pp − r micro-batches.
"""

from __future__ import annotations

import numpy as np

from costsim.num import Num
from costsim.schedule.task import Chunk, Kind, Orders, Pipe, Schedule, Task, check_counts


def orders(pp: int, micro_batches: int, vpp: int = 1) -> Orders:
    """Rank r: pp − 1 − r forwards, then F and B in turn, then the backwards that are left."""
    check_counts("1f1b", pp, micro_batches, vpp)
    ranks = []
    for rank in range(pp):
        warm = min(pp - 1 - rank, micro_batches)
        order = [Task(Kind.F, rank, m) for m in range(warm)]
        for m in range(micro_batches - warm):
            order += [Task(Kind.F, rank, warm + m), Task(Kind.BW, rank, m)]
        ranks.append(order + [Task(Kind.BW, rank, m) for m in range(micro_batches - warm, micro_batches)])
    return ranks


def published_bubble_s(chunk: Chunk, pipe: Pipe) -> Num:
    """(pp − 1)(F + B) [megatron-1f1b, sec. 2.2.1; dualpipe, readme]."""
    return (pipe.pp - 1) * (chunk.forward_s + chunk.backward_s)


def work_s(chunk: Chunk, pipe: Pipe) -> Num:
    """m(F + B)."""
    return pipe.micro_batches * (chunk.forward_s + chunk.backward_s)


def sends_waited_for(pipe: Pipe) -> Num:
    """Every boundary once each way, and then nearly two a micro-batch: 2(pp − 1 + (m − 1) − ⌈(m − 1)/pp⌉).

    A rank's next forward waits for the backward before it, so a micro-batch that goes to the next rank and comes back
    as a gradient holds both up; only one in pp starts a round of its own.
    """
    later = pipe.micro_batches - 1
    return 2 * (pipe.pp - 1 + later - np.ceil(later / pipe.pp))


def step_s(chunk: Chunk, pipe: Pipe) -> Num:
    """(m + pp − 1)(F + B), and the sends that are waited for."""
    return work_s(chunk, pipe) + published_bubble_s(chunk, pipe) + sends_waited_for(pipe) * chunk.send_s


def in_flight(rank: Num, pipe: Pipe) -> Num:
    """pp − rank: one for every rank from here to the last."""
    return np.minimum(pipe.pp - rank, pipe.micro_batches)


ONE_F_ONE_B = Schedule("1f1b", "1F1B", orders, work_s, step_s, published_bubble_s, in_flight)
