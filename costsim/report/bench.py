"""A benchmark beside its prediction as a Document."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from costsim.predict.bench import Compared, Correction
from costsim.report.document import Cell, Content, Document, Section, Table
from costsim.report.words import percent, quantity
from costsim.version import __version__


def bench_document(
    rows: Sequence[Compared], found: Mapping[str, float], model: str, chip: str, notes: Sequence[str],
    correction: Correction | None = None, after: Mapping[str, float] | None = None,
) -> Document:  # fmt: skip
    """Row by row, what the differences come to, and the host constants that would take them away."""
    payload = {
        "rows": [row.json() for row in rows], "summary": dict(found), "model": model, "accelerator": chip,
        "notes": list(notes), "version": __version__, "correction": None if correction is None else correction.json(),
        "corrected_summary": dict(after or {}),
    }  # fmt: skip
    words = [
        f"{name.removesuffix('_mape').upper()}: off by {percent(value)} on average; measured is "
        f"{found[name.replace('_mape', '_measured_over_predicted')]:.3f} times predicted"
        for name, value in found.items()
        if name.endswith("_mape")
    ]
    sections = [Section("Measured and predicted", words, [_table(rows)]), Section("Notes", list(notes))]
    if correction is not None:
        sections.insert(1, Section("Corrected host", _corrected(correction, found, after or {})))
    flat = [row.json() for row in rows]
    return Document(f"Benchmark of {model} on {chip}", sections, payload, rows=flat)


def _corrected(one: Correction, found: Mapping[str, float], after: Mapping[str, float]) -> list[str]:
    """The constants, what they change, and how to use them."""
    better = [
        f"{name.removesuffix('_mape').upper()} is then off by {percent(after[name])} in place of {percent(found[name])}"
        for name in found
        if name.endswith("_mape") and name in after
    ]
    slow = ["Even without host time tokens are predicted late: kernels or transfers, not the host."] if not one.step_s \
        else []  # fmt: skip
    return [
        (
            f"The runs agree best with {quantity(one.step_s, 's')} of host time an iteration (was "
            f"{quantity(one.was_step_s, 's')}) and {quantity(one.frontend_s, 's')} in front for a request (was "
            f"{quantity(one.was_frontend_s, 's')})."
        ),
        f"{'; '.join(better)}.",
        *slow,
        f"Use them: --host-step {one.step_s * 1e3:.4g}ms --frontend {one.frontend_s * 1e3:.4g}ms",
    ]


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
