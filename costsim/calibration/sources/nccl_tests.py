"""Output of nccl-tests (and rccl-tests): the printed table or the file of ``-J``.

Times are out of place. Which collective and how many ranks ran is taken from the header lines, the
devices or the JSON's ``config``; where a log holds neither, give ``collective`` and ``ranks``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from costsim.calibration.measurement import Measurement
from costsim.calibration.sources.text import number, read_log, read_object
from costsim.errors import Malformed, OutOfRange

#: program name before ``_perf`` → our family
COLLECTIVES = {
    "all_reduce": "all_reduce", "all_gather": "all_gather", "reduce_scatter": "reduce_scatter",
    "alltoall": "all_to_all", "sendrecv": "p2p",
}  # fmt: skip
_PROGRAM = re.compile(r"\b(all_reduce|all_gather|reduce_scatter|alltoall|sendrecv)_perf")
_DEVICE = re.compile(r"^#\s+Rank\s+(\d+)\b.*?\bon\s+(\S+)\s+device")
_PROCESS = re.compile(r"^#\s*nThread\s+(\d+)\s+nGpus\s+(\d+)")
_US = 1e-6
#: ranks of one run; more is a broken header
MAX_RANKS = 10_000_000


def read(path: Path, collective: str = "", ranks: int = 0, domain: int = 0, source: str = "") -> list[Measurement]:
    """The measured sizes of one run. ``domain``: ranks that share the scale-up fabric (default: ranks of a host).

    Raises BadInput, with the line, for a table that is not nccl-tests'.
    """
    text = read_log(path, "nccl-tests output")
    where = path.name
    as_json = text.lstrip().startswith("{")
    document = read_object(text, where) if as_json else {}
    kind = _kind(text, collective, where)
    hosts = _hosts_json(document) if as_json else _hosts(text)
    total = ranks or sum(hosts.values())
    if total < 2:
        raise OutOfRange(f"{where}: how many ranks ran is not in the file; give ranks (at least 2)")
    if total > MAX_RANKS:
        raise OutOfRange(f"{where}: {total:,} ranks ran by its header; at most {MAX_RANKS:,} are read")
    inside = domain or max([*hosts.values(), 0]) or total
    table = _rows_json(document, where) if as_json else _rows(text, where)
    rows = [_measurement(kind, size, time_s, total, inside, source or where) for size, time_s in table]
    if not rows:
        raise Malformed(f"{where}: no measured size; expected lines of `size count type redop root time algbw busbw`")
    return rows


def _kind(text: str, given: str, where: str) -> str:
    if given:
        name = given.removesuffix("_perf")
        if name not in COLLECTIVES and name not in COLLECTIVES.values():
            raise OutOfRange(f"collective {given[:40]!r} is not read; known: {', '.join(COLLECTIVES)}")
        return COLLECTIVES.get(name, name)
    found = {match.group(1) for match in _PROGRAM.finditer(text)}
    if len(found) != 1:
        what = "names no nccl-tests program" if not found else f"names several programs ({', '.join(sorted(found))})"
        raise Malformed(f"{where}: {what}; give collective, one of {', '.join(COLLECTIVES)}")
    return COLLECTIVES[found.pop()]


def _hosts(text: str) -> dict[str, int]:
    """Ranks by host, from the list of devices, else from the line of threads and GPUs of one process."""
    hosts: dict[str, int] = {}
    for line in text.splitlines():
        if match := _DEVICE.match(line):
            hosts[match.group(2)] = hosts.get(match.group(2), 0) + 1
    if not hosts:
        for line in text.splitlines():
            if match := _PROCESS.match(line):
                return {"": int(match.group(1)[:9]) * int(match.group(2)[:9])}
    return hosts


def _hosts_json(document: dict[str, Any]) -> dict[str, int]:
    """The same from the JSON's ``config``; a build without MPI lists one device and tells threads × GPUs."""
    config = document.get("config")
    if not isinstance(config, dict):
        return {}
    listed = config.get("devices")
    devices = [d for d in listed if isinstance(d, dict)] if isinstance(listed, list) else []
    hosts: dict[str, int] = {}
    for device in devices:
        name = str(device.get("hostname", device.get("host", "")))
        hosts[name] = hosts.get(name, 0) + 1
    if len(devices) <= 1:
        threads, gpus = (number(config.get(key, 0), key, "config") for key in ("nthreads", "ngpus"))
        return {"": int(min(threads * gpus, MAX_RANKS + 1))}
    return hosts


def _rows(text: str, where: str) -> Iterator[tuple[float, float]]:
    """(bytes, seconds) of each line of the printed table; its header names the columns."""
    column = 5
    for count, line in enumerate(text.splitlines(), start=1):
        words = line.lstrip("#").split()
        if line.lstrip().startswith("#"):
            if words[:2] == ["size", "count"]:
                names = ["time" if word == "cputime" else word for word in words]
                if "time" not in names:
                    raise Malformed(f"{where} line {count}: the table's header has no column `time`")
                column = names.index("time")
            continue
        if len(words) < column + 3 or not words[0].isdigit():
            continue
        place = f"{where} line {count}"
        size, time_us = number(words[0], "size", place), number(words[column], "time", place, positive=True)
        algbw = number(words[column + 1], "algbw", place)
        if algbw >= 1 and not 0.9 < size / (time_us * 1e3) / algbw < 1.1:
            raise Malformed(
                f"{place}: size / time is not algbw ({words[column + 1]} GB/s); columns are not nccl-tests'"
            )
        if size > 0:
            yield size, time_us * _US


def _rows_json(document: dict[str, Any], where: str) -> Iterator[tuple[float, float]]:
    results = document.get("results")
    if not isinstance(results, list):
        raise Malformed(f"{where}: no list `results`; expected the file that nccl-tests writes with -J")
    for index, row in enumerate(results):
        place = f"{where} results[{index}]"
        body = (row.get("out_of_place") or row.get("in_place")) if isinstance(row, dict) else None
        if not isinstance(body, dict):
            raise Malformed(f"{place}: neither out_of_place nor in_place")
        size = number(row.get("size"), "size", place)
        time_us = number(body.get("time", body.get("cpu_time")), "time", place, positive=True)
        if size > 0:
            yield size, time_us * _US


def _measurement(kind: str, size: float, time_s: float, ranks: int, domain: int, source: str) -> Measurement:
    inside = min(ranks, domain)
    up, out = size, size
    if kind == "all_to_all":
        # Sent as it is, by fabric; the ring collectives' laws take the whole buffer.
        up, out = size * (inside - 1) / ranks, size * (ranks - inside) / ranks
    wire = {"up_bytes": up, "out_bytes": out, "ranks": float(ranks), "domain": float(domain)}
    return Measurement(kind, "bytes", time_s, source, wire=wire)
