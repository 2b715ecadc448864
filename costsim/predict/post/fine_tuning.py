"""SFT and distillation: the training step on packed samples, as often as the epochs need."""

from __future__ import annotations

import numpy as np

from costsim.predict.post.lengths import length_law, square_mean
from costsim.predict.post.passes import Samples, held_bytes, update
from costsim.predict.post.shared import UPDATE_BAND, inputs_of, refuse_memory
from costsim.predict.report import Line, Metric, Report
from costsim.predict.training import TrainingStep
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
    samples = Samples(batch, float(load.tokens_mean), square_mean(law))
    one, _ = update(model, chip, plan.train, cluster, samples, float(plan.micro_tokens), 1.0)
    memory = held_bytes(one)
    memory |= {"value_model_bytes": 0.0, "total_bytes": sum(memory.values())}
    memory["capacity_bytes"] = chip.rank().need("memory")
    refuse_memory(memory, chip)
    steps = float(load.samples) * float(load.epochs) / batch
    cards, seconds = float(plan.gpus), float(np.max(one.step_s))
    tokens = float(load.samples) * float(load.tokens_mean) * float(load.epochs)

    def time(value: float, unit: str = "s") -> Metric:
        return Metric(value, unit, UPDATE_BAND[0] * value, UPDATE_BAND[1] * value, "D")

    hours = seconds * steps * cards / HOUR_S
    whole, speed = hours + float(load.teacher_gpu_hours), tokens / (seconds * steps * cards)
    low, high = speed / UPDATE_BAND[1], speed / UPDATE_BAND[0]
    metrics = {
        "step_s": time(seconds),
        "tokens_per_s_per_gpu": Metric(speed, "token/s", low, high, "D"),
        "optimizer_steps": Metric(steps, "", None, None, "A"),
        "tokens": Metric(tokens, "token", None, None, "A"),
        "gpu_hours": time(whole, "GPU h"),
    }
    if rate is not None:
        metrics["usd_per_run"] = time(whole * in_usd(rate), "USD")
    return Report(
        kind="post_training",
        inputs=inputs_of(model, chip, plan, load, rate, cluster),
        metrics=metrics,
        breakdown=_lines(one),
        memory=memory,
        sources=("megatron-1f1b", "deepseek-r1"),
        notes=_notes(plan, load, rate),
    )


def _lines(one: TrainingStep) -> tuple[Line, ...]:
    """The step's parts, longest first; the rest is the wait for other stages and the host."""
    seconds = float(np.max(one.step_s))
    parts = {
        "forward and backward": seconds,
        "pipeline bubble": float(np.max(one.bubble_s)),
        "gradient sync": float(np.max(one.gradient_s)),
        "optimizer": float(np.max(one.optimizer_s)),
    }
    parts["forward and backward"] -= sum(s for name, s in parts.items() if name != "forward and backward")
    lines = (Line(name, s, s / seconds, "compute", "D", "phase") for name, s in parts.items() if s > 0)
    return tuple(sorted(lines, key=lambda line: -line.time_s))


def _notes(plan: PostTrainingPlan, load: FineTuningLoad, rate: Price | None) -> tuple[str, ...]:
    notes = [f"{plan.algorithm}: samples packed into {float(plan.micro_tokens):,.0f}-token micro-batches"]
    if load.teacher_gpu_hours:
        notes.append(f"the teacher's answers cost {float(load.teacher_gpu_hours):,.0f} GPU h, included")
    notes.append("no hourly price known: no USD" if rate is None else f"price: {rate.text} from {rate.id}")
    return tuple(notes)
