"""Framework: how a serving engine schedules, what its host costs and what it keeps in memory; and benchmark recipes.

One file holds them all, ``hwprofiles/engines.toml``: policies as their projects publish them, the few constants
that no kernel table gives, each with what it was fitted on, and the settings and clients of public benchmarks.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, Literal

from pydantic import Field

from costsim import units
from costsim.errors import BadInput, UnknownName
from costsim.spec.base import Frozen, build, read_toml
from costsim.spec.catalog import ROOT

PATH = ROOT / "hwprofiles" / "engines.toml"


class Scheduler(Frozen):
    """What an iteration may hold and when a request is admitted; see :class:`costsim.serving.policy.Policy`.

    The token budget is ``token_budget + budget_isl·isl + budget_concurrency·concurrency``: benchmark recipes size it
    for the prompts that they send. ``ahead``: iterations are decided while the one before runs.
    """

    order: Literal["mixed", "prefill-first"] = "mixed"
    chunked: bool = True
    token_budget: int = Field(default=8192, ge=1)
    budget_isl: float = Field(default=0.0, ge=0)
    budget_concurrency: float = Field(default=0.0, ge=0)
    max_running: int = Field(default=1024, ge=1)
    reserve: float = Field(default=0.0, ge=0, le=1)
    block: int = Field(default=16, ge=1)
    ahead: bool = True


class Host(Frozen):
    """Host seconds: ``launch_s`` for each kernel of an iteration that no CUDA graph holds; ``step_s`` and
    ``request_s`` of every iteration that the device waits for, the second for each request in it; ``frontend_s`` and
    ``frontend_token_s`` of the one process that takes requests in; ``first_round_s`` by which the first requests to a
    server that nobody warmed up come late."""

    launch_s: float = Field(default=0.0, ge=0)
    step_s: float = Field(default=0.0, ge=0)
    request_s: float = Field(default=0.0, ge=0)
    frontend_s: float = Field(default=0.0, ge=0)
    frontend_token_s: float = Field(default=0.0, ge=0)
    first_round_s: float = Field(default=0.0, ge=0)


class Memory(Frozen):
    """KV cache = ``free_share``·(``card_share``·card − ``reserved_bytes`` − weights − activations).

    ``activations`` is false where they have their place in what the share and the reserve leave.
    """

    card_share: float = Field(default=0.9, gt=0, le=1)
    reserved_bytes: float = Field(default=0.0, ge=0)
    free_share: float = Field(default=1.0, gt=0, le=1)
    activations: bool = True


class Kernels(Frozen):
    """What runs differently from plain kernels one after the other.

    ``shared_beside``: a decode step runs shared experts beside the routed ones (a second stream, or as one more
    expert of the same kernel); ``norm_in_reduce``: the all-reduce of a decode step also adds the residual and
    normalises; ``kv_fp8``: FP8 checkpoints get an FP8 KV cache unless told otherwise.
    """

    shared_beside: bool = False
    norm_in_reduce: bool = False
    kv_fp8: bool = False


class Framework(Frozen):
    """One serving engine in one version under one recipe."""

    id: str
    name: str
    scheduler: Scheduler = Scheduler()
    host: Host = Host()
    memory: Memory = Memory()
    kernels: Kernels = Kernels()
    sources: tuple[str, ...] = ()


class Recipe(Frozen):
    """How a public benchmark runs: its client draws lengths uniformly from [``length_ratio``, 1] of nominal and
    sends ``rounds`` × concurrency requests. ``match``: words in a point's source that tell it."""

    id: str
    match: str
    length_ratio: float = Field(default=1.0, gt=0, le=1)
    rounds: int = Field(default=10, ge=1)
    sources: tuple[str, ...] = ()


_QUANTITIES = {
    "launch": ("launch_s", "time"), "step": ("step_s", "time"), "request": ("request_s", "time"),
    "frontend": ("frontend_s", "time"), "frontend_token": ("frontend_token_s", "time"),
    "first_round": ("first_round_s", "time"),
    "reserved": ("reserved_bytes", "bytes"),
}  # fmt: skip
_PARTS = ("scheduler", "host", "memory", "kernels")
_ABOUT = ("sources", "note", "since", "version")


@lru_cache(maxsize=1)
def _file() -> dict[str, Any]:
    return read_toml(PATH, "engines")


def frameworks() -> list[str]:
    """The ids of the frameworks in the file."""
    return sorted(_file()["engine"])


def recipes() -> list[str]:
    """The ids of the benchmark recipes in the file."""
    return sorted(_file()["recipe"])


@lru_cache(maxsize=256)
def framework_for(name: str, version: str = "", recipe: str = "") -> Framework:
    """The engine ``name`` as of ``version`` (empty: the newest) with what ``recipe`` sets.

    Changes listed under ``since`` hold from that version on. Raises UnknownName and BadInput.
    """
    engines = _file()["engine"]
    if name not in engines:
        raise UnknownName("framework", name, sorted(engines))
    entry = engines[name]
    parts = [entry, *(c for c in entry.get("since", []) if not version or _order(version) >= _order(c["version"]))]
    if recipe:
        parts += [part for key, part in _recipe(recipe).items() if key == name]
    merged: dict[str, Any] = {"id": name, "name": entry["name"]}
    for part in _PARTS:
        merged[part] = {}
        for one in parts:
            merged[part] |= _values(one.get(part, {}), f"{PATH.name}: {name}.{part}")
    merged["sources"] = tuple(dict.fromkeys(key for one in parts for key in one.get("sources", [])))
    return build(Framework, merged, f"{PATH.name}: {name}")


def recipe_of(name: str) -> Recipe:
    """The recipe of this id."""
    about = {key: value for key, value in _recipe(name).items() if not isinstance(value, dict) and key != "note"}
    return build(Recipe, {"id": name, **about}, f"{PATH.name}: recipe {name}")


def recipe_in(source: str) -> Recipe | None:
    """The recipe that a measurement's source tells of."""
    return next((one for one in map(recipe_of, recipes()) if one.match in source), None)


def published_band(metric: str) -> tuple[float, float]:
    """P10 and P90 of measured over predicted ``metric`` (tpot, ttft) in published runs that nothing was fitted on."""
    low, high = _file()["band"][metric]["value"]
    return float(low), float(high)


def _recipe(name: str) -> dict[str, Any]:
    known: dict[str, Any] = _file()["recipe"]
    if name not in known:
        raise UnknownName("recipe", name, sorted(known))
    table: dict[str, Any] = known[name]
    return table


def _values(table: dict[str, Any], where: str) -> dict[str, Any]:
    """Plain values of a part: quantities parsed, what is said about them left out."""
    out: dict[str, Any] = {}
    for key, given in table.items():
        value = given["value"] if isinstance(given, dict) else given
        field, kind = _QUANTITIES.get(key, (key, ""))
        if kind and not isinstance(value, str):
            raise BadInput(f'{where}.{key}: a quantity with its unit is needed, like "1 ms"')
        out[field] = units.parse(value, kind, f"{where}.{key}") if kind else value
    return out


def _order(version: str) -> tuple[int, ...]:
    """Versions compare by their leading numbers: 0.5.10 is after 0.5.9, a release candidate counts as its release."""
    numbers = re.match(r"\d+(?:\.\d+)*", version.strip().removeprefix("v"))
    return tuple(int(part) for part in numbers.group().split(".")) if numbers else ()
