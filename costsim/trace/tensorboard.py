"""TensorBoard's profiler plugin: traces in the layout that it shows, and its own tables of operators and kernels.

The plugin (torch-tb-profiler 0.4.3) is right about host operators and single kernels. Two of its figures are not used
here: it finds tensor-core kernels by a list of names older than Hopper, and communication by the names of NCCL and
gloo only, so on DeepSeek's training trace it states 0.2 % tensor cores and no communication at all.
"""

from __future__ import annotations

import logging
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from costsim.errors import BadOption, CannotWrite, Malformed
from costsim.files import replacing
from costsim.trace.recording import printable
from costsim.trace.source import open_trace

#: the plugin builds the whole document and a tree of it in memory, some 15 times the text
MAX_PLUGIN_BYTES = 400_000_000
ABSENT = "needs torch-tb-profiler, which is not installed: pip install 'costsim[profile]'"


@dataclass(frozen=True)
class OperatorRow:
    """An operator as the plugin counts it: seconds of its own and with what it calls, on the host and the device."""

    name: str
    calls: int
    host_self_s: float
    host_total_s: float
    device_self_s: float | None
    device_total_s: float | None


@dataclass(frozen=True)
class KernelRow:
    """A kernel as the plugin counts it."""

    name: str
    calls: int
    total_s: float
    mean_s: float
    max_s: float
    min_s: float


@dataclass(frozen=True)
class PluginTables:
    """What the plugin says of one trace."""

    operators: tuple[OperatorRow, ...]
    kernels: tuple[KernelRow, ...]
    views: tuple[str, ...]


def installed() -> bool:
    """Whether the plugin is there."""
    return find_spec("torch_tb_profiler") is not None


def plugin_tables(path: Path) -> PluginTables:
    """The plugin's tables of one trace file; BadInput where it is absent, or cannot read the file."""
    if not installed():
        raise BadOption(f"--operators {ABSENT}")
    _refuse_large(path)
    with _quiet_plugin(), tempfile.TemporaryDirectory(prefix="costsim-trace-") as cache:
        # this import first: torch_tb_profiler.run before it is circular
        from torch_tb_profiler.profiler import RunLoader  # noqa: F401
        from torch_tb_profiler.profiler.data import RunProfileData
        from torch_tb_profiler.profiler.run_generator import RunGenerator

        try:
            data = RunProfileData.parse("worker", None, str(path), cache)
            profile = RunGenerator("worker", None, data).generate_run_profile()
        except (Exception, SystemExit) as error:
            text = " ".join(str(error).split())[:120]
            raise Malformed(
                f"trace {path.name}: torch-tb-profiler cannot read it: {type(error).__name__}: {text}"
            ) from None
        operators = tuple(map(_operator, _records(profile.operation_table_by_name)))
        kernels = tuple(map(_kernel, _records(profile.kernel_table)))
        return PluginTables(operators, kernels, tuple(view.display_name for view in profile.views))


@contextmanager
def _quiet_plugin() -> Iterator[None]:
    """Without the plugin's own words: it logs every odd event, and uses what pandas is about to drop."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _refuse_large(path: Path) -> None:
    with open_trace(path) as text:
        while text():
            if text.bytes_read > MAX_PLUGIN_BYTES:
                raise BadOption(
                    f"--operators: trace {path.name} is longer than {MAX_PLUGIN_BYTES:,} bytes, and torch-tb-profiler "
                    "holds all of it in memory; leave the option out"
                )


def _records(table: Any) -> list[Mapping[str, Any]]:
    """Rows of one of the plugin's tables as mappings, whether it lists them so or as columns and rows."""
    if not isinstance(table, Mapping):
        return []
    data = table.get("data")
    if isinstance(data, Mapping):
        names = [str(column.get("name")) for column in data.get("columns", ())]
        return [dict(zip(names, row, strict=False)) for row in data.get("rows", ())]
    return [row for row in data if isinstance(row, Mapping)] if isinstance(data, Sequence) else []


def _seconds(row: Mapping[str, Any], *names: str) -> float | None:
    for name in names:
        if isinstance(row.get(name), (int, float)):
            return float(row[name]) * 1e-6
    return None


def _operator(row: Mapping[str, Any]) -> OperatorRow:
    return OperatorRow(
        printable(str(row.get("name"))), int(row.get("calls") or 0), _seconds(row, "host_self_duration") or 0.0,
        _seconds(row, "host_total_duration") or 0.0, _seconds(row, "device_self_duration"),
        _seconds(row, "device_total_duration"),
    )  # fmt: skip


def _kernel(row: Mapping[str, Any]) -> KernelRow:
    spent = [_seconds(row, f"{kind} Duration (us)") or 0.0 for kind in ("Total", "Mean", "Max", "Min")]
    return KernelRow(printable(str(row.get("Name"))), int(row.get("Calls") or 0), *spent)


def write_logdir(folder: Path, files: Sequence[tuple[Path, int]]) -> list[Path]:
    """Copy traces to ``folder`` as ``<worker>.<time in ms>.pt.trace.json[.gz]``; (file, rank) pairs of one run.

    One time for all ranks: the plugin takes equal times as one span and compares the ranks of it. Raises BadInput
    where the folder cannot be written or a rank occurs twice.
    """
    ranks = [rank for _, rank in files]
    if twice := [rank for rank in ranks if ranks.count(rank) > 1]:
        raise BadOption(f"--tensorboard: rank {twice[0]} occurs twice; give the traces of different ranks of one run")
    if folder.exists() and not folder.is_dir():
        raise CannotWrite(f"--tensorboard {folder}: is not a directory; name one, it is made where it is missing")
    written = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        stamp = max(int(path.stat().st_mtime * 1000) for path, _ in files)
        for path, rank in files:
            target = folder / f"costsim_{rank}.{stamp}.pt.trace.json{'.gz' if _packed(path) else ''}"
            with path.open("rb") as source, replacing(target) as stream:
                shutil.copyfileobj(source, stream)
            written.append(target)
    except OSError as error:
        raise CannotWrite(f"--tensorboard {folder}: cannot be written ({error.strerror or error})") from None
    return written


def _packed(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == b"\x1f\x8b"
