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
    found = [kind for kind in devices.KINDS if kind in MODULES and devices.present(kind)]
    place = devices.resolve(found[0] if name == "auto" else name)
    if place.type not in MODULES:
        raise devices.DeviceError(f"device {name!r} cannot be profiled; found: {', '.join(found)}")
    count = 1 if place.type == "cpu" else int(getattr(torch, place.type).device_count())
    if (place.index or 0) >= count:
        raise devices.DeviceError(f"device {name!r} is not there; found: {place.type}:0 to {place.type}:{count - 1}")
    made: Backend = import_module(f"model.profile.backends.{MODULES[place.type]}").backend(torch.device(place))
    return made
