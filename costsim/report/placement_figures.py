"""Figures of a placement: load heat maps, traffic matrix, the front, drift's remedies, redundancy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from costsim.explore.placing import Outcome, Question, Study, node_heat
from costsim.report.document import Chart
from costsim.report.figures import PALETTE, Figure, _axis, _layout, grouped_bar, log_ticks


def heat_map(z: Any, title: str, x: str, y: str, unit: str, limits: tuple[float, float]) -> Figure:
    """``z`` [rows, columns] in colours that print in grey too."""
    trace: dict[str, Any] = {
        "type": "heatmap", "z": np.round(np.asarray(z, dtype=float), 4).tolist(), "colorscale": "Cividis",
        "zmin": limits[0], "zmax": limits[1],
        "colorbar": {"title": {"text": unit, "side": "right"}},
        "hovertemplate": f"{x} %{{x}}, {y} %{{y}}: %{{z:.3f}}<extra></extra>",
    }  # fmt: skip
    return {"data": [trace], "layout": _layout(title, height=420, xaxis=_axis(x), yaxis=_axis(y))}


def load_charts(question: Question, found: Sequence[Outcome], low: Any) -> list[Chart]:
    """Load over the mean by layer and GPU before and after on one scale, and the busiest GPU of each layer."""
    shown = [found[0], found[-1]]
    maps = [_over_mean(each.placement.gpu_load(question.loads)) for each in shown]
    limits = (0.0, float(max(z.max() for z in maps)))
    charts = [
        Chart(heat_map(z, f"Load of each GPU: {each.name}", "GPU", "layer", "load over mean", limits),
              f"Load over the mean by layer and GPU, {each.name}: at most {z.max():.3f}.")
        for each, z in zip(shown, maps, strict=True)
    ]  # fmt: skip
    layers = list(range(len(low)))
    lines = [
        {"type": "scatter", "mode": "lines+markers", "name": name, "x": layers, "y": np.round(values, 5).tolist(),
         "line": {"color": PALETTE[i % len(PALETTE)]}, "marker": {"size": 4}}
        for i, (name, values) in enumerate([*((each.name, each.imbalance) for each in found), ("lower bound", low)])
    ]  # fmt: skip
    layout = _layout("Busiest GPU over the mean", height=400, xaxis=_axis("layer"), yaxis=_axis("max/mean"))
    charts.append(Chart({"data": lines, "layout": layout}, "Busiest GPU over the mean by layer, with the lower bound."))
    return charts


def _over_mean(load: Any) -> Any:
    return load / load.mean(axis=1, keepdims=True)


def traffic_charts(found: Sequence[Outcome]) -> list[Chart]:
    """Copies from GPU to GPU before and after on one scale, and how hot scale-up and network links get."""
    shown = [found[0], found[-1]]
    top = float(max(each.traffic.matrix.max() for each in shown))
    charts = [
        Chart(heat_map(each.traffic.matrix, f"Copies of a token from GPU to GPU: {each.name}", "to GPU", "from GPU",
                       "copies per token", (0.0, top)),
              f"Copies of a token from GPU to GPU, {each.name}: {each.traffic.matrix.sum(axis=1).mean():.2f} in all.")
        for each in shown
    ]  # fmt: skip
    lines = []
    for index, each in enumerate(found):
        received = each.traffic.matrix.sum(axis=0)
        lines.append({
            "type": "scatter", "mode": "lines", "name": each.name, "x": list(range(len(received))),
            "y": np.round(received / received.mean(), 4).tolist(), "line": {"color": PALETTE[index % len(PALETTE)]},
        })  # fmt: skip
    layout = _layout("Heat of each GPU's scale-up link", height=380, xaxis=_axis("GPU"),
                     yaxis=_axis("received over mean"))  # fmt: skip
    charts.append(Chart({"data": lines, "layout": layout}, "Copies that each GPU receives, over the mean of all."))
    ours = found[-1].traffic
    if len(ours.node_matrix) > 1:
        names = [f"node {i}" for i in range(len(ours.node_matrix))]
        series = {each.name: [round(float(v), 4) for v in node_heat(each.traffic)] for each in found}
        figure = grouped_bar(names, series, "Heat of each node's network links", "received over mean")
        charts.append(
            Chart(figure, f"Copies received by each node over the mean: at most {node_heat(ours).max():.3f}.")
        )
    return charts


def front_chart(study: Study) -> Chart:
    """Remote nodes against imbalance, a point a slack."""
    x, y = [p.remote_nodes for p in study.front], [p.imbalance for p in study.front]
    text = ["nodes ignored" if p.slack is None else f"slack {p.slack:.1%}" for p in study.front]
    trace = {
        "type": "scatter", "mode": "lines+markers+text", "x": x, "y": y, "text": text,
        "textposition": ["top right"] * (len(text) - 1) + ["top left"],
        "line": {"color": PALETTE[0]}, "hovertemplate": "%{text}: %{x:.3f} nodes, %{y:.4f}<extra></extra>",
    }  # fmt: skip
    layout = _layout("Balance against traffic", height=400, xaxis=_axis("remote nodes a token"),
                     yaxis=_axis("busiest GPU over mean"))  # fmt: skip
    label = f"From {min(x):.2f} remote nodes a token at {max(y):.4f} to {max(x):.2f} at {min(y):.4f}."
    return Chart({"data": [trace], "layout": layout}, label)


def remedy_chart(study: Study) -> Chart:
    """Next window's imbalance under each remedy."""
    names = [each.name for each, _, _ in study.remedies]
    values = [each.imbalance for each, _, _ in study.remedies]
    bar = {
        "type": "bar", "orientation": "h", "x": [round(v - 1.0, 4) for v in values], "y": names,
        "marker": {"color": PALETTE[0]}, "hovertemplate": "%{y}: %{x:.3f} above the mean<extra></extra>",
    }  # fmt: skip
    layout = _layout("Next window: busiest GPU above the mean", height=120 + 32 * len(names), showlegend=False,
                     xaxis=_axis("load above mean, share of it"), yaxis=_axis("", autorange="reversed"))  # fmt: skip
    return Chart({"data": [bar], "layout": layout}, f"From {max(values):.3f} to {min(values):.3f}, by remedy.")


