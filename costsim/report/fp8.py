"""FP8 savings as a page: a table of changes and a waterfall each for time, memory, cards and money."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from costsim.predict.fp8 import Fp8Savings, Level
from costsim.report.document import Cell, Chart, Content, Document, Section, Table
from costsim.report.figures import waterfall
from costsim.report.words import band, number, percent, quantity, value_text
from costsim.units import GIGA, MEGA

#: what is shown of a level: field, heading, scale, unit
_SHOWN = (
    ("step_s", "step", 1.0, "s"), ("memory_bytes", "memory", GIGA, "GB"), ("cards", "cards, same tokens", 1.0, "cards"),
    ("usd", "run", MEGA, "million USD"),
)  # fmt: skip


def savings_document(savings: Fp8Savings, said: Sequence[str] = ()) -> Document:
    """``costsim train --fp8-savings`` as a document."""
    report = savings.report
    return Document(
        title=f"BF16 to FP8: {report.inputs['model']} on {report.inputs['accelerator']}",
        sections=[savings_section(savings), Section("Notes", [*report.notes, *said])],
        payload=savings_payload(savings),
        rows=[_flat(level) for level in savings.levels],
    )


def savings_payload(savings: Fp8Savings) -> dict[str, Any]:
    """The JSON: the Report, every level with its memory by kind, and the changes between them."""
    changes = [
        {"id": b.id, "title": b.title, "step_s": b.step_s - a.step_s, "memory_bytes": b.memory_bytes - a.memory_bytes,
         "cards": b.cards - a.cards, "usd": None if a.usd is None or b.usd is None else b.usd - a.usd}
        for a, b in zip(savings.levels, savings.levels[1:], strict=False)
    ]  # fmt: skip
    return savings.report.json() | {
        "levels": [_flat(level) | {"memory": level.memory} for level in savings.levels],
        "changes": changes, "recompute": {"bf16": savings.recompute[0], "fp8": savings.recompute[1]},
    }  # fmt: skip


def _flat(level: Level) -> dict[str, Any]:
    return {"id": level.id, "title": level.title, "step_s": level.step_s, "memory_bytes": level.memory_bytes,
            "cards": level.cards, "usd": level.usd}  # fmt: skip


def savings_section(savings: Fp8Savings) -> Section:
    """Table and waterfalls; changes on top of each other, the last line is the FP8 plan."""
    first, last = savings.levels[0], savings.levels[-1]
    rows: list[list[Content]] = [_level_row("BF16", first)]
    for before, after in zip(savings.levels, savings.levels[1:], strict=False):
        rows.append(_change_row(before, after))
    rows.append(_level_row("FP8", last))
    report = savings.report
    metrics = report.metrics
    heavy, light = savings.recompute
    faster = f"{value_text('speedup', metrics['speedup'])} as fast ({band('speedup', metrics['speedup'])})"
    sizes = [quantity(level.memory_bytes, "B") for level in (first, last)]
    less = percent(last.memory_bytes / first.memory_bytes - 1.0)
    must = "." if heavy == light else f"; BF16 does not fit so and must recompute {heavy}, which its step includes."
    words = (
        f"FP8 makes the step {faster}: {quantity(first.step_s, 's')} to {quantity(last.step_s, 's')} "
        f"({band('fp8_step_s', metrics['fp8_step_s'])}). At equal recomputation ({light}) the fullest rank holds "
        f"{sizes[0]} in BF16 and {sizes[1]} in FP8 ({less}){must}"
    )
    told = [words]
    if None not in savings.fewest_cards:
        few = " and ".join(f"{number(n)} in {p}" for n, p in zip(savings.fewest_cards, ("BF16", "FP8"), strict=True))
        told.append(f"Fewest cards that hold the model so, at this tp, cp and ep and any pipeline depth: {few}.")
    charts = [chart for chart in (_chart(savings, *shown) for shown in _SHOWN) if chart is not None]
    columns = ("change", "step", "memory", "cards", "run, USD")
    return Section("FP8 against BF16, one change at a time", told, [Table(columns, rows)], charts)


def _level_row(name: str, level: Level) -> list[Content]:
    return [
        name, Cell(quantity(level.step_s, "s"), level.step_s),
        Cell(quantity(level.memory_bytes, "B"), level.memory_bytes), Cell(f"{level.cards:,.0f}", level.cards),
        None if level.usd is None else Cell(f"{level.usd / MEGA:.3f}M", level.usd),
    ]  # fmt: skip


def _change_row(before: Level, after: Level) -> list[Content]:
    step, memory = after.step_s - before.step_s, after.memory_bytes - before.memory_bytes
    cards = after.cards - before.cards
    usd = None if before.usd is None or after.usd is None else after.usd - before.usd
    return [
        f"  {after.title}", Cell(f"{step:+.3f} s", step), Cell(f"{memory / GIGA:+.2f} GB", memory),
        Cell(f"{cards:+,.0f}", cards), None if usd is None else Cell(f"{usd / MEGA:+.3f}M", usd),
    ]  # fmt: skip


def _chart(savings: Fp8Savings, name: str, heading: str, scale: float, unit: str) -> Chart | None:
    values = [getattr(level, name) for level in savings.levels]
    if any(value is None for value in values):
        return None
    steps = [("BF16", values[0] / scale)]
    steps += [(title, change / scale) for title, change in savings.changes(name)]
    figure = waterfall(steps, f"BF16 to FP8: {heading}", unit, "BF16", "FP8")
    told = "; ".join(f"{title} {change:+.3g}" for title, change in steps[1:])
    return Chart(figure, f"{heading}, {unit}: BF16 {steps[0][1]:.4g}; {told}; FP8 {values[-1] / scale:.4g}.")
