"""Parameter counts, KV-cache bytes and checkpoint bytes of a model: pure arithmetic on its sizes.

Counts are exact integers. Convention: ``total`` counts what is trained by gradient (weights, norms, biases,
attention sinks). A router's score-correction bias is a buffer, updated by a rule and not by gradient, so it
is counted apart (:attr:`Parameters.router_bias`). Multi-token prediction (MTP) modules are counted apart
too, without the embedding and the output head that they share with the main model; published checkpoints
store copies of both. [deepseek-v3-report, sec. 2]
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from costsim.errors import UnsupportedDtype
from costsim.spec.model import Attention, ModelSpec

#: rows × columns of one projection matrix, columns being the reduced dimension
Shape = tuple[int, int]

#: block of weights that shares one scale in the DeepSeek FP8 format: 128 × 128 [deepseek-v3-report, sec. 3.3.2]
FP8_BLOCK = 128
#: weights along the reduced dimension that share a scale: OCP MX formats, and the common 4-bit integer format
MXFP4_BLOCK = 32
INT4_GROUP = 128
#: KV latents that share one FP32 scale in FlashMLA's FP8 cache
FLASHMLA_TILE = 128

KV_ELEMENT_BYTES = {"bf16": 2, "fp16": 2, "fp8": 1, "int8": 1}
CHECKPOINT_DTYPES = ("bf16", "fp8", "int8", "fp4", "w4")
#: bytes of one element, by the names that safetensors uses (U8 holds packed 4-bit values or 8-bit scales)
STORED_BYTES = {"BF16": 2, "F8": 1, "F32": 4, "I8": 1, "U8": 1}


@dataclass(frozen=True)
class Parameters:
    """Parameters by component. Fields marked "a layer" are for one layer of the kind that has them.

    ``attention``: projection matrices, their biases and sinks, a layer. ``attention_norms``: the norms inside
    attention (latent or query/key norms), a layer. ``layer_norms``: the two norms around attention and FFN,
    a layer. ``expert``: one routed expert. ``shared``: all shared experts of a layer. ``router``: trained
    router weights (and trained bias), a layer. ``router_bias``: score-correction buffers, a layer.
    ``mtp_unique``: all MTP modules without embedding and head. ``mtp_router_bias``: their buffers.
    """

    model: ModelSpec
    embedding: int
    head: int
    final_norm: int
    attention: int
    attention_norms: int
    layer_norms: int
    dense_ffn: int
    expert: int
    shared: int
    router: int
    router_bias: int
    mtp_unique: int
    mtp_router_bias: int

    @property
    def layer(self) -> int:
        """What every layer has beside its FFN: attention and norms."""
        return self.attention + self.attention_norms + self.layer_norms

    @property
    def _trunk(self) -> int:
        """All of the main model but the routed experts."""
        m = self.model
        ends = self.embedding + self.head + self.final_norm
        ffn = m.dense_layers * self.dense_ffn + m.moe_layers * (self.shared + self.router)
        layers = m.cached_layers * self.layer
        return ends + layers + m.linear_layers * (linear_parameters(m) + self.layer_norms) + ffn

    @property
    def total(self) -> int:
        """Trainable parameters of the main model: no MTP, no router buffers, tied embeddings once."""
        experts = self.model.moe.experts if self.model.moe else 0
        return self._trunk + self.model.moe_layers * experts * self.expert

    @property
    def total_with_mtp(self) -> int:
        return self.total + self.mtp_unique

    @property
    def total_with_copies(self) -> int:
        """As checkpoints store it: each MTP module with its own copy of embedding and head."""
        return self.total_with_mtp + self.model.mtp_layers * (self.embedding + self.head)

    @property
    def active(self) -> int:
        """Parameters that one token meets: ``top_k`` of the routed experts, and all else with both embeddings."""
        top_k = self.model.moe.top_k if self.model.moe else 0
        return self._trunk + self.model.moe_layers * top_k * self.expert

    @property
    def active_without_input_embedding(self) -> int:
        """``active`` less the input table, which is looked up and not multiplied.

        A tied table stays: it is the output head, and multiplied there.
        """
        return self.active - (0 if self.model.tied_embeddings else self.embedding)

    @property
    def mtp_active(self) -> int:
        """Parameters of the MTP modules that one token meets, without the shared embedding and head."""
        moe = self.model.moe
        idle = (moe.experts - moe.top_k) * self.expert if moe else 0
        return self.mtp_unique - self.model.mtp_layers * idle

    @property
    def router_bias_total(self) -> int:
        """Score-correction buffers of the main model's layers."""
        return self.model.moe_layers * self.router_bias


