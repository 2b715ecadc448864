"""One optimiser step in closed form: stage seconds, schedule, and what follows the last backward. Broadcasts.

Stages are those of a balanced cut: a typical one, and the first and last with what they hold beside it. A pipeline that
runs forwards and backwards in turn takes (m − 1) periods of its slowest rank and one trip through all stages; schedules
change the trip. [megatron-1f1b, sec. 2.2; zero-bubble; deepseek-v3-report, table 2]
"""

from __future__ import annotations

from dataclasses import dataclass, replace

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


def full(seconds: PassSeconds) -> Num:
    """All three passes."""
    return seconds.forward_s + seconds.backward_s + seconds.weight_s


@dataclass(frozen=True)
class Row:
    """Seconds of what stands in a row to be cut onto stages: dense layers first, then routed ones; ``first`` and
    ``last`` are what the ends hold beside layers."""

    layer: Num
    dense: Num
    first: Num
    last: Num
    layers: int
    few: int = 0

    def held(self, count: Num) -> Num:
        """The first ``count`` layers."""
        return count * self.layer - np.minimum(count, self.few) * (self.layer - self.dense)

    def heaviest(self, groups: Num, even: Num, mirrored: bool = False) -> Num:
        """The heaviest of ``groups`` of whole layers, split ``even`` or by hand: the best number of layers beside the
        head, and of the rest some more on the first group where its dense layers are short. ``mirrored``: both ends
        and what is between them are one group."""
        each = self.layers / groups
        if mirrored:
            at_ends = self.first + self.last
            cut: Num = np.maximum(self.held(each) + at_ends, np.where(groups > 1, each * self.layer, 0.0))
        else:
            cut = np.maximum(self.held(each) + self.first, each * self.layer + self.last)
        best: Num = np.inf
        others = np.maximum(groups - 1.0, 1.0)
        for beside in range(13):
            if mirrored:
                rest = np.ceil((self.layers - beside) / others - 1e-9) * self.layer
                best = np.minimum(best, np.maximum(self.held(float(beside)) + at_ends, rest))
                continue
            last = beside * self.layer + self.last
            for more in range(self.few + 1):
                rest = np.maximum(np.ceil((self.layers - beside - more) / others - 1e-9), 0.0)
                first = self.held(rest + more) + self.first
                best = np.minimum(best, np.maximum(np.maximum(last, rest * self.layer), first))
        smooth = (self.held(float(self.layers)) + self.first + self.last) / groups
        return np.where(even, cut, np.where(np.asarray(each) > 12, smooth, best))


def slowest_stage_s(setting: TrainingSetting, blocks: Blocks, stages: Num) -> tuple[Num, Num]:
    """(a stage's full passes on average, on the slowest stage)."""
    mean = full(whole_model(setting).seconds(blocks)) / stages
    most = row_of(setting, blocks).heaviest(stages, cut_evenly(setting, stages))
    return mean, np.where(stages <= 1, mean, np.maximum(mean, most))


def row_of(setting: TrainingSetting, blocks: Blocks) -> Row:
    """The model's layers, all passes run alone."""
    model = setting.model
    routed, dense = ("moe" if model.moe_layers else "dense"), ("dense" if model.dense_layers else "moe")
    last = full(blocks.seconds("head")) + (full(blocks.seconds("mtp")) if model.mtp_layers else 0.0)
    return Row(full(blocks.seconds(routed)), full(blocks.seconds(dense)), full(blocks.seconds("embedding")), last,
               model.layers, model.dense_layers if model.moe_layers else 0)  # fmt: skip


def cut_evenly(setting: TrainingSetting, stages: Num) -> Num:
    """Whether layers divide, as frameworks cut them unasked; else stages are balanced by hand."""
    return np.asarray((setting.model.layers % stages == 0) & (not setting.model.mtp_layers))


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
    mean = full(whole_model(setting).seconds(blocks)) / stages
    return heaviest_group(setting, row_of(setting, blocks), mean, stages)


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
    """Seconds of an overlapped pair, on average and on the slowest rank of a balanced cut: routed layers pair up, and
    the rest computes in turn."""
    model, row = setting.model, row_of(setting, beside)
    if model.moe_layers:
        mtp = float("mtp" in beside.timed) * model.mtp_layers
        each = np.maximum((model.moe_layers + mtp) / stages, 1.0)
        layer = pair_seconds(layer_pair(beside), each) / each
        row = replace(row, layer=layer, last=full(beside.seconds("head")) * (1.0 + mtp) + layer * mtp)
    mean = (row.held(float(model.layers)) + row.first + row.last) / stages
    return mean, heaviest_group(setting, row, mean, stages)


def heaviest_group(setting: TrainingSetting, row: Row, mean: Num, stages: Num) -> Num:
    """Seconds of the stage that everyone waits for. Under DualPipe stages from both ends share a rank, and a pair
    holds one of each."""
    mirrored = setting.schedule in ("dualpipe", "dualpipev")
    wide = 2.0 if mirrored else 1.0
    return np.maximum(mean, row.heaviest(stages / wide, cut_evenly(setting, stages), mirrored) / wide)


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
