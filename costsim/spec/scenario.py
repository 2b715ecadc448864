"""Scenario: one TOML file that asks for a whole report. Names come from the catalogs, or are paths of own files.

A page that was made from a scenario carries it, and is read like the file.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator

from costsim import units
from costsim.errors import Malformed
from costsim.files import toml_of
from costsim.spec.base import Frozen, build, read_text, read_toml, refuse_far
from costsim.spec.plan import PRECISIONS
from costsim.spec.schema import carried

#: version of the format; a file that states none is of this one
SCHEMA = 1
#: bytes of a page that is read back, plotly.js included
MOST_PAGE_BYTES = 40_000_000
_CARRIED = re.compile(r'<script type="application/json" id="_again">("[^<]{0,20000000}")</script>')


class ModelPart(Frozen):
    id: str = "deepseek-v3"


class ClusterPart(Frozen):
    """``accelerator`` carries the headline; ``compare`` stand beside it."""

    accelerator: str = "h800-sxm"
    compare: tuple[str, ...] = (
        "h100-sxm", "h200-sxm", "h20-96g", "a100-80g-sxm", "ascend-910b2", "ascend-910c",
    )  # fmt: skip


class PlanPart(Frozen):
    """``precision`` "best": FP8 where the chip has it, else INT8, else BF16. ``max_gpus`` bounds a deployment unit."""

    precision: str = "best"
    routing: str = "balanced"
    max_gpus: int = Field(default=320, ge=1, le=100_000, strict=True)

    @field_validator("precision")
    @classmethod
    def _known(cls, value: str) -> str:
        if value not in ("best", *PRECISIONS):
            raise ValueError(f"must be best, {', '.join(PRECISIONS)}")
        return value


class WorkloadPart(Frozen):
    """Prompts of ``isl``; decode at a mean KV length of ``context`` under ``tpot`` seconds a token."""

    isl: int = Field(default=4096, ge=1, le=10_000_000, strict=True)
    context: int = Field(default=4096, ge=1, le=10_000_000, strict=True)
    tpot: float = 0.1

    @field_validator("tpot", mode="before")
    @classmethod
    def _seconds(cls, value: Any) -> float:
        seconds = units.parse(value, "time", "workload.tpot")
        if not seconds > 0:
            raise ValueError("must be above zero, like '50 ms'")
        return seconds


class TrainingPart(Frozen):
    """The run that is priced: layout as in TrainingPlan, ``tokens`` in all."""

    gpus: int = Field(default=2048, ge=1, strict=True)
    pp: int = Field(default=16, ge=1, strict=True)
    ep: int = Field(default=64, ge=1, strict=True)
    seq: int = Field(default=4096, ge=1, strict=True)
    global_batch: int = Field(default=15360, ge=1, strict=True)
    tokens: float = Field(default=14.8e12, gt=0, le=1e18)
    schedule: str = "dualpipe"


class PricePart(Frozen):
    """``rate`` replaces the catalog's hourly price of every card: an id or a quantity like "2 USD/h"."""

    rate: str | None = None


class Scenario(Frozen):
    """What `costsim report` answers."""

    title: str = "DeepSeek-V3: what it costs to run and to train"
    model: ModelPart = ModelPart()
    cluster: ClusterPart = ClusterPart()
    plan: PlanPart = PlanPart()
    workload: WorkloadPart = WorkloadPart()
    training: TrainingPart = TrainingPart()
    price: PricePart = PricePart()


