"""Ask a verb of the command line in this process: the same options, the same numbers, kept by what was asked.

An answer is the verb's Document. It is kept under a digest of the options and the package's version, so that a
question asked twice, by any session, is computed once. Long questions run beside the page: they report how far
they are, and stop when told to.
"""

from __future__ import annotations

import ctypes
import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from costsim.cli.main import load_verb
from costsim.cli.output import LISTENER, Listener
from costsim.cli.parser import verb_parser
from costsim.errors import BadInput
from costsim.report.document import Document
from costsim.version import __version__

#: answers kept for all sessions together, and long questions that run at a time
KEPT, AT_A_TIME = 160, 3
#: seconds after which a long question that no page watches any more is dropped
UNWATCHED_S = 20.0
#: seconds that a stopped question has to come to a word of progress before it is interrupted
GRACE_S = 1.0

Argv = tuple[str, ...]
_answers: OrderedDict[str, Document] = OrderedDict()
_lock = threading.Lock()
#: short questions one after another: they are processor-bound, and laws note what a question used
_turn = threading.Lock()
_pool = ThreadPoolExecutor(AT_A_TIME, thread_name_prefix="question")


class Cancelled(Exception):
    """The person who asked no longer wants the answer."""


class Defect(Exception):
    """Something failed that is not the user's to mend; the message is one line."""


def digest(argv: Argv) -> str:
    """What an answer is kept under: the question and the version that answers it."""
    return hashlib.sha256("\0".join((__version__, *argv)).encode()).hexdigest()


def kept(argv: Argv) -> Document | None:
    """The answer if somebody asked before."""
    with _lock:
        found = _answers.get(digest(argv))
        if found is not None:
            _answers.move_to_end(digest(argv))
        return found


def ask(argv: Argv) -> Document:
    """The answer, at once. Raises BadInput as the verb does, Defect for anything else."""
    found = kept(argv)
    if found is not None:
        return found
    with _turn:
        return kept(argv) or _run(argv, _deaf)


def _deaf(_text: str, _share: float | None) -> None:
    """Nobody waits for progress of a short question."""


def _run(argv: Argv, told: Callable[[str, float | None], None]) -> Document:
    taken: list[Document] = []
    token = LISTENER.set(Listener(taken.append, told))
    try:
        verb = load_verb(argv[0])
        parser = verb_parser(verb.NAME, verb.HELP, verb.EXAMPLE)
        verb.configure(parser)
        verb.run(parser.parse_intermixed_args(list(argv[1:])))
    except (BadInput, Cancelled):
        raise
    except MemoryError:
        raise Defect("not enough memory for this question; ask for fewer points") from None
    except Exception as error:
        raise Defect(f"{type(error).__name__}: {' '.join(str(error).split())[:200]}") from error
    finally:
        LISTENER.reset(token)
    if not taken:
        raise Defect(f"costsim {argv[0]} gave no answer")
    with _lock:
        _answers[digest(argv)] = taken[-1]
        while len(_answers) > KEPT:
            _answers.popitem(last=False)
    return taken[-1]


def has_option(verb: str, option: str) -> bool:
    """Whether this installation's verb takes ``option``; False where there is no such verb."""
    try:
        module = load_verb(verb)
    except BadInput:
        return False
    parser: Any = verb_parser(module.NAME, module.HELP, module.EXAMPLE)
    module.configure(parser)
    return option in parser._option_string_actions


@dataclass
class Job:
    """A long question under way: what it last said, how much is done, and whether it is still wanted."""

    argv: Argv
    text: str = ""
    share: float | None = None
    unwanted: threading.Event = field(default_factory=threading.Event)
    turn: threading.Lock = field(default_factory=threading.Lock)
    thread: int = 0
    watched: threading.Event = field(default_factory=threading.Event)
    future: Future[Document] | None = None

    def start(self) -> Job:
        """Take a place in the queue."""
        self.watched.set()
        self.future = _pool.submit(self._work)
        threading.Thread(target=self._drop_when_unwatched, daemon=True).start()
        return self

    def _drop_when_unwatched(self) -> None:
        """A closed tab watches nothing: its question must not keep others waiting."""
        while not self.done and self.watched.wait(UNWATCHED_S):
            self.watched.clear()
            self.unwanted.wait(UNWATCHED_S)
            if self.unwanted.is_set():
                return
        if not self.done:
            self.cancel()

    def _work(self) -> Document:
        self._told("", None)
        with self.turn:
            self.thread = threading.get_ident()
        try:
            return kept(self.argv) or _run(self.argv, self._told)
        finally:
            with self.turn:
                self.thread = 0

    def _told(self, text: str, share: float | None) -> None:
        if self.unwanted.is_set():
            raise Cancelled
        self.text, self.share = text, share

    def cancel(self) -> None:
        """Stop before the start, at the next word of progress, or where none comes in GRACE_S in the midst of work."""
        if self.unwanted.is_set():
            return
        self.unwanted.set()
        if self.future is not None and not self.future.cancel():
            threading.Timer(GRACE_S, self._interrupt).start()

    def _interrupt(self) -> None:
        """Raise Cancelled in the thread that works on this question, between two steps of Python."""
        with self.turn:
            if self.thread:
                ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(self.thread), ctypes.py_object(Cancelled))

    @property
    def done(self) -> bool:
        """Whether there is an answer or a reason for none."""
        return self.future is not None and self.future.done()

    def error(self) -> BaseException | None:
        """What went wrong, None while it runs and where it went well."""
        if self.future is None or not self.future.done():
            return None
        return Cancelled() if self.future.cancelled() else self.future.exception()
