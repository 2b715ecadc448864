"""Post-training: one step of SFT, GRPO, PPO or distillation, or a published recipe from end to end."""

from __future__ import annotations

from typing import Any

from dashboards import catalog, uploads
from dashboards.controls import Control, options_of
from dashboards.page import Page

STEP, RECIPE, COMPARED = "one step", "a published recipe", "two ways compared"


def recipes() -> tuple[str, ...]:
    """Ids of the recipes that ship."""
    from costsim.spec.catalog import names
    from costsim.spec.recipe import RECIPES

    return tuple(names(RECIPES))


def words(name: str) -> tuple[str, ...]:
    """The words that an option of the verb takes."""
    from costsim.spec import post_training

    return tuple(getattr(post_training, name))


def subject(values: dict[str, Any]) -> list[str]:
    """The options without the word that says which kind of question is meant."""
    rest = [control for control in PAGE.controls if control.name != "question"]
    return options_of(rest, values, PAGE.mode_of(values), uploads.spelled)


_S, _R, _C = (STEP,), (RECIPE,), (COMPARED,)
PAGE = Page(
    id="posttraining", title="Post-training", icon=":material/school:", group="Answers", order=60, verb="posttrain",
    lead="Rollout, scoring, update and weight sync: GPU hours and USD of a step or of a whole recipe.",
    mode="question", subject=subject, long=True,
    headline=("step_s", "rollout_s", "gpu_hours", "usd_per_run", "usd", "usd_per_step"),
    controls=(
        Control("question", "w", "word", "Question", STEP, (STEP, RECIPE, COMPARED)),
        Control("recipe", "rec", "word", "Recipe", {RECIPE: "r1-zero"}, recipes, modes=_R),
        Control("compare", "cmp", "word", "Compared", {COMPARED: "grpo-ppo"}, ("grpo-ppo", "distill-rl"), modes=_C),
        Control("algorithm", "al", "word", "Algorithm", {STEP: "grpo"}, lambda: words("ALGORITHMS"), modes=_S),
        Control("model", "m", "word", "Model", {STEP: "deepseek-v3"}, catalog.models, modes=_S),
        Control("accelerator", "a", "word", "Accelerator", {STEP: "h800-sxm"}, catalog.chips, modes=_S),
        catalog.PRICE,
        Control("gpus", "g", "whole", "Cards", None, low=1, high=1_000_000, modes=_S),
        Control("prompts", "q", "whole", "Questions of a step", None, low=1, high=10_000_000, modes=_S),
        Control("group", "gr", "whole", "Answers to each question", None, low=1, high=100_000, modes=_S),
        Control("response_mean", "rm", "real", "Mean tokens of an answer", None, low=1.0, high=1e7, modes=_S),
        Control("response_max", "rx", "real", "Longest answer", None, low=1.0, high=1e7, modes=_S),
        Control("framework", "f", "word", "Framework", None, lambda: words("FRAMEWORKS"), modes=_S, more=True),
        Control("schedule", "s", "word", "Schedule", None, lambda: words("SCHEDULES"), modes=_S, more=True),
        Control("rollout_tp", "rtp", "whole", "Generation: tp", None, low=1, high=4096, modes=_S, more=True),
        Control("rollout_ep", "rep", "whole", "Generation: ep", None, low=1, high=4096, modes=_S, more=True),
        Control("train_tp", "ttp", "whole", "Training: tp", None, low=1, high=4096, modes=_S, more=True),
        Control("train_pp", "tpp", "whole", "Training: pp", None, low=1, high=256, modes=_S, more=True),
        Control("train_ep", "tep", "whole", "Training: ep", None, low=1, high=4096, modes=_S, more=True),
        Control("train_cp", "tcp", "whole", "Training: cp", None, low=1, high=4096, modes=_S, more=True),
        Control("train_zero", "tz", "whole", "ZeRO stage", None, low=0, high=3, modes=_S, more=True),
        Control("offload", "off", "real", "Share of the optimiser on the host", None, low=0.0, high=1.0, modes=_S,
                more=True),
        Control("steps", "st", "whole", "Steps of the run", None, low=1, high=100_000_000, modes=_S, more=True),
    ),
)  # fmt: skip
