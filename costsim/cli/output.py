"""Where answers go: standard output as tables or JSON, and files in the format that their extension names."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from costsim.errors import CannotWrite, tame
from costsim.files import write

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from costsim.report.document import Document

__all__ = [
    "FORMATS",
    "LISTENER",
    "Listener",
    "check_out",
    "console",
    "extension",
    "finish",
    "progress",
    "rendered",
    "write",
]

FORMATS = ("json", "csv", "md", "html", "pdf")
#: columns of the narrowest tables; a narrower terminal wraps their lines, for nothing would be left of the cells
LEAST_WIDTH = 40


@dataclass(frozen=True)
class Listener:
    """Who takes answers and words on progress (with the share done, where it is known) instead of the terminal."""

    answer: Callable[[Document], None]
    told: Callable[[str, float | None], None]


#: set by a program that asks verbs in its own process, such as the dashboard; per thread
LISTENER: ContextVar[Listener | None] = ContextVar("listener", default=None)


def check_out(out: str | None, formats: tuple[str, ...] = FORMATS) -> None:
    """Refuse a file that could not be written, before any work is done for it."""
    if out is None:
        return
    path = Path(out)
    if extension(path) not in formats:
        known = ", ".join(f".{name}" for name in formats)
        raise CannotWrite(f"--out {out}: the format follows from the extension; give one of {known}")
    if path.is_dir():
        raise CannotWrite(f"--out {out}: is a directory; name a file in it")
    if not path.absolute().parent.is_dir():
        raise CannotWrite(f"--out {out}: there is no directory {path.parent}; make it first")
    if extension(path) == "pdf":
        from costsim.cli.browser import needed

        needed()


def extension(path: Path) -> str:
    """``out/Report.HTML`` → ``html``."""
    return path.suffix.lstrip(".").lower()


def finish(
    args: argparse.Namespace,
    document: Document,
    view: Callable[[], RenderableType] | None = None,
) -> int:
    """Write ``--out``, then print the JSON or the tables; ``view`` replaces the document's own tables."""
    from costsim.report.jsonable import dumps

    listener = LISTENER.get()
    if listener is not None:
        listener.answer(document)
        return 0
    if args.out is not None:
        write(Path(args.out), content(document, extension(Path(args.out))))
        progress(f"wrote {args.out}")
    if args.json:
        sys.stdout.write(dumps(document.payload))
        return 0
    if view is None:
        from costsim.report.tables import render_document

        show(render_document(document))
    else:
        show(view())
    return 0


def content(document: Document, form: str) -> str | bytes:
    """The document in one of FORMATS, as a file holds it."""
    if form != "pdf":
        return rendered(document, form)
    from costsim.cli.browser import printed
    from costsim.report.html import page

    return printed(page(document))


def rendered(document: Document, form: str) -> str:
    """The document in one of the formats that are text."""
    if form == "html":
        from costsim.report.html import page

        return page(document)
    if form == "json":
        from costsim.report.jsonable import dumps

        return dumps(document.payload)
    from costsim.report.plain import csv_text, markdown

    return tame(markdown(document) if form == "md" else csv_text(document.rows))


def show(what: RenderableType) -> None:
    """Print on standard output; what a terminal would obey in a text that came from a file becomes a question mark."""
    from rich.segment import Segment, Segments

    target = console()
    parts = [Segment(tame(part.text), part.style) for part in target.render(what) if not part.control]
    target.print(Segments(parts))


def console() -> Console:
    """Standard output for tables. No markup: a name with brackets in it stays as it is. NO_COLOR is rich's own."""
    from rich.console import Console

    made = Console(file=sys.stdout, markup=False, emoji=False, highlight=False)
    made.width = max(made.width, LEAST_WIDTH)
    return made


def progress(text: str, share: float | None = None) -> None:
    """A word on what is going on, for a person at a terminal only, or for who listens."""
    listener = LISTENER.get()
    if listener is not None:
        listener.told(text, None if share is None else min(max(share, 0.0), 1.0))
    elif sys.stderr.isatty():
        print(tame(text), file=sys.stderr, flush=True)
