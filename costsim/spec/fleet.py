"""Fleet: a day of load, the units that carry it, how they are scaled, and what was published of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from costsim import units
from costsim.errors import UnknownName
from costsim.spec.base import CatalogId, Frozen, build, read_toml
from costsim.spec.catalog import ROOT, names
from costsim.spec.plan import KV_DTYPES, OVERLAPS, PRECISIONS

FLEETS = ROOT / "hwprofiles" / "fleets"
#: bars of a load curve: every minute of a week
MAX_BARS = 10_080


class FleetLoad(Frozen):
    """Tokens of the whole day and its shape: ``hourly`` weighs equal parts of it; only their ratios count.

    ``cached_tokens`` of the input were found in a prefix cache; ``context``: mean KV length of an output token.
    """

    input_tokens: float = Field(gt=0, le=1e18)
    cached_tokens: float = Field(default=0.0, ge=0)
    output_tokens: float = Field(gt=0, le=1e18)
    context: float = Field(gt=0, le=1e9)
    hourly: tuple[float, ...] = Field(min_length=2, max_length=MAX_BARS)

    @model_validator(mode="after")
    def _sane(self) -> FleetLoad:
        if self.cached_tokens >= self.input_tokens:
            raise ValueError("cached_tokens must be less than input_tokens")
        if min(self.hourly) < 0 or sum(self.hourly) <= 0:
            raise ValueError("hourly: must not be negative, and not all zero")
        return self

    @property
    def missed_tokens(self) -> float:
        """Input tokens that had to be computed."""
        return self.input_tokens - self.cached_tokens


class FleetPrice(Frozen):
    """Ids of the list prices of input, cached and output tokens."""

    input: str
    cached: str
    output: str


class FleetUnit(Frozen):
    """One kind of unit: the cards that share a set of experts in one phase, and how many of them there are.

    Prefill runs prompts of ``isl`` tokens, ``tokens_per_gpu`` a step; decode ``batch_per_gpu`` requests a card with
    ``context`` KV tokens each (None: the day's). ``profile``: tokens per second and card of the operator's profile of
    these kernels alone. Units scale in groups of ``per_group`` beside ``spare`` that always run; ``most`` of them
    exist (None: only for mixed fleets, as many as the peak needs). ``price``: id or quantity per card and hour.
    """

    accelerator: CatalogId
    phase: Literal["prefill", "decode"]
    gpus: int = Field(ge=1)
    tp: int = Field(default=1, ge=1)
    ep: int = Field(default=1, ge=1)
    redundant_experts: int = Field(default=0, ge=0)
    precision: str = "fp8"
    kv_dtype: str = "bf16"
    overlap: str = "none"
    isl: int = Field(default=4096, ge=1)
    tokens_per_gpu: int = Field(default=8192, ge=1)
    batch_per_gpu: float = Field(default=64.0, gt=0)
    context: float | None = Field(default=None, gt=0, le=1e9)
    profile: float | None = Field(default=None, gt=0, le=1e12)
    per_group: int = Field(default=1, ge=1)
    spare: int = Field(default=0, ge=0)
    most: int | None = Field(default=None, ge=1)
    price: str | None = None
    sources: tuple[str, ...] = ()

    @field_validator("precision", "kv_dtype", "overlap")
    @classmethod
    def _known(cls, value: str, info: Any) -> str:
        known = {"precision": PRECISIONS, "kv_dtype": KV_DTYPES, "overlap": OVERLAPS}[info.field_name]
        if value not in known:
            raise ValueError(f"must be one of {', '.join(known)}")
        return value


class FleetPolicy(Frozen):
    """How a pool follows its load; times in seconds inside.

    ``target``: load of a unit over its capacity that the scaler aims at; every ``interval`` it provides for the load
    up to ``lead`` ahead; a unit goes when it has not been needed for ``hold`` and ``hysteresis`` of the rest's
    capacity stays free without it. Not ``forecast``: units come ``lead`` after the load that asks for them.
    """

    target: float = Field(default=1.0, gt=0, le=10)
    interval: float = 900.0
    lead: float = 900.0
    hold: float = 900.0
    hysteresis: float = Field(default=0.0, ge=0, lt=1)
    forecast: bool = True
    sources: tuple[str, ...] = ()

    @field_validator("interval", "lead", "hold", mode="before")
    @classmethod
    def _seconds(cls, value: Any, info: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, (str, int, float)):
            raise ValueError("expected a time like '900 s'")
        text = isinstance(value, str)
        # an integer of many digits has no float; it is out of range anyhow
        seconds = units.parse(value, "time", info.field_name) if text else float(min(value, 2 * units.DAY_S))
        least = 10.0 if info.field_name == "interval" else 0.0
        if not least <= seconds <= units.DAY_S:
            raise ValueError(f"must be from {least:g} s to a day")
        return seconds


class Published(Frozen):
    """What the operator states of the same day; nothing of it is used for the prediction."""

    node_hours: float
    mean_nodes: float
    peak_nodes: float
    usd_per_day: float
    revenue_usd: float
    margin: float
    prefill_tokens_per_s_per_node: float
    decode_tokens_per_s_per_node: float
    tokens_per_s_per_user: tuple[float, float]
    schedule: tuple[tuple[float, float], ...]


class Fleet(Frozen):
    """A day of a service. ``start``: hour of the day at which it begins."""

    id: str
    name: str
    model: CatalogId
    start: float = Field(default=0.0, ge=0, lt=24)
    load: FleetLoad
    price: FleetPrice
    unit: tuple[FleetUnit, ...] = Field(min_length=2)
    policy: FleetPolicy = FleetPolicy()
    published: Published | None = None
    sources: tuple[str, ...] = ()


def load_fleet(name: str) -> Fleet:
    """A fleet's day by id or by the path of a TOML file; UnknownName with the nearest ids."""
    own = Path(name)
    if name.endswith(".toml") and own.is_file():
        return build(Fleet, read_toml(own, "fleet"), own.name)
    known = names(FLEETS)
    if name not in known:
        raise UnknownName("fleet", name, known)
    return build(Fleet, read_toml(FLEETS / f"{name}.toml", "fleet"), f"{name}.toml")
