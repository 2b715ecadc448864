"""`costsim VERB ...`: finds the verb, parses its options, runs it, and turns what goes wrong into one line.

Exit status: 0 answered, 1 a defect of costsim, 2 bad input, 3 nothing found
(`search --exit-code`), 130 interrupted, 141 the reader of a pipe has gone.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from typing import Protocol, cast

from costsim.cli.output import FORMATS, check_out
from costsim.cli.parser import verb_parser
from costsim.errors import (
    DEFECT,
    BadInput,
    BadOption,
    CannotWrite,
    Exhausted,
    OutOfRange,
    UnknownName,
    UnreadableFile,
    one_line,
)
from costsim.version import __version__

#: every verb in the order in which the help lists them; each is a module of this package
VERBS = (
    "report", "infer", "train", "posttrain", "search", "place", "simulate", "fleet", "profile", "trace", "calibrate",
    "validate", "claims", "explain", "diff", "sensitivity", "hw", "models", "network", "dashboard", "doctor",
    "completion",
)  # fmt: skip
_INTERRUPTED, _BROKEN_PIPE = 130, 141


class Verb(Protocol):
    """What a module of this package offers to be a verb. ``FORMATS`` may widen what ``--out`` takes."""

    NAME: str
    HELP: str
    EXAMPLE: str

    def configure(self, parser: argparse.ArgumentParser) -> None: ...

    def run(self, args: argparse.Namespace) -> int: ...


def main(argv: Sequence[str]) -> int:
    """Run one command line and return its exit status; nothing escapes but SystemExit from a debugger."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a terminal without the field's signs gets "?" instead of a crash
            stream.reconfigure(errors="backslashreplace" if stream is sys.stderr else "replace")
    try:
        status = _dispatch(list(argv))
        sys.stdout.flush()
        return status
    except BadInput as error:
        return _complain(f"error: {error} [{error.code}]", 2)
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second one would only cut the line short
        return _complain("interrupted; nothing was left half-written", _INTERRUPTED)
    except BrokenPipeError:
        _silence()
        return _BROKEN_PIPE
    except OSError as error:
        if error.filename is None and not _stands():
            return _complain("error: the current directory is gone; change to one that is there", 2)
        if error.filename is None:
            _silence()
        code = CannotWrite.code if error.filename is None else UnreadableFile.code
        where = one_line(str(error.filename or "standard output"), 160)
        return _complain(f"error: {where}: {error.strerror or error} [{code}]", 2)
    except UnicodeError:
        return _complain(f"error: a name or a value holds signs that are no text [{OutOfRange.code}]", 2)
    except MemoryError:
        return _complain(f"error: out of memory; ask for less at once, or for fewer values [{Exhausted.code}]", 2)
    except Exception as error:
        if os.environ.get("COSTSIM_DEBUG"):
            traceback.print_exc()
        text = one_line(str(error), 200)
        return _complain(
            f"defect: {type(error).__name__}: {text} (COSTSIM_DEBUG=1 shows where; please report it) [{DEFECT.code}]", 1
        )


def _dispatch(argv: list[str]) -> int:
    if not argv or argv[0] in ("-h", "--help", "help"):
        sys.stdout.write(overview())
        return 0
    if argv[0] in ("-V", "--version"):
        sys.stdout.write(f"costsim {__version__}\n")
        return 0
    if argv[0].startswith("-"):
        raise BadOption(
            f"{argv[0][:60]}: a verb comes first, as in `costsim infer {argv[0][:60]}`; see `costsim --help`"
        )
    verb = load_verb(argv[0])
    parser = verb_parser(verb.NAME, verb.HELP, verb.EXAMPLE)
    verb.configure(parser)
    if odd := next((word for word in argv[1:] if word.startswith("--") and word.endswith("=--")), None):
        raise BadOption(f"{odd[:60]}: a value is needed after the equals sign")  # argparse would read it as a list
    try:
        args = parser.parse_intermixed_args(argv[1:])
    except SystemExit as done:  # --help has printed and wants to leave
        return int(done.code or 0)
    check_out(args.out, getattr(verb, "FORMATS", FORMATS))
    return verb.run(args)


def available() -> list[str]:
    """The verbs that this installation has."""
    return [name for name in VERBS if importlib.util.find_spec(f"costsim.cli.{name}") is not None]


def load_verb(name: str) -> Verb:
    """The module of a verb; UnknownName with the nearest ones otherwise."""
    known = available()
    if name not in known:
        raise UnknownName("verb", name, known)
    return cast(Verb, importlib.import_module(f"costsim.cli.{name}"))


def overview() -> str:
    """The help of `costsim` itself."""
    verbs = [load_verb(name) for name in available()]
    lines = [
        f"costsim {__version__}: what DeepSeek-class models cost to train and to serve, on any accelerator, and why",
        "",
        "usage: costsim VERB [options]",
        "",
        *(f"  {verb.NAME:<10} {verb.HELP}" for verb in verbs),
        "",
        "Every verb takes --help, --json and --out FILE (.json .csv .md .html .pdf).",
        "Numbers take lists and ranges: 8,16,32  1:1024  64:1024:64. Quantities take units: 50ms, 2USD/h.",
        "",
        "example:",
        "  costsim infer --phase decode --accelerator h800-sxm --gpus 128 --context 4096 --batch-per-gpu 128",
    ]
    return "\n".join(lines) + "\n"


def _complain(text: str, status: int) -> int:
    try:
        print(f"costsim: {text}", file=sys.stderr, flush=True)
    except OSError:
        _silence()
    return status


def _stands() -> bool:
    """Whether the current directory is still there."""
    try:
        return bool(os.getcwd())  # noqa: PTH109 — Path.cwd() is the same, but loads more
    except OSError:
        return False


def _silence() -> None:
    """Point standard output nowhere, so that the interpreter's last flush cannot fail aloud."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError):
        sys.stdout = None
