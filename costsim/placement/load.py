"""Expert loads from files and generators: counts [layers, experts], or a trace of token-level choices.

Files are data: size-bounded, never unpickled or evaluated; what is malformed is refused by name.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from costsim.errors import Malformed, UnreadableFile
from costsim.files import json_of, open_npy, read_text
from costsim.placement.placement import Loads

#: no model comes near these; a file beyond them is no load
MOST_LAYERS, MOST_EXPERTS, MOST_TOKENS, MOST_TOP_K = 1024, 4096, 4_000_000, 64
MOST_BYTES, MOST_TEXT_BYTES = 2_000_000_000, 64_000_000
LARGEST_COUNT = 1e18
FORMATS = (".npy", ".csv", ".json")
#: headings of a first column that counts layers instead of tokens
INDEX_COLUMNS = ("layer", "layers", "layer_id", "index", "id", "")


@dataclass(frozen=True)
class ExpertLoads:
    """``counts`` [layers, experts]: tokens that chose each expert. ``tokens`` [layers, tokens, top_k] where traced."""

    counts: Loads
    tokens: NDArray[np.integer] | None = None


def read_loads(path: str | Path, experts: int | None = None) -> ExpertLoads:
    """Counts (2-D, one row a layer) or a trace (3-D: layers × tokens × chosen experts) from .npy, .csv or .json.

    JSON is a list of rows, or an object that holds one under ``loads``, ``counts`` or ``topk``. ``experts`` is needed
    for traces whose last experts nobody chose. Raises BadInput naming the file and what is wrong.
    """
    file = Path(path)
    kind = file.suffix.lower()
    if kind not in FORMATS:
        raise Malformed(f"{path}: loads are read from {', '.join(FORMATS)}")
    if not file.is_file():
        raise UnreadableFile(f"{path}: no such file; give layers × experts token counts as {', '.join(FORMATS)}")
    most = MOST_BYTES if kind == ".npy" else MOST_TEXT_BYTES
    if file.stat().st_size > most:
        raise UnreadableFile(f"{path}: {file.stat().st_size:,} bytes; at most {most:,} are read")
    try:
        table = {".npy": _npy, ".csv": _csv, ".json": _json}[kind](file)
    except (OSError, UnicodeDecodeError, RecursionError) as error:
        raise UnreadableFile(f"{path}: cannot be read as {kind[1:]} ({type(error).__name__})") from None
    return _trace(table, str(path), experts) if table.ndim == 3 else ExpertLoads(checked(table, str(path), experts))


def _npy(file: Path) -> NDArray[Any]:
    table: NDArray[Any] = open_npy(file, "loads")
    return table


def _csv(file: Path) -> NDArray[Any]:
    try:
        lines = read_text(file, "loads", MOST_TEXT_BYTES).splitlines()
        rows = [row for row in csv.reader(lines) if any(cell.strip() for cell in row)]
    except csv.Error as error:
        raise Malformed(f"{file}: not CSV ({error})") from None
    if rows and not any(_is_number(cell) for cell in rows[0]):
        heading, rows = [cell.strip().lower() for cell in rows[0]], rows[1:]
        if heading[0] in INDEX_COLUMNS:
            raise Malformed(
                f"{file}: column {heading[0]!r} numbers the layers; leave it out, every column is an expert"
            )
    for number, row in enumerate(rows, 1):
        for cell in row:
            if not _is_number(cell):
                raise Malformed(f"{file}: row {number} holds {cell.strip()[:30]!r}; every cell is a token count")
    return _rectangular([[float(cell) for cell in row] for row in rows], file)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _json(file: Path) -> NDArray[Any]:
    content = json_of(read_text(file, "loads", MOST_TEXT_BYTES), str(file))
    if isinstance(content, dict):
        key = next((key for key in ("loads", "counts", "topk") if key in content), None)
        if key is None:
            raise Malformed(f"{file}: no key loads, counts or topk among {', '.join(map(str, list(content)[:6]))}")
        content = content[key]
    return _rectangular(content, file)


def _rectangular(rows: Any, file: Path) -> NDArray[Any]:
    """Nested lists as an array; ragged rows and anything but numbers are refused."""
    if not isinstance(rows, list):
        raise Malformed(f"{file}: holds {str(rows)[:30]!r}; a list of rows, one row of token counts a layer, is needed")
    if not rows:
        raise Malformed(f"{file}: empty; one row of token counts a layer is needed")
    if all(isinstance(row, list) for row in rows) and len({len(row) for row in rows}) > 1:
        lengths = sorted({len(row) for row in rows})
        raise Malformed(f"{file}: rows of {lengths[0]} to {lengths[-1]} cells; every layer has the same experts")
    try:
        table = np.array(rows)
    except (ValueError, OverflowError):
        raise Malformed(f"{file}: rows of different lengths or depths; layers × experts is needed") from None
    if table.dtype.kind not in "iuf":
        raise Malformed(f"{file}: holds something other than numbers; layers × experts token counts are needed")
    return table


def checked(table: NDArray[Any], name: str, experts: int | None = None) -> Loads:
    """Counts as floats [layers, experts]; a single row is one layer. Refused: wrong shape, negative, NaN, all zero."""
    if table.ndim == 1:
        table = table[None, :]
    if table.ndim != 2 or 0 in table.shape:
        raise Malformed(f"{name}: shape {table.shape}; needs layers × experts (or layers × tokens × top_k)")
    layers, width = table.shape
    if layers > MOST_LAYERS or not 2 <= width <= MOST_EXPERTS:
        raise Malformed(
            f"{name}: {layers} layers × {width} experts; at most {MOST_LAYERS} × {MOST_EXPERTS}, 2 at least"
        )
    if experts is not None and width != experts:
        hint = "; is it transposed?" if layers == experts else ""
        raise Malformed(f"{name}: {width} experts a layer where the model has {experts}{hint}")
    counts = np.array(table, dtype=float)
    for what, bad in (("NaN or infinite", ~np.isfinite(counts)), ("negative", counts < 0)):
        if bad.any():
            layer, expert = np.argwhere(bad)[0]
            raise Malformed(f"{name}: {what} count at layer {layer}, expert {expert}; counts are finite, 0 or more")
    if counts.max() > LARGEST_COUNT:
        raise Malformed(f"{name}: a count of {counts.max():.2g}; at most {LARGEST_COUNT:g}")
    empty = np.flatnonzero(counts.sum(axis=1) <= 0)
    if len(empty):
        raise Malformed(f"{name}: layer {empty[0]} is all zero; a layer without tokens has no load to place")
    return counts


def _trace(table: NDArray[Any], name: str, experts: int | None) -> ExpertLoads:
    """A trace's choices and the counts they add up to."""
    layers, tokens, top_k = table.shape
    if 0 in table.shape or layers > MOST_LAYERS or tokens > MOST_TOKENS or top_k > MOST_TOP_K:
        raise Malformed(
            f"{name}: trace of shape {table.shape}; layers × tokens × top_k of at least 1 and at most "
            f"{MOST_LAYERS} × {MOST_TOKENS:,} × {MOST_TOP_K}"
        )
    if layers * tokens * top_k > MOST_BYTES // 4:
        raise Malformed(f"{name}: {layers * tokens * top_k:,} choices; at most {MOST_BYTES // 4:,}")
    if table.dtype.kind == "f" and not (np.isfinite(table).all() and (table == np.floor(table)).all()):
        raise Malformed(f"{name}: a trace holds expert numbers, whole and finite")
    low, high = table.min(), table.max()
    limit = experts if experts is not None else MOST_EXPERTS
    if low < 0 or high >= limit:
        raise Malformed(f"{name}: expert numbers from {low:.0f} to {high:.0f}; they run from 0 to {limit - 1}")
    width = experts if experts is not None else int(high) + 1
    chosen = np.asarray(table).astype(np.int16)
    counts = np.stack([np.bincount(layer.ravel(), minlength=width) for layer in chosen]).astype(float)
    return ExpertLoads(checked(counts, name), chosen)


