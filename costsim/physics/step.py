"""One step of inference as a list of ops and wires on the busiest rank: prefill or decode."""

from __future__ import annotations

from dataclasses import dataclass

from costsim.num import Num
from costsim.physics.attention import decode_attention, prefill_attention, quantise, residual_norm
from costsim.physics.comm import expert_wires, pipeline_wires, tensor_wires
from costsim.physics.delta import decode_delta, prefill_delta
from costsim.physics.ffn import dense_ffn, moe_ffn
from costsim.physics.layout import Layout, attention_dtype
from costsim.physics.op import Op, Wire, gemm, stream
from costsim.spec.model import ModelSpec

_B16 = 2.0


@dataclass(frozen=True)
class Demand:
    """Everything one rank must do in one micro-batch of a step; ``layers`` is its share of the model."""

    ops: tuple[Op, ...]
    wires: tuple[Wire, ...]

    @property
    def flop(self) -> Num:
        """Causal FLOPs of the micro-batch on this rank."""
        return sum((op.flop * op.count for op in self.ops), start=0.0)

    @property
    def flop_full(self) -> Num:
        """The same without the causal saving in attention."""
        return sum(((op.flop if op.flop_full is None else op.flop_full) * op.count for op in self.ops), start=0.0)

    @property
    def bytes(self) -> Num:
        return sum((op.bytes * op.count for op in self.ops), start=0.0)


def _head(model: ModelSpec, layout: Layout, tokens: Num, rows: Num, part: str = "head") -> list[Op]:
    """Embedding lookup, final norm and the vocabulary projection on ``rows`` rows (BF16)."""
    h = float(model.hidden)
    return [
        stream("embedding", 2.0 * _B16 * tokens * h, 1.0, part),
        stream("final norm", 4.0 * _B16 * rows * h, 1.0, part, "norm"),
        gemm("lm head", rows, model.vocab / layout.tp, h, "bf16", 1.0, part),
    ]


def _before(model: ModelSpec, layout: Layout, tokens: Num, count: Num) -> list[Op]:
    """Norm and cast before a linear-attention layer, as before attention."""
    h, dtype = float(model.hidden), attention_dtype(model, layout.precision)
    return [
        residual_norm("input norm", h, tokens, count, "attention"),
        quantise("quantise input", h, tokens, dtype, count, "attention"),
    ]


def _stage_share(layout: Layout) -> Num:
    return 1.0 / layout.pp


def prefill_demand(
    model: ModelSpec, layout: Layout, tokens: Num, isl: Num, cached: Num = 0.0, all_logits: bool = False
) -> Demand:
    """A prefill micro-batch of ``tokens`` new tokens on each attention replica.

    ``all_logits`` projects every position onto the vocabulary (training, scoring) instead of the last.
    """
    share = _stage_share(layout)
    dense, moe = model.dense_layers * share, model.moe_layers * share
    full, linear = (dense + moe) - model.linear_layers * share, model.linear_layers * share
    ops = prefill_attention(model, layout, tokens, isl, cached, full)
    if model.linear_layers:
        ops += [*_before(model, layout, tokens, linear), *prefill_delta(model, layout, tokens, linear)]
    wires = tensor_wires(model, layout, tokens, dense, moe) + pipeline_wires(model, layout, tokens, 1.0)
    if model.dense_layers:
        ops += dense_ffn(model, layout, tokens, dense)
    if model.moe_layers:
        ops += moe_ffn(model, layout, tokens, moe, low_latency=False)
        wires += expert_wires(model, layout, tokens, moe, low_latency=False)
    ops += _head(model, layout, tokens, tokens if all_logits else tokens / (isl - cached))
    return Demand(tuple(ops), tuple(wires))


def decode_demand(model: ModelSpec, layout: Layout, requests: Num, context: Num, queries: Num = 1.0) -> Demand:
    """A decode micro-batch: ``requests`` sequences on each attention replica, ``queries`` tokens each (1 + drafted)."""
    share = _stage_share(layout)
    dense, moe = model.dense_layers * share, model.moe_layers * share
    tokens = requests * queries
    full, linear = (dense + moe) - model.linear_layers * share, model.linear_layers * share
    ops = decode_attention(model, layout, requests, queries, context, full)
    if model.linear_layers:
        ops += [*_before(model, layout, tokens, linear), *decode_delta(model, layout, requests, queries, linear)]
    wires = tensor_wires(model, layout, tokens, dense, moe) + pipeline_wires(model, layout, tokens, 1.0)
    if model.dense_layers:
        ops += dense_ffn(model, layout, tokens, dense)
    if model.moe_layers:
        ops += moe_ffn(model, layout, tokens, moe, low_latency=True)
        wires += expert_wires(model, layout, tokens, moe, low_latency=True)
    ops += _head(model, layout, tokens, tokens)
    return Demand(tuple(ops), tuple(wires))


def draft_demand(model: ModelSpec, layout: Layout, requests: Num, context: Num, queries: Num) -> Demand:
    """One MTP draft pass: a layer with its input projection and the shared head [deepseek-v3-report, sec. 2.2]."""
    tokens, h = requests * queries, float(model.hidden)
    one_moe = 1.0 if model.moe is not None else 0.0
    ops = [
        stream("draft norms", 6.0 * _B16 * tokens * h, 1.0, "head", "norm"),
        gemm("draft input", tokens, h, 2.0 * h, "bf16", 1.0, "head"),
        *decode_attention(model, layout, requests, queries, context, 1.0),
    ]
    wires = tensor_wires(model, layout, tokens, 1.0 - one_moe, one_moe)
    if one_moe:
        ops += moe_ffn(model, layout, tokens, 1.0, low_latency=True)
        wires += expert_wires(model, layout, tokens, 1.0, low_latency=True)
    else:
        ops += dense_ffn(model, layout, tokens, 1.0)
    ops += _head(model, layout, tokens, requests)
    return Demand(tuple(ops), tuple(wires))
