"""The critical path of a timeline, and what a step would be if something cost nothing.

The path says where the step's seconds lie; it does not say what removing one of them buys, since the next-longest path
takes over. So what is free is run again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from costsim.schedule.program import Index, Program
from costsim.schedule.stage import Seconds, StageTimes
from costsim.schedule.task import KIND_NAMES, Kind
from costsim.schedule.timeline import Timeline, step_seconds


@dataclass(frozen=True, eq=False)
class CriticalPath:
    """A longest chain of tasks, none of which waits: ``tasks`` are indices into the timeline, from first to last."""

    tasks: Index
    seconds_by_kind: dict[str, float]
    seconds_by_rank: dict[int, float]

    @property
    def step_s(self) -> float:
        """Seconds of the chain, which are those of the step."""
        return sum(self.seconds_by_kind.values())


def critical_path(timeline: Timeline) -> CriticalPath:
    """Longest path through the tasks, each edge as long as the task it leaves."""
    import networkx

    program = timeline.program
    length = timeline.end_s - timeline.start_s
    graph = networkx.DiGraph()
    last = program.tasks
    graph.add_nodes_from(range(last + 1))
    after, column = np.nonzero(program.before < last)
    sources = program.before[after, column]
    graph.add_weighted_edges_from(zip(sources.tolist(), after.tolist(), length[sources].tolist(), strict=True))
    graph.add_weighted_edges_from((task, last, float(length[task])) for task in range(last))
    path = np.array(networkx.dag_longest_path(graph, topo_order=range(last + 1))[:-1], dtype=np.int64)
    by_kind = np.bincount(program.kind[path], weights=length[path], minlength=len(Kind))
    by_rank = np.bincount(program.rank[path], weights=length[path], minlength=program.ranks)
    return CriticalPath(
        path,
        {KIND_NAMES[kind]: float(by_kind[kind]) for kind in Kind if by_kind[kind] > 0},
        {rank: float(seconds) for rank, seconds in enumerate(by_rank) if seconds > 0},
    )


def saved(program: Program, times: StageTimes, without: Mapping[str, StageTimes]) -> dict[str, float]:
    """Seconds that a step would be shorter under each of the stage times of ``without``, in its order.

    For one op: the stage times without that op's seconds. For kinds of task: ``free_kinds``.
    """
    steps = step_seconds(program, [times, *without.values()])
    return dict(zip(without, (steps[0] - steps[1:]).tolist(), strict=True))


def free_kinds(program: Program, times: StageTimes) -> dict[str, StageTimes]:
    """Stage times in which one kind of work is free, by name; ``equal stages`` moves work so that all are the mean.

    Of a pair, the rest runs as it would alone, or as before where that is shorter: with its forward free a pair is a
    backward. What overlap had hidden is therefore not gained twice.
    """
    f, b, w, pair = times.forward_s, times.backward_input_s, times.weight_s, times.pairs_s
    zero, column = np.zeros_like(f), f[:, None]
    paired = program.kind == Kind.PAIR
    used = pair[program.stage[paired], program.back_stage[paired]] if paired.any() else pair
    one = np.ones_like(f)
    means = (one * f.mean(), one * b.mean(), one * w.mean(), np.full_like(pair, used.mean()))
    return {
        "forward": _with(times, zero, b, w, np.minimum(pair, (b + w)[None, :])),
        "backward input": _with(times, f, zero, w, np.minimum(pair, column + w)),
        "weight gradient": _with(times, f, b, zero, np.minimum(pair, column + b)),
        "send": replace(times, send_s=0.0),
        "equal stages": _with(times, *means),
    }


def _with(times: StageTimes, forward: Seconds, backward_input: Seconds, weight: Seconds, pair: Seconds) -> StageTimes:
    return StageTimes(forward, backward_input, weight, pair, times.send_s)
