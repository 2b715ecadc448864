"""A simulation as a Document: quantiles, money, the state over time, latency distributions; its steps as a trace."""

from __future__ import annotations

import json
from collections.abc import Iterator
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Any

import numpy as np

from costsim.predict.report import Report
from costsim.predict.simulation import Simulated, latencies
from costsim.report.document import Cell, Chart, Content, Document, Section, Table
from costsim.report.figures import Figure, _axis, _layout, log_ticks
from costsim.report.pages import document_of
from costsim.report.words import percent, quantity
from costsim.serving.outcome import Outcome
from costsim.serving.window import Window
from costsim.units import MICRO

if TYPE_CHECKING:
    import pandas as pd

_QUANTILES = ("mean", "p50", "p90", "p99")
#: points of a distribution that are drawn
_DRAWN = 400
#: steps of one replica and requests of one priority that a trace holds
_MAX_STEPS, _MAX_REQUESTS = 100_000, 20_000
#: why requests were lost, in the order of the ledger's numbers
REASONS = ("waited too long", "longer than the KV cache", "refused by a full queue")


def simulation_document(simulated: Simulated) -> Document:
    """Latencies and what they cost first, then the run over time, then everything else the report holds."""
    report, outcome = simulated.report, simulated.outcome
    base = document_of(report)
    classes = by_priority(simulated)
    first = Section("Latency", (), [_latencies(report), *([_classes(classes)] if len(classes) > 1 else [])])
    charts = [
        Chart(state_figure(simulated.window), "requests waiting and running, and KV in use, over time"),
        Chart(
            latency_figure(simulated.window),
            "share of requests with at most this TTFT, and time per token",
        ),
    ]
    payload = dict(report.json()) | {
        name: int(report[name]) for name in ("requests", "finished", "aborted", "preemptions", "iterations")
    } | {"elapsed_cpu_s": report["elapsed_cpu_s"], "by_priority": classes, "series": _series(outcome),
         "counted": counted_json(simulated.window)}  # fmt: skip
    rest = [section for section in base.sections if section.heading != "Memory per device"]
    sections = [first, Section("Over time", (), (), charts), *rest]
    return Document(base.title, sections, payload, rows=base.rows, again=base.again)


def counted_json(window: Window) -> dict[str, Any]:
    """The part of the run that the metrics are about; ``steady``: None where all of it was asked for."""
    requests = int(window.among.sum())
    return {"begin_s": window.begin_s, "end_s": window.end_s, "requests": requests, "steady": window.steady}


def by_priority(simulated: Simulated) -> list[dict[str, Any]]:
    """Latencies, losses and goodput of every priority; lower is served first."""
    outcome, rows = simulated.outcome, []
    for priority in np.unique(outcome.priority):
        own = (outcome.priority == priority) & simulated.window.among
        if not own.any():
            continue
        good = outcome.good(simulated.ttft_s, simulated.tpot_s)[own]
        rows.append({
            "priority": int(priority), "requests": int(own.sum()), "finished": int(outcome.finished[own].sum()),
            "aborted": int((outcome.aborted[own] > 0).sum()), "preemptions": int(outcome.preemptions[own].sum()),
            "goodput_share": float(good.mean()),
            **{name: None if np.isnan(v) else v for name, v in latencies(outcome, own).items()},
        })  # fmt: skip
    return rows


def _classes(rows: list[dict[str, Any]]) -> Table:
    """One row a priority."""
    cells: list[list[Content]] = [
        [
            row["priority"], row["requests"], row["aborted"], row["preemptions"],
            *(Cell(quantity(row[name], "s"), row[name]) for name in ("ttft_p50_s", "ttft_p99_s", "tpot_p50_s")),
            Cell(percent(row["goodput_share"]), row["goodput_share"]),
        ]
        for row in rows
    ]  # fmt: skip
    return Table(
        ("priority", "requests", "lost", "preempted", "TTFT p50", "TTFT p99", "TPOT p50", "within targets"), cells
    )


