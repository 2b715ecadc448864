"""Charts as plain plotly data: ``{"data": [...], "layout": {...}}``, ready for a page, a notebook or the dashboard.

Plain data needs no plotly at import, goes into JSON as it is, and ``plotly.graph_objects.Figure(figure)`` reads it.
Colours are Okabe and Ito's, which stay apart for colour-blind readers; grades and bounds are
written as well as coloured. Backgrounds are transparent: the page decides between light and dark.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from costsim.predict.report import Line
from costsim.units import GIGA, HOUR_S, KILO, MEGA, MICRO, MILLI, PETA, TERA

Figure = dict[str, Any]

#: Okabe–Ito without black and yellow, which vanish on a dark or a light page
PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#8C8C8C")
GRADE_COLOURS = {"A": "#009E73", "B": "#0072B2", "C": "#E69F00", "D": "#D55E00"}
_SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "x", "star")
#: values that span more than this read better on a logarithmic axis
_STEEP = 200.0
#: decades up to which a logarithmic axis has ticks within each
_DECADES = 3.0
#: changes that are smaller than this share of their level are shown beside it from near their size on
_SMALL = 0.1
_GRID = "rgba(128,128,128,0.25)"


def _layout(title: str, **more: Any) -> dict[str, Any]:
    layout: dict[str, Any] = {
        "title": {"text": title, "x": 0, "xanchor": "left", "font": {"size": 15}},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": "system-ui, sans-serif", "size": 13},
        "margin": {"l": 60, "r": 20, "t": 50, "b": 95},
        "colorway": list(PALETTE),
        "legend": {
            "orientation": "h",
            "traceorder": "normal",
            "x": 0,
            "y": 0,
            "yref": "container",
            "yanchor": "bottom",
        },
        "hoverlabel": {"namelength": -1},
    }
    return layout | more


def _axis(title: str, **more: Any) -> dict[str, Any]:
    return {"title": {"text": title}, "gridcolor": _GRID, "zeroline": False, "automargin": True} | more


def breakdown_bar(bars: Mapping[str, Sequence[Line]], title: str, keep: int = 10) -> Figure:
    """One horizontal stacked bar per case: its step time, op by op. Time hidden behind other work is left out.

    ``bars`` maps a case to its breakdown; ops beyond the ``keep`` largest over all cases are summed as "other".
    """
    totals: dict[str, float] = {}
    for lines in bars.values():
        for line in lines:
            if not line.overlapped:
                totals[line.name] = totals.get(line.name, 0.0) + line.time_s
    largest = sorted(totals, key=lambda name: -totals[name])[:keep]
    series = [*largest, "other"] if len(totals) > keep else largest
    longest = max((sum(line.time_s for line in lines if not line.overlapped) for lines in bars.values()), default=0.0)
    unit, scale = time_unit(longest)
    data = []
    for index, name in enumerate(series):
        seconds = [_seconds(lines, name, largest) / scale for lines in bars.values()]
        pattern = "" if index < len(PALETTE) else "/"
        data.append({
            "type": "bar", "orientation": "h", "name": name, "y": list(bars), "x": seconds,
            "marker": {"color": PALETTE[index % len(PALETTE)], "pattern": {"shape": pattern}},
            "hovertemplate": f"{_plain(name)}: %{{x:.3g}} {unit}<extra>%{{y}}</extra>",
        })  # fmt: skip
    height = 130 + 46 * len(bars) + 24 * math.ceil(len(series) / 2)  # the legend has two columns or one
    return {
        "data": data,
        "layout": _layout(
            title,
            barmode="stack",
            height=height,
            xaxis=_axis(f"time in {unit}"),
            yaxis=_axis("", autorange="reversed", showgrid=False),
        ),
    }


def time_unit(longest_s: float) -> tuple[str, float]:
    """The unit in which an axis up to so many seconds reads well, and its length in seconds."""
    for unit, scale, least in (("h", HOUR_S, 2.0), ("min", 60.0, 10.0), ("s", 1.0, 2.0), ("ms", MILLI, 2.0)):
        if longest_s >= least * scale:
            return unit, scale
    return "µs", MICRO


def log_ticks(values: Sequence[float]) -> dict[str, Any]:
    """A logarithmic axis whose ticks are whole numbers with their size: 20 and 50, not 2 and 5.

    Decades where values span more than three, 1, 2 and 5 of each otherwise, and more of them within one.
    """
    known = [value for value in values if value > 0 and math.isfinite(value)]
    if not known:
        return {}
    low, high = min(known), max(known)
    decades = math.log10(high / low)
    steps = (1.0,) if decades > _DECADES else (1.0, 2.0, 5.0) if decades > 1.0 else (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0)
    first, last = math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 1
    ticks = [step * 10.0**power for power in range(first, last + 1) for step in steps]
    return {"type": "log", "tickmode": "array", "tickvals": ticks, "ticktext": [_short(tick) for tick in ticks]}


def _symbol(index: int) -> str:
    """The marker of a series: another one in each round of the colours, so that no two of 49 look alike."""
    return _SYMBOLS[(index + index // len(PALETTE)) % len(_SYMBOLS)]


def _short(value: float) -> str:
    """``20``, ``0.05``, ``30k``, ``80G``."""
    for letter, scale in (("P", PETA), ("T", TERA), ("G", GIGA), ("M", MEGA), ("k", 10.0 * KILO)):
        if value >= scale:
            return f"{value / (KILO if letter == 'k' else scale):.4g}{letter}"
    return f"{value:.4g}"


def _seconds(lines: Sequence[Line], name: str, largest: Sequence[str]) -> float:
    if name == "other" and name not in largest:
        return sum(line.time_s for line in lines if not line.overlapped and line.name not in largest)
    return sum(line.time_s for line in lines if not line.overlapped and line.name == name)


def _plain(text: str) -> str:
    """Text without the characters that plotly reads as markup or as a template."""
    return text.replace("<", "‹").replace(">", "›").replace("%{", "% {")


def grouped_bar(
    categories: Sequence[str],
    series: Mapping[str, Sequence[float | None]],
    title: str,
    unit: str,
    errors: Mapping[str, Sequence[tuple[float, float] | None]] | None = None,
) -> Figure:
    """Bars side by side; ``errors`` holds each bar's (low, high) band in the unit of the values."""
    data = []
    for index, (name, values) in enumerate(series.items()):
        bar: dict[str, Any] = {
            "type": "bar", "name": name, "x": list(categories), "y": list(values),
            "marker": {"color": PALETTE[index % len(PALETTE)]},
            "hovertemplate": f"%{{x}}, {_plain(name)}: %{{y:.4g}} {_plain(unit)}<extra></extra>",
        }  # fmt: skip
        if errors and name in errors:
            bar["error_y"] = _error_bars(values, errors[name])
        data.append(bar)
    layout = _layout(title, barmode="group", height=380, xaxis=_axis("", showgrid=False),
                     yaxis=_axis(_spelled(unit)))  # fmt: skip
    layout |= {"showlegend": len(series) > 1}
    layout["margin"] = {**layout["margin"], "b": 75 if len(series) > 1 else 45}
    return {"data": data, "layout": layout}