def parameters(model: ModelSpec) -> Parameters:
    """Count every component of ``model``.

    A gated FFN of width I has 3·H·I parameters (gate, up, down); attention matrices are in
    :func:`attention_shapes`. An MTP module is one more transformer layer, a 2H → H projection and three
    norms (of embedding, of hidden state, before the head) [deepseek-v3-report, eq. 21-23].
    """
    h, moe = model.hidden, model.moe
    attention = _elements(attention_shapes(model)) + _attention_extras(model.attention, h)
    norms = _attention_norms(model.attention)
    dense_ffn = _elements(ffn_shapes(h, model.intermediate))
    expert = shared = router = router_bias = 0
    if moe:
        expert = _elements(ffn_shapes(h, moe.intermediate)) + moe.expert_bias * (2 * moe.intermediate + h)
        shared = _elements(ffn_shapes(h, moe.shared_experts * moe.intermediate)) + moe.shared_gate * h
        router = moe.experts * (h + moe.router_bias)
        router_bias = moe.experts * moe.score_bias
    ffn = moe.experts * expert + shared + router if moe else dense_ffn
    mtp_module = attention + norms + 2 * h + ffn + 2 * h * h + 3 * h
    return Parameters(
        model=model,
        embedding=model.vocab * h,
        head=0 if model.tied_embeddings else model.vocab * h,
        final_norm=h,
        attention=attention,
        attention_norms=norms,
        layer_norms=2 * h,
        dense_ffn=dense_ffn if model.dense_layers else 0,
        expert=expert,
        shared=shared,
        router=router,
        router_bias=router_bias,
        mtp_unique=model.mtp_layers * mtp_module,
        mtp_router_bias=model.mtp_layers * router_bias,
    )


def attention_shapes(model: ModelSpec) -> tuple[Shape, ...]:
    """Matrices of one attention layer, (outputs, inputs).

    MLA: q (or q_a, q_b through the query latent), kv_a (latent and shared RoPE key), kv_b, o, and the three of a
    scorer that picks tokens.
    GQA: q (with its gate, where it has one), k, v, o. [deepseek-v2, sec. 2.1.2 and app. C]
    """
    a, h = model.attention, model.hidden
    if a.kind == "gqa":
        q, kv = a.heads * a.head_dim, a.kv_heads * a.head_dim
        return (q * (1 + a.gate), h), (kv, h), (kv, h), (h, q)
    q = a.heads * a.qk_head_dim
    query: tuple[Shape, ...] = ((a.q_lora_rank, h), (q, a.q_lora_rank)) if a.q_lora_rank else ((q, h),)
    latent = (a.kv_lora_rank + a.qk_rope_head_dim, h)
    expand = (a.heads * (a.qk_nope_head_dim + a.v_head_dim), a.kv_lora_rank)
    scorer: tuple[Shape, ...] = ()
    if a.index_top_k:
        scorer = (a.index_heads * a.index_head_dim, a.q_lora_rank or h), (a.index_head_dim, h), (a.index_heads, h)
    return (*query, latent, expand, (h, a.heads * a.v_head_dim), *scorer)


def linear_shapes(model: ModelSpec) -> tuple[Shape, ...]:
    """Matrices of one linear-attention layer: queries, keys, values and output gate; the two gates a head; output.

    [gated-deltanet]
    """
    a, h = model.linear, model.hidden
    if a is None:
        return ()
    values = a.value_heads * a.value_head_dim
    return (a.channels + values, h), (2 * a.value_heads, h), (h, values)


def linear_parameters(model: ModelSpec) -> int:
    """One linear-attention layer: matrices, convolution, decay and bias a head, the norm of a head's output."""
    a = model.linear
    if a is None:
        return 0
    return _elements(linear_shapes(model)) + a.conv * a.channels + 2 * a.value_heads + a.value_head_dim


def ffn_shapes(hidden: int, width: int) -> tuple[Shape, ...]:
    """Gate, up and down of one gated FFN, (outputs, inputs); nothing when ``width`` is 0."""
    return ((width, hidden), (width, hidden), (hidden, width)) if width else ()


def kv_bytes_per_token(model: ModelSpec, dtype: str) -> int:
    """Bytes that one cached token takes in all layers together.

    MLA caches the latent and the shared RoPE key once: (kv_lora_rank + qk_rope_head_dim) elements a layer.
    In FP8 it is FlashMLA's layout: FP8 latent, one FP32 scale per 128 latents, BF16 RoPE key (656 bytes for
    512 + 64). GQA caches 2·kv_heads·head_dim elements. A layer with a sliding window holds no more than
    ``window`` tokens, so for such models this is the rate at short context; linear attention keeps a state of fixed
    size, which is not in it.
    Raises UnsupportedDtype. [deepseek-v2, table 1; flashmla]
    """
    if dtype not in KV_ELEMENT_BYTES:
        raise UnsupportedDtype(f"kv dtype {dtype!r}: not one of {', '.join(KV_ELEMENT_BYTES)}")
    a, size = model.attention, KV_ELEMENT_BYTES[dtype]
    if a.kind == "gqa":
        per_layer = 2 * a.kv_heads * a.head_dim * size
    elif dtype == "fp8":
        per_layer = a.kv_lora_rank + 4 * _blocks(a.kv_lora_rank, FLASHMLA_TILE) + 2 * a.qk_rope_head_dim
    else:
        per_layer = (a.kv_lora_rank + a.qk_rope_head_dim) * size
    return model.cached_layers * per_layer


