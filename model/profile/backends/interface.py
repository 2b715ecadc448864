"""What the profiler asks of a device: a clock, a barrier, memory, telemetry and facts. Nothing is ever set on it."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch


@dataclass(frozen=True)
class Telemetry:
    """One reading; None where the device has no such counter. ``energy_j`` counts up since an arbitrary start."""

    power_w: float | None = None
    energy_j: float | None = None
    clock_hz: float | None = None
    temperature_c: float | None = None
    source: str = "absent"


class Backend(Protocol):
    """One device. ``collective`` names its torch.distributed backend."""

    device: torch.device
    collective: str

    def seconds(self, call: Callable[[], Any]) -> float:
        """Seconds of ``call`` with all the work it starts: device events, or the clock where work is synchronous."""
        ...

    def fair(self, elapsed_s: float, own_s: float) -> tuple[float, bool]:
        """Seconds of a sample without waiting for the device, and whether it waited too long to count.

        ``own_s``: processor seconds of this process meanwhile.
        """
        ...

    def spare(self) -> float:
        """How much of the device others may use without being in the way: cores left free, 0 on an accelerator."""
        ...

    def synchronize(self) -> None:
        """Wait until the device is idle."""
        ...

    def peak_bytes(self) -> int | None:
        """Most memory that this process has held on the device; None where nothing counts it."""
        ...

    def capacity_bytes(self) -> int:
        """Memory of the device that this process may use."""
        ...

    def telemetry(self) -> Telemetry:
        """Power, energy, clock and temperature now."""
        ...

    def others_busy_s(self) -> float | None:
        """Seconds of this device that other processes have used so far; None where that cannot be told."""
        ...

    def facts(self) -> dict[str, Any]:
        """What the machine says of itself: name, cores, memory, driver, versions."""
        ...


class EventTimed:
    """A device whose torch module mirrors torch.cuda: events, synchronize, memory and properties."""

    collective = "gloo"

    def __init__(self, place: torch.device, module: Any) -> None:
        self.device, self.torch = place, module
        self.index = place.index or 0

    def seconds(self, call: Callable[[], Any]) -> float:
        start, end = (self.torch.Event(enable_timing=True) for _ in range(2))
        start.record()
        call()
        end.record()
        end.synchronize()
        return float(start.elapsed_time(end)) / 1e3  # the events count in milliseconds

    def fair(self, elapsed_s: float, own_s: float) -> tuple[float, bool]:  # noqa: ARG002 — the device has its clock
        return elapsed_s, False

    def spare(self) -> float:
        return 0.0

    def synchronize(self) -> None:
        self.torch.synchronize()

    def peak_bytes(self) -> int | None:
        return int(self.torch.max_memory_allocated())

    def capacity_bytes(self) -> int:
        return int(self.torch.mem_get_info()[0])

    def telemetry(self) -> Telemetry:
        return Telemetry()

    def others_busy_s(self) -> float | None:
        return None

    def facts(self) -> dict[str, Any]:
        properties = self.torch.get_device_properties(self.index)
        cores = getattr(properties, "multi_processor_count", None) or getattr(properties, "gpu_subslice_count", None)
        return {
            "device": str(self.device),
            "name": self.torch.get_device_name(self.index),
            "memory_bytes": int(properties.total_memory),
            "cores": cores,
            "devices": int(self.torch.device_count()),
            "torch": torch.__version__,
        }


def asked(tool: str, *arguments: str) -> str:
    """What a vendor's command-line tool prints; empty where it is absent, fails or takes over five seconds."""
    path = shutil.which(tool)
    if path is None:
        return ""
    try:
        done = subprocess.run([path, *arguments], capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""


def number_after(text: str, pattern: str) -> float | None:
    """The first number behind ``pattern`` in a tool's output."""
    found = re.search(pattern + r"\D*?(-?\d+(?:\.\d+)?)", text, re.IGNORECASE)
    return float(found.group(1)) if found else None
