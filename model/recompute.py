"""Drop a cheap region's outputs after use and compute them again when backward needs them.

``torch.utils.checkpoint`` frees what a region saves inside; it cannot free the region's outputs, because the next
operation saves those. Here the outputs' storage is emptied once the consumer has run, and refilled just before the
consumer's backward. This is what makes recomputing RMSNorm and MLA's up-projections save memory
[deepseek-v3-report, section 3.2.3].
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


class Recompute:
    """One region of one forward pass: ``run`` it, use the outputs once, then ``discard`` them.

    Outputs must own their storage (be contiguous, no alias of an input), and the consumer must save them as they are.
    """

    def run(self, region: Callable[..., tuple[Tensor, ...]], *inputs: Tensor) -> tuple[Tensor, ...]:
        """The outputs of ``region(*inputs)``; parameters used inside receive their gradients as usual."""
        self.region, self.inputs = region, inputs
        self.again: tuple[Tensor, ...] = ()
        self.leaves: tuple[Tensor, ...] = ()
        self.outputs: tuple[Tensor, ...] = _Region.apply(self, *inputs)
        return self.outputs

    def discard(self, *, until_gradient_of: Tensor) -> None:
        """Free the outputs' memory until the gradient of the consumer's result arrives."""
        for output in self.outputs:
            output.untyped_storage().resize_(0)
        if until_gradient_of.requires_grad:
            until_gradient_of.register_hook(self._restore)

    def _restore(self, _: Tensor) -> None:
        with torch.enable_grad():
            self.leaves = tuple(x.detach().requires_grad_(x.requires_grad) for x in self.inputs)
            self.again = self.region(*self.leaves)
        for output, fresh in zip(self.outputs, self.again, strict=True):
            storage = output.untyped_storage()
            storage.resize_(fresh.untyped_storage().nbytes())
            storage.copy_(fresh.untyped_storage())


class _Region(torch.autograd.Function):
    """Runs the region without a graph; backward goes through the graph that ``_restore`` built."""

    @staticmethod
    def forward(ctx: Any, owner: Recompute, *inputs: Tensor) -> tuple[Tensor, ...]:
        ctx.owner = owner
        with torch.no_grad():
            return owner.region(*inputs)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        owner: Recompute = ctx.owner
        if not owner.again:
            owner._restore(torch.empty(0))
        pairs = [(y, g) for y, g in zip(owner.again, gradients, strict=True) if g is not None and y.requires_grad]
        torch.autograd.backward([y for y, _ in pairs], [g for _, g in pairs])
        result = tuple(leaf.grad for leaf in owner.leaves)
        owner.again, owner.leaves, owner.outputs, owner.inputs = (), (), (), ()
        return (None, *result)
