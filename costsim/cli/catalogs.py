"""What the catalog verbs share: `list [TEXT]` and `show ID`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from costsim.errors import BadOption, NothingFound


def add_action(parser: argparse.ArgumentParser, noun: str) -> None:
    """The two positional words of a catalog verb."""
    parser.add_argument("action", help="list or show", metavar="list|show")
    parser.add_argument("id", nargs="?", help=f"show: the {noun}; list: keep ids that contain this text")


def checked_action(args: argparse.Namespace, verb: str, noun: str) -> str:
    """``list`` or ``show``; BadInput for anything else and for a show of nothing."""
    action = str(args.action)
    if action not in ("list", "show"):
        raise BadOption(f"{verb}: {action[:60]!r} is neither list nor show; try `costsim {verb} list`")
    if action == "show" and args.id is None:
        raise BadOption(f"{verb} show: which {noun}? `costsim {verb} list` names them")
    return action


def kept(ids: Sequence[str], text: str | None, noun: str) -> list[str]:
    """The ids that contain ``text``; BadInput where none does."""
    found = [name for name in ids if text is None or text.lower() in name]
    if not found:
        raise NothingFound(f"no {noun} id contains {str(text)[:60]!r}; ids: {', '.join(ids[:8])}, …")
    return found
