"""Seconds of a model's blocks on one rank: attention, FFN, routed layers, ends; alone, and beside transfers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from costsim.num import Num
from costsim.physics.training.attention import attention_block
from costsim.physics.training.ends import embedding_block, head_block, mtp_block
from costsim.physics.training.ffn import dense_block, moe_block
from costsim.physics.training.passes import Passes
from costsim.predict.system import system_of
from costsim.predict.training.kernels import Clock, TimedPasses, timed
from costsim.predict.training.setting import TrainingSetting

#: blocks that a model may have, in the order a token meets them
KINDS = ("embedding", "dense", "moe", "mtp", "head")


@dataclass(frozen=True)
class PassSeconds:
    """One block's seconds by pass: compute, and transfers that count as exposed unless a schedule hides them."""

    forward_s: Num
    backward_s: Num
    weight_s: Num
    forward_wire_s: Num
    backward_wire_s: Num

    def __add__(self, other: PassSeconds) -> PassSeconds:
        return PassSeconds(*(getattr(self, n) + getattr(other, n) for n in self.__dataclass_fields__))

    def times(self, count: Num) -> PassSeconds:
        return PassSeconds(*(getattr(self, n) * count for n in self.__dataclass_fields__))


NOTHING = PassSeconds(0.0, 0.0, 0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Blocks:
    """The timed blocks of a model, and how many layers of each kind it has."""

    setting: TrainingSetting
    passes: dict[str, Passes]
    timed: dict[str, TimedPasses]
    slow: Num
    clock: Clock

    def seconds(self, kind: str) -> PassSeconds:
        """A block's seconds in a chunk of its own, with what is exposed of its transfers."""
        block = self.timed[kind]
        f, b, w = (self.exposed_s(block, which) for which in ("forward", "backward", "weight"))
        compute = {which: self.compute_s(kind, which) for which in ("forward", "backward", "weight")}
        wires = {which: block.wire_s(which, "dispatch", "combine") for which in ("forward", "backward")}
        return PassSeconds(
            compute["forward"] + f, compute["backward"] + b, compute["weight"] + w, wires["forward"], wires["backward"]
        )

    def compute_s(self, kind: str, which: str, *parts: str) -> Num:
        """Seconds of ops in one pass on the slowest rank, at least as long as the host takes to launch them all."""
        block = self.timed[kind]
        device = block.compute_s(which, *parts) * self.slow
        looped = not self.setting.recipe.block_scaled
        launches = block.launches(which, looped, self.clock) * self.setting.constants.host_launch
        if parts:
            # A part takes its share of what the whole pass has to wait for.
            whole = block.compute_s(which) * self.slow
            return device * np.maximum(launches / np.maximum(whole, 1e-12), 1.0)
        return np.maximum(device, launches)

    def exposed_s(self, block: TimedPasses, which: str) -> Num:
        """Transfers that no overlap inside the block hides.

        Expert transfers are exposed here; a pair of chunks hides them. Under any overlap, a dense model's gathers and
        scatters run in tp pieces beside the GEMMs that use them, so that one piece shows, and rings of keys and
        values run beside attention. [megatron-tp-overlap]
        """
        s = self.setting
        experts = block.wire_s(which, "dispatch", "combine")
        tensor, context = block.wire_s(which, "tp"), block.wire_s(which, "cp")
        if s.overlap == "none":
            return experts + tensor + context
        if s.model.moe is None:
            tensor = tensor / s.shard.tp
        core = sum((t.total_s for t in getattr(block, which) if t.item.name.startswith("attention")), start=0.0)
        return experts + tensor + np.maximum(context - core * (1.0 - 1.0 / s.shard.cp), context / s.shard.cp)


def blocks_of(setting: TrainingSetting, cores_share: Num = 1.0, slow: Num = 1.0) -> Blocks:
    """Every block of the model, timed on ``cores_share`` of the cores; ``slow``: the slowest rank's compute."""
    model, shard, recipe, policy = setting.model, setting.shard, setting.recipe, setting.policy
    graph = system_of(setting.chip).kernel_gap_s if setting.plan.graphs != "none" else None
    clock = Clock(setting.device, setting.constants, cores_share, recipe.block_scaled, graph)
    attention = attention_block(model, shard, recipe, policy)
    passes = {"embedding": embedding_block(model, shard), "head": head_block(model, shard, recipe)}
    if model.dense_layers:
        passes["dense"] = attention + dense_block(model, shard, recipe, policy)
    if model.moe_layers:
        passes["moe"] = attention + moe_block(model, shard, recipe, policy)
    if model.mtp_layers:
        passes["mtp"] = mtp_block(model, shard, recipe, policy).times(float(model.mtp_layers))
    return Blocks(setting, passes, {kind: timed(block, clock) for kind, block in passes.items()}, slow, clock)


def beside_transfers(blocks: Blocks) -> Blocks:
    """The same blocks on the cores that overlapped transfers leave."""
    return blocks_of(blocks.setting, blocks.setting.pair_share, blocks.slow)
