"""Scenario: one TOML file that asks for a whole report. Names come from the catalogs, or are paths of own files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field, field_validator

from costsim import units
from costsim.spec.base import Frozen, build, read_toml, refuse_far
from costsim.spec.plan import PRECISIONS


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
title = "DeepSeek-V3: what it costs to run and to train"

[model]
id = "deepseek-v3"              # `costsim models list`, or your own .toml or Hugging Face config.json in this folder

[cluster]
accelerator = "h800-sxm"        # `costsim hw list`, or your own .toml in this folder
compare = ["h100-sxm", "h200-sxm", "h20-96g", "a100-80g-sxm", "ascend-910b2", "ascend-910c"]

[plan]
precision = "best"              # best, fp8, bf16, int8, w4
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
    """The scenario in a TOML file, or the default one. Own files that it names lie in its folder or the current one."""
    if path is None:
        return Scenario()
    file = Path(path)
    scenario = build(Scenario, read_toml(file, "scenario"), path)
    refuse_far(scenario.model.id, file, f"{path}: model.id")
    for name in (scenario.cluster.accelerator, *scenario.cluster.compare):
        refuse_far(name, file, f"{path}: cluster")
    return scenario
