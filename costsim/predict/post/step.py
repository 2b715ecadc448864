"""One reinforcement-learning step: rollout, passes over the networks, updates, and what moves between them.

synchronous: the phases in turn, on shared cards or on two pools of which one waits. one-step-off: two pools, the
trainer works on the answers of the step before; the longer side sets the time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from costsim.errors import Contradiction
from costsim.physics.memory import kv_bytes_per_rank, weight_bytes_per_rank
from costsim.physics.parameters import parameters
from costsim.predict.phases import Setting, setting_for
from costsim.predict.post.framework import Framework, framework
from costsim.predict.post.lengths import LengthLaw, length_law, square_mean
from costsim.predict.post.passes import Samples, forward_pass_s, held_bytes, update
from costsim.predict.post.rollout import Engine, Rollout, engine_cards, roll_out
from costsim.predict.training import TrainingStep
from costsim.spec.accelerator import Accelerator
from costsim.spec.catalog import load_model
from costsim.spec.cluster import Cluster
from costsim.spec.model import ModelSpec
from costsim.spec.post_training import PostTrainingLoad, PostTrainingPlan
from costsim.timing.device import Device
from costsim.units import GIGA

_B16 = 2.0


@dataclass(frozen=True)
class Job:
    """Everything a step is timed on."""

    model: ModelSpec
    chip: Accelerator
    plan: PostTrainingPlan
    cluster: Cluster
    frame: Framework
    setting: Setting
    law: LengthLaw
    answers: float
    samples: Samples


@dataclass(frozen=True)
class Step:
    """Seconds of a step by phase, its rollout, and the training model's view of one update."""

    rollout: Rollout
    phases: dict[str, float]
    total_s: float
    hidden_s: float
    updates: float
    one_update: TrainingStep
    device: Device


def is_split(plan: PostTrainingPlan) -> bool:
    """Whether generation has cards of its own."""
    assert plan.rollout is not None
    return float(np.max(plan.rollout.gpus)) + float(np.max(plan.train.gpus)) == float(np.max(plan.gpus))


def job_for(
    model: ModelSpec, chip: Accelerator, plan: PostTrainingPlan, load: PostTrainingLoad, cluster: Cluster
) -> Job:
    """Resolve layouts, lengths and runtime; refuses pools that do not add up."""
    if plan.rollout is None:
        raise Contradiction(f"algorithm {plan.algorithm} samples answers: it needs a rollout layout")
    generating, training, cards = (float(np.max(v)) for v in (plan.rollout.gpus, plan.train.gpus, plan.gpus))
    if not is_split(plan) and not generating == training == cards:
        raise Contradiction(
            f"gpus = {cards:g}: generation on {generating:g} and training on {training:g} must each be all of them "
            "(colocated) or add up to them (split)"
        )
    if plan.schedule == "one-step-off" and not is_split(plan):
        raise Contradiction("schedule one-step-off overlaps generation with training: give generation cards of its own")
    setting = setting_for(model, chip, plan.rollout, cluster)
    law = length_law(load.law, load.response_mean, load.response_max, load.sigma)
    answers = float(np.max(load.prompts)) * float(np.max(load.group))
    prompt, mean = float(np.max(load.prompt_mean)), float(np.max(law.mean))
    samples = Samples(answers, prompt + mean, prompt**2 + 2.0 * prompt * mean + square_mean(law))
    return Job(model, chip, plan, cluster, framework(plan.framework), setting, law, answers, samples)


def rollout_of(job: Job, load: PostTrainingLoad) -> Rollout:
    """The rollout of a step alone."""
    plan, prompt = job.plan, float(np.max(load.prompt_mean))
    drafts, kept = float(np.max(plan.mtp_tokens)), float(np.max(plan.mtp_acceptance))
    engine = Engine(job.setting, job.frame, engine_cards(job.setting), prompt, drafts, kept)
    return roll_out(engine, job.law, job.answers, float(np.max(load.group)))


def time_step(job: Job, load: PostTrainingLoad) -> Step:
    """Seconds of one step, by phase."""
    plan, frame, rollout = job.plan, job.frame, rollout_of(job, load)
    epochs, updates = float(np.max(load.epochs)), float(np.max(load.updates))
    micro = float(np.max(plan.micro_tokens))
    one, device = update(job.model, job.chip, plan.train, job.cluster, job.samples, micro, updates)
    networks = 2.0 if plan.algorithm == "ppo" else 1.0

    def forward(model: ModelSpec) -> float:
        seconds = forward_pass_s(model, job.chip, plan.train, job.cluster, device, job.samples, micro)
        return seconds + frame.pass_fixed_s

    policy = forward(job.model)
    phases = {
        "rollout": rollout.total_s,
        "reward model": forward(load_model(plan.reward_model)) if plan.reward_model else 0.0,
        "old log-probabilities": policy,
        "reference log-probabilities": policy if plan.reference else 0.0,
        "value estimates": policy if plan.algorithm == "ppo" else 0.0,
        "policy updates": float(np.max(one.step_s)) * updates * epochs + frame.update_fixed_s,
        "value updates": float(np.max(one.step_s)) * updates * epochs * (networks - 1.0),
        "optimiser on the host": host_adam_s(job) * networks * updates * epochs,
        "offload and reload": switch_s(job, one) * networks,
        "weight sync": sync_s(job),
    }
    ours, total = _elapsed(phases, plan)
    return Step(rollout, phases, total, ours - total, updates * epochs, one, device)


