"""The main report: a study as a document of tables and figures, published figures beside the predicted ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from costsim.evidence.validate import Row
from costsim.explore.study import Deployment, Study
from costsim.predict.report import Metric, Report
from costsim.report.accuracy import accuracy_document
from costsim.report.document import Cell, Chart, Content, Document, Section, Table
from costsim.report.explained import cost_sections
from costsim.report.figures import breakdown_bar, grouped_bar
from costsim.report.fp8 import savings_payload, savings_section
from costsim.report.pages import breakdown_words
from costsim.report.post_training import recipes_section
from costsim.report.run import ladder_section, run_payload
from costsim.report.words import band, number, percent, quantity, value_text
from costsim.spec.scenario import scenario_text
from costsim.units import GIGA
from costsim.version import __version__

GRADES = (
    "Grades: A measured on this part, B measured there and extrapolated, C carried over from a sibling part, "
    "D from another architecture. The band is P10 to P90."
)


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
        *([] if study.fp8 is None else [replace(savings_section(study.fp8), heading="Training in FP8 against BF16")]),
        recipes_section(study.post_training),
        _ladder(study),
        *cost_sections(study.explained),
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
        again=scenario_text(study.scenario),
    )


def _payload(study: Study, accuracy: Document) -> dict[str, Any]:
    def report(value: Report | None) -> dict[str, Any] | None:
        return None if value is None else value.json()

    def deployment(d: Deployment) -> dict[str, Any]:
        prefill, decode = d.phases or (None, None)
        return {"accelerator": d.accelerator, "precision": d.precision, "prefill": report(prefill),
                "decode": report(decode), "reason": d.reason}  # fmt: skip

    return {
        "scenario": study.scenario.model_dump(),
        "deployments": [deployment(d) for d in study.deployments],
        "precisions": [[deployment(a), deployment(b)] for a, b in study.precisions],
        "training": [{"accelerator": name, "report": report(r), "reason": why} for name, r, why in study.training],
        "fp8_savings": None if study.fp8 is None else savings_payload(study.fp8),
        "run": None if study.run is None else run_payload(study.run),
        "post_training": [r.json() for r in study.post_training],
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
    if first.phases is None:
        return Section("In short", [f"{first.accelerator}: {first.reason}"])
    prefill, decode = first.phases
    serving = (
        f"{study.model.name} on {first.accelerator} in {first.precision}, kernel path, every card busy: "
        f"one card prefills {_text(prefill, 'tokens_per_s_per_gpu')} and decodes "
        f"{_text(decode, 'tokens_per_s_per_gpu')} at {_text(decode, 'tpot_s')} a token."
    )
    money = (
        f"A million input tokens cost {_text(prefill, 'usd_per_mtok_input')}, a million output tokens "
        f"{_text(decode, 'usd_per_mtok_output')}; a fleet over a day keeps about half of the prefill and "
        "four fifths of the decode throughput."
    )
    sentences = [serving, money]
    name, run, _ = study.training[0]
    if run is not None:
        sentences.append(
            f"Training on {_tokens(study)} tokens with {study.scenario.training.gpus} {name}: "
            f"{_text(run, 'gpu_hours')} and {_text(run, 'usd_per_run')} ({run.inputs['plan']['schedule']} schedule)."
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
    if price is None:
        return Cell("–", None)
    star = "*" if _written_off(report) else ""
    return Cell(f"{price['usd_per_h']:.2f}{star}", price["usd_per_h"])


def _written_off(report: Report) -> bool:
    """Whether the price is the card's purchase and power, not a rental."""
    price = report.inputs["price"]
    return price is not None and price["id"].startswith("amortised")


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


_PREFILL = ("prefill", "plan", "USD/h", "token/s", "USD/M in", "J/token", "grade")
_DECODE = ("decode", "plan", "TPOT", "token/s", "USD/M out", "J/token", "grade")


