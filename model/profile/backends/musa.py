"""Moore Threads through torch_musa: MUSA events, MCCL, and mthreads-gmi for power and clocks."""

from __future__ import annotations

from importlib import import_module

import torch

from model.profile.backends.interface import EventTimed, Telemetry, asked, number_after


class Musa(EventTimed):
    collective = "mccl"

    def telemetry(self) -> Telemetry:
        return read(asked("mthreads-gmi", "-q", "-i", str(self.index)))


def read(text: str) -> Telemetry:
    """``mthreads-gmi -q``: ``Power Draw : 88.3W``, ``Graphics : 1200MHz``, ``GPU Current Temp : 45C``."""
    watts = number_after(text, r"Power Draw\s*:")
    clock = number_after(text, r"Graphics\s*:")
    degrees = number_after(text, r"GPU Current Temp\s*:")
    if watts is None and clock is None and degrees is None:
        return Telemetry()
    return Telemetry(watts, None, None if clock is None else clock * 1e6, degrees, "mthreads-gmi")


def backend(place: torch.device) -> Musa:
    import_module("torch_musa")
    return Musa(place, torch.musa)  # type: ignore[attr-defined]
