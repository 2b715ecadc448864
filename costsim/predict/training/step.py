"""One optimiser step in closed form: stage seconds, schedule, and what follows the last backward. Broadcasts.

Stages are those of a balanced cut: a typical one, and the first and last with what they hold beside it. A pipeline that
runs forwards and backwards in turn takes (m − 1) periods of its slowest rank and one trip through all stages; schedules
change the trip. [megatron-1f1b, sec. 2.2; zero-bubble; deepseek-v3-report, table 2]
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from costsim.errors import DoesNotDivide
from costsim.num import Num
from costsim.predict.layout import Rule, refuse
from costsim.predict.phase import Timed
from costsim.predict.system import system_of
from costsim.predict.training.blocks import NOTHING, Blocks, PassSeconds, beside_transfers, blocks_of
from costsim.predict.training.chunk import layer_pair, pair_seconds
from costsim.predict.training.constants import slowest
from costsim.predict.training.memory import TrainingFootprint, stage_held, training_footprint
from costsim.predict.training.setting import TrainingSetting, as_array, training_rules, training_setting
from costsim.predict.training.sync import after_backward, sends_s, stage_count, stages_of_rank
from costsim.spec.accelerator import Accelerator
from costsim.spec.cluster import Cluster
from costsim.spec.model import ModelSpec
from costsim.spec.plan import TrainingLoad, TrainingPlan
from costsim.timing.device import Device


@dataclass(frozen=True)
class TrainingStep:
    """One optimiser step, in seconds by part on a typical rank; all fields broadcast.

    ``forward_s``, ``backward_s``, ``weight_s``: passes run alone; ``pair_s``: overlapped forwards and backwards;
    ``bubble_s``: waiting for other stages; ``gradient_s`` and ``optimizer_s`` follow the last backward.
    """

    forward_s: Num
    backward_s: Num
    weight_s: Num
    pair_s: Num
    bubble_s: Num
    gradient_s: Num
    optimizer_s: Num
    step_s: Num
    micro_batches: Num
    exposed_s: Num
    hidden_s: Num
    flop: Num
    flop_full: Num
    memory: TrainingFootprint
    rules: list[Rule]
    timed: tuple[tuple[Timed, Num], ...]


@dataclass(frozen=True)
class Stage:
    """A virtual stage: how often it holds each kind of block."""

    counts: dict[str, Num]

    def seconds(self, blocks: Blocks) -> PassSeconds:
        out = NOTHING
        for kind, count in self.counts.items():
            if kind in blocks.timed:
                out = out + blocks.seconds(kind).times(count)
        return out


def whole_model(setting: TrainingSetting) -> Stage:
    """Every block, once for each time that a micro-batch meets it."""
    m = setting.model
    return Stage({"embedding": 1.0, "dense": float(m.dense_layers), "moe": float(m.moe_layers),
                  "mtp": float(m.mtp_layers > 0), "head": 1.0})  # fmt: skip


def slowest_stage_s(setting: TrainingSetting, blocks: Blocks, stages: Num) -> tuple[Num, Num]:
    """(a stage's full passes on average, on the slowest stage).

    Layers that divide evenly are cut so, and the last stage has the head on top; else stages are balanced by hand, and
    none is shorter than the whole layers it takes.
    """
    model = setting.model
    body = "moe" if model.moe_layers else "dense"

    def full(stage: PassSeconds) -> Num:
        return stage.forward_s + stage.backward_s + stage.weight_s

    mean = full(whole_model(setting).seconds(blocks)) / stages
    layer = full(blocks.seconds(body))
    ends = full(blocks.seconds("head"))
    mtp = full(blocks.seconds("mtp")) if model.mtp_layers else 0.0
    even = np.asarray((model.layers % stages == 0) & (not model.mtp_layers))
    last = model.layers / stages * layer + ends
    first = _first_stage(setting, blocks, stages)
    uneven = np.maximum(mean, whole_layers(layer, ends + mtp, model.layers, stages))
    most = np.where(stages <= 1, mean, np.where(even, np.maximum(last, first), uneven))
    return mean, most


def whole_layers(layer: Num, ends: Num, layers: int, groups: Num) -> Num:
    """The heaviest of ``groups`` that share ``layers`` whole layers, ``ends`` being on one of them: the best number of
    layers beside the ends, and the others' share rounded up."""
    best: Num = np.inf
    others = np.maximum(groups - 1.0, 1.0)
    for beside in range(13):
        rest = np.ceil((layers - beside) / others - 1e-9)
        best = np.minimum(best, np.maximum(beside * layer + ends, rest * layer))
    return np.where(np.asarray(layers / groups) > 12, (layers * layer + ends) / groups, best)


def _first_stage(setting: TrainingSetting, blocks: Blocks, stages: Num) -> Num:
    """An even first stage: embedding, its dense layers, and routed ones for the rest."""
    model = setting.model
    n = model.layers / stages
    dense = np.minimum(float(model.dense_layers), n)
    stage = Stage({"embedding": 1.0, "dense": dense, "moe": n - dense if model.moe_layers else 0.0})
    s = stage.seconds(blocks)
    return s.forward_s + s.backward_s + s.weight_s


def training_step(
    model: ModelSpec,
    chip: Accelerator,
    plan: TrainingPlan,
    load: TrainingLoad,
    cluster: Cluster,
    *,
    strict: bool = True,
) -> tuple[TrainingStep, Device]:
    """Time one step of a plan, or of arrays of plans. With ``strict`` a broken rule is refused."""
    rules = training_rules(model, chip, plan, load)
    if strict:
        refuse(rules, DoesNotDivide)
    setting = training_setting(model, chip, plan, load, cluster)
    return closed_form(setting, rules), setting.device


def closed_form(setting: TrainingSetting, rules: list[Rule]) -> TrainingStep:
    """The schedule's parts from mean and slowest stage."""
    slow = slowest(setting.ranks, setting.constants.speed_spread)
    blocks = blocks_of(setting, 1.0, slow)
    stages = stage_count(setting)
    mean = whole_model(setting).seconds(blocks).times(1.0 / stages)
    _, most = slowest_stage_s(setting, blocks, stages)
    typical = mean.forward_s + mean.backward_s + mean.weight_s
    parts = _schedule_parts(setting, blocks, mean, typical, most, stages)
    held = stage_held(setting)
    gradient, optimizer, wires = after_backward(setting, held, parts["busy"])
    send = sends_s(setting, parts["m"])
    step = parts["wall"] + send + gradient + optimizer + system_of(setting.chip).step_host_s
    flop, full = useful_flop(setting)
    m = parts["m"]
    exposed = m * stages_of_rank(setting) * _exposed(blocks, setting, stages) * parts["alone"] + send + gradient
    return TrainingStep(
        forward_s=parts["forward"], backward_s=parts["backward"], weight_s=parts["weight"], pair_s=parts["pair"],
        bubble_s=parts["wall"] - parts["busy"] + send, gradient_s=gradient, optimizer_s=optimizer, step_s=step,
        micro_batches=m, exposed_s=exposed, hidden_s=parts["hidden"], flop=flop, flop_full=full,
        memory=training_footprint(setting), rules=rules, timed=_timed(blocks, setting, m) + wires,
    )  # fmt: skip


def _schedule_parts(
    setting: TrainingSetting, blocks: Blocks, mean: PassSeconds, typical: Num, most: Num, stages: Num
) -> dict[str, Num]:
    """Seconds of a step by part: alone, paired, busy in all, and wall."""
    m, pp = setting.micro_batches, as_array(setting.plan.pp)
    per_rank = stages / pp
    f, b, w = (x * per_rank * m for x in (mean.forward_s, mean.backward_s, mean.weight_s))
    out: dict[str, Num] = {"m": m, "pair": 0.0 * f, "hidden": 0.0 * f, "alone": 1.0}
    if setting.schedule in ("dualpipe", "dualpipev"):
        return out | _paired(setting, blocks, mean, stages)
    if setting.overlap == "pair":
        return out | _paired_in_turn(setting, blocks, mean, stages)
    # The slowest stage is on one rank, whose other stages are typical; every rank waits for that one.
    period = per_rank * typical + np.where(pp > 1, most - typical, 0.0)
    trip = (pp - 1.0) * typical
    if setting.schedule == "zb-h1":
        least = np.minimum(np.minimum(mean.forward_s, mean.backward_s), mean.weight_s)
        trip = (pp - 1.0) * (mean.forward_s + mean.backward_s) - (np.minimum(m, pp) - 1.0) * least
    # The trip through all stages holds the slowest one as well, which the periods count already.
    trip = np.maximum(trip - np.where(pp > 1, most - typical, 0.0), 0.0)
    return out | {"forward": f, "backward": b, "weight": w, "busy": f + b + w, "wall": m * period + trip}


def _paired(setting: TrainingSetting, blocks: Blocks, mean: PassSeconds, stages: Num) -> dict[str, Num]:
    """DualPipe and DualPipeV by their closed forms on stages of the mean, in pairs of the slowest.

    Without overlap a pair is a forward and then a backward, and hides nothing.
    """
    from costsim.schedule import SCHEDULES, Chunk, Pipe

    m, pp = setting.micro_batches, as_array(setting.plan.pp)
    schedule = SCHEDULES[setting.schedule] if setting.schedule in ("dualpipe", "dualpipev") else SCHEDULES["dualpipe"]
    overlaps = setting.overlap == "pair"
    both = mean.forward_s + mean.backward_s + mean.weight_s
    if overlaps:
        _, pair = pair_of_stages(setting, beside_transfers(blocks), stages)
        pair = np.maximum(pair, np.maximum(mean.forward_s, mean.backward_s + mean.weight_s))
    else:
        pair = slowest_mirrored_s(setting, blocks, stages)
    chunk, pipe = Chunk(mean.forward_s, mean.backward_s, mean.weight_s, pair), Pipe(pp, m)
    work, wall = schedule.work_s(chunk, pipe), schedule.step_s(chunk, pipe)
    wide = 2.0 if setting.schedule == "dualpipev" else 1.0
    # Work is pairs and the rest alone; how many are paired follows from the two.
    with np.errstate(invalid="ignore", divide="ignore"):
        pairs = np.where(pair != both, (wide * m * both - work) / (both - pair), 0.0)
    alone = wide * m - pairs
    apart = np.minimum(alone, wide * pp - 1.0)
    hidden = pairs * (mean.forward_wire_s + mean.backward_wire_s) * overlaps
    return {
        "m": m, "forward": alone * mean.forward_s, "weight": apart * mean.weight_s, "pair": pairs * pair, "busy": work,
        "backward": alone * mean.backward_s + (alone - apart) * mean.weight_s, "wall": wall,
        "hidden": hidden, "alone": alone / (wide * m) if overlaps else 1.0,
    }  # fmt: skip


def slowest_mirrored_s(setting: TrainingSetting, blocks: Blocks, stages: Num) -> Num:
    """All passes of a stage on average over two mirrored ones, in the slowest pair of a balanced cut."""
    model = setting.model

    def full(kind: str) -> Num:
        s = blocks.seconds(kind)
        return s.forward_s + s.backward_s + s.weight_s

    ends = full("embedding") + full("head") + (full("mtp") if model.mtp_layers else 0.0)
    layer = full("moe" if model.moe_layers else "dense")
    seconds = whole_model(setting).seconds(blocks)
    mean = (seconds.forward_s + seconds.backward_s + seconds.weight_s) / stages
    return heaviest_group(setting, layer, ends, mean, stages)


def _paired_in_turn(setting: TrainingSetting, blocks: Blocks, mean: PassSeconds, stages: Num) -> dict[str, Num]:
    """1F1B and its interleaved form with forwards beside backwards: a mean rank's warm-up runs alone, one forward more
    than without, and a trip through all ranks fills and drains."""
    m, pp = setting.micro_batches, as_array(setting.plan.pp)
    vpp = stages / pp
    typical, most = pair_of_stages(setting, beside_transfers(blocks), stages)
    # One of a rank's stages may be the slowest; the others are typical.
    pair = typical + (most - typical) / vpp
    both = mean.forward_s + mean.backward_s + mean.weight_s
    alone = np.minimum((pp - 1.0) * np.where(vpp > 1, 1.0, 0.5) + (vpp - 1.0) * pp + 1.0, m * vpp)
    pairs = m * vpp - alone
    busy = pairs * pair + alone * both
    return {
        "m": m, "forward": alone * mean.forward_s, "weight": alone * mean.weight_s, "pair": pairs * pair,
        "backward": alone * mean.backward_s, "busy": busy, "wall": busy + (pp - 1.0) * both,
        "hidden": pairs * (mean.forward_wire_s + mean.backward_wire_s), "alone": alone / (m * vpp),
    }  # fmt: skip


def pair_of_stages(setting: TrainingSetting, beside: Blocks, stages: Num) -> tuple[Num, Num]:
    """Seconds of an overlapped pair, on average and on the slowest rank of a balanced cut."""
    model = setting.model
    if not model.moe_layers:
        seconds = whole_model(setting).seconds(beside)
        both = (seconds.forward_s + seconds.backward_s + seconds.weight_s) / stages
        ends = beside.seconds("head") + beside.seconds("embedding")
        dense = beside.seconds("dense")
        return both, heaviest_group(
            setting, dense.forward_s + dense.backward_s + dense.weight_s,
            ends.forward_s + ends.backward_s + ends.weight_s, both, stages,
        )  # fmt: skip
    pair = layer_pair(beside)
    layer = pair_seconds(pair, 4.0) / 4.0
    rest = NOTHING
    for kind, count in whole_model(setting).counts.items():
        if kind in beside.timed and kind not in ("moe", "mtp"):
            rest = rest + beside.seconds(kind).times(count)
    if "mtp" in beside.timed:
        rest = rest + beside.seconds("head").times(float(model.mtp_layers))
    others = rest.forward_s + rest.backward_s + rest.weight_s
    mtp = model.mtp_layers if "mtp" in beside.timed else 0
    mean = (layer * (model.moe_layers + mtp) + others) / stages
    # Dense layers are counted as routed ones here: they are few, and nearly as long.
    ends = beside.seconds("head").times(1.0 + mtp) + beside.seconds("embedding")
    one = ends.forward_s + ends.backward_s + ends.weight_s + layer * mtp
    return mean, heaviest_group(setting, layer, one, mean, stages)


def heaviest_group(setting: TrainingSetting, layer: Num, ends: Num, mean: Num, stages: Num) -> Num:
    """Seconds of the stage that everyone waits for: layers cut evenly where they divide, with the ends on top, else by
    hand. Under DualPipe stages from both ends share a rank, and a pair holds one of each."""
    model = setting.model
    wide = 2.0 if setting.schedule in ("dualpipe", "dualpipev") else 1.0
    groups = stages / wide
    even = np.asarray((model.layers % stages == 0) & (not model.mtp_layers))
    cut = np.where(even, model.layers / groups * layer + ends, whole_layers(layer, ends, model.layers, groups))
    return np.maximum(mean, cut / wide)


def _exposed(blocks: Blocks, setting: TrainingSetting, stages: Num) -> Num:
    """Transfers that show in one stage's passes when nothing is paired."""
    out: Num = 0.0
    for kind, count in whole_model(setting).counts.items():
        if kind in blocks.timed:
            block = blocks.timed[kind]
            out = out + count * sum(
                (blocks.exposed_s(block, which) for which in ("forward", "backward", "weight")), start=0.0
            )
    return out / stages


def useful_flop(setting: TrainingSetting) -> tuple[Num, Num]:
    """(causal, full) FLOP of a step on all ranks: three times the forward pass of each token, nothing twice."""
    from costsim.predict.training.flops import forward_flop

    causal, full = forward_flop(setting)
    sequences = as_array(setting.load.global_batch)
    return 3.0 * causal * sequences, 3.0 * full * sequences


def _timed(blocks: Blocks, setting: TrainingSetting, m: Num) -> tuple[tuple[Timed, Num], ...]:
    """Every op with how often a mean rank runs it in a step."""
    stages = stage_count(setting)
    out = []
    for kind, count in whole_model(setting).counts.items():
        if kind in blocks.timed:
            often = m * stages_of_rank(setting) * count / stages
            out += [(t, often) for t in blocks.timed[kind].all]
    return tuple(out)
