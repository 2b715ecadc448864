"""Memory of a device as charts: what fills the fullest one, and how full each pipeline rank is."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from costsim.report.document import Chart
from costsim.report.figures import PALETTE, Figure, _axis, _layout
from costsim.report.words import label, quantity
from costsim.units import GIGA

#: sums and limits among the parts; what they stand for is drawn otherwise
_NOT_PARTS = ("allocated_bytes", "total_bytes", "capacity_bytes")
_RANK = re.compile(r"rank_(\d+)_bytes")


def memory_charts(memory: Mapping[str, float]) -> list[Chart]:
    """A bar of the fullest device by kind, and where ranks are told apart a bar of each; none without bytes."""
    capacity = memory.get("capacity_bytes")
    parts = _parts(memory)
    charts = []
    if parts:
        words = ", ".join(f"{label(name)} {quantity(value, 'B')}" for name, value in parts.items())
        of = "" if capacity is None else f" of {quantity(capacity, 'B')}"
        charts.append(Chart(_stack(parts, capacity), f"The fullest device holds {words}{of}."))
    ranks = {int(m[1]): value for name, value in memory.items() if (m := _RANK.fullmatch(name))}
    if len(ranks) > 1:
        low, high = min(ranks.values()), max(ranks.values())
        words = f"{len(ranks)} pipeline ranks hold {quantity(low, 'B')} to {quantity(high, 'B')}."
        charts.append(Chart(_by_rank(dict(sorted(ranks.items())), capacity), words))
    return charts


def beside(memory: Mapping[str, float], name: str) -> bool:
    """Whether an entry is counted elsewhere: a rank's total, or the optimiser where its parts stand for themselves."""
    whole = name == "optimizer_bytes" and {"master_bytes", "moments_bytes"} <= memory.keys()
    return whole or _RANK.fullmatch(name) is not None


def _parts(memory: Mapping[str, float]) -> dict[str, float]:
    """Kinds of bytes, largest first."""
    found = {
        name: value for name, value in memory.items()
        if name.endswith("bytes") and name not in _NOT_PARTS and not beside(memory, name) and value > 0
    }  # fmt: skip
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def _stack(parts: Mapping[str, float], capacity: float | None) -> Figure:
    data = [
        {
            "type": "bar", "orientation": "h", "name": label(name), "y": [""], "x": [value / GIGA],
            "marker": {"color": PALETTE[index % len(PALETTE)],
                       "pattern": {"shape": "" if index < len(PALETTE) else "/"}},
            "hovertemplate": f"{label(name)}: %{{x:.3g}} GB<extra></extra>",
        }
        for index, (name, value) in enumerate(parts.items())
    ]  # fmt: skip
    layout = _layout("Memory of the fullest device", barmode="stack", height=260, xaxis=_axis("GB"), yaxis=_axis(""))
    return _limited({"data": data, "layout": layout}, capacity, "x")


def _by_rank(ranks: Mapping[int, float], capacity: float | None) -> Figure:
    bar = {
        "type": "bar", "x": list(ranks), "y": [value / GIGA for value in ranks.values()],
        "marker": {"color": PALETTE[0]}, "hovertemplate": "rank %{x}: %{y:.3g} GB<extra></extra>",
    }  # fmt: skip
    layout = _layout("Memory by pipeline rank", height=340, showlegend=False,
                     xaxis=_axis("pipeline rank", dtick=max(1, len(ranks) // 16)), yaxis=_axis("GB"))  # fmt: skip
    return _limited({"data": [bar], "layout": layout}, capacity, "y")


def _limited(figure: Figure, capacity: float | None, axis: str) -> Figure:
    """The figure with a dashed line at what a device has."""
    if capacity is None:
        return figure
    at = capacity / GIGA
    other = "y" if axis == "x" else "x"
    line: dict[str, Any] = {"type": "line", f"{axis}0": at, f"{axis}1": at, f"{other}ref": "paper", f"{other}0": 0,
                            f"{other}1": 1, "line": {"color": PALETTE[5], "dash": "dash", "width": 1.5}}  # fmt: skip
    figure["layout"]["shapes"] = [line]
    place = {"x": at, "xanchor": "right", "yref": "paper", "y": 1, "yanchor": "bottom"} if axis == "x" else {
        "xref": "paper", "x": 1, "xanchor": "right", "y": at, "yanchor": "bottom"}  # fmt: skip
    figure["layout"]["annotations"] = [{**place, "text": f"capacity {at:.3g} GB", "showarrow": False}]
    return figure
