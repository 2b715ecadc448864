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
from costsim.errors import BadQuantity, UnknownName
from costsim.spec.base import Frozen, build, read_toml
from costsim.spec.catalog import ROOT

PATH = ROOT / "hwprofiles" / "engines.toml"


class Scheduler(Frozen):
    """What an iteration may hold and when a request is admitted; see :class:`costsim.serving.policy.Policy`.

    The token budget is ``token_budget + budget_isl·isl + budget_concurrency·concurrency``, at least ``budget_least``:
    benchmark recipes size it for the prompts that they send. ``ahead``: iterations are decided while the one before
    runs. ``poll``: decode iterations between two looks at what has arrived (``poll_small`` below 16 in flight).
    ``balance``: iterations that prompts wait for every attention rank to have one (0: they do not).
    """

    order: Literal["mixed", "prefill-first"] = "mixed"
    chunked: bool = True
    token_budget: int = Field(default=8192, ge=1)
    budget_isl: float = Field(default=0.0, ge=0)
    budget_concurrency: float = Field(default=0.0, ge=0)
    budget_least: int = Field(default=0, ge=0)
    max_running: int = Field(default=1024, ge=1)
    reserve: float = Field(default=0.0, ge=0, le=1)
    block: int = Field(default=16, ge=1)
    ahead: bool = True
    balance: int = Field(default=0, ge=0)
    poll: int = Field(default=1, ge=1)
    poll_small: int = Field(default=1, ge=1)


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
    normalises; ``kv_fp8``: FP8 and NVFP4 checkpoints get an FP8 KV cache unless told otherwise; ``kv_dtype``: what a
    recipe tells (empty: nothing); ``tables``: the framework whose kernel tables are meant while attention is not
    data-parallel (empty: its own).
    """

    shared_beside: bool = False
    norm_in_reduce: bool = False
    kv_fp8: bool = False
    kv_dtype: Literal["", "bf16", "fp8"] = ""
    tables: str = ""


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
    drafts: int = Field(default=3, ge=1)
    drafts_attention_dp: int = Field(default=1, ge=1)
    sources: tuple[str, ...] = ()


class Repair(Frozen):
    """Runs whose row states another layout than the recipe that made them: widths that an early export did not hold.

    Holds for rows of ``framework`` without a version, of models whose id begins so and on these accelerators: experts
    are spread over all ranks, and attention is data-parallel from ``attention_dp_from`` requests in flight on, by
    ``isl/osl`` (``other``: the rest).
    """

    framework: str
    models: tuple[str, ...]
    accelerators: tuple[str, ...]
    attention_dp_from: dict[str, int]

    def attention_dp(self, isl: float, osl: float, concurrency: float) -> bool:
        """Whether the recipe runs attention data-parallel at this load."""
        least = self.attention_dp_from.get(f"{isl:g}/{osl:g}", self.attention_dp_from["other"])
        return concurrency >= least


_QUANTITIES = {
    "launch": ("launch_s", "time"), "step": ("step_s", "time"), "request": ("request_s", "time"),
    "frontend": ("frontend_s", "time"), "frontend_token": ("frontend_token_s", "time"),
    "first_round": ("first_round_s", "time"),
    "reserved": ("reserved_bytes", "bytes"),
}  # fmt: skip
_PARTS = ("scheduler", "host", "memory", "kernels")


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
def framework_for(
    name: str, version: str = "", recipe: str = "", model: str = "", architecture: str = "", precision: str = ""
) -> Framework:
    """The engine ``name`` as of ``version`` (empty: the newest) with what ``recipe`` sets.

    Changes listed under ``since`` hold from that version on; a recipe's settings under ``where`` for models whose id
    begins so, for architectures and for formats. Raises UnknownName and BadInput.
    """
    engines = _file()["engine"]
    if name not in engines:
        raise UnknownName("framework", name, sorted(engines))
    entry = engines[name]
    about = (model, architecture, precision, version)
    parts = [entry, *(c for c in entry.get("since", []) if not version or _order(version) >= _order(c["version"]))]
    parts += [w for w in entry.get("where", []) if _holds(w, *about)]
    if recipe:
        told = _recipe(recipe).get(name, {})
        parts += [told, *(w for w in told.get("where", []) if _holds(w, *about))]
    merged: dict[str, Any] = {"id": name, "name": entry["name"]}
    for part in _PARTS:
        merged[part] = {}
        for one in parts:
            merged[part] |= _values(one.get(part, {}), f"{PATH.name}: {name}.{part}")
    merged["sources"] = tuple(dict.fromkeys(key for one in parts for key in one.get("sources", [])))
    return build(Framework, merged, f"{PATH.name}: {name}")


def _holds(where: dict[str, Any], model: str, architecture: str, precision: str, version: str) -> bool:
    """Whether a recipe's setting is for this model, architecture, format and (``versioned``) kind of row."""
    return (
        any(model.startswith(begin) for begin in where.get("model", [""]))
        and architecture in where.get("architecture", [architecture])
        and precision in where.get("precision", [precision])
        and where.get("versioned", bool(version)) == bool(version)
    )


def repair_for(recipe: str, framework: str, model: str, accelerator: str) -> Repair | None:
    """What a recipe says about rows of this kind that state no version, if anything."""
    for entry in _recipe(recipe).get("repair", []):
        found = build(Repair, {k: v for k, v in entry.items() if k not in ("note", "sources")}, f"{PATH.name}: repair")
        if found.framework == framework and accelerator in found.accelerators and model.startswith(found.models):
            return found
    return None


def recipe_of(name: str) -> Recipe:
    """The recipe of this id."""
    told = _recipe(name)
    about = {key: told[key] for key in Recipe.model_fields if key in told}
    return build(Recipe, {"id": name, **about}, f"{PATH.name}: recipe {name}")


def recipe_in(source: str) -> Recipe | None:
    """The recipe that a measurement's source tells of."""
    return next((one for one in map(recipe_of, recipes()) if one.match in source), None)


#: times the requests in flight a card that the judged runs had, up to which their band holds
CROWDED = 2.0


def published_band(metric: str, model: str = "", accelerator: str = "", in_flight: float = 0.0) -> tuple[float, float]:
    """P10 and P90 of measured over predicted ``metric`` (tpot, ttft) in published runs that nothing was fitted on.

    Of the runs that reports print where this model on this accelerator is one of their kinds (or none is named) and
    ``in_flight`` requests a card are no more than twice theirs, else of all the others.
    """
    table = _file()["band"]
    like = not model or any(
        model.startswith(begin) and accelerator == part and in_flight <= CROWDED * most
        for begin, part, most in table["judged"]
    )
    low, high = table[metric]["value" if like else "elsewhere"]
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
            raise BadQuantity(f'{where}.{key}: a quantity with its unit is needed, like "1 ms"')
        out[field] = units.parse(value, kind, f"{where}.{key}") if kind else value
    return out


def _order(version: str) -> tuple[int, ...]:
    """Versions compare by their leading numbers: 0.5.10 is after 0.5.9, a release candidate counts as its release."""
    numbers = re.match(r"\d+(?:\.\d+)*", version.strip().removeprefix("v"))
    return tuple(int(part) for part in numbers.group().split(".")) if numbers else ()
