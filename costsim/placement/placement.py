"""Placement: which expert each slot of each GPU holds, layer by layer, and how evenly a load falls on it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from costsim.errors import DoesNotDivide, Malformed, OutOfRange

Loads = NDArray[np.float64]
Slots = NDArray[np.int64]
#: a change must better the busiest GPU by this share of the mean to be made
LEAST_GAIN = 1e-6


@dataclass(frozen=True)
class Shape:
    """What a placement fills: ``slots`` in all on ``gpus`` of ``nodes``; ``groups`` of experts route together.

    Slots go to GPUs in order, S/G each; GPUs to nodes in order, G/N each; experts to groups in order.
    """

    experts: int
    slots: int
    gpus: int
    nodes: int = 1
    groups: int = 1

    def __post_init__(self) -> None:
        for name in ("experts", "slots", "gpus", "nodes", "groups"):
            if getattr(self, name) < 1:
                raise OutOfRange(f"{name} = {getattr(self, name)}: must be at least 1")
        if self.slots % self.gpus:
            least = -(-self.experts // self.gpus)  # slots of a GPU, so that every expert has one
            near = sorted({max(n, least) * self.gpus for n in (self.slots // self.gpus, -(-self.slots // self.gpus))})
            raise DoesNotDivide(
                f"slots = {self.slots} do not spread evenly over gpus = {self.gpus}; "
                f"nearest slots that work: {' or '.join(map(str, near))}"
            )
        self._divides("nodes", self.nodes, "gpus", self.gpus)
        self._divides("groups", self.groups, "experts", self.experts)
        if self.slots < self.experts:
            least = -(-self.experts // self.gpus) * self.gpus
            raise OutOfRange(
                f"slots = {self.slots}: every one of {self.experts} experts needs a slot; give at least {least}"
            )

    @staticmethod
    def _divides(part: str, parts: int, whole: str, total: int) -> None:
        if total % parts:
            divisors = [d for d in range(1, total + 1) if total % d == 0]
            near = [max(d for d in divisors if d < parts), min((d for d in divisors if d > parts), default=total)]
            raise DoesNotDivide(
                f"{part} = {parts} does not divide {whole} = {total}; nearest {part} that work: "
                f"{' or '.join(map(str, dict.fromkeys(near)))}"
            )

    @property
    def per_gpu(self) -> int:
        """Slots of a GPU."""
        return self.slots // self.gpus

    @property
    def per_node(self) -> int:
        """GPUs of a node."""
        return self.gpus // self.nodes

    @property
    def node_local(self) -> bool:
        """Whether whole groups fit on nodes, so that every copy of an expert can stay on its group's node."""
        return self.groups % self.nodes == 0 and self.nodes > 1


@dataclass(frozen=True)
class Placement:
    """``expert_of`` [layers, slots]: the logical expert in each slot. The tokens of an expert split evenly over its
    copies; two copies on one GPU give it two shares."""

    shape: Shape
    expert_of: Slots

    def __post_init__(self) -> None:
        if self.expert_of.ndim != 2 or self.expert_of.shape[1] != self.shape.slots:
            raise Malformed(f"placement of shape {self.expert_of.shape}: needs layers × {self.shape.slots} slots")
        if self.expert_of.min() < 0 or self.expert_of.max() >= self.shape.experts:
            raise Malformed(f"placement names an expert outside 0…{self.shape.experts - 1}")
        if not (self.copies > 0).all():
            layer, expert = np.argwhere(self.copies == 0)[0]
            raise Malformed(f"placement: layer {layer} has no copy of expert {expert}")

    @property
    def layers(self) -> int:
        return int(self.expert_of.shape[0])

    @property
    def copies(self) -> Slots:
        """Copies of each expert, [layers, experts]."""
        return count_copies(self.expert_of, self.shape.experts)

    @property
    def gpu_of_slot(self) -> Slots:
        return np.asarray(np.arange(self.shape.slots) // self.shape.per_gpu)

    @property
    def node_of_slot(self) -> Slots:
        return np.asarray(np.arange(self.shape.slots) // (self.shape.per_gpu * self.shape.per_node))

    def slot_load(self, loads: Loads) -> Loads:
        """Tokens that reach each slot, [layers, slots]: w_e over the copies of e."""
        return np.asarray(np.take_along_axis(loads / self.copies, self.expert_of, axis=1))

    def gpu_load(self, loads: Loads) -> Loads:
        """Tokens that reach each GPU, [layers, gpus]."""
        by_gpu = self.slot_load(loads).reshape(self.layers, self.shape.gpus, self.shape.per_gpu)
        return np.asarray(by_gpu.sum(axis=2))

    def imbalance(self, loads: Loads) -> Loads:
        """Busiest GPU over the mean of all, by layer."""
        each = self.gpu_load(loads)
        return np.asarray(each.max(axis=1) / each.mean(axis=1))

    def duplicates(self) -> int:
        """(layer, slot) pairs whose GPU holds the same expert in an earlier slot: memory without balance."""
        held = np.sort(self.expert_of.reshape(self.layers, self.shape.gpus, self.shape.per_gpu), axis=2)
        return int((held[..., 1:] == held[..., :-1]).sum())


def count_copies(expert_of: Slots, experts: int) -> Slots:
    """How often each expert occurs in each row, [rows, experts]."""
    rows = expert_of.shape[0]
    flat = (expert_of + np.arange(rows)[:, None] * experts).ravel()
    return np.bincount(flat, minlength=rows * experts).reshape(rows, experts)


def naive(shape: Shape, layers: int) -> Placement:
    """Experts in order over the GPUs, then from the first again: what an engine does without a balancer."""
    row = np.arange(shape.slots, dtype=np.int64) % shape.experts
    return Placement(shape, np.broadcast_to(row, (layers, shape.slots)).copy())
