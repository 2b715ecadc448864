"""Reading traces: the streaming parser against json, hostile and damaged files, bounded memory."""

from __future__ import annotations

import gzip
import io
import json
import random
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from costsim.errors import BadInput
from costsim.trace import json_stream
from costsim.trace.json_stream import EventStream
from costsim.trace.read import read_trace
from costsim.trace.recording import Trace
from costsim.trace.source import open_trace

text = st.text(st.characters(codec="utf-8"), max_size=12) | st.sampled_from(['"', "\\", "}]", "é漢", "\n", '\\"'])
scalar = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | text
value = st.recursive(scalar, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3))


def stream_of(document: str, piece: int) -> EventStream:
    file = io.StringIO(document, newline="")
    return EventStream(lambda: file.read(piece), "test")


def kernel(start: Any, duration: Any, name: Any = "k", stream: int = 7, **more: Any) -> dict[str, Any]:
    args = {"device": 0, "stream": stream}
    return {
        "ph": "X",
        "cat": "kernel",
        "name": name,
        "pid": 0,
        "tid": stream,
        "ts": start,
        "dur": duration,
        "args": args,
    } | more


def read(folder: Path, document: Any, name: str = "t.json") -> Trace:
    path = folder / name
    path.write_bytes(document if isinstance(document, bytes) else json.dumps(document).encode())
    return read_trace(path)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(value, max_size=6), st.dictionaries(text, value, max_size=4), st.integers(1, 40),
    st.sampled_from([None, 1, 2]), st.booleans(),
)  # fmt: skip
def test_events_are_those_of_json(
    events: list[Any], around: dict[str, Any], piece: int, indent: int | None, bare: bool
) -> None:
    """Any document, cut into pieces anywhere, gives what json.loads gives."""
    document = events if bare else {**around, "traceEvents": events, "traceName": "after"}
    stream = stream_of(json.dumps(document, indent=indent, ensure_ascii=piece % 2 == 0), piece)
    # a piece of this size would hold all of it: make the parser ask again
    json_stream_piece, json_stream.PIECE = json_stream.PIECE, piece
    try:
        assert list(stream) == events
    finally:
        json_stream.PIECE = json_stream_piece
    if not bare:
        assert stream.header == {"traceName": "after"} | {
            key: item for key, item in around.items() if key in json_stream.HEADER_KEYS and key != "traceName"
        }
    assert not stream.truncated


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ("", "is empty"), ("hello", "array of events"), ("{}", "has no traceEvents"), ("\0\0", "array of events"),
        ('{"a": [1, {"b": 2}]}', "no traceEvents"),
        ('{"traceEvents": 3}', "has no traceEvents"), ('{"traceEvents": [{"ph" 3}]}', "cannot be read"),
        ('{"traceEvents": [}', "cannot be read"), ("[" * 200_000, "too deep"), ('[{"a":' * 100_000, "too deep"),
        ('[{"ph": "X", "ts": ' + "9" * 5000 + "}]", "cannot be read"),
        ("[]", "holds no span"), ("[1, 2, null]", "no span"),
        ('{"traceEvents": []}', "holds no span"), ("PK\x03\x04", "zip archive"),
    ],
)  # fmt: skip
def test_what_is_no_trace_is_refused_with_one_line(tmp_path: Path, document: str, says: str) -> None:
    with pytest.raises(BadInput, match=says) as caught:
        read(tmp_path, document.encode())
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


def test_a_large_value_is_refused_and_a_large_header_stepped_over(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="more than 4,000,000 characters"):
        read(tmp_path, b'[{"ph": "X", "name": "' + b"x" * 9_000_000 + b'"}]')
    frames = (
        b'{"stackFrames": {"1": "' + b'\\"[{' * 2_000_000 + b'"}, "traceEvents": [' + json.dumps(kernel(1, 2)).encode()
    )
    tracemalloc.start()
    trace = read(tmp_path, frames + b"]}")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(trace.kernels) == 1
    assert peak < 25e6