def _error_bars(values: Sequence[float | None], bands: Sequence[tuple[float, float] | None]) -> dict[str, Any]:
    pairs = [
        (0.0, 0.0) if value is None or band is None else (max(band[1] - value, 0.0), max(value - band[0], 0.0))
        for value, band in zip(values, bands, strict=True)
    ]
    return {
        "type": "data", "symmetric": False, "thickness": 1.2, "width": 4, "color": "#8C8C8C",
        "array": [up for up, _ in pairs], "arrayminus": [down for _, down in pairs],
    }  # fmt: skip


def predicted_against_measured(
    points: Mapping[str, Sequence[tuple[float, float, str]]], title: str, unit: str, tolerance: float = 0.2
) -> Figure:
    """Log-log scatter, a series per group of (measured, predicted, name), over the diagonal and a ±``tolerance`` band.

    Points that are not positive cannot be drawn on log axes and are left out.
    """
    drawn = {
        name: [point for point in group if point[0] > 0 and point[1] > 0] for name, group in points.items() if group
    }
    everything = [value for group in drawn.values() for point in group for value in point[:2]]
    low, high = (min(everything) / 1.5, max(everything) * 1.5) if everything else (1.0, 10.0)
    data: list[dict[str, Any]] = [
        {"type": "scatter", "mode": "lines", "x": [low, high, high, low],
         "y": [low * (1 - tolerance), high * (1 - tolerance), high * (1 + tolerance), low * (1 + tolerance)],
         "fill": "toself", "fillcolor": "rgba(128,128,128,0.18)", "line": {"width": 0}, "hoverinfo": "skip",
         "name": f"±{tolerance:.0%}"},
        {"type": "scatter", "mode": "lines", "x": [low, high], "y": [low, high], "showlegend": False,
         "line": {"color": "#8C8C8C", "dash": "dash", "width": 1}, "hoverinfo": "skip", "name": "equal"},
    ]  # fmt: skip
    for index, (name, group) in enumerate(drawn.items()):
        data.append({
            "type": "scatter", "mode": "markers", "name": name,
            "x": [measured for measured, _, _ in group], "y": [predicted for _, predicted, _ in group],
            "text": [_plain(text) for _, _, text in group],
            "marker": {"color": PALETTE[index % len(PALETTE)], "size": 8, "opacity": 0.8,
                       "symbol": _symbol(index)},
            "hovertemplate": "%{text}<br>measured %{x:.4g}, predicted %{y:.4g}<extra>" + _plain(name) + "</extra>",
        })  # fmt: skip
    axes = {
        "xaxis": _axis(f"measured, {unit}", **log_ticks([low, high])),
        "yaxis": _axis(f"predicted, {unit}", **log_ticks([low, high])),
    }
    return {"data": data, "layout": _layout(title, height=480, **axes)}


