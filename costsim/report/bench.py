"""A benchmark beside its prediction as a Document."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from costsim.predict.bench import Compared
from costsim.report.document import Cell, Content, Document, Section, Table
from costsim.report.words import percent, quantity
from costsim.version import __version__


def bench_document(
    rows: Sequence[Compared], found: Mapping[str, float], model: str, chip: str, notes: Sequence[str]
) -> Document:
    """Row by row, then what the differences come to."""
    payload = {
        "rows": [row.json() for row in rows], "summary": dict(found), "model": model, "accelerator": chip,
        "notes": list(notes), "version": __version__,
    }  # fmt: skip
    words = [
        f"{name.removesuffix('_mape').upper()}: off by {percent(value)} on average; measured is "
        f"{found[name.replace('_mape', '_measured_over_predicted')]:.3f} times predicted"
        for name, value in found.items()
        if name.endswith("_mape")
    ]
    sections = [Section("Measured and predicted", words, [_table(rows)]), Section("Notes", list(notes))]
    flat = [row.json() for row in rows]
    return Document(f"Benchmark of {model} on {chip}", sections, payload, rows=flat)


def _table(rows: Sequence[Compared]) -> Table:
    cells: list[list[Content]] = [
        [
            row.run, row.name.replace("_", " "), Cell(quantity(row.measured, row.unit), row.measured),
            Cell(quantity(row.predicted, row.unit), row.predicted), Cell(f"{row.ratio - 1:+.1%}", row.ratio),
            "–" if row.inside is None else "yes" if row.inside else "no", row.grade,
        ]
        for row in rows
    ]  # fmt: skip
    return Table(("run", "", "measured", "predicted", "off by", "in band", "grade"), cells)
