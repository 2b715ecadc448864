"""Code blocks of the documentation: read, run, compared with the output they show, and written anew.

    python -m benchmarks.docs [PAGE.md ...]      # replaces the shown output of every command by today's

What a block is follows from its fence, so that a reader can tell as well:

- ```` ```console ````: lines after ``$ `` are commands; lines below a command are its output, where ``…`` stands for
  any lines. A command may go on after a backslash.
- ```` ```python ````: run in order; the blocks of a page share their names. What one prints follows in a
  ```` ```text title="prints" ````.
- any fence with ``title="path/file"``: written to that file first.
- ``title="not run: why"``: not run.

Commands run in an empty folder of their own. A page whose files or commands name ``hwprofiles/``, ``model/`` or
``costsim/`` gets a copy of these there, so that adding to the catalogs can be tried word for word.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
NOT_RUN = "not run: "
PRINTS = "prints"
ANY = "…"
_FENCE = re.compile(r"^```(\w*)[ \t]*([^\n]*)\n(.*?)^```[ \t]*$", re.S | re.M)
_TITLE = re.compile(r'title="([^"]*)"')
_COPIED = ("hwprofiles", "costsim", "model/specs")


@dataclass(frozen=True)
class Block:
    """One fenced block: the word after the fence, its title, its text, and the line where it starts."""

    language: str
    title: str
    text: str
    line: int

    @property
    def reason(self) -> str:
        """Why it is not run; empty where it is."""
        return self.title.removeprefix(NOT_RUN) if self.title.startswith(NOT_RUN) else ""

    @property
    def file(self) -> str:
        """The file that the block writes; empty where it writes none."""
        return "" if self.reason or self.title == PRINTS else self.title


@dataclass(frozen=True)
class Step:
    """A command and the output that the page shows below it."""

    command: str
    shown: tuple[str, ...]
    line: int


@dataclass
class Place:
    """Where the blocks of one page run."""

    folder: Path
    copied: bool
    names: dict[str, Any] = field(default_factory=lambda: {"__name__": "__docs__"})


def blocks(page: Path) -> list[Block]:
    """Every fenced block of a page, in order."""
    text = page.read_text(encoding="utf-8")
    found = []
    for match in _FENCE.finditer(text):
        title = _TITLE.search(match[2])
        found.append(Block(match[1], title[1] if title else "", match[3], text.count("\n", 0, match.start()) + 1))
    return found


def steps(block: Block) -> list[Step]:
    """The commands of a console block."""
    found: list[tuple[str, list[str], int]] = []
    going_on = False
    for at, line in enumerate(block.text.splitlines(), start=block.line + 1):
        if going_on:
            command, shown, start = found.pop()
            found.append((f"{command[:-1]}{line.strip()}", shown, start))
        elif line.startswith("$ "):
            found.append((line[2:].rstrip(), [], at))
        elif found:
            found[-1][1].append(line.rstrip())
        going_on = bool(found) and not found[-1][1] and found[-1][0].endswith("\\")
    return [Step(command, tuple(shown), line) for command, shown, line in found]


@contextlib.contextmanager
def place_for(page: Path, folder: Path) -> Iterator[Place]:
    """The folder prepared for a page, entered, with a terminal of 80 columns and no colour."""
    copied = any(_touches_catalogs(block) for block in blocks(page) if not block.reason)
    if copied:
        for name in _COPIED:
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, folder / name, ignore=ignored, dirs_exist_ok=True)
    (folder / "examples").symlink_to(ROOT / "examples")
    before, settings = Path.cwd(), dict(os.environ)
    os.environ.update(COLUMNS="80", NO_COLOR="1", TERM="dumb")
    os.chdir(folder)
    try:
        yield Place(folder, copied)
    finally:
        os.chdir(before)
        os.environ.clear()
        os.environ.update(settings)


def _touches_catalogs(block: Block) -> bool:
    said = (step.command for step in steps(block)) if block.language == "console" else (block.file,)
    return any(re.search(r"(^|\s)(hwprofiles|costsim|model)/", words) for words in said)


def run_page(page: Path, folder: Path) -> list[tuple[Block, Step | None, str]]:
    """Run every block of a page; each command (or Python block) with what it printed. Raises where one fails."""
    ran: list[tuple[Block, Step | None, str]] = []
    page = page.resolve()
    with place_for(page, folder) as place:
        for block in blocks(page):
            if block.reason:
                continue
            if block.file:
                target = place.folder / block.file
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(block.text, encoding="utf-8")
            elif block.language == "console":
                ran += [(block, step, run_command(step, place, page)) for step in steps(block)]
            elif block.language == "python":
                ran.append((block, None, _python(block, place, page)))
    return ran


def run_command(step: Step, place: Place, page: Path) -> str:
    """What a command prints, both streams; AssertionError unless it ends as the page shows."""
    status, printed = _in_process(step) if _is_plain(step, place) else _in_shell(step, place)
    wanted = 2 if any(line.startswith("costsim: error") for line in step.shown) else 0
    assert status == wanted, f"{page.name}:{step.line}: {step.command}\nexit status {status}\n{printed}"
    return printed


def _is_plain(step: Step, place: Place) -> bool:
    return not place.copied and step.command.startswith("costsim ") and not re.search(r"[|;&<>$]", step.command)


def _in_process(step: Step) -> tuple[int, str]:
    from costsim.cli.main import main

    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main(shlex.split(step.command)[1:])
    return status, out.getvalue() + err.getvalue()


def _in_shell(step: Step, place: Place) -> tuple[int, str]:
    """Through bash, with `costsim` and `python` being those of this interpreter."""
    source = place.folder if place.copied else ROOT
    with tempfile.TemporaryDirectory() as shims:
        for name, arguments in (("costsim", "-m costsim.cli"), ("python", "")):
            shim = Path(shims) / name
            shim.write_text(f'#!/bin/sh\nexec "{sys.executable}" {arguments} "$@"\n', encoding="utf-8")
            shim.chmod(0o755)
        environment = os.environ | {"PATH": f"{shims}:{os.environ['PATH']}", "PYTHONPATH": str(source)}
        done = subprocess.run(["bash", "-euc", step.command], cwd=place.folder, env=environment, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=120, check=False)  # fmt: skip
    return done.returncode, done.stdout


def _python(block: Block, place: Place, page: Path) -> str:
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile("\n" * block.line + block.text, str(page), "exec"), place.names)
    return out.getvalue()


def matches(shown: tuple[str, ...], printed: str) -> bool:
    """Whether the printed lines are the shown ones, with any lines where ``…`` stands."""
    wanted = "\n".join(line.rstrip() for line in shown).strip("\n")
    actual = "\n".join(line.rstrip() for line in printed.splitlines()).strip("\n")
    if not wanted:
        return True
    pattern = "".join(r"(?:.*\n)*?" if line == ANY else re.escape(line) + r"\n" for line in wanted.split("\n"))
    return re.fullmatch(pattern, actual + "\n") is not None


def prints_match(shown: tuple[str, ...], printed: str) -> bool:
    """As :func:`matches`, but a block that shows nothing wants nothing."""
    return matches(shown, printed) if any(line.strip() for line in shown) else not printed.strip()


def shown_outputs(page: Path) -> Mapping[int, tuple[str, ...]]:
    """Line of a Python block → the lines of the block that shows what it prints."""
    all_blocks = blocks(page)
    return {block.line: tuple(after.text.splitlines()) for block, after in pairwise(all_blocks)
            if block.language == "python" and after.title == PRINTS}  # fmt: skip


def rewritten(page: Path, folder: Path) -> str:
    """The page with every shown output as it is today; where lines were left out at the end, as many are shown."""
    lines = page.read_text(encoding="utf-8").split("\n")
    prints = shown_outputs(page)
    changes: list[tuple[int, int, list[str]]] = []
    for block, step, printed in run_page(page, folder):
        fresh = [line.rstrip() for line in printed.strip("\n").splitlines()]
        if step is not None and any(step.shown) and not matches(step.shown, printed):
            start = step.line + step_length(lines, step)
            changes.append((start, len(step.shown), _cut(step.shown, fresh)))
        elif step is None and block.line in prints and not prints_match(prints[block.line], printed):
            after = next(b for b in blocks(page) if b.line > block.line and b.title == PRINTS)
            changes.append((after.line, len(prints[block.line]), _cut(prints[block.line], fresh)))
    for start, count, fresh in reversed(changes):
        lines[start : start + count] = fresh
    return "\n".join(lines)


def step_length(lines: list[str], step: Step) -> int:
    """Lines below the first one that a command goes on for."""
    count = 0
    while lines[step.line - 1 + count].endswith("\\"):
        count += 1
    return count


def _cut(shown: tuple[str, ...], fresh: list[str]) -> list[str]:
    """As the page cut the old output: the last lines left out, or lines between a first and a last part."""
    tail = [""] if shown and not shown[-1].strip() else []
    old = list(shown)
    while old and not old[-1].strip():
        old.pop()
    if ANY not in old:
        return [*fresh, *tail]
    first, last = old.index(ANY), len(old) - 1 - old[::-1].index(ANY)
    end = fresh[len(fresh) - (len(old) - 1 - last) :] if last < len(old) - 1 else []
    return [*fresh[:first], ANY, *end, *tail]


def pages() -> list[Path]:
    """README and the pages of docs/ that are kept by hand."""
    return [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]


def main(arguments: list[str]) -> None:
    for page in [Path(name).resolve() for name in arguments] or pages()[1:]:
        with tempfile.TemporaryDirectory() as folder:
            text = rewritten(page, Path(folder))
        if text != page.read_text(encoding="utf-8"):
            page.write_text(text, encoding="utf-8")
            print(f"rewrote {page.relative_to(ROOT)}")


if __name__ == "__main__":
    main(sys.argv[1:])
