"""A diff, a tornado and a ranking as pages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from costsim.explore.diff import Diff, Difference, Part
from costsim.explore.robustness import Ranking
from costsim.explore.sensitivity import Tornado
from costsim.report.document import Cell, Chart, Content, Document, Section, Table
from costsim.report.figures import Figure, grouped_bar, tornado, waterfall
from costsim.report.words import MISSING, label, number, percent, quantity, unit_of
from costsim.version import __version__

#: units whose text carries a prefix, so that a column cannot share one
_PREFIXED = ("s", "B", "FLOP", "W", "ratio")
#: bars of a tornado that are drawn; the table has all
_DRAWN = 12
#: metrics that a diff shows where nobody names one, those that both answers have
MAIN = (
    "usd_per_mtok_output", "usd_per_mtok_input", "tokens_per_s_per_gpu", "output_tokens_per_s_per_gpu", "tpot_s",
    "ttft_s", "step_s", "gpu_hours", "usd_per_run", "decode_usd_per_mtok_output", "prefill_usd_per_mtok_input",
    "training_gpu_hours", "training_usd_per_run", "final_run_usd", "experiments_usd", "staff_usd", "days",
    "ttft_p90_s", "tpot_p90_s", "usd_per_day", "revenue_usd", "margin", "mean_nodes",
)  # fmt: skip
_WORDS = (
    "Parts are Shapley values: each input's change, averaged over the orders in which the inputs can change. They add "
    "up to the difference; factors, the same shares in logarithms, multiply to B / A. Alone: this input moved on A, "
    "nothing else; what those leave over is interaction."
)


def diff_document(found: Diff, metric: str | None = None) -> Document:
    """Every main metric, or the one asked for, as a waterfall and a table."""
    shown = [found.of(metric)] if metric else [d for name in MAIN for d in found.differences if d.metric == name]
    shown = shown or list(found.differences[:3])
    same = [] if metric else [d for d in shown if d.whole == 0 and all(part.part == 0 for part in d.parts)]
    shown = [d for d in shown if d not in same]
    a, b = found.a.name, found.b.name
    changed: list[list[Content]] = [[name, _text(old), _text(new)] for name, (old, new) in found.changed.items()]
    notes = [_WORDS] if found.changed else ["No input differs."]
    if found.refused:
        notes.append(
            f"{found.refused} combinations have no answer (a format that a chip lacks, a plan that does not fit); "
            "orders that meet one are left out, and inputs that only work together share a part."
        )
    if found.grouped:
        notes.append("So many inputs changed that they are taken by part of the question: plan, load, model, chip.")
    if same and found.changed:
        notes.append(f"The same in both: {', '.join(label(d.metric) for d in same)}.")
    first = Section("What changed", notes, [Table(("input", "A", "B"), changed)] if changed else [])
    payload = {
        "a": a, "b": b, "kind": found.a.kind, "changed": {n: {"a": x, "b": y} for n, (x, y) in found.changed.items()},
        "metrics": {d.metric: _json(d) for d in (shown if metric else found.differences)},
        "refused_combinations": found.refused, "version": __version__,
    }  # fmt: skip
    rows = [
        {"metric": d.metric, "unit": d.unit, "input": p.title, "a": _text(p.before), "b": _text(p.after),
         "part": p.part, "alone": p.alone}
        for d in (shown if metric else found.differences) for p in d.parts
    ]  # fmt: skip
    return Document(f"From {a} to {b}", [first, *(_section(d) for d in shown)], payload, rows=rows)


def _json(found: Difference) -> dict[str, Any]:
    return {
        "unit": found.unit, "a": found.before.json(), "b": found.after.json(), "difference": found.whole,
        "parts": [{"inputs": list(p.names), "a": list(p.before), "b": list(p.after), "part": p.part,
                   "factor": p.factor, "alone": p.alone, "last": p.last} for p in found.parts],
        "interaction": found.interaction,
    }  # fmt: skip


def _section(found: Difference) -> Section:
    unit = unit_of(found.metric, found.unit)
    head = (f"{label(found.metric)}: {quantity(found.before.value, unit)} → {quantity(found.after.value, unit)}, "
            f"{_signed(found.whole, unit)}.")  # fmt: skip
    rows: list[list[Content]] = [
        [part.title, _change(part), _cell(part.part, unit), _cell(part.alone, unit),
         Cell(MISSING if part.factor is None else f"{part.factor:.3f}", part.factor)]
        for part in found.parts
    ]  # fmt: skip
    if found.interaction is not None:
        rows.append(["left over (interaction)", "", "", _cell(found.interaction, unit), ""])
    table = Table(("input", "change", _headed("part", unit), _headed("alone", unit), "factor"), rows)
    steps = [("A", found.before.value), *((part.title, part.part) for part in found.parts if part.part != 0)]
    chart = Chart(waterfall(steps, label(found.metric), found.unit, start="A", total="B"), head)
    return Section(label(found.metric), [head], [table], [chart])


def _signed(value: float, unit: str) -> str:
    """With its sign, and the typographic minus."""
    return f"{'+' if value > 0 else ''}{quantity(value, unit)}" if value >= 0 else f"−{quantity(-value, unit)}"


def _headed(name: str, unit: str) -> str:
    """The heading of a column of numbers: with their unit, unless it takes prefixes."""
    return name if unit in _PREFIXED or not unit else f"{name}, {unit}"


def _cell(value: float | None, unit: str) -> Cell:
    if value is None:
        return Cell(MISSING, None)
    return Cell(_signed(value, unit) if unit in _PREFIXED else _signed(value, ""), value)


def _change(part: Part) -> str:
    """From what to what; the table of inputs says it for many."""
    if len(part.before) > 2:
        return "as above"
    return "; ".join(f"{_text(old)} → {_text(new)}" for old, new in zip(part.before, part.after, strict=True))


def _text(value: Any) -> str:
    if isinstance(value, tuple):
        return "; ".join(_text(item) for item in value)
    if value is None:
        return MISSING
    return number(value) if isinstance(value, int | float) and not isinstance(value, bool) else str(value)


def tornado_document(found: Tornado, rankings: Sequence[Ranking] = ()) -> Document:
    """What moves one metric, widest first; and how sure an order of several answers is."""
    sections = [_tornado_section(found)] if found.bars else []
    sections += [_ranking_section(ranking) for ranking in rankings]
    payload = {"tornado": found.json() if found.bars else None,
               "ranking": [ranking.json() for ranking in rankings], "version": __version__}  # fmt: skip
    rows = [{"input": bar.name, "low": bar.low, "high": bar.high, "at_low": bar.at_low, "at_high": bar.at_high}
            for bar in found.bars]  # fmt: skip
    return Document(f"What {label(found.metric)} rests on: {found.name}", sections, payload, rows=rows)


def _tornado_section(found: Tornado) -> Section:
    unit = unit_of(found.metric, found.unit)
    head = (f"{label(found.metric)} is {quantity(found.value, unit)}, P10 to P90 "
            f"{quantity(found.low, unit)} … {quantity(found.high, unit)}" + _at_any_price(found) + ".")  # fmt: skip
    rows: list[list[Content]] = [
        [bar.name, f"{bar.low:.2f}…{bar.high:.2f}", _plainly(bar.at_low, unit), _plainly(bar.at_high, unit),
         Cell(percent(bar.swing / found.value, 0), bar.swing), bar.why]
        for bar in found.bars
    ]  # fmt: skip
    names = ("input", "band, x", "at low", "at high", "swing", "from")
    table = Table(names, rows)
    words = [head, "Each input alone moves between the P10 and P90 of its band; the widest is first."]
    return Section(f"Tornado: {label(found.metric)}", words, [table], [Chart(_chart(found), head)])


def _at_any_price(found: Tornado) -> str:
    """The band with the doubt about the price in it, which the answer's own leaves out: it states its price."""
    if found.any_price is None:
        return ""
    unit = unit_of(found.metric, found.unit)
    low, high = (quantity(end, unit) for end in found.any_price)
    return f" at the price stated; with the price in doubt too {low} … {high}"


