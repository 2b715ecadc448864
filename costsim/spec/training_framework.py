"""TrainingFramework: what a framework's recipes set and its published tables leave out."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Literal

from pydantic import Field

from costsim.spec.base import Frozen, build, read_toml
from costsim.spec.catalog import ROOT

PATH = ROOT / "hwprofiles" / "training_frameworks.toml"


class Overlap(Frozen):
    """``beyond``: where experts span several scale-up domains; ``apart``: models whose recipes leave it off."""

    beyond: Literal["auto", "none", "gradients", "pair"] = "auto"
    apart: tuple[str, ...] = ()


class Dispatcher(Frozen):
    """``free``: for models that do not limit a token's nodes; ``rack``: in a scale-up domain wider than a node."""

    free: Literal["auto", "deepep", "alltoall"] = "auto"
    rack: Literal["auto", "deepep", "alltoall"] = "auto"


class Graphs(Frozen):
    """``rack``: in a scale-up domain wider than a node."""

    rack: Literal["none", "attention"] = "none"


class Offload(Frozen):
    """Whether activations wait in host memory before anything is computed again, where weights are sharded fully:
    ``rack`` on parts whose scale-up domain is wider than a node."""

    rack: bool = False


class TrainingFramework(Frozen):
    """One framework's habits. ``match``: words in a point's source that tell it."""

    id: str
    name: str
    match: str
    overlap: Overlap = Overlap()
    dispatcher: Dispatcher = Dispatcher()
    graphs: Graphs = Graphs()
    offload: Offload = Offload()
    sources: tuple[str, ...] = Field(default=(), alias="source")
    note: str = ""


#: what a table of nobody in the file is taken to have run with
UNSTATED = TrainingFramework(id="unstated", name="unstated", match="")


@lru_cache(maxsize=1)
def training_frameworks() -> tuple[TrainingFramework, ...]:
    """Every framework in the file."""
    table: dict[str, Any] = read_toml(PATH, "training frameworks")
    return tuple(build(TrainingFramework, {"id": key, **entry}, f"{PATH.name}: {key}") for key, entry in table.items())


def framework_in(source: str) -> TrainingFramework:
    """The framework that a measurement's source tells of."""
    return next((one for one in training_frameworks() if one.match in source), UNSTATED)
