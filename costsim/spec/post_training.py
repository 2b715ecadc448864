"""Post-training: which algorithm on which layouts, and the answers and updates of one step.

A reinforcement-learning step samples ``prompts`` × ``group`` answers, scores them, computes log-probabilities
under the old policy and the reference, and makes ``updates`` policy updates. Plain values; every number may be an
array where a sweep wants one.
"""

from __future__ import annotations

from dataclasses import dataclass

from costsim.num import Num
from costsim.spec import words
from costsim.spec.plan import ServingPlan, TrainingPlan

#: DAPO and RLOO take GRPO's passes over the networks: no value model. They differ in the loss and in what is sampled.
ALGORITHMS, SCHEDULES = words.ALGORITHMS, words.POST_SCHEDULES
FRAMEWORKS, LENGTH_LAWS = words.POST_FRAMEWORKS, words.LENGTH_LAWS
REINFORCED = ("grpo", "dapo", "rloo", "ppo")
#: standard deviation of the logarithm of answer lengths of DeepSeek-R1 over a production day [servegen]
SIGMA = 0.97


@dataclass(frozen=True)
class PostTrainingPlan:
    """Cards, layouts of generation and training, and how the two share the cards.

    ``rollout.gpus`` + ``train.gpus`` = ``gpus`` is a split pool, both equal to ``gpus`` a colocated one.
    ``offload``: share of the optimiser state that lives and is updated on the host. ``reference``: whether a KL term
    needs a reference network. ``reward_model``: id of a network that scores answers, empty for rules.
    ``micro_tokens``: tokens that sequence packing puts into one micro-batch of a rank.
    """

    gpus: Num
    train: TrainingPlan
    rollout: ServingPlan | None = None
    algorithm: str = "grpo"
    schedule: str = "synchronous"
    framework: str = "tuned"
    offload: Num = 0.0
    reference: bool = True
    reward_model: str = ""
    micro_tokens: Num = 4096
    mtp_tokens: Num = 0
    mtp_acceptance: Num = 0.0


@dataclass(frozen=True)
class PostTrainingLoad:
    """One reinforcement-learning step: ``prompts`` × ``group`` answers, lengths clipped at ``response_max``.

    ``updates``: mini-batches that the answers are split into; ``epochs``: passes over them; ``steps``: policy updates
    of the whole run, so that a run has steps / (updates · epochs) rollouts.
    """

    prompts: Num
    group: Num
    response_mean: Num
    response_max: Num
    prompt_mean: Num = 128
    updates: Num = 1
    epochs: Num = 1
    steps: Num | None = None
    law: str = "lognormal"
    sigma: Num = SIGMA


@dataclass(frozen=True)
class FineTuningLoad:
    """Supervised fine-tuning or distillation: ``samples`` of ``tokens_mean`` tokens, ``epochs`` times over.

    Distillation also charges the teacher's answers where ``teacher_gpu_hours`` is given.
    """

    samples: Num
    tokens_mean: Num
    tokens_max: Num
    batch: Num
    epochs: Num = 2
    teacher_gpu_hours: Num = 0.0
    sigma: Num = SIGMA
