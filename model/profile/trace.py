"""A torch.profiler trace of one run of each phase, in the form that Perfetto and TensorBoard's plugin open."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile, record_function

from model.profile.backends.interface import Backend
from model.profile.whole import Run, build


def write_trace(backend: Backend, runs: Sequence[Run], path: Path) -> None:
    """The first run of each phase, warmed up, with shapes; ``path`` ends in ``.pt.trace.json.gz``."""
    first: dict[str, Run] = {}
    for run in runs:
        first.setdefault(run.phase, run)
    calls: dict[str, Any] = {}
    with torch.set_grad_enabled(False):
        for phase, run in first.items():
            calls[phase] = build(run, backend.device)
            calls[phase]()
    with profile(activities=activities(backend), record_shapes=True) as recorded, torch.set_grad_enabled(False):
        for phase, run in first.items():
            with record_function(f"{phase} {run.spec.id} batch {run.batch} length {run.length}"):
                calls[phase]()
                backend.synchronize()
    temporary = path.with_name(f".{path.name}")
    recorded.export_chrome_trace(str(temporary))
    temporary.replace(path)


def activities(backend: Backend) -> list[Any]:
    """The host, and the device where torch's profiler knows it by name."""
    kind = backend.device.type.upper()
    own = getattr(ProfilerActivity, kind, None) or getattr(ProfilerActivity, "PrivateUse1", None)
    return [ProfilerActivity.CPU] if kind == "CPU" or own is None else [ProfilerActivity.CPU, own]
