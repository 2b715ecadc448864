"""`costsim posttrain`: one post-training step, a whole published recipe, or two ways side by side."""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from costsim.cli.ask import Key, Words, add_keys, add_subject, answer, given, refuse_foreign, supply
from costsim.cli.output import finish
from costsim.cli.parser import add_choice
from costsim.errors import BadOption

if TYPE_CHECKING:
    from costsim.cli.ask import Given
    from costsim.predict.report import Report
    from costsim.spec.model import ModelSpec
    from costsim.spec.post_training import FineTuningLoad, PostTrainingLoad, PostTrainingPlan

NAME = "posttrain"
HELP = "SFT, GRPO, PPO, distillation: rollout, scoring, update, sync; GPU hours and USD of a step or a recipe"
EXAMPLE = """
costsim posttrain --recipe r1-zero
costsim posttrain --model qwen2.5-7b --accelerator h100-sxm --gpus 8 --prompts 64 --group 16 --response-max 8192
costsim posttrain --compare grpo-ppo --out grpo.html
"""

_MODEL, _ACCELERATOR = "deepseek-v3", "h800-sxm"
COMPARISONS = ("grpo-ppo", "distill-rl")
PLAN = (
    Key("gpus", "cards of the job"),
    Key("rollout_gpus", "cards that only generate; default: all cards do both"),
    Key("rollout_tp", "tensor-parallel width of generation"),
    Key("rollout_ep", "expert-parallel width of generation"),
    Key("train_tp", "tensor-parallel width of training"),
    Key("train_pp", "pipeline stages of training"),
    Key("train_ep", "expert-parallel width of training"),
    Key("train_cp", "context-parallel width of training"),
    Key("train_zero", "ZeRO stage of training: what data-parallel ranks shard", minimum=0, maximum=3),
    Key("offload", "share of the optimiser that lives on the host", whole=False, minimum=0, maximum=1),
    Key("micro_tokens", "packed tokens of a micro-batch on a rank"),
    Key("mtp_tokens", "tokens drafted per decode step", minimum=0, maximum=8),
    Key("mtp_acceptance", "chance that a drafted token is kept", whole=False, minimum=0, maximum=1),
)
REINFORCED = (
    Key("prompts", "questions of a step"),
    Key("group", "answers to each question"),
    Key("prompt_mean", "mean tokens of a question", whole=False),
    Key("response_mean", "mean tokens of an answer", whole=False),
    Key("response_max", "limit of an answer", whole=False),
    Key("updates", "mini-batches that the answers are split into"),
    Key("epochs", "passes over answers or samples", whole=False),
    Key("steps", "policy updates of the whole run"),
    Key("sigma", "spread of the log-normal law of lengths", whole=False, minimum=0.05, maximum=3),
)
TUNED = (
    Key("samples", "samples of fine-tuning or distillation"),
    Key("tokens_mean", "mean tokens of a sample", whole=False),
    Key("tokens_max", "limit of a sample", whole=False),
    Key("batch", "samples of an optimiser step"),
)
_LOAD = (*REINFORCED, *TUNED)
#: R1-Zero's step half way up its curve of lengths, laid out as its recipe assumes
_ZERO: dict[str, Any] = {
    "gpus": 512,
    "rollout_tp": 1,
    "rollout_ep": 64,
    "train_tp": 1,
    "train_pp": 16,
    "train_ep": 32,
    "train_cp": 8,
    "train_zero": 1,
    "train_schedule": "auto",
    "offload": 0.0,
    "micro_tokens": 4096,
    "mtp_tokens": 1,
    "mtp_acceptance": 0.85,
    "prompts": 512,
    "group": 16,
    "prompt_mean": 160.0,
    "response_mean": 5000.0,
    "response_max": 32768.0,
    "updates": 16,
    "epochs": 1.0,
    "framework": "deepseek",
    "algorithm": "grpo",
    "schedule": "synchronous",
    "recompute": "full",
    "train_precision": "fp8",
    "rollout_precision": "fp8",
    "law": "lognormal",
}
_PLAIN = _ZERO | {
    "gpus": 8,
    "rollout_ep": 1,
    "train_pp": 1,
    "train_ep": 1,
    "train_cp": 1,
    "micro_tokens": 8192,
    "mtp_tokens": 0,
    "mtp_acceptance": 0.0,
    "prompts": 64,
    "response_mean": 1000.0,
    "response_max": 8192.0,
    "updates": 2,
    "framework": "tuned",
    "train_precision": "bf16",
    "rollout_precision": "bf16",
}
#: the 800K samples of DeepSeek-R1 [deepseek-r1, table 5]
_TUNING = {"samples": 804_745, "tokens_mean": 5355.3, "tokens_max": 32768.0, "batch": 128, "epochs": 2.0}


