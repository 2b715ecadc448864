"""Bytes resident on the busiest rank while serving: weights, KV cache, activations, communication buffers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from costsim.num import Num
from costsim.physics.attention import kv_bytes_per_layer_token
from costsim.physics.delta import state_bytes
from costsim.physics.ffn import expert_pairs
from costsim.physics.layout import Layout, attention_dtype, ffn_dtype
from costsim.physics.op import act_bytes, stored_bytes
from costsim.physics.parameters import linear_parameters, parameters
from costsim.spec.model import ModelSpec

_B16 = 2.0
#: share of the nominal capacity kept for the driver's context, graphs and allocator slack. Cards hold GiB
#: where their names say GB (+7 %), which pays for the rest of what a runtime takes.
RESERVE_SHARE = 0.04


@dataclass(frozen=True)
class Footprint:
    """Bytes by kind on one rank; ``capacity_bytes`` is what the datasheet states."""

    weights_bytes: Num
    kv_bytes: Num
    activations_bytes: Num
    communication_bytes: Num
    reserve_bytes: Num
    capacity_bytes: float

    @property
    def total_bytes(self) -> Num:
        return (
            self.weights_bytes + self.kv_bytes + self.activations_bytes + self.communication_bytes + self.reserve_bytes
        )

    @property
    def fits(self) -> Num:
        return np.asarray(self.total_bytes) <= self.capacity_bytes

    def terms(self) -> dict[str, Num]:
        names = ("weights_bytes", "kv_bytes", "activations_bytes", "communication_bytes", "reserve_bytes")
        return {name: getattr(self, name) for name in names}


def weight_bytes_per_rank(model: ModelSpec, layout: Layout, with_mtp: Num | bool) -> Num:
    """Weights of one pipeline stage on one rank: the sum of :func:`weights_by_kind`."""
    return sum(weights_by_kind(model, layout, with_mtp).values(), start=0.0)


def weights_by_kind(model: ModelSpec, layout: Layout, with_mtp: Num | bool) -> dict[str, Num]:
    """Weights of one pipeline stage on one rank, by kind of tensor.

    Layer matrices in the plan's precision (of 4-bit checkpoints not all are); embedding, head, routers and norms in
    BF16. Attention and dense FFN split over tp, routed experts over ep·moe_tp with their replicas. The embedding and
    head are charged to every stage, which is right for pp = 1 and high by at most one of them otherwise. ``with_mtp``
    is a mask in a sweep: where it holds, one MTP module is resident too.
    """
    p, b = parameters(model), stored_bytes(layout.precision)
    b_attention, b_ffn = (stored_bytes(f(model, layout.precision)) for f in (attention_dtype, ffn_dtype))
    share = 1.0 / layout.pp
    attention = p.attention * b_attention / layout.tp + (p.attention_norms + p.layer_norms) * _B16
    linear = linear_parameters(model) * b_attention / layout.tp + p.layer_norms * _B16
    experts = layout.slots * p.expert * b / layout.moe_tp if model.moe else 0.0
    shared = p.shared * b_ffn / layout.tp if model.moe else 0.0
    router = p.router * _B16 if model.moe else 0.0
    dense = p.dense_ffn * b_ffn / layout.tp
    kinds: dict[str, Num] = {
        "attention and norm": (model.cached_layers * attention + model.linear_layers * linear) * share,
        "dense FFN": model.dense_layers * dense * share,
        "routed expert": model.moe_layers * experts * share,
        "shared expert": model.moe_layers * shared * share,
        "router": model.moe_layers * router * share,
        "embedding and head": (p.embedding + p.head) * _B16 / layout.tp,
    }
    if model.mtp_layers:
        ffn = experts + shared + router if model.moe else dense
        kinds["MTP module"] = np.where(with_mtp, attention + ffn + 2.0 * model.hidden**2 * _B16, 0.0)
    return kinds


def kv_bytes_per_rank(model: ModelSpec, layout: Layout, requests: Num, context: Num) -> Num:
    """Cache of ``requests`` sequences of ``context`` tokens on one rank.

    MLA's latent is replicated over tp; GQA's heads split until each rank has one. A sliding-window layer
    keeps at most its window; a linear-attention layer a state of fixed size for each sequence, its heads split over tp.
    """
    a = model.attention
    split = 1.0 if a.kind == "mla" else np.minimum(layout.tp, a.kv_heads)
    per_token = kv_bytes_per_layer_token(a, layout.kv_dtype) / split
    held = context
    if a.window:
        held = (np.minimum(context, a.window) + (a.window_every - 1) * context) / a.window_every
    state = state_bytes(model) / layout.tp * model.linear_layers
    return requests * (held * per_token * model.cached_layers + state) / layout.pp


def activation_bytes(model: ModelSpec, layout: Layout, tokens: Num, prefill: bool) -> Num:
    """Peak of live activations in one layer for ``tokens`` of a micro-batch on a replica.

    The residual stream twice, and the larger of attention's queries, keys, values and output, or the
    permuted expert inputs with their gate-up outputs.
    """
    a, h = model.attention, float(model.hidden)
    heads = a.heads / layout.tp
    widths = 2.0 * a.qk_head_dim + 2.0 * a.value_head_dim if prefill else a.qk_head_dim + a.value_head_dim
    attention = tokens * heads * widths * _B16
    if a.kind == "mla" and not prefill:
        attention = tokens * heads * (2.0 * a.kv_lora_rank + a.qk_rope_head_dim) * _B16
    ffn = tokens * model.intermediate / layout.tp * 3.0 * _B16 if model.dense_layers else 0.0
    if model.moe:
        pairs = expert_pairs(model, layout, tokens)
        width = model.moe.intermediate / layout.moe_tp
        ffn = np.maximum(ffn, pairs * (h * act_bytes(layout.precision) + 3.0 * width * _B16 + h * _B16))
    return 2.0 * tokens * h * _B16 + np.maximum(attention, ffn)


def communication_bytes(model: ModelSpec, layout: Layout, tokens: Num, low_latency: bool) -> Num:
    """Buffers of expert dispatch and combine.

    Low latency keeps a slot for every token of every rank at every expert, double-buffered:
    2·experts·tokens·(hidden·b + 2·hidden) split over the ep ranks' own experts times their peers, so
    2·tokens·experts·size; normal mode holds what is received once out and back. [deepep]
    """
    if model.moe is None:
        return 0.0 * np.asarray(tokens)
    h, own = float(model.hidden), tokens / layout.tp
    spread = (layout.ep * layout.moe_tp > layout.tp) * 1.0
    size = h * act_bytes(layout.precision) + h * _B16
    slots = float(model.moe.experts) if low_latency else float(model.moe.top_k)
    return spread * 2.0 * own * slots * size


def footprint(
    model: ModelSpec, layout: Layout, capacity: float, requests: Num, context: Num, tokens: Num, *,
    prefill: bool, with_mtp: Num | bool = False,
) -> Footprint:  # fmt: skip
    """Everything resident on a rank that holds ``requests`` sequences and works on ``tokens`` at a time."""
    return Footprint(
        weights_bytes=weight_bytes_per_rank(model, layout, with_mtp),
        kv_bytes=kv_bytes_per_rank(model, layout, requests * layout.pp, context),
        activations_bytes=activation_bytes(model, layout, tokens, prefill),
        communication_bytes=communication_bytes(model, layout, tokens, low_latency=not prefill),
        reserve_bytes=RESERVE_SHARE * capacity,
        capacity_bytes=capacity,
    )
