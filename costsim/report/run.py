"""A whole training run as a page: phases, the cost ladder on published and on predicted hours, stops, assumptions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from costsim.economics.ladder import RESTS_ON, Ladder
from costsim.predict.run import PhaseResult, RunResult
from costsim.report.document import Cell, Chart, Content, Document, Section, Table
from costsim.report.figures import waterfall
from costsim.report.pages import again
from costsim.report.words import band, label, number, quantity, value_text
from costsim.spec.assumption import Assumption
from costsim.units import GIGA, HOUR_S, KILO, MEGA, TERA

_OF_A_RUN = ("days", "days_with_stops", "stops", "goodput", "checkpoint_interval_s", "checkpoint_s", "energy_mwh")
#: an assumption that moves the last line by less stands in a sentence, not in the table
_MATTERS = 1.01
_SHORT_TITLES = {"interruptions": "stops", "experiments": "experiments", "owned_cluster": "cluster", "staff": "staff"}
_LABELS = {"energy_mwh": "energy", "checkpoint_s": "saving takes", "checkpoint_interval_s": "trained between saves"}


def run_document(
    result: RunResult, assumptions: Mapping[str, Assumption], assumed: Sequence[str] = (), said: Sequence[str] = ()
) -> Document:
    """``costsim train --run`` as a document."""
    report = result.report
    plan = report.inputs["plan"]
    sections = [Section("Answer", [_answer(result)]), _phases(result)]
    if result.ladder is not None:
        sections += [ladder_section(result, result.ladder), _rhythm(result), _assumptions(result.ladder, assumptions)]
    notes = [*report.notes, *said, *([f"defaults: {'  '.join(assumed)}"] if assumed else [])]
    sections.append(Section("Notes", notes, sources=report.sources))
    title = result.spec.title or f"a run of {report.inputs['model']}"
    return Document(
        title=f"{title}: {plan['gpus']:g} x {report.inputs['accelerator']}",
        sections=sections,
        payload=run_payload(result),
        rows=[{"metric": name, **metric.json()} for name, metric in report.metrics.items()],
        again=again(report),
    )


def run_payload(result: RunResult) -> dict[str, Any]:
    """The run's JSON: its Report with phases and the rungs on predicted and on published hours."""

    def steps(found: Ladder | None) -> list[dict[str, Any]]:
        return [] if found is None else [
            {"id": r.id, "title": r.title, "usd": r.usd, "low": r.low_usd, "high": r.high_usd, "grade": r.grade,
             "assumptions": list(r.rests_on)} for r in found.rungs
        ]  # fmt: skip

    phases = [
        {"name": p.spec.name, "tokens": p.spec.all_tokens, "seq": p.spec.seq, "gpu_hours": p.gpu_hours,
         "low": p.low_hours, "high": p.high_hours, "grade": p.grade, "step_s": p.step_s,
         "how": "stated" if p.stated else "predicted"}
        for p in result.phases
    ]  # fmt: skip
    told = result.published_hours
    return result.report.json() | {
        "phases": phases,
        "ladder": {"predicted": steps(result.ladder), "published": steps(result.published)},
        "published_gpu_hours": told,
    }


def _answer(result: RunResult) -> str:
    metrics = result.report.metrics
    hours = metrics["gpu_hours"]
    words = f"Predicted {value_text('gpu_hours', hours)} ({band('gpu_hours', hours)})"
    price = result.report.inputs["price"]
    if price is not None:
        rate = price["usd_per_h"]
        words += f", {hours.value * rate / MEGA:.3f} million USD at {rate:g} USD an hour"
        if result.published is not None:
            known = sum(result.published_hours.values())
            words += f"; published {number(known)} GPU h, {known * rate / MEGA:.3f} million USD"
    return words + "."


def _phases(result: RunResult) -> Section:
    told = result.published_hours
    rows: list[list[Content]] = []
    for kind in dict.fromkeys(p.spec.kind for p in result.phases):
        group = [p for p in result.phases if p.spec.kind == kind]
        rows += [_phase_row(p, told.get(kind) if len(group) == 1 else None) for p in group]
        if len(group) > 1:
            rows.append(_sum_row(f"  {kind}", group, told.get(kind)))
    rows.append(_sum_row("all", result.phases, sum(told.values()) if result.published is not None else None))
    columns = ("phase", "GPU hours", "P10 … P90", "published", "off", "grade")
    return Section("Phases", (), [Table(columns, rows)])


def _phase_row(phase: PhaseResult, published: float | None) -> list[Content]:
    name = phase.spec.name + (f", {_short(phase.spec.all_tokens)}" if phase.spec.all_tokens else ", stated")
    ends = "" if phase.stated else _ends(phase.low_hours, phase.high_hours)
    return [name, Cell(_short(phase.gpu_hours), phase.gpu_hours), ends,
            *_against(phase.gpu_hours, None if phase.stated else published, published), phase.grade]  # fmt: skip


