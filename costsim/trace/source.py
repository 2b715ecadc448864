"""A trace file as text, plain or gzip, read piece by piece; what could fill the machine is refused."""

from __future__ import annotations

import codecs
import stat
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from costsim.errors import BadInput, Malformed, UnreadableFile

#: text of one trace; a trace of 1 GB holds about five million events
MAX_TRACE_BYTES = 64_000_000_000
#: profiler JSON shrinks 10 to 40 times; one that grows far beyond that, over what was read of it so far, is no trace
MAX_RATIO, RATIO_FROM_BYTES = 200, 16_000_000
PIECE_BYTES = 1 << 20
_GZIP = b"\x1f\x8b"
_OTHER = {
    b"PK": "a zip archive", b"\x28\xb5\x2f\xfd": "zstd", b"\xfd7zXZ": "xz", b"BZh": "bzip2", b"\xff\xfe": "UTF-16",
}  # fmt: skip


class TraceText:
    """Calls give the next piece of the text and "" at its end. Bytes that are no UTF-8 become �."""

    def __init__(self, raw: BinaryIO, name: str) -> None:
        self.bytes_read = 0
        self.cut = False
        self._raw, self._name = raw, name
        self._packed = raw.read(2) == _GZIP
        raw.seek(0)
        self._inflater = zlib.decompressobj(zlib.MAX_WBITS | 16)
        self._waiting = b""
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")(errors="replace")

    def __call__(self) -> str:
        data = self._unpacked() if self._packed else self._raw.read(PIECE_BYTES)
        self.bytes_read += len(data)
        if self.bytes_read > MAX_TRACE_BYTES:
            raise UnreadableFile(
                f"trace {self._name}: more than {MAX_TRACE_BYTES:,} bytes of text; profile fewer steps"
            )
        if self._packed and self.bytes_read > max(RATIO_FROM_BYTES, MAX_RATIO * self._taken):
            raise Malformed(
                f"trace {self._name}: unpacks to over {MAX_RATIO} times its size, which no profiler's file does"
            )
        return self._decoder.decode(data, final=not data)

    @property
    def _taken(self) -> int:
        """Bytes of the file that have been unpacked so far."""
        return self._raw.tell() - len(self._waiting)

    def _unpacked(self) -> bytes:
        """The next bytes of a gzip file of one or more members; where its end is missing, what there is."""
        try:
            while True:
                if self._inflater.eof:  # another member may follow; zeros that pad the last one do not start any
                    rest = (self._inflater.unused_data + self._raw.read(PIECE_BYTES)).lstrip(b"\0")
                    if not rest:
                        return b""
                    self._inflater, self._waiting = zlib.decompressobj(zlib.MAX_WBITS | 16), rest
                if not self._waiting:
                    self._waiting = self._raw.read(PIECE_BYTES >> 3)
                ended = not self._waiting
                data = self._inflater.decompress(self._waiting, PIECE_BYTES)
                self._waiting = self._inflater.unconsumed_tail
                if data:
                    return data
                if ended and not self._inflater.eof:  # the run was killed while it wrote
                    self.cut = True
                    return b""
        except zlib.error as error:
            raise Malformed(f"trace {self._name}: the gzip data are damaged ({error})") from None


@contextmanager
def open_trace(path: Path) -> Iterator[TraceText]:
    """The text of a trace file, or BadInput where it cannot be read or is another kind of file."""
    try:
        state = path.stat()
        if not stat.S_ISREG(state.st_mode):
            raise UnreadableFile(f"trace {path}: is not a plain file")
        raw = path.open("rb")
    except BadInput:
        raise
    except (OSError, ValueError) as error:
        raise UnreadableFile(f"trace {path}: cannot be read ({getattr(error, 'strerror', None) or error})") from None
    with raw:
        start = raw.read(8)
        raw.seek(0)
        if not start:
            raise Malformed(f"trace {path}: is empty")
        for magic, kind in _OTHER.items():
            if start.startswith(magic):
                raise Malformed(f"trace {path}: is {kind}; give JSON as it is or packed with gzip")
        yield TraceText(raw, path.name)
