"""Seconds of one run of the real model on one measured device: compulsory work, what the implementation adds, the host.

run = Σ products and attention (:mod:`costsim.physics`, timed by the device's laws)
    + Σ other kernels of the implementation (listed by shape, timed by the laws of memory-bound kernels)
    + kernels × host seconds per kernel + views × host seconds per view.

No term is fitted to a run of a model: laws and host seconds come from micro-benchmarks alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from costsim.physics.layout import Layout, expert_slots
from costsim.physics.op import ELEMENT_BYTES, Op
from costsim.physics.step import decode_demand, prefill_demand
from costsim.physics.training import model_passes
from costsim.physics.training.passes import Recipe
from costsim.physics.training.shard import Shard
from costsim.spec.model import ModelSpec
from costsim.timing.device import Device
from costsim.timing.duration import time_op


@dataclass(frozen=True)
class Case:
    """``phase``: prefill, decode or training. ``length``: tokens of a prompt or sequence, or tokens already cached."""

    phase: str
    model: ModelSpec
    batch: int
    length: int
    dtype: str


@dataclass(frozen=True)
class Extra:
    """Kernels of the implementation beyond products and attention; ``cold_s``: what data long untouched cost each."""

    pattern: str
    bytes: float
    cold_s: float
    count: int


@dataclass(frozen=True)
class Added:
    """What the implementation adds to the compulsory work: ``kernels`` and ``views`` count all that the host starts."""

    extras: Sequence[Extra]
    kernels: int
    views: int


@dataclass(frozen=True)
class Host:
    """Host seconds per kernel beyond the launch that is in a law (forward; training step), and per view."""

    kernel_s: float
    training_kernel_s: float
    view_s: float


@dataclass(frozen=True)
class Parts:
    """Seconds of one run by what takes them."""

    products_s: float
    experts_s: float
    attention_s: float
    other_kernels_s: float
    host_s: float

    @property
    def total_s(self) -> float:
        return self.products_s + self.experts_s + self.attention_s + self.other_kernels_s + self.host_s


def compulsory(case: Case) -> list[Op]:
    """Products and attention that physics counts for the case on one device, in the run's number format.

    The last position alone meets the vocabulary in prefill; training recomputes up-projections (and norms).
    """
    model, width = case.model, case.dtype
    layout = Layout(tp=1.0, pp=1.0, ep=1.0, moe_tp=1.0, ranks=1.0, domain=1.0, slots=expert_slots(model, 1.0, 0.0),
                    precision="bf16", kv_dtype="bf16")  # fmt: skip
    batch, length = float(case.batch), float(case.length)
    if case.phase == "prefill":
        ops = prefill_demand(model, layout, batch * length, length).ops
    elif case.phase == "decode":
        ops = decode_demand(model, layout, batch, length).ops
    else:
        ops = _training(model, batch, length)
    return [_recast(op, width) for op in ops if not op.family.startswith("memory_") and float(op.count) > 0]


def _training(model: ModelSpec, batch: float, length: float) -> tuple[Op, ...]:
    """Forward, repeated and backward ops of a step; each expert is a product of its own, as the model runs it."""
    slots = float(model.moe.experts) if model.moe else 1.0
    shard = Shard(batch * length, length, batch, tp=1.0, cp=1.0, ep=1.0, moe_tp=1.0, slots=slots, domain=1.0)
    passes = model_passes(model, shard, Recipe("bf16", eight_bit_dispatch=False), frozenset(("norm", "mla_up_proj")))
    items = (*passes.forward, *passes.again, *passes.backward, *passes.weight)
    return tuple(_apart(item) for item in items if isinstance(item, Op))


def _apart(op: Op) -> Op:
    """The products of several groups as so many of one."""
    groups = op.shape.get("groups", 1.0)
    family = "gemm" if op.family == "gemm_wgrad" else op.family
    shape = {name: value for name, value in op.shape.items() if name in ("m", "n", "k")} | {"groups": 1.0}
    if "k" not in op.shape:
        return op
    return replace(op, family=family, flop=op.flop / groups, bytes=op.bytes / groups, count=op.count * groups,
                   shape=shape)  # fmt: skip


def _recast(op: Op, dtype: str) -> Op:
    """The op in ``dtype``: physics counts 16-bit operands, a run may have 32-bit ones."""
    width, s = ELEMENT_BYTES[dtype], op.shape
    if "k" not in s:
        return replace(op, dtype=dtype, bytes=op.bytes * width / 2.0)
    m, n, k = s["m"], s["n"], s["k"]
    one = m * k + n * k + m * n
    if op.family.startswith("moe"):
        one = one + 1.5 * m * n + m * n / 2.0 + k * n / 2.0 + m * k
    return replace(op, dtype=dtype, bytes=width * s["groups"] * one)


def predict_run(case: Case, device: Device, added: Added, host: Host) -> Parts:
    """Seconds of one run; raises UnknownField where a law is missing."""
    products = experts = attention = 0.0
    for op in compulsory(case):
        seconds = float(time_op(op, device).time_s) * float(op.count)
        if op.family.startswith("moe") or op.name.startswith("experts"):
            experts += seconds
        elif "gemm" in op.family:
            products += seconds
        else:
            attention += seconds
    other = sum(_extra_s(extra, device) * extra.count for extra in added.extras)
    each = host.training_kernel_s if case.phase == "training" else host.kernel_s
    return Parts(products, experts, attention, other, added.kernels * each + added.views * host.view_s)


def _extra_s(extra: Extra, device: Device) -> float:
    """A memory-bound kernel: its law on warm data, and what cold data take beyond."""
    op = Op("", f"memory_{extra.pattern}", "bf16", 0.0, extra.bytes, 1.0, "")
    return float(time_op(op, device).time_s) + extra.cold_s
