"""Recorded loads: CSV and JSON-lines traces, plain or gzipped, with prefix hashes where they have them.

| form | recognised by | columns |
|---|---|---|
| own | ``arrival_s`` | arrival_s, isl, osl, optional priority |
| Azure 2023 | ``TIMESTAMP`` | TIMESTAMP, ContextTokens, GeneratedTokens [azure-llm-2023] |
| Mooncake | ``timestamp`` (ms) | timestamp, input_length, output_length, hash_ids of 512-token blocks [mooncake] |

Files are data: read line by line, bounded in bytes and rows, never evaluated.
"""

from __future__ import annotations

import csv
import gzip
import json
import math
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from costsim.errors import Malformed, UnreadableFile
from costsim.serving.request import MAX_TOKENS, Requests

#: most that is read of a trace, after unpacking
MAX_BYTES, MAX_ROWS, MAX_LINE = 2_000_000_000, 5_000_000, 1_000_000
MAX_BLOCKS = 4096
MAX_PRIORITY = 1_000_000
_MOONCAKE_BLOCK = 512

Row = Mapping[str, Any]


@dataclass
class _Columns:
    """What has been read so far."""

    arrival_s: list[float] = field(default_factory=list)
    isl: list[int] = field(default_factory=list)
    osl: list[int] = field(default_factory=list)
    priority: list[int] = field(default_factory=list)
    blocks: list[list[int]] = field(default_factory=list)


def read_trace(path: Path) -> Requests:
    """The requests of a trace in order of arrival, the first at time zero.

    Raises BadInput with file, line and field for what is not understood, too long, or not a number.
    """
    columns = _Columns()
    reader: Callable[[Row, str, _Columns], None] | None = None
    number = 0
    for number, row in _rows(path):
        where = f"{path.name} line {number}"
        if reader is None:
            reader = _form(row, where)
        if len(columns.isl) >= MAX_ROWS:
            raise Malformed(f"{path.name}: more than {MAX_ROWS:,} requests")
        reader(row, where, columns)
    if not columns.isl:
        raise Malformed(f"{path.name}: no requests")
    return _requests(columns)


def _requests(columns: _Columns) -> Requests:
    arrival = np.array(columns.arrival_s)
    order = np.argsort(arrival, kind="stable")
    arrival = arrival[order]
    return Requests(
        arrival - arrival[0],
        np.array(columns.isl, dtype=np.int64)[order],
        np.array(columns.osl, dtype=np.int64)[order],
        blocks=[columns.blocks[i] for i in order] if columns.blocks else None,
        block_tokens=_MOONCAKE_BLOCK,
        priority=np.array(columns.priority, dtype=np.int64)[order] if any(columns.priority) else None,
    )


def _lines(path: Path) -> Iterator[str]:
    """Lines of a plain or gzipped file, within the bounds."""
    total = 0
    try:
        with (
            gzip.open(path, "rt", encoding="utf-8-sig")
            if path.suffix == ".gz"
            else path.open(encoding="utf-8-sig") as file
        ):
            while line := file.readline(MAX_LINE):
                total += len(line)
                if len(line) >= MAX_LINE or total > MAX_BYTES:
                    raise Malformed(f"{path.name}: a line or the whole is longer than a trace may be")
                yield line
    except (OSError, EOFError, zlib.error) as error:
        raise UnreadableFile(f"trace {path}: cannot be read ({getattr(error, 'strerror', None) or error})") from None
    except UnicodeDecodeError:
        raise Malformed(f"trace {path}: not UTF-8 text") from None


def _rows(path: Path) -> Iterator[tuple[int, Row]]:
    """(line number, fields) of each request."""
    if not path.is_file():
        raise UnreadableFile(f"trace {path}: no such file")
    name = path.name.removesuffix(".gz")
    if name.endswith(".jsonl"):
        for number, line in enumerate(_lines(path), start=1):
            if line.strip():
                yield number, _json(line, f"{path.name} line {number}")
    elif name.endswith(".csv"):
        reader = csv.DictReader(_lines(path))
        try:
            for row in reader:
                yield reader.line_num, row
        except csv.Error as error:
            raise Malformed(f"{path.name} line {reader.line_num}: {error}") from None
    else:
        raise Malformed(f"trace {path.name}: must end in .csv or .jsonl (or either with .gz)")


def _json(line: str, where: str) -> Row:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        raise Malformed(f"{where}: not JSON") from None
    if not isinstance(row, dict):
        raise Malformed(f"{where}: one object a line is expected")
    return row


def _form(row: Row, where: str) -> Callable[[Row, str, _Columns], None]:
    """How this file's rows are read, by the first one's fields."""
    for key, reader in (("arrival_s", _own), ("TIMESTAMP", _azure), ("timestamp", _mooncake)):
        if key in row:
            return reader
    raise Malformed(f"{where}: no column arrival_s (seconds), TIMESTAMP (Azure) or timestamp (Mooncake, ms)")


def _number(row: Row, name: str, where: str) -> float:
    value = row.get(name)
    try:
        number = float(value) if not isinstance(value, bool) else math.nan  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise Malformed(f"{where}: {name} = {str(value)[:40]!r} is not a number")
    return number


def _tokens(row: Row, name: str, where: str) -> int:
    number = _number(row, name, where)
    if not 0 <= number <= MAX_TOKENS:
        raise Malformed(f"{where}: {name} = {number:g} must be from 1 to {MAX_TOKENS:,}")
    return max(1, round(number))  # traces hold a few empty answers; an engine makes at least one token


def _own(row: Row, where: str, columns: _Columns) -> None:
    columns.arrival_s.append(_number(row, "arrival_s", where))
    columns.isl.append(_tokens(row, "isl", where))
    columns.osl.append(_tokens(row, "osl", where))
    columns.priority.append(_priority(row, where))


def _priority(row: Row, where: str) -> int:
    if row.get("priority") in (None, ""):
        return 0
    number = _number(row, "priority", where)
    if abs(number) > MAX_PRIORITY:
        raise Malformed(f"{where}: priority = {number:g} must be from {-MAX_PRIORITY:,} to {MAX_PRIORITY:,}")
    return round(number)


def _azure(row: Row, where: str, columns: _Columns) -> None:
    stamp = str(row.get("TIMESTAMP"))
    try:
        # Seven digits of a second are one more than Python reads.
        columns.arrival_s.append(datetime.fromisoformat(stamp.strip()[:26]).timestamp())
    except (ValueError, OverflowError, OSError):
        raise Malformed(f"{where}: TIMESTAMP = {stamp[:40]!r} is not a date and time") from None
    columns.isl.append(_tokens(row, "ContextTokens", where))
    columns.osl.append(_tokens(row, "GeneratedTokens", where))


def _mooncake(row: Row, where: str, columns: _Columns) -> None:
    columns.arrival_s.append(_number(row, "timestamp", where) / 1000.0)
    columns.isl.append(_tokens(row, "input_length", where))
    columns.osl.append(_tokens(row, "output_length", where))
    blocks = row.get("hash_ids", [])
    if not isinstance(blocks, list) or len(blocks) > MAX_BLOCKS or not all(type(b) is int for b in blocks):
        raise Malformed(f"{where}: hash_ids must be a list of at most {MAX_BLOCKS:,} whole numbers")
    columns.blocks.append(blocks)
