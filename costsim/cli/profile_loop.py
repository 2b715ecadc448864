"""The loop behind `costsim profile`: measure, draft and calibrate the device, predict whole-model runs, compare."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from costsim.cli.output import write
from costsim.errors import BadOption, OutOfRange

if TYPE_CHECKING:
    from costsim.calibration.measurement import Measurement
    from costsim.calibration.run import Calibrated
    from costsim.physics.op import Op
    from costsim.predict.runs import Host, Parts
    from costsim.report.document import Document
    from costsim.spec.accelerator import Accelerator
    from costsim.spec.model import ModelSpec

Say = Callable[[str], None]


@dataclass(frozen=True)
class Asked:
    """What is to be profiled. ``level``: quick, standard or full."""

    spec: ModelSpec
    dtype: str
    level: str
    seconds: float
    rounds: int
    resume: bool
    name: str | None


@dataclass(frozen=True)
class Measured:
    """A finished session with its cases and runs, as :mod:`model.profile` has them."""

    session: Any
    cases: Sequence[Any]
    runs: Sequence[Any]
    facts: Mapping[str, Any]

    @property
    def interrupted(self) -> bool:
        return bool(self.session.interrupted)


@dataclass(frozen=True)
class Row:
    """One whole-model run: seconds measured and predicted, with the share of each part in the prediction."""

    case: str
    phase: str
    tokens: int
    measured_s: float
    spread: float
    disturbed: bool
    parts: Parts
    joules: float | None

    @property
    def error(self) -> float:
        return self.parts.total_s / self.measured_s - 1.0

    def json(self) -> dict[str, Any]:
        return {"case": self.case, "measured": self.measured_s, "predicted": self.parts.total_s, "unit": "s",
                "error": self.error, "spread": self.spread, "disturbed": self.disturbed, "tokens": self.tokens,
                "joules_per_token": None if self.joules is None else self.joules / self.tokens,
                "parts": asdict(self.parts)}  # fmt: skip


def backend(name: str) -> Any:
    """The device's backend, or one line that says what is there."""
    from model.device import DeviceError
    from model.profile.backends import backend_for

    try:
        return backend_for(name)
    except (DeviceError, RuntimeError) as error:
        raise BadOption(f"--device {name[:40]}: {str(error).splitlines()[0]}") from None


def use_threads(count: int) -> None:
    """Run on ``count`` processor threads."""
    import torch

    if not 1 <= count <= 4096:
        raise OutOfRange(f"--threads {count}: must be from 1 to 4096")
    torch.set_num_threads(count)


def measure(asked: Asked, device: Any, folder: Path, say: Say) -> Measured:
    """Run every case and whole-model run that the level asks for, or go on with an earlier journal."""
    from model.device import DeviceError
    from model.profile import whole
    from model.profile.session import Session, cases_of

    journal = folder / "journal.jsonl"
    session = Session(device, journal, say)
    if asked.resume:
        try:
            session.resume()
        except DeviceError as error:
            raise BadOption(f"--resume: {error}; name another --out-dir, or leave --resume out") from None
    else:
        journal.unlink(missing_ok=True)
    # every level measures bf16, which questions about serving and training ask for
    others = ("bf16",) if asked.dtype == "fp32" else () if asked.level == "quick" else ("fp32",)
    cases = cases_of(asked.level, (asked.dtype, *others))
    runs = list(whole.runs(asked.spec, asked.dtype, asked.level == "quick"))
    session.measure(cases, runs, asked.rounds, asked.seconds)
    return Measured(session, cases, runs, device.facts())


def answer(asked: Asked, done: Measured, folder: Path, say: Say) -> Document:
    """Write measurements, facts, draft, calibration, trace and summary into ``folder``; the summary as a document."""
    from costsim.calibration.draft import drafted
    from costsim.calibration.run import calibrate, written_text
    from model.profile.host import host_costs
    from model.profile.session import measurements
    from model.profile.trace import write_trace

    name = asked.name or _slug(str(done.facts["name"]))
    rows = measurements(done.session, done.cases, "measured")
    costs = host_costs(done.session.samples)
    facts = {**done.facts, "host": asdict(costs), "telemetry": asdict(done.session.backend.telemetry())}
    files = {key: folder / file for key, file in _FILES.items()}
    files |= {"accelerator": folder / f"{name}.toml", "calibration": folder / f"{name}.json"}
    _write_rows(
        files["measurements"],
        rows,
        f"Measured by costsim profile on {done.facts['name']}; means without the slowest tenth.",
    )
    write(files["facts"], json.dumps(facts, indent=1, default=str) + "\n")
    text, chip = drafted(name, rows, facts)
    write(files["accelerator"], text)
    say("fitting laws")
    result = calibrate(chip, rows)
    write(files["calibration"], written_text(result, files["calibration"]))
    compared = compare(done, chip, result, costs, rows, say)
    say("writing a trace")
    write_trace(done.session.backend, done.runs, files["trace"])
    say("")
    from costsim.cli.profile_page import page

    document = page(asked, done, result, compared, files)
    _summary(document, files)
    return document


