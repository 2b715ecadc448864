"""ModelSpec: the sizes of a transformer that decide its cost. No weights, no framework."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from costsim.spec.base import Frozen

#: no size of a real model comes near; larger ones would only overflow later
MAX_COUNT = 1_000_000_000
MAX_LAYERS = 10_000


class Attention(Frozen):
    """``mla`` (latent KV of ``kv_lora_rank`` + ``qk_rope_head_dim`` per token) or ``gqa`` (MHA when kv_heads = heads).

    ``window`` > 0 limits every ``window_every``-th layer to a sliding window of that many tokens. ``gate``: queries are
    projected together with a gate of their width that multiplies the output. ``index_top_k`` > 0: a scorer of
    ``index_heads`` × ``index_head_dim`` picks the tokens that each query attends.
    """

    kind: Literal["mla", "gqa"]
    heads: int = Field(ge=1, le=MAX_COUNT)
    kv_heads: int = Field(default=1, ge=1, le=MAX_COUNT)
    head_dim: int = Field(default=0, ge=0, le=MAX_COUNT)
    q_lora_rank: int = Field(default=0, ge=0, le=MAX_COUNT)
    kv_lora_rank: int = Field(default=0, ge=0, le=MAX_COUNT)
    qk_nope_head_dim: int = Field(default=0, ge=0, le=MAX_COUNT)
    qk_rope_head_dim: int = Field(default=0, ge=0, le=MAX_COUNT)
    v_head_dim: int = Field(default=0, ge=0, le=MAX_COUNT)
    qkv_bias: bool = False
    out_bias: bool = False
    qk_norm: Literal["none", "head", "full"] = "none"
    sinks: bool = False
    gate: bool = False
    index_heads: int = Field(default=0, ge=0, le=MAX_COUNT)
    index_head_dim: int = Field(default=0, ge=0, le=MAX_COUNT)
    index_top_k: int = Field(default=0, ge=0, le=MAX_COUNT)
    window: int = Field(default=0, ge=0, le=MAX_COUNT)
    window_every: int = Field(default=1, ge=1, le=MAX_COUNT)

    @model_validator(mode="after")
    def _complete(self) -> Attention:
        needed = (
            ("head_dim",)
            if self.kind == "gqa"
            else ("kv_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim")
        )
        for name in needed:
            if getattr(self, name) <= 0:
                raise ValueError(f"attention of kind {self.kind} needs {name} > 0")
        if self.index_top_k and (self.kind != "mla" or not self.index_heads or not self.index_head_dim):
            raise ValueError("index_top_k needs attention of kind mla, index_heads and index_head_dim")
        if self.kind == "gqa" and self.heads % self.kv_heads:
            raise ValueError(f"kv_heads {self.kv_heads} must divide heads {self.heads}")
        return self

    @property
    def qk_head_dim(self) -> int:
        return self.head_dim if self.kind == "gqa" else self.qk_nope_head_dim + self.qk_rope_head_dim

    @property
    def value_head_dim(self) -> int:
        return self.head_dim if self.kind == "gqa" else self.v_head_dim


class LinearAttention(Frozen):
    """Gated delta-rule layers in the place of attention: every ``full_every``-th layer keeps attention.

    Each of ``value_heads`` holds a state of ``key_head_dim`` × ``value_head_dim`` that no context lengthens; queries
    and keys have ``key_heads``; a causal convolution over ``conv`` tokens comes before. [gated-deltanet]
    """

    key_heads: int = Field(ge=1)
    value_heads: int = Field(ge=1)
    key_head_dim: int = Field(ge=1)
    value_head_dim: int = Field(ge=1)
    conv: int = Field(default=4, ge=1)
    full_every: int = Field(default=4, ge=2)

    @property
    def channels(self) -> int:
        """Width of queries, keys and values together: what the convolution runs over."""
        return 2 * self.key_heads * self.key_head_dim + self.value_heads * self.value_head_dim


class MoE(Frozen):
    """Routed experts of every layer after the first ``first_dense``; groups > 1 limit a token to ``top_groups``."""

    experts: int = Field(ge=1, le=MAX_COUNT)
    top_k: int = Field(ge=1, le=MAX_COUNT)
    intermediate: int = Field(ge=1, le=MAX_COUNT)
    shared_experts: int = Field(default=0, ge=0, le=MAX_COUNT)
    first_dense: int = Field(default=0, ge=0, le=MAX_COUNT)
    groups: int = Field(default=1, ge=1, le=MAX_COUNT)
    top_groups: int = Field(default=1, ge=1, le=MAX_COUNT)
    scoring: Literal["sigmoid", "softmax"] = "softmax"
    score_bias: bool = False
    router_bias: bool = False
    shared_gate: bool = False
    expert_bias: bool = False

    @model_validator(mode="after")
    def _consistent(self) -> MoE:
        if self.top_k > self.experts:
            raise ValueError(f"top_k {self.top_k} exceeds experts {self.experts}")
        if self.experts % self.groups or self.top_groups > self.groups:
            raise ValueError(
                f"groups {self.groups} must divide experts {self.experts} and be at least top_groups {self.top_groups}"
            )
        return self


class ModelSpec(Frozen):
    """A decoder-only transformer. ``intermediate`` is the dense FFN's width (gated: three matrices).

    ``fp4_parts``: what its published NVFP4 checkpoint quantises beside routed experts; the rest stays in BF16.
    """

    id: str
    name: str
    hidden: int = Field(ge=1, le=MAX_COUNT)
    layers: int = Field(ge=1, le=MAX_LAYERS)
    vocab: int = Field(ge=1, le=MAX_COUNT)
    intermediate: int = Field(default=0, ge=0, le=MAX_COUNT)
    attention: Attention
    moe: MoE | None = None
    linear: LinearAttention | None = None
    mtp_layers: int = Field(default=0, ge=0, le=8)
    tied_embeddings: bool = False
    native_dtype: str = "bf16"
    fp4_parts: tuple[Literal["ffn", "output"], ...] = ("ffn",)
    source: str = ""
    notes: str = ""

    @model_validator(mode="after")
    def _layers(self) -> ModelSpec:
        if self.moe is None and self.intermediate <= 0:
            raise ValueError("a dense model needs intermediate > 0")
        if self.moe and self.moe.first_dense > self.layers:
            raise ValueError(f"first_dense {self.moe.first_dense} exceeds layers {self.layers}")
        if self.moe and self.moe.first_dense and self.intermediate <= 0:
            raise ValueError("first dense layers need intermediate > 0")
        return self

    @property
    def linear_layers(self) -> int:
        """Layers with linear attention."""
        return 0 if self.linear is None else self.layers - self.layers // self.linear.full_every

    @property
    def cached_layers(self) -> int:
        """Layers that keep keys and values of every token."""
        return self.layers - self.linear_layers

    @property
    def dense_layers(self) -> int:
        return self.layers if self.moe is None else self.moe.first_dense

    @property
    def moe_layers(self) -> int:
        return 0 if self.moe is None else self.layers - self.moe.first_dense
