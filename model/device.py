"""Devices by name, and what each can do. The only file that asks which device something runs on."""

from __future__ import annotations

from functools import cache
from importlib import import_module

import torch

#: Device types by name, in the order in which ``auto`` looks for them.
KINDS = ("cuda", "npu", "musa", "mlu", "xpu", "mps", "cpu")
#: Vendor packages that register a device type when imported.
_PLUGINS = {"npu": "torch_npu", "musa": "torch_musa", "mlu": "torch_mlu"}
#: The collective backend of each device type.
_BACKENDS = {"cuda": "nccl", "npu": "hccl", "musa": "mccl", "mlu": "cncl", "xpu": "xccl"}


class DeviceError(RuntimeError):
    """A device that this machine does not have."""


def resolve(name: str = "auto") -> torch.device:
    """The device of this name, with an index if wanted (``cuda:1``); ``auto`` takes the first of KINDS that answers."""
    if name == "auto":
        return torch.device(next(kind for kind in KINDS if present(kind)))
    if not present(name.partition(":")[0]):
        found = ", ".join(kind for kind in KINDS if present(kind))
        raise DeviceError(f"device {name!r} is not available here; found: {found}")
    return torch.device(name)


@cache
def present(kind: str) -> bool:
    """Whether a device of this type answers."""
    if kind == "cpu":
        return True
    if kind in _PLUGINS:
        try:
            import_module(_PLUGINS[kind])
        except (ImportError, OSError):
            return False
    module = getattr(torch, kind, None) or getattr(torch.backends, kind, None)
    return bool(module is not None and module.is_available())


def backend(device: torch.device) -> str:
    """The ``torch.distributed`` backend for tensors on ``device``."""
    return _BACKENDS.get(device.type, "gloo")


def synchronize(device: torch.device) -> None:
    """Wait for the device; returns at once where work is synchronous."""
    if device.type != "cpu":
        getattr(torch, device.type).synchronize()


@cache
def has_complex(kind: str) -> bool:
    """Whether complex multiplication works there (it is one kernel instead of six for RoPE)."""
    return _works(lambda: torch.ones(2, dtype=torch.complex64, device=kind) * 1j)


def has_fused_attention(kind: str) -> bool:
    """Whether fused attention takes values narrower than keys, as MLA has them; the CPU's kernel does not."""
    return kind != "cpu"


@cache
def has_grouped_matmul(kind: str, dtype: torch.dtype) -> bool:
    """Whether one call multiplies all experts, each with its own rows."""
    grouped = getattr(torch.nn.functional, "grouped_mm", None)
    if grouped is None:
        return False
    x, w = torch.ones(16, 16, dtype=dtype, device=kind), torch.ones(2, 16, 16, dtype=dtype, device=kind)
    ends = torch.tensor([8, 16], dtype=torch.int32, device=kind)
    return _works(lambda: grouped(x, w, offs=ends))


@cache
def has_block_scaled_matmul(kind: str) -> bool:
    """Whether the hardware multiplies E4M3 tiles of 1×128 with blocks of 128×128 (Hopper and later)."""
    functional = torch.nn.functional
    if kind == "cpu" or not hasattr(functional, "scaled_mm") or not hasattr(functional, "ScalingType"):
        return False
    x = torch.ones(128, 256, device=kind).to(torch.float8_e4m3fn)
    tiles, blocks = torch.ones(2, 128, device=kind).t(), torch.ones(2, 2, device=kind)
    w = torch.ones(256, 256, device=kind).to(torch.float8_e4m3fn)
    kinds = functional.ScalingType
    return _works(lambda: functional.scaled_mm(x, w.t(), tiles, kinds.BlockWise1x128, blocks, kinds.BlockWise128x128))


def _works(attempt: object) -> bool:
    try:
        attempt()  # type: ignore[operator]
    except (RuntimeError, NotImplementedError, TypeError, ValueError, AttributeError):
        return False
    return True
