"""A profiling session: every case visited in turn, in rounds, with a journal that survives an interruption.

Rounds, not one long visit: a disturbance of some seconds then spoils one visit of many cases, and each has others.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch

from costsim.calibration.measurement import Measurement
from model.device import DeviceError
from model.profile import cores, memory, products
from model.profile.backends.interface import Backend
from model.profile.case import ROTATED_BYTES, Bench, Case
from model.profile.timer import Samples, visit
from model.profile.whole import Run, build

#: samples of one visit
VISIT = 4
#: samples of one visit to a whole-model run
RUN_SAMPLES = 5

Progress = Callable[[str], None]


@dataclass
class Session:
    """What has been measured so far. ``interrupted``: Ctrl-C ended it. ``energy``: joules of one call, by case."""

    backend: Backend
    journal: Path
    progress: Progress
    samples: dict[str, Samples] = field(default_factory=dict)
    energy: dict[str, float] = field(default_factory=dict)
    interrupted: bool = False
    pool_bytes: float = ROTATED_BYTES
    started: float = 0.0
    seconds: float = 0.0

    def resume(self) -> int:
        """Read the journal of an earlier session; the number of visits found. A line that is torn is dropped.

        Raises DeviceError where the journal is of another device, or of another number of threads.
        """
        found = 0
        if not self.journal.is_file():
            return 0
        with self.journal.open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                try:
                    entry = json.loads(line)
                    if "machine" in entry:
                        self._same_machine(str(entry["machine"]))
                        continue
                    kept, disturbed = (_seconds(entry[name]) for name in ("kept", "disturbed"))
                    key, joules = str(entry["key"]), entry.get("joules")
                except (ValueError, KeyError, TypeError, RecursionError):
                    continue
                if not kept and not disturbed:
                    continue
                self._add(key, Samples(kept, disturbed, 1), _positive(joules))
                found += 1
        return found

    def _same_machine(self, written: str) -> None:
        if written != self.machine:
            raise DeviceError(f"{self.journal} was measured on {written[:80]}, this is {self.machine[:80]}")

    @property
    def machine(self) -> str:
        """What samples must share to be joined: device, cores or threads, and version of torch."""
        facts = self.backend.facts()
        return f"{facts.get('device')}: {facts.get('name')}, {facts.get('cores')} cores, torch {facts.get('torch')}"

    def _add(self, key: str, fresh: Samples, joules: float | None) -> None:
        store = self.samples.setdefault(key, Samples())
        store.join(fresh)
        if joules is not None:
            self.energy[key] = joules

    def measure(self, cases: Sequence[Case], runs: Sequence[Run], rounds: int, seconds: float) -> None:
        """Visit everything once, then while ``seconds`` last again: what was disturbed, then all, ``rounds`` times.

        Ctrl-C stops; what is done stays in the journal.
        """
        self.started, self.seconds = time.monotonic(), seconds
        bench = Bench(self.backend.device, self.pool_bytes)
        kernels = [(case.key, (partial(case.make, bench), VISIT)) for case in cases]
        models = [(run.key, (partial(build, run, self.backend.device), RUN_SAMPLES)) for run in runs]
        makers = dict(_interleaved(kernels, models))
        try:
            self._pass([key for key in makers if not self._visits(key)], makers, "first visit", timed=False)
            for number in range(2, 2 + 2 * rounds):
                worse = [key for key in makers if not self.samples[key].kept]
                if number % 2 == 0 or self._left() <= 0:
                    self._pass(worse, makers, "again, undisturbed")
                else:
                    later = [key for key in makers if self._visits(key) < 1 + number // 2]
                    self._pass(later, makers, f"round {1 + number // 2}")
        except KeyboardInterrupt:
            self.interrupted = True
            self.progress("interrupted: what is measured is kept; --resume goes on from here")

    def _left(self) -> float:
        return self.seconds - (time.monotonic() - self.started)

    def _pass(self, keys: list[str], makers: Mapping[str, Any], what: str, timed: bool = True) -> None:
        """One visit to each of ``keys``; a ``timed`` pass ends where the seconds do."""
        began = time.monotonic()
        for index, key in enumerate(keys):
            if timed and self._left() <= 0:
                return
            make, count = makers[key]
            self._visit(key, make, count)
            spent, done = time.monotonic() - began, index + 1
            left = spent * (len(keys) - done) / done
            left = min(left, max(self._left(), 0.0)) if timed else left
            self.progress(f"{what}: {done} of {len(keys)}, {left:.0f} s left: {key}")

    def _visits(self, key: str) -> int:
        return self.samples[key].visits if key in self.samples else 0

    def _visit(self, key: str, make: Callable[[], Callable[[], Any]], count: int) -> None:
        fresh = Samples()
        with torch.set_grad_enabled(False):
            call = make()
            before = self.backend.telemetry().energy_j
            calls = visit(self.backend, call, fresh, count=count)
            after = self.backend.telemetry().energy_j
        joules = None if before is None or after is None or after <= before else (after - before) / calls
        fresh.visits = 1
        self._add(key, fresh, joules)
        self._note({"key": key, "kept": fresh.kept, "disturbed": fresh.disturbed, "joules": joules})

    def _note(self, entry: Mapping[str, Any]) -> None:
        """One line more in the journal; what it was measured on stands first. A torn last line is closed."""
        with self.journal.open("a+b") as file:
            size = file.seek(0, 2)
            if size == 0:
                file.write(json.dumps({"machine": self.machine}).encode() + b"\n")
            else:
                file.seek(-1, 2)
                if file.read(1) != b"\n":
                    file.write(b"\n")
            file.write(json.dumps(entry).encode() + b"\n")


def _positive(value: Any) -> float | None:
    """A number above 0 and below infinity, or None."""
    return float(value) if isinstance(value, int | float) and 0 < value < 1e300 else None


def _seconds(values: Any) -> list[float]:
    """The times in one list of the journal; TypeError where it holds anything else."""
    found = [_positive(value) for value in values]
    if None in found:
        raise TypeError("not a list of times")
    return [value for value in found if value is not None]


def _interleaved(many: Sequence[Any], few: Sequence[Any]) -> Iterator[Any]:
    """``few`` spread evenly among ``many``: both then meet the same machine, busy or not."""
    given = 0
    for index, item in enumerate(many, start=1):
        yield item
        while given < len(few) * index // len(many):
            yield few[given]
            given += 1
    yield from few[given:]


def cases_of(level: str, dtypes: Sequence[str]) -> list[Case]:
    """Micro-benchmarks of a level (quick, standard, full); the first dtype is measured finest."""
    thin = {"quick": 3, "standard": 2, "full": 1}[level]
    found: list[Case] = []
    for index, dtype in enumerate(dtypes):
        step = thin if index == 0 else 3 * thin
        found += [*products.cases(dtype, step), *cores.cases(dtype, step)]
    return [*found, *memory.cases(thin), *memory.uploads(thin), *memory.launches()]


def measurements(session: Session, cases: Sequence[Case], source: str) -> list[Measurement]:
    """One row a measured kernel; launches and cold reads are the host's own and go into the facts instead."""
    rows = []
    for case in cases:
        if case.dtype != "host" and case.key in session.samples:
            seconds = session.samples[case.key].seconds
            shape = {name: float(value) for name, value in case.shape.items()}
            rows.append(Measurement(case.family, case.dtype, seconds, source, case.flop, case.bytes, shape))
    return rows
