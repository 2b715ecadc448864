"""Interleaved 1F1B: rank r holds the vpp stages r, r + pp, r + 2·pp, … [megatron-1f1b, sec. 2.2.2].

Micro-batches run in groups of pp through one stage of a rank after the other. The bubble shrinks by vpp,
(pp − 1)(F + B) with F and B of one stage, and activations grow by 1 + (pp − 1)/(pp·vpp) [megatron-selective-recompute].
"""

from __future__ import annotations

import numpy as np

from costsim.errors import DoesNotDivide
from costsim.num import Num
from costsim.schedule.task import Chunk, Kind, Orders, Schedule, Task, check_counts


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


def bubble_s(chunk: Chunk, pp: Num, micro_batches: Num, vpp: Num = 1) -> Num:
    """(pp − 1)(F + B), F and B of one stage, which is 1/vpp of a rank's layers [megatron-1f1b, sec. 2.2.2]."""
    return (pp - 1) * (chunk.forward_s + chunk.backward_s)


def step_s(chunk: Chunk, pp: Num, micro_batches: Num, vpp: Num = 1) -> Num:
    """(m·vpp + pp − 1)(F + B)."""
    return micro_batches * vpp * (chunk.forward_s + chunk.backward_s) + bubble_s(chunk, pp, micro_batches)


def in_flight(rank: Num, pp: Num, micro_batches: Num, vpp: Num = 1) -> Num:
    """Stage activations, each 1/vpp of a rank's: 2(pp − 1 − r) + (vpp − 1)·pp + 1, at most m·vpp."""
    return np.minimum(2 * (pp - 1 - rank) + (vpp - 1) * pp + 1, micro_batches * vpp)


INTERLEAVED = Schedule(
    "interleaved", "interleaved 1F1B", orders, step_s, bubble_s, in_flight, stages_per_rank=lambda vpp: vpp
)
