"""Words of a shell script, read as data: assignments and simple substitutions, nothing executed.

Understood: comments, continued lines, ``NAME=value``, ``NAME=(…)`` and ``NAME+=…``, ``$NAME``, ``${NAME:-default}``,
``${NAME[@]}``, ``$((integer arithmetic))``. A command substitution stays as its text. What stands inside if, for,
while, case or a function is not read; its lines are returned.
"""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass

from costsim.errors import Malformed

#: bounds of what a script may expand to, and of nested substitution
MAX_WORDS, MAX_VALUE, MAX_DEPTH = 20_000, 200_000, 12
_LARGEST = 10**15
_ASSIGNMENT = re.compile(r"^([A-Za-z_]\w*)(\+?)=(.*)$", re.DOTALL)
_ARRAY = re.compile(r"^\s*(?:(?:export|local|readonly|declare(?:\s+-\w+)*)\s+)?([A-Za-z_]\w*)(\+?)=\(")
_VARIABLE = re.compile(
    r"\$\(\((?P<sum>[^()]*(?:\([^()]*\)[^()]*)*)\)\)"
    r"|\$\{(?P<name>[A-Za-z_]\w*)(?:\[[@*]\])?(?::?[-=](?P<default>[^{}]*))?\}"
    r"|\$(?P<bare>[A-Za-z_]\w*)"
)
_SUM = re.compile(r"\$\(\(.*?\)\)")
_BETWEEN = ";|&"
_OPENS = ("if", "for", "while", "until", "case", "function")
_CLOSES = ("fi", "done", "esac")
_PREFIXES = ("export", "local", "readonly", "declare")


@dataclass(frozen=True)
class Script:
    """``commands``: the words of every command; ``values``: what each name holds at the end, as words;
    ``skipped``: numbers of lines inside conditions, loops and functions."""

    commands: tuple[tuple[str, ...], ...]
    values: dict[str, str]
    skipped: tuple[int, ...]


def read_script(text: str, where: str) -> Script:
    """The words of ``text``. Raises BadInput, naming ``where`` and the line, for unbalanced quotes or excess size."""
    commands: list[tuple[str, ...]] = []
    values: dict[str, str] = {}
    skipped: list[int] = []
    depth = words = 0
    for number, line in _logical_lines(text):
        first = line.split(None, 1)[0].rstrip(";") if line.strip() else ""
        function = re.match(r"^\s*(?:function\s+)?[\w-]+\s*\(\)\s*\{?", line) is not None
        if first in _OPENS or function:
            depth += 0 if _closed_on_line(line, function) else 1
            skipped.append(number)
            continue
        if depth:
            depth -= 1 if first in _CLOSES or first == "}" else 0
            skipped.append(number)
            continue
        found = _statement(line, values, f"{where}, line {number}")
        words += len(found)
        if words > MAX_WORDS:
            raise Malformed(f"{where}: expands to more than {MAX_WORDS:,} words")
        if found:
            commands.append(found)
    return Script(tuple(commands), values, tuple(skipped))


def _closed_on_line(line: str, function: bool) -> bool:
    last = line.rstrip().rstrip(";").split()[-1:] or [""]
    return last[0] == "}" if function else last[0] in _CLOSES


def _logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """(number of the first line, text) with continued lines and array literals joined, comments dropped."""
    held, start, array = "", 0, False
    for number, raw in enumerate(text.splitlines(), 1):
        line = _uncommented(raw)
        start = start or number
        if line.endswith("\\"):
            held += line[:-1] + " "
            continue
        # a comment between continued lines ends the command in a shell; people write them all the same
        if held and not line.strip() and raw.strip().startswith("#"):
            continue
        held += line
        array = array or _ARRAY.match(held) is not None
        if array and not held.rstrip().endswith(")"):
            held += " "
            continue
        yield start, held
        held, start, array = "", 0, False
    if held.strip():
        yield start, held


def _uncommented(line: str) -> str:
    """The line without a comment that starts outside quotes, right end stripped."""
    quote = ""
    for index, sign in enumerate(line):
        if quote:
            quote = "" if sign == quote else quote
        elif sign in "'\"":
            quote = sign
        elif sign == "#" and (index == 0 or line[index - 1] in " \t;("):
            return line[:index].rstrip()
    return line.rstrip()


