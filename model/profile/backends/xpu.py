"""Intel GPUs through torch.xpu: XPU events and XCCL. Power needs xpu-smi's daemon and is stated as absent."""

from __future__ import annotations

import torch

from model.profile.backends.interface import EventTimed


class Xpu(EventTimed):
    collective = "xccl"


def backend(place: torch.device) -> Xpu:
    return Xpu(place, torch.xpu)