EXAMPLE = """\
# A scenario for `costsim report`. Every line may be left out; these are the defaults.
schema = 1                      # version of this format
title = "DeepSeek-V3: what it costs to run and to train"

[model]
id = "deepseek-v3"              # `costsim models list`, or your own .toml or Hugging Face config.json in this folder

[cluster]
accelerator = "h800-sxm"        # `costsim hw list`, or your own .toml in this folder
compare = ["h100-sxm", "h200-sxm", "h20-96g", "a100-80g-sxm", "ascend-910b2", "ascend-910c"]

[plan]
precision = "best"              # best, fp8, bf16, int8, w4, fp4
routing = "balanced"            # balanced, eplb, default, production
max_gpus = 320                  # largest deployment unit that is searched

[workload]
isl = 4096                      # prompt tokens
context = 4096                  # mean KV length while decoding
tpot = "100 ms"                 # latency target per output token

[training]
gpus = 2048
pp = 16
ep = 64
seq = 4096
global_batch = 15360
tokens = 14.8e12

[price]
# rate = "2 USD/h"              # one hourly price for every card; default: each card's own from the catalog
"""


def load_scenario(path: str | None) -> Scenario:
    """The scenario in a TOML file or in a page that was made from one, or the default one. Own files that it names lie
    in its folder or the current one."""
    if path is None:
        return Scenario()
    if path.lower().endswith((".html", ".htm")):
        return _read(carried_text(path), path)
    return _of(read_toml(Path(path), "scenario"), path)


def carried_text(path: str) -> str:
    """What a page of ours carries: the scenario or the report that it was made from. Raises BadInput."""
    found = _CARRIED.search(read_text(Path(path), "page", MOST_PAGE_BYTES))
    if found is None:
        raise Malformed(f"page {path}: carries no question; pages of `costsim report` and of --out x.html do")
    try:
        text = json.loads(found[1])
    except (ValueError, RecursionError):
        raise Malformed(f"page {path}: the question it carries is damaged") from None
    return str(text)


def _read(text: str, where: str) -> Scenario:
    try:
        return _of(toml_of(text, where), where)
    except Malformed:
        raise Malformed(f"page {where}: carries no scenario; those of `costsim report` do") from None


def _of(document: dict[str, Any], where: str) -> Scenario:
    scenario = build(Scenario, carried(document, f"scenario {where}", SCHEMA, {0: _from_0}, absent=SCHEMA), where)
    refuse_far(scenario.model.id, Path(where), f"{where}: model.id")
    for name in (scenario.cluster.accelerator, *scenario.cluster.compare):
        refuse_far(name, Path(where), f"{where}: cluster")
    return scenario


def _from_0(old: dict[str, Any]) -> dict[str, Any]:
    """Version 0 took ``tpot`` as bare seconds, whole numbers with a point, and knew no schedule but "auto"."""
    new = {key: dict(value) if isinstance(value, dict) else value for key, value in old.items()}
    for part in (value for value in new.values() if isinstance(value, dict)):
        for key, value in part.items():
            if isinstance(value, float) and value.is_integer() and key != "tokens":
                part[key] = int(value)
    work = new.get("workload")
    if isinstance(work, dict) and isinstance(work.get("tpot"), int | float) and not isinstance(work["tpot"], bool):
        work["tpot"] = f"{work['tpot']!r} s"
    training = new.setdefault("training", {})
    if isinstance(training, dict):
        training.setdefault("schedule", "auto")
    return new


def scenario_text(scenario: Scenario) -> str:
    """The scenario as TOML that :func:`load_scenario` reads back to an equal one; what is not set is left out."""
    lines = [f"schema = {SCHEMA}", f"title = {_value(scenario.title)}"]
    for name, part in scenario.model_dump(exclude={"title"}).items():
        fields = {key: value for key, value in part.items() if value is not None}
        if name == "workload":
            fields["tpot"] = f"{fields['tpot']!r} s"
        lines += ["", f"[{name}]", *(f"{key} = {_value(value)}" for key, value in fields.items())]
    return "\n".join(lines) + "\n"


def _value(value: Any) -> str:
    """A TOML value; its basic strings are JSON's but for DEL, which JSON leaves as it is."""
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, tuple | list):
        return f"[{', '.join(_value(item) for item in value)}]"
    return repr(value)
