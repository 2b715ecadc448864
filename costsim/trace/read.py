"""Read one profiler trace: torch.profiler (Kineto) of any device, Ascend's trace_view, or any Chrome trace.

Kernels, their launches, operators and annotations are kept as columns; stacks, flow arrows, counters and
clock queries are passed over. What cannot be a span (no time, NaN, a negative duration) is left out and counted.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from costsim.errors import Malformed
from costsim.trace.columns import (
    MAX_DETAIL,
    MAX_DETAILS,
    MAX_NAME,
    MAX_NAMES,
    MAX_TRACKS,
    NONE,
    OTHER_NAMES,
    Columns,
    Pool,
    Spans,
)  # fmt: skip
from costsim.trace.json_stream import EventStream
from costsim.trace.recording import Collective, Trace, Track, printable, told_apart_tracks
from costsim.trace.source import open_trace

_KINDS = {
    "kernel": "kernel", "gpu_memcpy": "kernel", "gpu_memset": "kernel", "concurrent_kernel": "kernel",
    "cpu_op": "op", "operator": "op", "user_annotation": "range", "gpu_user_annotation": "device_range",
    "python_function": "", "ac2g": "", "fwdbwd": "", "trace": "", "overhead": "", "cuda_sync": "",
    "cuda_profiler_range": "", "cpu_instant_event": "", "async_npu": "", "enqueue": "", "dequeue": "",
}  # fmt: skip
_LAUNCH = re.compile(r"launch|memcpy|memset", re.IGNORECASE)
#: processes of a trace without categories that are a device and not a host
_DEVICE_PROCESS = re.compile(r"ascend hardware|hccl|^communication|\bnpu\b|\bgpu\b", re.IGNORECASE)
_DERIVED_PROCESS = re.compile(r"overlap analysis|freq|memory|bandwidth|llc|ddr|hbm", re.IGNORECASE)
MAX_US, MAX_DURATION_US = 4e15, 1e14
#: spans this far from the middle one are strays of a profiler's clock, not part of the run
MAX_SPREAD_S = 15 * 86400.0
_MAX_OPEN = 10_000


def read_trace(path: Path) -> Trace:
    """The spans of one trace file; BadInput with one line where it is none or holds no span."""
    with open_trace(path) as text:
        stream = EventStream(text, path.name)
        reader = _Reader(path.name)
        take = reader.take
        for event in stream:
            take(event)
        cut = text.cut or stream.truncated
    if stream.mended:
        reader.dropped["events mended (bare NaN or stray backslashes)"] = stream.mended
    return reader.trace(path, stream.header, cut)


class _Reader:
    """Events to columns."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.columns = {kind: Columns() for kind in ("kernel", "launch", "op", "range", "device_range", "plain")}
        self.names, self.details, self.tracks = Pool(MAX_NAMES), Pool(MAX_DETAILS), Pool(MAX_TRACKS)
        self.names.number("", OTHER_NAMES)
        self.dropped: Counter[str] = Counter()
        self.process: dict[str, str] = {}
        self.thread: dict[str, str] = {}
        self._kinds: dict[str, str] = dict(_KINDS)
        self._launches: dict[int, bool] = {}
        self._open: dict[str, list[dict[str, Any]]] = {}
        self._base: int | None = None

    def take(self, event: Any) -> None:
        """One event of the file, whatever it holds."""
        if type(event) is not dict:
            self.dropped["events that are no object"] += event is not None
            return
        phase = event.get("ph")
        if phase == "X":
            self._span(event, event.get("dur"))
        elif phase == "M":
            self._metadata(event)
        elif phase == "B" or phase == "E":
            self._half(event, phase)

    def _half(self, event: dict[str, Any], phase: str) -> None:
        """A begin or an end: pairs on one thread make a span."""
        stack = self._open.setdefault(f"{event.get('pid')}/{event.get('tid')}"[:MAX_NAME], [])
        if phase == "B":
            if len(stack) >= _MAX_OPEN or len(self._open) > MAX_TRACKS:
                raise Malformed(
                    f"trace {self._name}: more than {_MAX_OPEN:,} spans are open at once; this is no profiler's trace"
                )
            stack.append(event)
        elif not stack:
            self.dropped["ends without a begin"] += 1
        else:
            begin = stack.pop()
            start, end = self._microseconds(begin.get("ts")), self._microseconds(event.get("ts"))
            self._span(begin, None if start is None or end is None else end - start)

    def _metadata(self, event: dict[str, Any]) -> None:
        args = event.get("args")
        name = args.get("name") if isinstance(args, dict) else None
        if not isinstance(name, str) or len(self.process) + len(self.thread) > MAX_TRACKS:
            return
        pid = str(event.get("pid"))[:MAX_NAME]
        if event.get("name") == "process_name":
            self.process[pid] = printable(name)
        elif event.get("name") == "thread_name":
            self.thread[f"{pid}/{event.get('tid')}"[:MAX_NAME]] = printable(name)

    def _span(self, event: dict[str, Any], duration: Any) -> None:
        cat, name = event.get("cat"), event.get("name")
        kind = self._kinds.get(cat) if type(cat) is str else "plain"
        if kind is None:
            kind = self._kind(str(cat))
        if not kind:
            return
        if type(name) is not str:
            self.dropped["spans without a name"] += 1
            return
        number = self.names.number(name[:MAX_NAME], None)
        if number > 0 and self.names.values[number] is None:
            self.names.values[number] = printable(name[:MAX_NAME])
        number = max(number, 0)
        if kind == "launch" and not self._launches.setdefault(number, bool(_LAUNCH.search(name[:MAX_NAME]))):
            return
        start, length = self._microseconds(event.get("ts")), _number(duration)
        if start is None or length is None:
            self.dropped["spans without a start or a duration"] += 1
        elif length < 0:
            self.dropped["spans of negative duration"] += 1
        elif abs(start) > MAX_US or length > MAX_DURATION_US:
            self.dropped["spans of an impossible time"] += 1
        else:
            args = event.get("args")
            self._keep(kind, number, event, args if type(args) is dict else {}, start, length)

    def _keep(
        self, kind: str, name: int, event: dict[str, Any], args: dict[str, Any], start: float, length: float
    ) -> None:
        pid, tid, detail, blocks = event.get("pid"), event.get("tid"), NONE, 0
        on_device = kind in ("kernel", "device_range")
        if on_device:
            pid, tid = args.get("device", pid), args.get("stream", tid)
            blocks = _blocks(args.get("grid"))
        if "Collective name" in args or "Input Dims" in args:
            detail = self._detail(args)
        key = f"{'d' if on_device else 'h'}/{pid}/{tid}"[:MAX_NAME]
        track = self.tracks.number(key, key)
        if track == NONE:
            raise Malformed(
                f"trace {self._name}: more than {MAX_TRACKS:,} threads and streams; this is no profiler's trace"
            )
        self.columns[kind].add(
            name, track, start, length, _index(args.get("correlation")), _index(args.get("External id")), detail, blocks
        )

    def _detail(self, args: dict[str, Any]) -> int:
        if "Collective name" in args:
            value: Any = _collective(args)
        else:
            value = (args.get("Input Dims"), args.get("Input type"), args.get("Concrete Inputs"))
        key = repr(value)
        return NONE if len(key) > MAX_DETAIL else self.details.number(key, value)

    def _kind(self, cat: str) -> str:
        low = cat.lower()
        kind = _KINDS.get(low, "launch" if low.endswith(("_runtime", "_driver")) else "plain")
        if len(self._kinds) < 10_000:
            self._kinds[cat] = kind
        return kind

    def _microseconds(self, value: Any) -> float | None:
        """A time as microseconds from the first one: whole ones are subtracted before they lose digits."""
        part = 0.0
        if type(value) is str:  # Ascend writes "1740461679479712.125"
            whole, _, rest = value[:60].strip().partition(".")
            if not re.fullmatch(r"-?\d{1,18}", whole, re.ASCII) or (rest and not re.fullmatch(r"\d+", rest, re.ASCII)):
                return None
            value, part = int(whole), float(f"0.{rest or 0}")
        if type(value) is float and math.isfinite(value) and abs(value) < MAX_US:
            value, part = int(value // 1), value % 1
        if type(value) is not int or abs(value) > MAX_US:
            return None
        if self._base is None:
            self._base = value
        return value - self._base + part

    def trace(self, path: Path, header: dict[str, Any], cut: bool) -> Trace:
        """What was read, with spans sorted to kernels, launches, operators and annotations."""
        starts = next((start for columns in self.columns.values() if (start := columns.starts_us()).size), None)
        if starts is None:
            lost = f" ({_counted(self.dropped)})" if self.dropped else ""
            raise Malformed(f"trace {path.name}: holds no span with a start and a duration{lost}")
        tracks = told_apart_tracks([self._track(key) for key in self.tracks.values])
        # from the first kernel that is no stray, so that a start of 0 costs no digits; then strays are dropped
        middle = float(np.partition(starts, starts.size // 2)[starts.size // 2])  # one of them, also of two
        zero = float(np.min(starts[np.abs(starts - middle) < MAX_SPREAD_S * 1e6]))
        del starts
        shift_s = (middle - zero) * 1e-6
        # one kind after the other, so that no two copies of all spans are held
        found = {kind: self._kept(self.columns.pop(kind).spans(zero), shift_s) for kind in tuple(self.columns)}
        on_device = np.array([bool(_DEVICE_PROCESS.search(track.host_process)) for track in tracks])
        derived = np.array([bool(_DERIVED_PROCESS.search(track.host_process)) for track in tracks])
        plain = found["plain"]
        of_device, of_host = on_device[plain.track], ~on_device[plain.track] & ~derived[plain.track]
        notes = [f"Left out: {_counted(self.dropped)}"] if self.dropped else []
        if cut:
            notes.append("The file breaks off before its end; what stands before counts.")
        rank, world, devices = _facts(header)
        return Trace(
            path.name, _rank_in(path.name) if rank is None else rank, world, devices, tuple(self.names.values), tracks,
            tuple(self.details.values), Spans.joined(found["kernel"], plain.where(of_device)), found["launch"],
            Spans.joined(found["op"], plain.where(of_host)), found["range"], found["device_range"], tuple(notes),
        )  # fmt: skip

    def _kept(self, spans: Spans, middle_s: float) -> Spans:
        """Without strays of a profiler's clock (a start of 0 among dates)."""
        near = np.abs(spans.start_s - middle_s) < MAX_SPREAD_S
        self.dropped["spans far from the others in time"] += int(np.sum(~near))
        self.dropped = +self.dropped
        return spans.where(near) if not near.all() else spans

    def _track(self, key: str) -> Track:
        kind, _, place = key.partition("/")
        pid, _, tid = place.partition("/")
        process = self.process.get(pid, "")
        thread = tid if kind == "d" else self.thread.get(place, f"thread {tid}")
        device = kind == "d" or bool(_DEVICE_PROCESS.search(process))
        return Track(printable(pid), printable(thread), device, process)


def _number(value: Any) -> float | None:
    if type(value) is str and re.fullmatch(r"-?\d{1,18}(?:\.\d{0,30})?", value.strip(), re.ASCII):
        return float(value)
    if type(value) is int:
        return float(value) if abs(value) < 1e300 else 1e300 if value > 0 else -1e300
    return value if type(value) is float and math.isfinite(value) else None


def _index(value: Any) -> int:
    return value if type(value) is int and 0 <= value < 2**62 else NONE


def _blocks(grid: Any) -> int:
    if type(grid) is not list or len(grid) != 3 or not all(type(n) is int and 0 < n < 2**31 for n in grid):
        return 0
    return int(min(math.prod(grid), 2**31 - 1))


def _collective(args: dict[str, Any]) -> Collective:
    counts = [_number(args.get(key)) or 0.0 for key in ("In msg nelems", "Out msg nelems", "Group size")]
    counts = [min(max(count, 0.0), 1e15) for count in counts]
    texts = [printable(str(args.get(key) or ""))[:80] for key in ("Collective name", "dtype", "Process Group Name")]
    return Collective(texts[0], counts[0], counts[1], texts[1], int(counts[2]), texts[2])


def _facts(header: dict[str, Any]) -> tuple[int | None, int | None, tuple[str, ...]]:
    """Rank, world size and device names that the profiler wrote beside the events."""
    info = header.get("distributedInfo")
    info = info if isinstance(info, dict) else {}
    rank, world = (_index(info.get(key)) for key in ("rank", "world_size"))
    listed = header.get("deviceProperties")
    devices = [printable(d["name"]) for d in listed[:64] if isinstance(d, dict) and isinstance(d.get("name"), str)] \
        if isinstance(listed, list) else []  # fmt: skip
    return (None if rank == NONE else rank), (None if world == NONE else world), tuple(devices)


def _rank_in(name: str) -> int | None:
    """``rank3.json.gz`` or ``trace_rank-3.json`` → 3."""
    found = re.search(r"rank[-_.]?(\d{1,6})(?!\d)", name, re.IGNORECASE)
    return None if found is None else int(found.group(1))


def _counted(dropped: Counter[str]) -> str:
    return ", ".join(f"{count:,} {what}" for what, count in dropped.most_common(6))
