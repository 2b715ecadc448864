"""A page for every error code, from the errors' own words: what it means, what to do, and a command that meets it."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import io
import shlex
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Kind:
    """One code as its page tells it."""

    code: str
    name: str
    title: str
    means: str
    mend: str = ""
    example: str = ""


def pages() -> list[tuple[str, str, str]]:
    kinds = _kinds()
    rows = "\n".join(f"| [{kind.code}]({kind.code.lower()}.md) | {kind.title} |" for kind in kinds)
    index = (
        "# Errors\n\nBad input is one line on standard error and exit status 2: what, where, what would work. "
        f"In Python every one of these is a `costsim.BadInput`.\n\n| code | what |\n|---|---|\n{rows}\n"
    )
    return [("All codes", "reference/errors/index.md", index),
            *((kind.code, f"reference/errors/{kind.code.lower()}.md", _page(kind)) for kind in kinds)]  # fmt: skip


def _kinds() -> list[Kind]:
    """The registry of the package where it has one, else its classes with a code."""
    module: Any = importlib.import_module("costsim.errors")
    if hasattr(module, "catalog"):
        return [Kind(each.code, each.name, each.title, each.means, each.mend, each.example)
                for each in module.catalog()]  # fmt: skip
    classes = [kind for _, kind in inspect.getmembers(module, inspect.isclass) if hasattr(kind, "code")]
    return [Kind(kind.code, kind.__name__, (inspect.getdoc(kind) or "").split("\n\n")[0].replace("\n", " "), "")
            for kind in sorted(classes, key=lambda kind: str(kind.code))]  # fmt: skip


def _page(kind: Kind) -> str:
    lines = [f"# {kind.code}: {kind.title}", "", kind.means, ""]
    if kind.mend:
        lines += ["## What to do", "", kind.mend, ""]
    if kind.example:
        lines += ["## For example", "", "```text", f"$ {kind.example}", _printed(kind.example), "```", ""]
    lines += ["## In Python", "", f"`costsim.errors.{kind.name}`" if kind.name[:1].isupper() else "Any exception.", ""]
    return "\n".join(lines)


def _printed(command: str) -> str:
    """What the command says today."""
    from costsim.cli.main import main

    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        main(shlex.split(command)[1:])
    return out.getvalue().strip()
