"""Whose link loads `costsim network` shows: a collective by name, or a traffic matrix from a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from costsim import units
from costsim.errors import BadInput, BadOption, Malformed, UnreadableFile

if TYPE_CHECKING:
    from costsim.network.topology import Array, Topology

TRAFFICS = ("all_to_all", "all_reduce", "all_gather", "reduce_scatter", "p2p", "dispatch", "combine")
MAX_MATRIX_BYTES = 50_000_000


def asked_traffic(file: str | None, kind: str | None, size: float, graph: Topology) -> tuple[str, Array]:
    """What the link loads are of, and its matrix [from, to] in bytes: the user's file, or a collective's."""
    from costsim.network.deepep import RELEASES, traffic_of
    from costsim.network.summary import EXCHANGE_TOKENS, HIDDEN, pattern_traffic

    ranks = len(graph.endpoints)
    if file is not None:
        if kind is not None:
            raise BadOption("--matrix and --traffic: give one of the two")
        return file, read_matrix(Path(file), ranks)
    kind = kind or "all_to_all"
    if kind in ("dispatch", "combine"):
        tokens = EXCHANGE_TOKENS["normal"]
        sent = traffic_of(kind, ranks, tokens, HIDDEN, False, RELEASES["2025-04"], graph.domain)
        return f"{kind} of {tokens:,.0f} tokens a rank", sent.matrix
    sent = pattern_traffic(kind, ranks, graph.domain, size)
    return f"{kind.replace('_', '-')} of {units.format_si(size, 'B')} a rank", sent.matrix


def read_matrix(path: Path, ranks: int) -> Array:
    """Bytes between ranks from a CSV of plain numbers or an npy file; BadInput says what is wrong."""
    import numpy as np

    from costsim.spec.base import read_text

    if path.suffix.lower() not in (".csv", ".npy"):
        raise BadOption(f"--matrix {path}: give a .csv or an .npy file")
    try:
        if path.suffix.lower() == ".npy":
            if path.is_file() and path.stat().st_size > MAX_MATRIX_BYTES:
                raise UnreadableFile(
                    f"--matrix {path}: larger than {MAX_MATRIX_BYTES:,} bytes; is this the right file?"
                )
            found = _npy(path, ranks)
        else:
            lines = [line for line in read_text(path, "--matrix", MAX_MATRIX_BYTES).splitlines() if line.strip()]
            found = np.array([[float(cell) for cell in line.split(",")] for line in lines])
    except OSError as error:
        raise UnreadableFile(f"--matrix {path}: cannot be read ({error.strerror})") from None
    except (ValueError, TypeError, EOFError, OverflowError) as error:
        if isinstance(error, BadInput):
            raise
        raise Malformed(f"--matrix {path}: not a square of numbers ({str(error)[:80]})") from None
    if found.shape != (ranks, ranks):
        raise Malformed(f"--matrix {path}: has shape {found.shape}; {ranks} ranks take {ranks} × {ranks}")
    return found


def _npy(path: Path, ranks: int) -> Array:
    """The matrix, mapped first: a header may claim any size."""
    import numpy as np

    from costsim.files import open_npy

    found = open_npy(path, "--matrix")
    if found.shape != (ranks, ranks):
        raise Malformed(f"--matrix {path}: has shape {found.shape}; {ranks} ranks take {ranks} × {ranks}")
    return np.array(found, dtype=float)
