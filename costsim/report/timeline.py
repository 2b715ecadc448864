"""When each stream did what, as a chart: a row for a stream, a bar for a stretch of one kind of work."""

from __future__ import annotations

from collections.abc import Sequence

from costsim.report.document import Chart
from costsim.report.figures import PALETTE, Figure
from costsim.report.words import percent, quantity
from costsim.trace.summary import Lane, TraceSummary

#: what a reader looks for first keeps its colour from trace to trace
COLOURS = {
    "GEMM": PALETTE[0], "attention": PALETTE[2], "communication": PALETTE[1], "waiting": PALETTE[5],
    "quantise": PALETTE[4], "norm": PALETTE[3], "elementwise": "#7FB77E", "permute": "#B58BD1", "routing": "#C7A76C",
    "copy": "#8C8C8C", "optimizer": "#5E548E", "other": "#B0B0B0",
}  # fmt: skip
_GRID = "rgba(128,128,128,0.25)"


def timeline_chart(summary: TraceSummary) -> Chart:
    """The streams of one rank over time, in milliseconds from the first kernel."""
    busy = ", ".join(f"{row.name} busy {percent(row.share_of_wall)} ({row.role})" for row in summary.streams[:4])
    words = f"{quantity(summary.wall_s, 's')} of {summary.rank}: {busy}."
    return Chart(timeline_figure(summary.lanes, f"Timeline of {summary.rank}"), words)


def timeline_figure(lanes: Sequence[Lane], title: str) -> Figure:
    """Bars over time, a colour for each group of work; lanes of one stream share its row."""
    streams = list(dict.fromkeys(lane.stream for lane in lanes))
    data = []
    for group in dict.fromkeys([*COLOURS, *(lane.group for lane in lanes)]):
        shown = [lane for lane in lanes if lane.group == group]
        bars = [(lane.stream, start, end) for lane in shown for start, end in (lane.busy * 1e3).tolist()]
        if bars:
            data.append({
                "type": "bar", "orientation": "h", "name": group, "y": [_plain(stream) for stream, _, _ in bars],
                "base": [round(start, 6) for _, start, _ in bars],
                "x": [round(end - start, 6) for _, start, end in bars],
                "marker": {"color": COLOURS.get(group, "#B0B0B0"), "line": {"width": 0}},
                "hovertemplate": f"{_plain(group)}: %{{x:.4g}} ms from %{{base:.4g}} ms<extra>%{{y}}</extra>",
            })  # fmt: skip
    layout = {
        "title": {"text": title, "x": 0, "xanchor": "left", "font": {"size": 15}}, "barmode": "overlay",
        "bargap": 0.25, "height": 190 + 44 * len(streams), "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)", "font": {"family": "system-ui, sans-serif", "size": 13},
        "margin": {"l": 60, "r": 20, "t": 50, "b": 95},
        "xaxis": {"title": {"text": "time in ms"}, "gridcolor": _GRID, "zeroline": False},
        "yaxis": {"automargin": True, "autorange": "reversed", "categoryorder": "array",
                  "categoryarray": [_plain(stream) for stream in streams], "gridcolor": _GRID, "type": "category"},
        "legend": {"orientation": "h", "x": 0, "y": 0, "yref": "container", "yanchor": "bottom"},
    }  # fmt: skip
    return {"data": data, "layout": layout}


def _plain(text: str) -> str:
    """Text without the characters that plotly reads as markup or as a template."""
    return text.replace("<", "‹").replace(">", "›").replace("%{", "% {")
