"""Transfers around the passes: boundary tensors between stages, gradients and weights over data-parallel ranks."""

from __future__ import annotations

import numpy as np

from costsim.num import Num
from costsim.physics.op import Wire
from costsim.physics.training.states import Held, gradient_wires, optimiser_ops, sharded
from costsim.predict.phase import Timed
from costsim.predict.training.kernels import Clock, total
from costsim.predict.training.setting import TrainingSetting, as_array
from costsim.timing.duration import time_wire

#: share of overlapped gradient traffic that follows the last backward all the same (an assumption: ten buckets)
LAST_BUCKET = 0.1


def stage_count(setting: TrainingSetting) -> Num:
    """Virtual stages that the model is cut into."""
    pp = as_array(setting.plan.pp)
    if setting.schedule == "dualpipev":
        return 2.0 * pp
    return pp * (as_array(setting.plan.vpp) if setting.schedule == "interleaved" else 1.0)


def stages_of_rank(setting: TrainingSetting) -> Num:
    """Virtual stages that one micro-batch visits on a rank."""
    return stage_count(setting) / as_array(setting.plan.pp)


def sends_s(setting: TrainingSetting, m: Num) -> Num:
    """Boundary tensors between stages: in turn with compute under no overlap, else only on the first trip."""
    send = send_seconds(setting)
    pp, per_rank = as_array(setting.plan.pp), stages_of_rank(setting)
    trips = 2.0 * (pp - 1.0) + np.where(setting.overlap == "none", 2.0 * (m - 1.0) * per_rank * (pp > 1), 0.0)
    return send * trips * (pp > 1)


def send_seconds(setting: TrainingSetting) -> Num:
    """One boundary tensor, or its gradient, from a rank to the next stage's."""
    shard, pp = setting.shard, as_array(setting.plan.pp)
    size = 2.0 * shard.own * setting.model.hidden
    in_stage = setting.ranks / pp
    wire = Wire(
        "send", "p2p", size, size, setting.ranks / np.maximum(in_stage, 1.0) * in_stage, shard.domain, 1.0, "pp"
    )
    return time_wire(wire, setting.device).time_s


def after_backward(
    setting: TrainingSetting, held: Held, compute_s: Num
) -> tuple[Num, Num, tuple[tuple[Timed, Num], ...]]:
    """(gradients and weights over data-parallel ranks, optimiser, the wires): what follows the last backward.

    Overlapped gradients of all but the last bucket go out beside the last micro-batch's backward, and gathered weights
    come in beside the next forward: what shows is what compute of one micro-batch cannot hide, and the last bucket.
    """
    plan, shard = setting.plan, setting.shard
    copies = 2.0 if setting.mirrored else 1.0
    dp, expert_dp = setting.dp * as_array(plan.cp) * copies, setting.expert_dp * copies
    inside = np.clip(shard.domain / shard.tp, 1.0, dp)
    expert_inside = np.clip(shard.domain / (shard.ep * shard.moe_tp), 1.0, expert_dp)
    wires = gradient_wires(held, dp, expert_dp, inside, expert_inside, setting.convention)
    timed = tuple(Timed(w, time_wire(w, setting.device)) for w in wires if bool(np.any(np.asarray(w.count) > 0)))
    m, zero = setting.micro_batches, as_array(plan.zero)
    # ZeRO-2 scatters gradients after every micro-batch, ZeRO-3 gathers weights for each forward and each backward.
    often = {"reduce_scatter": np.where(zero >= 2, m, 1.0), "all_gather": np.where(zero >= 3, 2.0 * m, 1.0)}
    counted = tuple((t, often[t.item.kind]) for t in timed if isinstance(t.item, Wire))
    seconds = sum((t.total_s * times for t, times in counted), start=0.0)
    if setting.overlap == "gradients":
        beside = compute_s / np.maximum(m, 1.0) * np.maximum(often["all_gather"] / 2.0, often["reduce_scatter"])
        seconds = np.maximum(seconds - beside, LAST_BUCKET * seconds)
    params = sharded(held, dp, expert_dp, as_array(plan.zero) >= 1)
    clock = Clock(setting.device, setting.constants)
    update = total(clock.ops(optimiser_ops(params, held, setting.convention)))
    return seconds, update, counted
