"""What a network is made of: kinds of links with latency and price, and named topologies with their parameters."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator

from costsim import units
from costsim.spec.base import Frozen

#: how the cards of one scale-up domain are joined
ScaleUp = Literal["nvswitch", "full-mesh", "ub"]
#: how domains are joined
ScaleOut = Literal["multi-plane", "multi-rail", "fat-tree-2", "fat-tree-3", "none"]
TopologyKind = Literal[
    "fat-tree-2", "fat-tree-3", "multi-plane", "slim-fly", "dragonfly", "nvswitch", "full-mesh", "ub"
]
#: parameters that each kind takes
PARAMETERS: dict[str, tuple[str, ...]] = {
    "fat-tree-2": ("radix",),
    "fat-tree-3": ("radix",),
    "multi-plane": ("radix", "planes"),
    "slim-fly": ("q", "hosts"),
    "dragonfly": ("hosts", "group_switches", "global_ports", "groups"),
    "nvswitch": ("devices", "switches"),
    "full-mesh": ("devices",),
    "ub": ("nodes", "node_devices", "planes", "spines"),
}
#: largest value of a parameter: what is larger is a slip, and would not fit in memory
MOST = 4096


class LinkKind(Frozen):
    """One kind of link. ``bandwidth`` is bytes/s per direction of one link; None where the cluster states it.

    A small message takes ``endpoint`` seconds in the two ends and ``hop`` for every switch on its way.
    ``cable_usd`` buys a link between switches, ``endpoint_usd`` an end's cable, ``switch_usd`` a switch of
    ``switch_ports`` ports.
    """

    id: str
    name: str
    bandwidth: float | None = None
    endpoint: float = Field(ge=0)
    hop: float = Field(ge=0)
    cable_usd: float | None = None
    endpoint_usd: float | None = None
    switch_usd: float | None = None
    switch_ports: int = Field(default=64, ge=2)
    sources: tuple[str, ...] = ()
    confidence: str = "D"
    notes: str = ""

    @field_validator("bandwidth", "endpoint", "hop", "cable_usd", "endpoint_usd", "switch_usd", mode="before")
    @classmethod
    def _quantity(cls, raw: Any, info: Any) -> Any:
        dimension = {"bandwidth": "bandwidth", "endpoint": "time", "hop": "time"}.get(info.field_name, "money")
        return None if raw is None else units.parse(raw, dimension, info.field_name)


class TopologySpec(Frozen):
    """A named network: its kind, the counts that kind takes, and the link it is built of."""

    id: str
    name: str
    kind: TopologyKind
    link: str
    parameters: dict[str, int]
    bandwidth: float | None = None
    sources: tuple[str, ...] = ()
    confidence: str = "D"
    notes: str = ""

    @field_validator("bandwidth", mode="before")
    @classmethod
    def _bandwidth(cls, raw: Any) -> Any:
        return None if raw is None else units.parse(raw, "bandwidth", "bandwidth")

    @field_validator("parameters")
    @classmethod
    def _parameters(cls, given: dict[str, int], info: Any) -> dict[str, int]:
        wanted = PARAMETERS.get(info.data.get("kind", ""), tuple(given))
        if set(given) != set(wanted):
            raise ValueError(f"a {info.data['kind']} takes {', '.join(wanted)}; given {', '.join(sorted(given))}")
        for name, value in given.items():
            if not 1 <= value <= MOST:
                raise ValueError(f"{name} = {value} must be from 1 to {MOST}")
        return given


class Wiring(Frozen):
    """How a cluster's cards are joined: inside a scale-up domain and between domains."""

    scale_up: ScaleUp
    scale_out: ScaleOut
    up_link: str
    out_link: str = "infiniband"
    radix: int = Field(default=64, ge=4, le=1024)
    switches: int = Field(default=4, ge=1, le=64)
    sources: tuple[str, ...] = ()
    confidence: str = "D"
