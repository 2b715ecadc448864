"""Zero bubble, ZB-H1 (ZB1P): 1F1B whose weight gradients wait, to fill the drain [zero-bubble, sec. 2.3.1].

Rank r delays its weight gradients by r micro-batches, so that every rank holds pp and the memory of 1F1B's first rank
is the memory of all.
"""

from __future__ import annotations

import numpy as np

from costsim.num import Num
from costsim.schedule.one_f_one_b import sends_waited_for
from costsim.schedule.task import Chunk, Kind, Orders, Pipe, Schedule, Task, check_counts


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


def published_bubble_s(chunk: Chunk, pipe: Pipe) -> Num:
    """(pp − 1)(F + B − 2W), B the full backward [zero-bubble, sec. 2.3.1; dualpipe, readme].

    It holds while a weight gradient takes no longer than a forward and than a backward for the input.
    """
    return (pipe.pp - 1) * (chunk.forward_s + chunk.backward_s - 2 * chunk.weight_s)


def work_s(chunk: Chunk, pipe: Pipe) -> Num:
    """m(F + B)."""
    return pipe.micro_batches * (chunk.forward_s + chunk.backward_s)


def step_s(chunk: Chunk, pipe: Pipe) -> Num:
    """m(F + B) + (pp − 1)(f + b) − (min(m, pp) − 1)·min(f, b, w), with b for the input alone.

    A weight gradient that waits fills one gap of the drain each; what it saves is the shortest of the three. Sends
    delay the first pp + 2 micro-batches as in 1F1B; behind them the weight gradients that wait hide the rest.
    """
    f, b, w = chunk.forward_s, chunk.backward_input_s, chunk.weight_s
    filled = (np.minimum(pipe.micro_batches, pipe.pp) - 1) * np.minimum(np.minimum(f, b), w)
    sends = np.minimum(sends_waited_for(pipe), 4 * (pipe.pp - 1))
    return work_s(chunk, pipe) + (pipe.pp - 1) * (f + b) - filled + sends * chunk.send_s


def in_flight(rank: Num, pipe: Pipe) -> Num:
    """pp on every rank: pp − r between forward and backward, r that wait for their weight gradients."""
    return np.minimum(pipe.pp + 0 * rank, pipe.micro_batches)


ZERO_BUBBLE = Schedule(
    "zb1p", "zero bubble (ZB-H1)", orders, work_s, step_s, published_bubble_s, in_flight, splits_backward=True
)
