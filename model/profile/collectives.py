"""Collectives between the ranks that torchrun started: all-reduce, all-gather, reduce-scatter, all-to-all, p2p."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.distributed as dist

from costsim.calibration.measurement import Measurement
from model.parallel import group

#: bytes of the whole payload, and calls of one sample; the slowest rank's time counts
SIZES = (1 << 10, 1 << 13, 1 << 16, 1 << 18, 1 << 20, 1 << 22, 1 << 24, 1 << 26)
SAMPLES, WARM = 7, 2


def profile_collectives(
    device: str, quick: bool, source: str, progress: Callable[[str], None]
) -> tuple[list[Measurement], list[str]]:
    """Rows of this group, the same on every rank, and the collectives that its backend refused."""
    place = group.start(device)
    ranks = dist.get_world_size()
    domain = int(os.environ.get("LOCAL_WORLD_SIZE", ranks))
    rows: list[Measurement] = []
    refused: list[str] = []
    for family, size, call, wire in _calls(place, ranks, domain, SIZES[::2] if quick else SIZES):
        if family in refused:
            continue
        try:
            seconds = _timed(call, place)
        except (RuntimeError, NotImplementedError, ValueError) as error:
            refused.append(family)
            progress(f"{family}: {str(error).splitlines()[0][:100]}")
            continue
        progress(f"{family} {size:,} bytes: {seconds * 1e6:,.0f} µs")
        rows.append(Measurement(family, "bytes", seconds, source, wire=wire | {"ranks": ranks, "domain": domain}))
    group.stop()
    return rows, refused


def _timed(call: Callable[[], Any], place: torch.device) -> float:
    """Lower quartile of samples, each the slowest rank's mean over calls of at least a few milliseconds."""
    from model import device as devices

    for _ in range(WARM):
        call()
    turns, samples = 1, []
    while len(samples) < SAMPLES:
        dist.barrier()
        devices.synchronize(place)
        start = time.perf_counter()
        for _ in range(turns):
            call()
        devices.synchronize(place)
        slowest = torch.tensor([(time.perf_counter() - start) / turns], dtype=torch.float64)
        slowest = slowest.to(place) if place.type != "cpu" else slowest
        dist.all_reduce(slowest, op=dist.ReduceOp.MAX)
        if turns == 1 and slowest.item() < 2e-3:
            turns = max(2, int(3e-3 / max(slowest.item(), 1e-6)))
            continue
        samples.append(slowest.item())
    return sorted(samples)[(len(samples) - 1) // 4]


def _calls(
    place: torch.device, ranks: int, domain: int, sizes: tuple[int, ...]
) -> Iterator[tuple[str, int, Callable[[], Any], dict[str, float]]]:
    """(family, bytes, call, what one rank sends inside its node and beyond) as the laws of collectives count it."""
    inside = min(domain, ranks)
    for size in sizes:
        count = max(size // 4 // ranks, 1) * ranks
        whole, part = torch.ones(count, device=place), torch.ones(count // ranks, device=place)
        other = torch.empty_like(whole)
        moved = 4.0 * count
        both = {"up_bytes": moved, "out_bytes": moved}
        yield "all_reduce", size, lambda x=whole: dist.all_reduce(x), both
        yield "all_gather", size, lambda x=whole, y=part: dist.all_gather_into_tensor(x, y), both
        yield "reduce_scatter", size, lambda x=whole, y=part: dist.reduce_scatter_tensor(y, x), both
        sent = {"up_bytes": moved * (inside - 1) / ranks, "out_bytes": moved * (ranks - inside) / ranks}
        yield "all_to_all", size, lambda x=whole, y=other: dist.all_to_all_single(y, x), sent
        yield "p2p", size, lambda x=whole, y=other: _pass_on(x, y), both


def _pass_on(x: torch.Tensor, y: torch.Tensor) -> None:
    """Every even rank sends to the next, which receives; with an odd number the last one waits."""
    rank, ranks = dist.get_rank(), dist.get_world_size()
    if rank % 2 == 0 and rank + 1 < ranks:
        dist.send(x, rank + 1)
    elif rank % 2:
        dist.recv(y, rank - 1)