def _series(outcome: Outcome) -> dict[str, list[float]]:
    """Queue, running requests and KV in use over time, a thousand points at most."""
    points = outcome.series[:: max(1, len(outcome.series) // 1000)]
    names = ("time_s", "waiting", "running", "kv_share")
    return {name: [point[i] for point in points] for i, name in enumerate(names)}


def _latencies(report: Report) -> Table:
    """One row a latency, one column a quantile."""
    rows: list[list[Content]] = []
    for name, words in (
        ("ttft", "time to first token"), ("tpot", "time per later token"), ("itl", "gap between tokens"),
        ("e2e", "whole answer"),
    ):  # fmt: skip
        cells: list[Content] = [words]
        for q in _QUANTILES:
            metric = report.metrics.get(f"{name}_s" if q == "mean" else f"{name}_{q}_s")
            cells.append(None if metric is None else Cell(quantity(metric.value, metric.unit), metric.value))
        rows.append(cells)
    return Table(("", *_QUANTILES), rows)


def state_figure(window: Window) -> Figure:
    """Requests waiting and running over time, KV in use on a second axis; what is not counted is shaded."""
    outcome = window.outcome
    series = outcome.series[:: max(1, len(outcome.series) // 1000)]
    times = [point[0] for point in series]
    data = [
        {"type": "scatter", "mode": "lines", "name": "running", "x": times, "y": [p[2] for p in series]},
        {"type": "scatter", "mode": "lines", "name": "waiting", "x": times, "y": [p[1] for p in series]},
        {"type": "scatter", "mode": "lines", "name": "KV in use", "x": times, "y": [p[3] for p in series],
         "yaxis": "y2", "line": {"dash": "dot"}},
    ]  # fmt: skip
    layout = _layout(
        "The state over time", xaxis=_axis("seconds"), yaxis=_axis("requests", rangemode="tozero"),
        yaxis2=_axis("KV in use", overlaying="y", side="right", tickformat=".0%", range=[0, 1], dtick=0.2,
                     showgrid=False),
        shapes=[_shade(0.0, window.begin_s), _shade(window.end_s, outcome.end_s)] if window.steady else [],
    )  # fmt: skip
    return {"data": data, "layout": layout}


def _shade(begin_s: float, end_s: float) -> dict[str, Any]:
    """A grey field behind the lines."""
    return {
        "type": "rect", "xref": "x", "yref": "paper", "x0": begin_s, "x1": end_s, "y0": 0, "y1": 1, "layer": "below",
        "fillcolor": "rgba(128,128,128,0.18)", "line": {"width": 0},
    }  # fmt: skip


def latency_figure(window: Window) -> Figure:
    """Cumulative distributions of TTFT and TPOT of what is counted, on a logarithmic axis."""
    data, outcome = [], window.outcome
    for name, column, dash in (
        ("time to first token", outcome.ttft_s, "solid"),
        ("time per later token", outcome.tpot_s, "dot"),
    ):
        known = np.sort(column[np.isfinite(column) & window.among])
        if known.size:
            share = np.linspace(0.0, 1.0, _DRAWN)
            data.append({
                "type": "scatter", "mode": "lines", "name": name, "line": {"dash": dash},
                "x": np.quantile(known, share).tolist(), "y": share.tolist(),
            })  # fmt: skip
    layout = _layout(
        "Latency of requests",
        xaxis=_axis("seconds", **log_ticks([x for trace in data for x in trace["x"]])),
        yaxis=_axis("share of requests", tickformat=".0%"),
    )
    return {"data": data, "layout": layout}


def request_frame(window: Window) -> pd.DataFrame:
    """One row a request: tokens, times, preemptions, why it was turned away, whether it counts."""
    import pandas as pd

    outcome = window.outcome
    reasons = np.array(["", *REASONS])
    return pd.DataFrame(
        {
            "arrival_s": outcome.arrival_s, "admitted_s": outcome.admitted_s, "first_token_s": outcome.first_s,
            "finish_s": outcome.finish_s, "isl": outcome.isl.astype(int), "osl": outcome.osl.astype(int),
            "cached": outcome.cached.astype(int), "preemptions": outcome.preemptions.astype(int),
            "ttft_s": outcome.ttft_s, "tpot_s": outcome.tpot_s, "e2e_s": outcome.e2e_s,
            "priority": outcome.priority.astype(int), "turned_away": reasons[outcome.aborted.astype(int)],
            "counted": window.among,
        }
    )  # fmt: skip


def steps_trace(outcome: Outcome, name: str) -> str:
    """Every replica's steps as a Chrome trace [chrome-trace-format], a process each, and the requests of every
    priority, a process each: waiting, prompt, answer, or how they were lost. Times in µs."""
    events = [event for number, log in enumerate(outcome.logs) for event in _steps(number, log, name)]
    events += [
        event
        for number, priority in enumerate(np.unique(outcome.priority), start=len(outcome.logs))
        for event in _requests(number, outcome, int(priority))
    ]
    text = json.dumps({"displayTimeUnit": "ms", "traceEvents": events}, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c") + "\n"


def _requests(number: int, outcome: Outcome, priority: int) -> Iterator[dict[str, Any]]:
    """Requests of one priority, in as many lanes as were in flight at once; the first of them where there are many."""
    about = {"name": f"requests of priority {priority}"}
    yield {"ph": "M", "pid": number, "name": "process_name", "args": about}
    lanes: list[tuple[float, int]] = []
    for index in np.flatnonzero(outcome.priority == priority)[:_MAX_REQUESTS].tolist():
        start, lost = float(outcome.arrival_s[index]), int(outcome.aborted[index])
        times = [start, *(float(c[index]) for c in (outcome.admitted_s, outcome.first_s, outcome.finish_s))]
        end = float(outcome.aborted_s[index]) if lost else times[-1]
        lane = heappop(lanes)[1] if lanes and lanes[0][0] <= start else len(lanes) + 1
        heappush(lanes, (end, lane))
        args = {
            "request": index, "prompt_tokens": int(outcome.isl[index]), "answer_tokens": int(outcome.osl[index]),
            "cached": int(outcome.cached[index]), "preemptions": int(outcome.preemptions[index]),
        }  # fmt: skip
        if lost:
            yield _slice(number, lane, REASONS[lost - 1], start, end, args)
            continue
        for what, begins, ends in zip(("waiting", "prompt", "answer"), times, times[1:], strict=False):
            yield _slice(number, lane, what, begins, ends, args)


def _slice(pid: int, lane: int, name: str, start: float, end: float, args: dict[str, Any]) -> dict[str, Any]:
    """A complete event. Its ends are rounded, not its length, so that slices that touch still do."""
    begins = round(start / MICRO, 3)
    duration = round(round(end / MICRO, 3) - begins, 3)
    return {"ph": "X", "pid": pid, "tid": lane, "name": name, "ts": begins, "dur": duration, "args": args}


def _steps(number: int, log: tuple[tuple[float, float, int, int, int], ...], name: str) -> Iterator[dict[str, Any]]:
    yield {"ph": "M", "pid": number, "name": "process_name", "args": {"name": f"replica {number} · {name}"[:300]}}
    for start, end, n, prompt, decoding in log[:_MAX_STEPS]:
        kind = "prompt" if not decoding else "prompt and decode" if prompt else "decode"
        about = {"iterations": n, "prompt_tokens": prompt, "decoding": decoding}
        yield _slice(number, 1, kind, start, end, about)
        yield {
            "ph": "C",
            "pid": number,
            "name": "decoding",
            "ts": round(start / MICRO, 3),
            "args": {"requests": decoding},
        }