def words() -> tuple[Words, ...]:
    """The options that take a word."""
    from costsim.spec import words as known

    return (
        Words("algorithm", "what is trained and how", known.ALGORITHMS),
        Words("schedule", "whether training waits for generation", known.POST_SCHEDULES),
        Words("framework", "runtime whose overheads are added", known.POST_FRAMEWORKS),
        Words("train_schedule", "order of micro-batches in training", known.SCHEDULE_WORDS),
        Words("recompute", "activations computed again in the backward pass", known.RECOMPUTES),
        Words("train_precision", "arithmetic of training", known.PRECISIONS[:2]),
        Words("rollout_precision", "arithmetic of generation", known.PRECISIONS),
        Words("law", "law of answer lengths", known.LENGTH_LAWS),
    )


def configure(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("question")
    group.add_argument("--recipe", metavar="ID", help="a published recipe by id or .toml; `--recipe list` names them")
    add_choice(group, "--compare", COMPARISONS, "two ways side by side, with figures in --out FILE.html")
    group.add_argument("--reward-model", metavar="ID", help="a network that scores answers; default: rules")
    group.add_argument("--no-reference", action="store_true", help="no KL term, so no reference pass")
    add_subject(parser, _MODEL, _ACCELERATOR)
    parser.set_defaults(model=None, accelerator=None)  # a recipe has its own
    add_keys(parser, "plan (numbers take lists and ranges)", [*PLAN, *words()])
    add_keys(parser, "load (numbers take lists and ranges)", _LOAD)


def run(args: argparse.Namespace) -> int:
    if args.recipe is not None and args.compare is not None:
        raise BadOption("--recipe and --compare are two questions: ask one at a time")
    if args.recipe is not None:
        return _recipe(args)
    if args.compare == "distill-rl":
        return _ways(args)
    return _step(args)


def _refuse_keys(args: argparse.Namespace, what: str) -> None:
    """A recipe brings its own model, plan and load."""
    if args.model is not None:
        raise BadOption(f"--model does not apply to {what}: it has models of its own")
    keys: list[Key | Words] = [*PLAN, *_LOAD, *words()]
    for key in keys:
        if getattr(args, key.name) is not None:
            raise BadOption(
                f"{key.flag} does not apply to {what}: it has a plan of its own; edit a copy of its TOML file"
            )


def _recipe(args: argparse.Namespace) -> int:
    from costsim.predict.post.recipe import predict_recipe
    from costsim.report.post_training import recipe_document
    from costsim.spec.catalog import load_cluster, names
    from costsim.spec.price import parse_rate
    from costsim.spec.recipe import RECIPES, load_recipe

    if args.recipe == "list":
        return _list(args, [load_recipe(name) for name in names(RECIPES)])
    _refuse_keys(args, "a recipe")
    recipe = load_recipe(args.recipe)
    price = None if args.price is None else parse_rate(args.price, "--price")
    cluster = None if args.cluster is None else load_cluster(args.cluster)
    report, costs = predict_recipe(recipe, price, cluster, args.accelerator)
    return finish(args, recipe_document(recipe.name, report, costs))


def _list(args: argparse.Namespace, recipes: list[Any]) -> int:
    from costsim.report.document import Document, Section, Table

    rows = [
        [
            r.id,
            r.model,
            f"{r.gpus} {r.accelerator}",
            str(len(r.stage)),
            f"{r.published_gpu_hours:,.0f}" if r.published_gpu_hours else "–",
        ]
        for r in recipes
    ]
    table = Table(("recipe", "model", "cards", "stages", "published GPU h"), rows)
    payload = {
        "recipes": [
            {
                "id": r.id,
                "name": r.name,
                "model": r.model,
                "accelerator": r.accelerator,
                "gpus": r.gpus,
                "published_gpu_hours": r.published_gpu_hours,
                "notes": r.notes,
            }
            for r in recipes
        ]
    }
    return finish(args, Document("Recipes", [Section("", [], [table])], payload, rows=payload["recipes"]))


def _ways(args: argparse.Namespace) -> int:
    from costsim.explore.post_training import compare_ways
    from costsim.report.post_training import ways_document
    from costsim.spec.price import parse_rate

    _refuse_keys(args, "--compare distill-rl")
    if args.accelerator is not None:
        raise BadOption("--accelerator does not apply to --compare distill-rl: ask each recipe with --recipe instead")
    price = None if args.price is None else parse_rate(args.price, "--price")
    return finish(args, ways_document(compare_ways(price)))


def _step(args: argparse.Namespace) -> int:
    from costsim.predict.post_training import predict_post_training
    from costsim.spec.catalog import load_accelerator, load_model

    args.model, args.accelerator = args.model or _MODEL, args.accelerator or _ACCELERATOR
    model, chip = load_model(args.model), load_accelerator(args.accelerator)
    price, cluster, about = supply(args, chip)
    tuned = args.algorithm in ("sft", "distill")
    own = (
        (*PLAN, *TUNED, *(key for key in REINFORCED if key.name in ("epochs", "sigma")))
        if tuned
        else (*PLAN, *REINFORCED)
    )
    refuse_foreign(args, [*PLAN, *_LOAD], own, args.algorithm or "grpo")
    asked = given(args, [*own, *words()], _defaults(model, chip.known("fp8"), tuned))
    asked = replace(asked, assumed=(*asked.assumed, *about))
    if args.compare is not None:
        return _algorithms(args, asked, model)

    def ask(point: dict[str, Any]) -> Report:
        plan, load = _question(point, asked, args)
        return predict_post_training(model, chip, plan, load, price, cluster)

    return answer(args, asked, ask)


def _algorithms(args: argparse.Namespace, asked: Given, model: ModelSpec) -> int:
    from costsim.explore.post_training import compare_algorithms
    from costsim.report.post_training import algorithms_document
    from costsim.spec.catalog import load_accelerator
    from costsim.spec.post_training import PostTrainingLoad

    if asked.varied:
        raise BadOption(f"--compare takes one point; --{asked.varied[0].replace('_', '-')} has several values")
    chip = load_accelerator(args.accelerator)
    price, cluster, _ = supply(args, chip)
    plan, load = _question({name: values[0] for name, values in asked.grid.items()}, asked, args)
    if not isinstance(load, PostTrainingLoad):
        raise BadOption("--compare grpo-ppo compares algorithms that sample answers; leave --algorithm out")
    return finish(args, algorithms_document(compare_algorithms(model, chip, plan, load, price, cluster)))


def _defaults(model: ModelSpec, fp8: bool, tuned: bool) -> dict[str, Any]:
    """R1-Zero's figures for DeepSeek-V3's sizes, a small job for the rest."""
    defaults = dict(_ZERO if model.id in ("deepseek-v3", "deepseek-r1") else _PLAIN)
    if not fp8:
        defaults |= {"train_precision": "bf16", "rollout_precision": "bf16"}
    if tuned:
        if model.moe:  # small batches need small micro-batches to fill a deep pipeline
            defaults["micro_tokens"] = 1024
        return {k: v for k, v in defaults.items() if k not in {key.name for key in REINFORCED}} | _TUNING
    return defaults


def _question(
    point: dict[str, Any], asked: Given, args: argparse.Namespace
) -> tuple[PostTrainingPlan, PostTrainingLoad | FineTuningLoad]:
    """Plan and load of one point of the grid."""
    from costsim.spec.plan import ServingPlan, TrainingPlan
    from costsim.spec.post_training import FineTuningLoad, PostTrainingLoad, PostTrainingPlan

    say = asked.words
    cards = point["gpus"]
    generating = point.get("rollout_gpus")
    if generating is not None and generating >= cards:
        raise BadOption(
            f"--rollout-gpus {generating:g}: leaves none of {cards:g} cards to train; leave it out to share all"
        )
    training = cards if generating is None else cards - generating
    tuned = say["algorithm"] in ("sft", "distill")
    plan = PostTrainingPlan(
        gpus=cards,
        train=TrainingPlan(
            training,
            tp=point["train_tp"],
            pp=point["train_pp"],
            ep=point["train_ep"],
            cp=point["train_cp"],
            precision=say["train_precision"],
            recompute=say["recompute"],
            schedule=say["train_schedule"],
            zero=point["train_zero"],
            routing="default" if point["train_ep"] > 1 else "balanced",
        ),
        rollout=None
        if tuned
        else ServingPlan(
            generating or cards,
            tp=point["rollout_tp"],
            ep=point["rollout_ep"],
            precision=say["rollout_precision"],
            redundant_experts=point["rollout_ep"] if point["rollout_ep"] > 1 else 0,
            routing="eplb" if point["rollout_ep"] > 1 else "balanced",
        ),
        algorithm=say["algorithm"],
        schedule=say["schedule"],
        framework=say["framework"],
        offload=point["offload"],
        reference=not args.no_reference,
        reward_model=args.reward_model or "",
        micro_tokens=point["micro_tokens"],
        mtp_tokens=point["mtp_tokens"],
        mtp_acceptance=point["mtp_acceptance"],
    )
    keys = TUNED if tuned else REINFORCED
    load = {key.name: point[key.name] for key in (*keys, *REINFORCED) if key.name in point}
    if tuned:
        return plan, FineTuningLoad(**load)
    return plan, PostTrainingLoad(**load, law=say["law"])
