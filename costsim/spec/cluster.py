"""Cluster: accelerators wired together. Scale-up domain inside, scale-out network between."""

from __future__ import annotations

from typing import Any

from pydantic import Field, field_validator

from costsim import units
from costsim.errors import OutOfRange
from costsim.spec.accelerator import Accelerator
from costsim.spec.base import Frozen
from costsim.spec.topology import Wiring

#: cards of one cluster; more would only overflow later
MOST_DEVICES = 1_000_000_000


class _FromDatasheet(float):
    """SI bytes/s already parsed; a bare number in a user's file is refused."""


class Cluster(Frozen):
    """``devices`` counts cards. Bandwidths are bytes/s per direction and per card.

    ``scale_up_domain`` cards share the scale-up fabric (an 8-GPU node, NVL72's 72, CloudMatrix's 384);
    ``topology`` says how its links run, where that is known.
    """

    id: str
    name: str
    accelerator: str
    devices: int = Field(ge=1)
    node_devices: int = Field(ge=1)
    scale_up_domain: int = Field(ge=1)
    scale_up_bandwidth: float | None = None
    scale_out_bandwidth: float | None = None
    network: str = ""
    topology: Wiring | None = None
    sources: tuple[str, ...] = ()
    confidence: str = "D"
    notes: str = ""

    @field_validator("scale_up_bandwidth", "scale_out_bandwidth", mode="before")
    @classmethod
    def _bandwidth(cls, raw: Any, info: Any) -> Any:
        if raw is None or isinstance(raw, _FromDatasheet):
            return raw
        return units.parse(raw, "bandwidth", info.field_name)


def standard_cluster(chip: Accelerator, devices: int) -> Cluster:
    """The node and network that the datasheet states, repeated to ``devices`` cards."""
    if not 1 <= devices <= MOST_DEVICES:
        raise OutOfRange(f"gpus = {devices:g}: must be from 1 to {MOST_DEVICES:,}")
    domain = chip.datasheet["scale_up_domain"].value
    return Cluster(
        id=f"{chip.id}-standard",
        name=f"{devices} × {chip.name}",
        accelerator=chip.id,
        devices=devices,
        node_devices=chip.node_devices,
        scale_up_domain=int(domain) if domain else 1,
        scale_up_bandwidth=_parsed(chip, "scale_up_bandwidth"),
        scale_out_bandwidth=_parsed(chip, "scale_out_bandwidth"),
        network="as in the datasheet",
    )


def _parsed(chip: Accelerator, key: str) -> float | None:
    value = chip.datasheet[key].value
    return None if value is None else _FromDatasheet(value)