def _plainly(value: float, unit: str) -> Cell:
    return Cell(quantity(value, unit) if unit in _PREFIXED else number(value, 3), value)


def _chart(found: Tornado) -> Figure:
    bars = [(bar.name, bar.at_low, bar.at_high) for bar in found.bars[:_DRAWN]]
    return tornado(bars, found.value, label(found.metric), found.unit)


def _ranking_section(found: Ranking) -> Section:
    unit = unit_of(found.metric, found.unit)
    rows: list[list[Content]] = [
        [name, Cell(quantity(found.values[i], unit), found.values[i]),
         f"{quantity(found.bands[i][0], unit)} … {quantity(found.bands[i][1], unit)}",
         Cell(percent(found.first[i]), found.first[i])]
        for i, name in enumerate(found.names)
    ]  # fmt: skip
    pairs = [f"{found.names[i]} beats {found.names[j]} in {found.beats[i][j]:.0%} of draws"
             for i in found.order for j in found.order if i != j and found.beats[i][j] >= 0.5]  # fmt: skip
    words = [
        f"{found.draws} draws of every input from its band, seed {found.seed}; laws of one part and library are drawn "
        "once for all who use them. " + ("Lower" if found.lower_is_better else "Higher") + " is better.",
        "; ".join(pairs) + "." if pairs else "",
    ]
    table = Table(("answer", label(found.metric), "P10 … P90", "is best"), rows)
    bars = grouped_bar(found.names, {"share of draws": list(found.first)}, "How often each is best", "share")
    chart = Chart(bars, words[1] or "One answer only.")
    return Section(f"Ranking by {label(found.metric)}", [word for word in words if word], [table], [chart])
