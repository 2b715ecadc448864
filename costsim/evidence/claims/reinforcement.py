"""Claims about post-training: GRPO against PPO, R1's stages, distillation, small reinforcement runs."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from costsim.evidence.claims.asked import recipe
from costsim.evidence.claims.figure import Figures, exact, of_metric, ratio, scaled, total
from costsim.evidence.claims.rules import Claim
from costsim.explore.post_training import AIME, Algorithms, Ways, compare_algorithms, compare_ways, r1_zero_question
from costsim.spec.price import default_rate
from costsim.units import HOUR_S


@lru_cache(maxsize=1)
def _algorithms() -> Algorithms:
    model, chip, plan, load = r1_zero_question()
    return compare_algorithms(model, chip, plan, load, default_rate(chip))


@lru_cache(maxsize=1)
def _ways() -> Ways:
    return compare_ways()


def grpo_ppo(_: Claim) -> tuple[Figures, dict[str, Any]]:
    """R1-Zero's step with and without a value model of the policy's size: memory, cards, time, USD."""
    found = _algorithms()
    figures: Figures = {}
    assert found.ppo is not None
    for name, report in (("grpo", found.grpo), ("ppo", found.ppo)):
        for metric in ("step_s", "update_s", "rollout_s"):
            figures[f"{name}_{metric}"] = of_metric(
                report.metrics[metric], "costsim posttrain --compare grpo-ppo", f"{name}.metrics.{metric}"
            )
        figures[f"{name}_usd_per_step"] = of_metric(
            report.metrics["usd_per_step"], "costsim posttrain --compare grpo-ppo", f"{name}.metrics.usd_per_step"
        )
        figures[f"{name}_update_memory"] = exact(report.memory["update_phase_bytes"], "B")
        cards = found.fewest[name]
        if cards is not None:
            figures[f"{name}_fewest_cards"] = exact(cards, "GPU")
    figures["step_ratio"] = ratio(figures["ppo_step_s"], figures["grpo_step_s"], common=True)
    figures["memory_ratio"] = ratio(figures["ppo_update_memory"], figures["grpo_update_memory"])
    figures["saved"] = exact(1.0 - 1.0 / figures["step_ratio"].value, "share")
    return figures, {}


def r1_pipeline(claim: Claim) -> tuple[Figures, dict[str, Any]]:
    """GPU hours and USD of R1-Zero and of R1's stages against the published 147K GPU hours."""
    (zero, _), (r1, stages) = recipe("r1-zero"), recipe("r1")
    figures: Figures = {"r1_zero_gpu_hours": zero("gpu_hours"), "r1_gpu_hours": r1("gpu_hours"),
                        "r1_zero_usd": zero("usd_per_run"), "r1_usd": r1("usd_per_run")}  # fmt: skip
    for index, stage in enumerate(stages):
        figures[f"stage_{index + 1}_gpu_hours"] = scaled(of_metric(stage.gpu_hours, "", ""), 1.0, "GPU h")
    data_hours = exact(claim.data["data_gpu_hours"], "GPU h")
    figures["data_gpu_hours"] = data_hours
    figures["all_gpu_hours"] = total([zero("gpu_hours"), r1("gpu_hours"), data_hours], "GPU h")
    usd = total([zero("usd_per_run"), r1("usd_per_run"), scaled(data_hours, claim.data["usd_per_h"], "USD")], "USD")
    figures["all_usd"] = usd
    figures["published_gpu_hours"] = exact(claim.data["published_gpu_hours"], "GPU h")
    figures["over_published"] = ratio(figures["all_gpu_hours"], figures["published_gpu_hours"])
    rl = [stage.gpu_hours.value for stage in stages if stage.stage.fine_tuning is None]
    figures["rl_share_of_r1"] = exact(sum(rl) / sum(stage.gpu_hours.value for stage in stages), "share")
    step = next(stage.report for stage in stages if stage.stage.fine_tuning is None)
    figures["rollout_share"] = exact(step["rollout_s"] / step["step_s"], "share")
    figures["stages"] = exact(len(stages), "stages")
    return figures, {}


def distil(claim: Claim) -> tuple[Figures, dict[str, Any]]:
    """Fine-tuning six sizes on 800K samples against reinforcement learning on the same 32B model."""
    ways = _ways()
    figures: Figures = {}
    command = "costsim posttrain --compare distill-rl"
    for index, cost in enumerate(ways.distilled):
        name = cost.model.replace(".", "_").replace("-", "_")
        figures[f"distil_{name}"] = of_metric(cost.gpu_hours, command, f"distilled.{index}.gpu_hours")
    figures["rl_32b"] = of_metric(ways.reinforced.gpu_hours, command, "reinforced.gpu_hours")
    figures["rl_over_distil"] = ratio(figures["rl_32b"], figures["distil_qwen2_5_32b"])
    teacher = exact(claim.data["teacher_gpu_hours"], "GPU h")
    figures["teacher_gpu_hours"] = teacher
    charged = total([figures["distil_qwen2_5_32b"], teacher], "GPU h")
    figures["distil_with_teacher"] = charged
    figures["rl_over_distil_with_teacher"] = ratio(figures["rl_32b"], charged)
    figures["aime_distil"], figures["aime_rl"] = exact(AIME["Qwen-32B"], "%"), exact(AIME["RL"], "%")
    return figures, {}


def tiny_rl(_: Claim) -> tuple[Figures, dict[str, Any]]:
    """Hours and USD of a countdown task on 3B and 7B models on two and four cards."""
    figures: Figures = {}
    for name in ("3b", "7b"):
        asked, stages = recipe(f"tiny-zero-{name}")
        cards = float(asked.report.inputs["gpus"])
        figures[f"gpu_hours_{name}"], figures[f"usd_{name}"] = asked("gpu_hours"), asked("usd_per_run")
        figures[f"hours_{name}"] = scaled(asked("gpu_hours"), 1.0 / cards, "h")
        figures[f"cards_{name}"] = exact(cards, "GPU")
        figures[f"step_{name}"] = scaled(of_metric(stages[0].report.metrics["step_s"], "", ""), 1.0 / HOUR_S, "h")
    figures["longest_hours"] = max((figures["hours_3b"], figures["hours_7b"]), key=lambda figure: figure.value)
    return figures, {}


CLAIMS = {"grpo-ppo": grpo_ppo, "r1-pipeline": r1_pipeline, "distil": distil, "tiny-rl": tiny_rl}
