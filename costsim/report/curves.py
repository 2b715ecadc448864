"""A grid of serving points as curves: latency against throughput, and against cost, as the load grows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from costsim.report.document import Chart
from costsim.report.figures import PALETTE, Figure, _axis, _layout, log_ticks
from costsim.report.words import label, number, quantity
from costsim.units import KILO

#: phase -> (latency, throughput, cost) of its report
CURVES = {
    "prefill": ("ttft_s", "tokens_per_s_per_gpu", "usd_per_mtok_input"),
    "decode": ("tpot_s", "tokens_per_s_per_gpu", "usd_per_mtok_output"),
    "serving": ("tpot_s", "output_tokens_per_s_per_gpu", "usd_per_mtok_output"),
}


def curve_chart(rows: Sequence[Mapping[str, Any]], varied: str, phase: str) -> list[Chart]:
    """One chart of throughput and one of cost against latency; rows without an answer are left out.

    ``rows`` are those of a grid's JSON: {"point": {...}, "metrics": {name: {value, low, high}}} or an error.
    """
    latency, rate, cost = CURVES[phase]
    good = [row for row in rows if latency in row.get("metrics", {})]
    charts = []
    for name in (rate, cost):
        drawn = [row for row in good if name in row["metrics"]]
        if len(drawn) > 1:
            words = ", ".join(_point_words(row, varied, latency, name) for row in (drawn[0], drawn[-1]))
            charts.append(
                Chart(_figure(drawn, varied, latency, name), f"{label(name)} against {label(latency)}: {words}.")
            )
    return charts


def _point_words(row: Mapping[str, Any], varied: str, latency: str, name: str) -> str:
    metrics = row["metrics"]
    return (
        f"{number(metrics[name]['value'])} {metrics[name]['unit']} at {quantity(metrics[latency]['value'], 's')} "
        f"with {label(varied)} {row['point'][varied]:g}"
    )


def _figure(rows: Sequence[Mapping[str, Any]], varied: str, latency: str, name: str) -> Figure:
    x = [row["metrics"][latency]["value"] * KILO for row in rows]
    found = [row["metrics"][name] for row in rows]
    texts = [f"{label(varied)} {row['point'][varied]:g}" for row in rows]
    spans = [(entry["low"] or entry["value"], entry["high"] or entry["value"]) for entry in found]
    unit = found[0]["unit"]
    data = [
        {"type": "scatter", "mode": "lines", "x": [*x, *reversed(x)], "name": "P10 … P90", "hoverinfo": "skip",
         "y": [*(high for _, high in spans), *(low for low, _ in reversed(spans))], "fill": "toself",
         "fillcolor": "rgba(0,114,178,0.15)", "line": {"width": 0}},
        {"type": "scatter", "mode": "lines+markers", "x": x, "y": [entry["value"] for entry in found], "text": texts,
         "name": label(name), "line": {"color": PALETTE[0]}, "marker": {"size": 7},
         "hovertemplate": f"%{{text}}<br>%{{x:.4g}} ms, %{{y:.4g}} {unit}<extra></extra>"},
    ]  # fmt: skip
    layout = _layout(
        f"{label(name)} against {label(latency)}", height=400,
        xaxis=_axis(f"{label(latency)}, ms", **log_ticks(x)), yaxis=_axis(unit, rangemode="tozero"),
    )  # fmt: skip
    return {"data": data, "layout": layout}
