"""Rollout: seconds in which engines write all answers of a step, on the physics of inference.

Engines hold requests up to the room for their KV cache; while more wait, slots refill (bulk), then the batch runs
down (drain) and its last answers set the end. The decode step is timed at every point of the way, at the batch and
the context that are left there.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from costsim.errors import DoesNotFit
from costsim.physics.memory import kv_bytes_per_rank, weight_bytes_per_rank
from costsim.predict.phases import Answer, Setting, decode, prefill
from costsim.predict.post.framework import Framework
from costsim.predict.post.lengths import LengthLaw, some_left, square_mean
from costsim.spec.plan import DecodeLoad, PrefillLoad
from costsim.units import GIGA

#: prompt tokens that an engine prefills at a time on each card
PREFILL_TOKENS = 8192.0


@dataclass(frozen=True)
class Rollout:
    """Seconds and tokens of one rollout. ``waves``: answers of an engine over those it holds at once."""

    prefill_s: float
    bulk_s: float
    drain_s: float
    tokens: float
    waves: float
    concurrency: float
    longest: float
    tail_s: float
    middle: Answer

    @property
    def total_s(self) -> float:
        return self.prefill_s + self.bulk_s + self.drain_s


def engine_cards(setting: Setting) -> float:
    """Cards that step together: an expert-parallel group or a tensor-parallel replica, whichever is wider."""
    layout = setting.layout
    ranks = np.maximum(layout.tp, layout.ep * layout.moe_tp) * layout.pp
    return float(np.max(ranks)) / setting.chip.dies


def room(setting: Setting, share: float, context: float) -> float:
    """Requests of ``context`` tokens that an engine holds in ``share`` of its memory beside the weights.

    Raises DoesNotFit where not even one fits.
    """
    layout, capacity = setting.layout, setting.chip.rank().need("memory")
    weights = float(np.max(weight_bytes_per_rank(setting.model, layout, with_mtp=False)))
    each = float(np.max(kv_bytes_per_rank(setting.model, layout, layout.pp, context)))
    fits = (share * capacity - weights) / each
    replicas = engine_cards(setting) * setting.chip.dies / float(np.max(layout.tp * layout.pp))
    if fits * replicas < 1.0:
        raise DoesNotFit(
            f"does not fit: generation needs {weights / GIGA:.1f} GB of weights on each rank of {setting.chip.id} and "
            f"{each / GIGA:.2f} GB of KV a request, {share * capacity / GIGA:.1f} GB are there; widen the rollout's "
            "tp or ep, or use a smaller precision"
        )
    return float(fits * replicas)


@dataclass(frozen=True)
class Engine:
    """One engine with what it is asked: its cards, its answers, prompts, and drafted tokens."""

    setting: Setting
    frame: Framework
    cards: float
    prompt: float
    drafts: float
    acceptance: float

    def step_s(self, active: Any, context: Any) -> tuple[Any, Answer]:
        """Seconds per token of each request, with ``active`` requests of ``context`` tokens on the engine.

        Without captured graphs the host must issue every op: t = max(device, ops · eager_op). The scheduler adds its
        part for the step and for each request of an attention replica, which a process of its own looks after.
        """
        load = DecodeLoad(context, active / self.cards, self.drafts, self.acceptance)
        answer = decode(self.setting, load, strict=False)
        ops = sum(float(np.max(t.item.count)) for t in (*answer.phase.ops, *answer.phase.wires))
        host = ops * float(np.max(self.setting.layout.pp)) * self.frame.eager_op_s
        replicas = self.cards * self.setting.chip.dies / (self.setting.layout.tp * self.setting.layout.pp)
        served = self.frame.engine_step_s + self.frame.engine_request_s * active / replicas
        return (np.maximum(answer.step_s, host) + served) / answer.tokens_per_step, answer


def roll_out(engine: Engine, law: LengthLaw, samples: float, group: float) -> Rollout:
    """Time ``samples`` answers spread evenly over all engines of the pool.

    Drain, all started together: ∫ P(any left) · τ(N·S(t), prompt + t) dt. With more than C answers an engine,
    C·∫S_r dt of the tokens are written in the drain, whose start is stationary: S_r(t) = ∫ₜ S/E[L] and the mean
    context is that of the ages; the rest is written before at full slots. Tokens are conserved: both add up to N·E[L].
    """
    setting, mean = engine.setting, float(np.max(law.mean))
    engines = float(np.max(setting.plan.gpus)) / engine.cards
    held = samples / engines
    t, width = law.grid()
    survival = law.survival(t)
    age = square_mean(law) / (2.0 * mean)
    slots = room(setting, engine.frame.memory_share, engine.prompt + age)
    left = some_left(survival, samples)
    if held <= slots:
        bulk_s, waves = 0.0, 1.0
        active, context = held * survival, engine.prompt + t
    else:
        waves = held / slots
        residual = np.cumsum((survival * width)[::-1])[::-1]
        # Right after the last refill the slots hold requests of every age.
        ages = np.cumsum((t * survival * width)[::-1])[::-1] / np.maximum(residual, 1e-12)
        share = min(1.0, held * mean / (slots * age))
        active, context = slots * share * residual / mean, engine.prompt + ages
        left = some_left(np.minimum(residual / mean, 1.0), samples / waves)
        tokens = max(held * mean - slots * age, 0.0)
        bulk_s = tokens / slots * float(np.max(engine.step_s(np.asarray(slots), np.asarray(engine.prompt + age))[0]))
    seconds, _ = engine.step_s(np.maximum(active, 1.0), context)
    drain = left * seconds * width
    middle = engine.step_s(
        np.asarray(max(min(held, slots) * mean / float(np.max(law.most)), 1.0)), np.asarray(engine.prompt + age)
    )[1]
    thin = active < 0.1 * min(held, slots)
    return Rollout(
        prefill_s=_prefill_s(engine, samples, group),
        bulk_s=bulk_s,
        drain_s=float(np.sum(drain)),
        tokens=samples * mean,
        waves=waves,
        concurrency=min(held, slots) * engines,
        longest=law.expected_max(samples),
        tail_s=float(np.sum(drain[thin])),
        middle=middle,
    )


def _prefill_s(engine: Engine, samples: float, group: float) -> float:
    """Prompts of the step, one a group where the prefix cache serves the rest, spread over all cards."""
    setting = engine.setting
    prompts = samples / group if engine.frame.prefix_cache else samples
    per_card = prompts * engine.prompt / float(np.max(setting.plan.gpus))
    tokens = max(min(PREFILL_TOKENS, per_card), 1.0)
    plain = replace(setting, plan=replace(setting.plan, overlap="none", comm_sms=None))
    answer = prefill(plain, PrefillLoad(engine.prompt, tokens), strict=False)
    return float(np.max(answer.step_s)) * max(per_card / tokens, 1.0)
