"""Measurements: one CSV row is one timed kernel or collective. The form every source is turned into.

Columns: ``family,dtype,m,n,k,groups,batch,queries,heads,kv_heads,context,rows,head_dim,experts,skew,tokens,``
``sms,flop,bytes,up_bytes,out_bytes,ranks,domain,time_s,source,notes``. SI units; empty where it does not
apply, and a file may leave columns out. ``flop`` and ``bytes`` are the compulsory work of the kernel as
:mod:`costsim.physics` counts it. For an MoE layer ``experts`` are held by the rank, ``groups`` of them get
tokens, ``skew`` is the busiest over their mean and ``tokens`` the batch; ``sms`` a collective may use.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from costsim.errors import Malformed
from costsim.files import inert, read_text, write

SHAPE_COLUMNS = (
    "m", "n", "k", "groups", "batch", "queries", "heads", "kv_heads", "context", "rows",
    "head_dim", "experts", "skew", "tokens", "sms",
)  # fmt: skip
WIRE_COLUMNS = ("up_bytes", "out_bytes", "ranks", "domain")
COLUMNS = ("family", "dtype", *SHAPE_COLUMNS, "flop", "bytes", *WIRE_COLUMNS, "time_s", "source", "notes")
MAX_ROWS = 2_000_000
MAX_FILE_BYTES = 500_000_000
#: least and most of a column; what lies outside is another unit or a slip
TIME_S = (1e-9, 1e6)
SHAPE = (1.0, 1e12)
WORK = (0.0, 1e24)


@dataclass(frozen=True)
class Measurement:
    """One timed kernel (or, with ``up_bytes``/``out_bytes``, one collective)."""

    family: str
    dtype: str
    time_s: float
    source: str
    flop: float = 0.0
    bytes: float = 0.0
    shape: dict[str, float] = field(default_factory=dict)
    wire: dict[str, float] = field(default_factory=dict)

    @property
    def key(self) -> str:
        return f"{self.family}/{self.dtype}"

    @property
    def shape_class(self) -> tuple[float, ...]:
        """What is held out together: a GEMM's (n, k), a collective's size, one shape, or all of it but the batch."""
        if self.family == "batched_gemm" or self.family.split("@")[0] == "moe":
            return tuple(value for _, value in sorted(self.shape.items()))
        if "n" in self.shape:
            return (self.shape["n"], self.shape["k"])
        if self.wire:
            return tuple(value for _, value in sorted(self.wire.items()))
        return tuple(value for name, value in sorted(self.shape.items()) if name != "batch")


def _number(row: dict[str, str], name: str, where: str, span: tuple[float, float] = WORK) -> float | None:
    text = (row.get(name) or "").strip()
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        raise Malformed(f"{where}: {name} = {text[:40]!r} is not a number") from None
    if not span[0] <= value <= span[1]:  # NaN too
        raise Malformed(f"{where}: {name} = {text[:40]!r} must be from {span[0]:g} to {span[1]:g}")
    return value


def _row(row: dict[str, str], where: str) -> Measurement:
    if None in row or any(value is None for value in row.values()):
        raise Malformed(f"{where}: has {'more' if None in row else 'fewer'} fields than the header")
    time_s = _number(row, "time_s", where, TIME_S)
    if time_s is None:
        raise Malformed(f"{where}: time_s is empty")
    shape = {name: value for name in SHAPE_COLUMNS if (value := _number(row, name, where, SHAPE)) is not None}
    wire = {name: value for name in WIRE_COLUMNS[:2] if (value := _number(row, name, where)) is not None}
    wire |= {name: value for name in WIRE_COLUMNS[2:] if (value := _number(row, name, where, SHAPE)) is not None}
    family, dtype = (row.get("family") or "").strip(), (row.get("dtype") or "").strip()
    if not family or not dtype:
        raise Malformed(f"{where}: family and dtype must be given")
    return Measurement(
        family=family,
        dtype=dtype,
        time_s=time_s,
        source=(row.get("source") or "").strip(),
        flop=_number(row, "flop", where) or 0.0,
        bytes=_number(row, "bytes", where) or 0.0,
        shape=shape,
        wire=wire,
    )


def read_measurements(path: Path) -> list[Measurement]:
    """The rows of a measurement CSV; lines that start with # are comments."""
    text = read_text(path, "measurements", MAX_FILE_BYTES)
    numbered = [(n, line) for n, line in enumerate(text.splitlines(), start=1) if not line.startswith("#")]
    if len(numbered) > MAX_ROWS:
        raise Malformed(f"measurements {path}: more than {MAX_ROWS} rows")
    reader = csv.DictReader(line for _, line in numbered)
    try:
        header = reader.fieldnames or ()
        missing = {"family", "dtype", "time_s"} - set(header)
        if missing:
            raise Malformed(f"measurements {path}: no column {sorted(missing)[0]!r}; columns: {','.join(COLUMNS)}")
        if twice := [name for name in header if list(header).count(name) > 1]:
            raise Malformed(f"measurements {path}: column {twice[0]!r} is there twice")
        rows = [_row(row, f"{path.name} line {numbered[reader.line_num - 1][0]}") for row in reader]
    except csv.Error as error:
        raise Malformed(f"measurements {path}: line {numbered[reader.line_num - 1][0]}: {error}") from None
    if not rows:
        raise Malformed(f"measurements {path}: no rows")
    return rows


def write_measurements(path: Path, rows: Iterable[Measurement], comment: str = "") -> None:
    """Write rows in the form :func:`read_measurements` reads."""
    file = io.StringIO()
    for line in comment.splitlines():
        file.write(f"# {line}\n")
    writer = csv.writer(file, lineterminator="\n")
    used = [c for c in COLUMNS if c != "notes"]
    writer.writerow(used)
    for row in rows:
        values = {"family": row.family, "dtype": row.dtype, "time_s": row.time_s, "source": inert(row.source),
                  "flop": row.flop or None, "bytes": row.bytes or None, **row.shape, **row.wire}  # fmt: skip
        writer.writerow(
            ["" if (v := values.get(c)) is None else f"{v:.8g}" if isinstance(v, float) else v for c in used]
        )
    write(path, file.getvalue())
