"""Explain any report from its own breakdown: training, post-training, whole runs and recipes, simulations.

A breakdown's lines that nothing hides add up to the step (or the run). Metrics proportional to it carry the same tree,
scaled; rates and utilisations show the time that they follow from; rungs of a cost ladder add to the one below.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from costsim.economics.ladder import RUNGS, TITLES
from costsim.errors import UnknownName
from costsim.predict.explain import Explained, Node
from costsim.predict.report import Line, Metric, Report

#: metrics that grow with the time of the breakdown, by their beginning
_GROWS = ("step_s", "gpu_hours", "usd_per_run", "usd_per_step", "joules", "wall_clock_days", "days", "energy", "usd",
          "tpot_s", "ttft_s", "decode_step_s")  # fmt: skip
#: metrics that fall as it grows: their tree is the time itself
_FALLS = ("tokens_per", "output_tokens_per", "input_tokens_per", "requests_per_s", "mfu", "mbu", "tflops")
#: parts of a training step that add up to it
_STEP_PARTS = ("forward_only_s", "backward_only_s", "weight_only_s", "forward_backward_s", "bubble_s", "optimizer_s")
_MEMORY_SUMS = ("weights_bytes", "gradients_bytes", "master_bytes", "moments_bytes", "activations_bytes",
                "transient_bytes", "communication_bytes", "kv_bytes", "reserve_bytes")  # fmt: skip


def explain_report(report: Report, metric: str) -> Explained:
    """One metric or memory term of a report as a tree. Raises UnknownName with those that have one."""
    known = explained(report)
    if metric not in known:
        raise UnknownName("metric with a tree", metric, known)
    if metric in report.memory:
        found = Metric(report.memory[metric], "B", None, None, "B")
        return Explained(metric, found, _memory(report, metric), "B", "sum of bytes on the fullest rank", report)
    found = report.metrics[metric]
    if report.kind == "training_run" and metric.removesuffix("_usd") in RUNGS:
        return Explained(metric, found, _ladder(report, metric), "USD", "each rung of the ladder adds to the one "
                          "below; owning replaces renting, so it may also take away", report)  # fmt: skip
    time = _time(report)
    if metric.startswith(_FALLS):
        text = f"{found.value:.6g} {found.unit} follows from {time.value:.6g} s".replace("  ", " ")
        return Explained(metric, found, time, "s", text, report)
    if metric in _STEP_PARTS:
        tree = Node(metric, found.value, facts={"formula": "seconds of the first pipeline rank"})
        return Explained(metric, found, tree, found.unit, "a part of the step", report)
    tree = time.scaled(found.value / time.value, metric)
    return Explained(metric, found, tree, found.unit, _of(metric), report)


def explained(report: Report) -> list[str]:
    """Metrics and memory terms that :func:`explain_report` can take apart."""
    shown = [line for line in report.breakdown if not line.overlapped]
    metrics = [name for name in report.metrics if name.startswith((*_GROWS, *_FALLS)) or name in _STEP_PARTS]
    if not shown:
        metrics = []
    if report.kind == "training_run":
        metrics = [name for name in metrics if not name.startswith("days_with")]
        metrics += [f"{rung}_usd" for rung in RUNGS if f"{rung}_usd" in report.metrics]
    if report.kind == "simulation":  # quantiles of requests are no sums of replica time
        metrics = [name for name in metrics if name == "usd" or name.startswith(_FALLS)]
    return [*metrics, *(name for name in ("total_bytes",) if name in report.memory and _total(report) is not None)]


def _of(metric: str) -> str:
    if metric.startswith("usd"):
        return "hourly price · cards · seconds"
    if metric.startswith(("joules", "energy")):
        return "watts at the wall · seconds"
    return "cards · seconds" if metric.startswith("gpu_hours") else "sum over the step"


def _time(report: Report) -> Node:
    """Seconds of the breakdown, by family where it names kernels, by stage where a recipe has several."""
    lines = [line for line in report.breakdown if not line.overlapped]
    groups: dict[str, list[Line]] = {}
    for line in lines:
        groups.setdefault(_group(line), []).append(line)
    nodes = [Node(name, sum(line.time_s for line in some), tuple(_leaf(line, name) for line in some))
             for name, some in groups.items()]  # fmt: skip
    if len(nodes) == 1:
        nodes = list(nodes[0].children)
    return Node("time", sum(line.time_s for line in lines), tuple(nodes))


def _group(line: Line) -> str:
    if line.family in ("phase", "replica"):
        return line.name.split(": ")[0]
    return line.family or "other"


def _leaf(line: Line, group: str) -> Node:
    name = line.name.removeprefix(f"{group}: ")
    return Node(name, line.time_s, facts={"bound": line.bound, "grade": line.grade, "family": line.family})


def _ladder(report: Report, metric: str) -> Node:
    """What every rung up to this one adds."""
    last = metric.removesuffix("_usd")
    values = [(rung, report[f"{rung}_usd"]) for rung in RUNGS[: RUNGS.index(last) + 1]]
    before = [0.0, *(value for _, value in values)]
    nodes = tuple(Node(TITLES[rung], value - lower, facts={"grade": report.metrics[f"{rung}_usd"].grade})
                  for (rung, value), lower in zip(values, before, strict=False))  # fmt: skip
    return Node(metric, values[-1][1], nodes)


def _total(report: Report) -> list[tuple[str, float]] | None:
    """Terms of the total where they add up to it: the fullest rank of a plan whose parts do not take turns."""
    terms = [(name, report.memory[name]) for name in _MEMORY_SUMS if name in report.memory]
    if "optimizer_bytes" in report.memory and "moments_bytes" not in report.memory:
        terms.append(("optimizer_bytes", report.memory["optimizer_bytes"]))
    known = report.memory.get("total_bytes", 0.0)
    return terms if known and abs(sum(value for _, value in terms) / known - 1.0) < 1e-3 else None


def _memory(report: Report, metric: str) -> Node:
    terms: Iterable[tuple[str, float]] = _total(report) or []
    return Node(metric, report.memory[metric], tuple(Node(name, value) for name, value in terms))


def from_json(document: dict[str, Any]) -> Report:
    """A report read back from its JSON. Raises KeyError, TypeError or ValueError where it is none."""
    metrics = {
        str(name): Metric(float(m["value"]), str(m["unit"]), _end(m.get("low")), _end(m.get("high")), str(m["grade"]))
        for name, m in document["metrics"].items() if m["value"] is not None
    }  # fmt: skip
    lines = tuple(
        Line(str(b["name"]), float(b["time_s"]), float(b["share"]), str(b["bound"]), str(b["grade"]),
             str(b.get("family", "")), bool(b.get("overlapped", False)))
        for b in document["breakdown"]
    )  # fmt: skip
    memory = {str(name): float(value) for name, value in document.get("memory", {}).items() if value is not None}
    words = [tuple(str(text) for text in document.get(key, ())) for key in ("sources", "notes")]
    return Report(str(document["kind"]), dict(document["inputs"]), metrics, lines, memory, *words)


def _end(value: Any) -> float | None:
    return None if value is None else float(value)
