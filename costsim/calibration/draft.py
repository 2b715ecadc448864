"""A draft accelerator from measurements: peaks and bandwidth as measured, the rest unknown until it is read up."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from typing import Any

from costsim.calibration.measurement import Measurement
from costsim.errors import BadOption
from costsim.spec.accelerator import DATASHEET, Accelerator
from costsim.spec.base import build

#: families whose FLOP/s show a peak
_PRODUCTS = ("gemm", "batched_gemm", "grouped_gemm", "moe", "moe_normal", "moe_masked")
_WIRES = ("all_reduce", "all_gather", "reduce_scatter", "all_to_all", "p2p")
_ID = re.compile(r"[a-z0-9][a-z0-9.-]{0,60}")


def draft_peaks(rows: Sequence[Measurement]) -> dict[str, float]:
    """Datasheet field → the best that any row reached: FLOP/s by format, bytes/s of memory and of the fabric.

    Every row then takes at least its time at light, so none is refused as faster than the sheet. On a processor the
    fastest stream comes from a cache; laws state what is left of it at each size.
    """
    found: dict[str, float] = {}

    def raise_to(name: str, value: float) -> None:
        found[name] = max(found.get(name, 0.0), value)

    for row in rows:
        if row.wire:
            raise_to("scale_up_bandwidth", _line_bytes(row) / row.time_s)
            continue
        if row.flop and row.dtype in DATASHEET:
            raise_to(row.dtype, row.flop / row.time_s)
        if row.bytes:
            raise_to("memory_bandwidth", row.bytes / row.time_s)
    if not any(name in found for name in ("bf16", "fp32", "fp8", "int8")) or "memory_bandwidth" not in found:
        raise BadOption(
            "--draft: the measurements need rows with flop (gemm) and with bytes to show a peak and a bandwidth"
        )
    # written with five digits: a little more, so that the fastest row stays below the sheet
    return {name: value * 1.0001 for name, value in found.items()}


def _line_bytes(row: Measurement) -> float:
    """Bytes that one rank sends at line rate, as :func:`costsim.timing.duration.line_seconds` counts them."""
    ranks, sent = row.wire.get("ranks", 1.0), row.wire.get("up_bytes", 0.0)
    ring = (ranks - 1.0) / max(ranks, 1.0)
    return sent * {"all_reduce": 2.0 * ring, "all_gather": ring, "reduce_scatter": ring}.get(row.family, 1.0)


def draft_text(name: str, rows: Sequence[Measurement], facts: Mapping[str, Any]) -> str:
    """The TOML of accelerator ``name`` with measured peaks. ``facts``: name, device, memory_bytes, cores, devices."""
    if not _ID.fullmatch(name):
        raise BadOption(f"--draft {name[:60]}: an id has lower-case letters, digits, dots and dashes, like my-chip")
    peaks = draft_peaks(rows)
    device = str(facts.get("device", "cpu")).partition(":")[0]
    shown = _clean(facts.get("name")) or name
    devices = _whole(facts.get("devices")) or 1
    lines = [
        f"# Draft of {shown}: peaks are the best that `costsim profile` measured, not what the vendor states.",
        "# Replace them by the datasheet's where you have it, with its key in hwprofiles/references.bib as the source.",
        "",
        f'id = "{name}"',
        f'name = "{shown}"',
        'vendor = "unknown"',
        'architecture = "unknown"',
        f"node_devices = {devices}",
        f'torch_device = "{_clean(device)}"',
        'notes = "Drafted from measurements."',
        "",
        "[datasheet]",
    ]
    known = {key: f"{v:.5g} {'B/s' if key.endswith('bandwidth') else 'FLOP/s'}" for key, v in peaks.items()}
    ranks = max((row.wire.get("domain", 1.0) for row in rows if row.wire), default=1.0)
    known["scale_up_domain"] = str(max(devices, int(ranks)))
    if memory := _whole(facts.get("memory_bytes")):
        known["memory"] = f"{memory} B"
    if cores := _whole(facts.get("cores")):
        known["cores"] = str(cores)
    for key in DATASHEET:
        if key not in known:
            lines.append(f'{key} = {{ value = "unknown" }}')
            continue
        note = ', note = "measured"' if key in peaks else ', note = "as the machine says"'
        lines.append(f'{key} = {{ value = "{known[key]}", confidence = "B"{note} }}')
    return "\n".join(lines) + "\n"


def _whole(value: Any) -> int:
    """A positive whole number from a user's facts, or 0."""
    return int(value) if isinstance(value, int | float) and 1 <= value < 1e18 else 0


def _clean(text: Any) -> str:
    """Text for a TOML string: printable, without quotes and backslashes, at most 80 characters."""
    return "".join(c for c in str(text or "") if c.isprintable() and c not in '"\\')[:80].strip()


def drafted(name: str, rows: Sequence[Measurement], facts: Mapping[str, Any]) -> tuple[str, Accelerator]:
    """The text of the draft and the accelerator that it describes."""
    text = draft_text(name, rows, facts)
    return text, build(Accelerator, tomllib.loads(text), f"{name}.toml")
