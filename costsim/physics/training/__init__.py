"""Training demand: forward, input-gradient and weight-gradient passes of every block, and the bytes that they keep."""

from __future__ import annotations

from collections.abc import Iterable

from costsim.num import Num
from costsim.physics.op import Op, Wire
from costsim.physics.training.attention import attention_block
from costsim.physics.training.ends import embedding_block, head_block, mtp_block
from costsim.physics.training.ffn import dense_block, moe_block
from costsim.physics.training.passes import Passes, Recipe, joined
from costsim.physics.training.shard import Shard
from costsim.spec.model import ModelSpec


def model_passes(
    model: ModelSpec, shard: Shard, recipe: Recipe, policy: frozenset[str] = frozenset(), with_mtp: bool = False
) -> Passes:
    """All blocks of a model, each as often as a micro-batch meets it."""
    attention = attention_block(model, shard, recipe, policy)
    blocks = [embedding_block(model, shard), head_block(model, shard, recipe)]
    if model.dense_layers:
        blocks.append((attention + dense_block(model, shard, recipe, policy)).times(float(model.dense_layers)))
    if model.moe_layers:
        blocks.append((attention + moe_block(model, shard, recipe, policy)).times(float(model.moe_layers)))
    if with_mtp and model.mtp_layers:
        blocks.append(mtp_block(model, shard, recipe, policy).times(float(model.mtp_layers)))
    return joined(blocks)


def flop_full(items: Iterable[Op | Wire]) -> Num:
    """FLOP of these ops without the causal saving in attention."""
    return sum(
        ((op.flop if op.flop_full is None else op.flop_full) * op.count for op in items if isinstance(op, Op)),
        start=0.0,
    )
