"""NVIDIA (and AMD under ROCm, whose torch module has the same name): CUDA events and NVML."""

from __future__ import annotations

from typing import Any

import torch

from model.profile.backends.interface import EventTimed, Telemetry


class Cuda(EventTimed):
    collective = "nccl"

    def __init__(self, place: torch.device, module: Any, nvml: Any = None) -> None:
        super().__init__(place, module)
        self._nvml = _nvml() if nvml is None else nvml
        self._handle = self._nvml.nvmlDeviceGetHandleByIndex(self.index) if self._nvml else None

    def telemetry(self) -> Telemetry:
        """NVML counts power in mW, energy in mJ and clocks in MHz."""
        if self._handle is None:
            return Telemetry()
        n, h = self._nvml, self._handle
        return Telemetry(
            power_w=_scaled(lambda: n.nvmlDeviceGetPowerUsage(h), 1e-3),
            energy_j=_scaled(lambda: n.nvmlDeviceGetTotalEnergyConsumption(h), 1e-3),
            clock_hz=_scaled(lambda: n.nvmlDeviceGetClockInfo(h, n.NVML_CLOCK_SM), 1e6),
            temperature_c=_scaled(lambda: n.nvmlDeviceGetTemperature(h, n.NVML_TEMPERATURE_GPU), 1.0),
            source="nvml",
        )

    def facts(self) -> dict[str, Any]:
        driver = self._nvml.nvmlSystemGetDriverVersion() if self._nvml else None
        return super().facts() | {
            "driver": driver,
            "runtime": torch.version.cuda or torch.version.hip,
            "capability": ".".join(map(str, self.torch.get_device_capability(self.index))),
        }


def _nvml() -> Any:
    """nvidia-ml-py, started; None where the package or the driver is absent."""
    try:
        import pynvml

        pynvml.nvmlInit()
    except Exception:  # its errors have a type of their own for every state of the driver
        return None
    return pynvml


def _scaled(read: Any, factor: float) -> float | None:
    try:
        return float(read()) * factor
    except Exception:  # a card without this counter
        return None


def backend(place: torch.device) -> Cuda:
    return Cuda(place, torch.cuda)
