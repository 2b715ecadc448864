"""A fleet's day as a Document: predicted beside published, the schedule, load, cost and income by hour."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from costsim.predict.fleet import PHASES, FleetDay, accounting, inputs_of, policy_table, published_nodes
from costsim.report.document import Cell, Chart, Content, Document, Section, Table
from costsim.report.figures import Figure, _axis, _layout
from costsim.report.pages import GRADES
from costsim.report.words import band, label, number, percent, quantity, unit_of
from costsim.version import __version__

if TYPE_CHECKING:
    from costsim.predict.fleet_requests import PlayedDay

#: figures that stand beside the published ones, in the order of the table
_SHOWN = (
    "node_hours", "mean_nodes", "peak_nodes", "usd_per_day", "revenue_usd", "margin",
    "prefill_tokens_per_s_per_node", "decode_tokens_per_s_per_node",
)  # fmt: skip


def fleet_document(day: FleetDay, played: PlayedDay | None = None, assumed: tuple[str, ...] = ()) -> Document:
    """``costsim fleet``; the payload has every figure with its band, grade and published value."""
    exact = {} if day.mixed else accounting(day.fleet)
    notes = [*day.notes, *([played.note] if played else []), *assumed]
    sections = [
        Section("The day", [GRADES], [_table(day)]),
        Section("By hour", (), [_hours(day)], [
            Chart(nodes_figure(day), "nodes that run, predicted and published, by hour of the day"),
            Chart(load_figure(day), "load over what the running units carry, by pool"),
            Chart(money_figure(day), "cost and income by hour"),
        ]),
    ]  # fmt: skip
    if exact:
        sections.insert(1, Section("Arithmetic on the published schedule", [_exact_words(exact)]))
    sections.append(_policy_section(day))
    if played is not None:
        sections.insert(1, Section("Request by request", [played.note], [_played(day, played)]))
    sections.append(Section("Notes", notes))
    payload = _payload(day, exact, notes) | ({} if played is None else {"requests": _played_json(played)})
    return Document(f"A day of {day.fleet.name}", sections, payload, rows=_rows(day))


def _published(day: FleetDay, name: str) -> float | None:
    """What the operator states; nothing where another fleet than its own is asked about."""
    return None if day.fleet.published is None or day.mixed else getattr(day.fleet.published, name, None)


def _stated_nodes(day: FleetDay) -> Any:
    return None if day.mixed else published_nodes(day.fleet, day.hours)


def _table(day: FleetDay) -> Table:
    """Figures beside the published ones; units stand with the names, so that a row fits a terminal."""
    rows: list[list[Content]] = []
    for name in [*_SHOWN, *(n for n in day.metrics if n not in _SHOWN)]:
        metric, stated = day.metrics[name], _published(day, name)
        off = None if stated is None else metric.value / stated - 1.0
        ends = band(name, replace(metric, unit=metric.unit if metric.unit == "ratio" else ""))
        rows.append([
            _named(name, metric.unit), _bare(metric.value, metric.unit), ends, metric.grade,
            None if stated is None else _bare(stated, metric.unit),
            None if off is None else Cell(f"{off:+.1%}", off),
        ])  # fmt: skip
    return Table(("", "predicted", "P10 … P90", "grade", "published", "off by"), rows)


def _named(name: str, unit: str) -> str:
    words = label(name)
    return words if unit in ("ratio", "nodes", "node·h") or "/" in words or "USD" in words else f"{words}, {unit}"


def _bare(value: float, unit: str) -> Cell:
    return Cell(percent(value) if unit == "ratio" else number(value), value)


def _exact_words(exact: Mapping[str, float]) -> str:
    return (
        f"The published steps sum to {exact['node_hours']:,.0f} node-hours, {exact['mean_nodes']:.2f} nodes on average "
        f"and {exact['usd_per_day']:,.0f} USD; with the stated income of {exact['revenue_usd']:,.0f} USD the margin is "
        f"{exact['margin']:.0%}. The rounded token counts at list price make "
        f"{exact['revenue_usd_of_rounded_tokens']:,.0f} USD."
    )


def _hours(day: FleetDay) -> Table:
    stated = _stated_nodes(day)
    rows: list[list[Content]] = []
    for start in range(24):
        at = (day.hours >= start) & (day.hours < start + 1)
        if not at.any():
            continue
        hour = int((day.fleet.start + start) % 24)
        rows.append([
            f"{hour:02d}:00", round(float(day.nodes[at].mean()), 1),
            None if stated is None else round(float(stated[at].mean()), 1),
            *(Cell(percent(float(day.load[p][at].mean())), float(day.load[p][at].mean())) for p in PHASES),
        ])  # fmt: skip
    return Table(("hour", "nodes", "published", "prefill load", "decode load"), rows)


def _policy_section(day: FleetDay) -> Section:
    """Node-hours by lead and hold: how much of the answer is a choice."""
    table = policy_table(day)
    leads = sorted({lead for lead, _ in table})
    rows: list[list[Content]] = [
        [f"{lead:g} min", *(Cell(number(table[lead, hold]), table[lead, hold]) for hold in leads)] for lead in leads
    ]
    columns = ("lead \\ hold", *(f"{hold:g} min" for hold in leads))
    words = "Node-hours of the same load under other policies: when units are called, and how long idle ones stay."
    return Section("Policy", [words], [Table(columns, rows)])


def _played(day: FleetDay, played: PlayedDay) -> Table:
    stated: dict[str, float] = {}
    if day.fleet.published is not None:
        low, high = day.fleet.published.tokens_per_s_per_user
        stated = {
            "tokens_per_s_per_user": (low + high) / 2,
            "decode_tokens_per_s_per_node": day.fleet.published.decode_tokens_per_s_per_node,
            "cached_share": day.fleet.load.cached_tokens / day.fleet.load.input_tokens,
            "kv_tokens_per_output_token": day.fleet.load.context,
        }
    rows: list[list[Content]] = []
    for name, value in played.metrics.items():
        unit = "s" if name.endswith("_s") and "per_s" not in name else unit_of(name, "")
        known = stated.get(name)
        rows.append([
            label(name), Cell(quantity(value, unit), value), Cell(percent(played.error[name]), played.error[name]),
            played.grade,
            None if known is None else Cell(quantity(known, unit), known),
        ])  # fmt: skip
    return Table(("", "simulated", "sampling error", "grade", "published"), rows)


def _played_json(played: PlayedDay) -> dict[str, Any]:
    return {
        "sampled": played.requests, "metrics": dict(played.metrics), "sampling_error": dict(played.error),
        "elapsed_cpu_s": played.elapsed_cpu_s, "grade": played.grade,
    }  # fmt: skip


def _payload(day: FleetDay, exact: Mapping[str, float], notes: list[str]) -> dict[str, Any]:
    figures: dict[str, Any] = {}
    for name, metric in day.metrics.items():
        stated = _published(day, name)
        figures[name] = {**metric.json(), "published": stated}
        if stated:
            figures[name]["relative_error"] = metric.value / stated - 1.0
    return {
        "kind": "fleet", **figures, "schedule": _schedule(day), "accounting": dict(exact),
        "kinds": [
            {
                "phase": p, "accelerator": kind.chip.id, "gpus": kind.unit.gpus, "nodes": kind.nodes, "most": kind.most,
                "kernel_tokens_per_s_per_gpu": kind.report["tokens_per_s_per_gpu"], "kept_in_production": kind.kept,
                "tokens_per_s": kind.capacity(), "usd_per_gpu_h": kind.usd_per_h,
                "mean_units": float(day.units[p][:, i].mean()),
            }
            for p in PHASES for i, kind in enumerate(day.kinds[p])
        ],
        "policy_node_hours": [
            {"lead_min": lead, "hold_min": hold, "node_hours": hours}
            for (lead, hold), hours in policy_table(day).items()
        ],
        "inputs": inputs_of(day), "notes": notes, "sources": list(day.fleet.sources), "version": __version__,
    }  # fmt: skip


def _schedule(day: FleetDay) -> list[dict[str, Any]]:
    stated = _stated_nodes(day)
    return [
        {
            "hour": float((day.fleet.start + hour) % 24), "nodes": float(day.nodes[i]),
            "published": None if stated is None else float(stated[i]),
            **{f"{p}_units": [int(n) for n in day.units[p][i]] for p in PHASES},
            **{f"{p}_load": float(day.load[p][i]) for p in PHASES},
        }
        for i, hour in enumerate(day.hours)
    ]  # fmt: skip


def _rows(day: FleetDay) -> list[dict[str, Any]]:
    return [
        {**row, **{f"{p}_units": sum(row[f"{p}_units"]) for p in PHASES}} for row in _schedule(day)
    ]  # fmt: skip


def _clock(day: FleetDay) -> list[str]:
    minutes = np.round((day.fleet.start + day.hours) % 24 * 60).astype(int)
    return [f"{m // 60:02d}:{m % 60:02d}" for m in minutes.tolist()]


def nodes_figure(day: FleetDay) -> Figure:
    """Steps of nodes by time, predicted and published."""
    clock, stated = _clock(day), _stated_nodes(day)
    line = {"type": "scatter", "mode": "lines", "x": clock}
    data: list[dict[str, Any]] = [{**line, "name": "predicted", "y": day.nodes.tolist(), "line": {"shape": "hv"}}]
    if stated is not None:
        data.append({**line, "name": "published", "y": stated.tolist(), "line": {"shape": "hv", "dash": "dot"}})
    layout = _layout(
        "Nodes by hour",
        xaxis=_axis("time of day", type="category", nticks=13),
        yaxis=_axis("nodes", rangemode="tozero"),
    )
    return {"data": data, "layout": layout}


def load_figure(day: FleetDay) -> Figure:
    """Load over capacity of both pools."""
    data = [
        {"type": "scatter", "mode": "lines", "name": p, "x": _clock(day), "y": day.load[p].tolist()} for p in PHASES
    ]
    layout = _layout(
        "Load of the running units", xaxis=_axis("time of day", type="category", nticks=13),
        yaxis=_axis("load over capacity", tickformat=".0%", rangemode="tozero"),
    )  # fmt: skip
    return {"data": data, "layout": layout}


def money_figure(day: FleetDay) -> Figure:
    """USD per hour: what runs, and what the tokens bring."""
    steps = len(day.hours)
    cost = sum(
        day.units[p] @ np.array([kind.usd_per_h * kind.unit.gpus for kind in day.kinds[p]]) for p in PHASES
    )  # fmt: skip
    share = day.demand["decode"] / day.demand["decode"].sum()
    income = share * day.metrics["revenue_usd"].value * steps / 24.0
    data = [
        {"type": "bar", "name": "income", "x": _clock(day), "y": income.tolist()},
        {"type": "bar", "name": "cost", "x": _clock(day), "y": np.asarray(cost).tolist()},
    ]
    layout = _layout(
        "Cost and income", xaxis=_axis("time of day", type="category", nticks=13), yaxis=_axis("USD per hour"),
        barmode="overlay", bargap=0,
    )  # fmt: skip
    return {"data": data, "layout": layout}