def lognormal(layers: int, experts: int, sigma: float, tokens: float = 1e6, seed: int = 0) -> ExpertLoads:
    """Popularity e^{σz}, z standard normal: of the shapes tried, the one nearest to V3's recorded loads. [deepep-skew]

    No full table of a DeepSeek deployment's loads is public; fragments of single ranks have σ of 0.57 and 0.83.
    """
    if not 0.0 <= sigma <= 5.0:
        raise Malformed(f"lognormal:{sigma:g}: sigma from 0 to 5, such as 0.8")
    weight = np.exp(np.random.default_rng(seed).normal(0.0, sigma, (layers, experts)))
    return ExpertLoads(weight / weight.sum(axis=1, keepdims=True) * tokens)


def power_law(layers: int, experts: int, exponent: float, tokens: float = 1e6, seed: int = 0) -> ExpertLoads:
    """Popularity rank^−a, ranks shuffled in every layer."""
    if not 0.0 <= exponent <= 5.0:
        raise Malformed(f"powerlaw:{exponent:g}: exponent from 0 to 5, such as 0.7")
    weight = np.arange(1.0, experts + 1.0) ** -exponent
    rows = np.random.default_rng(seed).permuted(np.broadcast_to(weight, (layers, experts)), axis=1)
    return ExpertLoads(rows / weight.sum() * tokens)


@dataclass(frozen=True)
class LayerStatistics:
    """How uneven each layer is, arrays over layers: hottest expert over the mean, spread of the logarithms (over
    experts that have tokens), Gini coefficient, and the share of tokens of the hottest eighth of the experts."""

    max_over_mean: Loads
    log_sigma: Loads
    gini: Loads
    top_eighth: Loads


def statistics(counts: Loads) -> LayerStatistics:
    """Statistics of [layers, experts] counts."""
    experts = counts.shape[1]
    ordered = np.sort(counts, axis=1)
    total = ordered.sum(axis=1)
    logs = np.log(np.where(counts > 0, counts, np.nan))
    rank = np.arange(1, experts + 1)
    return LayerStatistics(
        max_over_mean=ordered[:, -1] / total * experts,
        log_sigma=np.nanstd(logs, axis=1),
        gini=(2.0 * rank - experts - 1.0) @ ordered.T / (experts * total),
        top_eighth=ordered[:, -max(experts // 8, 1) :].sum(axis=1) / total,
    )
