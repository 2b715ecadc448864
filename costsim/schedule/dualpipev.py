"""DualPipeV: DualPipe cut in half. Rank r of pp holds stages r and 2·pp − 1 − r, in the shape of a V [dualpipe].

The lower half of DualPipe's ranks runs the mirror image of the upper half; folded onto it, one direction is left, no
layer exists twice, and the last rank hands its forward from its first stage to its second without a wire. The bubble is
that of DualPipe on 2·pp ranks; the weights of a rank are two stages, each 1/(2·pp) of the model.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from costsim.errors import DoesNotDivide
from costsim.num import Num
from costsim.schedule import dualpipe
from costsim.schedule.task import Chunk, Orders, Pipe, Schedule, Task, check_counts


def orders(pp: int, micro_batches: int, vpp: int = 1) -> Orders:
    """DualPipe's eight steps with 2·pp stages; needs at least 2·pp micro-batches."""
    check_counts("dualpipev", pp, micro_batches, vpp)
    if micro_batches < 2 * pp:
        raise DoesNotDivide(f"dualpipev: {micro_batches} micro-batches; give at least 2·pp = {2 * pp}")

    def one(rank: int) -> list[Task]:
        return dualpipe.eight_steps(pp, rank, micro_batches, lambda phase, i: (2 * pp - 1 - rank if phase else rank, i))

    return [one(rank) for rank in range(pp)]


def as_dualpipe(pipe: Pipe) -> Pipe:
    """The DualPipe of which this is one half: twice the ranks, and as many micro-batches again from the other end."""
    return Pipe(2 * pipe.pp, 2 * pipe.micro_batches)


def published_bubble_s(chunk: Chunk, pipe: Pipe) -> Num:
    """(pp − 1)(F&B + B − 3W), as DualPipe's with 2·pp stages [dualpipe, readme]."""
    return dualpipe.published_bubble_s(chunk, as_dualpipe(pipe))


def work_s(chunk: Chunk, pipe: Pipe) -> Num:
    """What the first rank computes, as in DualPipe."""
    return dualpipe.work_s(chunk, as_dualpipe(pipe))


def step_s(chunk: Chunk, pipe: Pipe) -> Num:
    """DualPipe's with 2·pp stages, but for the sends: where the V turns there is none."""
    compute = dualpipe.step_s(replace(chunk, send_s=0.0), as_dualpipe(pipe))
    return compute + sends_waited_for(pipe) * chunk.send_s


def sends_waited_for(pipe: Pipe) -> Num:
    """9·pp − 13 + 4j − 4⌊(j + pp − 2)/pp⌋ for the j-th micro-batch beyond 2·pp; none where pp = 1."""
    later = pipe.micro_batches - 2 * pipe.pp
    many = 9 * pipe.pp - 13 + 4 * later - 4 * np.floor((later + pipe.pp - 2) / pipe.pp)
    return np.where(np.asarray(pipe.pp) > 1, many, 0.0)


def in_flight(rank: Num, pipe: Pipe) -> Num:
    """2·pp + 1 stage activations, each 1/(2·pp) of the model's."""
    return dualpipe.in_flight(rank, as_dualpipe(pipe))


DUALPIPEV = Schedule(
    "dualpipev", "DualPipeV", orders, work_s, step_s, published_bubble_s, in_flight, chunks=2,
    splits_backward=True, overlaps=True,
)  # fmt: skip
