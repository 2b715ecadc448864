"""Files of users: read whole within bounds, written whole or not at all. Nothing here knows what is in them.

A reader never blocks on a pipe, never trusts a size that a file claims, and turns every failure into BadInput.
A writer replaces: until the new file is complete the old one stands, and a run that is killed leaves that one.
"""

from __future__ import annotations

import json
import math
import os
import re
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from costsim.errors import BadInput, CannotWrite, Malformed, UnreadableFile

#: Largest TOML or JSON file read as a specification; the shipped ones are under 10 kB.
MAX_SPEC_BYTES = 1_000_000
#: digits of a whole number that a float can hold
MAX_DIGITS = 305
#: parts of a TOML key, a.b.c
MAX_KEY_PARTS = 100
#: of an array; numpy has 64
MAX_DIMENSIONS = 8
#: what a killed run leaves under such a name is swept away by a later one
_PREFIX, _SUFFIX, _STALE_S = ".costsim-", ".tmp", 3600.0
_swept: set[Path] = set()


def read_bytes(path: Path, what: str, most: int = MAX_SPEC_BYTES) -> bytes:
    """The content of a plain file of at most ``most`` bytes, or BadInput. What the file system says of it is not
    believed: files under ``/proc`` say 0 and have no end."""
    try:
        state = path.stat()
        if not stat.S_ISREG(state.st_mode):
            raise UnreadableFile(f"{what} {path}: is not a plain file")
        data = b""
        if state.st_size <= most:
            with path.open("rb") as file:
                data = file.read(most + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        if isinstance(error, BadInput):
            raise
        raise UnreadableFile(f"{what} {path}: cannot be read ({getattr(error, 'strerror', None) or error})") from None
    if max(len(data), state.st_size) > most:
        raise UnreadableFile(f"{what} {path}: larger than {most:,} bytes; is this the right file?")
    return data


def read_text(path: Path, what: str, most: int = MAX_SPEC_BYTES) -> str:
    """The text of a user's file of at most ``most`` bytes, or BadInput: never a traceback. A leading BOM is dropped."""
    try:
        text = read_bytes(path, what, most).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise Malformed(f"{what} {path}: not UTF-8 text") from None
    if "\0" in text:
        raise Malformed(f"{what} {path}: not text (it holds NUL bytes)")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_json(path: Path, what: str, most: int = MAX_SPEC_BYTES) -> Any:
    """The value in a JSON file, or BadInput; numbers of too many digits and nesting without end are refused."""
    return json_of(read_text(path, what, most), f"{what} {path}")


def json_of(text: str, where: str) -> Any:
    """The value of a JSON text, or BadInput that begins with ``where``."""
    try:
        return json.loads(text, parse_int=_whole)
    except json.JSONDecodeError as error:
        raise Malformed(f"{where} line {error.lineno}: not JSON ({error.msg})") from None
    except RecursionError:
        raise Malformed(f"{where}: cannot be read as JSON (nested too deeply)") from None
    except ValueError as error:
        raise Malformed(f"{where}: cannot be read as JSON ({error})") from None


def toml_of(text: str, where: str) -> dict[str, Any]:
    """The table of a TOML text, or BadInput that begins with ``where``."""
    import tomllib

    if any(_dots(line) > MAX_KEY_PARTS for line in text.splitlines()):
        raise Malformed(
            f"{where}: not valid TOML: a key of more than {MAX_KEY_PARTS} parts"
        )  # time grows as its square
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise Malformed(f"{where}: not valid TOML: nested too deeply") from None
    except ValueError as error:  # also an integer of thousands of digits
        raise Malformed(f"{where}: not valid TOML: {str(error)[:120]}") from None


def _dots(line: str) -> int:
    """Most dots in what may be a key of this line: not those of a list of numbers, nor of a text in quotes."""
    if line.count(".") <= MAX_KEY_PARTS:
        return 0
    words = re.split(r"[,{=#\"'\[\]]", line)
    return max(word.count(".") for word in words)


def _whole(digits: str) -> int:
    """An integer that a float can hold: nothing that costsim reads is larger."""
    if len(digits) > MAX_DIGITS:
        raise ValueError(f"a number of {len(digits):,} digits")
    return int(digits)


def inert(text: str) -> str:
    """A text for a cell of a CSV file that no spreadsheet takes for a formula: an apostrophe before ``= + - @``, a tab
    or a carriage return, unless the whole is a number."""
    if not text.startswith(("=", "+", "-", "@", "\t", "\r")):
        return text.replace("\r", " ")  # a bare one would end the row
    try:
        float(text)
    except ValueError:
        return f"'{text}".replace("\r", " ")
    return text


def open_npy(path: Path, what: str) -> Any:
    """The one array of numbers in a .npy file, mapped and not read: its header may claim any shape. No objects, whose
    reading runs code. BadInput."""
    import numpy as np

    shape, by_column, dtype, start = _npy_header(path, what)
    if dtype.kind not in "iuf" or dtype.itemsize == 0:
        raise Malformed(f"{what} {path}: no numpy array of numbers (dtype {str(dtype)[:40]}); save integers or floats")
    claimed = math.prod(shape) * dtype.itemsize
    if not claimed or min(shape, default=1) < 0 or len(shape) > MAX_DIMENSIONS:
        raise Malformed(f"{what} {path}: shape {str(shape)[:60]}; a table of numbers is needed")
    if claimed > path.stat().st_size - start:
        raise Malformed(f"{what} {path}: its header claims {claimed:,} bytes of numbers, more than there are")
    return np.memmap(path, dtype, "r", start, shape, order="F" if by_column else "C")


def _npy_header(path: Path, what: str) -> tuple[tuple[int, ...], bool, Any, int]:
    """(shape, Fortran order, dtype, where the numbers begin). Read apart from the mapping: a dtype of no bytes makes
    ``np.load`` divide by zero, which ends the process without a word."""
    import tokenize

    from numpy.lib import format as npy

    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise UnreadableFile(f"{what} {path}: is not a plain file")
        with path.open("rb") as file:
            magic = file.read(6)
            if magic != b"\x93NUMPY":
                kind = "an .npz archive" if magic.startswith(b"PK") else "no numpy array of numbers"
                raise Malformed(f"{what} {path}: {kind}; save one array with np.save")
            file.seek(0)
            read = {1: npy.read_array_header_1_0, 2: npy.read_array_header_2_0}.get(npy.read_magic(file)[0])
            if read is None:  # 3 is for names in other scripts, which numbers do not have
                raise Malformed(f"{what} {path}: no numpy array of numbers (format version 3); save it with np.save")
            shape, by_column, dtype = read(file)
            return tuple(map(int, shape)), by_column, dtype, file.tell()
    except (
        ValueError, TypeError, LookupError, ArithmeticError, EOFError, SyntaxError, MemoryError, RecursionError,
        tokenize.TokenError,
    ) as error:  # fmt: skip
        if isinstance(error, BadInput):
            raise
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise Malformed(f"{what} {path}: no numpy array of numbers ({reason[:80]})") from None
    except OSError as error:
        raise UnreadableFile(f"{what} {path}: cannot be read ({error.strerror or error})") from None


def write(path: Path, text: str | bytes) -> None:
    """All of ``text`` or nothing: a reader never sees half a file, and a failure leaves the old one. BadInput."""
    with replacing(path) as stream:
        stream.write(text.encode("utf-8", "replace") if isinstance(text, str) else text)


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A stream whose content takes the place of ``path`` when the block ends, and is dropped when it fails.

    Written beside the target, flushed to the disk, then renamed: two runs that write one file leave the whole of one.
    BadInput where the file cannot be written.
    """
    temporary: str | None = None
    try:
        target = _target(path)
        if target.exists() and not target.is_file():  # a device, a pipe: nothing to put in its place
            with target.open("wb") as stream:
                yield stream
            return
        _sweep(target.parent)
        handle, temporary = tempfile.mkstemp(prefix=f"{_PREFIX}{target.name[:40]}.", suffix=_SUFFIX, dir=target.parent)
        with os.fdopen(handle, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(handle)
        Path(temporary).chmod(_mode(target))
        Path(temporary).replace(target)
        temporary = None
    except OSError as error:
        raise _unwritable(path, error.strerror or str(error)) from None
    finally:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)


def _target(path: Path) -> Path:
    """The file that a path names, through symbolic links."""
    try:
        return path.resolve()
    except (RuntimeError, ValueError) as error:  # a loop of links; a NUL in the name
        raise _unwritable(path, str(error)) from None


def _unwritable(path: Path, reason: str) -> CannotWrite:
    return CannotWrite(f"{path}: cannot be written ({reason}); name a file in a directory you may write to")


def _mode(target: Path) -> int:
    """The permissions that an ordinary new file would get, or those of the file replaced."""
    if target.exists():
        return target.stat().st_mode & 0o777
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask


def _sweep(folder: Path) -> None:
    """Remove what killed runs left in a folder, once a process; what is young may be another run's, still at work."""
    if folder in _swept:
        return
    _swept.add(folder)
    oldest = time.time() - _STALE_S
    with os.scandir(folder) as entries:
        left = [entry for entry in entries if entry.name.startswith(_PREFIX) and entry.name.endswith(_SUFFIX)]
    for entry in left:
        if entry.is_file(follow_symlinks=False) and entry.stat(follow_symlinks=False).st_mtime < oldest:
            Path(entry.path).unlink(missing_ok=True)
