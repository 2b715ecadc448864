"""Interleaved 1F1B: rank r holds the vpp stages r, r + pp, r + 2·pp, … [megatron-1f1b, sec. 2.2.2].

Micro-batches run in groups of pp through one stage of a rank after the other. The bubble shrinks by vpp,
(pp − 1)(F + B) with F and B of one stage, and activations grow by 1 + (pp − 1)/(pp·vpp) [megatron-selective-recompute].
"""

from __future__ import annotations

import numpy as np

from costsim.errors import DoesNotDivide
from costsim.num import Num
from costsim.schedule.task import Chunk, Kind, Orders, Pipe, Schedule, Task, check_counts


def orders(pp: int, micro_batches: int, vpp: int = 1) -> Orders:
    """Rank r: 2(pp − 1 − r) + (vpp − 1)·pp forwards, then F and B in turn, then the backwards that are left.

    Forward k works on stage (k // pp) mod vpp of the rank, backward k on the same counted from its last stage.
    Micro-batches must be a multiple of pp, as in Megatron-LM.
    """
    check_counts("interleaved", pp, micro_batches, vpp, interleaves=True)
    if micro_batches % pp:
        raise DoesNotDivide(
            f"interleaved: {micro_batches} micro-batches do not divide into groups of pp {pp}; "
            f"give a multiple such as {-(-micro_batches // pp) * pp}"
        )
    total, group = micro_batches * vpp, pp * vpp
    local = [(k // group * pp + k % pp, k % group // pp) for k in range(total)]
    ranks = []
    for rank in range(pp):
        forward = [Task(Kind.F, chunk * pp + rank, m) for m, chunk in local]
        backward = [Task(Kind.BW, (vpp - 1 - chunk) * pp + rank, m) for m, chunk in local]
        warm = min(2 * (pp - 1 - rank) + (vpp - 1) * pp, total)
        order = forward[:warm]
        for k in range(total - warm):
            order += [forward[warm + k], backward[k]]
        ranks.append(order + backward[total - warm :])
    return ranks


def published_bubble_s(chunk: Chunk, pipe: Pipe) -> Num:
    """(pp − 1)(F + B), F and B of one stage, which is 1/vpp of a rank's layers [megatron-1f1b, sec. 2.2.2]."""
    return (pipe.pp - 1) * (chunk.forward_s + chunk.backward_s)


def work_s(chunk: Chunk, pipe: Pipe) -> Num:
    """m·vpp·(F + B)."""
    return pipe.micro_batches * pipe.vpp * (chunk.forward_s + chunk.backward_s)


def step_s(chunk: Chunk, pipe: Pipe) -> Num:
    """(m·vpp + pp − 1)(F + B), and every boundary once each way: the longer warm-up hides the other sends."""
    sends = 2 * (pipe.pp * pipe.vpp - 1) * chunk.send_s * (np.asarray(pipe.pp) > 1)
    return work_s(chunk, pipe) + published_bubble_s(chunk, pipe) + sends


def in_flight(rank: Num, pipe: Pipe) -> Num:
    """Stage activations, each 1/vpp of a rank's: 2(pp − 1 − r) + (vpp − 1)·pp + 1, at most m·vpp."""
    return np.minimum(2 * (pipe.pp - 1 - rank) + (pipe.vpp - 1) * pipe.pp + 1, pipe.micro_batches * pipe.vpp)


INTERLEAVED = Schedule(
    "interleaved", "interleaved 1F1B", orders, work_s, step_s, published_bubble_s, in_flight, interleaves=True
)
