"""What `costsim profile` prints: predictions against measurements, the device's laws, files, and how quiet it was."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from costsim.report.document import Cell, Content, Document, Section, Table
from costsim.report.words import percent
from costsim.version import __version__

if TYPE_CHECKING:
    from costsim.calibration.run import Calibrated
    from costsim.cli.profile_loop import Asked, Measured, Row


def page(asked: Asked, done: Measured, result: Calibrated, rows: Sequence[Row], files: Mapping[str, Path]) -> Document:
    """The answer of one session."""
    facts, samples = done.facts, done.session.samples
    errors = [abs(row.error) for row in rows]
    quiet = {
        "samples": sum(len(s.kept) + len(s.disturbed) for s in samples.values()),
        "rejected_while_busy": sum(len(s.disturbed) for s in samples.values()),
        "cases": len(samples),
        "cases_never_undisturbed": sum(not s.kept for s in samples.values()),
    }
    summary = {"n": len(errors), "median_error": statistics.median(errors) if errors else None,
               "worst_error": max(errors, default=None)}  # fmt: skip
    payload: dict[str, Any] = {
        "device": dict(facts),
        "measurements": str(files["measurements"]),
        "trace": str(files["trace"]),
        "accelerator": str(files["accelerator"]),
        "calibration": str(files["calibration"]),
        "facts": str(files["facts"]),
        "predicted_against_measured": [row.json() for row in rows],
        "summary": summary,
        "quiet": quiet,
        "energy": "measured" if any(row.joules for row in rows) else "absent: no energy counter on this device",
        "laws": {key: {"n": law.points, "held_out_median_ape": law.median_ape, "held_out_p90_ape": law.p90_ape}
                 for key, law in sorted(result.fits.items())},
        "version": __version__,
    }  # fmt: skip
    sections = [
        Section("Whole-model runs that the calibration has not seen", _verdict(rows, summary), _runs(rows)),
        Section("Laws fitted to the micro-benchmarks; error on shapes left out", [], [_laws(result)]),
        Section("Written", [_quiet_text(quiet, facts), _next(files)], [_files(files)]),
    ]
    title = f"{facts['name']}, {asked.spec.name} narrowed, {asked.dtype}, {facts['cores']} cores"
    return Document(title, sections, payload, rows=[row.json() for row in rows])


def _verdict(rows: Sequence[Row], summary: Mapping[str, Any]) -> list[str]:
    if not rows:
        return ["No run was left to compare: every one has a shape that was measured for the calibration."]
    text = f"Error: median {percent(summary['median_error'])}, largest {percent(summary['worst_error'])}."
    if any(row.disturbed for row in rows):
        text += " Runs marked * never ran undisturbed: other work held the device; measure again when it is idle."
    if not any(row.joules for row in rows):
        text += " Energy: this device shows no counter."
    return [text]


def _short(row: Row) -> str:
    """``decode deepseek-v2-lite-w640-l4 batch=6 length=700 fp32`` → ``decode w640-l4 6×700``, * where disturbed."""
    phase, model, batch, length, _ = row.case.split(" ")
    narrow = "-".join(model.split("-")[-2:])
    return f"{phase} {narrow} {batch.split('=')[1]}×{length.split('=')[1]}{'*' if row.disturbed else ''}"


def _runs(rows: Sequence[Row]) -> list[Table]:
    """Measured against predicted, and where the predicted time goes."""
    first: list[list[Content]] = []
    second: list[list[Content]] = []
    for row in rows:
        p = row.parts
        line: list[Content] = [
            _short(row),
            Cell(f"{row.measured_s * 1e3:,.1f} ms", row.measured_s),
            Cell(percent(row.spread), row.spread),
            Cell(f"{p.total_s * 1e3:,.1f} ms", p.total_s),
            Cell(f"{row.error:+.1%}", row.error),
        ]
        if row.joules is not None:
            line.append(Cell(f"{row.joules / row.tokens:.3g}", row.joules / row.tokens))
        first.append(line)
        parts = (p.products_s, p.experts_s, p.attention_s, p.other_kernels_s, p.host_s)
        second.append([_short(row), *(Cell(percent(part / p.total_s), part / p.total_s) for part in parts)])
    energy = ["J/token"] if any(row.joules is not None for row in rows) else []
    first = [line + [None] * (5 + len(energy) - len(line)) for line in first]
    caption = "batch × tokens (decode: tokens already cached)"
    return [
        Table(("run", "measured", "spread", "predicted", "error", *energy), first, caption),
        Table(("predicted from", "products", "experts", "attention", "other", "host"), second),
    ]


def _laws(result: Calibrated) -> Table:
    rows: list[list[Content]] = [
        [key, law.points, law.rejected, Cell(percent(law.median_ape), law.median_ape),
         Cell(percent(law.p90_ape), law.p90_ape)]
        for key, law in sorted(result.fits.items())
    ]  # fmt: skip
    return Table(("family/dtype", "n", "too fast", "median", "P90"), rows)


def _files(files: Mapping[str, Path]) -> Table:
    return Table(("what", "file"), [[name, str(path)] for name, path in files.items()])


def _quiet_text(quiet: Mapping[str, int], facts: Mapping[str, Any]) -> str:
    clock = " Seconds are processor time of one thread." if facts.get("clock") == "processor time" else ""
    return (
        f"{quiet['rejected_while_busy']:,} of {quiet['samples']:,} samples were set aside because other work used the "
        f"device; {quiet['cases_never_undisturbed']} of {quiet['cases']} cases were never undisturbed." + clock
    )


def _next(files: Mapping[str, Path]) -> str:
    chip = files["accelerator"]
    return (
        f"Ask about this device: costsim infer --phase decode --accelerator {chip} --gpus 1 --model qwen2.5-1.5b "
        "--precision bf16 --batch-per-gpu 1 --context 512"
    )


def collectives_page(device: str, rows: Sequence[Any], refused: Sequence[str], path: Path) -> Document:
    """Seconds and bytes per second of each collective and size."""
    table: list[list[Content]] = [
        [row.family, Cell(f"{row.wire['up_bytes']:,.0f}", row.wire["up_bytes"]), int(row.wire["ranks"]),
         Cell(f"{row.time_s * 1e6:,.1f}", row.time_s), Cell(f"{row.wire['up_bytes'] / row.time_s / 1e9:.3f}", 0.0)]
        for row in rows
    ]  # fmt: skip
    notes = [f"{path} keeps the rows; `costsim calibrate --measurements {path}` takes it beside measurements.csv."]
    if refused:
        notes.append(f"Refused by this backend: {', '.join(refused)}.")
    flat = [{"collective": row.family, "time_s": row.time_s, **row.wire} for row in rows]
    payload = {"device": device, "measurements": str(path), "trace": None, "predicted_against_measured": [],
               "collectives": flat, "refused": list(refused), "version": __version__}  # fmt: skip
    section = Section("", notes, [Table(("collective", "bytes", "ranks", "µs", "GB/s"), table)])
    return Document(
        f"Collectives among {int(rows[0].wire['ranks']) if rows else 0} ranks", [section], payload, rows=flat
    )
