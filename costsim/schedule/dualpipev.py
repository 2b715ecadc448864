"""DualPipeV: DualPipe cut in half. Rank r of pp holds stages r and 2·pp − 1 − r, in the shape of a V [dualpipe].

The lower half of DualPipe's ranks runs the mirror image of the upper half; folded onto it, one direction is left, no
layer exists twice, and the last rank hands its forward from its first stage to its second without a wire. The bubble is
that of DualPipe on 2·pp ranks; the weights of a rank are two stages, each 1/(2·pp) of the model.
"""

from __future__ import annotations

from costsim.errors import DoesNotDivide
from costsim.num import Num
from costsim.schedule import dualpipe
from costsim.schedule.task import Chunk, Orders, Schedule, Task, check_counts


def orders(pp: int, micro_batches: int, vpp: int = 1) -> Orders:
    """DualPipe's eight steps with 2·pp stages; needs at least 2·pp micro-batches."""
    check_counts("dualpipev", pp, micro_batches, vpp)
    if micro_batches < 2 * pp:
        raise DoesNotDivide(f"dualpipev: {micro_batches} micro-batches; give at least 2·pp = {2 * pp}")

    def one(rank: int) -> list[Task]:
        return dualpipe.eight_steps(pp, rank, micro_batches, lambda phase, i: (2 * pp - 1 - rank if phase else rank, i))

    return [one(rank) for rank in range(pp)]


def bubble_s(chunk: Chunk, pp: Num, micro_batches: Num, vpp: Num = 1) -> Num:
    """(pp − 1)(F&B + B − 3W), as DualPipe's with 2·pp stages [dualpipe, readme]."""
    return dualpipe.bubble_s(chunk, 2 * pp, 2 * micro_batches)


def step_s(chunk: Chunk, pp: Num, micro_batches: Num, vpp: Num = 1) -> Num:
    """DualPipe's, with 2·pp stages and as many micro-batches through each of a rank's two stages."""
    return dualpipe.step_s(chunk, 2 * pp, 2 * micro_batches)


def in_flight(rank: Num, pp: Num, micro_batches: Num, vpp: Num = 1) -> Num:
    """2·pp + 1 stage activations, each 1/(2·pp) of the model's."""
    return dualpipe.in_flight(rank, 2 * pp, 2 * micro_batches)


DUALPIPEV = Schedule(
    "dualpipev", "DualPipeV", orders, step_s, bubble_s, in_flight, stages_per_rank=lambda vpp: 2,
    weight_copies=1, splits_backward=True, overlaps=True,
)  # fmt: skip
