"""Cambricon through torch_mlu: MLU events, CNCL, and cnmon for power and clocks."""

from __future__ import annotations

from importlib import import_module

import torch

from model.profile.backends.interface import EventTimed, Telemetry, asked, number_after


class Mlu(EventTimed):
    collective = "cncl"

    def telemetry(self) -> Telemetry:
        return read(asked("cnmon", "info", "-c", str(self.index)))


def read(text: str) -> Telemetry:
    """``cnmon info``: ``Usage`` in W under ``Power``, cores in MHz under ``Frequency``, C under ``Temperature``."""
    watts = number_after(text, r"Power\s*\n\s*Usage\s*:")
    clock = number_after(text, r"Frequency\s*\n\s*(?:IPU|MLU) Cores?\s*:")
    degrees = number_after(text, r"Temperature\s*\n\s*(?:Board|Chip)\s*:")
    if watts is None and clock is None and degrees is None:
        return Telemetry()
    return Telemetry(watts, None, None if clock is None else clock * 1e6, degrees, "cnmon")


def backend(place: torch.device) -> Mlu:
    import_module("torch_mlu")
    return Mlu(place, torch.mlu)  # type: ignore[attr-defined]
