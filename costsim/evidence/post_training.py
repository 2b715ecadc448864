"""Post-training points as questions: what a row states, and what its framework's published recipe fills in.

NeMo-RL's tables count answers, not questions: its tokens/s per GPU (tokens trained on, over step time and cards) is
12.1 at 134 s on 256 cards, 811 tokens for each of 512: a 701-token answer with its prompt. Its sequence limit holds
the prompt too. [nemo-rl-performance] verl's rows count questions. [verl-fully-async; verl-deepseek]
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from costsim.errors import DoesNotFit, Malformed
from costsim.evidence.points import Point
from costsim.physics.parameters import parameters
from costsim.predict.post.recipe import predict_recipe
from costsim.predict.post_training import predict_post_training
from costsim.predict.report import Metric, Report
from costsim.spec.accelerator import Accelerator
from costsim.spec.model import ModelSpec
from costsim.spec.plan import Routing, ServingPlan, TrainingPlan
from costsim.spec.post_training import PostTrainingLoad, PostTrainingPlan
from costsim.spec.recipe import load_recipe

#: mean answer over its limit where a row states none, a factor of two either way: DAPO's published means run from
#: 1.5 to 5K under 20K; verl's 64- and 128-card runs under 28,672 update in 133 and 114 s, which is what 2 to 4K take
MEAN_OF_LIMIT = 0.1
_TRAIN = re.compile(r"train TP,CP,EP,PP:(\d+),(\d+),(\d+),(\d+)")
_WIDTH = re.compile(r"\b(gen )?(TP|PP|EP|CP) ?(\d+)")
_OFFLOAD = re.compile(r"offload (\d(?:\.\d+)?)")
_LARGE = 50e9


@dataclass(frozen=True)
class Habits:
    """What a framework's recipes do where a row says nothing."""

    framework: str
    prompt: float
    group: float
    update_samples: float
    limit_holds_prompt: bool
    counts_answers: bool


#: prompts of OpenMathInstruct-2 by the tokens/s above; 512 samples an update; 16 or 32 answers share a prompt
_NEMO = Habits("nemo-rl", 105.0, 16.0, 512.0, True, True)
#: DAPO-Math-17k; 32 questions a mini-batch of 16 answers each
_VERL = Habits("verl", 150.0, 16.0, 512.0, False, False)
#: the script of DeepSeek-V3 on 96 cards: 96 questions x 8 answers of at most 9,632 tokens, 32 x 8 an update, eager
_VERL_671B = replace(_VERL, framework="verl-eager", group=8.0, update_samples=256.0)
_OTHER = Habits("tuned", 128.0, 16.0, 512.0, False, False)


def _habits(point: Point, model: ModelSpec) -> Habits:
    text = point.source.lower()
    if "nemo" in text:
        return _NEMO
    if "verl" in text:
        return _VERL_671B if parameters(model).total > 10 * _LARGE else _VERL
    return _OTHER


def predict_post(point: Point, model: ModelSpec, chip: Accelerator) -> Report:
    """The report of a post-training row. GPU hours of R1-Zero and R1 come from their recipes."""
    if point.gpus is None:
        raise Malformed("the row states no gpus")
    if point.metric in ("gpu_hours", "usd") and point.accelerator == "h800-sxm" and point.model.startswith("deepseek"):
        return _whole_recipe(point)
    habits = _habits(point, model)
    load, guessed = _load(point, habits)
    report = _first_that_fits(point, model, chip, habits, load)
    if not guessed:
        return report
    ends = [
        _first_that_fits(point, model, chip, habits, replace(load, response_mean=float(load.response_mean) * factor))
        for factor in (0.5, 2.0)
    ]
    return replace(report, metrics={name: _widened(name, metric, ends) for name, metric in report.metrics.items()})


def _widened(name: str, metric: Metric, ends: list[Report]) -> Metric:
    """The band over half and twice the assumed mean length."""
    found = [value for end in ends if name in end.metrics for value in (end.metrics[name].low, end.metrics[name].high)]
    known = [value for value in (*found, metric.low, metric.high) if value is not None]
    return metric if metric.low is None else replace(metric, low=min(known), high=max(known))


def _whole_recipe(point: Point) -> Report:
    name = "r1-zero" if "steps" in point.load else "r1"
    if point.gpus != load_recipe(name).gpus:
        raise Malformed(f"gpus = {point.gpus:g}: the recipe {name} ran on {load_recipe(name).gpus}")
    return predict_recipe(load_recipe(name))[0]