def _sum_row(name: str, phases: Sequence[PhaseResult], published: float | None) -> list[Content]:
    value, low, high = (sum(getattr(p, n) for p in phases) for n in ("gpu_hours", "low_hours", "high_hours"))
    return [name, Cell(_short(value), value), _ends(low, high),
            *_against(value, published, published), max(p.grade for p in phases)]  # fmt: skip


def _against(value: float, compared: float | None, shown: float | None) -> list[Content]:
    there: Content = None if shown is None else Cell(_short(shown), shown)
    return [there, None if compared is None else Cell(f"{value / compared - 1:+.1%}", value / compared - 1)]


def _short(value: float, digits: int = 4) -> str:
    """2,664,000 → 2.664M."""
    for letter, scale in (("T", TERA), ("B", GIGA), ("M", MEGA), ("K", KILO)):
        if value >= scale:
            return f"{value / scale:.{digits}g}{letter}"
    return f"{value:.{digits}g}"


def _ends(low: float, high: float) -> str:
    """A band, unbroken in a narrow table."""
    return f"{_short(low, 3)}…{_short(high, 3)}"


def ladder_section(result: RunResult, steps: Ladder) -> Section:
    rows: list[list[Content]] = []
    for index, rung in enumerate(steps.rungs):
        known = None if result.published is None else result.published.rungs[index].usd
        rows.append([rung.title, None if known is None else Cell(_short(known), known),
                     Cell(_short(rung.usd), rung.usd), _ends(rung.low_usd, rung.high_usd),
                     rung.grade])  # fmt: skip
    cash = Cell(_short(steps.cash_usd), steps.cash_usd)
    bought = None if result.published is None else Cell(_short(result.published.cash_usd), result.published.cash_usd)
    ends = _ends(steps.cash_low_usd, steps.cash_high_usd)
    rows.append([f"cash: {number(int(steps.cards))} cards, power, staff", bought, cash, ends, "D"])
    columns = ("USD in all", "on published", "predicted", "P10 … P90", "grade")
    words = (
        "Each line answers a wider question than the one above and replaces it. Lines one to three are at rental "
        "price; four and five own the cards for the length of the project and write them off. The first line is all "
        "that a stated training cost covers."
    )
    return Section("The cost ladder", [words], [Table(columns, rows)], [_chart(steps)])


def _chart(steps: Ladder) -> Chart:
    before = 0.0
    bars = []
    for rung in steps.rungs:
        bars.append((rung.title, (rung.usd - before) / MEGA))
        before = rung.usd
    figure = waterfall(bars, "From the price of a run to the cost of a model", "million USD", bars[0][0], "all of it")
    told = "; ".join(f"{rung.title} {rung.usd / MEGA:.3g}" for rung in steps.rungs)
    return Chart(figure, f"Million USD: {told}.")


def _rhythm(result: RunResult) -> Section:
    metrics = result.report.metrics
    rows: list[list[Content]] = [
        [_LABELS.get(name, label(name)), Cell(value_text(name, found), found.value), band(name, found), found.grade]
        for name, found in ((name, metrics[name]) for name in _OF_A_RUN)
    ]  # fmt: skip
    assert result.ladder is not None
    words = (
        f"One stop in {result.ladder.mtbf_s / HOUR_S:.3g} h of this job; saving every "
        f"{quantity(result.ladder.interval_s, 's')} of training wastes least (Daly's optimum)."
    )
    return Section("Stops, saving, energy", [words], [Table(("of the run", "value", "P10 … P90", "grade"), rows)])


def _assumptions(steps: Ladder, assumptions: Mapping[str, Assumption]) -> Section:
    """What each assumption alone does to the last rung, largest first; then those that do not reach it."""
    where = {name: _SHORT_TITLES[rung] for rung, names in RESTS_ON.items() for name in names}
    last = steps.rungs[-1].usd
    rows: list[list[Content]] = []
    rest = []
    for name in [*steps.swing, *(name for name in assumptions if name not in steps.swing)]:
        a = assumptions[name]
        low, high = steps.swing.get(name, (last, last))
        if max(low, high) / min(low, high) < _MATTERS and a.low != a.high:
            rest.append(f"{name.replace('_', '-')} {a.shown}")
            continue
        ends = "given" if a.low == a.high else _ends(min(low, high), max(low, high))
        rows.append([name.replace("_", "-"), a.shown, where.get(name, ""), ends, a.confidence])
    words = (
        f"Moved alone between its ends, one of them takes the last line from {_worst(steps, 0) - 1:+.0%} to "
        f"{_worst(steps, 1) - 1:+.0%}. Move one with --assume NAME=VALUE; ranges, sources and reasons are in "
        "hwprofiles/ladder.toml and reliability.toml."
    )
    columns = ("assumption", "value", "enters at", "last line, USD", "grade")
    told = [words] + ([f"These move it by less than {_MATTERS - 1:.0%}: {', '.join(rest)}."] if rest else [])
    return Section("Assumptions, by how far they move the last line", told, [Table(columns, rows)])


def _worst(steps: Ladder, side: int) -> float:
    pick = (min, max)[side]
    return pick([1.0, *(pick(pair) / steps.rungs[-1].usd for pair in steps.swing.values())])
