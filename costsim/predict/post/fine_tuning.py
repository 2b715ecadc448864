"""SFT and distillation: the training step on packed samples, as often as the epochs need."""

from __future__ import annotations

import numpy as np

from costsim.predict.bands import sources_of
from costsim.predict.post.lengths import length_law, square_mean
from costsim.predict.post.passes import Samples, update
from costsim.predict.post.shared import UPDATE_BAND, inputs_of, refuse_memory
from costsim.predict.report import Line, Metric, Report
from costsim.spec.accelerator import Accelerator
from costsim.spec.cluster import Cluster
from costsim.spec.model import ModelSpec
from costsim.spec.post_training import FineTuningLoad, PostTrainingPlan
from costsim.spec.price import Price, in_usd
from costsim.units import HOUR_S


def fine_tuned(
    model: ModelSpec,
    chip: Accelerator,
    plan: PostTrainingPlan,
    load: FineTuningLoad,
    rate: Price | None,
    cluster: Cluster,
) -> Report:
    """SFT and distillation: the training step on packed samples, as often as the epochs need."""
    law = length_law("lognormal", load.tokens_mean, load.tokens_max, load.sigma)
    batch = float(load.batch)
    one, device = update(
        model,
        chip,
        plan.train,
        cluster,
        Samples(batch, float(load.tokens_mean), square_mean(law)),
        float(plan.micro_tokens),
        1.0,
    )
    del device
    memory = {name: float(np.max(value)) for name, value in one.memory.terms().items()}
    memory |= {
        "value_model_bytes": 0.0,
        "total_bytes": sum(memory.values()),
        "capacity_bytes": chip.rank().need("memory"),
    }
    refuse_memory(memory, chip)
    steps = float(load.samples) * float(load.epochs) / batch
    cards, seconds = float(plan.gpus), float(np.max(one.step_s))
    tokens = float(load.samples) * float(load.tokens_mean) * float(load.epochs)

    def time(value: float, unit: str = "s") -> Metric:
        return Metric(value, unit, UPDATE_BAND[0] * value, UPDATE_BAND[1] * value, "D")

    hours = seconds * steps * cards / HOUR_S
    whole = hours + float(load.teacher_gpu_hours)
    metrics = {
        "step_s": time(seconds),
        "tokens_per_s_per_gpu": Metric(
            tokens / (seconds * steps * cards),
            "token/s",
            tokens / (seconds * steps * cards) / UPDATE_BAND[1],
            tokens / (seconds * steps * cards) / UPDATE_BAND[0],
            "D",
        ),
        "optimizer_steps": Metric(steps, "", None, None, "A"),
        "tokens": Metric(tokens, "token", None, None, "A"),
        "gpu_hours": time(whole, "GPU h"),
    }
    if rate is not None:
        metrics["usd_per_run"] = time(whole * in_usd(rate), "USD")
    parts = (
        ("forward", one.forward_s),
        ("backward", one.backward_s),
        ("pipeline bubble", one.bubble_s),
        ("gradient sync", one.gradient_s),
        ("optimizer", one.optimizer_s),
    )
    lines = [Line(name, float(np.max(v)), float(np.max(v)) / seconds, "compute", "D", "phase") for name, v in parts]
    return Report(
        kind="post_training",
        inputs=inputs_of(model, chip, plan, load, rate, cluster),
        metrics=metrics,
        breakdown=tuple(sorted((line for line in lines if line.time_s > 0), key=lambda line: -line.time_s)),
        memory=memory,
        sources=tuple(dict.fromkeys([*sources_of(t.each.fitted for t in one.timed), "deepseek-r1"])),
        notes=(
            f"{plan.algorithm}: samples packed into {float(plan.micro_tokens):,.0f}-token micro-batches",
            *(
                (f"the teacher's answers cost {float(load.teacher_gpu_hours):,.0f} GPU h, included",)
                if load.teacher_gpu_hours
                else ()
            ),
            "no hourly price known: no USD" if rate is None else f"price: {rate.text} from {rate.id}",
        ),
    )
