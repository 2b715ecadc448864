"""Calibrate: measurements of one accelerator into its calibration file, family by family."""

from __future__ import annotations

import datetime
import json
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from costsim.calibration.fit import Fit, fit
from costsim.calibration.measurement import Measurement, read_measurements
from costsim.calibration.store import calibration_text, device_for, law_json
from costsim.errors import BadOption
from costsim.spec.accelerator import PEAK_OF, Accelerator
from costsim.spec.catalog import MEASUREMENTS, load_accelerator


@dataclass(frozen=True)
class Calibrated:
    """The fits of one accelerator, and families whose rows could not be fitted with the reason."""

    accelerator: str
    fits: dict[str, Fit]
    refused: dict[str, str]

    def json(self) -> dict[str, Any]:
        return {
            "accelerator": self.accelerator,
            "laws": {key: law_json(found) for key, found in sorted(self.fits.items())},
            "refused": self.refused,
        }


#: families of the measured GPU tables that predictions use; NCCL's own all-reduce is left to the custom one,
#: which serving engines run, and DeepEP's normal mode to its authors' table (these rows mix core counts)
SILICON_FAMILIES = (
    "memory_stream",
    "gemm", "batched_gemm", "moe", "moe@sglang", "moe@vllm", "mla_prefill", "mla_decode", "attention_prefill",
    "attention_decode",
    "all_reduce_custom", "all_gather", "reduce_scatter", "all_to_all", "dispatch_ll", "combine_ll",
)  # fmt: skip
#: boxes whose cards have no peer-to-peer path: their NCCL rows (2–6 GB/s of 32) are the host's, not the card's
_NO_PEER = ("l40s",)
_DTYPES = ("bf16", "fp8", "int8", "fp4", "w4", "w4a8", "bytes")
#: rows of one family and dtype that are fitted; more of the same table teach nothing new
MOST_ROWS = 12_000


def shipped_measurements() -> list[str]:
    """Accelerators whose measurements ship with costsim."""
    return sorted(path.stem for path in MEASUREMENTS.glob("*.csv"))


def measurements_of(name: str) -> list[Measurement]:
    """The shipped measurement file of an accelerator."""
    path = MEASUREMENTS / f"{name}.csv"
    if not path.is_file():
        known = ", ".join(shipped_measurements())
        raise BadOption(
            f"no measurements of {name} are shipped; shipped: {known}; pass --measurements FILE for your own"
        )
    return read_measurements(path)


def silicon_rows(name: str) -> list[Measurement]:
    """The measured GPU tables of an accelerator (extra ``silicon``), an even sample of each family."""
    from costsim.calibration.sources.aiconfigurator import read

    groups: dict[str, list[Measurement]] = defaultdict(list)
    chip = load_accelerator(name)
    for row in read(name, SILICON_FAMILIES):
        if row.wire and name in _NO_PEER:
            continue
        if row.dtype in _DTYPES and (row.dtype == "bytes" or chip.known(PEAK_OF[row.dtype])):
            groups[row.key].append(row)
    out: list[Measurement] = []
    for key, table in groups.items():
        rows = _fastest(table) if key.startswith(("moe/", "moe@")) else table
        stride = -(-len(rows) // MOST_ROWS)
        out += [replace(row, family=row.family.removesuffix("_custom")) for row in rows[::stride]]
    return out


def _fastest(rows: Sequence[Measurement]) -> list[Measurement]:
    """The fastest of rows with one shape: the tables hold runs of one kernel that missed its tuned configuration."""
    best: dict[tuple[tuple[str, float], ...], Measurement] = {}
    for row in rows:
        shape = tuple(sorted((name, value) for name, value in row.shape.items() if name != "tokens"))
        if shape not in best or row.time_s < best[shape].time_s:
            best[shape] = row
    return list(best.values())


def calibrate(
    chip: Accelerator, rows: Sequence[Measurement], progress: Callable[[str], None] | None = None
) -> Calibrated:
    """Fit every family/dtype in ``rows`` on the datasheet of ``chip``; rows faster than light are counted out."""
    groups: dict[str, list[Measurement]] = defaultdict(list)
    for row in rows:
        groups[row.key].append(row)
    device = device_for(chip)
    fits: dict[str, Fit] = {}
    refused: dict[str, str] = {}
    for key, group in sorted(groups.items()):
        if progress is not None:
            progress(f"{chip.id} {key}: {len(group)} rows")
        family, dtype = key.split("/", 1)
        try:
            fits[key] = fit(family, dtype, group, device)
        except KeyError as error:
            refused[key] = f"{key}: column {error.args[0]!r} is empty, in some rows at least"
        except ValueError as error:
            refused[key] = str(error)
    return Calibrated(chip.id, fits, refused)


def written_text(result: Calibrated, target: Path) -> str:
    """The file's text. The date changes only when a law does, so that a rerun gives the same bytes."""
    today = datetime.date.today().isoformat()
    text = calibration_text(result.accelerator, result.fits, today)
    try:
        old = json.loads(target.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return text
    same = isinstance(old, dict) and old.get("laws") == json.loads(text)["laws"] and isinstance(old.get("date"), str)
    return calibration_text(result.accelerator, result.fits, old["date"]) if same else text
