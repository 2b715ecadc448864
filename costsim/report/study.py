"""The main report: a study as a document of tables and figures, published figures beside the predicted ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from costsim.evidence.validate import Row
from costsim.explore.study import Deployment, Study
from costsim.predict.report import Report
from costsim.report.accuracy import accuracy_document
from costsim.report.document import Cell, Chart, Content, Document, Section, Table
from costsim.report.figures import breakdown_bar, grouped_bar
from costsim.report.pages import breakdown_words
from costsim.report.words import band, number, percent, quantity, value_text
from costsim.version import __version__

GRADES = (
    "Grades: A measured on this part, B measured there and extrapolated, C carried over from a sibling part, "
    "D from another architecture. The band is P10 to P90."
)
_FP8_GAINS = ("prefill", "decode")


def study_document(study: Study, rows: Sequence[Row]) -> Document:
    """``costsim report`` as a document."""
    accuracy = accuracy_document(rows)
    sections = [
        _headline(study),
        _side_by_side(study),
        _narrow_formats(study),
        _time(study),
        _memory(study),
        _training(study),
        Section("Published figures beside ours", accuracy.sections[0].paragraphs, accuracy.sections[1].tables,
                accuracy.sections[1].charts),
        _notes(study),
    ]  # fmt: skip
    return Document(
        title=study.scenario.title,
        subtitle=f"{study.model.name}; costsim {__version__}",
        sections=[section for section in sections if section.tables or section.paragraphs],
        payload=_payload(study, accuracy),
        rows=_flat(study),
    )


def _payload(study: Study, accuracy: Document) -> dict[str, Any]:
    def report(value: Report | None) -> dict[str, Any] | None:
        return None if value is None else value.json()

    def deployment(d: Deployment) -> dict[str, Any]:
        return {"accelerator": d.accelerator, "precision": d.precision, "prefill": report(d.prefill),
                "decode": report(d.decode), "reason": d.reason}  # fmt: skip

    return {
        "scenario": study.scenario.model_dump(),
        "deployments": [deployment(d) for d in study.deployments],
        "precisions": [[deployment(a), deployment(b)] for a, b in study.precisions],
        "training": [{"accelerator": name, "report": report(r), "reason": why} for name, r, why in study.training],
        "validation": accuracy.payload,
        "version": __version__,
    }


def _metric(report: Report | None, name: str) -> float | None:
    return report.metrics[name].value if report is not None and name in report.metrics else None


def _text(report: Report | None, name: str) -> str:
    """Value with its band."""
    if report is None or name not in report.metrics:
        return "–"
    metric = report.metrics[name]
    return f"{value_text(name, metric)} ({band(name, metric)})"


def _headline(study: Study) -> Section:
    first = study.deployments[0]
    if not first.works:
        return Section("In short", [f"{first.accelerator}: {first.reason}"])
    sentences = [
        f"{study.model.name} on {first.accelerator} in {first.precision}, kernel path, every card busy: "
        f"one card prefills {_text(first.prefill, 'tokens_per_s_per_gpu')} and decodes "
        f"{_text(first.decode, 'tokens_per_s_per_gpu')} at {_text(first.decode, 'tpot_s')} a token.",
        f"A million input tokens cost {_text(first.prefill, 'usd_per_mtok_input')}, a million output tokens "
        f"{_text(first.decode, 'usd_per_mtok_output')}; a fleet over a day keeps about half of the prefill and "
        "four fifths of the decode throughput.",
    ]
    name, run, _ = study.training[0]
    if run is not None:
        sentences.append(
            f"Training on {_tokens(study)} tokens with {study.scenario.training.gpus} {name}: "
            f"{_text(run, 'gpu_hours')} and {_text(run, 'usd_per_run')} (first order, nothing overlapped)."
        )
    return Section("In short", [*sentences, GRADES])


def _tokens(study: Study) -> str:
    """14.8e12 → 14.8T."""
    tokens = study.scenario.training.tokens
    for letter, scale in (("T", 1e12), ("B", 1e9), ("M", 1e6)):
        if tokens >= scale:
            return f"{tokens / scale:g}{letter}"
    return f"{tokens:g}"


def _rate(report: Report) -> Cell:
    """The hourly price behind the money columns."""
    price = report.inputs["price"]
    return Cell("–", None) if price is None else Cell(f"{price['usd_per_h']:.2f}", price["usd_per_h"])


def _plan_words(report: Report) -> str:
    plan = report.inputs["plan"]
    words = [f"{plan['gpus']:g}×"]
    words += [f"tp{plan['tp']:g}"] if plan["tp"] > 1 else []
    words += [f"ep{plan['ep']:g}"] if plan["ep"] > 1 else []
    words += ["2-batch"] if plan["overlap"] == "two-batch" else []
    load = report.inputs["load"]
    words.append(f"b{load['batch_per_gpu']:g}" if "batch_per_gpu" in load else f"{load['tokens_per_gpu'] / 1024:g}k")
    return " ".join(words)


def _number(report: Report, name: str) -> Cell:
    value = _metric(report, name)
    return Cell("–" if value is None else number(value, 3), value)


def _side_by_side(study: Study) -> Section:
    work = study.scenario.workload
    prefill: list[list[Content]] = []
    decode: list[list[Content]] = []
    for d in study.deployments:
        if d.prefill is None or d.decode is None:
            prefill.append([d.accelerator, d.reason, None, None, None, None, None])
            decode.append([d.accelerator, d.reason, None, None, None, None, None])
            continue
        prefill.append([
            f"{d.accelerator} {d.precision}", _plan_words(d.prefill), _rate(d.prefill), *(_number(d.prefill, name) for name in (
                "tokens_per_s_per_gpu", "usd_per_mtok_input", "joules_per_token_input")),
            d.prefill.metrics["tokens_per_s_per_gpu"].grade])  # fmt: skip
        tpot = d.decode.metrics["tpot_s"].value
        decode.append([
            f"{d.accelerator} {d.precision}", _plan_words(d.decode), Cell(quantity(tpot, "s"), tpot),
            *(_number(d.decode, name) for name in (
                "tokens_per_s_per_gpu", "usd_per_mtok_output", "joules_per_token_output")),
            d.decode.metrics["tokens_per_s_per_gpu"].grade])  # fmt: skip
    tables = [
        Table(("prefill", "plan", "USD/h", "token/s", "USD/M in", "J/token", "grade"), prefill, "per card; plan: cards, widths, tokens a card and step"),
        Table(("decode", "plan", "TPOT", "token/s", "USD/M out", "J/token", "grade"), decode, "per card; plan: cards, widths, requests a card"),
    ]
    words = (
        f"The best plan found for each chip: prompts of {work.isl:,} tokens; decode at a mean context of {work.context:,} "
        f"within {quantity(work.tpot, 's')} a token. Every card is fully busy: production averages are lower."
    )
    return Section("Side by side", [words], tables, [_throughput_chart(study)])


def _throughput_chart(study: Study) -> Chart:
    good = [d for d in study.deployments if d.works]
    names = [d.accelerator for d in good]
    series: dict[str, list[float | None]] = {}
    errors: dict[str, list[tuple[float, float] | None]] = {}
    for phase, metric in (("prefill", "usd_per_mtok_input"), ("decode", "usd_per_mtok_output")):
        found = [getattr(d, phase).metrics.get(metric) for d in good]
        label = f"{phase}: {'input' if phase == 'prefill' else 'output'} tokens"
        series[label] = [None if m is None else m.value for m in found]
        errors[label] = [None if m is None or m.low is None or m.high is None else (m.low, m.high) for m in found]
    figure = grouped_bar(names, series, "USD per million tokens, every card busy", "USD/Mtok", errors)
    parts = "; ".join(f"{name}: {', '.join(f'{values[i]:.3g}' if values[i] is not None else 'no price' for values in series.values())}"
                      for i, name in enumerate(names))  # fmt: skip
    return Chart(figure, f"USD per million input and output tokens by chip. {parts}.")


def _narrow_formats(study: Study) -> Section:
    rows: list[list[Content]] = []
    for narrow, wide in study.precisions:
        if not narrow.works:
            continue
        if not wide.works:
            rows.append([narrow.accelerator, f"{narrow.precision} : bf16", f"bf16 does not work: {wide.reason[:60]}", None, None])
            continue
        gains: list[Content] = []
        for phase in _FP8_GAINS:
            a, b = (_metric(getattr(d, phase), "tokens_per_s_per_gpu") for d in (narrow, wide))
            gains.append(Cell(f"{a / b:.2f}×", a / b) if a and b else None)
        a_gb, b_gb = (getattr(d, "decode").memory["weights_bytes"] / 1e9 for d in (narrow, wide))
        gpus = [getattr(d, "decode").inputs["plan"]["gpus"] for d in (narrow, wide)]
        rows.append([narrow.accelerator, f"{narrow.precision} : bf16", *gains, f"{a_gb:.1f} : {b_gb:.1f} GB on {gpus[0]:g} : {gpus[1]:g}"])
    table = Table(("chip", "formats", "prefill", "decode", "weights a rank, cards of the unit"), rows)
    words = "Throughput per card of the best plan in 8 bits over the best in BF16: compute, memory and wire together."
    return Section("8 bits against 16", [words], [table]) if rows else Section("8 bits against 16")


def _time(study: Study) -> Section:
    good = [d for d in study.deployments if d.works]
    bars = {f"{d.accelerator} decode": d.decode.breakdown for d in good if d.decode}
    if not bars:
        return Section("Where a decode step goes")
    chart = Chart(breakdown_bar(bars, "Decode step by operation"), breakdown_words(good[0].decode) if good[0].decode else "")
    first = good[0].decode
    assert first is not None
    rows: list[list[Content]] = [
        [line.name, Cell(quantity(line.time_s, "s"), line.time_s), Cell(percent(line.share), line.share), line.bound, line.grade]
        for line in first.breakdown[:12]
    ]
    return Section("Where a decode step goes", [], [Table((f"{good[0].accelerator}", "time", "share", "bound by", "grade"), rows)], [chart])


def _memory(study: Study) -> Section:
    rows: list[list[Content]] = []
    keys = ("weights_bytes", "kv_bytes", "activations_bytes", "communication_bytes", "total_bytes", "capacity_bytes")
    for d in study.deployments:
        if d.decode is not None:
            rows.append([d.accelerator, *(Cell(f"{d.decode.memory[key] / 1e9:.1f}", d.decode.memory[key]) for key in keys)])
    columns = ("decode, GB a rank", "weights", "KV", "activations", "buffers", "total", "there")
    return Section("Memory per device", (), [Table(columns, rows)] if rows else ())


def _training(study: Study) -> Section:
    rows: list[list[Content]] = []
    for name, report, why in study.training:
        if report is None:
            rows.append([name, why, None, None, None, None])
            continue
        step = report.metrics["step_s"].value
        rows.append([name, Cell(quantity(step, "s"), step), *(_number(report, key) for key in (
            "mfu_causal", "gpu_hours", "usd_per_run")), report.metrics["step_s"].grade])  # fmt: skip
    words = (
        f"{study.scenario.training.gpus} devices, pp {study.scenario.training.pp}, ep {study.scenario.training.ep}, "
        f"{_tokens(study)} tokens. First order: isolated kernels, 1F1B, no overlap. The published run "
        "(DualPipe, overlapped all-to-all) took 19.93 s a step and 2.664M GPU hours: today's figure comes near it because "
        "missing overlap and optimistic backward kernels cancel, so do not read it as validated."
    )
    return Section("Training, first order", [words], [Table(("chip", "step", "MFU", "GPU hours", "USD", "grade"), rows)])


def _notes(study: Study) -> Section:
    notes: dict[str, None] = {}
    for d in study.deployments:
        for report in (d.prefill, d.decode):
            if report is not None:
                notes.update(dict.fromkeys(f"{d.accelerator}: {note}" for note in report.notes if note.startswith(("price", "kernel", "tdp", "no hourly"))))
    sources: dict[str, None] = {}
    for d in study.deployments:
        for report in (d.prefill, d.decode):
            if report is not None:
                sources.update(dict.fromkeys(report.sources))
    return Section("Notes and sources", [*notes, f"Sources (keys of hwprofiles/references.bib): {', '.join(sources)}."])


def _flat(study: Study) -> list[dict[str, Any]]:
    return [
        {"accelerator": d.accelerator, "precision": d.precision, "phase": r.kind, "metric": name, **metric.json()}
        for d in study.deployments
        for r in (d.prefill, d.decode)
        if r is not None
        for name, metric in r.metrics.items()
    ]
