"""Recipe: the stages of a published post-training run, one TOML file each in ``hwprofiles/recipes/``."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from costsim.errors import UnknownName
from costsim.spec.base import CatalogId, Frozen, build, read_toml
from costsim.spec.catalog import ROOT, names
from costsim.spec.plan import ServingPlan, TrainingPlan
from costsim.spec.post_training import FineTuningLoad, PostTrainingPlan

RECIPES = ROOT / "hwprofiles" / "recipes"


class TrainLayout(Frozen):
    """Training layout of a stage; ``gpus`` of 0 means all cards of the stage.

    ``micro_tokens`` and ``offload`` as in PostTrainingPlan; ``schedule`` and the rest as in TrainingPlan.
    """

    gpus: int = Field(default=0, ge=0)
    tp: int = Field(default=1, ge=1)
    pp: int = Field(default=1, ge=1)
    ep: int = Field(default=1, ge=1)
    cp: int = Field(default=1, ge=1)
    precision: str = "bf16"
    recompute: str = "full"
    routing: Literal["balanced", "eplb", "default", "production"] = "default"
    schedule: str = "auto"
    zero: int = Field(default=1, ge=0, le=3)
    micro_tokens: float = Field(default=4096, ge=1, le=1e9)
    offload: float = Field(default=0.0, ge=0, le=1)


class RolloutLayout(Frozen):
    """Generation layout of a stage; ``gpus`` of 0 means all cards of the stage."""

    gpus: int = Field(default=0, ge=0)
    tp: int = Field(default=1, ge=1)
    pp: int = Field(default=1, ge=1)
    ep: int = Field(default=1, ge=1)
    precision: str = "bf16"
    redundant_experts: int = Field(default=0, ge=0)
    routing: Literal["balanced", "eplb", "default", "production"] = "balanced"
    mtp_tokens: int = Field(default=0, ge=0)
    mtp_acceptance: float = Field(default=0.0, ge=0, le=1)


class Answers(Frozen):
    """What a reinforced stage samples: ``at`` (steps) and ``response_mean`` (tokens) are points of a curve.

    The curve is piecewise linear; the first and the last of ``at`` are the stage's first and last policy update.
    """

    at: tuple[float, ...]
    response_mean: tuple[float, ...]
    response_max: float = Field(ge=1, le=1e9)
    prompts: float = Field(ge=1, le=1e9)
    group: float = Field(default=1, ge=1, le=1e9)
    prompt_mean: float = Field(default=128, ge=1, le=1e9)
    updates: float = Field(default=1, ge=1, le=1e9)

    @model_validator(mode="after")
    def _curve(self) -> Answers:
        if len(self.at) < 2 or len(self.at) != len(self.response_mean) or sorted(set(self.at)) != list(self.at):
            raise ValueError("at and response_mean need the same number of points, two at least, at rising")
        if not 1 <= min(self.response_mean) <= max(self.response_mean) <= self.response_max:
            raise ValueError("response_mean must be from 1 to response_max")
        return self


class Stage(Frozen):
    """One stage: reinforcement learning on ``answers``, or fine-tuning on samples."""

    name: str
    algorithm: Literal["grpo", "dapo", "rloo", "ppo", "sft", "distill"]
    model: CatalogId = ""
    gpus: int = Field(default=0, ge=0)
    train: TrainLayout | None = None
    rollout: RolloutLayout | None = None
    answers: Answers | None = None
    fine_tuning: FineTuningLoad | None = None
    reward_model: CatalogId = ""
    assumed: str = ""

    @model_validator(mode="before")
    @classmethod
    def _tables(cls, raw: Any) -> Any:
        if isinstance(raw, dict) and isinstance(raw.get("fine_tuning"), dict):
            try:
                return raw | {"fine_tuning": FineTuningLoad(**raw["fine_tuning"])}
            except TypeError as error:
                raise ValueError(f"fine_tuning: {error}") from None
        return raw

    @model_validator(mode="after")
    def _complete(self) -> Stage:
        tuned = self.algorithm in ("sft", "distill")
        if (self.fine_tuning if tuned else self.answers) is None or (self.answers if tuned else self.fine_tuning):
            raise ValueError(
                f"{self.algorithm} needs [stage.{'fine_tuning' if tuned else 'answers'}] and no other load"
            )
        return self


class Recipe(Frozen):
    """A whole recipe. ``published_gpu_hours`` is what its authors report for all stages together, 0 where nothing."""

    id: str
    name: str
    model: CatalogId
    accelerator: CatalogId
    gpus: int = Field(ge=1)
    framework: str = "tuned"
    reference: bool = True
    train: TrainLayout = TrainLayout()
    rollout: RolloutLayout | None = None
    stage: tuple[Stage, ...] = Field(min_length=1)
    published_gpu_hours: float = Field(default=0, ge=0)
    source: tuple[str, ...] = ()
    notes: str = ""

    def plan(self, stage: Stage) -> PostTrainingPlan:
        """The stage's plan: its own layouts where it has some, the recipe's otherwise."""
        cards = stage.gpus or self.gpus
        train, rollout = stage.train or self.train, stage.rollout or self.rollout
        generation = None
        if rollout is not None and stage.fine_tuning is None:
            generation = ServingPlan(
                rollout.gpus or cards,
                tp=rollout.tp,
                pp=rollout.pp,
                ep=rollout.ep,
                precision=rollout.precision,
                redundant_experts=rollout.redundant_experts,
                routing=rollout.routing,
            )
        return PostTrainingPlan(
            gpus=cards,
            train=TrainingPlan(
                train.gpus or cards,
                tp=train.tp,
                pp=train.pp,
                ep=train.ep,
                cp=train.cp,
                precision=train.precision,
                recompute=train.recompute,
                routing=train.routing,
                schedule=train.schedule,
                zero=train.zero,
            ),
            rollout=generation,
            algorithm=stage.algorithm,
            framework=self.framework,
            offload=train.offload,
            reference=self.reference,
            reward_model=stage.reward_model,
            micro_tokens=train.micro_tokens,
            mtp_tokens=rollout.mtp_tokens if rollout else 0,
            mtp_acceptance=rollout.mtp_acceptance if rollout else 0.0,
        )


@lru_cache(maxsize=64)
def load_recipe(name: str) -> Recipe:
    """A recipe by id (``r1-zero``) or by the path of a TOML file."""
    own = Path(name)
    if name.endswith(".toml") and own.is_file():
        return build(Recipe, read_toml(own, "recipe"), own.name)
    key = name.strip().lower().replace("_", "-")
    if key not in names(RECIPES):
        raise UnknownName("recipe", name, names(RECIPES))
    return build(Recipe, read_toml(RECIPES / f"{key}.toml", "recipe"), f"{key}.toml")