def _statement(line: str, values: dict[str, str], where: str) -> tuple[str, ...]:
    """Words of the command on this line, after its assignments have gone into ``values``."""
    array = _ARRAY.match(line)
    if array:
        inner = line[array.end() :].rstrip()[:-1]
        _assign(values, array[1], array[2], expand(inner, values, where), where)
        return ()
    out: list[str] = []
    start = True  # at the beginning of a command, where assignments may stand
    for word in _split(_SUM.sub(lambda m: m[0].replace(" ", ""), line), where, _BETWEEN):
        if word and not word.strip(_BETWEEN):
            start = True
            continue
        given = _ASSIGNMENT.match(word)
        if given and start:
            _assign(values, given[1], given[2], expand(given[3], values, where), where)
        elif start and word in _PREFIXES:
            continue
        else:
            start = False
            out += _split(expand(word, values, where), where) if "$" in word else [word]
    return tuple(out)


def _split(text: str, where: str, between: str = "") -> list[str]:
    """Words of ``text`` without their quotes; signs of ``between`` outside quotes are words of their own."""
    try:
        if not between:
            return shlex.split(text, comments=False)
        lexer = shlex.shlex(text, posix=True, punctuation_chars=between)
        lexer.whitespace_split, lexer.commenters = True, ""
        return list(lexer)
    except ValueError as error:
        raise Malformed(f"{where}: {str(error).lower()}; is this a shell script or a list of arguments?") from None


def _assign(values: dict[str, str], name: str, more: str, value: str, where: str) -> None:
    whole = f"{values.get(name, '')} {value}" if more else value
    if len(whole) > MAX_VALUE:
        raise Malformed(f"{where}: {name} grows beyond {MAX_VALUE:,} characters")
    values[name] = whole


def expand(text: str, values: dict[str, str], where: str, depth: int = 0) -> str:
    """``text`` with variables and sums replaced; a name that was never set stays as it is written."""
    if "$" not in text:
        return text
    if depth > MAX_DEPTH:
        raise Malformed(f"{where}: variables nest more than {MAX_DEPTH} deep")

    def value(match: re.Match[str]) -> str:
        if match["sum"] is not None:
            return _sum(expand(match["sum"], values, where, depth + 1), values)
        name = match["name"] or match["bare"]
        if values.get(name):
            return values[name]
        if match["default"] is not None:
            return match["default"].strip("\"'")
        return match[0]

    out = _VARIABLE.sub(value, text)
    if len(out) > MAX_VALUE:
        raise Malformed(f"{where}: a value grows beyond {MAX_VALUE:,} characters")
    return out if out == text else expand(out, values, where, depth + 1)


def _sum(text: str, values: dict[str, str]) -> str:
    """Integer arithmetic of ``$((…))``; what cannot be computed keeps its text, without a dollar to expand again."""
    named = re.sub(r"[A-Za-z_]\w*", lambda m: values.get(m[0], m[0]), text)
    try:
        return str(_integer(ast.parse(named.strip(), mode="eval").body)) if len(named) < 200 else f"(({text}))"
    except (SyntaxError, ValueError, ZeroDivisionError, RecursionError):
        return f"(({text}))"


def _integer(node: ast.expr) -> int:
    if isinstance(node, ast.Constant) and type(node.value) is int and abs(node.value) < _LARGEST:
        return node.value
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_integer(node.operand)
    if isinstance(node, ast.BinOp):
        left, right = _integer(node.left), _integer(node.right)
        out = _combined(node.op, left, right)
        if abs(out) < _LARGEST:
            return out
    raise ValueError("not integer arithmetic")


def _combined(op: ast.operator, left: int, right: int) -> int:
    """Division truncates toward zero, as in a shell."""
    if isinstance(op, ast.Add):
        return left + right
    if isinstance(op, ast.Sub):
        return left - right
    if isinstance(op, ast.Mult):
        return left * right
    if isinstance(op, (ast.Div, ast.FloorDiv)):
        return abs(left) // abs(right) * (1 if (left < 0) == (right < 0) else -1)
    if isinstance(op, ast.Mod):
        return left - right * _combined(ast.Div(), left, right)
    raise ValueError("not integer arithmetic")
