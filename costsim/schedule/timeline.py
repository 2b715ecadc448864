"""Timeline: when every task of a step starts and ends, on every rank's cores and wire, and what follows from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

from costsim.errors import Contradiction, OutOfRange
from costsim.schedule.program import COMPUTE, Index, Program
from costsim.schedule.stage import Seconds, StageTimes
from costsim.schedule.task import Kind

#: parts of a rank's step, as measured tables name them [deepseek-isca-2025, table 4]
PARTS = ("forward_s", "backward_s", "weight_s", "pair_s", "bubble_s")
_PART_OF = {
    "forward_s": (Kind.F,), "backward_s": (Kind.B, Kind.BW), "weight_s": (Kind.W,), "pair_s": (Kind.PAIR,),
}  # fmt: skip

#: task times of all draws together beyond which memory runs to gigabytes
MAX_DRAWN = 10_000_000


def run(program: Program, times: StageTimes, slowdown: ArrayLike = 1.0) -> Timeline:
    """Every task as soon as its rank is free and what it needs has arrived.

    ``slowdown`` [ranks] or one number stretches the compute tasks of a rank: stragglers.
    Raises BadInput when ``times`` holds another number of stages than the program.
    """
    start, end = moments(program, durations(program, times, slowdown))
    return Timeline(program, times, start, end)


def step_seconds(program: Program, many: Sequence[StageTimes], slowdowns: Sequence[ArrayLike] | None = None) -> Seconds:
    """Step seconds [len(many)] of one program under many stage times (and stragglers), in one pass."""
    factors = [1.0] * len(many) if slowdowns is None else slowdowns
    columns = [durations(program, times, factor) for times, factor in zip(many, factors, strict=True)]
    _, end = moments(program, np.stack(columns, axis=1))
    return np.asarray(end.max(axis=0), dtype=float)


def varied_step_seconds(program: Program, times: StageTimes, variation: float, draws: int, seed: int = 0) -> Seconds:
    """Step seconds [draws] when chunks vary: each compute task takes its time × a log-normal factor of mean 1.

    ``variation``: standard deviation over mean of one chunk, as measured or from the spread of expert loads between
    micro-batches. A pipeline waits for the longest of many chunks, so the mean step grows though no mean chunk does.
    Raises BadInput for a negative variation or no draws.
    """
    if not (np.isfinite(variation) and variation >= 0) or draws < 1 or draws * program.tasks > MAX_DRAWN:
        most = max(1, MAX_DRAWN // program.tasks)
        raise OutOfRange(f"timeline: variation {variation}, draws {draws}; give 0 or more, and 1 to {most} draws")
    width = np.sqrt(np.log1p(variation**2))
    compute = program.lane == COMPUTE
    normal = np.random.default_rng(seed).standard_normal((int(compute.sum()), draws))
    duration = np.repeat(durations(program, times)[:, None], draws, axis=1)
    duration[compute] *= np.exp(width * normal - width**2 / 2)
    _, end = moments(program, duration)
    return np.asarray(end.max(axis=0), dtype=float)


def durations(program: Program, times: StageTimes, slowdown: ArrayLike = 1.0) -> Seconds:
    """Seconds of each task, [tasks]."""
    if times.stages != program.stages:
        raise Contradiction(f"timeline: stage times of {times.stages} stages for a schedule of {program.stages}")
    stretch = np.asarray(slowdown, dtype=float)
    if stretch.shape not in ((), (program.ranks,)) or not np.isfinite(stretch).all() or (stretch <= 0).any():
        raise OutOfRange(f"timeline: slowdown must be a positive number or one for each of {program.ranks} ranks")
    stage, back, kind = program.stage, program.back_stage, program.kind
    seconds = np.zeros(program.tasks)
    for one, values in (
        (Kind.F, times.forward_s), (Kind.B, times.backward_input_s), (Kind.W, times.weight_s),
        (Kind.BW, times.backward_s),
    ):  # fmt: skip
        seconds = np.where(kind == one, values[stage], seconds)
    seconds = np.where(kind == Kind.PAIR, times.pairs_s[stage, np.maximum(back, 0)], seconds)
    seconds = seconds * np.broadcast_to(stretch, program.ranks)[program.rank]
    sends = kind == Kind.SEND
    seconds[sends] = np.asarray(times.send_s)[np.minimum(stage, back)[sends]]
    return np.asarray(seconds, dtype=float)


def moments(program: Program, duration: Seconds) -> tuple[Seconds, Seconds]:
    """Start and end of each task, from durations [tasks, ...]: it starts when the last of what it waits for ends."""
    start = np.zeros(duration.shape)
    end = np.zeros((program.tasks + 1, *duration.shape[1:]))
    before, levels = program.before, program.levels
    for a, b in pairwise(levels):
        end[before[a:b]].max(axis=1, out=start[a:b])
        np.add(start[a:b], duration[a:b], out=end[a:b])
    return start, end[:-1]


@dataclass(frozen=True, eq=False)
class Timeline:
    """One step, task by task. ``start_s`` and ``end_s`` are [tasks], beside the program's rank, lane, kind, …"""

    program: Program
    times: StageTimes
    start_s: Seconds
    end_s: Seconds

    @property
    def rank(self) -> Index:
        """Rank of each task."""
        return self.program.rank

    @property
    def lane(self) -> Index:
        """COMPUTE or WIRE, of each task."""
        return self.program.lane

    @property
    def kind(self) -> Index:
        """Kind of each task."""
        return self.program.kind

    @property
    def stage(self) -> Index:
        """Virtual stage of each task (of a pair, its forward's)."""
        return self.program.stage

    @property
    def micro_batch(self) -> Index:
        """Micro-batch of each task (of a pair, its forward's)."""
        return self.program.micro_batch

    @property
    def step_s(self) -> float:
        """From the first task's start to the last one's end."""
        return float(self.end_s.max())

    @property
    def busy_s(self) -> Seconds:
        """Seconds of compute tasks on each rank, [ranks]."""
        on = self.lane == COMPUTE
        return self._by_rank(on)

    @property
    def bubble_s(self) -> Seconds:
        """Seconds that a rank computes nothing, [ranks]."""
        return self.step_s - self.busy_s

    @property
    def send_s(self) -> Seconds:
        """Seconds that a rank's wire carries boundary tensors, [ranks]; hidden but where a neighbour waits."""
        return self._by_rank(self.kind == Kind.SEND)

    def parts(self) -> dict[str, Seconds]:
        """PARTS by name, each [ranks]: forward alone, backward alone, weight gradients alone, overlapped pairs, and
        bubble. They add up to the step on every rank."""
        parts = {name: self._by_rank(np.isin(self.kind, kinds)) for name, kinds in _PART_OF.items()}
        return parts | {"bubble_s": self.bubble_s}

    def mean_parts(self) -> dict[str, float]:
        """``parts`` averaged over the ranks; they add up to the step too."""
        return {name: float(values.mean()) for name, values in self.parts().items()}

    def count(self, kind: Kind) -> Index:
        """How many tasks of a kind each rank runs, [ranks]."""
        return np.bincount(self.rank[self.kind == kind], minlength=self.program.ranks)

    def all_to_all_s(self) -> Seconds:
        """Seconds of all-to-all inside each task, [tasks]; zero for sends and weight gradients."""
        forward, backward = np.asarray(self.times.forward_wire_s), np.asarray(self.times.backward_wire_s)
        holds, back_stage, _ = self.program.backward_half()
        inside = np.where(self.program.forward_half(), forward[self.stage], 0.0)
        inside = inside + np.where(holds, backward[np.maximum(back_stage, 0)], 0.0)
        return np.minimum(inside, self.end_s - self.start_s)

    def held(self, rank: int, activation: ArrayLike = 1.0, kept_for_weight: ArrayLike | None = None) -> Held:
        """What the activations of a rank hold over time.

        ``activation`` [stages] or one number: what one micro-batch's forward leaves on a stage (bytes, or 1 to count).
        It is held from the start of the forward to the end of the backward. Where the backward is split,
        ``kept_for_weight`` of it (default: all) stays until the weight gradient is done.
        """
        size = np.broadcast_to(np.asarray(activation, dtype=float), self.program.stages)
        kept = size if kept_for_weight is None else np.broadcast_to(
            np.asarray(kept_for_weight, dtype=float), self.program.stages
        )  # fmt: skip
        here = self.rank == rank
        holds, back_stage, _ = self.program.backward_half()
        begins, finishes = here & self.program.forward_half(), here & holds
        last = here & (self.kind == Kind.W)
        split = self.kind[finishes] == Kind.B
        stage = back_stage[finishes]
        time = np.concatenate((self.start_s[begins], self.end_s[finishes], self.end_s[last]))
        change = np.concatenate((
            size[self.stage[begins]], np.where(split, kept[stage] - size[stage], -size[stage]), -kept[self.stage[last]],
        ))  # fmt: skip
        order = np.lexsort((change, time))  # at one moment, what ends frees before what starts takes
        return Held(time[order], np.cumsum(change[order]))

    def peak_held(self, activation: ArrayLike = 1.0, kept_for_weight: ArrayLike | None = None) -> Seconds:
        """The peak of ``held`` on every rank, [ranks]."""
        ranks = range(self.program.ranks)
        return np.array([self.held(rank, activation, kept_for_weight).peak for rank in ranks])

    def _by_rank(self, which: NDArray[np.bool_]) -> Seconds:
        length = (self.end_s - self.start_s)[which]
        return np.asarray(np.bincount(self.rank[which], weights=length, minlength=self.program.ranks), dtype=float)


@dataclass(frozen=True, eq=False)
class Held:
    """A staircase: from ``time_s[i]`` on, ``amount[i]`` is held."""

    time_s: Seconds
    amount: Seconds

    @property
    def peak(self) -> float:
        """The most that is held at once."""
        return float(self.amount.max())

    @property
    def peak_at_s(self) -> float:
        """When that is, the first time."""
        return float(self.time_s[int(np.argmax(self.amount))])
