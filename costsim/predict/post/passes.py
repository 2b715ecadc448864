"""Passes over a network for a step's samples: forward only (log-probabilities, scores), and the update.

Samples are packed into micro-batches of equal tokens; attention sees each sample alone, so its effective length is
E[s²]/E[s] of the samples' lengths s.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from costsim.errors import DoesNotDivide
from costsim.physics.layout import Layout
from costsim.physics.step import Demand, prefill_demand
from costsim.predict.phase import serial_step, time_demand
from costsim.predict.system import system_of
from costsim.predict.training import TrainingStep, training_step
from costsim.spec.accelerator import Accelerator
from costsim.spec.cluster import Cluster
from costsim.spec.model import ModelSpec
from costsim.spec.plan import TrainingLoad, TrainingPlan
from costsim.timing.device import Device


@dataclass(frozen=True)
class Samples:
    """What one pass reads: ``count`` samples, their mean length and mean square."""

    count: float
    mean: float
    square: float

    @property
    def tokens(self) -> float:
        return self.count * self.mean

    @property
    def length(self) -> float:
        """The length at which attention costs what it costs over the mix: E[s²]/E[s]."""
        return self.square / self.mean


def data_parallel(chip: Accelerator, plan: TrainingPlan) -> float:
    """Ranks that hold the same shard; raises DoesNotDivide where the widths do not divide the cards."""
    ranks = float(np.max(plan.gpus)) * chip.dies
    width = float(np.max(np.asarray(plan.tp) * plan.pp * plan.cp))
    if ranks % width:
        raise DoesNotDivide(f"training tp × pp × cp = {width:g} does not divide its {ranks:g} ranks")
    return ranks / width


def micro_batches(samples: Samples, ranks: float, micro_tokens: float, updates: float) -> float:
    """Packed micro-batches of one of ``ranks`` data- and context-parallel ranks in one update, at least one."""
    return max(float(np.ceil(samples.tokens / updates / ranks / micro_tokens - 1e-9)), 1.0)


def update(
    model: ModelSpec,
    chip: Accelerator,
    plan: TrainingPlan,
    cluster: Cluster,
    samples: Samples,
    micro_tokens: float,
    updates: float,
) -> tuple[TrainingStep, Device]:
    """One of ``updates`` optimiser steps over the samples, timed by the training model."""
    dp, cp = data_parallel(chip, plan), float(np.max(plan.cp))
    count = micro_batches(samples, dp * cp, micro_tokens, updates)
    length = min(samples.length, samples.tokens / updates / dp)
    sequences = samples.tokens / updates / dp / count / length
    load = TrainingLoad(length, count * dp * sequences, sequences)
    return training_step(model, chip, plan, load, cluster, strict=False)


def held_bytes(step: TrainingStep) -> dict[str, float]:
    """Bytes on the fullest rank while training: weights, gradients, optimizer state, activations and buffers."""
    terms = {name: float(np.max(value)) for name, value in step.memory.terms().items()}
    state = ("weights_bytes", "gradients_bytes")
    optimizer = sum(terms.get(name, 0.0) for name in ("optimizer_bytes", "master_bytes", "moments_bytes"))
    rest = sum(terms.values()) - optimizer - sum(terms[name] for name in state)
    return {**{name: terms[name] for name in state}, "optimizer_bytes": optimizer, "activations_bytes": rest}


def _layout(model: ModelSpec, chip: Accelerator, plan: TrainingPlan, cluster: Cluster) -> Layout:
    ep = float(np.max(plan.ep)) if model.moe else 1.0
    return Layout(
        tp=plan.tp,
        pp=plan.pp,
        ep=ep,
        moe_tp=1.0 if ep > 1 else plan.tp,
        ranks=np.asarray(plan.gpus) * chip.dies,
        domain=float(cluster.scale_up_domain * chip.dies),
        slots=max(model.moe.experts / ep, 1.0) if model.moe else 1.0,
        precision=plan.precision,
        kv_dtype="bf16",
        routing=plan.routing,
    )


def forward_pass_s(
    model: ModelSpec,
    chip: Accelerator,
    plan: TrainingPlan,
    cluster: Cluster,
    device: Device,
    samples: Samples,
    micro_tokens: float,
) -> float:
    """Seconds of a forward pass over all samples: (m + pp − 1)·F with every position projected onto the vocabulary."""
    layout, cp = _layout(model, chip, plan, cluster), float(np.max(plan.cp))
    ranks = data_parallel(chip, plan) * cp
    count = micro_batches(samples, ranks, micro_tokens, 1.0)
    tokens = samples.tokens / ranks / count
    demand = prefill_demand(model, layout, tokens, min(samples.length, tokens * cp), all_logits=True)
    ops = tuple(replace(op, count=op.count / layout.pp) if op.part == "head" else op for op in demand.ops)
    phase = time_demand(Demand(ops, demand.wires), device, system_of(chip))
    one = float(np.max(serial_step(phase).total_s))
    return (count + float(np.max(layout.pp)) - 1.0) * one
