"""One plan as an event timeline: layers cut onto virtual stages, seconds of every stage, and the schedule played."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from costsim.errors import Contradiction
from costsim.num import single
from costsim.predict.training.blocks import Blocks, beside_transfers, blocks_of
from costsim.predict.training.chunk import layer_pair, play, wall_s
from costsim.predict.training.constants import slowest
from costsim.predict.training.setting import TrainingSetting
from costsim.schedule import SCHEDULES, Schedule, StageTimes, Timeline, run
from costsim.schedule.program import Program, compiled
from costsim.schedule.task import MAX_TASKS, Kind, Task

Array = NDArray[np.float64]
#: our schedule words and the engine's names
ENGINE = {"zb-h1": "zb1p"}


@dataclass(frozen=True)
class Cut:
    """How many blocks of each kind each virtual stage holds, [stages] by kind."""

    counts: dict[str, Array]

    @property
    def stages(self) -> int:
        return len(self.counts["dense"])


def engine_schedule(setting: TrainingSetting) -> Schedule:
    """The schedule that plays this plan: interleaving one stage a rank is 1F1B."""
    if setting.schedule == "interleaved" and single(setting.plan.vpp) <= 1:
        return SCHEDULES["1f1b"]
    return SCHEDULES[ENGINE.get(setting.schedule, setting.schedule)]


def cut(setting: TrainingSetting, cost: dict[str, float]) -> Cut:
    """Layers onto stages in order. Layers that divide evenly are split so, as frameworks do unasked; else the slowest
    stage (under DualPipe the slowest pair of mirrored stages) is made as fast as contiguous cuts can.

    ``cost``: seconds of all passes of one block, by kind.
    """
    model, plan = setting.model, setting.plan
    stages = engine_schedule(setting).stages(int(plan.pp), int(plan.vpp))
    order = ["dense"] * model.dense_layers + ["moe"] * model.moe_layers
    if model.layers % stages == 0 and not model.mtp_layers:
        sizes = [model.layers // stages] * stages
    else:
        ends = (cost["embedding"], cost["head"] + (cost["mtp"] if model.mtp_layers else 0.0))
        sizes = balanced([cost[kind] for kind in order], stages, ends, mirrored=engine_schedule(setting).overlaps)
    counts = {kind: np.zeros(stages) for kind in ("embedding", "dense", "moe", "mtp", "head")}
    at = 0
    for stage, size in enumerate(sizes):
        for kind in order[at : at + size]:
            counts[kind][stage] += 1.0
        at += size
    counts["embedding"][0] = counts["head"][-1] = 1.0
    counts["mtp"][-1] = float(model.mtp_layers > 0)
    return Cut(counts)


def balanced(costs: list[float], stages: int, ends: tuple[float, float], mirrored: bool = False) -> list[int]:
    """Sizes of contiguous groups with the least heaviest group; ``ends`` are on the first and last group already.

    Bisection on the bound, filling each group up to it. ``mirrored``: groups i and stages − 1 − i count together.
    """

    def fill(bound: float) -> list[int] | None:
        sizes, at = [], 0
        for stage in range(stages):
            load = (ends[0] if stage == 0 else 0.0) + (ends[1] if stage == stages - 1 else 0.0)
            size, left = 0, stages - 1 - stage
            while at < len(costs) and len(costs) - at > 0 and load + costs[at] <= bound + 1e-12:
                load, size, at = load + costs[at], size + 1, at + 1
            sizes.append(size)
            if load > bound + 1e-9 and size:
                return None
            if at == len(costs) and left:
                sizes += [0] * left
                break
        return sizes if at == len(costs) else None

    if mirrored:
        return _mirrored(costs, stages, ends)
    low, high = (sum(costs) + sum(ends)) / stages * 0.5, sum(costs) + sum(ends)
    best = fill(high) or [len(costs)] + [0] * (stages - 1)
    for _ in range(60):
        middle = (low + high) / 2.0
        sizes = fill(middle)
        if sizes is None:
            low = middle
        else:
            best, high = sizes, middle
    return best


def _mirrored(costs: list[float], stages: int, ends: tuple[float, float]) -> list[int]:
    """Even sizes, the rest handed to the pairs of mirrored stages that carry least."""
    half = stages // 2
    n, mean = len(costs), sum(costs) / len(costs)
    pair_load = [sum(ends) if i == 0 else 0.0 for i in range(half)]
    pair_size = [0] * half
    for _ in range(n):
        i = int(np.argmin(pair_load))
        pair_size[i] += 1
        pair_load[i] += mean
    sizes = [0] * stages
    for i, size in enumerate(pair_size):
        # The end with the head takes fewer layers, so that forwards and backwards of both stages are alike.
        late = max(0, min(size // 2, round((size - (ends[1] - ends[0]) / mean) / 2.0))) if i == 0 else size // 2
        sizes[i], sizes[stages - 1 - i] = size - late, late
    return sizes


def stage_times(setting: TrainingSetting, blocks: Blocks, layout: Cut, send_s: float) -> StageTimes:
    """Seconds of every stage's passes, and of every pair of stages where the plan overlaps them."""
    f, b, w, fw, bw = (np.zeros(layout.stages) for _ in range(5))
    for kind, count in layout.counts.items():
        if kind in blocks.timed:
            one = blocks.seconds(kind)
            f, b, w = (
                f + count * single(one.forward_s),
                b + count * single(one.backward_s),
                w + count * single(one.weight_s),
            )
            fw, bw = fw + count * single(one.forward_wire_s), bw + count * single(one.backward_wire_s)
    pair = pair_matrix(setting, blocks, layout) if setting.overlap == "pair" else None
    return StageTimes(f, b, w, pair, send_s, np.minimum(fw, f), np.minimum(bw, b))


