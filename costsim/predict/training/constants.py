"""Constants of training kernels: ratios of kernel tables to the laws, read from ``hwprofiles/system.toml``."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import lru_cache
from typing import Any

import numpy as np

from costsim import units
from costsim.errors import BadInput
from costsim.num import Num
from costsim.predict.system import PATH
from costsim.spec.accelerator import Accelerator
from costsim.spec.base import read_toml
from costsim.spec.catalog import load_accelerator


@dataclass(frozen=True)
class TrainingConstants:
    """Time of a training kernel over what its law says, by kind; each from a kernel table and none from a step.

    ``gemm``: forward and input-gradient products; ``block_weight_gradient``: weight gradients of block-scaled FP8;
    ``main_gradient``: share of the main gradient's traffic that a weight gradient adds; ``attention``: forward;
    ``permute``, ``cross_entropy``: those streams. ``attention_backward``, ``mla_backward``: share of the BF16 peak, and
    with ``_s0`` the extra context of the law. ``kernel_gap``: seconds between kernels; ``pair_slowdown``: transfers
    beside compute over alone; ``speed_spread``: standard deviation of speed between like devices; ``host_launch``:
    host seconds of a kernel's launch; ``collective_launch``: what a collective takes longer when a framework calls it;
    ``measured_on``: part of the GEMM ratios.
    """

    gemm: float
    block_weight_gradient: float
    main_gradient: float
    attention: float
    attention_backward: float
    attention_backward_s0: float
    mla_backward: float
    mla_backward_s0: float
    permute: float
    cross_entropy: float
    kernel_gap: float
    pair_slowdown: float
    speed_spread: float
    host_launch: float
    collective_launch: float
    measured_on: str
    sources: tuple[str, ...] = ()


@lru_cache(maxsize=32)
def constants_for(architecture: str) -> TrainingConstants:
    """The constants of an architecture, or the default's where it has none of its own."""
    table = read_toml(PATH, "system constants")["training"]
    merged: dict[str, Any] = {**table["default"], **table.get(architecture, {})}
    values: dict[str, Any] = {}
    sources: list[str] = []
    for field in fields(TrainingConstants):
        if field.name == "sources":
            continue
        if field.name not in merged:
            raise BadInput(f"{PATH.name}: no entry training.default.{field.name}")
        entry = merged[field.name]
        named = entry.get("source", [])
        sources += [named] if isinstance(named, str) else named
        if field.name == "measured_on":
            values[field.name] = str(entry["value"])
            continue
        quantity = "time" if field.name in ("kernel_gap", "host_launch", "collective_launch") else "ratio"
        values[field.name] = units.parse(entry["value"], quantity, f"system.toml: training {field.name}")
    return TrainingConstants(**values, sources=tuple(dict.fromkeys(sources)))


def slowest(devices: Num, spread: float) -> Num:
    """Time of the slowest of ``devices`` like devices over their mean: 1 + spread·E[max of n normal draws].

    E[max] ≈ √(2 ln n) − (ln ln n + ln 4π)/(2√(2 ln n)) (Cramér), zero for one device.
    """
    n = np.maximum(np.asarray(devices, dtype=float), 1.0)
    log_n = np.log(np.maximum(n, 3.0))
    root = np.sqrt(2.0 * log_n)
    top = root - (np.log(log_n) + np.log(4.0 * np.pi)) / (2.0 * root)
    over: Num = 1.0 + spread * top * np.minimum(np.log(n) / np.log(3.0), 1.0)
    return over


def training_constants(chip: Accelerator) -> TrainingConstants:
    """The constants of a part: its architecture's, GEMMs slowed by as much as its power limit asks for.

    A chip at its power limit runs at clocks that follow the cube root of power (P ∝ f·V², V ∝ f), so the slowdown goes
    with ((peak/TDP)/(peak/TDP where measured))^(1/3), and never below 1.
    """
    found = constants_for(chip.architecture)
    needed = _flop_per_joule(chip)
    reference = _flop_per_joule(load_accelerator(found.measured_on))
    if needed is None or reference is None:
        return found
    scale = float(np.cbrt(needed / reference))
    return replace(
        found, gemm=max(found.gemm * scale, 1.0), block_weight_gradient=max(found.block_weight_gradient * scale, 1.0)
    )


def _flop_per_joule(chip: Accelerator) -> float | None:
    """BF16 peak over TDP, where both are known."""
    if not (chip.known("bf16") and chip.known("tdp")):
        return None
    return chip.need("bf16") / chip.need("tdp")