_FILES = {
    "measurements": "measurements.csv", "facts": "machine.json", "trace": "costsim.pt.trace.json.gz",
    "summary": "summary.json", "text": "summary.txt",
}  # fmt: skip


def compare(
    done: Measured, chip: Accelerator, result: Calibrated, costs: Any, rows: Sequence[Any], say: Say
) -> list[Row]:
    """Every whole-model run whose shapes are not among the measured ones, predicted from laws and host costs."""
    from costsim.calibration.store import device_for, fitted_laws
    from costsim.predict.runs import Added, Case, Extra, Host, compulsory, predict_run
    from model.profile import whole
    from model.profile.host import added_by

    device = replace(device_for(chip), laws=fitted_laws(result.fits, chip.id))
    host: Host = Host(costs.kernel_s, costs.training_kernel_s, costs.view_s)
    compared = []
    for run in done.runs:
        say(f"predicting {run.key}")
        case = Case(run.phase, run.spec, run.batch, run.length, run.dtype)
        if any(measured_as(op, rows) for op in compulsory(case)):
            continue
        found = added_by(partial(whole.build, run, done.session.backend.device), costs)
        added = Added([Extra(**extra) for extra in found["extras"]], found["kernels"], found["views"])
        samples = done.session.samples[run.key]
        parts, joules = predict_run(case, device, added, host), done.session.energy.get(run.key)
        seconds, spread = samples.seconds, samples.spread
        compared.append(Row(run.key, run.phase, run.tokens, seconds, spread, not samples.kept, parts, joules))
    return compared


def measured_as(op: Op, rows: Sequence[Measurement]) -> bool:
    """Whether a row is of the op's family and of its sizes, as far as both state them, in any number format."""
    return any(row.family == op.family and all(row.shape.get(name, float(size)) == float(size)
                                               for name, size in op.shape.items()) for row in rows)  # fmt: skip


def _slug(name: str) -> str:
    """``Intel(R) Xeon(R) Processor`` → ``intel-r-xeon-r-processor``."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40] or "this-chip"


def _write_rows(path: Path, rows: Sequence[Any], comment: str) -> None:
    from costsim.calibration.measurement import write_measurements

    temporary = path.with_name(f".{path.name}")
    write_measurements(temporary, rows, comment)
    temporary.replace(path)


def _summary(document: Document, files: Mapping[str, Path]) -> None:
    from rich.console import Console

    from costsim.report.jsonable import dumps
    from costsim.report.tables import render_document

    write(files["summary"], dumps(document.payload))
    plain = Console(width=100, record=True, file=open_null(), markup=False, emoji=False, highlight=False)
    plain.print(render_document(document))
    write(files["text"], plain.export_text())


def open_null() -> Any:
    """A file that keeps nothing."""
    from io import StringIO

    return StringIO()


def collectives(args: argparse.Namespace, folder: Path, finish: Callable[[argparse.Namespace, Document], int]) -> int:
    """Under torchrun: time the collectives of this group; the first rank writes and prints."""
    import os

    from costsim.cli.output import progress
    from costsim.cli.profile_page import collectives_page
    from model.device import DeviceError
    from model.profile.collectives import profile_collectives

    first = os.environ.get("RANK", "0") == "0"
    try:
        rows, refused = profile_collectives(args.device, args.quick, "measured", progress if first else lambda _: None)
    except DeviceError as error:
        raise BadOption(f"--device {args.device[:40]}: {error}") from None
    if not first:
        return 0
    path = folder / "collectives.csv"
    _write_rows(path, rows, f"Measured by costsim profile among {os.environ['WORLD_SIZE']} ranks; slowest rank's time.")
    return finish(args, collectives_page(args.device, rows, refused, path))
