"""A file as a tree that can be edited, and back: so that an edit reaches a value instead of breaking the syntax.

A tree is dicts, lists and scalars. What cannot be parsed has no tree, and is edited as bytes alone.
"""

from __future__ import annotations

import ast
import csv
import gzip
import io
import json
import math
import re
import struct
import tomllib
import zlib
from typing import Any

Tree = Any
#: a JSON number that no Python float can hold must still be written
HUGE = "1" + "0" * 400


def _json_read(data: bytes) -> Tree:
    return json.loads(data)


def _json_write(tree: Tree) -> bytes:
    return json.dumps(tree, indent=None).encode("utf-8", "surrogatepass")


def _lines_read(data: bytes) -> Tree:
    """JSON lines."""
    return [json.loads(line) for line in data.splitlines() if line.strip()]


def _lines_write(tree: Tree) -> bytes:
    rows = tree if isinstance(tree, list) else [tree]
    return b"".join(_json_write(row) + b"\n" for row in rows)


def _toml_read(data: bytes) -> Tree:
    return tomllib.loads(data.decode("utf-8-sig"))


def _toml_write(tree: Tree) -> bytes:
    if not isinstance(tree, dict):
        return f"value = {_toml(tree)}\n".encode("utf-8", "surrogatepass")
    rows = [f"{_toml_key(key)} = {_toml(value)}" for key, value in tree.items()]
    return ("\n".join(rows) + "\n").encode("utf-8", "surrogatepass")


def _toml_key(key: Any) -> str:
    text = str(key)
    return text if re.fullmatch(r"[A-Za-z0-9_-]+", text) else json.dumps(text)


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and not math.isfinite(value):
        return "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_toml_key(key)} = {_toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    if value is None:
        return '"none"'
    return json.dumps(value) if isinstance(value, str) else str(value)


def _csv_read(data: bytes) -> Tree:
    return [list(row) for row in csv.reader(io.StringIO(data.decode("utf-8-sig")))]


def _csv_write(tree: Tree) -> bytes:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    for row in tree if isinstance(tree, list) else [[tree]]:
        writer.writerow([_cell(cell) for cell in (row if isinstance(row, list) else [row])])
    return stream.getvalue().encode("utf-8", "surrogatepass")


def _cell(value: Any) -> str:
    return value if isinstance(value, str) else "" if value is None else str(value)


def _text_read(data: bytes) -> Tree:
    """Lines of words with the space between them."""
    return [re.split(r"(\s+)", line) for line in data.decode("utf-8").split("\n")]


def _text_write(tree: Tree) -> bytes:
    lines = tree if isinstance(tree, list) else [[tree]]
    rows = ["".join(_cell(word) for word in (line if isinstance(line, list) else [line])) for line in lines]
    return "\n".join(rows).encode("utf-8", "surrogatepass")


def _npy_read(data: bytes) -> Tree:
    """The header of a version-1 file as a dict, and the bytes behind it as latin-1 text."""
    size = struct.unpack("<H", data[8:10])[0]
    head = ast.literal_eval(data[10 : 10 + size].decode("latin-1"))
    return {"header": dict(head) | {"shape": list(head["shape"])}, "body": data[10 + size :].decode("latin-1")}


def _npy_write(tree: Tree) -> bytes:
    head = tree.get("header") if isinstance(tree, dict) else tree
    body = tree.get("body", "") if isinstance(tree, dict) else ""
    if isinstance(head, dict) and isinstance(head.get("shape"), list):
        head = head | {"shape": tuple(head["shape"])}
    text = repr(head).encode("latin-1", "replace")
    text += b" " * (-(10 + len(text) + 1) % 64) + b"\n"
    packed = struct.pack("<H", min(len(text), 65535))
    return b"\x93NUMPY\x01\x00" + packed + text + str(body).encode("latin-1", "replace")


def _safetensors_read(data: bytes) -> Tree:
    size = struct.unpack("<Q", data[:8])[0]
    return {"size": 0, "header": json.loads(data[8 : 8 + size]), "body": data[8 + size :].decode("latin-1")}


def _safetensors_write(tree: Tree) -> bytes:
    if not isinstance(tree, dict):
        return _json_write(tree)
    head = _json_write(tree.get("header"))
    extra = tree.get("size", 0)
    whole = isinstance(extra, int) or (isinstance(extra, float) and math.isfinite(extra))
    size = len(head) + (int(extra) if whole else 0)
    return struct.pack("<Q", size % 2**64) + head + str(tree.get("body", "")).encode("latin-1", "replace")


CODECS = {
    "json": (_json_read, _json_write),
    "jsonl": (_lines_read, _lines_write),
    "toml": (_toml_read, _toml_write),
    "csv": (_csv_read, _csv_write),
    "text": (_text_read, _text_write),
    "npy": (_npy_read, _npy_write),
    "safetensors": (_safetensors_read, _safetensors_write),
}


def parse(form: str, data: bytes) -> Tree | None:
    """The tree of a file, or None where it has none. ``.gz`` after the form: packed."""
    try:
        if form.endswith(".gz"):
            return parse(form.removesuffix(".gz"), gzip.decompress(data))
        return CODECS[form][0](data)
    except (ValueError, TypeError, KeyError, AttributeError, IndexError, RecursionError, SyntaxError, EOFError, OSError,
            struct.error, csv.Error, zlib.error, MemoryError):  # fmt: skip
        return None


def write(form: str, tree: Tree) -> bytes:
    """The file of a tree; what the form cannot say comes out as its text."""
    if form.endswith(".gz"):
        return gzip.compress(write(form.removesuffix(".gz"), tree), 1, mtime=0)
    try:
        return CODECS[form][1](tree)
    except (ValueError, TypeError, RecursionError, AttributeError):
        return repr(tree)[:100_000].encode("utf-8", "replace")
