"""Feed-forward blocks in their three passes: a dense gated FFN, and a routed layer with shared experts."""

from __future__ import annotations

import numpy as np

from costsim.num import Num
from costsim.physics.op import Wire, act_bytes
from costsim.physics.routing import units_touched
from costsim.physics.training.attention import PART as ATTENTION
from costsim.physics.training.attention import residual_norm, sequence_wires
from costsim.physics.training.passes import B16, Passes, Recipe, elementwise, joined, linear, small_kernels
from costsim.physics.training.recompute import drops
from costsim.physics.training.shard import Shard
from costsim.spec.model import ModelSpec

PART = "mlp"


def dense_block(model: ModelSpec, shard: Shard, recipe: Recipe, policy: frozenset[str]) -> Passes:
    """Norm and gated FFN of one dense layer, its width split over tp."""
    h, t = float(model.hidden), shard.tokens
    norm = residual_norm("ffn norm", shard.own * h, recipe, PART).repeated(drops(policy, "norm"))
    body = gated("dense ffn", t, model.intermediate / shard.tp, h, recipe, policy)
    body = body + sequence_wires("dense ffn", shard, h, h)
    return norm + (body.repeated(True) if drops(policy, "mlp") else body)


def gated(
    name: str, rows: Num, width: Num, hidden: Num, recipe: Recipe, policy: frozenset[str], groups: Num = 1.0,
    arrived_cast: bool = False,
) -> Passes:  # fmt: skip
    """down(silu(gate x)·up x). The activation reads gate and up and writes their product (cast already, where one
    kernel does both), forward; backward it reads its gradient and both again and writes two. ``arrived_cast``: the
    rows came as FP8."""
    eight = recipe.dtype == "fp8"
    fused = eight and recipe.block_scaled
    out = act_bytes("fp8") if fused else B16
    size = groups * rows * width
    act = elementwise(f"{name} swiglu", (2.0 * B16 + out) * size, 5.0 * B16 * size, PART)
    return joined([
        linear(f"{name} gate-up", rows, 2.0 * width, hidden, recipe, PART, groups, cast_input=not arrived_cast),
        act.repeated("act" in policy),
        linear(f"{name} down", rows, hidden, width, recipe, PART, groups, cast_input=not fused),
    ])  # fmt: skip


def moe_block(model: ModelSpec, shard: Shard, recipe: Recipe, policy: frozenset[str]) -> Passes:
    """Norm, router, shared and routed experts of one layer, with dispatch and combine in both directions.

    Backward, the gradient of combine is a dispatch and the other way round. [deepseek-v3-report, sec. 3.2.1]
    """
    moe, h, own = model.moe, float(model.hidden), shard.own
    assert moe is not None
    # What must be done before tokens can leave belongs to the attention's side of a chunk.
    before = joined([
        residual_norm("ffn norm", own * h, recipe, ATTENTION).repeated(drops(policy, "norm")),
        linear("router", own, float(moe.experts), h, recipe, ATTENTION, dtype="bf16"),
        elementwise("top-k choice", own * moe.experts * 4.0 * 3.0, own * moe.experts * 4.0 * 2.0, ATTENTION),
        small_kernels("routing", 18.0, 12.0, ATTENTION),
    ])  # fmt: skip
    blocks = [routed_block(model, shard, recipe, policy)]
    if moe.shared_experts:
        width = moe.shared_experts * moe.intermediate / shard.tp
        shared = gated("shared expert", shard.tokens, width, h, recipe, policy)
        add = elementwise("add shared", 3.0 * B16 * own * h, 2.0 * B16 * own * h, PART)
        blocks += [shared, add, sequence_wires("shared expert", shard, h, h)]
    body = joined(blocks)
    return before + (body.repeated(True) if drops(policy, "moe") else body)


def routed_block(model: ModelSpec, shard: Shard, recipe: Recipe, policy: frozenset[str]) -> Passes:
    """Dispatch, permute, experts, unpermute, combine."""
    moe, h = model.moe, float(model.hidden)
    assert moe is not None
    pairs = shard.pairs(model)
    copies = pairs if recipe.copies else pairs * units_touched(moe, shard.ep) / moe.top_k
    # Sent once for each expert: laid out by expert before they leave, and again by local expert where they arrive.
    trips = 2.0 if recipe.copies else 1.0
    arrive = act_bytes("fp8") if recipe.eight_bit_dispatch else B16
    permute = elementwise("permute", trips * (copies + pairs) * h * arrive, trips * (copies + pairs) * h * B16, PART)
    back = elementwise("unpermute", trips * (copies + pairs) * h * B16, trips * (copies + pairs) * h * arrive, PART)
    experts = gated("experts", pairs / shard.slots, moe.intermediate / shard.moe_tp, h, recipe, policy, shard.slots,
                    arrived_cast=recipe.eight_bit_dispatch)  # fmt: skip
    # Weighting by the router's probabilities rides on the activation; its gradient is one more pass over it.
    weigh = elementwise("router weights", 0.0, 2.0 * B16 * pairs * moe.intermediate / shard.moe_tp, PART)
    # Counting rows and mapping them to experts takes a quarter of a millisecond of small kernels in the trace.
    layout = small_kernels("expert layout", 26.0, 8.0, PART)
    return joined([expert_wires(model, shard, recipe), layout, permute, experts, weigh, back])


def expert_wires(model: ModelSpec, shard: Shard, recipe: Recipe) -> Passes:
    """Dispatch and combine of a rank's own tokens: two hops, once for each remote node and once for each rank in it;
    or plain copies, one for each expert. Bytes grow with the imbalance of ranks, and over the network, where two hops
    share a node's NICs, with that of nodes. [deepseek-v3-report, sec. 3.2.2; deepep]
    """
    moe, h, own = model.moe, float(model.hidden), shard.own
    assert moe is not None
    nodes = np.maximum(shard.ep / shard.domain, 1.0)
    pairs = own * moe.top_k
    skew = shard.skew(pairs)
    out_skew = skew if recipe.copies else shard.node_skew(pairs, nodes)
    touched_nodes, touched_ranks = units_touched(moe, nodes), units_touched(moe, shard.ep)
    out = (moe.top_k if recipe.copies else touched_nodes) * (1.0 - 1.0 / nodes)
    near = moe.top_k if recipe.copies else touched_ranks
    up = near * (1.0 / nodes if recipe.copies else 1.0) * (1.0 - 1.0 / np.maximum(shard.ep, 1.0))
    many = shard.split(shard.ep)
    eight = h * (act_bytes("fp8") if recipe.eight_bit_dispatch else B16)

    def wire(name: str, kind: str, size: Num) -> Wire:
        law = "all_to_all" if recipe.copies else kind
        return Wire(name, law, own * up * size * skew, own * out * size * out_skew, shard.ep, shard.domain, many, kind)

    return Passes(
        (wire("dispatch", "dispatch", eight), wire("combine", "combine", h * B16)),
        (wire("combine gradient", "dispatch", eight), wire("dispatch gradient", "combine", h * B16)),
    )
