"""Bytes on each pipeline rank at the peak of a step, by kind, and what would make a plan fit."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from costsim.num import Num
from costsim.physics.training.kept import attention_kept, dense_kept, ffn_transient, head_kept, head_transient, moe_kept
from costsim.physics.training.states import (
    Held,
    attention_held,
    dense_held,
    embedding_held,
    head_held,
    moe_held,
    mtp_held,
    placeholder_bytes,
)
from costsim.predict.training.setting import TrainingSetting, as_array


@dataclass(frozen=True)
class TrainingFootprint:
    """Bytes on the fullest rank. ``optimizer_bytes``: master weights and moments; ``transient_bytes``: gradients of
    activations in the widest block, logits, and placeholders; ``communication_bytes``: buffers of expert transfers."""

    weights_bytes: Num
    gradients_bytes: Num
    master_bytes: Num
    moments_bytes: Num
    activations_bytes: Num
    transient_bytes: Num
    communication_bytes: Num

    @property
    def total_bytes(self) -> Num:
        """What the framework has allocated at its peak, without the reserve of driver and allocator."""
        return sum((getattr(self, f.name) for f in fields(self)), start=0.0)

    @property
    def optimizer_bytes(self) -> Num:
        return self.master_bytes + self.moments_bytes

    def terms(self) -> dict[str, Num]:
        return {f.name: getattr(self, f.name) for f in fields(self)}


def layer_kept(setting: TrainingSetting) -> dict[str, Num]:
    """Bytes that one micro-batch leaves in one block of each kind."""
    model, shard, recipe, policy = setting.model, setting.shard, setting.recipe, setting.policy
    kept: dict[str, Num] = {"head": head_kept(model, shard), "embedding": 0.0}
    attention = attention_kept(model, shard, recipe, policy)
    if model.dense_layers:
        kept["dense"] = attention + dense_kept(model, shard, recipe, policy)
    if model.moe_layers:
        kept["moe"] = attention + moe_kept(model, shard, recipe, policy)
    body = kept.get("moe", kept.get("dense", 0.0))
    kept["mtp"] = body + 2.0 * kept["head"]
    return kept


def block_held(setting: TrainingSetting) -> dict[str, Held]:
    """Parameters of one block of each kind on a rank."""
    model, shard = setting.model, setting.shard
    held = {"embedding": embedding_held(model, shard), "head": head_held(model, shard)}
    attention = attention_held(model, shard)
    if model.dense_layers:
        held["dense"] = attention + dense_held(model, shard)
    if model.moe_layers:
        held["moe"] = attention + moe_held(model, shard)
    if model.mtp_layers:
        held["mtp"] = mtp_held(model, shard).times(float(model.mtp_layers))
    return held


def stage_counts(setting: TrainingSetting, which: str) -> dict[str, Num]:
    """Blocks of the first, the second or the last pipeline rank in a cut of equal layers, or their mean."""
    model, pp = setting.model, as_array(setting.plan.pp)
    copies = 2.0 if setting.mirrored else 1.0
    n = model.layers / pp * copies
    stages = pp * (as_array(setting.plan.vpp) if setting.schedule == "interleaved" else 1.0)
    if which == "mean":
        ends = copies / pp
        return {"embedding": ends, "dense": model.dense_layers * ends, "moe": model.moe_layers * ends,
                "mtp": (model.mtp_layers > 0) * ends, "head": ends}  # fmt: skip
    alone = np.asarray(pp <= 1)
    first, last = alone | (which == "first"), alone | (which == "last")
    folded = setting.schedule in ("dualpipe", "dualpipev")
    stages = stages * (2.0 if setting.schedule == "dualpipev" else 1.0)
    uneven = np.asarray((model.layers % stages != 0) | (model.mtp_layers > 0)) & ~alone
    if folded:
        # The ends' rank has first and last stage, and fewer layers for it; the others share the rest.
        first = last = alone | (which != "second")
    # A hand-made cut rounds up, and gives the ends fewer layers for what else they hold.
    most = copies * stages / pp * np.ceil(model.layers / stages - 1e-9)
    if setting.schedule == "dualpipev":
        most = np.ceil(model.layers / pp - 1e-9)
    ends = np.maximum(n - 1.0 - (model.mtp_layers > 0), 0.0)
    if folded:
        ends = np.floor(ends + 1e-9)  # whole layers: the other pairs of stages are full
    light = (1.0 if model.moe_layers and model.dense_layers else 0.0) * (not folded)
    cut = np.where(last, ends, most + light * first)
    n = np.where(uneven, cut, n)
    dense = np.where(first, np.minimum(float(model.dense_layers), n), 0.0) if model.moe_layers else n
    return {
        "embedding": first * 1.0, "dense": dense, "moe": n - dense if model.moe_layers else 0.0 * n,
        "mtp": last * (1.0 if model.mtp_layers else 0.0), "head": last * 1.0,
    }  # fmt: skip


def stage_held(setting: TrainingSetting, which: str = "mean") -> Held:
    """Parameters of a pipeline rank; MTP's embedding and head are those of the model."""
    held, total = block_held(setting), Held(0.0, 0.0)
    for kind, count in stage_counts(setting, which).items():
        if kind in held:
            total = total + held[kind].times(count)
    return total