def _load(point: Point, habits: Habits) -> tuple[PostTrainingLoad, bool]:
    limit_default = 9632.0 if habits.framework == "verl-eager" else None
    limit = point.number("response_max", limit_default)
    if habits.limit_holds_prompt:
        limit -= habits.prompt
    guessed = "response_mean" not in point.load
    mean = limit * MEAN_OF_LIMIT if guessed else point.number("response_mean")
    asked = point.number("prompts", 96.0 if habits.framework == "verl-eager" else None)
    group = point.number("group", habits.group)
    prompts = asked / group if habits.counts_answers and "group" not in point.load else asked
    samples = prompts * group
    updates = point.number("updates", max(round(samples / habits.update_samples), 1))
    steps = point.number("steps", -1.0)
    return PostTrainingLoad(
        prompts=prompts,
        group=group,
        response_mean=mean,
        response_max=limit,
        prompt_mean=point.number("prompt_mean", habits.prompt),
        updates=updates,
        steps=steps if steps > 0 else None,
    ), guessed


def _widths(point: Point) -> tuple[dict[str, float], float | None]:
    """(training widths, generation tp) that the layout states."""
    layout = point.plan.get("layout", "")
    whole = _TRAIN.search(layout)
    found = {name.lower(): float(n) for gen, name, n in _WIDTH.findall(layout) if not gen}
    if whole:
        found = dict(zip(("tp", "cp", "ep", "pp"), map(float, whole.groups()), strict=True))
    generation = next((float(n) for gen, name, n in _WIDTH.findall(layout) if gen and name == "TP"), None)
    return found, generation


def _first_that_fits(
    point: Point, model: ModelSpec, chip: Accelerator, habits: Habits, load: PostTrainingLoad
) -> Report:
    """Without recomputation where that fits and no framework forces it, else with; tp of generation likewise."""
    large = parameters(model).total > _LARGE or "FSDP" in point.plan.get("layout", "")
    tried: DoesNotFit | None = None
    for recompute in ("full",) if large else ("none", "full"):
        for tp in (1.0, 4.0, 8.0) if "tp" not in _widths(point)[0] else (None,):
            try:
                return predict_post_training(model, chip, _plan(point, model, chip, habits, load, recompute, tp), load)
            except DoesNotFit as error:
                tried = error
    assert tried is not None
    raise tried


def _plan(
    point: Point,
    model: ModelSpec,
    chip: Accelerator,
    habits: Habits,
    load: PostTrainingLoad,
    recompute: str,
    tp: float | None,
) -> PostTrainingPlan:
    assert point.gpus is not None
    widths, generation = _widths(point)
    if tp is not None:
        widths["tp"] = tp
    algorithm = point.plan.get("algorithm", "GRPO").lower()
    behind = "1-step-off" in algorithm or ("async" in algorithm.replace("sync_", "") and "colocate" not in algorithm)
    side = point.gpus / 2 if behind else point.gpus
    room = 0.5 * chip.rank().need("memory")
    fits = next((n for n in (1, 2, 4, 8, 16, 32) if parameters(model).total * 2.0 / n < room), 32)
    offload = _OFFLOAD.search(point.plan.get("layout", ""))
    budget = float(load.response_max) + (habits.prompt if habits.limit_holds_prompt else 2048.0)
    # FSDP with sequences split over four cards packs two limits of tokens on them.
    micro = budget / 2.0 if "FSDP" in point.plan.get("layout", "") else budget
    kinds, layout = ("ppo", "dapo", "rloo"), point.plan.get("layout", "")
    # Real answers meet experts unevenly; benchmarks that force balance say so.
    routing: Routing = "default" if model.moe else "balanced"
    default_tp = 32 if habits.framework == "verl-eager" else (4 if habits.framework == "verl" else fits)
    return PostTrainingPlan(
        gpus=point.gpus,
        train=TrainingPlan(
            side,
            tp=widths.get("tp", 1),
            pp=widths.get("pp", 1),
            cp=widths.get("cp", 1),
            ep=widths.get("ep", 1) if model.moe else 1,
            precision=_training_precision(point),
            recompute=recompute,
            routing=routing,
            zero=3 if "FSDP" in layout else 1,
        ),
        rollout=ServingPlan(
            side, tp=generation or max(default_tp, fits), precision=point.precision or "bf16", routing=routing
        ),
        algorithm=next((kind for kind in kinds if kind in algorithm), "grpo"),
        schedule="one-step-off" if behind else "synchronous",
        framework=habits.framework,
        offload=float(offload.group(1)) if offload else 0.0,
        reference="dapo" not in algorithm,
        micro_tokens=micro,
    )


def _training_precision(point: Point) -> str:
    return "fp8" if point.precision == "fp8" else "bf16"