def waterfall(
    steps: Sequence[tuple[str, float]], title: str, unit: str, start: str | None = None, total: str | None = None
) -> Figure:
    """A bridge of changes, from top to bottom so that long names can be read.

    ``start`` names a first step that is a level, not a change; ``total`` adds the sum.
    """
    measures = ["relative"] * len(steps)
    names, values = [name for name, _ in steps], [value for _, value in steps]
    if start is not None and steps:
        names[0], measures[0] = start, "absolute"
    if total is not None:
        names, values, measures = [*names, total], [*values, 0.0], [*measures, "total"]
    shown = [f"{value:,.4g}" if abs(value) < 1e4 else f"{value:,.0f}" for value in values]
    shown = [text if measure == "absolute" or value <= 0 else f"+{text}"
             for text, value, measure in zip(shown, values, measures, strict=True)]  # fmt: skip
    if total is not None:
        whole = sum(values)
        shown[-1] = f"{whole:,.4g}" if abs(whole) < 1e4 else f"{whole:,.0f}"
    shown = [text.replace("-", "−") for text in shown]
    bar = {
        "type": "waterfall", "orientation": "h", "y": [_plain(name) for name in names], "x": values,
        "measure": measures,
        "connector": {"line": {"color": "#8C8C8C", "width": 1}},
        "increasing": {"marker": {"color": PALETTE[5]}},
        "decreasing": {"marker": {"color": PALETTE[2]}},
        "totals": {"marker": {"color": PALETTE[0]}},
        "text": shown, "textposition": "outside", "cliponaxis": False, "constraintext": "none",
        "hovertemplate": f"%{{y}}: %{{text}} {_plain(unit)}<extra></extra>",
    }  # fmt: skip
    levels, at = [], 0.0
    for value, measure in zip(values, measures, strict=True):
        at = value if measure == "absolute" else at + value
        levels.append(at)
    across = _axis(unit)
    if start is not None and levels and min(levels) > (1.0 - _SMALL) * max(levels) > 0:
        span = max(max(levels) - min(levels), 1e-12 * max(levels))
        across = _axis(f"{unit}, not from zero", range=[min(levels) - span, max(levels) + 0.4 * span])
    layout = _layout(
        title, height=130 + 34 * len(names), showlegend=False, xaxis=across,
        yaxis=_axis("", autorange="reversed", showgrid=False, type="category"),
    )  # fmt: skip
    layout["margin"] = {**layout["margin"], "r": 70, "b": 50}
    return {"data": [bar], "layout": layout}


