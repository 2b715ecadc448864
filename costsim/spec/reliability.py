"""Published interruption rates of large training jobs: ``hwprofiles/reliability.toml``."""

from __future__ import annotations

from functools import lru_cache

from pydantic import Field

from costsim.errors import UnknownName
from costsim.spec.accelerator import Confidence
from costsim.spec.assumption import RELIABILITY
from costsim.spec.base import Frozen, build, read_toml

_DAY_H = 24.0


class ClusterRecord(Frozen):
    """Interruptions of one job (``interruptions`` in ``days`` on ``devices``) or per 1,000 node-days of a fleet."""

    id: str
    accelerator: str
    node_devices: int = Field(ge=1)
    devices: int | None = None
    days: float | None = None
    interruptions: int | None = None
    planned: int = 0
    per_1000_node_days: float | None = None
    confidence: Confidence = "D"
    source: str
    note: str = ""

    @property
    def gpu_hours_per_interruption(self) -> float:
        """GPU hours between two interruptions of one card's share: devices·hours / interruptions."""
        if self.per_1000_node_days is not None:
            return 1000.0 * _DAY_H * self.node_devices / self.per_1000_node_days
        return (self.devices or 0) * (self.days or 0.0) * _DAY_H / (self.interruptions or 1)


@lru_cache(maxsize=1)
def load_records() -> dict[str, ClusterRecord]:
    """Every cluster that published its interruptions, by id."""
    entries = read_toml(RELIABILITY, "reliability").get("cluster", [])
    found = [build(ClusterRecord, entry, f"{RELIABILITY.name}: {entry.get('id', 'cluster')}") for entry in entries]
    return {record.id: record for record in found}


def load_record(name: str) -> ClusterRecord:
    """A cluster's record by id; UnknownName with the nearest otherwise."""
    known = load_records()
    if name not in known:
        raise UnknownName("reliability record", name, known)
    return known[name]


def causes() -> dict[str, int]:
    """Unexpected interruptions by cause in the one table that counts them. [llama3-herd, table 5]"""
    return dict(read_toml(RELIABILITY, "reliability")["causes"]["counts"])
