"""Memory of a single plan by pipeline rank, at the peak of its timeline; and what to change where it does not fit."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from costsim.errors import BadInput, DoesNotFit
from costsim.num import single
from costsim.physics.memory import RESERVE_SHARE
from costsim.physics.training.kept import ffn_transient, head_transient
from costsim.physics.training.states import Held, placeholder_bytes
from costsim.predict.host import host_link
from costsim.predict.training.memory import (
    TrainingFootprint,
    block_held,
    communication_bytes,
    layer_kept,
    training_footprint,
)
from costsim.predict.training.pipeline import Played
from costsim.predict.training.setting import TrainingSetting, training_setting
from costsim.units import GIGA


def rank_memory(setting: TrainingSetting, game: Played) -> list[dict[str, float]]:
    """Bytes by kind on every pipeline rank, activations at their peak on the timeline."""
    program, counts = game.timeline.program, game.layout.counts
    held, kept, c = block_held(setting), layer_kept(setting), setting.convention
    per_stage = sum((counts[k] * single(kept[k]) for k in counts if k in kept and k not in ("head", "embedding")),
                    start=np.zeros(program.stages))  # fmt: skip
    peaks = game.timeline.peak_held(per_stage)
    zero, plan = single(setting.plan.zero), setting.plan
    copies = 2.0 if setting.mirrored else 1.0
    dp, expert_dp = single(setting.dp) * single(plan.cp) * copies, max(single(setting.expert_dp) * copies, 1.0)
    spare = single(placeholder_bytes(setting.model, setting.shard)) if c.placeholders else 0.0
    out = []
    for rank in range(program.ranks):
        stages = np.unique(program.stage[(program.rank == rank) & (program.lane == 0)])
        own = Held(0.0, 0.0)
        for kind, block in held.items():
            own = own + block.times(float(counts[kind][stages].sum()))
        dense, expert = single(own.dense), single(own.expert)
        whole, split = dense + expert, dense / dp + expert / expert_dp

        def shard(stage: int, whole: float = whole, split: float = split) -> float:
            return split if zero >= stage else whole

        transient = single(ffn_transient(setting.model, setting.shard))
        if counts["head"][stages].any():
            transient = max(transient, single(head_transient(setting.model, setting.shard)) + single(kept["head"]))
        out.append({
            "weights_bytes": shard(3) * (c.weight_bytes + c.eight_bit_copy),
            "gradients_bytes": shard(2) * c.gradient_bytes,
            "master_bytes": shard(1) * c.master_bytes, "moments_bytes": shard(1) * c.moment_bytes,
            "activations_bytes": float(peaks[rank]), "transient_bytes": transient + spare,
            "communication_bytes": single(communication_bytes(setting)),
        })  # fmt: skip
    return out


def memory_by_rank(setting: TrainingSetting, game: Played | None) -> dict[str, float]:
    """The fullest rank by kind. ``allocated_bytes`` is what the framework allocates, ``reserve_bytes`` what driver,
    streams and fragments take beside it, ``total_bytes`` both; ``optimizer_bytes`` is masters and moments again, and
    ``rank_N_bytes`` what is allocated on every pipeline rank."""
    capacity = setting.chip.rank().need("memory")
    ranks = [_terms(training_footprint(setting))] if game is None else rank_memory(setting, game)
    totals = [sum(rank.values()) for rank in ranks]
    fullest = dict(ranks[int(np.argmax(totals))])
    fullest["optimizer_bytes"] = fullest["master_bytes"] + fullest["moments_bytes"]
    by_rank = {f"rank_{i}_bytes": total for i, total in enumerate(totals)} if len(totals) > 1 else {}
    reserve = RESERVE_SHARE * capacity
    return fullest | {"kv_bytes": 0.0, "allocated_bytes": max(totals), "reserve_bytes": reserve,
                      "total_bytes": max(totals) + reserve, "capacity_bytes": capacity} | by_rank  # fmt: skip


def _terms(footprint: TrainingFootprint) -> dict[str, float]:
    return {name: single(value) for name, value in footprint.terms().items()}


def refuse_memory(setting: TrainingSetting, memory: dict[str, float]) -> None:
    """Raise DoesNotFit where allocation and reserve exceed the capacity, naming the nearest change that fits."""
    needed, capacity = memory["total_bytes"], memory["capacity_bytes"]
    if needed <= capacity:
        return
    kinds = ("weights", "gradients", "optimizer", "activations", "transient", "communication")
    name, largest = max(((k, memory[f"{k}_bytes"]) for k in kinds), key=lambda item: item[1])
    raise DoesNotFit(
        f"does not fit: {needed / GIGA:.1f} GB needed on each rank of {setting.chip.id}, {capacity / GIGA:.1f} GB "
        f"there; the largest term is {name} with {largest / GIGA:.1f} GB; {nearest_change(setting)}"
    )


def offloaded(setting: TrainingSetting, memory: dict[str, float], step_s: float) -> dict[str, float]:
    """Memory with the activations that do not fit in host memory, as ``recompute = offload`` asks.

    Each micro-batch sends them out in its forward pass and brings them back in its backward pass, beside compute:
    2·bytes·micro-batches over the host link, refused where that is longer than the step. [megatron-bridge]
    """
    excess = memory["total_bytes"] + memory["reserve_bytes"] - memory["capacity_bytes"]
    if "offload" not in setting.policy or excess <= 0 or excess > memory["activations_bytes"]:
        return memory
    link = host_link(setting.chip)
    if link is None:
        raise DoesNotFit(
            f"recompute = offload: no source states a coherent link of {setting.chip.id} to its host; "
            f"{excess / GIGA:.1f} GB do not fit; recompute = full keeps least"
        )
    stream_s = 2.0 * link.seconds(excess) * single(setting.micro_batches)
    if stream_s > step_s:
        raise DoesNotFit(
            f"recompute = offload: {excess / GIGA:.1f} GB a micro-batch take {stream_s:.3g} s over the host link and "
            f"the step {step_s:.3g} s; a smaller micro_batch, or recompute = selective"
        )
    moved = {name: memory[name] - excess for name in ("activations_bytes", "total_bytes")}
    return memory | moved | {"host_bytes": excess}


def nearest_change(setting: TrainingSetting) -> str:
    """The first single change of the plan under which it fits, in the order a team would try them."""
    plan = setting.plan
    recomputes = [r for r in ("norm,act", "selective", "full") if r != plan.recompute]
    changes: list[tuple[str, dict[str, Any]]] = [(f"recompute = {r}", {"recompute": r}) for r in recomputes]
    if plan.zero < 1:
        changes.insert(0, ("zero = 1", {"zero": 1}))
    for field in ("ep", "pp", "tp"):
        if field != "ep" or setting.model.moe is not None:
            changes += [(f"{field} = {getattr(plan, field) * k:g}", {field: getattr(plan, field) * k}) for k in (2, 4)]
    for text, change in changes:
        if _fits_with(setting, change):
            return f"it fits with {text}"
    for text, change in changes[len(recomputes) :]:
        if _fits_with(setting, change | {"recompute": "full"}):
            return f"it fits with {text} and recompute = full"
    return "no single change fits; raise pp, ep and recompute together"


def _fits_with(setting: TrainingSetting, change: dict[str, Any]) -> bool:
    from costsim.predict.training.setting import training_rules

    plan = replace(setting.plan, **change)
    try:
        broken = training_rules(setting.model, setting.chip, plan, setting.load)
        if any(bool(np.any(rule.broken)) for rule in broken):
            return False
        tried = training_setting(setting.model, setting.chip, plan, setting.load, setting.cluster)
    except BadInput:
        return False
    capacity = setting.chip.rank().need("memory")
    return single(training_footprint(tried).total_bytes) + RESERVE_SHARE * capacity <= capacity
