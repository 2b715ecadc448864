"""Post-training: one step of SFT, GRPO, PPO or distillation, or a published recipe from end to end."""

from __future__ import annotations

from typing import Any

from costsim.spec import words
from dashboards import catalog, uploads
from dashboards.controls import MORE, Control, options_of
from dashboards.page import Page, Question, Screen

TUNED, GENERATION, UPDATE = "Fine-tuning and distillation", "Generation", "Update of the weights"
STEP, RECIPE, COMPARED = "one step", "a published recipe", "two ways compared"


def recipes() -> tuple[str, ...]:
    """Ids of the recipes that ship."""
    from costsim.spec.catalog import names
    from costsim.spec.recipe import RECIPES

    return tuple(names(RECIPES))


def subject(values: dict[str, Any]) -> list[str]:
    """The options without the word that says which kind of question is meant."""
    rest = [control for control in PAGE.question.controls if control.name != "question"]
    return options_of(rest, values, PAGE.question.mode_of(values), uploads.spelled)


_S, _R, _C, _SC = (STEP,), (RECIPE,), (COMPARED,), (STEP, COMPARED)
CONTROLS = (
    Control("question", "w", "word", "Question", STEP, (STEP, RECIPE, COMPARED)),
    Control("recipe", "rec", "word", "Recipe", {RECIPE: "r1-zero"}, recipes, modes=_R),
    Control("compare", "cmp", "word", "Compared", {COMPARED: "grpo-ppo"}, ("grpo-ppo", "distill-rl"), modes=_C),
    Control("algorithm", "al", "word", "Algorithm", {STEP: "grpo"}, words.ALGORITHMS, modes=_S),
    Control("model", "m", "word", "Model", {STEP: "deepseek-v3"}, catalog.models, modes=_SC),
    Control("accelerator", "a", "word", "Accelerator", {STEP: "h800-sxm"}, catalog.chips, modes=_SC),
    catalog.PRICE,
    Control("gpus", "g", "whole", "Cards", None, span=(1, 1_000_000), modes=_SC),
    Control("prompts", "q", "whole", "Questions of a step", None, span=(1, 10_000_000), modes=_SC),
    Control("group", "gr", "whole", "Answers to each question", None, span=(1, 100_000), modes=_SC),
    Control("response_mean", "rm", "real", "Mean tokens of an answer", None, span=(1.0, 1e7), modes=_SC),
    Control("response_max", "rx", "real", "Longest answer", None, span=(1.0, 1e7), modes=_SC),
    Control("samples", "sa", "whole", "Samples in all", None, span=(1, 1_000_000_000), modes=_S, fold=TUNED),
    Control("tokens_mean", "tm", "real", "Mean tokens of a sample", None, span=(1.0, 1e7), modes=_S, fold=TUNED),
    Control("tokens_max", "tx", "real", "Longest sample", None, span=(1.0, 1e7), modes=_S, fold=TUNED),
    Control("batch", "b", "whole", "Samples of an optimiser step", None, span=(1, 10_000_000), modes=_S,
            fold=TUNED),
    Control("epochs", "ep", "real", "Passes over the samples or answers", None, span=(0.01, 1000.0), modes=_S,
            fold=TUNED),
    Control("framework", "f", "word", "Framework", None, words.POST_FRAMEWORKS, modes=_S, fold=MORE),
    Control("schedule", "s", "word", "Schedule", None, words.POST_SCHEDULES, modes=_S, fold=MORE),
    Control("steps", "st", "whole", "Steps of the run", None, span=(1, 100_000_000), modes=_S, fold=MORE),
    Control("updates", "u", "whole", "Updates on the answers of a step", None, span=(1, 100_000), modes=_S,
            fold=MORE),
    Control("prompt_mean", "pm", "real", "Mean tokens of a question", None, span=(1.0, 1e7), modes=_S, fold=MORE),
    Control("law", "law", "word", "Law of answer lengths", None, words.LENGTH_LAWS, modes=_S, fold=MORE),
    Control("sigma", "si", "real", "Spread of the log-normal law", None, span=(0.05, 3.0), modes=_S, fold=MORE),
    Control("reward_model", "rw", "word", "Model that scores answers", None, catalog.models, modes=_S, fold=MORE,
            empty="rules"),
    Control("no_reference", "nr", "flag", "No reference pass (no KL term)", False, modes=_S, fold=MORE),
    Control("cluster", "c", "word", "Cluster", None, catalog.clusters, modes=_S, fold=MORE,
            note="the default is the accelerator's standard node"),
    Control("rollout_gpus", "rg", "whole", "Cards that only generate", None, span=(1, 1_000_000), modes=_S,
            fold=GENERATION, empty="all do both"),
    Control("rollout_tp", "rtp", "whole", "Generation: tp", None, span=(1, 4096), modes=_S, fold=GENERATION),
    Control("rollout_ep", "rep", "whole", "Generation: ep", None, span=(1, 4096), modes=_S, fold=GENERATION),
    Control("rollout_precision", "rpr", "word", "Precision", None, words.PRECISIONS, modes=_S, fold=GENERATION),
    Control("mtp_tokens", "mt", "whole", "MTP: tokens drafted per step", None, span=(0, 8), modes=_S,
            fold=GENERATION),
    Control("mtp_acceptance", "ma", "real", "MTP: chance of acceptance", None, span=(0.0, 1.0), modes=_S,
            fold=GENERATION),
    Control("train_tp", "ttp", "whole", "Training: tp", None, span=(1, 4096), modes=_S, fold=UPDATE),
    Control("train_pp", "tpp", "whole", "Training: pp", None, span=(1, 256), modes=_S, fold=UPDATE),
    Control("train_ep", "tep", "whole", "Training: ep", None, span=(1, 4096), modes=_S, fold=UPDATE),
    Control("train_cp", "tcp", "whole", "Training: cp", None, span=(1, 4096), modes=_S, fold=UPDATE),
    Control("train_zero", "tz", "whole", "ZeRO stage", None, span=(0, 3), modes=_S, fold=UPDATE),
    Control("train_schedule", "ts", "word", "Pipeline schedule", None, words.SCHEDULE_WORDS, modes=_S, fold=UPDATE),
    Control("train_precision", "tpr", "word", "Precision of training", None, words.PRECISIONS[:2], modes=_S,
            fold=UPDATE),
    Control("recompute", "rc", "word", "Recompute", None, words.RECOMPUTES, modes=_S, fold=UPDATE),
    Control("micro_tokens", "mic", "whole", "Packed tokens of a micro-batch", None, span=(1, 100_000_000), modes=_S,
            fold=UPDATE),
    Control("offload", "off", "real", "Share of the optimiser on the host", None, span=(0.0, 1.0), modes=_S,
            fold=UPDATE),
)  # fmt: skip

PAGE = Page(
    id="posttraining", title="Post-training", icon=":material/school:", group="Answers", order=60,
    lead="Rollout, scoring, update and weight sync: GPU hours and USD of a step or of a whole recipe.",
    question=Question(
        verb="posttrain", mode="question", subject=subject, long=True,
        controls=CONTROLS,
    ),
    screen=Screen(
        headline=("step_s", "rollout_s", "gpu_hours", "usd_per_run", "usd", "usd_per_step"),
    ),
)  # fmt: skip
