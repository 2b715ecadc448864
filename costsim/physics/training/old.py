"""Demand of one training micro-batch on one rank: forward, backward, optimiser, and resident bytes.

First order: gradients of activations and of weights as GEMMs of their own shapes, attention backward at
5/2 of its forward matrix work, elementwise backward at twice its bytes, FP8 casts and transposes for the
weight gradient. [deepseek-v3-report, sec. 3.3; flashattention2]
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from costsim.num import Num
from costsim.physics.layout import Layout
from costsim.physics.op import Op, Wire, grouped_gemm, stream
from costsim.physics.parameters import parameters
from costsim.physics.step import Demand, prefill_demand
from costsim.spec.model import ModelSpec

_B16, _B32 = 2.0, 4.0
#: matrix products of attention: two forward, five backward (with the recomputed scores)
ATTENTION_BACKWARD = 2.5
#: bytes per parameter beyond the working weights: FP32 gradient, FP32 master, two BF16 moments
#: [deepseek-v3-report, sec. 3.3.2]
GRADIENT_BYTES, MASTER_BYTES, MOMENT_BYTES = _B32, _B32, 2 * _B16
#: words one parameter moves in an optimiser step: read gradient, master, moments; write master, moments, weight
OPTIMISER_TRAFFIC = _B32 + 2 * MASTER_BYTES + 2 * MOMENT_BYTES + _B16


def _gemm_gradients(op: Op) -> list[Op]:
    """dX[m,k] = dY·Wᵀ and dW[n,k] = dYᵀ·X, each as long as the forward product, plus the cast of dY and transposes."""
    m, n, k, groups = (op.shape[name] for name in ("m", "n", "k", "groups"))
    one = Op("", op.family, op.dtype, op.flop, op.bytes, op.count, op.part, op.shape)
    dgrad = replace(one, name=f"{op.name} dgrad", shape={"m": m, "n": k, "k": n, "groups": groups})
    wgrad = replace(
        one, name=f"{op.name} wgrad", shape={"m": n, "n": k, "k": m, "groups": groups},
        bytes=op.bytes + groups * n * k * _B32,
    )  # fmt: skip
    out = [dgrad, wgrad]
    if op.dtype in ("fp8", "int8"):
        moved = groups * m * (n * (_B16 + 2.0) + k * 2.0)
        out.append(stream(f"{op.name} cast, transpose", moved, op.count, op.part))
    return out


def _expert_gradients(op: Op) -> list[Op]:
    """The same GEMMs again for the inputs, and transposed for the weights, whose gradients are written in FP32."""
    m, n, k, groups = (op.shape[name] for name in ("m", "n", "k", "groups"))
    dgrad = replace(op, name=f"{op.name} dgrad", flop_full=None)
    wgrad = replace(op, name=f"{op.name} wgrad", bytes=op.bytes + 1.5 * groups * n * k * _B32, flop_full=None)
    out = [dgrad, wgrad]
    if op.dtype in ("fp8", "int8"):
        moved = groups * m * (1.5 * n + 2.0 * k) * (_B16 + 2.0)
        out.append(stream(f"{op.name} cast, transpose", moved, op.count, op.part))
    return out


def backward_ops(forward: Demand) -> list[Op]:
    """The backward pass of every forward op."""
    ops: list[Op] = []
    for op in forward.ops:
        if op.family.startswith("moe"):
            ops += _expert_gradients(op)
        elif "gemm" in op.family:
            ops += _gemm_gradients(op)
        elif op.family.startswith("memory_"):
            ops.append(replace(op, name=f"{op.name} backward", bytes=2.0 * op.bytes))
        else:
            full = None if op.flop_full is None else ATTENTION_BACKWARD * op.flop_full
            ops.append(replace(op, name=f"{op.name} backward", flop=ATTENTION_BACKWARD * op.flop,
                               bytes=ATTENTION_BACKWARD * op.bytes, flop_full=full))  # fmt: skip
    return ops


def recomputed(forward: Demand, recompute: str) -> list[Op]:
    """Forward ops run again in the backward pass: none, norms and MLA up-projections (selective), or all (full)."""
    if recompute == "full":
        return [replace(op, name=f"{op.name} again") for op in forward.ops if op.part != "head"]
    if recompute == "selective":
        again = ("norm", "query up", "key-value up", "swiglu")
        return [replace(op, name=f"{op.name} again") for op in forward.ops if any(word in op.name for word in again)]
    return []


@dataclass(frozen=True)
class MicroBatch:
    """One micro-batch through one pipeline stage on one rank."""

    forward: Demand
    backward: Demand


def micro_batch_demand(
    model: ModelSpec, layout: Layout, sequences: Num, seq: Num, recompute: str, with_mtp: bool
) -> MicroBatch:
    """Forward and backward of ``sequences`` of ``seq`` tokens; MTP adds its share of a layer and a head."""
    tokens = sequences * seq
    forward = prefill_demand(model, layout, tokens, seq, all_logits=True)
    if with_mtp and model.mtp_layers:
        extra = model.mtp_layers / (model.layers * layout.pp)
        scale = 1.0 + model.mtp_layers / model.layers
        ops = tuple(replace(op, count=op.count * (scale if op.part != "head" else 1.0)) for op in forward.ops)
        head = tuple(
            replace(op, name=f"MTP {op.name}", count=op.count / layout.pp) for op in forward.ops if op.part == "head"
        )
        join = grouped_gemm(
            "MTP input", tokens, float(model.hidden), 2.0 * model.hidden, 1.0, "bf16", extra * model.layers, "head"
        )
        wires = tuple(replace(wire, count=wire.count * scale) for wire in forward.wires)
        forward = Demand((*ops, *head, replace(join, family="gemm")), wires)
    # The head sits on one stage; the mean stage carries 1/pp of it.
    ops = tuple(replace(op, count=op.count / layout.pp) if _end(op) else op for op in forward.ops)
    forward = Demand(ops, forward.wires)
    back = Demand((*recomputed(forward, recompute), *backward_ops(forward)), forward.wires)
    return MicroBatch(forward, back)


def _end(op: Op) -> bool:
    return op.part == "head" and not op.name.startswith("MTP")


def parameters_per_rank(model: ModelSpec, layout: Layout) -> tuple[Num, Num]:
    """(dense, expert) parameters of the mean stage on one rank; experts split over ep·moe_tp."""
    p = parameters(model)
    experts = model.moe_layers * layout.slots * p.expert / layout.moe_tp if model.moe else 0.0
    moe = model.moe_layers * (p.shared / layout.tp + p.router)
    ends = (p.embedding + p.head) / layout.tp
    dense = model.layers * p.layer / layout.tp + model.dense_layers * p.dense_ffn / layout.tp + moe + ends
    return dense / layout.pp, experts / layout.pp


def gradient_wires(model: ModelSpec, layout: Layout, dp: Num, expert_dp: Num) -> list[Wire]:
    """Once a step: reduce-scatter of gradients and all-gather of weights over the data-parallel ranks (ZeRO-1)."""
    dense, expert = parameters_per_rank(model, layout)
    wires = []
    for name, count, ranks in (("dense", dense, dp), ("expert", expert, expert_dp)):
        many = (np.asarray(ranks) > 1) * 1.0
        for kind, width in (("reduce_scatter", _B32), ("all_gather", _B16)):
            moved = count * width
            wires.append(Wire(f"{kind} {name}", kind, moved, moved, ranks, layout.domain, many, "head"))
    return wires


def optimiser_op(model: ModelSpec, layout: Layout, dp: Num, expert_dp: Num, zero: Num) -> Op:
    """AdamW on this rank's shard of the parameters: memory-bound."""
    dense, expert = parameters_per_rank(model, layout)
    shard = np.where(np.asarray(zero) >= 1, dense / dp + expert / expert_dp, dense + expert)
    return stream("optimiser", shard * OPTIMISER_TRAFFIC, 1.0, "head")