def in_flight(setting: TrainingSetting, which: str) -> Num:
    """Micro-batches whose activations a rank holds at the peak, in units of all its stages.

    GPipe m; 1F1B and ZB-H1 pp − r; interleaved 1 + (pp − 1)/(pp·vpp) times pp on the first rank; DualPipe pp + 1 of
    half a rank's stages each. [megatron-selective-recompute; zero-bubble; deepseek-v3-report, table 2]
    """
    pp, vpp, m = as_array(setting.plan.pp), as_array(setting.plan.vpp), setting.micro_batches
    rank = {"first": 0.0 * pp, "second": np.minimum(pp - 1.0, 1.0), "last": pp - 1.0}[which]
    held = pp - rank
    if setting.schedule == "gpipe":
        held = m
    elif setting.schedule in ("dualpipe", "dualpipev"):
        held = (pp + 1.0) / 2.0 if setting.mirrored else pp + 0.5
    elif setting.schedule == "interleaved":
        held = np.where(vpp > 1, (2.0 * (pp - 1.0 - rank) + (vpp - 1.0) * pp + 1.0) / vpp, held)
    alive: Num = np.minimum(held, m)
    return alive


def rank_footprint(setting: TrainingSetting, which: str) -> TrainingFootprint:
    """Bytes of one pipeline rank at its peak."""
    c, plan, zero = setting.convention, setting.plan, as_array(setting.plan.zero)
    copies = 2.0 if setting.mirrored else 1.0
    held = stage_held(setting, which)
    dp, expert_dp = setting.dp * as_array(plan.cp) * copies, np.maximum(setting.expert_dp * copies, 1.0)
    count = held.dense + held.expert

    def shard(stage: int) -> Num:
        return np.where(zero >= stage, held.dense / dp + held.expert / expert_dp, count)

    counts, kept = stage_counts(setting, which), layer_kept(setting)
    one = sum((kept.get(kind, 0.0) * n for kind, n in counts.items() if kind not in ("head", "embedding")), start=0.0)
    alive = in_flight(setting, which)
    ends = counts["head"] * (1.0 + (setting.model.mtp_layers > 0))
    transient = np.maximum(
        ffn_transient(setting.model, setting.shard),
        np.where(ends > 0, head_transient(setting.model, setting.shard) + kept["head"], 0.0),
    )
    spare = placeholder_bytes(setting.model, setting.shard) if c.placeholders else 0.0
    return TrainingFootprint(
        weights_bytes=shard(3) * (c.weight_bytes + c.eight_bit_copy), gradients_bytes=shard(2) * c.gradient_bytes,
        master_bytes=shard(1) * c.master_bytes, moments_bytes=shard(1) * c.moment_bytes,
        activations_bytes=one * alive, transient_bytes=transient + spare,
        communication_bytes=communication_bytes(setting),
    )  # fmt: skip


def communication_bytes(setting: TrainingSetting) -> Num:
    """Buffers of two-hop dispatch and combine: what a rank sends and receives at once. All-to-alls use tensors that are
    counted already. [deepep]"""
    model, shard = setting.model, setting.shard
    if model.moe is None or setting.recipe.copies:
        return 0.0 * shard.own
    return shard.split(shard.ep) * 1.0e9 * np.minimum(shard.own / 4096.0, 2.0)


def training_footprint(setting: TrainingSetting) -> TrainingFootprint:
    """The fullest of the first two pipeline ranks and the last, all kinds of the same rank."""
    fullest = rank_footprint(setting, "first")
    for which in ("second", "last"):
        other = rank_footprint(setting, which)
        more = np.asarray(fullest.total_bytes >= other.total_bytes)
        terms = {name: np.where(more, value, getattr(other, name)) for name, value in fullest.terms().items()}
        fullest = TrainingFootprint(**terms)
    return fullest
