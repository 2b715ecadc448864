"""Files that a reader hands over: bounded, kept under their digest in one private folder, never under a name given."""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import tempfile
import threading
import zlib
from collections.abc import Iterable
from functools import lru_cache
from itertools import accumulate
from pathlib import Path, PurePosixPath
from typing import Any

import streamlit as st

from costsim.errors import BadInput
from costsim.files import toml_of, write
from costsim.spec.accelerator import Accelerator
from costsim.spec.base import build

#: megabytes of a scenario or a chip, and of a trace or a measurement file; files and chips kept at a time
TEXT_MB, DATA_MB, MOST_FILES, MOST_CHIPS = 1, 48, 60, 400
#: bytes of all files together, and of all chips
MOST_BYTES = 512_000_000
TEXT_BYTES, DATA_BYTES, ANSWER_BYTES = 1_000_000, 48_000_000, 4_000_000
#: what the value of a control looks like where it means an uploaded chip
OWN = "own-"
#: of chips in a link: characters of all, chips, bytes of one once opened; what base64 is filled up with
LINK_CHARS, LINK_CHIPS, CHIP_BYTES, PAD = 6_000, 3, 40_000, ("", "===", "==", "=")
_lock = threading.Lock()


@lru_cache(maxsize=2)
def folder(of: str = "files") -> Path:
    """A private folder of this process, removed when it ends: of files, or of ``chips``, which no file drives out."""
    import atexit

    path = Path(tempfile.mkdtemp(prefix=f"costsim-dashboard-{of}-"))
    atexit.register(shutil.rmtree, path, True)
    return path


def keep(data: bytes, suffix: str, most: int = TEXT_BYTES, name: str = "") -> Path:
    """The bytes under their digest; the oldest files make room. BadInput for too many bytes or none.

    ``name`` is what the reader calls the file: texts for this session say it in place of the path.
    """
    if not data:
        raise BadInput("the file is empty; choose one with content")
    if len(data) > most:
        raise BadInput(f"the file is larger than {most:,} bytes; choose a smaller one")
    path = _kept(folder(), data, suffix, MOST_FILES)
    if name:
        names: dict[str, str] = st.session_state.setdefault("file names", {})
        names[path.name] = PurePosixPath(name.replace("\\", "/")).name[:80]
        while len(names) > MOST_FILES:
            names.pop(next(iter(names)))
    return path


def _kept(where: Path, data: bytes, suffix: str, most: int) -> Path:
    path = where.joinpath(f"{hashlib.sha256(data).hexdigest()[:16]}{suffix}")
    with _lock:
        if not path.is_file():
            write(path, data)
        os.utime(path)
        files = sorted(where.iterdir(), key=lambda file: file.stat().st_mtime, reverse=True)
        together = accumulate(file.stat().st_size for file in files)
        for number, (old, held) in enumerate(zip(files, together, strict=True)):
            if number >= most or held > MOST_BYTES:
                old.unlink(missing_ok=True)
    return path


def readable(text: str) -> str:
    """A text of a verb with this session's files by their own names, and no folder of the server."""
    for where in (folder(), folder("chips")):
        text = text.replace(f"{where}/", "")
    for kept, name in st.session_state.get("file names", {}).items():
        text = text.replace(kept, name)
    return text


def text_of(data: bytes) -> str:
    """The text of a small upload; BadInput where it is none."""
    if len(data) > TEXT_BYTES:
        raise BadInput(f"the file is larger than {TEXT_BYTES:,} bytes; is it the right one?")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise BadInput("the file is not UTF-8 text; save it as a .toml file") from None
    if "\0" in text:
        raise BadInput("the file is not text (it holds NUL bytes); save it as a .toml file")
    return text


def table_of(data: bytes) -> dict[str, Any]:
    """The TOML table in an upload; BadInput in one line where it is none."""
    return toml_of(text_of(data), "the file")


def add_chip(data: bytes) -> str:
    """Take a chip's TOML into this session and return the value that stands for it in controls."""
    chip = build(Accelerator, table_of(data), "your chip")
    names: dict[str, str] = st.session_state.setdefault("file names", {})
    path = _kept(folder("chips"), data, ".toml", MOST_CHIPS)
    own: dict[str, str] = st.session_state.setdefault("own chips", {})
    names[path.name] = f"{chip.id}.toml"
    value = f"{OWN}{path.stem}"
    own[value] = chip.id
    while len(own) > 12:
        own.pop(next(iter(own)))
    return value


def texts(values: Iterable[Any]) -> dict[str, str]:
    """Value → TOML of the own chips among the values of a page."""
    words = [word for value in values for word in (value if isinstance(value, list) else [value])]
    own = dict.fromkeys(word for word in words if isinstance(word, str) and spelled(word) != word)
    return {word: Path(spelled(word)).read_text(encoding="utf-8-sig") for word in own}


def packed(values: Iterable[Any]) -> str:
    """The own chips among the values of a page for a link: their TOML compressed, "" where none or too much for one."""
    data = [zlib.compress(text.encode(), 9) for text in texts(values).values()]
    text = ".".join(base64.urlsafe_b64encode(one).decode().rstrip("=") for one in data)
    return text if len(text) <= LINK_CHARS else ""


def unpack(text: str) -> None:
    """Take the chips of a link into this session, read as strangely as any upload. BadInput where they are none."""
    if len(text) > LINK_CHARS:
        raise BadInput(f"the chip in this link is longer than {LINK_CHARS:,} characters")
    for part in text.split(".")[:LINK_CHIPS]:
        try:
            data = base64.b64decode(f"{part}{PAD[len(part) & 3]}", altchars=b"-_", validate=True)
            opened = zlib.decompressobj()
            chip = opened.decompress(data, CHIP_BYTES)
        except (ValueError, zlib.error):
            raise BadInput("the chip in this link cannot be read; ask for the link or the chip's TOML again") from None
        if opened.unconsumed_tail or not opened.eof:
            raise BadInput(f"the chip in this link is larger than {CHIP_BYTES:,} bytes or cut off")
        add_chip(chip)


def own_chips() -> dict[str, str]:
    """Value of a control → id, of the chips that this session brought and that are still there."""
    own: dict[str, str] = st.session_state.get("own chips", {})
    return {value: name for value, name in own.items() if spelled(value) != value}


def spelled(value: str) -> str:
    """A control's value as the verb reads it: an own chip becomes its file."""
    if not value.startswith(OWN):
        return value
    path = folder("chips").joinpath(f"{value.removeprefix(OWN)}.toml")
    return str(path) if value in st.session_state.get("own chips", {}) and path.is_file() else value