def checkpoint_elements(model: ModelSpec, dtype: str) -> dict[str, int]:
    """Stored elements by safetensors type, with the copies of embedding and head in each MTP module.

    Router buffers are F32 always; embedding, head, norms, biases, routers and the MTP projection BF16 always.
    The layers' matrices are: ``bf16``: BF16. ``fp8``: F8 and an F32 scale per 128×128 block (the published
    DeepSeek-V3 format). ``int8``: I8 and an F32 scale per output channel. ``w4``: 4-bit and a BF16 scale per
    128 inputs. ``fp4``: MXFP4 with an 8-bit scale per 32 inputs for routed experts only, all else BF16
    (the published gpt-oss format). Raises UnsupportedDtype.
    """
    if dtype not in CHECKPOINT_DTYPES:
        raise UnsupportedDtype(f"checkpoint dtype {dtype!r}: not one of {', '.join(CHECKPOINT_DTYPES)}")
    p = parameters(model)
    stored = {"BF16": p.total_with_copies, "F32": p.router_bias_total + p.mtp_router_bias}
    for (rows, columns), count, routed in _layer_matrices(model):
        if dtype == "bf16" or (dtype == "fp4" and not routed):
            continue
        stored["BF16"] -= count * rows * columns
        for kind, elements in _quantised(rows, columns, dtype).items():
            stored[kind] = stored.get(kind, 0) + count * elements
    return {kind: elements for kind, elements in stored.items() if elements}


def checkpoint_bytes(model: ModelSpec, dtype: str) -> int:
    """Bytes of the weights on disk, see :func:`checkpoint_elements`; file headers are left out."""
    return sum(STORED_BYTES[kind] * elements for kind, elements in checkpoint_elements(model, dtype).items())


def _quantised(rows: int, columns: int, dtype: str) -> dict[str, int]:
    """Stored elements of one quantised matrix and its scales."""
    if dtype == "fp8":
        return {"F8": rows * columns, "F32": _blocks(rows, FP8_BLOCK) * _blocks(columns, FP8_BLOCK)}
    if dtype == "int8":
        return {"I8": rows * columns, "F32": rows}
    if dtype == "w4":
        return {"U8": rows * _blocks(columns, 2), "BF16": rows * _blocks(columns, INT4_GROUP)}
    return {"U8": rows * (_blocks(columns, 2) + _blocks(columns, MXFP4_BLOCK))}


def _layer_matrices(model: ModelSpec) -> Iterator[tuple[Shape, int, bool]]:
    """(shape, how many in the whole checkpoint, routed expert or not): the matrices that quantisation covers."""
    h, moe = model.hidden, model.moe
    for shape in attention_shapes(model):
        yield shape, model.cached_layers + model.mtp_layers, False
    for shape in linear_shapes(model):
        yield shape, model.linear_layers, False
    dense = model.dense_layers + (0 if moe else model.mtp_layers)
    for shape in ffn_shapes(h, model.intermediate if dense else 0):
        yield shape, dense, False
    if moe:
        sparse = model.moe_layers + model.mtp_layers
        for shape in ffn_shapes(h, moe.shared_experts * moe.intermediate):
            yield shape, sparse, False
        for shape in ffn_shapes(h, moe.intermediate):
            yield shape, sparse * moe.experts, True


def _attention_extras(a: Attention, hidden: int) -> int:
    """Biases and sinks. In MLA only the projections down to a latent carry the query/key/value bias."""
    if a.kind == "gqa":
        inputs = (a.heads + 2 * a.kv_heads) * a.head_dim
    else:
        inputs = a.q_lora_rank + a.kv_lora_rank + a.qk_rope_head_dim
    return a.qkv_bias * inputs + a.out_bias * hidden + a.sinks * a.heads


def _attention_norms(a: Attention) -> int:
    """Latent norms (MLA), and query/key norms: one vector a head size, or one over all heads (``full``)."""
    latent = a.q_lora_rank + a.kv_lora_rank if a.kind == "mla" else 0
    latent += 2 * a.index_head_dim if a.index_top_k else 0  # the scorer's keys have a layer norm with its bias
    if a.qk_norm == "none":
        return latent
    if a.qk_norm == "head":
        return latent + 2 * a.qk_head_dim
    return latent + (a.heads + a.kv_heads) * a.qk_head_dim


def _elements(shapes: tuple[Shape, ...]) -> int:
    return sum(rows * columns for rows, columns in shapes)


def _blocks(length: int, block: int) -> int:
    """How many blocks cover ``length``; the last may be partly empty."""
    return -(-length // block)
