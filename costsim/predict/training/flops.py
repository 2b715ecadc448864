"""Useful work of training: FLOP of one sequence's forward pass, causal and not."""

from __future__ import annotations

from costsim.num import Num
from costsim.physics.attention import prefill_core
from costsim.physics.parameters import attention_shapes, parameters
from costsim.predict.training.setting import TrainingSetting


def forward_flop(setting: TrainingSetting) -> tuple[Num, Num]:
    """Two FLOP for each weight that a token meets and for each multiply-add of attention of the main model.

    Tables, norms and MTP modules are not counted, as in DeepSeek-V3's own MFU; ``full`` counts attention without the
    causal saving. [deepseek-isca-2025, table 4]
    """
    model, seq = setting.model, setting.shard.seq
    a, p, moe = model.attention, parameters(model), model.moe
    matrices = sum(rows * columns for rows, columns in attention_shapes(model))
    head = model.vocab * model.hidden
    routed = 0
    if moe is not None:
        routed = moe.top_k * 3 * model.hidden * moe.intermediate + p.shared + moe.experts * model.hidden
    weights = model.layers * matrices + model.dense_layers * p.dense_ffn + model.moe_layers * routed + head
    causal, full = prefill_core(a, seq, 0.0)
    pair = 2.0 * a.heads * (a.qk_head_dim + a.value_head_dim) * model.layers
    return 2.0 * weights * seq + pair * causal, 2.0 * weights * seq + pair * full
