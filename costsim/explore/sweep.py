"""Sweeps: independent points answered in chunks on local processes or a Dask cluster, kept on disk as they come.

One code path: whatever runs the chunks is a ``concurrent.futures.Executor``. Each finished chunk becomes one
JSON-lines file, written whole or not at all by the process that asked; a point that a file already holds, of the same
question and the same version, is not asked again. A lost worker costs the chunks it was working on, which go back
to the queue.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor
from concurrent.futures import wait as wait_for
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from costsim.errors import Absent, BadOption, BadQuantity, CannotWrite, Exhausted, OutOfRange
from costsim.files import read_text, write
from costsim.version import __version__

Point = Mapping[str, Any]
Row = dict[str, Any]
#: answers a list of points; it and the points travel to other processes and machines
Task = Callable[[list[Point]], list[Row]]
#: times that a chunk may lose its worker before it is called a defect of the chunk
MAX_LOSSES = 5
#: largest file of finished rows that is read back
MAX_BYTES = 500_000_000


def key_of(point: Point, task: str) -> str:
    """What identifies a point: its values, the task and the package's version."""
    text = json.dumps([__version__, task, point], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def sweep(
    points: Sequence[Point],
    task: Task,
    *,
    folder: Path | None = None,
    workers: int = 1,
    scheduler: str | None = None,
    chunk: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[Row]:
    """A row for every point, in their order.

    ``folder``: where finished chunks are kept, and looked for first; None keeps nothing. ``workers``: local
    processes (1: this one); ``scheduler``: address of a Dask scheduler instead. Raises BadInput for a folder that
    cannot be written, a scheduler that does not answer, and a chunk that keeps losing its workers.
    """
    if workers < 1:
        raise OutOfRange(f"workers = {workers}: must be at least 1")
    name = f"{task.__module__}.{task.__qualname__}"
    keys = [key_of(point, name) for point in points]
    done = {} if folder is None else finished(folder, set(keys))
    missing = {key: point for key, point in zip(keys, points, strict=True) if key not in done}
    size = chunk or max(1, min(50, len(missing) // (8 * max(workers, 2)) or 1))
    todo = [list(missing)[i : i + size] for i in range(0, len(missing), size)]
    if progress is not None:
        progress(len(done), len(keys))
    if todo:
        with executor(workers, scheduler) as start:
            for part, rows in _run(todo, missing, task, start):
                if folder is not None:
                    keep(folder, part, rows)
                done.update(zip(part, rows, strict=True))
                if progress is not None:
                    progress(len(done), len(keys))
    return [done[key] for key in keys]


def _run(
    todo: list[list[str]], points: Mapping[str, Point], task: Task, start: Callable[[], Executor]
) -> Iterator[tuple[list[str], list[Row]]]:
    """Chunks with their rows as they finish; chunks whose worker was lost are sent again."""
    pool = start()
    losses: dict[str, int] = {}
    waiting: dict[Future[list[Row]], list[str]] = {}
    queue = list(todo)
    while queue or waiting:
        while queue:
            part = queue.pop(0)
            waiting[pool.submit(task, [points[key] for key in part])] = part
        ready, _ = wait_for(waiting, return_when="FIRST_COMPLETED")
        lost = False
        for future in ready:
            part = waiting.pop(future)
            try:
                rows = future.result()
            except Exception as error:
                if not _lost_worker(error):
                    raise
                losses[part[0]] = losses.get(part[0], 0) + 1
                if losses[part[0]] > MAX_LOSSES:
                    raise Exhausted(f"a chunk of {len(part)} points lost its worker {MAX_LOSSES} times") from None
                queue.append(part)
                lost = lost or isinstance(error, BrokenExecutor)
                continue
            yield part, rows
        if lost:  # a local pool is broken as a whole: its other chunks come back in the same way
            queue += waiting.values()
            waiting = {}
            pool = start()


def _lost_worker(error: Exception) -> bool:
    """Whether a process went away under a chunk, rather than the chunk failing. Dask's errors by name."""
    return isinstance(error, BrokenExecutor) or type(error).__name__ in (
        "KilledWorker",
        "CancelledError",
        "CommClosedError",
    )


@contextmanager
def executor(workers: int, scheduler: str | None) -> Iterator[Callable[[], Executor]]:
    """A function that starts the pool, and starts it anew after a loss; everything is closed on the way out."""
    opened: list[Executor] = []

    def local() -> Executor:
        for old in opened:
            old.shutdown(wait=False, cancel_futures=True)
        # Forking a process with threads is not safe; spawned workers import what they need once.
        pool = ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"))
        opened.append(pool)
        return pool

    if scheduler is not None:
        with _dask(scheduler) as client:
            yield lambda: client.get_executor(pure=False, retries=MAX_LOSSES)
        return
    try:
        yield Inline if workers == 1 else local
    finally:
        for pool in opened:
            pool.shutdown(wait=False, cancel_futures=True)


class Inline(Executor):
    """Runs each chunk at once in this process."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


@contextmanager
def _dask(address: str) -> Iterator[Any]:
    """A client of a Dask scheduler whose workers have the same costsim."""
    try:
        from distributed import Client
    except ImportError:
        raise Absent("--scheduler needs Dask: pip install 'costsim[cluster]'") from None
    if re.fullmatch(r"[a-z]+://[^\s/]+:\d+", address) is None:
        raise BadQuantity(f"--scheduler {address[:80]}: not an address; write it like tcp://host:8786")
    try:
        client = Client(address, timeout="10s", set_as_default=False)
    except (OSError, ValueError, TimeoutError) as error:
        raise BadOption(f"--scheduler {address[:80]}: no Dask scheduler answers there ({error})") from None
    with client:
        client.wait_for_workers(1, timeout=60)
        versions = client.run(_version, on_error="return")
        other = sorted({str(v) for v in versions.values()} - {__version__})
        if other:
            raise BadOption(f"--scheduler {address[:80]}: a worker has costsim {other[0][:80]}, not {__version__}")
        yield client


def _version() -> str:
    """What a worker has installed."""
    return __version__


def finished(folder: Path, wanted: set[str]) -> dict[str, Row]:
    """Rows of earlier runs, by key; a file that is not one of ours is passed over."""
    rows: dict[str, Row] = {}
    for path in sorted(folder.glob("*.jsonl")) if folder.is_dir() else []:
        try:
            entries = [json.loads(line) for line in read_text(path, "rows", MAX_BYTES).splitlines() if line.strip()]
        except (ValueError, RecursionError):  # BadInput is one
            continue
        for entry in entries:
            if isinstance(entry, dict) and isinstance(entry.get("row"), dict) and str(entry.get("key")) in wanted:
                rows[entry["key"]] = entry["row"]
    return rows


def keep(folder: Path, keys: Sequence[str], rows: Sequence[Row]) -> None:
    """One chunk as one file, named by its points; whole or not at all."""
    text = "".join(
        json.dumps({"key": key, "row": row}, allow_nan=False) + "\n" for key, row in zip(keys, rows, strict=True)
    )
    name = hashlib.sha256("".join(keys).encode()).hexdigest()[:24] + ".jsonl"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CannotWrite(f"{folder}: cannot be written ({error.strerror})") from None
    write(folder / name, text)
