"""Post-training for people: a recipe by stage, GRPO beside PPO, distillation beside reinforcement learning."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from costsim.explore.post_training import AIME, Algorithms, Ways
from costsim.predict.post.recipe import StageCost
from costsim.predict.report import Metric, Report
from costsim.report.document import Cell, Chart, Content, Document, Section, Table
from costsim.report.figures import grouped_bar
from costsim.report.pages import GRADES, again
from costsim.report.words import band, label, number, percent, quantity, value_text
from costsim.units import GIGA, HOUR_S
from costsim.version import __version__


def recipe_document(title: str, report: Report, costs: Sequence[StageCost]) -> Document:
    """A recipe: totals, stages, where the hours go, notes."""
    metrics: list[list[Content]] = [
        [label(name), Cell(value_text(name, m), m.value), band(name, m), m.grade] for name, m in report.metrics.items()
    ]
    published = report.metrics.get("published_gpu_hours")
    words = [GRADES]
    if published is not None:
        ours = report["gpu_hours"] / published.value
        words.append(
            f"Predicted {report['gpu_hours']:,.0f} GPU hours; published {published.value:,.0f}: {ours:.2f} of it."
        )
    sections = [
        Section("Whole recipe", words, [Table(("metric", "value", "P10 … P90", "grade"), metrics)]),
        Section("Stages", [], [_stages(report, costs)], [_stage_chart(costs)]),
        Section("Where the hours go", [], [_parts(report)]),
        Section("Notes", report.notes, sources=report.sources),
    ]
    payload = report.json() | {"stages": [_stage_json(c) for c in costs]}
    rows = [_stage_json(c) for c in costs]
    return Document(title=title, sections=sections, payload=payload, rows=rows, again=again(report))


def recipes_section(reports: Sequence[Report]) -> Section:
    """Published recipes beside their prediction, for the main report; empty where the model has none."""
    if not reports:
        return Section("Post-training")
    rows: list[list[Content]] = []
    for r in reports:
        hours, published = r.metrics["gpu_hours"], r.metrics.get("published_gpu_hours")
        usd = r.metrics.get("usd_per_run")
        rows.append(
            [
                str(r.inputs["recipe"]),
                f"{r.inputs['gpus']:g} {r.inputs['accelerator']}",
                Cell(number(hours.value, 3), hours.value),
                band("gpu_hours", hours),
                None if published is None else Cell(number(published.value, 3), published.value),
                None if usd is None else Cell(number(usd.value, 3), usd.value),
                hours.grade,
            ]
        )
    words = (
        "GPU hours of the published recipes, on what their layouts and lengths are taken to be; "
        "`costsim posttrain --recipe r1-zero` shows the stages and says what was assumed."
    )
    return Section(
        "Post-training", [words], [Table(("recipe", "cards", "GPU h", "P10 … P90", "published", "USD", "grade"), rows)]
    )


def _stage_json(cost: StageCost) -> dict[str, Any]:
    return {
        "stage": cost.stage.name,
        "algorithm": cost.stage.algorithm,
        "model": cost.model,
        "gpus": cost.gpus,
        "steps": cost.steps,
        "gpu_hours": cost.gpu_hours.value,
        "low": cost.gpu_hours.low,
        "high": cost.gpu_hours.high,
        "parts_gpu_hours": {name: s / HOUR_S * cost.gpus for name, s in cost.parts.items()},
        "assumed": cost.stage.assumed,
        "peak_memory_bytes": cost.report.memory.get("total_bytes"),
    }


def _usd_rate(report: Report) -> float | None:
    price = report.inputs.get("price")
    return None if price is None else float(price["usd_per_h"])


def _stages(report: Report, costs: Sequence[StageCost]) -> Table:
    """One row a stage; its model where they differ."""
    rate, total = _usd_rate(report), report["gpu_hours"]
    several = len({c.model for c in costs}) > 1
    rows: list[list[Content]] = [
        [
            c.stage.name,
            *([c.model] if several else []),
            f"{c.gpus:g}",
            Cell(number(c.steps, 5), c.steps),
            Cell(number(c.gpu_hours.value, 3), c.gpu_hours.value),
            None if rate is None else Cell(number(rate * c.gpu_hours.value, 3), rate * c.gpu_hours.value),
            Cell(percent(c.gpu_hours.value / total, 0), c.gpu_hours.value / total),
        ]
        for c in costs
    ]
    return Table(("stage", *(["model"] if several else []), "cards", "steps", "GPU h", "USD", "share"), rows)


def _stage_chart(costs: Sequence[StageCost]) -> Chart:
    names = [c.stage.name for c in costs]
    bands = [
        None if c.gpu_hours.low is None or c.gpu_hours.high is None else (c.gpu_hours.low, c.gpu_hours.high)
        for c in costs
    ]
    figure = grouped_bar(
        names, {"GPU hours": [c.gpu_hours.value for c in costs]}, "GPU hours by stage", "GPU h", {"GPU hours": bands}
    )
    said = "; ".join(f"{c.stage.name} {number(c.gpu_hours.value, 3)}" for c in costs)
    return Chart(figure, f"GPU hours by stage: {said}.")


def _parts(report: Report) -> Table:
    rows: list[list[Content]] = [
        [line.name, Cell(number(line.time_s / HOUR_S, 3), line.time_s), Cell(percent(line.share), line.share)]
        for line in report.breakdown[:14]
    ]
    return Table(("part", "hours", "share"), rows, "wall-clock hours, longest first")


def algorithms_document(found: Algorithms) -> Document:
    """GRPO against PPO: memory, time, USD, cards."""
    grpo, ppo = found.grpo, found.ppo
    sections = [
        Section("GRPO against PPO", [_verdict(found), GRADES], [_metric_table(grpo, ppo)], [_phase_chart(grpo, ppo)]),
        Section(
            "Memory per device",
            ["GB; the value model keeps weights, gradients and optimiser state of its own."],
            [_memory_table(grpo, ppo)],
            [_memory_chart(grpo, ppo)],
        ),
        Section("Notes", grpo.notes),
    ]
    payload = {
        "grpo": grpo.json(),
        "ppo": None if ppo is None else ppo.json(),
        "ppo_refused": found.ppo_refused,
        "fewest_cards": found.fewest,
        "version": __version__,
    }
    rows = [
        {"algorithm": name, "metric": key, **m.json()}
        for name, r in (("grpo", grpo), ("ppo", ppo))
        if r is not None
        for key, m in r.metrics.items()
    ]
    return Document(
        title=f"GRPO against PPO: {grpo.inputs['model']} on {grpo.inputs['accelerator']}",
        sections=sections,
        payload=payload,
        rows=rows,
    )


def _verdict(found: Algorithms) -> str:
    cards = ", ".join(
        f"{name.upper()} {'more than tried' if n is None else f'{n:g}'}" for name, n in found.fewest.items()
    )
    fewest = f"Fewest cards that hold the step at these widths: {cards}."
    if found.ppo is None:
        return f"PPO has no answer here: {found.ppo_refused}. {fewest}"
    time = found.ppo["step_s"] / found.grpo["step_s"]
    held = found.ppo.memory["update_phase_bytes"] / found.grpo.memory["update_phase_bytes"]
    update = found.ppo["update_s"] / found.grpo["update_s"]
    return (
        f"PPO takes {time:.2f} of GRPO's time and money for the same answers, {update:.2f} in the updates, and holds "
        f"{held:.2f} of its memory while updating: the value model doubles training, not generation. {fewest}"
    )


_COMPARED = ("step_s", "rollout_s", "log_probs_s", "update_s", "sync_s", "usd_per_step", "gpu_hours", "usd_per_run")


def _metric_table(grpo: Report, ppo: Report | None) -> Table:
    rows: list[list[Content]] = []
    for name in _COMPARED:
        if name not in grpo.metrics:
            continue
        one, other = grpo.metrics[name], None if ppo is None else ppo.metrics[name]
        rows.append(
            [
                label(name),
                Cell(value_text(name, one), one.value),
                _cell(name, other),
                None
                if other is None or one.value == 0
                else Cell(f"{other.value / one.value:.2f}", other.value / one.value),
            ]
        )
    return Table(("metric", "GRPO", "PPO", "PPO/GRPO"), rows)


def _cell(name: str, metric: Metric | None) -> Content:
    return None if metric is None else Cell(value_text(name, metric), metric.value)


def _phase_chart(grpo: Report, ppo: Report | None) -> Chart:
    reports = {"GRPO": grpo} | ({} if ppo is None else {"PPO": ppo})
    names = list(dict.fromkeys(line.name for r in reports.values() for line in r.breakdown))
    series: dict[str, list[float | None]] = {
        key: [next((line.time_s for line in r.breakdown if line.name == name), None) for name in names]
        for key, r in reports.items()
    }
    said = "; ".join(f"{key}: {quantity(r['step_s'], 's')} a step" for key, r in reports.items())
    return Chart(grouped_bar(names, series, "Seconds of a step by phase", "s"), f"Seconds by phase. {said}.")


_HELD = (
    "weights_bytes",
    "gradients_bytes",
    "optimizer_bytes",
    "activations_bytes",
    "value_model_bytes",
    "reference_bytes",
    "rollout_weights_bytes",
    "kv_bytes",
    "update_phase_bytes",
    "rollout_phase_bytes",
    "total_bytes",
    "capacity_bytes",
)


def _memory_table(grpo: Report, ppo: Report | None) -> Table:
    rows: list[list[Content]] = [
        [
            label(name),
            Cell(f"{grpo.memory[name] / GIGA:.1f}", grpo.memory[name]),
            None if ppo is None else Cell(f"{ppo.memory[name] / GIGA:.1f}", ppo.memory[name]),
        ]
        for name in _HELD
    ]
    return Table(("GB a rank", "GRPO", "PPO"), rows)


def _memory_chart(grpo: Report, ppo: Report | None) -> Chart:
    names = _HELD[:5]
    series: dict[str, list[float | None]] = {"GRPO": [grpo.memory[name] / GIGA for name in names]}
    if ppo is not None:
        series["PPO"] = [ppo.memory[name] / GIGA for name in names]
    words = "Memory of the update phase by kind; only PPO has a value model."
    return Chart(grouped_bar([label(n) for n in names], series, "Memory while updating, GB a rank", "GB"), words)


def ways_document(ways: Ways) -> Document:
    """Distillation against reinforcement learning."""
    rate = _usd_rate(ways.distilled_report)
    everything = [*ways.distilled, ways.reinforced]
    rows: list[list[Content]] = [
        [
            "RL" if c is ways.reinforced else "distilled",
            c.model,
            f"{c.gpus:g}",
            Cell(number(c.gpu_hours.value, 3), c.gpu_hours.value),
            f"{number(c.gpu_hours.low, 3)} … {number(c.gpu_hours.high, 3)}",
            None if rate is None else Cell(number(rate * c.gpu_hours.value, 3), rate * c.gpu_hours.value),
            AIME.get(c.stage.name),
        ]
        for c in everything
    ]
    same = next(c for c in ways.distilled if c.model == ways.reinforced.model)
    ratio = ways.reinforced.gpu_hours.value / same.gpu_hours.value
    teacher = 5000.0
    words = (
        f"RL on {ways.reinforced.model} takes {ratio:.1f} times the GPU hours of distilling into it, "
        f"{ways.reinforced.gpu_hours.value / (same.gpu_hours.value + teacher):.1f} times with the teacher's answers "
        "(5K GPU hours, published, shared by all six) charged to this one model alone, and the published pass@1 on "
        "AIME 2024 is lower: 47.0 against 72.6. The teacher's own training is in neither."
    )
    names = [f"{c.model} {'RL' if c is ways.reinforced else 'distilled'}" for c in everything]
    chart = Chart(
        grouped_bar(names, {"GPU hours": [c.gpu_hours.value for c in everything]}, "GPU hours", "GPU h"),
        "; ".join(f"{n}: {number(c.gpu_hours.value, 3)} GPU h" for n, c in zip(names, everything, strict=True)),
    )
    section = Section(
        "Distillation against reinforcement learning",
        [words, GRADES],
        [Table(("way", "model", "cards", "GPU h", "P10 … P90", "USD", "AIME"), rows)],
        [chart],
    )
    notes = Section("Notes", [*ways.distilled_report.notes, *ways.reinforced_report.notes])
    payload = {
        "distilled": [_stage_json(c) for c in ways.distilled],
        "reinforced": _stage_json(ways.reinforced),
        "ratio_gpu_hours": ratio,
        "version": __version__,
    }
    return Document(
        title="Distillation against reinforcement learning",
        sections=[section, notes],
        payload=payload,
        rows=[_stage_json(c) for c in everything],
    )