def pair_matrix(setting: TrainingSetting, blocks: Blocks, layout: Cut) -> Array:
    """[stages, stages]: a forward of stage i beside a backward of stage j.

    Routed layers (MTP's too) pair up; what is left of either side computes in turn, and its transfers hide behind
    the dense layers and heads of both.
    """
    beside = beside_transfers(blocks)
    c, n = layout.counts, layout.stages
    routed = c["moe"] + (c["mtp"] if setting.model.moe_layers else 0.0)
    most = int(routed.max())
    walls = np.zeros(most + 1)
    if most:
        lanes = layer_pair(beside)
        walls[1:] = [single(wall_s(play(lanes, k))) for k in range(1, most + 1)]
    plain: dict[str, Array] = {"f": np.zeros(n), "b": np.zeros(n)}
    for kind in ("embedding", "dense", "head"):
        count = c[kind] + (c["mtp"] if kind == "head" else 0.0)
        if kind in beside.timed:
            one = beside.seconds(kind)
            plain["f"] = plain["f"] + count * single(one.forward_s)
            plain["b"] = plain["b"] + count * (single(one.backward_s) + single(one.weight_s))
    paired = np.minimum(routed[:, None], routed[None, :]).astype(int)
    others = plain["f"][:, None] + plain["b"][None, :]
    left_f, left_b = routed[:, None] - paired, routed[None, :] - paired
    compute, wires = np.zeros((n, n)), np.zeros((n, n))
    if most:
        one = beside.seconds("moe")
        slow = setting.constants.pair_slowdown
        fw, bw = single(one.forward_wire_s), single(one.backward_wire_s)
        compute = left_f * (single(one.forward_s) - fw) + left_b * (single(one.backward_s) - bw + single(one.weight_s))
        wires = (left_f * fw + left_b * bw) * slow
    out: Array = walls[paired] + compute + others + np.maximum(wires - others, 0.0)
    return out


@dataclass(frozen=True)
class Played:
    """A plan on the event timeline."""

    timeline: Timeline
    layout: Cut
    times: StageTimes
    blocks: Blocks


def playable(setting: TrainingSetting) -> bool:
    """Whether a timeline of this plan is of a size that can be played."""
    m, pp, vpp = (int(single(v)) for v in (setting.micro_batches, setting.plan.pp, setting.plan.vpp))
    return 3 * pp * m * vpp <= MAX_TASKS


def program_of(setting: TrainingSetting) -> Program:
    """The schedule's tasks; one-forward-one-backward schedules run them in pairs where the plan overlaps so."""
    pp, m, vpp = int(single(setting.plan.pp)), int(single(setting.micro_batches)), int(single(setting.plan.vpp))
    schedule = engine_schedule(setting)
    if setting.overlap != "pair" or schedule.overlaps:
        return schedule.program(pp, m, vpp)
    if setting.schedule not in ("1f1b", "interleaved"):
        raise Contradiction(f"overlap: pair needs 1f1b, interleaved, dualpipe or dualpipev, not {setting.schedule}")
    return _paired_program(schedule.name, pp, m, vpp)


@lru_cache(maxsize=16)
def _paired_program(name: str, pp: int, m: int, vpp: int) -> Program:
    """Every forward after the warm-up beside the next backward, which belongs to an earlier micro-batch: one more
    forward is run first. [megatron-core-moe]"""
    schedule = SCHEDULES[ENGINE.get(name, name)]
    orders = []
    for order in schedule.orders(pp, m, vpp):
        forward = [task for task in order if task.kind == Kind.F]
        backward = [task for task in order if task.kind != Kind.F]
        warm = next((i for i, task in enumerate(order) if task.kind != Kind.F), len(order))
        warm = min(warm, len(forward))
        pairs = [
            Task(Kind.PAIR, f.stage, f.micro_batch, b.stage, b.micro_batch)
            for f, b in zip(forward[warm:], backward, strict=False)
        ]
        orders.append([*forward[:warm], *pairs, *backward[len(pairs) :]])
    return compiled(orders, schedule.stages(pp, vpp), m)


def played(setting: TrainingSetting, send_s: float) -> Played:
    """Cut, time and play one plan. Sends of an overlapped pipeline leave beside compute; without overlap they are part
    of the chunk that makes them."""
    slow = slowest(setting.ranks, setting.constants.speed_spread)
    blocks = blocks_of(setting, 1.0, slow)
    cost = {kind: sum(single(getattr(blocks.seconds(kind), p)) for p in ("forward_s", "backward_s", "weight_s"))
            for kind in blocks.timed}  # fmt: skip
    layout = cut(setting, cost)
    times = stage_times(setting, blocks, layout, send_s)
    program = program_of(setting)
    return Played(run(program, times), layout, times, blocks)
