"""Post-training: a model, a chip, a plan and a load in; a Report of one step, its memory, GPU hours and USD out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from costsim.economics.cost import wall_power
from costsim.errors import Contradiction, OutOfRange
from costsim.predict.bands import sources_of, step_band
from costsim.predict.post.fine_tuning import fine_tuned
from costsim.predict.post.lengths import length_law
from costsim.predict.post.passes import data_parallel
from costsim.predict.post.shared import UPDATE_BAND, Load, inputs_of, refuse_memory
from costsim.predict.post.step import Job, Step, is_split, job_for, memory_of, rollout_of, time_step
from costsim.predict.question import check_values
from costsim.predict.report import Line, Metric, Report
from costsim.spec.accelerator import Accelerator
from costsim.spec.cluster import Cluster, standard_cluster
from costsim.spec.model import ModelSpec
from costsim.spec.plan import PRECISIONS, RECOMPUTES
from costsim.spec.post_training import (
    ALGORITHMS,
    REINFORCED,
    SCHEDULES,
    FineTuningLoad,
    PostTrainingLoad,
    PostTrainingPlan,
)
from costsim.spec.price import Price, default_rate, in_usd
from costsim.timing.device import worst
from costsim.units import HOUR_S

#: published weight syncs of one runtime spread over a factor of 2.5 with its version [verl-weight-sync]
SYNC_BAND = (0.4, 1.6)
#: answer lengths of one task spread less, those of a mixed day more, than the default of the law: sigma 0.7 … 1.2
SIGMAS = (0.7, 1.2)


def predict_post_training(
    model: ModelSpec,
    chip: Accelerator,
    plan: PostTrainingPlan,
    load: Load,
    price: Price | None = None,
    cluster: Cluster | None = None,
) -> Report:
    """One step of GRPO, DAPO, RLOO or PPO (PostTrainingLoad), or of SFT and distillation (FineTuningLoad).

    Seconds by phase, tokens per second, memory by kind and phase, and, where the load says how many, GPU hours and
    USD of the run. Raises BadInput in one line for what cannot be answered.
    """
    _check(plan, load, chip)
    cluster = cluster or standard_cluster(chip, int(np.max(plan.gpus)))
    rate = price if price is not None else default_rate(chip)
    if isinstance(load, FineTuningLoad):
        return fine_tuned(model, chip, plan, load, rate, cluster)
    job = job_for(model, chip, plan, load, cluster)
    step = time_step(job, load)
    memory = memory_of(job, step)
    refuse_memory(memory, chip)
    band, grade = _band(job, step, load)
    return Report(
        kind="post_training",
        inputs=inputs_of(model, chip, plan, load, rate, cluster),
        metrics=_metrics(job, step, load, rate, band, grade),
        breakdown=_lines(step, grade),
        memory=memory,
        sources=_sources(job, step),
        notes=_notes(job, step, load, rate),
    )


def _check(plan: PostTrainingPlan, load: Load, chip: Accelerator) -> None:
    for field, value, known in (
        ("algorithm", plan.algorithm, ALGORITHMS),
        ("schedule", plan.schedule, SCHEDULES),
        ("training precision", plan.train.precision, PRECISIONS[:2]),
        ("recompute", plan.train.recompute, RECOMPUTES),
    ):
        if value not in known:
            raise OutOfRange(f"{field}: {str(value)[:40]!r} is not one of {', '.join(known)}")
    check_values(plan.train, *([plan.rollout] if plan.rollout else []))
    tuned = isinstance(load, FineTuningLoad)
    if tuned == (plan.algorithm in REINFORCED):
        needs = "samples and a batch (FineTuningLoad)" if not tuned else "prompts and answers (PostTrainingLoad)"
        raise Contradiction(f"algorithm {plan.algorithm} needs {needs}")
    numbers: dict[str, Any] = {"gpus": plan.gpus, "micro_tokens": plan.micro_tokens}
    names = (
        ("samples", "tokens_mean", "tokens_max", "batch", "epochs")
        if tuned
        else ("prompts", "group", "response_mean", "response_max", "prompt_mean", "updates", "epochs")
    )
    numbers |= {name: getattr(load, name) for name in names}
    if not tuned and getattr(load, "steps", None) is not None:
        numbers["steps"] = getattr(load, "steps")  # noqa: B009
    for name, value in numbers.items():
        if isinstance(value, bool | str) or np.ndim(value) or not 1 <= float(value) <= 1e15:
            raise OutOfRange(f"{name} = {str(value)[:40]}: must be one number from 1 to 1e15")
    if not tuned and plan.algorithm != "ppo" and float(numbers["group"]) < 2:
        raise OutOfRange(f"group = {numbers['group']}: {plan.algorithm} compares answers to one question; at least 2")
    for name in ("offload", "mtp_acceptance"):
        if not 0 <= float(np.max(getattr(plan, name))) <= 1:
            raise OutOfRange(f"{name} = {getattr(plan, name)}: must be from 0 to 1")
    chip.peak(plan.train.precision)
    data_parallel(chip, plan.train)


def _band(job: Job, step: Step, load: PostTrainingLoad) -> tuple[tuple[float, float], str]:
    """(low, high) factors on the step: kernels and length law of the rollout, the update, the sync, in quadrature."""
    middle = step.rollout.middle
    low, high, grade = step_band(
        middle.phase, middle.step, middle.micro_batches, job.setting.plan.routing, job.setting.device
    )
    spread = [_rollout_at(job, load, sigma) / step.rollout.total_s for sigma in SIGMAS]
    parts = step.phases
    sync, rollout = parts["weight sync"], parts["rollout"]
    rest = max(sum(parts.values()) - sync - rollout, 0.0)
    whole = sum(parts.values())
    down = [
        rollout * (1 - low),
        rollout * (1 - min(*spread, 1.0)),
        rest * (1 - UPDATE_BAND[0]),
        sync * (1 - SYNC_BAND[0]),
    ]
    up = [
        rollout * (high - 1),
        rollout * (max(*spread, 1.0) - 1),
        rest * (UPDATE_BAND[1] - 1),
        sync * (SYNC_BAND[1] - 1),
    ]
    band = 1 - float(np.linalg.norm(down)) / whole, 1 + float(np.linalg.norm(up)) / whole
    return (max(band[0], 0.1), band[1]), worst([grade, "D"])


def _rollout_at(job: Job, load: PostTrainingLoad, sigma: float) -> float:
    """Rollout seconds under another spread of lengths with the same mean."""
    law = length_law(load.law, load.response_mean, load.response_max, sigma)
    return rollout_of(replace(job, law=law), load).total_s


def _metrics(
    job: Job, step: Step, load: PostTrainingLoad, rate: Price | None, band: tuple[float, float], grade: str
) -> dict[str, Metric]:
    cards, parts, run = float(np.max(job.plan.gpus)), step.phases, step.rollout

    def time(value: float, unit: str = "s") -> Metric:
        return Metric(value, unit, value * band[0], value * band[1], grade)

    def rating(value: float, unit: str) -> Metric:
        return Metric(value, unit, value / band[1], value / band[0], grade)

    counted = parts["weight sync"] if job.frame.sync_in_rollout else 0.0
    metrics = {
        "step_s": time(step.total_s),
        "rollout_s": time(run.total_s + counted),
        "log_probs_s": time(parts["old log-probabilities"] + parts["reference log-probabilities"]),
        "update_s": time(parts["policy updates"] + parts["value updates"] + parts["optimiser on the host"]),
        "sync_s": time(parts["weight sync"]),
        "tail_s": time(run.tail_s),
        "tokens_per_s_per_gpu": rating(job.samples.tokens / step.total_s / cards, "token/s"),
        "output_tokens_per_s_per_gpu": rating(run.tokens / step.total_s / cards, "token/s"),
        "response_tokens": Metric(run.tokens, "token", None, None, "A"),
        "longest_response": Metric(run.longest, "token", None, None, "D"),
        "rollout_share": Metric(run.total_s / sum(parts.values()), "", None, None, grade),
        "tail_share": Metric(run.tail_s / run.total_s, "", None, None, grade),
    }
    hours = step.total_s * cards / HOUR_S
    metrics["gpu_hours_per_step"] = time(hours, "GPU h")
    if rate is not None:
        metrics["usd_per_step"] = time(hours * in_usd(rate), "USD")
    if load.steps is not None:
        whole = hours * float(np.max(load.steps)) / step.updates
        metrics["gpu_hours"] = time(whole, "GPU h")
        if rate is not None:
            metrics["usd_per_run"] = time(whole * in_usd(rate), "USD")
        power = wall_power(job.chip)
        if power is not None:
            metrics["joules"] = Metric(
                power.watts * whole * HOUR_S,
                "J",
                power.low_watts * whole * HOUR_S * band[0],
                power.watts * whole * HOUR_S * band[1],
                "D",
            )
    return metrics


_BOUND = {"rollout": "decode", "weight sync": "network", "optimiser on the host": "host", "offload and reload": "host"}


def _lines(step: Step, grade: str) -> tuple[Line, ...]:
    """Phases, longest first; the rollout in its parts. What one-step-off hides is marked."""
    run = step.rollout
    parts = {k: v for k, v in step.phases.items() if k != "rollout"}
    parts |= {
        "rollout: prefill": run.prefill_s,
        "rollout: full batches": run.bulk_s,
        "rollout: batch runs down": run.drain_s - run.tail_s,
        "rollout: last tenth of the batch": run.tail_s,
    }
    hidden = _hidden_names(step)
    lines = [
        Line(name, s, s / step.total_s, _BOUND.get(name.split(":")[0], "compute"), grade, "phase", name in hidden)
        for name, s in parts.items()
        if s > 0
    ]
    return tuple(sorted(lines, key=lambda line: (line.overlapped, -line.time_s)))


def _hidden_names(step: Step) -> set[str]:
    """The phases of the shorter side of a one-step-off schedule."""
    if step.hidden_s <= 0:
        return set()
    shorter_is_rollout = abs(step.hidden_s - step.phases["rollout"]) <= 1e-9 * step.total_s
    names = {
        "rollout: prefill",
        "rollout: full batches",
        "rollout: batch runs down",
        "rollout: last tenth of the batch",
    }
    return names if shorter_is_rollout else set(step.phases) - {"weight sync"}


def _sources(job: Job, step: Step) -> tuple[str, ...]:
    timed = [t.each.fitted for t in (*step.rollout.middle.phase.ops, *step.rollout.middle.phase.wires)]
    return tuple(dict.fromkeys([*sources_of(timed), *job.frame.sources, "servegen", "deepseek-r1"]))


def _notes(job: Job, step: Step, load: PostTrainingLoad, rate: Price | None) -> tuple[str, ...]:
    run = step.rollout
    law = "one length" if np.all(np.isinf(job.law.scale)) else f"{job.law.kind}, clipped at the limit"
    notes = [
        f"answers: {law}; the longest of {job.answers:,.0f} has {run.longest:,.0f} tokens and sets the rollout's end",
        f"{'split pools' if is_split(job.plan) else 'colocated'}, {job.plan.schedule}; runtime: {job.frame.name}",
    ]
    if run.waves > 1:
        notes.append(
            f"KV cache holds {run.concurrency:,.0f} of the answers at once: slots refill {run.waves:.2f} times"
        )
    if job.plan.algorithm == "ppo":
        notes.append("PPO trains a value model of the policy's size: its states and updates are counted again")
    if job.plan.algorithm in ("dapo", "rloo"):
        notes.append(f"{job.plan.algorithm}: GRPO's passes; answers thrown away by dynamic sampling are not counted")
    notes.append(f"{float(np.max(load.updates)):g} updates a rollout, {float(np.max(load.epochs)):g} epoch")
    notes.append("no hourly price known: no USD" if rate is None else f"price: {rate.text} from {rate.id}")
    return tuple(notes)
