"""1F1B: after a warm-up of one forward per rank behind, forwards and backwards alternate [megatron-1f1b, sec. 2.2.1].

The bubble is GPipe's, (pp − 1)(F + B), but rank r holds only pp − r micro-batches.
"""

from __future__ import annotations

import numpy as np

from costsim.num import Num
from costsim.schedule.task import Chunk, Kind, Orders, Schedule, Task, check_counts


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


def bubble_s(chunk: Chunk, pp: Num, micro_batches: Num, vpp: Num = 1) -> Num:
    """(pp − 1)(F + B) [megatron-1f1b, sec. 2.2.1; dualpipe, readme]."""
    return (pp - 1) * (chunk.forward_s + chunk.backward_s)


def step_s(chunk: Chunk, pp: Num, micro_batches: Num, vpp: Num = 1) -> Num:
    """(m + pp − 1)(F + B)."""
    return micro_batches * (chunk.forward_s + chunk.backward_s) + bubble_s(chunk, pp, micro_batches)


def in_flight(rank: Num, pp: Num, micro_batches: Num, vpp: Num = 1) -> Num:
    """pp − rank: one for every rank from here to the last."""
    return np.minimum(pp - rank, micro_batches)


ONE_F_ONE_B = Schedule("1f1b", "1F1B", orders, step_s, bubble_s, in_flight, stages_per_rank=lambda vpp: 1)
