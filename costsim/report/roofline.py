"""Ops of one step under the roof of the datasheet: FLOP/s reached against FLOP per byte, both logarithmic."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from costsim.report.document import Chart
from costsim.report.figures import PALETTE, Figure, _axis, _layout, _plain, log_ticks
from costsim.report.words import percent, quantity
from costsim.spec.accelerator import PEAK_OF

_SYMBOLS = {"compute": "circle", "memory": "square", "latency": "diamond"}
_COLOURS = {"compute": PALETTE[0], "memory": PALETTE[1], "latency": PALETTE[3]}


def roofline_chart(explanation: Mapping[str, Any]) -> Chart:
    """From the JSON of an explanation: attainable = min(peak, intensity · bandwidth) for every dtype, ops as points.

    Ops without arithmetic (copies, norms) have no place on it and are counted in words.
    """
    leaves = [leaf for leaf in _leaves(explanation["tree"]) if "bytes" in leaf["facts"]]
    ops = [leaf for leaf in leaves if leaf["facts"]["flop"] > 0 and leaf["facts"]["bytes"] > 0]
    sheet = {entry["field"]: entry["value"] for entry in explanation["datasheet"]}
    largest = max(ops, key=lambda leaf: leaf["share"], default=None)
    words = f"{len(ops)} ops by FLOP per byte and FLOP/s; {len(leaves) - len(ops)} more do no arithmetic."
    if largest is not None:
        facts = largest["facts"]
        rate = quantity(facts["flop"] / facts["each_s"], "FLOP/s")
        words += (
            f" The longest, {largest['name']} ({percent(largest['share'])}), reaches {rate}, bound by {facts['bound']}."
        )
    return Chart(_figure(ops, sheet), words)


def _leaves(node: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    if not node["children"]:
        yield node
    for child in node["children"]:
        yield from _leaves(child)


def _figure(ops: list[Mapping[str, Any]], sheet: Mapping[str, float]) -> Figure:
    data: list[dict[str, Any]] = []
    bandwidth = sheet.get("memory_bandwidth")
    dtypes = {PEAK_OF[leaf["facts"]["dtype"]] for leaf in ops if leaf["facts"]["dtype"] in PEAK_OF}
    x = np.geomspace(0.1, 1e4, 80)
    for index, dtype in enumerate(sorted(name for name in dtypes if sheet.get(name) and bandwidth)):
        roof = np.minimum(sheet[dtype], x * float(bandwidth or 0.0))
        data.append({
            "type": "scatter", "mode": "lines", "name": f"roof, {dtype}", "x": x.tolist(), "y": roof.tolist(),
            "line": {"color": "#8C8C8C", "dash": ("solid", "dash", "dot")[index % 3]}, "hoverinfo": "skip",
        })  # fmt: skip
    for bound, symbol in _SYMBOLS.items():
        shown = [leaf for leaf in ops if leaf["facts"]["bound"] == bound]
        if not shown:
            continue
        facts = [leaf["facts"] for leaf in shown]
        data.append({
            "type": "scatter", "mode": "markers", "name": f"bound by {bound}",
            "x": [f["flop"] / f["bytes"] for f in facts], "y": [f["flop"] / f["each_s"] for f in facts],
            "text": [_plain(f"{leaf['name']}, {percent(leaf['share'])} of the step") for leaf in shown],
            "marker": {"symbol": symbol, "color": _COLOURS[bound], "opacity": 0.85,
                       "size": [8 + 40 * float(leaf["share"]) ** 0.5 for leaf in shown]},
            "hovertemplate": "%{text}<br>%{x:.3g} FLOP/byte, %{y:.3~s}FLOP/s<extra></extra>",
        })  # fmt: skip
    layout = _layout(
        "Roofline", height=480,
        xaxis=_axis("FLOP per byte", **log_ticks([v for trace in data for v in trace["x"]])),
        yaxis=_axis("FLOP/s", **log_ticks([v for trace in data for v in trace["y"]])),
    )  # fmt: skip
    return {"data": data, "layout": layout}
