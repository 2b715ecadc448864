"""StageTimes: what one micro-batch costs on each virtual stage of a pipeline, in seconds. A schedule knows no more."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from costsim.errors import Contradiction

Seconds = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class StageTimes:
    """Seconds of one micro-batch on each virtual stage, in model order; every field is an array [stages] unless said.

    A full backward is ``backward_input_s + weight_s``. The first and last stages may differ from the rest (embedding,
    head, dense layers, MTP), so nothing here is a mean.

    - ``pair_s`` [stages, stages]: a forward of stage i overlapped with the full backward of stage j of another
      micro-batch; by default one after the other, f_i + b_j + w_j.
    - ``send_s`` [stages − 1]: a boundary tensor from stage i to i + 1, and its gradient back, where the two stages are
      on different ranks; one number stands for all boundaries. Sends of a rank queue behind each other.
    - ``forward_wire_s``, ``backward_wire_s``: seconds that all-to-alls are under way inside the forward and inside the
      backward-input chunk. What is exposed of them is part of ``forward_s`` and ``backward_input_s`` already.

    Raises BadInput for a wrong shape, a negative or non-finite time, or an all-to-all longer than its chunk.
    """

    forward_s: Seconds
    backward_input_s: Seconds
    weight_s: Seconds
    pair_s: Seconds | None = None
    send_s: Seconds | float = 0.0
    forward_wire_s: Seconds | float = 0.0
    backward_wire_s: Seconds | float = 0.0

    def __post_init__(self) -> None:
        forward = np.asarray(self.forward_s, dtype=float)
        if forward.ndim != 1 or not forward.size:
            raise Contradiction(f"stage times: forward_s has shape {forward.shape}; give one number per stage")
        n = len(forward)
        shapes = {"forward_s": (n,), "backward_input_s": (n,), "weight_s": (n,), "send_s": (n - 1,),
                  "forward_wire_s": (n,), "backward_wire_s": (n,)}  # fmt: skip
        for name, shape in shapes.items():
            object.__setattr__(self, name, _filled(name, getattr(self, name), shape))
        f, b, w = self.forward_s, self.backward_input_s, self.weight_s
        pair = f[:, None] + b + w if self.pair_s is None else self.pair_s
        object.__setattr__(self, "pair_s", _filled("pair_s", pair, (n, n)))
        for wire, chunk in (("forward_wire_s", "forward_s"), ("backward_wire_s", "backward_input_s")):
            long = getattr(self, wire) > getattr(self, chunk) * (1 + 1e-9)
            if long.any():
                stage = int(np.argmax(long))
                raise Contradiction(
                    f"stage times: {wire} of stage {stage} ({getattr(self, wire)[stage]:.4g} s) is longer than the "
                    f"{chunk} that contains it ({getattr(self, chunk)[stage]:.4g} s); what is exposed belongs into both"
                )

    @property
    def stages(self) -> int:
        """Number of virtual stages."""
        return len(self.forward_s)

    @property
    def backward_s(self) -> Seconds:
        """A full backward, input and weight gradients, [stages]."""
        return self.backward_input_s + self.weight_s

    @property
    def pairs_s(self) -> Seconds:
        """``pair_s`` as the array it always is after construction, [stages, stages]."""
        assert self.pair_s is not None
        return self.pair_s

    @classmethod
    def equal(
        cls, stages: int, forward_s: float, backward_input_s: float, weight_s: float,
        pair_s: float | None = None, send_s: float = 0.0,
    ) -> StageTimes:  # fmt: skip
        """Stages that all cost the same, as papers draw them."""
        pair = None if pair_s is None else np.full((stages, stages), pair_s)
        one = np.ones(stages)
        return cls(forward_s * one, backward_input_s * one, weight_s * one, pair, send_s)


def _filled(name: str, value: ArrayLike, shape: tuple[int, ...]) -> NDArray[Any]:
    """``value`` as a float array of ``shape``, from a number or an array of that shape; read-only, finite, ≥ 0."""
    array = np.asarray(value, dtype=float)
    if array.ndim and array.shape != shape:
        raise Contradiction(f"stage times: {name} has shape {array.shape}; give {shape} or one number")
    if not np.isfinite(array).all() or (array < 0).any():
        raise Contradiction(f"stage times: {name} has a negative or non-finite time; give seconds of 0 or more")
    array = np.broadcast_to(array, shape).copy()
    array.flags.writeable = False
    return array