def _side_by_side(study: Study) -> Section:
    work = study.scenario.workload
    prefill: list[list[Content]] = []
    decode: list[list[Content]] = []
    for d in study.deployments:
        if d.phases is None:
            prefill.append([d.accelerator, d.reason, *[None] * 5])
            decode.append([d.accelerator, d.reason, *[None] * 5])
            continue
        name, (p, q) = f"{d.accelerator} {d.precision}", d.phases
        per_in = [_number(p, key) for key in ("tokens_per_s_per_gpu", "usd_per_mtok_input", "joules_per_token_input")]
        per_out = [
            _number(q, key) for key in ("tokens_per_s_per_gpu", "usd_per_mtok_output", "joules_per_token_output")
        ]
        tpot = q.metrics["tpot_s"].value
        prefill.append([name, _plan_words(p), _rate(p), *per_in, p.metrics["tokens_per_s_per_gpu"].grade])
        decode.append([name, _plan_words(q), Cell(quantity(tpot, "s"), tpot), *per_out, q.metrics["tpot_s"].grade])
    words = (
        f"The best plan found for each chip: prompts of {work.isl:,} tokens; decode at a mean context of "
        f"{work.context:,} within {quantity(work.tpot, 's')} a token. Every card is fully busy: production averages "
        "are lower. USD/h with * writes off the card's purchase price over four years and adds its power, without "
        "server, network, building or staff: do not compare it with a rental before adding those."
    )
    tables = [
        Table(_PREFILL, prefill, "per card; plan: cards, widths, tokens a card and step"),
        Table(_DECODE, decode, "per card; plan: cards, widths, requests a card"),
    ]
    return Section("Side by side", [words], tables, [_cost_chart(study)])


def _cost_chart(study: Study) -> Chart:
    """USD per million tokens of both phases, with bands."""
    good = [(d.accelerator, *d.phases) for d in study.deployments if d.phases is not None]
    input_usd = [p.metrics.get("usd_per_mtok_input") for _, p, _ in good]
    output_usd = [q.metrics.get("usd_per_mtok_output") for _, _, q in good]
    series = {"prefill: input tokens": input_usd, "decode: output tokens": output_usd}
    names = [f"{name} *" if _written_off(p) else name for name, p, _ in good]
    figure = grouped_bar(
        names,
        {label: [None if m is None else m.value for m in found] for label, found in series.items()},
        "USD per million tokens, every card busy", "USD/Mtok",
        {label: [_span(m) for m in found] for label, found in series.items()},
    )  # fmt: skip
    words = [
        f"{name}: {'no price' if a is None or b is None else f'{a.value:.3g} in, {b.value:.3g} out'}"
        for name, a, b in zip(names, input_usd, output_usd, strict=True)
    ]
    marked = any(name.endswith("*") for name in names)
    note = (
        " * the card written off, with its power alone: no rental, and not to be compared with one." if marked else ""
    )
    return Chart(figure, f"USD per million tokens by chip. {'; '.join(words)}.{note}")


def _span(metric: Metric | None) -> tuple[float, float] | None:
    if metric is None or metric.low is None or metric.high is None:
        return None
    return metric.low, metric.high


def _narrow_formats(study: Study) -> Section:
    rows = [_format_row(narrow, wide) for narrow, wide in study.precisions if narrow.phases is not None]
    table = Table(("chip", "formats", "prefill", "decode", "weights a rank, cards of the unit"), rows)
    words = "Throughput per card of the best plan in 8 bits over the best in BF16: compute, memory and wire together."
    return Section("8 bits against 16", [words], [table]) if rows else Section("8 bits against 16")


def _format_row(narrow: Deployment, wide: Deployment) -> list[Content]:
    formats = f"{narrow.precision} : bf16"
    if narrow.phases is None or wide.phases is None:
        return [narrow.accelerator, formats, None, None, wide.reason[:80]]
    gains = [
        a.metrics["tokens_per_s_per_gpu"].value / b.metrics["tokens_per_s_per_gpu"].value
        for a, b in zip(narrow.phases, wide.phases, strict=True)
    ]
    decodes = (narrow.phases[1], wide.phases[1])
    weights = " : ".join(f"{report.memory['weights_bytes'] / GIGA:.1f}" for report in decodes)
    cards = " : ".join(f"{report.inputs['plan']['gpus']:g}" for report in decodes)
    return [narrow.accelerator, formats, *(Cell(f"{g:.2f}×", g) for g in gains), f"{weights} GB on {cards}"]


def _time(study: Study) -> Section:
    decodes = [(d.accelerator, d.phases[1]) for d in study.deployments if d.phases is not None]
    if not decodes:
        return Section("Where a decode step goes")
    name, first = decodes[0]
    chart = Chart(
        breakdown_bar({n: r.breakdown for n, r in decodes}, "Decode step by operation"),
        breakdown_words(first),
    )
    rows: list[list[Content]] = [
        [line.name, Cell(quantity(line.time_s, "s"), line.time_s), Cell(percent(line.share), line.share),
         line.bound, line.grade]
        for line in first.breakdown[:12]
    ]  # fmt: skip
    return Section("Where a decode step goes", [], [Table((name, "time", "share", "bound by", "grade"), rows)], [chart])