def test_a_packed_bomb_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bomb.json.gz"
    with gzip.open(path, "wb", compresslevel=9) as file:
        file.write(b'{"traceEvents": [')
        for _ in range(120):
            file.write(b" " * 1_000_000)
    with pytest.raises(BadInput, match="200 times its size"):
        read_trace(path)


def test_a_packed_bomb_of_events_is_refused_early(tmp_path: Path) -> None:
    """By what was unpacked so far, not by the size of the file: 200 MB would take long to parse."""
    path = tmp_path / "bomb.json.gz"
    events = json.dumps(kernel(1, 2, "k")).encode() + b","
    with gzip.open(path, "wb", compresslevel=9) as file:
        file.write(b'{"traceEvents": [')
        for _ in range(100):
            file.write(events * (2_000_000 // len(events)))
        file.write(random.Random(0).randbytes(3_000_000))  # what comes later does not lower the ratio
    with open_trace(path) as text:
        with pytest.raises(BadInput, match="200 times its size"):
            list(iter(text, ""))
        assert text.bytes_read < 20_000_000


def test_a_folder_is_named_once(tmp_path: Path) -> None:
    with pytest.raises(BadInput) as caught:
        read_trace(tmp_path)
    assert str(caught.value) == f"trace {tmp_path}: is not a plain file"


def test_damaged_gzip_and_missing_files(tmp_path: Path) -> None:
    whole = gzip.compress(json.dumps([kernel(n, 1, f"kernel {n * 7919 % 997}") for n in range(3000)]).encode())
    assert len(read(tmp_path, whole, "a.json.gz").kernels) == 3000
    cut = read(tmp_path, whole[: len(whole) // 2], "b.json.gz")
    assert 0 < len(cut.kernels) < 3000
    assert any("breaks off" in note for note in cut.notes)
    broken = bytearray(whole)
    broken[len(broken) // 2 : len(broken) // 2 + 40] = b"\0" * 40
    with pytest.raises(BadInput):
        read(tmp_path, bytes(broken), "c.json.gz")
    with pytest.raises(BadInput, match="No such file"):
        read_trace(tmp_path / "none.json")
    with pytest.raises(BadInput, match="not a plain file"):
        read_trace(tmp_path)


def test_a_file_that_breaks_off_is_read_up_to_there(tmp_path: Path) -> None:
    events = json.dumps([kernel(10, 5), kernel(20, 5), kernel(30, 5)])
    trace = read(tmp_path, events[: events.rindex("30") - 6].encode())
    assert len(trace.kernels) == 2
    assert any("breaks off" in note for note in trace.notes)


def test_hostile_spans_are_left_out_and_counted(tmp_path: Path) -> None:
    good = [kernel(100, 10), kernel("115.25", "2.5"), kernel(130.5, 0)]
    bad = [
        kernel(float("nan"), 1), kernel(1, float("inf")), kernel(140, -3), kernel(None, 1), kernel(150, None),
        kernel(10**400, 1),
        kernel(1, 10**30), kernel([], {}), kernel(True, 1), kernel(1, 1, name=7), kernel(1, 1, name=None), "text", 7,
        kernel("12; DROP", 1), kernel("1e5", 1), {"ph": "X"}, {"ph": "E", "ts": 1}, {"ph": 3}, kernel(0, 1),
        kernel(160, 1, args=[1]), kernel(170, 1, args={"correlation": 10**60, "External id": "x", "grid": [0, -1]}),
    ]  # fmt: skip
    shifted = [{**event, "ts": event["ts"]} for event in good]
    trace = read(tmp_path, {"traceEvents": shifted + bad})
    assert sorted(trace.kernels.time_s.tolist()) == pytest.approx([0, 1e-6, 1e-6, 1e-6, 2.5e-6, 1e-5])
    assert trace.kernels.correlation.tolist() == [-1] * 6
    assert "negative duration" in trace.notes[0]


def test_html_and_control_characters_in_names(tmp_path: Path) -> None:
    trace = read(tmp_path, [kernel(1, 2, "<script>alert(1)</script>\x1b[31m\u202e"), kernel(4, 1, "\ud800")])
    assert "<script>alert(1)</script>?[31m?" in trace.names
    assert all(name.isprintable() for name in trace.names)


def test_bare_nan_and_stray_backslashes_are_mended(tmp_path: Path) -> None:
    first = (
        json.dumps(kernel(1, 2, "C:?path"))
        .replace("?", "\\q")
        .replace('"stream": 7', '"stream": 7, "rate": -nan, "x": inf')
    )
    trace = read(tmp_path, f"[{first}, {json.dumps(kernel(5, 2))}]".encode())
    assert len(trace.kernels) == 2
    assert "C:\\qpath" in trace.names
    assert "mended" in trace.notes[0]


def test_begin_and_end_pairs_make_spans(tmp_path: Path) -> None:
    pairs = [("B", "outer", 0), ("B", "inner", 10), ("E", "inner", 30), ("E", "outer", 100)]
    events = [{"ph": ph, "name": name, "pid": 1, "tid": 2, "ts": ts} for ph, name, ts in pairs]
    trace = read(tmp_path, events)
    assert dict(zip((trace.names[n] for n in trace.ops.name), trace.ops.time_s.tolist(), strict=True)) == pytest.approx(
        {"outer": 100e-6, "inner": 20e-6}
    )


def test_times_keep_nanoseconds_beside_dates(tmp_path: Path) -> None:
    base = 1_740_461_679_479_712
    trace = read(tmp_path, [kernel(base, 1), kernel(f"{base + 1000}.125", 1), kernel(base + 2000, 1)])
    assert trace.kernels.start_s.tolist() == pytest.approx([0, 1000.125e-6, 2000e-6], abs=1e-12)


def test_a_stray_clock_does_not_stretch_the_run(tmp_path: Path) -> None:
    base = 1_740_461_679_479_712
    trace = read(tmp_path, [kernel(base, 5), kernel(0, 5), kernel(base + 50, 5), kernel(base + 60, 5)])
    assert len(trace.kernels) == 3
    assert trace.kernels.end_s.max() - trace.kernels.start_s.min() == pytest.approx(65e-6)
    assert "far from the others" in trace.notes[0]
    assert len(read(tmp_path, [kernel(0, 5), kernel(base, 5)]).kernels) == 1, "of two, one is kept"


def test_rank_and_world_come_from_the_file_or_its_name(tmp_path: Path) -> None:
    events = [kernel(1, 2)]
    trace = read(tmp_path, {"distributedInfo": {"rank": 3, "world_size": 8}, "traceEvents": events})
    assert (trace.rank, trace.world) == (3, 8)
    assert read(tmp_path, events, "run_rank-12.json").rank == 12
    assert read(tmp_path, {"distributedInfo": [1], "traceEvents": events}).rank is None


def test_streams_of_two_devices_have_two_names(tmp_path: Path) -> None:
    trace = read(tmp_path, [kernel(1, 2), kernel(1, 3, args={"device": 1, "stream": 7}), kernel(5, 1, stream=9)])
    assert sorted(track.label for track in trace.tracks) == ["stream 7, device 0", "stream 7, device 1", "stream 9"]


def test_memory_follows_what_is_kept_and_not_the_file(tmp_path: Path) -> None:
    """60 MB of text, most of it stacks and clock queries: less than a fifth is ever in memory."""
    path = tmp_path / "long.json"
    noise = {
        "ph": "X",
        "cat": "python_function",
        "name": "f",
        "pid": 1,
        "tid": 1,
        "ts": 5,
        "dur": 1,
        "args": {"s": "y" * 900},
    }
    query = {"ph": "X", "cat": "cuda_runtime", "name": "cudaEventQuery", "pid": 1, "tid": 1, "ts": 5, "dur": 1,
             "args": {"correlation": 3}}  # fmt: skip
    block = ",".join(json.dumps(event) for event in [noise, query] * 40 + [kernel(7, 2), kernel(20, 2)])
    with path.open("w", encoding="utf-8") as file:
        file.write("[" + block)
        while file.tell() < 60_000_000:
            file.write("," + block)
        file.write("]")
    tracemalloc.start()
    trace = read_trace(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(trace.kernels) > 2000
    assert peak < 12e6, f"{peak / 1e6:.0f} MB for a file of 60 MB"
