"""Edits of a valid file: a value replaced by a hostile one, a key lost or doubled, bytes cut, swapped or inserted.

An edit is three small numbers and means something for every file, so a search engine can make, keep and shrink it.
"""

from __future__ import annotations

import copy
import gzip
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fuzz.codecs import Tree, parse, write

#: what stands in for a value: wrong kinds, ends of ranges, text that other programs would obey
HOSTILE: tuple[Any, ...] = (
    None, True, False, "", " ", [], {}, [[]], [None], {"a": {"b": []}}, 0, -1, 1, 2, 3, 7, 0.5, -0.5, 1e-320, 1e308,
    -1e308, float("nan"), float("inf"), float("-inf"), 2**31, 2**63, 2**64, 10**18, 10**30, 10**400, -(10**400),
    1e18, 1e300, "nan", "inf", "-inf", "1e400", "1e-400", "0", "-1", "0x10", "1_000", "٣", "１２", "½", "1" * 5000,
    "x" * 300, "x" * 20_000, "a\nb", "a\rb", "a\tb", "\x1b[31mred\x1b]0;title\x07", "a\u202eb", "a\u2028b", "a\x00b",
    "\ud800", "é" * 200, "<script>alert(1)</script>", "\"><img src=x onerror=alert(1)>", "'\"`", "=1+1", "+1", "-1+1",
    "@SUM(A1)", "\t=1", "|x|y|", "../../../etc/passwd", "/etc/passwd", "/dev/zero", "/proc/self/mem", "~root",
    "file:///etc/passwd", "C:\\x", "__import__('os').system('true')", "{0.__class__}", "%s%s%s%n", "${HOME}",
    "1 TB/s", "1e300 TB/s", "1e-300 B/s", "-5 GB", "5 parsecs", "0 USD/h", "1e300 USD/h", "1 CNY/h", "0 s", "1e-300 s",
    "deepseek-v3", "h800-sxm", "unknown", "n/a", "none", "all", "auto", "fp8", "bf16", "2026-01-01", "|V0", "<U0",
    list(range(2000)), [1.0] * 50, ["a"] * 50, [[0.0, 1.0]] * 3,
)  # fmt: skip
_BYTES = (
    b"", b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", b"\x80", b"\xc0\x80", b"\n", b"\r", b'"', b"'", b",", b"[" * 2000,
    b"{" * 500, b'{"a":' * 3000, b"]", b"}", b"[[", b"\x1b[2J", b"NaN", b"1" * 5000, b"1e999999999", b"-", b"=", b"#",
    b"\xe2\x80\xa8", b"\x1f\x8b", b"PK\x03\x04", b"\x80\x04cos\nsystem\n", b'"""', b"\\u0000", b"\\ud800",
    b"\xf4\x90\x80\x80",
)  # fmt: skip


@dataclass(frozen=True)
class Edit:
    """``place`` chooses a node or an offset, ``kind`` what is done there, ``value`` what with."""

    place: int
    kind: int
    value: int


#: kinds of edit on trees; what is left of a longer run of numbers edits bytes
TREE_KINDS = 10


def mutated(form: str, data: bytes, edits: Sequence[Edit]) -> bytes:
    """The file after the edits: those on the tree first, then those on bytes."""
    tree = parse(form, data)
    on_tree = [edit for edit in edits if edit.kind % 13 < TREE_KINDS] if tree is not None else []
    if on_tree:
        tree = copy.deepcopy(tree)
        for edit in on_tree:
            tree = _edit_tree(tree, edit)
        data = write(form, tree)
    for edit in edits:
        if edit not in on_tree:
            data = _edit_bytes(data, edit, form)
    return data


def _nodes(tree: Tree) -> list[tuple[Any, Any]]:
    """(container, key) of every value below the root, at most some thousands."""
    found: list[tuple[Any, Any]] = []
    waiting = [tree]
    while waiting and len(found) < 5000:
        node = waiting.pop(0)
        pairs = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
        for key, value in pairs:
            found.append((node, key))
            if isinstance(value, (dict, list)):
                waiting.append(value)
    return found


def _edit_tree(tree: Tree, edit: Edit) -> Tree:
    nodes = _nodes(tree)
    hostile = copy.deepcopy(HOSTILE[edit.value % len(HOSTILE)])
    if not nodes:
        return hostile
    parent, key = nodes[edit.place % len(nodes)]
    kind = edit.kind % 13
    if kind <= 4:
        parent[key] = hostile
    elif kind == 5:
        del parent[key]
    elif kind == 6 and isinstance(parent, dict):
        parent[str(hostile)[:20_000]] = parent.pop(key)
    elif kind == 6:
        parent.insert(key, hostile)
    elif kind == 7:
        other, place = nodes[edit.value % len(nodes)]
        parent[key] = copy.deepcopy(other[place])
    elif kind == 8 and isinstance(parent, dict):
        parent[str(hostile)[:200]] = hostile
    elif kind == 8:
        parent.extend(copy.deepcopy(parent[: 1 + edit.value % 40]))
    else:
        parent[key] = _nudged(parent[key], edit.value)
    return tree


def _nudged(value: Any, by: int) -> Any:
    """A neighbour of the value: of a number another number, of a text a longer, shorter or broken one."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, (int, float)):
        if abs(value) > 1e300:
            return -value
        steps = (0, -value, value + 1, value - 1, value * 1000, value / 1000, value * 1e300, value + 0.5, -1e-9)
        return steps[by % len(steps)]
    if isinstance(value, str):
        digits = "".join("9" if letter.isdigit() else letter for letter in value)
        zeros = "".join("0" if letter.isdigit() else letter for letter in value)
        forms = (value * 2, value[: len(value) // 2], value[::-1], value.upper(), digits, zeros, "-" + value,
                 value + "e99", value + "e400", "." + value, value.replace(".", ","), value + " " + value,
                 value + "\x1b[0m")  # fmt: skip
        return forms[by % len(forms)]
    return [value, value]


def _edit_bytes(data: bytes, edit: Edit, form: str) -> bytes:
    if form.endswith(".gz") and edit.value % 3:  # inside the package more often than on it
        try:
            inner = gzip.decompress(data)
        except (OSError, EOFError, ValueError, zlib.error):
            inner = b""
        return gzip.compress(_edit_bytes(inner, Edit(edit.place, edit.kind, edit.value // 3 * 3), form), 1, mtime=0)
    at = edit.place % (len(data) + 1)
    piece = _BYTES[edit.value % len(_BYTES)]
    kind = edit.kind % 3
    if kind == 0:
        return data[:at] + piece + data[at:]
    if kind == 1:
        return data[:at] + piece + data[at + max(len(piece), 1) :]
    return data[:at] if edit.value % 2 else data[:at] + data[at + edit.value % 50 :]