def _memory(study: Study) -> Section:
    keys = ("weights_bytes", "kv_bytes", "activations_bytes", "communication_bytes", "reserve_bytes", "total_bytes",
            "capacity_bytes")  # fmt: skip
    rows: list[list[Content]] = [
        [d.accelerator, *(Cell(f"{d.phases[1].memory[key] / GIGA:.1f}", d.phases[1].memory[key]) for key in keys)]
        for d in study.deployments
        if d.phases is not None
    ]
    columns = ("decode, GB a rank", "weights", "KV", "activations", "buffers", "reserve", "total", "there")
    return Section("Memory per device", (), [Table(columns, rows)] if rows else ())


def _training(study: Study) -> Section:
    rows: list[list[Content]] = []
    for name, report, why in study.training:
        if report is None:
            rows.append([name, why, *[None] * 5])
            continue
        step = report.metrics["step_s"].value
        plan = report.inputs["plan"]
        numbers = [_number(report, key) for key in ("mfu_causal", "gpu_hours", "usd_per_run")]
        how = f"{plan['schedule']}, {plan['precision']}, recompute {plan['recompute']}"
        rows.append([name, how, Cell(quantity(step, "s"), step), *numbers, report.metrics["step_s"].grade])
    part = study.scenario.training
    words = (
        f"{part.gpus} devices, pp {part.pp}, ep {part.ep}, {_tokens(study)} tokens, played task by task on the "
        "schedule. The published run on H800 (DualPipe, overlapped all-to-all) took 19.93 s a step and 2.664M GPU "
        "hours without restarts; no constant here was fitted to it. MFU* divides by the BF16 peak, also for FP8."
    )
    return Section("Training", [words], [Table(("chip", "as", "step", "MFU*", "GPU hours", "USD", "grade"), rows)])


def _ladder(study: Study) -> Section:
    """From the price of the run to what a company spends, with how long the run takes and how often it stops."""
    run = study.run
    if run is None or run.ladder is None:
        return Section("The cost ladder")
    section, metrics = ladder_section(run, run.ladder), run.report.metrics
    told = (
        f"{run.spec.title}: {_text(run.report, 'gpu_hours')} in {_text(run.report, 'days')}, about "
        f"{metrics['stops'].value:.0f} stops, goodput {value_text('goodput', metrics['goodput'])}, "
        f"{_text(run.report, 'energy_mwh')}. `costsim train --run` shows the assumptions and moves them."
    )
    return replace(section, paragraphs=[told, *section.paragraphs])


def _notes(study: Study) -> Section:
    reports = [(d.accelerator, report) for d in study.deployments if d.phases is not None for report in d.phases]
    told = ("price", "kernel", "tdp", "no hourly")
    notes: dict[str, dict[str, None]] = {}
    for name, r in reports:
        for note in r.notes:
            if note.startswith(told):
                notes.setdefault(name, {})[note] = None
    rows: list[list[Content]] = [[name, "; ".join(_merged(list(some)))] for name, some in notes.items()]
    sources = dict.fromkeys(key for _, report in reports for key in report.sources)
    return Section("Notes", (), [Table(("chip", "price, and whose kernels"), rows)], sources=tuple(sources))


def _merged(notes: Sequence[str]) -> list[str]:
    """Notes of prefill and decode that differ only in the parts they name become one."""
    head, tail = "kernel efficiencies partly carried over from ", " (grades C and D)"
    parts = [note.removeprefix(head).removesuffix(tail).split(", ") for note in notes if note.startswith(head)]
    names = dict.fromkeys(name for part in parts for name in part)
    rest = [note for note in notes if not note.startswith(head)]
    return [*rest, f"{head}{', '.join(names)}{tail}"] if names else rest


def _flat(study: Study) -> list[dict[str, Any]]:
    return [
        {"accelerator": d.accelerator, "precision": d.precision, "phase": r.kind, "metric": name, **metric.json()}
        for d in study.deployments
        for r in d.phases or ()
        for name, metric in r.metrics.items()
    ]
