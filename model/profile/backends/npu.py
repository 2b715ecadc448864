"""Huawei Ascend through torch_npu: NPU events, HCCL, and npu-smi for power and clocks."""

from __future__ import annotations

from importlib import import_module

import torch

from model.profile.backends.interface import EventTimed, Telemetry, asked, number_after


class Npu(EventTimed):
    collective = "hccl"

    def telemetry(self) -> Telemetry:
        return read(
            asked("npu-smi", "info", "-t", "power", "-i", str(self.index)),
            asked("npu-smi", "info", "-t", "common", "-i", str(self.index)),
        )


def read(power: str, common: str) -> Telemetry:
    """``npu-smi info -t power`` and ``-t common``: watts, megahertz and degrees behind their names."""
    watts = number_after(power, r"Real-time Power\(W\)\s*:")
    clock = number_after(common, r"Aicore curFreq\(MHZ\)\s*:")
    degrees = number_after(common, r"Temperature\(C\)\s*:")
    if watts is None and clock is None and degrees is None:
        return Telemetry()
    return Telemetry(watts, None, None if clock is None else clock * 1e6, degrees, "npu-smi")


def backend(place: torch.device) -> Npu:
    return Npu(place, import_module("torch_npu").npu)
