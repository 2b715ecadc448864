"""Program: the orders of all ranks as arrays, with what each task waits for. Made once, run with any stage times."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from costsim.errors import Contradiction, Deadlock
from costsim.schedule.task import KIND_NAMES, Kind, Task

Index = NDArray[np.int64]

#: lanes of a rank: its cores, and its network interface, which sends one boundary tensor after the other
COMPUTE, WIRE = 0, 1


@dataclass(frozen=True, eq=False)
class Program:
    """Tasks [tasks] sorted so that a task comes after all it waits for; sends are tasks of their own on the wire lane.

    ``before`` [tasks, 3]: the previous task of the lane, and what the forward and the backward half need; ``tasks``
    itself stands for nothing. Tasks ``levels[i]:levels[i + 1]`` depend on earlier levels only, so they start together.
    A send's ``stage`` is the one it leaves, its ``back_stage`` the one it reaches.
    """

    ranks: int
    stages: int
    micro_batches: int
    rank: Index
    lane: Index
    kind: Index
    stage: Index
    micro_batch: Index
    back_stage: Index
    back_micro_batch: Index
    before: Index
    levels: tuple[int, ...]

    @property
    def tasks(self) -> int:
        """How many tasks there are, sends included."""
        return len(self.rank)

    def forward_half(self) -> NDArray[np.bool_]:
        """Tasks that run a forward."""
        return np.isin(self.kind, (Kind.F, Kind.PAIR))

    def backward_half(self) -> tuple[NDArray[np.bool_], Index, Index]:
        """Tasks that run a backward for the input, and, for all tasks, the stage and micro-batch of that half."""
        paired = self.kind == Kind.PAIR
        holds = paired | (self.kind == Kind.B) | (self.kind == Kind.BW)
        return holds, np.where(paired, self.back_stage, self.stage), np.where(
            paired, self.back_micro_batch, self.micro_batch
        )  # fmt: skip


def compiled(orders: Sequence[Sequence[Task]], stages: int, micro_batches: int) -> Program:
    """Check ``orders`` (one list per rank), find what each task waits for, and sort.

    Raises BadInput when a micro-batch does not pass every stage exactly once each way, Deadlock when tasks wait for
    each other in a circle.
    """
    counts = [len(order) for order in orders]
    table = np.array([task for order in orders for task in order], dtype=np.int64).reshape(-1, 5)
    kind, stage, micro, back_stage, back_micro = table.T
    rank = np.repeat(np.arange(len(orders)), counts)
    paired = kind == Kind.PAIR
    forward = (kind == Kind.F) | paired
    backward = paired | (kind == Kind.B) | (kind == Kind.BW)
    b_stage, b_micro = np.where(paired, back_stage, stage), np.where(paired, back_micro, micro)
    shape = (stages, micro_batches)
    f_at = _once("forward", forward, stage, micro, shape)
    b_at = _once("backward", backward, b_stage, b_micro, shape)
    split = kind[b_at] == Kind.B
    w_at = _once("weight gradient", kind == Kind.W, stage, micro, shape, split)
    if (rank[f_at] != rank[b_at]).any() or (rank[w_at] != rank[b_at])[split].any():
        raise Contradiction("schedule: a stage's forward and backward of one micro-batch are on different ranks")

    n = len(kind)
    before = np.full((n, 3), -1, dtype=np.int64)
    before[1:, 0] = np.where(rank[1:] == rank[:-1], np.arange(n - 1), -1)
    _keep_rank_order(f_at, b_at, np.where(split, w_at, n), orders, rank)
    # Forward outputs go down the stages, gradients up. Where the next stage is on the same rank, nothing is sent.
    makes = np.concatenate((f_at[:-1].ravel(), b_at[1:].ravel()))
    takes = np.concatenate((f_at[1:].ravel(), b_at[:-1].ravel()))
    column = np.repeat((1, 2), f_at[1:].size)
    leaves = np.concatenate((stage[makes[: f_at[1:].size]], b_stage[makes[f_at[1:].size :]]))
    before[takes, column] = makes
    sent = np.flatnonzero(rank[makes] != rank[takes])
    sent = sent[np.lexsort((column[sent], makes[sent]))]
    makes, takes, column, leaves = makes[sent], takes[sent], column[sent], leaves[sent]
    sends = n + np.arange(len(sent))
    before[takes, column] = sends
    previous = np.full(len(sent), -1)
    previous[1:] = np.where(rank[makes][1:] == rank[makes][:-1], sends[:-1], -1)
    before = np.concatenate((before, np.stack((previous, makes, np.full(len(sent), -1)), axis=1)))
    micro_sent = np.where(column == 1, micro[makes], b_micro[makes])
    reaches = np.where(column == 1, leaves + 1, leaves - 1)
    columns = {
        "rank": np.concatenate((rank, rank[makes])),
        "lane": np.concatenate((np.full(n, COMPUTE), np.full(len(sent), WIRE))),
        "kind": np.concatenate((kind, np.full(len(sent), Kind.SEND))),
        "stage": np.concatenate((stage, leaves)),
        "micro_batch": np.concatenate((micro, micro_sent)),
        "back_stage": np.concatenate((back_stage, reaches)),
        "back_micro_batch": np.concatenate((back_micro, np.full(len(sent), -1))),
    }
    return _sorted(len(orders), stages, micro_batches, columns, before)


def _once(
    what: str, which: NDArray[np.bool_], stage: Index, micro: Index, shape: tuple[int, int],
    wanted: NDArray[np.bool_] | None = None,
) -> Index:  # fmt: skip
    """Index of the task that does ``what`` for every stage and micro-batch (0 where not ``wanted``)."""
    tasks = np.flatnonzero(which)
    inside = (stage[tasks] >= 0) & (stage[tasks] < shape[0]) & (micro[tasks] >= 0) & (micro[tasks] < shape[1])
    if not inside.all():
        task = tasks[np.argmin(inside)]
        raise Contradiction(f"schedule: {what} of stage {stage[task]}, micro-batch {micro[task]}, outside of {shape}")
    times = np.bincount(stage[tasks] * shape[1] + micro[tasks], minlength=shape[0] * shape[1]).reshape(shape)
    wrong = np.argwhere(times != (1 if wanted is None else wanted))
    if len(wrong):
        s, m = wrong[0]
        raise Contradiction(f"schedule: {what} of stage {s}, micro-batch {m} runs {times[s, m]} times, not once")
    at = np.zeros(shape, dtype=np.int64)
    at[stage[tasks], micro[tasks]] = tasks
    return at


def _keep_rank_order(f_at: Index, b_at: Index, w_at: Index, orders: Sequence[Sequence[Task]], rank: Index) -> None:
    """A rank that runs a backward before its own forward, or W before B, would wait for itself."""
    tasks = [task for order in orders for task in order]
    for first, then in ((f_at, b_at), (b_at, w_at)):
        wrong = np.argwhere(first >= then)
        if len(wrong):
            s, m = wrong[0]
            task = int(then[s, m])
            raise Deadlock(
                f"deadlock: rank {rank[task]} runs {_named(tasks[task].kind, int(s), int(m))} before "
                f"the {KIND_NAMES[Kind(tasks[first[s, m]].kind)]} it needs"
            )


def _sorted(ranks: int, stages: int, micro_batches: int, columns: dict[str, Any], before: Index) -> Program:
    """Tasks level by level: a level is all whose predecessors are in earlier ones."""
    n = len(before)
    edges = [(before[:, c][before[:, c] >= 0], np.flatnonzero(before[:, c] >= 0)) for c in range(3)]
    source = np.concatenate([a for a, _ in edges])
    target = np.concatenate([b for _, b in edges])
    target = target[np.argsort(source, kind="stable")]
    first = np.concatenate(([0], np.cumsum(np.bincount(source, minlength=n))))
    waits = (before >= 0).sum(axis=1)
    found, levels = [np.flatnonzero(waits == 0)], [0]
    while len(found[-1]):
        done = found[-1]
        levels.append(levels[-1] + len(done))
        counts = first[done + 1] - first[done]
        offsets = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        freed, times = np.unique(target[np.repeat(first[done], counts) + offsets], return_counts=True)
        waits[freed] -= times
        found.append(freed[waits[freed] == 0])
    order = np.concatenate(found)
    if len(order) < n:
        raise _deadlock(np.flatnonzero(waits > 0), before, columns)
    place = np.empty(n + 1, dtype=np.int64)
    place[order] = np.arange(n)
    place[n] = n
    sorted_before = place[np.where(before < 0, n, before)[order]]
    return Program(
        ranks, stages, micro_batches, **{name: values[order] for name, values in columns.items()},
        before=sorted_before, levels=tuple(levels),
    )  # fmt: skip


def _deadlock(stuck: Index, before: Index, columns: dict[str, Any]) -> Deadlock:
    """Follow what stuck tasks wait for until it comes round."""
    left, path = set(stuck.tolist()), [int(stuck[0])]
    while path[-1] not in path[:-1]:
        path.append(next(int(p) for p in before[path[-1]] if int(p) in left))
    circle = path[path.index(path[-1]) :]
    words = [
        f"rank {columns['rank'][t]} {_named(columns['kind'][t], columns['stage'][t], columns['micro_batch'][t])}"
        for t in circle
        if columns["lane"][t] == COMPUTE
    ]
    shown = words if len(words) <= 6 else [*words[:5], f"… {len(words) - 5} more"]
    return Deadlock(f"deadlock: each of these waits for the next, in a circle: {'; '.join(shown)}")


def _named(kind: int, stage: int, micro: int) -> str:
    return f"{KIND_NAMES[Kind(kind)]} of stage {stage}, micro-batch {micro}"
