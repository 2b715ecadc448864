"""Break-even lines: what a token costs at home as the load falls, and what a fleet costs as it grows, beside an API."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from costsim.economics.break_even import Step, api_usd_per_h, break_even_load, fleet_usd_per_h, usd_at_share
from costsim.predict.break_even import API, OWN, SHARE
from costsim.report.document import Chart, Section
from costsim.report.figures import PALETTE, Figure, _axis, _layout, log_ticks
from costsim.report.words import number, percent
from costsim.units import HOUR_S

#: loads of a fleet that are drawn: up to so many times the one asked about; points of a curve
_BEYOND, _POINTS = 2.0, 60
_SHADE = "rgba(0,114,178,0.15)"


def load_section(metrics: Mapping[str, Mapping[str, Any]]) -> Section:
    """One deployment: USD per million answer tokens over the share of its full load that comes, with its band."""
    own, api, share = metrics[OWN], float(metrics[API]["value"]), metrics[SHARE]
    at = np.geomspace(0.05, 1.0, _POINTS)
    middle, low, high = (np.asarray(usd_at_share(end, at)) for end in _ends(own))
    x = at.tolist()
    data: list[dict[str, Any]] = [
        {"type": "scatter", "mode": "lines", "x": [*x, *reversed(x)], "y": [*high.tolist(), *reversed(low.tolist())],
         "fill": "toself", "fillcolor": _SHADE, "line": {"width": 0}, "hoverinfo": "skip", "name": "P10 … P90"},
        _line("own cards", x, middle.tolist(), 0, "solid", "%{x:.0%} of full load: %{y:.3g} USD/Mtok"),
        _line("API list price", [x[0], 1.0], [api, api], 5, "dash", "%{y:.3g} USD/Mtok"),
    ]  # fmt: skip
    figure = {"data": data, "layout": _layout(
        "A million answer tokens, prompts included", height=420,
        xaxis=_axis("share of full load that comes", tickformat=".0%", range=[0, 1.02]),
        yaxis=_axis("USD per Mtok", **log_ticks([*high.tolist(), *low.tolist(), api])))}  # fmt: skip
    if share["value"] < 1:
        mark(figure, float(share["value"]), "break-even")
    return Section("Break-even with an API", [_share_words(share)], (), [Chart(figure, _curve_words(own, api))])


def _ends(entry: Mapping[str, Any]) -> tuple[float, float, float]:
    value = float(entry["value"])
    return value, float(entry["low"] or value), float(entry["high"] or value)


def _share_words(share: Mapping[str, Any]) -> str:
    value, low, high = _ends(share)
    if value > 1:
        return (
            f"Full cards cost {number(value)} times the list price ({number(low)} … {number(high)}): no load pays off."
        )
    return f"Own cards are cheaper above {percent(value)} of their full load ({percent(low)} … {percent(high)})."


def _curve_words(own: Mapping[str, Any], api: float) -> str:
    value = float(own["value"])
    half = float(usd_at_share(value, 0.5))
    return f"USD per Mtok: own cards {number(value)} when full, {number(half)} at half load; API {number(api)}."


def fleet_section(payload: Mapping[str, Any]) -> Section | None:
    """The deployment of a search: USD per hour over the load, in whole units; None where no API was named."""
    even, best = payload.get("break_even"), payload.get("best")
    if not isinstance(even, Mapping) or not isinstance(best, Mapping):
        return None
    load = float(payload["load"]["requests_per_s"])
    each = float(even["api_usd_per_h"]) / HOUR_S / load
    steps = [Step(load / unit["count"], unit["usd_per_h"] / unit["count"]) for unit in best["units"]]
    first, always = break_even_load(steps, each, _BEYOND * load)
    edges = [np.arange(1, _BEYOND * load / step.requests_per_s + 0.5) * step.requests_per_s for step in steps]
    at = np.unique(np.concatenate([np.linspace(0.0, _BEYOND * load, _POINTS + 1)[1:], *edges]))
    own, api = np.asarray(fleet_usd_per_h(at, steps)), np.asarray(api_usd_per_h(at, each))
    data = [
        _line("own cards", at.tolist(), own.tolist(), 0, "solid", "%{x:.3g} requests/s: %{y:.4g} USD/h", "vh"),
        _line("API list price", at.tolist(), api.tolist(), 5, "dash", "%{x:.3g} requests/s: %{y:.4g} USD/h"),
    ]
    rungs = [rung for rung in payload.get("by_load") or () if rung["requests_per_s"] <= _BEYOND * load]
    if len(rungs) > 1:  # what would be bought for each load, where the search says so
        x, y = [rung["requests_per_s"] for rung in rungs], [rung["usd_per_h"] for rung in rungs]
        data.append(_line("cheapest for each load", x, y, 2, "dot", "%{x:.3g} requests/s: %{y:.4g} USD/h"))
    figure = {"data": data, "layout": _layout(
        "Cost of the load: own cards and API", height=420, xaxis=_axis("requests/s", rangemode="tozero"),
        yaxis=_axis("USD per hour", rangemode="tozero"))}  # fmt: skip
    if first is not None:
        mark(figure, first, "break-even")
    paid = (
        f"Bought for {number(load)} requests/s, the deployment pays off from {number(float(even['requests_per_s']))} "
        f"requests/s on, {percent(float(even['share_of_load']))} of its load."
    )
    least = even.get("least_requests_per_s")
    words = [paid, *_fleet_words(first, always, _BEYOND * load)]
    if least is not None:
        words.append(f"With what is cheapest for each load, own cards pay from {number(float(least))} requests/s on.")
    assumed = (
        "Cards are whole units paid for whether used or not; each carries what it carries at the load asked about."
    )
    return Section("Break-even with an API", [*words, assumed], (), [Chart(figure, " ".join(words))])


def _fleet_words(first: float | None, always: float | None, most: float) -> Sequence[str]:
    if first is None:
        return [f"The API is cheaper at every load up to {number(most)} requests/s."]
    words = [f"With no more units than a load needs, own cards first match the API at {number(first)} requests/s."]
    if always is None:
        return [*words, f"Up to {number(most)} requests/s a new unit can still make the API cheaper for a while."]
    return words if always <= first else [*words, f"From {number(always)} requests/s on they are always cheaper."]


def _line(
    name: str, x: list[float], y: list[float], colour: int, dash: str, hover: str, shape: str = "linear"
) -> Figure:
    line = {"color": PALETTE[colour], "dash": dash, "shape": shape}
    return {
        "type": "scatter", "mode": "lines", "name": name, "x": x, "y": y, "line": line,
        "hovertemplate": f"{hover}<extra>{name}</extra>",
    }  # fmt: skip


def mark(figure: Figure, x: float, words: str) -> None:
    """A dotted line with a word at ``x``."""
    line = {"type": "line", "x0": x, "x1": x, "yref": "paper", "y0": 0, "y1": 1}
    figure["layout"]["shapes"] = [{**line, "line": {"color": "#8C8C8C", "dash": "dot", "width": 1.5}}]
    figure["layout"]["annotations"] = [
        {"x": x, "xanchor": "left", "yref": "paper", "y": 1, "yanchor": "top", "text": f" {words}", "showarrow": False}
    ]
