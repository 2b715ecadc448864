"""Zero bubble, ZB-H1 (ZB1P): 1F1B whose weight gradients wait, to fill the drain [zero-bubble, sec. 2.3.1].

Rank r delays its weight gradients by r micro-batches, so that every rank holds pp and the memory of 1F1B's first rank
is the memory of all.
"""

from __future__ import annotations

import numpy as np

from costsim.num import Num
from costsim.schedule.task import Chunk, Kind, Orders, Schedule, Task, check_counts


def orders(pp: int, micro_batches: int, vpp: int = 1) -> Orders:
    """Rank r: 1F1B in F and B; from its B number r on, each B is followed by the oldest W that waits; the rest last."""
    check_counts("zb1p", pp, micro_batches, vpp)
    ranks = []
    for rank in range(pp):
        warm = min(pp - 1 - rank, micro_batches)
        order = [Task(Kind.F, rank, m) for m in range(warm)]
        for m in range(micro_batches):
            if warm + m < micro_batches:
                order.append(Task(Kind.F, rank, warm + m))
            order.append(Task(Kind.B, rank, m))
            if m >= rank:
                order.append(Task(Kind.W, rank, m - rank))
        ranks.append(order + [Task(Kind.W, rank, m) for m in range(max(micro_batches - rank, 0), micro_batches)])
    return ranks


def bubble_s(chunk: Chunk, pp: Num, micro_batches: Num, vpp: Num = 1) -> Num:
    """(pp − 1)(F + B − 2W), B the full backward [zero-bubble, sec. 2.3.1; dualpipe, readme]."""
    return (pp - 1) * (chunk.forward_s + chunk.backward_s - 2 * chunk.weight_s)


def step_s(chunk: Chunk, pp: Num, micro_batches: Num, vpp: Num = 1) -> Num:
    """m(F + B) + bubble."""
    return micro_batches * (chunk.forward_s + chunk.backward_s) + bubble_s(chunk, pp, micro_batches)


def in_flight(rank: Num, pp: Num, micro_batches: Num, vpp: Num = 1) -> Num:
    """pp on every rank: pp − r between forward and backward, r that wait for their weight gradients."""
    return np.minimum(pp + 0 * rank, micro_batches)


ZERO_BUBBLE = Schedule(
    "zb1p", "zero bubble (ZB-H1)", orders, step_s, bubble_s, in_flight, stages_per_rank=lambda vpp: 1,
    splits_backward=True,
)  # fmt: skip
