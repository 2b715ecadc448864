"""Two questions about post-training, answered side by side: GRPO or PPO, distillation or reinforcement learning."""

from __future__ import annotations

from dataclasses import dataclass, replace

from costsim.errors import BadInput, DoesNotFit
from costsim.predict.post.recipe import StageCost, predict_recipe
from costsim.predict.post_training import predict_post_training
from costsim.predict.report import Report
from costsim.spec.accelerator import Accelerator
from costsim.spec.catalog import load_accelerator, load_model
from costsim.spec.cluster import Cluster
from costsim.spec.model import ModelSpec
from costsim.spec.post_training import PostTrainingLoad, PostTrainingPlan
from costsim.spec.price import Price
from costsim.spec.recipe import load_recipe

#: cards that the search for the smallest job tries, as shares and multiples of the plan's
_SCALES = (0.0625, 0.125, 0.25, 0.5, 1.0, 2.0, 4.0)
#: AIME 2024 pass@1 of the two ways to the same size [deepseek-r1, table 6]
AIME = {"Qwen-32B": 72.6, "RL": 47.0}


@dataclass(frozen=True)
class Algorithms:
    """The same step by GRPO and by PPO with a value model of the policy's size; the fewest cards that hold each."""

    grpo: Report
    ppo: Report | None
    ppo_refused: str
    fewest: dict[str, float | None]


def compare_algorithms(
    model: ModelSpec,
    chip: Accelerator,
    plan: PostTrainingPlan,
    load: PostTrainingLoad,
    price: Price | None = None,
    cluster: Cluster | None = None,
) -> Algorithms:
    """GRPO against PPO on the same cards, answers and updates; raises BadInput where GRPO itself has no answer."""
    grpo = predict_post_training(model, chip, replace(plan, algorithm="grpo"), load, price, cluster)
    try:
        ppo, refused = predict_post_training(model, chip, replace(plan, algorithm="ppo"), load, price, cluster), ""
    except DoesNotFit as error:
        ppo, refused = None, str(error)
    fewest = {name: fewest_cards(model, chip, replace(plan, algorithm=name), load) for name in ("grpo", "ppo")}
    return Algorithms(grpo, ppo, refused, fewest)


def fewest_cards(model: ModelSpec, chip: Accelerator, plan: PostTrainingPlan, load: PostTrainingLoad) -> float | None:
    """The smallest of a few job sizes whose memory holds the step, the plan's widths kept and experts spread out."""
    for scale in _SCALES:
        cards = float(plan.gpus) * scale
        if cards < 1 or cards != int(cards) or plan.rollout is None:
            continue
        train = plan.train
        stage = cards * chip.dies / float(train.pp)
        experts = min(stage, float(model.moe.experts)) if model.moe else 1.0
        smaller = replace(
            plan,
            gpus=cards,
            train=replace(train, gpus=cards, ep=max(experts, 1.0), cp=min(float(train.cp), stage)),
            rollout=replace(plan.rollout, gpus=cards, ep=min(float(plan.rollout.ep), cards * chip.dies)),
        )
        try:
            predict_post_training(model, chip, smaller, load)
        except BadInput:
            continue
        return cards
    return None


def r1_zero_question() -> tuple[ModelSpec, Accelerator, PostTrainingPlan, PostTrainingLoad]:
    """R1-Zero's step half way up its curve, 512 × 16 answers of 5,000 tokens, on a layout that holds PPO too."""
    recipe = load_recipe("r1-zero")
    stage = recipe.stage[0]
    asked = stage.answers
    assert asked is not None
    load = PostTrainingLoad(
        asked.prompts, asked.group, 5000.0, asked.response_max, asked.prompt_mean, asked.updates, steps=10400.0
    )
    # DualPipe keeps two copies of the weights, which leaves no room for a value model: 1F1B holds both.
    plan = recipe.plan(stage)
    train = replace(plan.train, schedule="1f1b", recompute="full", cp=8)
    return (
        load_model(recipe.model),
        load_accelerator(recipe.accelerator),
        replace(plan, train=train, micro_tokens=4096),
        load,
    )


@dataclass(frozen=True)
class Ways:
    """Six distilled models, and reinforcement learning on one of the sizes."""

    distilled: list[StageCost]
    reinforced: StageCost
    distilled_report: Report
    reinforced_report: Report


def compare_ways(price: Price | None = None, cluster: Cluster | None = None) -> Ways:
    """Fine-tuning on 800K samples of a teacher against 10,000 steps of GRPO on the same 32B model. [deepseek-r1]"""
    distilled, stages = predict_recipe(load_recipe("r1-distill"), price, cluster)
    reinforced, rl = predict_recipe(load_recipe("r1-zero-qwen-32b"), price, cluster)
    return Ways(stages, rl[0], distilled, reinforced)
