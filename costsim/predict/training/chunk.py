"""An overlapped forward and backward: two lanes, compute and wire, in the order of DeepSeek's published trace.

A layer of the forward micro-batch and a layer of the backward one share the rank:
compute: attn F · mlp B · mlp W · mlp F · attn B · attn W; wire: combine B · dispatch F · dispatch B · combine F.
Each transfer waits for what it carries and each computation for what it needs. [deepseek-profile-data;
deepseek-v3-report, fig. 4]
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from costsim.num import Num
from costsim.predict.training.blocks import Blocks
from costsim.predict.training.kernels import TimedPasses

#: cores with which dispatch and combine reach the full rate of NVLink and InfiniBand [deepseek-v3-report, sec. 3.2.2]
ENOUGH_SMS = 20.0


@dataclass(frozen=True)
class LayerPair:
    """Seconds of the ten phases of one layer pair; every field broadcasts."""

    attn_f: Num
    mlp_f: Num
    attn_b: Num
    mlp_b: Num
    attn_w: Num
    mlp_w: Num
    dispatch_f: Num
    combine_f: Num
    dispatch_b: Num
    combine_b: Num

    @property
    def compute_s(self) -> Num:
        return self.attn_f + self.mlp_f + self.attn_b + self.mlp_b + self.attn_w + self.mlp_w

    @property
    def wire_s(self) -> Num:
        return self.dispatch_f + self.combine_f + self.dispatch_b + self.combine_b


def layer_pair(blocks: Blocks, kind: str = "moe") -> LayerPair:
    """Phases of a forward and a backward of the same kind of layer; ``blocks`` timed beside transfers."""
    block, c, s = blocks.timed[kind], blocks.setting.constants, blocks.setting
    sms = ENOUGH_SMS if s.plan.comm_sms is None else np.asarray(s.plan.comm_sms, dtype=float)
    slow = c.pair_slowdown * np.maximum(ENOUGH_SMS / np.maximum(sms, 1e-9), 1.0)

    def part(which: str, name: str) -> Num:
        extra = _inner_wires(block, which) if name == "attn" else 0.0
        return blocks.compute_s(kind, which, name) + extra

    wires = {
        t.item.name: t.total_s * slow
        for t in (*block.forward, *block.backward)
        if t.item.part in ("dispatch", "combine")
    }
    none = 0.0
    return LayerPair(
        part("forward", "attn"), part("forward", "mlp"), part("backward", "attn"), part("backward", "mlp"),
        part("weight", "attn"), part("weight", "mlp"), wires.get("dispatch", none), wires.get("combine", none),
        wires.get("dispatch gradient", none), wires.get("combine gradient", none),
    )  # fmt: skip


def _inner_wires(block: TimedPasses, which: str) -> Num:
    """Tensor- and context-parallel transfers stay on the compute lane."""
    return block.wire_s(which, "tp", "cp")


@dataclass(frozen=True)
class Lane:
    """One task of a pair: lane, name, when it starts and how long it takes."""

    lane: str
    name: str
    start_s: Num
    time_s: Num


def play(pair: LayerPair, layers: int) -> list[Lane]:
    """Both lanes over ``layers`` layers; every start is the latest of the lane and of what the task waits for."""
    free: dict[str, Num] = {"compute": 0.0, "wire": 0.0}
    done: dict[str, Num] = {"combine F": 0.0, "attn B": 0.0}
    tasks: list[Lane] = []

    def run(lane: str, name: str, seconds: Num, *after: str) -> None:
        start: Num = free[lane]
        for other in after:
            start = np.maximum(start, done[other])
        tasks.append(Lane(lane, name, start, seconds))
        free[lane] = done[name] = start + seconds

    for _ in range(layers):
        run("wire", "combine B", pair.combine_b, "attn B")
        run("compute", "attn F", pair.attn_f, "combine F")
        run("wire", "dispatch F", pair.dispatch_f, "attn F")
        run("compute", "mlp B", pair.mlp_b, "combine B")
        run("wire", "dispatch B", pair.dispatch_b, "mlp B")
        run("compute", "mlp W", pair.mlp_w)
        run("compute", "mlp F", pair.mlp_f, "dispatch F")
        run("compute", "attn B", pair.attn_b, "dispatch B")
        run("wire", "combine F", pair.combine_f, "mlp F")
        run("compute", "attn W", pair.attn_w)
    return tasks


def wall_s(tasks: list[Lane]) -> Num:
    """When the last task ends."""
    end: Num = 0.0
    for task in tasks:
        end = np.maximum(end, task.start_s + task.time_s)
    return end


def pair_seconds(pair: LayerPair, layers: Num) -> Num:
    """Wall seconds of ``layers`` layer pairs (may be a fraction, may broadcast): the first, and the period after it."""
    two, four = wall_s(play(pair, 2)), wall_s(play(pair, 4))
    period = (four - two) / 2.0
    return np.where(np.asarray(layers) > 0, np.maximum(two + (layers - 2.0) * period, period * layers), 0.0)