@dataclass(frozen=True)
class TrainingFootprint:
    """Bytes on the fullest rank (the first stage, which holds ``pp`` micro-batches in flight)."""

    weights_bytes: Num
    gradients_bytes: Num
    optimizer_bytes: Num
    activations_bytes: Num

    @property
    def total_bytes(self) -> Num:
        return self.weights_bytes + self.gradients_bytes + self.optimizer_bytes + self.activations_bytes

    def terms(self) -> dict[str, Num]:
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


def activation_bytes_per_token_layer(model: ModelSpec, layout: Layout, recompute: str) -> Num:
    """Kept for the backward pass: inputs of every GEMM in the plan's precision, attention's operands in BF16."""
    a, h = model.attention, float(model.hidden)
    heads = a.heads / layout.tp
    act = 1.0 + 4.0 / 128 if layout.precision == "fp8" else _B16
    if recompute == "full":
        return h * _B16
    attention = heads * (2 * a.qk_head_dim + 2 * a.value_head_dim) * _B16 + heads * a.value_head_dim * act
    if recompute == "selective" and a.kind == "mla":
        attention = (a.q_lora_rank + a.kv_lora_rank + a.qk_rope_head_dim) * _B16 + heads * a.value_head_dim * (
            act + _B16
        )
    norms = (2.0 if recompute == "selective" else 4.0) * h * _B16
    ffn = 3.0 * model.intermediate / layout.tp * act
    if model.moe:
        width = model.moe.intermediate * (model.moe.top_k / layout.moe_tp + model.moe.shared_experts / layout.tp)
        ffn = (
            (model.moe.top_k + 1.0) * h * act + 2.0 * width * _B16 + (0.0 if recompute == "selective" else width * act)
        )
    return attention + norms + ffn + 2.0 * h * act


def training_footprint(
    model: ModelSpec, layout: Layout, tokens: Num, recompute: str, dp: Num, expert_dp: Num, zero: Num
) -> TrainingFootprint:
    """BF16 weights (and FP8 beside them), FP32 gradients, sharded optimiser state, activations in flight."""
    dense, expert = parameters_per_rank(model, layout)
    count = dense + expert
    shard = np.where(np.asarray(zero) >= 1, dense / dp + expert / expert_dp, count)
    per_token = activation_bytes_per_token_layer(model, layout, recompute)
    in_flight = layout.pp
    return TrainingFootprint(
        weights_bytes=count * _B16 + (count if layout.precision == "fp8" else 0.0),
        gradients_bytes=count * GRADIENT_BYTES,
        optimizer_bytes=shard * (MASTER_BYTES + MOMENT_BYTES),
        activations_bytes=tokens * per_token * model.layers / layout.pp * in_flight,
    )
