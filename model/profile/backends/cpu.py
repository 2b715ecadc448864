"""The processor: the monotonic clock, RAPL where the kernel shows it, and /proc to see who else is running."""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from model.profile.backends.interface import Telemetry

#: glibc's mallopt: never map blocks of their own, never give the top back. Large tensors are then reused as a caching
#: allocator reuses them, instead of being zeroed page by page at every allocation.
_M_MMAP_MAX, _M_TRIM_THRESHOLD, _M_TOP_PAD = -4, -1, -2
#: share of a sample that this process may wait for a core; five times as much where its own time is known
STALL = 0.04
#: columns of /proc/stat's first line that are time in use by someone (user, nice, system, irq, softirq, steal)
_BUSY = (1, 2, 3, 6, 7, 8)


class Cpu:
    collective = "gloo"

    def __init__(self, place: torch.device, root: Path = Path("/")) -> None:
        self.device, self.root = place, root
        self.kept_memory = keep_memory()

    def seconds(self, call: Callable[[], Any]) -> float:
        start = time.perf_counter()
        call()
        return time.perf_counter() - start

    def fair(self, elapsed_s: float, own_s: float) -> tuple[float, bool]:
        """One thread has worked for its processor time, however long it waited; several hide waiting by spinning."""
        if torch.get_num_threads() > 1:
            return elapsed_s, own_s < (1.0 - STALL) * elapsed_s
        return min(elapsed_s, own_s), own_s < (1.0 - 5.0 * STALL) * elapsed_s

    def spare(self) -> float:
        """Cores that this process leaves to others."""
        return max((os.cpu_count() or 1) - torch.get_num_threads(), 0)

    def synchronize(self) -> None:
        return

    def peak_bytes(self) -> int | None:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

    def capacity_bytes(self) -> int:
        """What the kernel says is free for new work, else the machine's memory."""
        free = _field(self._read("proc/meminfo"), "MemAvailable:")
        return int(free * 1024) if free else os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")

    def telemetry(self) -> Telemetry:
        energy = self._energy_j()
        mhz = _field(self._read("proc/cpuinfo").replace("\t", " "), "cpu MHz :")
        clock = mhz * 1e6 if mhz else None
        return Telemetry(None, energy, clock, None, "rapl" if energy is not None else "absent")

    def _energy_j(self) -> float | None:
        """Joules of all packages by RAPL; None where the kernel hides the counter or has none (virtual machines)."""
        total, found = 0.0, False
        for zone in sorted((self.root / "sys/class/powercap").glob("intel-rapl:?")):
            text = self._read(zone.relative_to(self.root) / "energy_uj").strip()
            if text.isdigit():
                total, found = total + int(text) * 1e-6, True
        return total if found else None

    def others_busy_s(self) -> float | None:
        """Processor seconds of everything but this process, from /proc/stat; ticks of 10 ms."""
        words = self._read("proc/stat").split("\n", 1)[0].split()
        if len(words) <= max(_BUSY) or words[0] != "cpu":
            return None
        busy = sum(int(words[i]) for i in _BUSY) / os.sysconf("SC_CLK_TCK")
        return busy - time.process_time()

    def facts(self) -> dict[str, Any]:
        info = self._read("proc/cpuinfo")
        model = next((line.split(":", 1)[1].strip() for line in info.splitlines() if line.startswith("model name")), "")
        flags = next((line.split(":", 1)[1].split() for line in info.splitlines() if line.startswith("flags")), [])
        wide = [f for f in ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "amx_int8", "asimd", "sve") if f in flags]
        return {
            "device": "cpu",
            "name": model or platform.processor() or platform.machine(),
            "memory_bytes": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
            "cores": torch.get_num_threads(),
            "devices": 1,
            "instructions": wide,
            "system": platform.platform(),
            "python": platform.python_version(),
            "torch": torch.__version__,
            "allocator_keeps_memory": self.kept_memory,
        }

    def _read(self, path: str | Path) -> str:
        try:
            return (self.root / path).read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""


def keep_memory() -> bool:
    """Ask glibc to keep freed memory in this process; false where the C library is another."""
    try:
        libc = ctypes.CDLL(None)
        kept = libc.mallopt(_M_MMAP_MAX, 0) and libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
        return bool(kept and libc.mallopt(_M_TOP_PAD, 64 << 20))
    except (OSError, AttributeError):
        return False


def _field(text: str, name: str) -> float | None:
    """The number behind ``name`` at the start of a line."""
    for line in text.splitlines():
        if " ".join(line.split()).startswith(name):
            words = " ".join(line.split()).removeprefix(name).split()
            return float(words[0]) if words else None
    return None


def backend(place: torch.device) -> Cpu:
    return Cpu(place)