def _elapsed(phases: dict[str, float], plan: PostTrainingPlan) -> tuple[float, float]:
    """(all phases in turn, what the step takes): max(rollout, rest) + sync where the trainer is one step behind."""
    everything = sum(phases.values())
    if plan.schedule != "one-step-off":
        return everything, everything
    between = phases["weight sync"]
    rest = everything - phases["rollout"] - between
    return everything, max(phases["rollout"], rest) + between


def host_adam_s(job: Job) -> float:
    """One optimiser step of the share that lives on the hosts: parameters of a node at the host's rate, and the trip.

    Gradients go down in FP32 and weights come back in BF16 over each card's host link. [zero-offload, sec. 5]
    """
    share = float(np.max(job.plan.offload))
    cards = float(np.max(job.plan.train.gpus))
    nodes = max(cards / job.cluster.node_devices, 1.0)
    count = parameters(job.model).total * share
    return count / nodes / GIGA * job.frame.host_adam_s + count / cards * 6.0 / job.frame.host_link


def switch_s(job: Job, one: TrainingStep) -> float:
    """Colocated: training states leave for the host before generation and come back after it, at the host link."""
    if is_split(job.plan):
        return 0.0
    held = held_bytes(one)
    moved = held["weights_bytes"] + held["gradients_bytes"]
    moved += held["optimizer_bytes"] * (1.0 - float(np.max(job.plan.offload)))
    return 2.0 * moved * job.chip.dies / job.frame.host_link


def sync_s(job: Job) -> float:
    """New weights from the trainer's shards to the engines.

    Gathered: every engine rank sees the whole model, at the runtime's rate where trainer and engine share the card
    and hand tensors over one by one, at line rate where one broadcast reaches the other pool. Resharded: each card
    receives the weights it holds. The line is the scale-out network, or scale-up where the job is one node.
    """
    frame = job.frame
    line = job.setting.device.fabric("up" if float(np.max(job.plan.gpus)) <= job.cluster.scale_up_domain else "out")
    if frame.sync_rate is not None:
        rate = line if is_split(job.plan) else frame.sync_rate
        return frame.sync_fixed_s + parameters(job.model).total * _B16 / rate
    held = float(np.max(weight_bytes_per_rank(job.model, job.setting.layout, with_mtp=False))) * job.chip.dies
    return frame.sync_fixed_s + held / line


def memory_of(job: Job, step: Step) -> dict[str, float]:
    """Bytes on the fullest rank by kind; ``total_bytes`` is the larger of the generation and the update phase.

    PPO's value model holds what the policy holds: weights, gradients, optimiser state. Reference and reward model
    hold BF16 weights, loaded for their pass and parked on the host otherwise (``host_bytes`` is per card).
    """
    memory, plan, chip = held_bytes(step.one_update), job.plan, job.chip
    keep = 1.0 - float(np.max(plan.offload))
    weights, gradients, optimizer = (memory[f"{kind}_bytes"] for kind in ("weights", "gradients", "optimizer"))
    value = weights + gradients + optimizer * keep if plan.algorithm == "ppo" else 0.0
    ranks = float(np.max(plan.train.gpus)) * chip.dies
    reference = parameters(job.model).total * _B16 / ranks if plan.reference else 0.0
    reward = parameters(load_model(plan.reward_model)).total * _B16 / ranks if plan.reward_model else 0.0
    serving = float(
        np.max(weight_bytes_per_rank(job.model, job.setting.layout, with_mtp=float(np.max(plan.mtp_tokens))))
    )
    held = step.rollout.concurrency / float(np.max(job.setting.layout.attention_dp))
    context = float(np.max(step.rollout.longest)) if held < 1 else float(np.max(job.law.mean))
    layout = job.setting.layout
    there = job.frame.memory_share * chip.rank().need("memory") - serving
    kv = min(float(np.max(kv_bytes_per_rank(job.model, layout, max(held, 1.0), context))), max(there, 0.0))
    activations = memory["activations_bytes"]
    updating = weights + gradients + optimizer * keep + value + activations
    parked = reference + reward + (0.0 if is_split(plan) else weights + gradients) + optimizer * (1.0 - keep)
    return {
        "weights_bytes": weights,
        "gradients_bytes": gradients,
        "optimizer_bytes": optimizer * keep,
        "activations_bytes": activations,
        "value_model_bytes": value,
        "reference_bytes": reference,
        "reward_model_bytes": reward,
        "rollout_weights_bytes": serving,
        "kv_bytes": kv,
        "update_phase_bytes": updating,
        "rollout_phase_bytes": serving + kv,
        "host_bytes": parked,
        "total_bytes": max(updating, serving + kv),
        "capacity_bytes": chip.rank().need("memory"),
    }
