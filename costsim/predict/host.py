"""Host memory behind a card: what does not fit is kept there and streamed beside compute.

Only where the link is coherent and fast (``coherent_host`` in ``hwprofiles/system.toml``); over PCIe such a stream does
not hide. [lmsys-gb200-part2; megatron-bridge]
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from costsim import units
from costsim.predict.phases import Answer, Setting
from costsim.predict.system import PATH
from costsim.spec.accelerator import Accelerator
from costsim.spec.base import read_toml
from costsim.units import GIGA


@dataclass(frozen=True)
class HostLink:
    """Bytes/s of one card to or from its host's memory, each way at once, and who says so."""

    bandwidth: float
    sources: tuple[str, ...]

    def seconds(self, size: float) -> float:
        """Seconds to bring ``size`` bytes in, or to send them out."""
        return size / self.bandwidth


@lru_cache(maxsize=64)
def _links() -> dict[str, HostLink]:
    found: dict[str, HostLink] = {}
    for i, entry in enumerate(read_toml(PATH, "system constants").get("coherent_host", []), start=1):
        rate = units.parse(entry["bandwidth"], "bandwidth", f"{PATH.name}: coherent_host {i}")
        source = entry["source"]
        link = HostLink(rate, tuple([source] if isinstance(source, str) else source))
        found |= dict.fromkeys(entry["accelerators"], link)
    return found


def host_link(chip: Accelerator) -> HostLink | None:
    """The coherent link of this part to its host, or of the part that it was copied from; None where it has none."""
    return _links().get(chip.id) or _links().get(chip.sibling or "")


@dataclass(frozen=True)
class InHost:
    """Weights that a step reads from host memory: bytes a rank, and who says that it can."""

    size: float
    sources: tuple[str, ...]

    @property
    def note(self) -> str:
        return f"{self.size / GIGA:.1f} GB of weights a rank wait in host memory and stream in beside compute"


def streamed_weights(setting: Setting, answer: Answer) -> InHost | None:
    """What does not fit, where a step can read it from host memory while it computes; None where all fits or it cannot.

    Each step reads all of it: bytes over the host link, no longer than the step. [lmsys-gb200-part2]
    """
    excess = float(np.max(answer.memory.total_bytes)) - answer.memory.capacity_bytes
    link = host_link(setting.chip)
    if link is None or excess <= 0 or excess > float(np.max(answer.memory.weights_bytes)):
        return None
    return InHost(excess, link.sources) if link.seconds(excess) <= float(np.max(answer.step_s)) else None
