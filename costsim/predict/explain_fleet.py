"""Explain: what a day of a fleet costs, as a tree of its kinds of units, from the JSON that `costsim fleet` writes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from costsim.errors import Malformed, UnknownName
from costsim.predict.explain import Explained, Node
from costsim.predict.report import Metric, Report

_HOURS = 24.0
#: metric -> what a unit adds to it each hour that it runs; the rest follows in proportion
_OF = {
    "usd_per_day": "hourly price · cards · hours that units run", "usd_per_mtok_output": "USD of the day / tokens made",
    "node_hours": "nodes · hours that units run", "mean_nodes": "node-hours / 24",
}  # fmt: skip
_CLOSE = 1e-3


def is_fleet(document: Any) -> bool:
    """Whether this is what `costsim fleet` writes."""
    return isinstance(document, Mapping) and isinstance(document.get("kinds"), list) and "node_hours" in document


def explain_fleet(document: Mapping[str, Any], metric: str) -> Explained:
    """One figure of the day by phase and kind of unit. Raises UnknownName, and KeyError or TypeError for damage."""
    if metric not in _OF:
        raise UnknownName("metric with a tree", metric, _OF)
    said = document[metric]
    found = Metric(float(said["value"]), str(said["unit"]), said.get("low"), said.get("high"), str(said["grade"]))
    money = metric.startswith("usd")
    phases: dict[str, list[Node]] = {}
    for kind in document["kinds"]:
        hours = float(kind["mean_units"]) * _HOURS
        each = float(kind["usd_per_gpu_h"]) * float(kind["gpus"]) if money else float(kind["nodes"])
        facts = {name: kind[name] for name in ("accelerator", "gpus", "nodes", "usd_per_gpu_h", "mean_units")}
        name = f"{kind['accelerator']}, {float(kind['mean_units']):.3g} units of {kind['gpus']:g} cards"
        phases.setdefault(str(kind["phase"]), []).append(Node(name, hours * each, facts=facts))
    nodes = tuple(Node(name, sum(leaf.value for leaf in leaves), tuple(leaves)) for name, leaves in phases.items())
    whole = sum(node.value for node in nodes)
    day = float(document["usd_per_day" if money else "node_hours"]["value"])
    if not whole > 0 or abs(whole / day - 1.0) > _CLOSE:
        raise Malformed(f"fleet: its units come to {whole:.6g}, its day says {day:.6g}; was the file edited?")
    tree = Node(metric, whole, nodes).scaled(found.value / whole)
    words = [tuple(str(text) for text in document.get(key, ())) for key in ("sources", "notes")]
    report = Report("fleet", dict(document.get("inputs") or {}), {metric: found}, (), {}, *words)
    return Explained(metric, found, tree, found.unit, _OF[metric], report)
