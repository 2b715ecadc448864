"""Constants of training kernels: ratios of kernel tables to the laws, read from ``hwprofiles/system.toml``."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import lru_cache
from typing import Any

import numpy as np

from costsim import units
from costsim.calibration.store import device_for
from costsim.errors import Malformed
from costsim.num import Num
from costsim.predict.system import PATH
from costsim.spec.accelerator import Accelerator
from costsim.spec.base import read_toml
from costsim.spec.catalog import load_accelerator
from costsim.timing.device import FittedLaw, worst


@dataclass(frozen=True)
class Products:
    """Time of training's matrix products over their law, as kernels of one part in one number format showed it."""

    on: str
    format: str
    ratio: float


@dataclass(frozen=True)
class TrainingConstants:
    """Time of a training kernel over what its law says, by kind; each from a kernel table and none from a step.

    ``products``: forward and input-gradient products; ``block_weight_gradient``: weight gradients of block-scaled FP8;
    ``main_gradient``: share of the main gradient's traffic that a weight gradient adds; ``attention``: forward;
    ``permute``, ``cross_entropy``: those streams. ``attention_backward``, ``mla_backward``: share of the BF16 peak, and
    with ``_s0`` the extra context of the law. ``kernel_gap``: seconds between kernels; ``pair_slowdown``: transfers
    beside compute over alone; ``speed_spread``: standard deviation of speed between like devices; ``host_launch``:
    host seconds of a kernel's launch; ``collective_launch``: what a collective takes longer when a framework calls it.
    """

    products: tuple[Products, ...]
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
    sources: tuple[str, ...] = ()

    def like(self, dtype: str) -> tuple[Products, ...]:
        """The kernels that tell most of a format: its own, else all."""
        own = tuple(one for one in self.products if one.format == dtype)
        return own or self.products

    def gemm(self, dtype: str) -> float:
        """Ratio of a format's products; where several parts showed it, the geometric mean."""
        return float(np.exp(np.mean([np.log(one.ratio) for one in self.like(dtype)])))


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
            raise Malformed(f"{PATH.name}: no entry training.default.{field.name}")
        entry = merged[field.name]
        for one in entry if isinstance(entry, list) else [entry]:
            named = one.get("source", [])
            sources += [named] if isinstance(named, str) else named
        if field.name == "products":
            where = f"{PATH.name}: training products"
            values["products"] = tuple(Products(one["on"], one["format"], units.parse(one["value"], "ratio", where))
                                       for one in entry)  # fmt: skip
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
    """The constants of a part: its architecture's, products slowed by as much as its power limit asks for. Kernels of
    the part itself come before those of others in the same format.

    A chip at its power limit runs at clocks that follow the cube root of power (P ∝ f·V², V ∝ f), so the slowdown goes
    with ((peak/TDP)/(peak/TDP where measured))^(1/3); more power than there makes no product faster than its law.
    """
    found = constants_for(chip.architecture)
    own = {one.format for one in found.products if one.on == chip.id}
    kept = [one for one in found.products if one.on == chip.id or one.format not in own]
    products = tuple(replace(one, ratio=max(one.ratio * _power(chip, one.on), min(one.ratio, 1.0))) for one in kept)
    block = found.block_weight_gradient * _power(chip, found.like("fp8")[0].on)
    return replace(found, products=products, block_weight_gradient=max(block, 1.0))


def _power(chip: Accelerator, measured_on: str) -> float:
    """Clocks of the part measured over this one's, at the power limits of both; 1 where either is unknown."""
    needed, reference = _flop_per_joule(chip), _flop_per_joule(load_accelerator(measured_on))
    return 1.0 if needed is None or reference is None else float(np.cbrt(needed / reference))


def measured(chip: Accelerator, constants: TrainingConstants, dtype: str) -> bool:
    """Whether the products' ratio comes from kernels of this silicon at this power in this number format."""
    return any(
        one.format == dtype and same_silicon(chip, one.on) and abs(_power(chip, one.on) - 1.0) < 0.01
        for one in constants.products
    )


def same_silicon(chip: Accelerator, source: str) -> bool:
    """Whether ``source`` is this part or its twin in the catalog."""
    return chip.id == source or chip.sibling == source or load_accelerator(source).sibling == chip.id


def laws_of_ratios(chip: Accelerator, constants: TrainingConstants) -> dict[str, FittedLaw]:
    """The GEMM laws that the ratios divide by, for parts with the same compute as the one they were taken on.

    H100 and H800 are one die, but their laws come from two kernel libraries: the ratio of a trace to one law, put on
    the other, would count the difference of the libraries as slower clocks.
    """
    laws: dict[str, FittedLaw] = {}
    for one in constants.products:
        if chip.calibration or chip.id == one.on or chip.dies != 1 or not measured(chip, constants, one.format):
            continue
        law = device_for(load_accelerator(one.on)).law("gemm", one.format)
        laws[f"gemm/{one.format}"] = replace(law, grade=worst([law.grade, "C"]))
    return laws


def _flop_per_joule(chip: Accelerator) -> float | None:
    """BF16 peak over TDP, where both are known."""
    if not (chip.known("bf16") and chip.known("tdp")):
        return None
    return chip.need("bf16") / chip.need("tdp")
