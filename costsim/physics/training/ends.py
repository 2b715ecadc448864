"""Embedding, output head with its loss, and MTP modules in their three passes."""

from __future__ import annotations

import numpy as np

from costsim.num import Num
from costsim.physics.op import Wire
from costsim.physics.training.attention import attention_block
from costsim.physics.training.ffn import dense_block, moe_block
from costsim.physics.training.passes import B16, B32, Passes, Recipe, elementwise, joined, linear
from costsim.physics.training.shard import Shard
from costsim.spec.model import ModelSpec

PART = "head"
#: Megatron pads the vocabulary to a multiple of this times tp
VOCAB_MULTIPLE = 128.0


def padded_vocab(model: ModelSpec, tp: Num) -> Num:
    """Rows of the embedding as trained: the next multiple of 128·tp."""
    step = VOCAB_MULTIPLE * np.asarray(tp, dtype=float)
    return np.ceil(model.vocab / step) * step


def embedding_block(model: ModelSpec, shard: Shard) -> Passes:
    """Rows looked up; backward, their gradients added up in FP32."""
    h, t = float(model.hidden), shard.tokens
    size = B16 * t * h
    wire = Wire("scatter embedding", "reduce_scatter", size, size, shard.tp, shard.domain, shard.split(shard.tp), "tp")
    add = elementwise("embedding", 2.0 * B16 * shard.own * h, (B16 + 2.0 * B32) * t * h, PART)
    return add + Passes((wire,))


def head_block(model: ModelSpec, shard: Shard, recipe: Recipe) -> Passes:
    """Final norm, vocabulary projection in 16 bits, and cross-entropy: reads the logits, writes their gradient."""
    h, t = float(model.hidden), shard.tokens
    rows = padded_vocab(model, shard.tp) / shard.tp
    norm = elementwise("final norm", 2.0 * B16 * shard.own * h, 3.0 * B16 * shard.own * h, PART, "norm")
    size = B16 * t * h
    many = shard.split(shard.tp)
    gather = Wire("gather head", "all_gather", size, size, shard.tp, shard.domain, many, "tp")
    scatter = Wire("scatter gradient of head", "reduce_scatter", size, size, shard.tp, shard.domain, many, "tp")
    loss = elementwise("cross-entropy", 3.0 * B16 * t * rows, 2.0 * B16 * t * rows, PART)
    return joined([
        norm, linear("lm head", t, rows, h, recipe, PART, dtype="bf16"), loss, Passes((gather,), (scatter,), (gather,)),
    ])  # fmt: skip


def mtp_block(model: ModelSpec, shard: Shard, recipe: Recipe, policy: frozenset[str]) -> Passes:
    """One multi-token-prediction module: a projection of hidden state and embedding, a layer, and the shared head.

    [deepseek-v3-report, eq. 21-23]
    """
    h = float(model.hidden)
    ffn = moe_block if model.moe is not None and model.moe_layers else dense_block
    norms = elementwise("MTP norms", 4.0 * B16 * shard.own * h, 6.0 * B16 * shard.own * h, PART, "norm")
    return joined([
        embedding_block(model, shard), norms, linear("MTP input", shard.tokens, h / shard.tp, 2.0 * h, recipe, PART),
        attention_block(model, shard, recipe, policy), ffn(model, shard, recipe, policy),
        head_block(model, shard, recipe),
    ])  # fmt: skip
