"""What the host costs per kernel and per view, and what memory costs beyond the caches, from the launch cases."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from model.profile.case import Bench
from model.profile.kernels import Listing, list_kernels
from model.profile.memory import AROUND, COLD, PIECE, cold, launches
from model.profile.timer import Samples


@dataclass(frozen=True)
class HostCosts:
    """Seconds per kernel beyond its bare launch (inside modules; in a training step with its backward), and per view.

    ``cold``: bytes touched since, then seconds per byte read, changed in place and written anew beyond what warm data
    take.
    """

    launch_s: float
    kernel_s: float
    training_kernel_s: float
    view_s: float
    cold: tuple[tuple[float, ...], ...]

    def penalty(self, distance: float, use: str) -> float:
        """Seconds per byte of data last touched ``distance`` bytes of traffic ago; ``use``: one of :data:`COLD`."""
        around, *curves = zip(*self.cold, strict=True)
        return float(np.interp(distance, around, curves[COLD.index(use)]))


def host_costs(samples: Mapping[str, Samples]) -> HostCosts:
    """Costs per kernel: the time of a module on tiny tensors less bare launches and views, by its number of kernels.

    Raises KeyError where the launch cases have not been measured.
    """
    seconds = {case.note: samples[case.key].seconds for case in launches()}
    launch, view = seconds["kernel"], seconds["view"]

    def each(name: str) -> float:
        listing = _listed(name)
        kernels = sum(listing.kernels.values())
        return max((seconds[name] - listing.views * view) / kernels - launch, 0.0)

    return HostCosts(launch, each("module"), each("training"), view, _cold(samples))


def _listed(name: str) -> Listing:
    """The kernels of one launch case."""
    case = next(case for case in launches() if case.note == name)

    def make() -> Any:
        call = case.make(Bench(torch.device("cpu")))

        def run() -> None:
            with torch.set_grad_enabled(name == "training"):
                call()

        return run

    return list_kernels(make)


def _cold(samples: Mapping[str, Samples]) -> tuple[tuple[float, ...], ...]:
    """The penalty curves: what a piece costs at each distance beyond the nearest; none falls with distance."""
    curves = []
    for use in COLD:
        seconds = np.array([samples[cold(use, distance).key].seconds for distance in AROUND])
        curves.append((np.maximum.accumulate(seconds - seconds[0]) / PIECE).tolist())
    return tuple(zip(AROUND, *curves, strict=True))


def added_by(call: partial[Any], costs: HostCosts) -> dict[str, Any]:
    """What :class:`costsim.predict.runs.Added` holds, as plain data: kernels outside the marked regions by pattern."""
    listing = list_kernels(call, costs.penalty)
    extras = [
        {"pattern": kernel.pattern, "bytes": kernel.bytes, "cold_s": kernel.cold_s, "count": count}
        for kernel, count in listing.kernels.items()
        if not kernel.inside and kernel.pattern not in ("product", "attention")
    ]
    started = sum(count for kernel, count in listing.kernels.items() if not kernel.inside)
    return {"extras": extras, "kernels": started, "views": listing.views}
