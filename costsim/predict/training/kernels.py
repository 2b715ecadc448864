"""Seconds of training ops: the calibrated laws, and by how much training's own kernels differ from them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from costsim.num import Num
from costsim.physics.op import Op, Wire
from costsim.physics.training.passes import Passes
from costsim.predict.phase import Timed
from costsim.predict.training.constants import TrainingConstants
from costsim.timing.device import Device
from costsim.timing.duration import Duration, light_s, time_op, time_wire
from costsim.timing.laws import Attend


@dataclass(frozen=True)
class Clock:
    """What turns an op into seconds: the device, its training constants, and the cores that compute may use."""

    device: Device
    constants: TrainingConstants
    cores_share: Num = 1.0
    block_scaled: bool = False
    graph_gap_s: float | None = None

    def op(self, op: Op) -> Duration:
        """Seconds of one execution.

        A grouped product is one product after another; the laws' own ratio, and for weight gradients the time to
        read and write the main gradient that each adds to.
        """
        if op.family.endswith("_backward"):
            return self._attention_backward(op)
        groups = op.shape.get("groups", 1.0)
        ratio, added = self._kind(op)
        one = op
        if "groups" in op.shape:
            shape = {**op.shape, "groups": 1.0}
            moved = (op.bytes - op.shape.get("added_bytes", 0.0)) / groups
            one = replace(op, family="gemm", flop=op.flop / groups, bytes=moved, shape=shape)
        each = time_op(one, self.device, self.cores_share)
        return replace(each, time_s=np.maximum(each.time_s * groups * ratio, light_s(op, self.device)) + added)

    def _kind(self, op: Op) -> tuple[float, Num]:
        """(ratio to the law, seconds added)."""
        c = self.constants
        if op.family == "gemm_wgrad" and not (self.block_scaled and op.dtype == "fp8"):
            return c.gemm(op.dtype), c.main_gradient * op.shape["added_bytes"] / self.device.bandwidth
        if op.family == "gemm":
            return c.gemm(op.dtype), 0.0
        if op.family.endswith("_prefill"):
            return c.attention, 0.0
        if op.name.startswith(("permute", "unpermute")):
            return c.permute, 0.0
        if op.family == "gemm_wgrad":
            return c.block_weight_gradient, 0.0
        return (c.cross_entropy if op.name.startswith("cross-entropy") else 1.0), 0.0

    def _attention_backward(self, op: Op) -> Duration:
        """A law of its own: share of the peak and extra context; overhead, evidence and grade of the forward one."""
        c, mla = self.constants, op.family.startswith("mla")
        forward = op.family.replace("_backward", "_prefill")
        efficiency, s0 = (c.mla_backward, c.mla_backward_s0) if mla else (c.attention_backward, c.attention_backward_s0)
        fitted = self.device.law(forward, op.dtype)
        law = fitted.law
        assert isinstance(law, Attend)
        own = replace(fitted, law=replace(law, efficiency=efficiency, s0=s0), correction=None, ranges=None)
        laws = {f"{forward}/{op.dtype}": own}
        return time_op(replace(op, family=forward), replace(self.device, laws=laws), self.cores_share)

    def captured(self, op: Op) -> bool:
        """Whether this op runs inside a captured graph: attention and what prepares the experts."""
        return self.graph_gap_s is not None and (op.part == "attn" or op.name.startswith("expert layout"))

    def gap_s(self, op: Op) -> float:
        """Idle seconds before the next kernel."""
        return self.graph_gap_s if self.graph_gap_s is not None and self.captured(op) else self.constants.kernel_gap

    def ops(self, items: Iterable[Op | Wire]) -> tuple[Timed, ...]:
        """Every op of a pass, idle time before the next kernel included; no wires."""
        out = []
        for item in items:
            if isinstance(item, Wire) or not bool(np.any(np.asarray(item.count) > 0)):
                continue
            each = self.op(item)
            out.append(Timed(item, replace(each, time_s=each.time_s + self.gap_s(item))))
        return tuple(out)

    def wires(self, items: Iterable[Op | Wire]) -> tuple[Timed, ...]:
        """Every transfer of a pass, alone on the fabric, called from the framework."""
        launch = 0.0 if self.block_scaled else self.constants.collective_launch
        out = []
        for item in items:
            if isinstance(item, Wire) and bool(np.any(np.asarray(item.count) > 0)):
                each = time_wire(item, self.device)
                out.append(Timed(item, replace(each, time_s=each.time_s + launch)))
        return tuple(out)


@dataclass(frozen=True)
class TimedPasses:
    """A block's three passes in seconds; ``backward`` holds what is computed again."""

    forward: tuple[Timed, ...]
    backward: tuple[Timed, ...]
    weight: tuple[Timed, ...]

    def compute_s(self, which: str, *parts: str) -> Num:
        """Seconds of ops in one pass, in ``parts`` if any are named."""
        return total(t for t in getattr(self, which) if isinstance(t.item, Op) and (not parts or t.item.part in parts))

    def wire_s(self, which: str, *parts: str) -> Num:
        """Seconds of transfers in one pass, in ``parts`` if any are named."""
        return total(
            t for t in getattr(self, which) if isinstance(t.item, Wire) and (not parts or t.item.part in parts)
        )

    def launches(self, which: str, looped: bool, clock: Clock) -> Num:
        """Kernels that the host launches in one pass. ``looped``: each expert's product is a launch of its own."""
        out: Num = 0.0
        for t in getattr(self, which):
            if isinstance(t.item, Op) and clock.captured(t.item):
                continue
            each = t.item.shape.get("groups", 1.0) if looped and isinstance(t.item, Op) else 1.0
            out = out + t.item.count * each
        return out

    @property
    def all(self) -> tuple[Timed, ...]:
        return (*self.forward, *self.backward, *self.weight)


def total(items: Iterable[Timed]) -> Num:
    """Seconds of these in one micro-batch."""
    return sum((t.total_s for t in items), start=0.0)


def timed(block: Passes, clock: Clock) -> TimedPasses:
    """Every op and wire of a block in seconds."""

    def both(items: tuple[Op | Wire, ...]) -> tuple[Timed, ...]:
        return (*clock.ops(items), *clock.wires(items))

    return TimedPasses(both(block.forward), both((*block.again, *block.backward)), both(block.weight))