def gain_charts(found: Sequence[Outcome]) -> list[Chart]:
    """Tokens/s of a GPU and USD per million tokens under each placement, with their bands."""
    names = [each.name for each in found]
    charts = []
    for key, title, unit in (("tokens_per_s_per_gpu", "Tokens/s of a GPU in the next window", "token/s"),
                             ("usd_per_mtok", "Cost of a million tokens", "USD")):  # fmt: skip
        metrics = [getattr(each.effect, key) for each in found]
        if any(metric is None for metric in metrics):
            continue
        bands = [None if m.low is None or m.high is None else (m.low, m.high) for m in metrics]
        figure = grouped_bar(names, {unit: [m.value for m in metrics]}, title, unit, {unit: bands})
        text = ", ".join(f"{name} {metric.value:.4g}" for name, metric in zip(names, metrics, strict=True))
        charts.append(Chart(figure, f"{title}: {text} {unit}; bands P10 to P90, shared by all three."))
    return charts


def interval_chart(study: Study) -> Chart:
    """Net tokens/s against the windows between rebalances."""
    x, y = [row.windows for row in study.intervals], [row.tokens_per_s_per_gpu for row in study.intervals]
    trace = {
        "type": "scatter", "mode": "lines+markers", "x": x, "y": y, "line": {"color": PALETTE[0]},
        "hovertemplate": "every %{x} windows: %{y:.5g} token/s<extra></extra>",
    }  # fmt: skip
    layout = _layout("Net tokens/s of a GPU by time between rebalances", height=360,
                     xaxis=_axis("windows between rebalances", **log_ticks(x)), yaxis=_axis("token/s"))  # fmt: skip
    return Chart({"data": [trace], "layout": layout}, f"From {max(y):,.0f} to {min(y):,.0f} token/s.")


def redundancy_chart(study: Study) -> Chart:
    """Tokens/s of a GPU against slots."""
    fit = [(row.slots, row.effect.tokens_per_s_per_gpu.value) for row in study.redundancy if row.effect is not None]
    trace = {
        "type": "scatter", "mode": "lines+markers", "x": [slots for slots, _ in fit], "y": [rate for _, rate in fit],
        "line": {"color": PALETTE[0]}, "hovertemplate": "%{x} slots: %{y:.5g} token/s<extra></extra>",
    }  # fmt: skip
    layout = _layout("Tokens/s of a GPU by slots", height=380, xaxis=_axis("slots in all"), yaxis=_axis("token/s"))
    return Chart({"data": [trace], "layout": layout}, f"{len(fit)} numbers of slots fit in memory.")
