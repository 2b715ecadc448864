"""DualPipe: micro-batches from both ends at once, a forward of one direction hidden beside a backward of the other.

Rank r holds stages r and pp − 1 − r; half of the micro-batches run down the ranks and half up, so that every rank has
a forward and a backward of different micro-batches to overlap [deepseek-v3-report, sec. 3.2.1; dualpipe].
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import numpy as np

from costsim.errors import DoesNotDivide
from costsim.num import Num
from costsim.schedule.task import Chunk, Kind, Orders, Pipe, Schedule, Task, check_counts


def eight_steps(outer: int, near: int, half: int, locate: Callable[[int, int], tuple[int, int]]) -> list[Task]:
    """One rank's tasks in the eight steps of [dualpipe].

    ``near``: the rank's distance to the nearer end of ``2·outer`` ranks; ``half``: micro-batches of each phase.
    Phase 0 is the direction that enters at that end. ``locate(phase, i)`` gives stage and micro-batch of the i-th.
    """
    inner = outer - near - 1
    forwards, backwards = [0, 0], [0, 0]
    waiting: deque[tuple[int, int]] = deque()
    order: list[Task] = []

    def taken(counts: list[int], phase: int) -> tuple[int, int]:
        counts[phase] += 1
        return locate(phase, counts[phase] - 1)

    def f(phase: int) -> None:
        order.append(Task(Kind.F, *taken(forwards, phase)))

    def b(phase: int, split: bool = False) -> None:
        work = taken(backwards, phase)
        order.append(Task(Kind.B if split else Kind.BW, *work))
        if split:
            waiting.append(work)

    def w() -> None:
        order.append(Task(Kind.W, *waiting.popleft()))

    def pair(forward: int, backward: int) -> None:
        order.append(Task(Kind.PAIR, *taken(forwards, forward), *taken(backwards, backward)))

    for _ in range(2 * inner):  # 1: F0
        f(0)
    for _ in range(near + 1):  # 2: F0 F1
        f(0)
        f(1)
    for _ in range(inner):  # 3: B1 W1 F1
        b(1, split=True)
        w()
        f(1)
    for i in range(half - 2 * outer + near + 1):  # 4: F0&B1 F1&B0
        if i == 0 and inner == 0:
            # The innermost rank sends its forward on before the backward: a smaller bubble than overlapping them.
            f(0)
            b(1)
        else:
            pair(0, 1)
        pair(1, 0)
    for _ in range(inner):  # 5: B1 F1&B0
        b(1)
        pair(1, 0)
    first_split = near + 1  # of the 2(near + 1) backwards of step 6, the second half leaves its W for later
    for i in range(near + 1):  # 6: B1 B0
        b(1, split=2 * i >= first_split)
        b(0, split=2 * i + 1 >= first_split)
    for _ in range(inner):  # 7: W B0
        w()
        b(0, split=True)
    for _ in range(near + 1):  # 8: W
        w()
    return order


def orders(pp: int, micro_batches: int, vpp: int = 1) -> Orders:
    """Micro-batches 0 … m/2 − 1 run down the ranks, the others up. Needs even pp and an even m of at least 2·pp."""
    check_counts("dualpipe", pp, micro_batches, vpp)
    if pp % 2:
        raise DoesNotDivide(f"dualpipe: pp {pp} is odd; every rank needs a mirror, so give an even pp")
    if micro_batches % 2 or micro_batches < 2 * pp:
        raise DoesNotDivide(
            f"dualpipe: {micro_batches} micro-batches; both directions need at least pp {pp} each, so give an even "
            f"number of at least {2 * pp}"
        )
    half = micro_batches // 2

    def one(rank: int) -> list[Task]:
        def locate(phase: int, i: int) -> tuple[int, int]:
            up = phase ^ (rank >= pp // 2)
            return (pp - 1 - rank, half + i) if up else (rank, i)

        return eight_steps(pp // 2, min(rank, pp - 1 - rank), half, locate)

    return [one(rank) for rank in range(pp)]


def published_bubble_s(chunk: Chunk, pipe: Pipe) -> Num:
    """(pp/2 − 1)(F&B + B − 3W), B the full backward [deepseek-v3-report, table 2; dualpipe, readme].

    It holds where overlap gains nothing and a forward takes as long as a backward for the input; see ``step_s``.
    """
    return (pipe.pp / 2 - 1) * (chunk.paired_s + chunk.backward_s - 3 * chunk.weight_s)


def pairs(rank: Num, pipe: Pipe) -> Num:
    """Overlapped chunks of a rank at distance h from its nearer end: m − 3·pp/2 + 1 + h, the innermost one less."""
    near = np.minimum(rank, pipe.pp - 1 - rank)
    innermost = np.where(near == pipe.pp / 2 - 1, 1.0, 0.0)
    return pipe.micro_batches - 1.5 * pipe.pp + 1 + near - innermost


def work_s(chunk: Chunk, pipe: Pipe) -> Num:
    """What the end rank computes: its pairs, and the rest alone."""
    paired = pairs(0, pipe)
    return paired * chunk.paired_s + (pipe.micro_batches - paired) * (chunk.forward_s + chunk.backward_s)


def step_s(chunk: Chunk, pipe: Pipe) -> Num:
    """2H·f + (H + 2)b + 3w + (m − H − 2)·F&B + (H − 1)·max(b, w) + max(H·f, (H − 1)·b), with H = pp/2.

    b is the backward for the input alone and F&B at least as long as f and as b + w. The longest path: fill to the
    middle ranks, whose m − H − 2 pairs bound the steady state, and drain from there to an end.
    """
    half, m = pipe.pp / 2, pipe.micro_batches
    f, b, w = chunk.forward_s, chunk.backward_input_s, chunk.weight_s
    ends = (half - 1) * np.maximum(b, w) + np.maximum(half * f, (half - 1) * b)
    compute = 2 * half * f + (half + 2) * b + 3 * w + (m - half - 2) * chunk.paired_s + ends
    return compute + sends_waited_for(pipe) * chunk.send_s


def sends_waited_for(pipe: Pipe) -> Num:
    """10H − 9 + 4j − 2⌊(j + H − 2)/H⌋ for the j-th pair of micro-batches beyond 2·pp, H = pp/2; m − 1 where pp = 2.

    As in 1F1B, a pair waits for what the neighbour sent at the end of its own: nearly two sends a micro-batch.
    """
    half, m = pipe.pp / 2, pipe.micro_batches
    later = (m - 2 * pipe.pp) / 2
    return np.where(
        np.asarray(half) > 1, 10 * half - 9 + 4 * later - 2 * np.floor((later + half - 2) / half), m - 1.0
    )  # fmt: skip


def in_flight(rank: Num, pipe: Pipe) -> Num:
    """pp + 1 on every rank, its two stages together [dualpipe, readme]."""
    return pipe.pp + 1 + 0 * rank


DUALPIPE = Schedule(
    "dualpipe", "DualPipe", orders, work_s, step_s, published_bubble_s, in_flight, chunks=2,
    mirrored=True, splits_backward=True, overlaps=True,
)  # fmt: skip
