"""One small module per kind of device behind one interface; see :mod:`model.profile.backends.interface`."""

from __future__ import annotations

from importlib import import_module

import torch

from model import device as devices
from model.profile.backends.interface import Backend

#: kind of device → module of this package
MODULES = {"cpu": "cpu", "cuda": "cuda", "npu": "npu", "musa": "musa", "mlu": "mlu", "xpu": "xpu"}


def backend_for(name: str) -> Backend:
    """The backend of a device by name (``auto``, ``cpu``, ``cuda:1``).

    Raises model.device.DeviceError where the device is absent (its message lists what is there) or has no backend here.
    """
    place = devices.resolve(name)
    if place.type not in MODULES:
        known = ", ".join(kind for kind in MODULES if devices.present(kind))
        raise devices.DeviceError(f"device {name!r} cannot be profiled; found: {known}")
    made: Backend = import_module(f"model.profile.backends.{MODULES[place.type]}").backend(torch.device(place))
    return made
