"""What the host costs per kernel and per view, and what memory costs beyond the caches, from the launch cases."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from model.profile.case import Bench
from model.profile.kernels import Listing, list_kernels
from model.profile.memory import COLD, cold, launches
from model.profile.timer import Samples

#: bytes of one piece of the cold reads
_PIECE = 2.0**20


@dataclass(frozen=True)
class HostCosts:
    """Seconds per kernel beyond its bare launch (inside modules; in a training step with its backward), and per view."""

    launch_s: float
    kernel_s: float
    training_kernel_s: float
    view_s: float
    cold_s_per_byte: float
    cache_bytes: float


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

    slow, cache = _cold(samples)
    return HostCosts(launch, each("module"), each("training"), view, slow, cache)


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


def _cold(samples: Mapping[str, Samples]) -> tuple[float, float]:
    """(Seconds per byte that a cold read adds, bytes after which a read is cold): the rise of the cold reads.

    The edge is where half of the rise from the smallest to the largest round is reached.
    """
    times = [samples[cold(around).key].seconds for around in COLD]
    low, high = min(times), times[-1]
    edge = next(around for around, seconds in zip(COLD, times, strict=True) if seconds >= (low + high) / 2)
    return max(high - low, 0.0) / _PIECE, edge


def added_by(call: partial[Any], cache_bytes: float) -> dict[str, Any]:
    """What :class:`costsim.predict.runs.Added` holds, as plain data: kernels outside the marked regions by pattern."""
    listing = list_kernels(call, cache_bytes)
    extras = [
        {"pattern": kernel.pattern, "bytes": kernel.bytes, "cold_bytes": kernel.cold, "count": count}
        for kernel, count in listing.kernels.items()
        if not kernel.inside and kernel.pattern not in ("product", "attention")
    ]
    started = sum(count for kernel, count in listing.kernels.items() if not kernel.inside)
    return {"extras": extras, "kernels": started, "views": listing.views}