def curves(
    x: Sequence[float], series: Mapping[str, Sequence[float | None]], title: str, xaxis: str, unit: str, log: bool
) -> Figure:
    """Lines over one axis; missing points leave gaps."""
    data = [
        {"type": "scatter", "mode": "lines+markers", "name": _plain(name), "x": list(x), "y": list(values),
         "line": {"color": PALETTE[index % len(PALETTE)]},
         "marker": {"symbol": _symbol(index), "size": 7},
         "hovertemplate": f"{_plain(name)}: %{{x:.4g}}: %{{y:.4g}} {_plain(unit)}<extra></extra>"}
        for index, (name, values) in enumerate(series.items())
    ]  # fmt: skip
    known = [value for values in series.values() for value in values if value is not None]
    steep = bool(known) and min(known) > 0 and max(known) / min(known) > _STEEP
    across = _axis(xaxis, **(log_ticks(x) if log else {}))
    layout = _layout(
        title, height=400, xaxis=across, yaxis=_axis(_spelled(unit), **(log_ticks(known) if steep else {}))
    )
    layout |= {"showlegend": len(series) > 1}
    layout["margin"] = {**layout["margin"], "b": 95 if len(series) > 1 else 55}
    return {"data": data, "layout": layout}


def _spelled(unit: str) -> str:
    """A unit as the title of an axis."""
    return {"x": "ratio", "s": "seconds"}.get(unit, unit)


def icicle(terms: Sequence[tuple[str, str, str, float]], title: str, unit: str) -> Figure:
    """A tree of (key, parent's key, label, value) drawn as nested bars; a click opens a term."""
    data = {
        "type": "icicle", "ids": [term[0] for term in terms], "parents": [term[1] for term in terms],
        "labels": [_plain(term[2]) for term in terms], "values": [term[3] for term in terms],
        "branchvalues": "total", "tiling": {"orientation": "h"}, "root": {"color": "rgba(128,128,128,0.1)"},
        "marker": {"colors": [PALETTE[i % len(PALETTE)] for i in range(len(terms))],
                   "line": {"color": "#FFFFFF", "width": 1.5}},
        "hovertemplate": f"%{{label}}: %{{value:.4g}} {_plain(unit)}, %{{percentRoot:.1%}}<extra></extra>",
    }  # fmt: skip
    return {"data": [data], "layout": _layout(title, height=480, margin={"l": 5, "r": 5, "t": 50, "b": 10})}


def tornado(bars: Sequence[tuple[str, float, float]], middle: float, title: str, unit: str) -> Figure:
    """Bars of (name, value at the low end, value at the high end) about ``middle``, the first on top."""
    ordered = list(reversed(bars))
    names = [_plain(name) for name, _, _ in ordered]
    data = [
        {"type": "bar", "orientation": "h", "name": end, "y": names, "base": [middle] * len(names),
         "x": [value - middle for value in values], "marker": {"color": PALETTE[colour]},
         "hovertemplate": f"%{{y}}: %{{x:+.3g}} {_plain(unit)}<extra>{end}</extra>"}
        for end, values, colour in (("low end of the band", [low for _, low, _ in ordered], 0),
                                    ("high end of the band", [high for _, _, high in ordered], 5))
    ]  # fmt: skip
    layout = _layout(title, barmode="overlay", height=200 + 34 * len(names), xaxis=_axis(unit), yaxis=_axis(""))
    return {"data": data, "layout": layout}
