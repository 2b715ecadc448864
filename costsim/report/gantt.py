"""A pipeline timeline as charts: who does what when, and what activations it holds. Plain plotly data, as in figures.

A step of thousands of tasks is drawn whole; of many ranks, some are chosen, so that a page stays light.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from costsim.errors import OutOfRange
from costsim.report.figures import PALETTE, Figure, _axis, _layout
from costsim.schedule import COMPUTE, KIND_NAMES, Kind, Timeline
from costsim.units import MILLI

#: colours by kind; splits of a backward are shades apart, and the hover text names them
COLOURS = {
    Kind.F: PALETTE[0], Kind.BW: PALETTE[1], Kind.B: PALETTE[5], Kind.W: PALETTE[2], Kind.PAIR: PALETTE[3],
    Kind.SEND: PALETTE[4],
}  # fmt: skip
ALL_TO_ALL = PALETTE[6]
#: bars of one chart beyond which ranks are left out
MAX_BARS = 20_000


@dataclass(frozen=True)
class TimeAxis:
    """Seconds for long steps, milliseconds for short ones."""

    unit: str
    unit_s: float

    @classmethod
    def of(cls, timeline: Timeline) -> TimeAxis:
        """The unit in which the step reads well."""
        return cls("s", 1.0) if timeline.step_s >= 2.0 else cls("ms", MILLI)

    def numbers(self, seconds: NDArray[np.float64]) -> list[float]:
        """Plain numbers in the unit, to a microsecond or better."""
        return [float(value) for value in np.round(seconds / self.unit_s, 6)]


def chosen_ranks(timeline: Timeline, most: int) -> list[int]:
    """At most ``most`` ranks, spread evenly from the first to the last."""
    count = timeline.program.ranks
    if count <= most:
        return list(range(count))
    return sorted({int(rank) for rank in np.linspace(0, count - 1, most).round()})


def gantt(
    timeline: Timeline, title: str, ranks: Sequence[int] | None = None, wire: bool = False
) -> Figure:  # fmt: skip
    """One row a rank (and one for its wire, with ``wire``): every task a bar, what is blank is bubble.

    ``ranks``: which, by default all of them or as many as keep the chart below MAX_BARS. Of an all-to-all the length is
    known, not the moment: it is drawn in the middle of its chunk. Raises BadInput for a rank that is not there.
    """
    per_rank = max(1, timeline.program.tasks // timeline.program.ranks)
    shown = chosen_ranks(timeline, max(2, MAX_BARS // per_rank)) if ranks is None else list(ranks)
    wrong = [rank for rank in shown if not 0 <= rank < timeline.program.ranks]
    if wrong or not shown:
        raise OutOfRange(f"gantt: ranks {wrong or shown}; the timeline has 0 to {timeline.program.ranks - 1}")
    here, axis = np.isin(timeline.rank, shown), TimeAxis.of(timeline)
    data = []
    for kind, colour in COLOURS.items():
        which = np.flatnonzero(here & (timeline.kind == kind) & (timeline.end_s > timeline.start_s))
        if len(which) and (wire or kind != Kind.SEND):
            data.append(_bars(timeline, which, KIND_NAMES[kind], colour, axis))
    if wire:
        inside = timeline.all_to_all_s()
        which = np.flatnonzero(here & (inside > 0))
        if len(which):
            middle = (timeline.start_s[which] + timeline.end_s[which] - inside[which]) / 2
            bars = _bars(timeline, which, "all-to-all", ALL_TO_ALL, axis)
            bars |= {
                "base": axis.numbers(middle), "x": axis.numbers(inside[which]),
                "y": [_row(rank, True) for rank in timeline.rank[which]],
            }  # fmt: skip
            data.append(bars)
    rows = [_row(rank, lane) for rank in shown for lane in ((False, True) if wire else (False,))]
    layout = _layout(
        title, barmode="overlay", bargap=0.15, height=160 + 24 * len(rows),
        xaxis=_axis(f"time in {axis.unit}", range=[0, timeline.step_s / axis.unit_s]),
        yaxis=_axis("", autorange="reversed", type="category", categoryorder="array", categoryarray=rows),
    )  # fmt: skip
    return {"data": data, "layout": layout}


def held_lines(
    timeline: Timeline, title: str, unit: str, amount: ArrayLike, kept: ArrayLike | None = None,
    ranks: Sequence[int] | None = None, scale: float = 1.0,
) -> Figure:  # fmt: skip
    """Activations that ranks hold over the step, a staircase each; ``amount`` and ``kept`` as in Timeline.held.

    ``unit`` names what ``scale`` units of ``amount`` are: 1e9 and GB, say.
    """
    data, axis = [], TimeAxis.of(timeline)
    for index, rank in enumerate(chosen_ranks(timeline, 4) if ranks is None else ranks):
        held = timeline.held(rank, amount, kept)
        data.append({
            "type": "scatter", "mode": "lines", "name": f"rank {rank}, peak {held.peak / scale:.3g} {unit}",
            "x": axis.numbers(held.time_s), "y": np.round(held.amount / scale, 6).tolist(),
            "line": {"shape": "hv", "width": 1.5, "color": PALETTE[index % len(PALETTE)]},
            "hovertemplate": f"%{{x:.3f}} {axis.unit}: %{{y:.4g}} {unit}<extra>rank {rank}</extra>",
        })  # fmt: skip
    axes = {"xaxis": _axis(f"time in {axis.unit}"), "yaxis": _axis(unit, rangemode="tozero")}
    return {"data": data, "layout": _layout(title, height=360, **axes)}


def _bars(timeline: Timeline, which: NDArray[np.int64], name: str, colour: str, axis: TimeAxis) -> dict[str, Any]:
    length = timeline.end_s[which] - timeline.start_s[which]
    return {
        "type": "bar", "orientation": "h", "name": name,
        "y": [_row(r, lane != COMPUTE) for r, lane in zip(timeline.rank[which], timeline.lane[which], strict=True)],
        "base": axis.numbers(timeline.start_s[which]), "x": axis.numbers(length),
        "text": [task_label(timeline, int(task)) for task in which], "textposition": "none",
        "marker": {"color": colour, "line": {"width": 0}},
        "hovertemplate": f"%{{text}}<br>from %{{base:.4f}}, %{{x:.4f}} {axis.unit} long<extra>{name}</extra>",
    }  # fmt: skip


def task_label(timeline: Timeline, task: int) -> str:
    """What a task works on, in words."""
    p = timeline.program
    kind, stage, micro = Kind(p.kind[task]), p.stage[task], p.micro_batch[task]
    if kind is Kind.PAIR:
        return (
            f"forward of micro-batch {micro}, stage {stage}, beside backward of micro-batch "
            f"{p.back_micro_batch[task]}, stage {p.back_stage[task]}"
        )
    if kind is Kind.SEND:
        what = "activations" if p.back_stage[task] > stage else "gradients"
        return f"{what} of micro-batch {micro}, stage {stage} to {p.back_stage[task]}"
    return f"{KIND_NAMES[kind]} of micro-batch {micro}, stage {stage}"


def _row(rank: int, wire: bool) -> str:
    return f"rank {rank} wire" if wire else f"rank {rank}"
