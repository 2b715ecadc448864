"""Runtimes of post-training: read from ``hwprofiles/frameworks.toml``, each figure with what it stands on."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from costsim import units
from costsim.errors import Malformed, UnknownName
from costsim.spec.base import read_toml
from costsim.spec.catalog import ROOT

PATH = ROOT / "hwprofiles" / "frameworks.toml"


@dataclass(frozen=True)
class Framework:
    """What a runtime adds around generation and training.

    ``sync_rate``: bytes/s at which the whole model is gathered and loaded into the engines, None where each rank gets
    only its shard at fabric speed; ``sync_fixed_s`` beside it. ``eager_op_s``: host time for each op of a decode step
    without captured graphs. ``host_link``: bytes/s of one card to host memory. ``memory_share``: of the card that
    weights and KV cache may fill. ``host_adam_s``: seconds in which one node's host updates 10⁹ parameters.
    ``engine_step_s``, ``engine_request_s``: scheduler and sampling of a decode step, and of each request in it, that
    the device waits for.
    ``pass_fixed_s``, ``update_fixed_s``: dispatch of data and switching of models before a pass and an update phase.
    ``prefix_cache``: a group's prompt is prefilled once. ``sync_in_rollout``: its timers count the weight sync as
    part of the rollout.
    """

    name: str
    sync_fixed_s: float
    sync_rate: float | None
    eager_op_s: float
    host_link: float
    memory_share: float
    host_adam_s: float
    engine_step_s: float
    engine_request_s: float
    pass_fixed_s: float
    update_fixed_s: float
    prefix_cache: bool
    sync_in_rollout: bool
    sources: tuple[str, ...]


@lru_cache(maxsize=1)
def _table() -> dict[str, Any]:
    return read_toml(PATH, "frameworks")


@lru_cache(maxsize=16)
def framework(name: str) -> Framework:
    """A runtime by id; raises UnknownName with the nearest ones."""
    table = _table()
    if name not in table:
        raise UnknownName("framework", name, table)
    entry = table[name]

    def quantity(key: str, dimension: str) -> float:
        return units.parse(entry[key], dimension, f"{PATH.name}: {name}.{key}")

    try:
        return Framework(
            name=entry["name"],
            sync_fixed_s=quantity("sync_fixed", "time"),
            sync_rate=None if entry["sync_rate"] == "fabric" else quantity("sync_rate", "bandwidth"),
            eager_op_s=quantity("eager_op", "time"),
            host_link=quantity("host_link", "bandwidth"),
            memory_share=quantity("memory_share", "ratio"),
            host_adam_s=quantity("host_adam", "time"),
            engine_step_s=quantity("engine_step", "time"),
            engine_request_s=quantity("engine_request", "time"),
            pass_fixed_s=quantity("pass_fixed", "time"),
            update_fixed_s=quantity("update_fixed", "time"),
            prefix_cache=bool(entry["prefix_cache"]),
            sync_in_rollout=bool(entry["sync_in_rollout"]),
            sources=tuple(entry["source"]),
        )
    except KeyError as error:
        raise Malformed(f"{PATH.name}: {name} has no entry {error}") from None
