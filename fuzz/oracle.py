"""What must hold after any input: an answer, or one line that says what is wrong; in bounded time; nothing else."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import tempfile
import traceback
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from costsim.cli.main import main
from costsim.errors import BadInput
from fuzz.targets import TARGETS, Target

#: seconds of processor time for one input, and letters of a message
LIMIT_S, LONGEST = 20.0, 340
#: signs that a terminal would obey; the field's own signs and any script may stay
_OBEYED = {chr(code) for code in (*range(32), *range(0x7F, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A))}


class Hang(BaseException):
    """The input took longer than LIMIT_S. Not an Exception, so that no reader swallows it."""


@dataclass(frozen=True)
class Finding(Exception):
    """What went wrong with one input. ``kind`` is one word; ``where`` tells findings apart."""

    target: str
    kind: str
    where: str
    text: str

    def __str__(self) -> str:
        return f"{self.target}: {self.kind}: {self.where}\n{self.text}"


@contextlib.contextmanager
def limited(seconds: float = LIMIT_S) -> Iterator[None]:
    """Raise Hang in this thread after so much processor time (a busy machine is no hang)."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise Hang(f"more than {seconds:g} s")

    old = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, old)


class Bench:
    """A folder in which inputs become files, each under a name of its own (readers remember files by name)."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="fz-")
        self._count = 0

    def close(self) -> None:
        self._folder.cleanup()

    def put(self, target: Target, data: bytes) -> Path:
        self._count += 1
        folder = Path(self._folder.name) / f"{self._count:x}"
        folder.mkdir()
        path = folder / target.file
        path.write_bytes(data)
        return path

    @staticmethod
    def drop(path: Path) -> None:
        for file in path.parent.iterdir():
            file.unlink()
        path.parent.rmdir()

    def read(self, name: str, data: bytes) -> bool:
        """Whether the reader took the input; Finding where it did anything but that or refuse in one line."""
        target = TARGETS[name]
        path = self.put(target, data)
        try:
            with limited(), warnings.catch_warnings(), np_quiet():
                warnings.simplefilter("ignore")
                target.read(path)
            return True
        except BadInput as error:
            check_line(name, str(error))
            return False
        except Hang as error:
            raise Finding(name, "hang", _place(error), traceback.format_exc()) from None
        except Exception as error:
            raise Finding(name, type(error).__name__, _place(error), traceback.format_exc()) from None
        finally:
            self.drop(path)

    def ask(self, name: str, data: bytes) -> int:
        """The exit status of the target's verb with this file; Finding for a defect, or for output that obeys it."""
        target = TARGETS[name]
        path = self.put(target, data)
        try:
            return run(name, [part.replace("{}", str(path)) for part in target.verb])
        finally:
            self.drop(path)


def run(name: str, argv: list[str], seconds: float = LIMIT_S) -> int:
    """One command line in this process, judged."""
    out, err = io.StringIO(), io.StringIO()
    os.environ["COSTSIM_DEBUG"] = "1"  # a defect shows where
    try:
        with limited(seconds), warnings.catch_warnings(), np_quiet():
            warnings.simplefilter("ignore")
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                status = main(argv)
    except Hang as error:
        raise Finding(name, "hang", _place(error), traceback.format_exc()) from None
    except BaseException as error:
        raise Finding(name, type(error).__name__, _place(error), traceback.format_exc()) from None
    finally:
        del os.environ["COSTSIM_DEBUG"]
    if status not in (0, 2):
        where = [line.strip() for line in err.getvalue().splitlines() if line.startswith("  File ")]
        raise Finding(
            name, "defect", where[-1] if where else err.getvalue()[-300:], f"{argv}\n{err.getvalue()[-3000:]}"
        )
    if status == 2:
        check_line(name, err.getvalue().removesuffix("\n"))
    obeyed = _OBEYED.difference("\n\t").intersection(out.getvalue())
    if obeyed:
        raise Finding(
            name, "output", f"signs a terminal obeys: {sorted(obeyed)!r}", f"{argv}\n{out.getvalue()[:2000]!r}"
        )
    return status


def check_line(name: str, text: str) -> None:
    """One line of letters that do nothing."""
    if len(text) > LONGEST:
        raise Finding(name, "message", "longer than it may be", text[:1000])
    if _OBEYED.intersection(text):
        raise Finding(name, "message", "holds signs that a terminal obeys", repr(text))
    if not text.strip():
        raise Finding(name, "message", "says nothing", repr(text))


def _place(error: BaseException) -> str:
    """The innermost line of this project that the traceback names."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "costsim" in frame.filename or "/model/" in frame.filename
           or "dashboards" in frame.filename]  # fmt: skip
    frame = (own or frames)[-1]
    return f"{Path(frame.filename).name}:{frame.lineno} in {frame.name}"


@contextlib.contextmanager
def np_quiet() -> Iterator[None]:
    """No floating-point warnings: what an answer holds is judged elsewhere."""
    import numpy as np

    with np.errstate(all="ignore"):
        yield
