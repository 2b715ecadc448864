"""A search result as a page: the frontier, its chart, and what the rest failed on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from costsim.explore.played import PLAYS
from costsim.explore.search import Found, SearchResult
from costsim.report.document import Cell, Chart, Content, Document, Section, Table
from costsim.report.figures import PALETTE, _axis, _layout, log_ticks, time_unit
from costsim.report.words import label, number, quantity
from costsim.units import GIGA
from costsim.version import __version__

_UNITS = {
    "tokens_per_s_per_gpu": "token/s",
    "tokens_per_s_per_user": "token/s",
    "usd_per_mtok": "USD/Mtok",
    "memory_bytes": "B",
}
_SHOWN = ("tpot_s", "ttft_s", "step_s", "tokens_per_s_per_gpu", "usd_per_mtok", "memory_bytes")


def frontier_document(
    result: SearchResult, model: str, chip: str, phase: str, assumed: Sequence[str], top: int
) -> Document:
    """``costsim search`` as a document; the payload is the whole frontier."""
    payload = {
        **result.json(),
        "model": model,
        "accelerator": chip,
        "phase": phase,
        "defaults": list(assumed),
        "version": __version__,
    }
    counted = (
        f"{result.evaluated:,} plans costed, {result.feasible:,} feasible, {len(result.frontier)} on the frontier."
    )
    sections = [Section("Answer", [counted, _best_words(result)])]
    if result.frontier:
        shown = thin(result.frontier, top)
        sections.append(
            Section(
                _front_title(result, phase), (), [_table(shown, len(result.frontier), phase in PLAYS)], [_chart(result)]
            )
        )
    if len(result.families) > 1:
        sections.append(_families(result))
    if result.rejected:
        rows: list[list[Content]] = [
            [reason, count, Cell(f"{count / result.evaluated:.1%}", count)] for reason, count in result.rejected.items()
        ]
        sections.append(Section("Why the rest fell out", (), [Table(("reason", "plans", "share"), rows)]))
    notes = [*result.notes, *([f"defaults: {'  '.join(assumed)}"] if assumed else [])]
    sections.append(Section("Notes", notes))
    title = f"{phase} plans of {model} on {chip}, best {label(result.objective)}"
    return Document(
        title=title, sections=sections, payload=payload, rows=[{**f.plan, **f.metrics} for f in result.frontier]
    )


def thin(found: Sequence[Found], most: int) -> list[Found]:
    """At most ``most`` of the frontier, evenly spread, ends kept."""
    if len(found) <= most or most < 2:
        return list(found[: max(most, 1)])
    step = (len(found) - 1) / (most - 1)
    return [found[round(i * step)] for i in range(most)]


def _best_words(result: SearchResult) -> str:
    if result.best is None:
        return "No plan meets the constraints; the reasons are below."
    plan = " ".join(f"{name}={value}" for name, value in result.best.plan.items())
    value = metric_text(result.objective, result.best.metrics[result.objective])
    return f"Best {label(result.objective)}: {value} with {plan}."


def metric_text(name: str, value: float) -> str:
    """A metric of a plan with its unit."""
    unit = _UNITS.get(name, "s" if name.endswith("_s") else "")
    return number(value) if unit in ("token/s", "USD/Mtok", "") else quantity(value, unit)


def _front_title(result: SearchResult, phase: str) -> str:
    if phase != "training":
        return "Frontier: latency against cost"
    return f"Frontier: {label(result.trade)} against {label(result.objective)}"


def _families(result: SearchResult) -> Section:
    """Each value of each key: what stopped its plans, or what its best plan loses on."""
    rows: list[list[Content]] = []
    for family in result.families:
        best = None if family.best is None else Cell(metric_text(result.objective, family.best), family.best)
        why = family.behind if family.feasible else family.reason
        if family.feasible and not family.behind:
            why = "holds the best"
        share = family.feasible / family.evaluated
        rows.append([f"{label(family.key)} {family.value}", family.feasible, Cell(f"{share:.0%}", share), best, why])
    columns = ("family", "feasible", "of its plans", f"best {label(result.objective)}", "why")
    return Section("Families of plans", (), [Table(columns, rows)])


def _table(found: Sequence[Found], whole: int, played: bool) -> Table:
    keys = list(found[0].plan)
    varied = [key for key in keys if len({str(f.plan[key]) for f in found}) > 1] or keys[:4]
    metrics = [name for name in _SHOWN if name in found[0].metrics]
    rows: list[list[Content]] = [
        [*(str(f.plan[key]) for key in varied), *(Cell(metric_text(m, f.metrics[m]), f.metrics[m]) for m in metrics)]
        for f in found
    ]
    caption = f"{len(found)} of {whole} plans, evenly spread" if whole > len(found) else ""
    caption = "; ".join(filter(None, (caption, "in closed form: see the notes" if played else "")))
    return Table((*(label(key) for key in varied), *(label(m) for m in metrics)), rows, caption)


def _chart(result: SearchResult) -> Chart:
    latency = result.trade
    x = [f.metrics[latency] for f in result.frontier]
    unit, scale = ("GB", GIGA) if latency == "memory_bytes" else time_unit(max(x))
    y = [f.metrics[result.objective] for f in result.frontier]
    text = [" ".join(f"{k}={v}" for k, v in f.plan.items()) for f in result.frontier]
    trace: dict[str, Any] = {
        "type": "scatter", "mode": "lines+markers", "x": [value / scale for value in x], "y": y,
        "text": text, "line": {"color": PALETTE[0], "shape": "hv"}, "marker": {"size": 6},
        "hovertemplate": f"%{{text}}<br>%{{x:.4g}} {unit}, %{{y:.4g}}<extra></extra>",
    }  # fmt: skip
    figure = _layout(
        "Pareto frontier", height=420, xaxis=_axis(f"{label(latency)}, {unit}", **log_ticks([v / scale for v in x])),
        yaxis=_axis(_named_unit(result.objective), **log_ticks(y)), margin={"l": 60, "r": 20, "t": 50, "b": 50},
    )  # fmt: skip
    ends = f"From {metric_text(latency, min(x))} to {metric_text(latency, max(x))}"
    goal = f"{label(result.objective)} from {metric_text(result.objective, min(y))} to "
    words = f"{ends}: {goal}{metric_text(result.objective, max(y))}. No plan is better in both."
    return Chart({"data": [trace], "layout": figure}, words)


def _named_unit(name: str) -> str:
    """A metric with its unit, for an axis."""
    unit = _UNITS.get(name, "s" if name.endswith("_s") else "")
    return f"{label(name)}, {unit}" if unit else label(name)
