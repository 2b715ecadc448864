"""RunSpec: the phases of a whole training run, from ``hwprofiles/runs/<model>.toml`` or a user's own file."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from pydantic import Field, model_validator

from costsim.errors import UnknownName
from costsim.spec.base import CatalogId, Frozen, build, read_toml
from costsim.spec.catalog import ROOT, names

RUNS: Final = ROOT / "hwprofiles" / "runs"


class PhaseSpec(Frozen):
    """One phase: ``tokens`` (or ``steps``) at a sequence length and batch, or ``gpu_hours`` that are only stated.

    The batch grows from ``ramp_from`` to ``global_batch`` over the first ``ramp_tokens``, linearly in tokens.
    ``cp``, ``micro_batch`` and ``recompute`` change the plan's for this phase. ``published`` hours are for
    comparison; ``published_group`` those of all phases that share ``group``.
    """

    name: str
    tokens: float | None = Field(default=None, gt=0, le=1e18)
    steps: float | None = Field(default=None, gt=0, le=1e12)
    gpu_hours: float | None = Field(default=None, gt=0, le=1e12)
    seq: int = Field(default=4096, ge=1, le=1_000_000_000)
    global_batch: int = Field(default=1, ge=1, le=1_000_000_000)
    ramp_from: int | None = Field(default=None, ge=1)
    ramp_tokens: float = Field(default=0.0, ge=0, le=1e18)
    cp: int | None = Field(default=None, ge=1)
    micro_batch: int | None = Field(default=None, ge=1)
    recompute: str | None = None
    group: str = ""
    published: float | None = Field(default=None, gt=0, le=1e12)
    published_group: float | None = Field(default=None, gt=0, le=1e12)
    note: str = ""

    @model_validator(mode="after")
    def _one_size(self) -> PhaseSpec:
        given = [name for name in ("tokens", "steps", "gpu_hours") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"give one of tokens, steps and gpu_hours (got {', '.join(given) or 'none'})")
        if self.ramp_from is not None and not 0 < self.ramp_tokens <= self.all_tokens:
            raise ValueError("a ramp needs ramp_tokens above zero and not above the phase's tokens")
        return self

    @property
    def all_tokens(self) -> float:
        """Tokens of the phase, 0 where only hours are stated."""
        if self.steps is not None:
            return self.steps * self.global_batch * self.seq
        return self.tokens or 0.0

    @property
    def kind(self) -> str:
        """What the phase is summed under."""
        return self.group or self.name


class RunSpec(Frozen):
    """A run as a list of phases; published hours hold for ``accelerator``."""

    id: str
    title: str = ""
    model: CatalogId = ""
    accelerator: CatalogId = ""
    source: str = ""
    phase: tuple[PhaseSpec, ...] = Field(min_length=1, max_length=50)

    def published_hours(self, accelerator: str) -> dict[str, float]:
        """Published GPU hours by kind of phase, where the file holds them for this accelerator."""
        if self.accelerator not in ("", accelerator):
            return {}
        found: dict[str, float] = {}
        for phase in self.phase:
            hours = phase.published_group if phase.published_group is not None else phase.published
            if hours is not None:
                found[phase.kind] = found.get(phase.kind, 0.0) + hours
        return found


def known_runs() -> list[str]:
    """The models whose run is in the catalog."""
    return names(RUNS)


def load_run(name: str) -> RunSpec:
    """A run by model id, or by the path of a user's TOML."""
    path = RUNS / f"{name}.toml"
    if name not in known_runs():
        if not name.endswith(".toml"):
            raise UnknownName("run", name, known_runs())
        path = Path(name)
    return build(RunSpec, read_toml(path, "run"), path.name)
