"""A placement as a page: balance, traffic, step time and money before and after, and what would help further."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from costsim.explore.placing import Outcome, Question, Study, best_redundancy, bounds, node_heat
from costsim.predict.placing import Effect
from costsim.predict.report import Metric
from costsim.report import placement_figures as figures
from costsim.report.document import Cell, Content, Document, Section, Table
from costsim.report.words import number, quantity
from costsim.version import __version__


def placement_document(question: Question, found: Sequence[Outcome], study: Study | None) -> Document:
    """``costsim place`` as a document; the payload is what tools read."""
    shape = question.shape
    low = bounds(question)
    sections = [
        Section("Answer", _answer(question, found, low), [_comparison(found, low)], figures.gain_charts(found)),
        Section("Load by layer and GPU", (), (), figures.load_charts(question, found, low)),
        Section("Traffic", [_traffic_words(found)], (), figures.traffic_charts(found)),
    ]
    if study is not None:
        sections += _study_sections(question, study)
    sections.append(Section("Notes", _notes(question)))
    title = f"{shape.experts} experts in {shape.slots} slots on {shape.gpus} GPUs of {shape.nodes} nodes"
    return Document(
        title=title, sections=sections, payload=_payload(question, found, study, low), rows=_rows(found, low),
        subtitle=f"{len(question.loads)} layers; {question.deployment.model.id} on {question.deployment.chip.id}",
    )  # fmt: skip


def _answer(question: Question, found: Sequence[Outcome], low: Any) -> list[str]:
    before, eplb, ours = found
    bound = float(low.mean())
    first = (
        f"Busiest GPU over the mean: {ours.imbalance.mean():.4f} (EPLB {eplb.imbalance.mean():.4f}, {before.name} "
        f"{before.imbalance.mean():.4f}); no placement goes below {bound:.4f}, by a provable bound. "
        f"Found in {question.elapsed_s:.2f} s."
    )
    gain = ours.effect.tokens_per_s_per_gpu.value / before.effect.tokens_per_s_per_gpu.value - 1.0
    over = ours.effect.tokens_per_s_per_gpu.value / eplb.effect.tokens_per_s_per_gpu.value - 1.0
    over = 0.0 if abs(over) < 5e-5 else over
    text = f"In the next window it makes {over:+.2%} tokens/s against EPLB, {gain:+.1%} against {before.name}"
    if before.effect.usd_per_mtok and ours.effect.usd_per_mtok:
        text += (
            f"; a million tokens cost {ours.effect.usd_per_mtok.value:.4g} USD instead of "
            f"{before.effect.usd_per_mtok.value:.4g}"
        )
    return [first, f"{text}."]


def _comparison(found: Sequence[Outcome], low: Any) -> Table:
    columns = ("placement", "max/mean", "next", "remote nodes", "step", "token/s", "USD/Mtok", "grade")
    rows: list[list[Content]] = []
    for each in found:
        usd = each.effect.usd_per_mtok
        rows.append([
            each.name, Cell(f"{each.imbalance.mean():.4f}", float(each.imbalance.mean())),
            Cell(f"{each.next_imbalance:.3f}", each.next_imbalance),
            Cell(f"{each.traffic.remote_nodes_per_token:.3f}", each.traffic.remote_nodes_per_token),
            _cell(each.effect.step_s), _cell(each.effect.tokens_per_s_per_gpu),
            None if usd is None else _cell(usd), each.effect.step_s.grade,
        ])  # fmt: skip
    rows.append(["lower bound", Cell(f"{low.mean():.4f}", float(low.mean())), None, None, None, None, None, "A"])
    step = found[-1].effect.step_s
    band = f"band of ours {quantity(step.low, 's')} … {quantity(step.high, 's')}"
    caption = f"means over layers; remote nodes a token; step and rates in the next window, {band}"
    return Table(columns, rows, caption)


def _cell(metric: Metric) -> Cell:
    return Cell(quantity(metric.value, "s") if metric.unit == "s" else number(metric.value), metric.value)


def _traffic_words(found: Sequence[Outcome]) -> str:
    before, eplb, ours = (each.traffic for each in found)
    heat = node_heat(ours)
    return (
        f"A token reaches {ours.nodes_per_token:.2f} nodes ({ours.remote_nodes_per_token:.3f} besides its own; EPLB "
        f"{eplb.remote_nodes_per_token:.3f}, before {before.remote_nodes_per_token:.3f}) and {ours.gpus_per_token:.2f} "
        f"GPUs. The busiest node receives {heat.max():.3f} times the mean over its network links."
    )


def _study_sections(question: Question, study: Study) -> list[Section]:
    sections = []
    if study.front:
        sections.append(Section("Balance against traffic", (), [_front_table(study)], [figures.front_chart(study)]))
    if study.remedies:
        charts = [figures.remedy_chart(study)]
        text = "What else the next window could be met with, and what it costs."
        sections.append(Section("Drift", [text], [_remedy_table(study)], charts))
    if study.intervals:
        best = max(study.intervals, key=lambda row: row.tokens_per_s_per_gpu)
        text = (
            f"A window is {quantity(question.window_s, 's')}; a new placement takes {quantity(best.rebalance_s, 's')} "
            f"of network time. Most tokens/s at a rebalance every {best.windows} window(s)."
        )
        charts = [figures.interval_chart(study)]
        sections.append(Section("How often to rebalance", [text], [_interval_table(study)], charts))
    best_slots = best_redundancy(study)
    text = ""
    if best_slots is not None:
        spare = best_slots.slots - question.shape.experts
        last = best_slots is study.redundancy[-1]
        rest = "the most tried" if last else "more do not"
        text = f"Most tokens/s at {best_slots.slots} slots: {spare} redundant experts pay, {rest}."
    charts = [figures.redundancy_chart(study)]
    sections.append(Section("Redundant experts", [text] if text else [], [_redundancy_table(study)], charts))
    return sections


def _front_table(study: Study) -> Table:
    rows: list[list[Content]] = [
        ["nodes ignored" if p.slack is None else f"{p.slack:.1%}", Cell(f"{p.imbalance:.4f}", p.imbalance),
         Cell(f"{p.next_imbalance:.4f}", p.next_imbalance), Cell(f"{p.remote_nodes:.3f}", p.remote_nodes),
         *_effect_cells(p.effect)]
        for p in study.front
    ]  # fmt: skip
    return Table(("slack", "max/mean", "next", "remote nodes", "step", "token/s", "USD/Mtok"), rows)


def _effect_cells(effect: Effect | None) -> list[Content]:
    if effect is None:
        return ["no room", None, None]
    usd = effect.usd_per_mtok
    return [_cell(effect.step_s), _cell(effect.tokens_per_s_per_gpu), None if usd is None else _cell(usd)]


def _remedy_table(study: Study) -> Table:
    rows: list[list[Content]] = []
    for each, effect, seconds in study.remedies:
        rows.append([
            each.name, Cell(f"{each.imbalance:.3f}", each.imbalance), _effect_cells(effect)[1],
            each.more_slots or None, Cell(f"{each.moved:.1f}", each.moved) if each.moved else None,
            Cell(quantity(seconds, "s"), seconds) if each.moved else None,
        ])  # fmt: skip
    return Table(("remedy", "next", "token/s", "slots", "moves", "takes"), rows,
                 "more slots in all; moved slots a layer; network time of the moves")  # fmt: skip


def _interval_table(study: Study) -> Table:
    rows: list[list[Content]] = [
        [
            row.windows,
            Cell(f"{row.imbalance:.3f}", row.imbalance),
            Cell(number(row.tokens_per_s_per_gpu), row.tokens_per_s_per_gpu),
        ]
        for row in study.intervals
    ]
    return Table(("windows between", "mean max/mean", "net token/s"), rows)


def _redundancy_table(study: Study) -> Table:
    rows: list[list[Content]] = []
    for row in study.redundancy:
        size = None if row.effect is None else row.effect.memory_bytes
        ahead = Cell(f"{row.next_imbalance:.3f}", row.next_imbalance)
        rows.append([
            row.slots, Cell(f"{row.imbalance:.4f}", row.imbalance), ahead,
            *_effect_cells(row.effect), None if size is None else Cell(quantity(size, "B"), size),
        ])  # fmt: skip
    return Table(("slots", "max/mean", "next", "step", "token/s", "USD/Mtok", "memory"), rows)


def _notes(question: Question) -> list[str]:
    drift = "the later window given" if question.later is not None else f"sampled, spread {question.goal.drift:g}"
    return [
        *question.notes,
        f"next window: {drift}; step times are of it, at its mean imbalance over layers",
        "an expert's tokens split evenly over its copies; a copy is picked without regard to the sender",
        "the lower bound: the mean, or the largest copy with the smallest companions, whichever is more",
    ]


def _payload(question: Question, found: Sequence[Outcome], study: Study | None, low: Any) -> dict[str, Any]:
    before, eplb, ours = found
    shape = question.shape
    payload: dict[str, Any] = {
        "physical_to_logical": question.placed.expert_of.tolist(),
        "gpu_of_slot": question.placed.gpu_of_slot.tolist(),
        "node_of_slot": question.placed.node_of_slot.tolist(),
        "copies": question.placed.copies.tolist(),
        "balance": {
            "max_over_mean": ours.imbalance.tolist(), "mean": float(ours.imbalance.mean()),
            "next_window": ours.next_imbalance, "lower_bound": low.tolist(), "lower_bound_mean": float(low.mean()),
            "before": before.imbalance.tolist(), "eplb": eplb.imbalance.tolist(),
            "eplb_next_window": eplb.next_imbalance,
        },
        "traffic": {**_traffic(ours), "before": _traffic(before), "eplb": _traffic(eplb)},
        "step_time_s": {
            "before": before.effect.step_s.value, "after": ours.effect.step_s.value, "eplb": eplb.effect.step_s.value,
        },
        "metrics": {"before": _metrics(before.effect), "after": _metrics(ours.effect), "eplb": _metrics(eplb.effect)},
        "elapsed_s": question.elapsed_s,
        "elapsed_cpu_s": question.cpu_s,
        "inputs": {"experts": shape.experts, "slots": shape.slots, "gpus": shape.gpus, "nodes": shape.nodes,
                   "groups": shape.groups, "drift": question.goal.drift, "remote_slack": question.goal.remote_slack},
        "notes": _notes(question), "version": __version__,
    }  # fmt: skip
    if question.present is not None:
        from costsim.placement.moves import moved

        payload["moved_slots"] = moved(question.present, question.placed).tolist()
    return payload | (_study_payload(study) if study is not None else {})


def _traffic(outcome: Outcome) -> dict[str, Any]:
    traffic = outcome.traffic
    return {
        "remote_nodes_per_token": traffic.remote_nodes_per_token, "nodes_per_token": traffic.nodes_per_token,
        "gpus_per_token": traffic.gpus_per_token, "remote_gpus_per_token": traffic.remote_gpus_per_token,
        "node_matrix": traffic.node_matrix.tolist(), "node_heat": node_heat(traffic).tolist(),
    }  # fmt: skip


def _metrics(effect: Effect | None) -> dict[str, Any] | None:
    if effect is None:
        return None
    named = {"step_s": effect.step_s, "tokens_per_s_per_gpu": effect.tokens_per_s_per_gpu,
             "usd_per_mtok": effect.usd_per_mtok}  # fmt: skip
    return {name: metric.json() for name, metric in named.items() if metric is not None}


def _study_payload(study: Study) -> dict[str, Any]:
    return {
        "front": [
            {"remote_slack": p.slack, "max_over_mean": p.imbalance, "next_window": p.next_imbalance,
             "remote_nodes_per_token": p.remote_nodes, "metrics": _metrics(p.effect)}
            for p in study.front
        ],
        "remedies": [
            {"name": r.name, "next_window": r.imbalance, "more_slots": r.more_slots, "moved_slots_per_layer": r.moved,
             "solves_each_batch": r.solves, "rebalance_s": seconds, "metrics": _metrics(effect)}
            for r, effect, seconds in study.remedies
        ],
        "intervals": [
            {"windows": r.windows, "max_over_mean": r.imbalance, "rebalance_s": r.rebalance_s,
             "tokens_per_s_per_gpu": r.tokens_per_s_per_gpu}
            for r in study.intervals
        ],
        "redundancy": [
            {"slots": r.slots, "max_over_mean": r.imbalance, "next_window": r.next_imbalance,
             "metrics": _metrics(r.effect)}
            for r in study.redundancy
        ],
    }  # fmt: skip


def _rows(found: Sequence[Outcome], low: Any) -> list[dict[str, Any]]:
    """One row a layer for CSV."""
    before, eplb, ours = found
    return [
        {"layer": i, "before": float(before.imbalance[i]), "eplb": float(eplb.imbalance[i]),
         "ours": float(ours.imbalance[i]), "lower_bound": float(low[i]),
         "slots": " ".join(map(str, ours.placement.expert_of[i]))}
        for i in range(len(low))
    ]  # fmt: skip
