"""The argument parser of every verb: one-line errors with the nearest option, examples in the help, typed values."""

from __future__ import annotations

import argparse
import difflib
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from costsim import units
from costsim.cli.grid import parse_grid
from costsim.errors import BadInput, BadOption, OutOfRange


class Parser(argparse.ArgumentParser):
    """argparse without its usage dump: what is wrong becomes BadInput, so the exit status is 2 everywhere."""

    def error(self, message: str) -> NoReturn:
        found = BadOption(f"{self._mended(message)}; see `{self.prog} --help`")
        found.code = _code_behind(sys.exception()) or found.code
        raise found

    def _mended(self, message: str) -> str:
        """The message with the nearest option where an unknown one was given."""
        prefix = "unrecognized arguments: "
        if not message.startswith(prefix):
            return message
        given = message.removeprefix(prefix).split()
        options = [token.split("=")[0] for token in given if token.startswith("-")]
        if not options:
            return f"unexpected argument {given[0][:60]!r}"
        near = difflib.get_close_matches(options[0], list(self._option_string_actions), n=3, cutoff=0.5)
        return f"unknown option {options[0][:60]}" + (f"; nearest: {', '.join(near)}" if near else "")


def _code_behind(error: BaseException | None) -> str | None:
    """The code of the BadInput that argparse turned into an error of its own."""
    while error is not None and not isinstance(error, BadInput):
        error = error.__cause__ or error.__context__
    return None if error is None else error.code


def verb_parser(name: str, help_text: str, example: str) -> Parser:
    """A parser with the options that every verb has."""
    lines = "\n".join(f"  {line.strip()}" for line in example.strip().splitlines())
    parser = Parser(
        prog=f"costsim {name}",
        description=help_text,
        epilog=f"example:\n{lines}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    group = parser.add_argument_group("output")
    group.add_argument("--json", action="store_true", help="one JSON document on standard output, nothing else")
    group.add_argument("--out", metavar="FILE", help="also write the answer to FILE; its extension is the format")
    return parser


def blamed(flag: str, read: Callable[[str], Any]) -> Callable[[str], Any]:
    """``read`` as an argparse type: its BadInput keeps its words, without the flag that argparse adds itself."""

    def convert(text: str) -> Any:
        try:
            return read(text)
        except BadInput as error:
            raise argparse.ArgumentTypeError(str(error).removeprefix(f"{flag}: ")) from error

    return convert


def add_grid(
    group: argparse._ActionsContainer,
    flag: str,
    help_text: str,
    whole: bool = True,
    minimum: float = 1,
    maximum: float = float("inf"),
) -> None:
    """An option that takes a number, a list or a range; its value is a list, or None where it was not given."""

    def read(text: str) -> list[int] | list[float]:
        return parse_grid(text, flag, whole, minimum, maximum)

    group.add_argument(flag, type=blamed(flag, read), metavar="N" if whole else "X", help=help_text)


def add_quantity(group: argparse._ActionsContainer, flag: str, dimension: str, help_text: str) -> None:
    """An option that takes a quantity with its unit (``--tpot 50ms``); its value is in SI."""

    def read(text: str) -> float:
        return units.parse(text, dimension, flag)

    group.add_argument(flag, type=blamed(flag, read), metavar="QUANTITY", help=help_text)


def add_choice(group: argparse._ActionsContainer, flag: str, choices: Sequence[str], help_text: str) -> None:
    """An option that takes one of a few words."""

    def read(text: str) -> str:
        if text not in choices:
            raise OutOfRange(f"{text[:60]!r} is not one of {', '.join(choices)}")
        return text

    action = group.add_argument(
        flag, type=blamed(flag, read), metavar="WORD", help=f"{help_text}: {', '.join(choices)}"
    )
    action.words = tuple(choices)  # type: ignore[attr-defined]  # what the Tab key offers
