"""A simulation as a Document: quantiles, money, the state over time, latency distributions; its steps as a trace."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from costsim.predict.report import Report
from costsim.report.document import Cell, Chart, Content, Document, Section, Table
from costsim.report.figures import Figure, _axis, _layout
from costsim.report.pages import document_of
from costsim.report.words import quantity
from costsim.serving.outcome import Outcome
from costsim.units import MICRO

if TYPE_CHECKING:
    import pandas as pd

_QUANTILES = ("mean", "p50", "p90", "p99")
#: points of a distribution that are drawn
_DRAWN = 400
#: steps of one replica that a trace holds
_MAX_STEPS = 100_000


def simulation_document(report: Report, outcome: Outcome) -> Document:
    """Latencies and what they cost first, then the run over time, then everything else the report holds."""
    base = document_of(report)
    first = Section("Latency", (), [_latencies(report)])
    charts = [
        Chart(state_figure(outcome), "requests waiting and running, and KV in use, over time"),
        Chart(latency_figure(outcome), "share of requests with at most this time to first token, and time per token"),
    ]
    payload = dict(report.json()) | {
        name: int(report[name]) for name in ("requests", "finished", "aborted", "preemptions", "iterations")
    } | {"elapsed_cpu_s": report["elapsed_cpu_s"]}  # fmt: skip
    rest = [section for section in base.sections if section.heading != "Memory per device"]
    sections = [first, Section("Over time", (), (), charts), *rest]
    return Document(base.title, sections, payload, rows=base.rows, again=base.again)


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


def state_figure(outcome: Outcome) -> Figure:
    """Requests waiting and running over time, KV in use on a second axis."""
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
    )  # fmt: skip
    return {"data": data, "layout": layout}


def latency_figure(outcome: Outcome) -> Figure:
    """Cumulative distributions of TTFT and TPOT, on a logarithmic axis."""
    data = []
    for name, column, dash in (
        ("time to first token", outcome.ttft_s, "solid"),
        ("time per later token", outcome.tpot_s, "dot"),
    ):
        known = np.sort(column[np.isfinite(column)])
        if known.size:
            share = np.linspace(0.0, 1.0, _DRAWN)
            data.append({
                "type": "scatter", "mode": "lines", "name": name, "line": {"dash": dash},
                "x": np.quantile(known, share).tolist(), "y": share.tolist(),
            })  # fmt: skip
    layout = _layout(
        "Latency of requests",
        xaxis=_axis("seconds", type="log", dtick="D2"),
        yaxis=_axis("share of requests", tickformat=".0%"),
    )
    return {"data": data, "layout": layout}


def request_frame(outcome: Outcome) -> pd.DataFrame:
    """One row a request: tokens, times, preemptions, why it was turned away."""
    import pandas as pd

    reasons = np.array(["", "waited too long", "longer than the KV cache"])
    return pd.DataFrame(
        {
            "arrival_s": outcome.arrival_s, "admitted_s": outcome.admitted_s, "first_token_s": outcome.first_s,
            "finish_s": outcome.finish_s, "isl": outcome.isl.astype(int), "osl": outcome.osl.astype(int),
            "cached": outcome.cached.astype(int), "preemptions": outcome.preemptions.astype(int),
            "ttft_s": outcome.ttft_s, "tpot_s": outcome.tpot_s, "turned_away": reasons[outcome.aborted.astype(int)],
        }
    )  # fmt: skip


def steps_trace(outcome: Outcome, name: str) -> str:
    """Every replica's steps as a Chrome trace [chrome-trace-format]: a process each, times in µs."""
    events = [event for number, log in enumerate(outcome.logs) for event in _steps(number, log, name)]
    text = json.dumps({"displayTimeUnit": "ms", "traceEvents": events}, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c") + "\n"


def _steps(number: int, log: tuple[tuple[float, float, int, int, int], ...], name: str) -> Iterator[dict[str, Any]]:
    yield {"ph": "M", "pid": number, "name": "process_name", "args": {"name": f"replica {number} · {name}"[:300]}}
    for start, end, n, prompt, decoding in log[:_MAX_STEPS]:
        kind = "prompt" if not decoding else "prompt and decode" if prompt else "decode"
        yield {
            "ph": "X", "pid": number, "tid": 1, "name": kind, "ts": round(start / MICRO, 3),
            "dur": round((end - start) / MICRO, 3),
            "args": {"iterations": n, "prompt_tokens": prompt, "decoding": decoding},
        }  # fmt: skip
        yield {
            "ph": "C",
            "pid": number,
            "name": "decoding",
            "ts": round(start / MICRO, 3),
            "args": {"requests": decoding},
        }
