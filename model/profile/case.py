"""Case: one kernel at one shape, how to run it, and the compulsory work that its measurement row states."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
#: operands that a kernel reads once rotate through this many bytes, so that no cache still holds them
ROTATED_BYTES = 800e6
#: most copies of one operand; smaller ones than these make up cost nothing to reread
MOST_COPIES = 4096


@dataclass(frozen=True)
class Case:
    """``make(bench)`` returns the call to time; a :func:`rotating` one takes other operands each time."""

    family: str
    dtype: str
    shape: dict[str, float]
    flop: float
    bytes: float
    make: Callable[[Bench], Callable[[], Any]] = field(compare=False)
    note: str = ""

    @property
    def key(self) -> str:
        """Unique text of the case: what a journal of a run finds it by."""
        sizes = ",".join(f"{name}={value:g}" for name, value in sorted(self.shape.items()))
        return f"{self.family}/{self.dtype} {sizes} {self.note}".strip()


class Bench:
    """Makes operands on one device; large ones are cut from one pool per format."""

    def __init__(self, place: torch.device, pool_bytes: float = ROTATED_BYTES) -> None:
        self.device, self.pool_bytes = place, pool_bytes
        self._pools: dict[torch.dtype, Tensor] = {}
        self.generator = torch.Generator().manual_seed(0)

    def random(self, *shape: int, dtype: str = "fp32") -> Tensor:
        """Normal values, the same at every run."""
        made = torch.randn(*shape, generator=self.generator) * 0.1
        return made.to(self.device, DTYPES[dtype])

    def copies(self, *shape: int, dtype: str = "fp32") -> list[Tensor]:
        """As many tensors of one shape as the pool holds, none overlapping."""
        kind, size = DTYPES[dtype], math.prod(shape)
        width = torch.empty((), dtype=kind).element_size()
        pool = self._pools.get(kind)
        if pool is None or pool.numel() < size:
            count = max(int(self.pool_bytes / width), size)
            block = self.random(min(count, 1 << 20), dtype=dtype)
            pool = block.repeat(-(-count // len(block)))[:count]
            self._pools[kind] = pool
        count = max(1, min(MOST_COPIES, pool.numel() // size))
        return [pool[i * size : (i + 1) * size].view(*shape) for i in range(count)]


def rotating(items: list[Any], call: Callable[[Any], Any]) -> Callable[[], Any]:
    """A call that takes the next item each time."""
    state = [0]

    def run() -> Any:
        state[0] = (state[0] + 1) % len(items)
        return call(items[state[0]])

    return run


def width_of(dtype: str) -> float:
    return {"fp32": 4.0, "bf16": 2.0}[dtype]
