"""System constants that no kernel table gives: read from ``hwprofiles/system.toml``, each with what it stands on."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from costsim import units
from costsim.errors import Malformed
from costsim.spec.accelerator import Accelerator
from costsim.spec.base import read_toml
from costsim.spec.catalog import ROOT

PATH = ROOT / "hwprofiles" / "system.toml"


@dataclass(frozen=True)
class System:
    """Overheads of a runtime on a class of accelerators.

    ``kernel_gap_s``: idle time between two dependent kernels of a captured graph; ``step_host_s``: host time
    per step that the device waits for; ``overlap_slowdown``: transfer time under overlap over stand-alone;
    ``comm_sm_share``: share of cores that normal-mode dispatch and combine take while overlapped;
    ``gemm_contention``: GEMM time beside them over GEMM time alone on the cores they leave; ``decode_streams``:
    streams on which two micro-batches of a decode step compute.
    """

    kernel_gap_s: float
    step_host_s: float
    overlap_slowdown: float
    comm_sm_share: float
    gemm_contention: float
    decode_streams: float
    sources: tuple[str, ...]


@lru_cache(maxsize=1)
def _table() -> dict[str, Any]:
    return read_toml(PATH, "system constants")


@lru_cache(maxsize=64)
def system_for(torch_device: str) -> System:
    """The constants of a backend (cuda, npu, …), or the default's."""
    table = _table()
    merged = {**table["default"], **table.get(torch_device, {})}
    sources: list[str] = []
    for entry in merged.values():
        source = entry.get("source", [])
        sources += [source] if isinstance(source, str) else source

    def seconds(name: str) -> float:
        return units.parse(merged[name]["value"], "time", f"system.toml: {name}")

    def ratio(name: str) -> float:
        return units.parse(merged[name]["value"], "ratio", f"system.toml: {name}")

    try:
        return System(
            kernel_gap_s=seconds("kernel_gap"),
            step_host_s=seconds("step_host"),
            overlap_slowdown=ratio("overlap_slowdown"),
            comm_sm_share=ratio("comm_sm_share"),
            gemm_contention=ratio("gemm_contention"),
            decode_streams=ratio("decode_streams"),
            sources=tuple(dict.fromkeys(sources)),
        )
    except KeyError as error:
        raise Malformed(f"{PATH.name}: no entry {error}") from None


def system_of(chip: Accelerator) -> System:
    return system_for(chip.torch_device)
