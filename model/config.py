"""DeepSeekConfig: every size and switch of one model of the family, read from a config.json or a ModelSpec."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from costsim.errors import BadInput
from costsim.files import read_json

if TYPE_CHECKING:
    from costsim.spec.model import ModelSpec

#: no size of a real model comes near
MAX_SIZE = 1_000_000_000


class ConfigError(BadInput):
    """A configuration that this family cannot express; the message names the field."""


@dataclass(frozen=True)
class Yarn:
    """Context extension by YaRN: frequencies below ``beta_slow`` rotations are stretched by ``factor``.

    ``mscale_all_dim`` raises the softmax temperature, ``mscale`` the size of the rotated vectors [arXiv 2309.00071].
    """

    factor: float
    original_length: int
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    mscale: float = 0.0
    mscale_all_dim: float = 0.0

    def gain(self, mscale: float) -> float:
        """0.1 × mscale × ln(factor) + 1, and 1 where nothing is stretched."""
        return 1.0 if self.factor <= 1 else 0.1 * mscale * math.log(self.factor) + 1.0

    @property
    def rotation_gain(self) -> float:
        """Factor on cosine and sine; 1 for DeepSeek's checkpoints, where both mscales are equal."""
        if self.mscale and self.mscale_all_dim:
            return self.gain(self.mscale) / self.gain(self.mscale_all_dim)
        return self.gain(1.0)

    @property
    def softmax_gain(self) -> float:
        """Factor on 1/√d in the attention scores."""
        return self.gain(self.mscale_all_dim) ** 2 if self.mscale_all_dim else 1.0


@dataclass(frozen=True)
class DeepSeekConfig:
    """Sizes of one model. ``experts`` = 0 means every layer is dense; ``q_rank`` = 0 means no query latent.

    The defaults are a tiny model for tests. ``group_score`` is how a group of experts is ranked: by the sum of its
    two best (V3) or by its best (V2).
    """

    vocab: int = 256
    hidden: int = 64
    layers: int = 3
    dense_layers: int = 1
    intermediate: int = 128
    heads: int = 4
    q_rank: int = 32
    kv_rank: int = 32
    nope_dim: int = 16
    rope_dim: int = 8
    v_dim: int = 16
    experts: int = 8
    top_k: int = 2
    expert_intermediate: int = 32
    shared_experts: int = 1
    groups: int = 4
    top_groups: int = 2
    scoring: Literal["sigmoid", "softmax"] = "sigmoid"
    group_score: Literal["top2", "max"] = "top2"
    score_bias: bool = True
    normalise_weights: bool = True
    routed_scale: float = 2.5
    mtp_layers: int = 0
    rope_theta: float = 10000.0
    yarn: Yarn | None = None
    max_length: int = 4096
    norm_eps: float = 1e-6
    tied: bool = False
    init_std: float = 0.02

    def __post_init__(self) -> None:
        for field in fields(self):
            _of_kind(field.name, getattr(self, field.name), field.default)
        if self.rope_dim % 2:
            raise ConfigError(f"rope_dim {self.rope_dim} must be even: RoPE rotates pairs")
        if not self.experts:
            return
        if self.experts % self.groups:
            raise ConfigError(f"groups {self.groups} must divide experts {self.experts}")
        if self.top_groups > self.groups:
            raise ConfigError(f"top_groups {self.top_groups} exceeds groups {self.groups}")
        if self.top_k > self.experts * self.top_groups // self.groups:
            raise ConfigError(f"top_k {self.top_k} exceeds the experts of {self.top_groups} groups")

    @property
    def qk_dim(self) -> int:
        return self.nope_dim + self.rope_dim

    @property
    def latent_dim(self) -> int:
        """Cached elements per token and layer: the KV latent and the shared rotated key."""
        return self.kv_rank + self.rope_dim

    @property
    def softmax_scale(self) -> float:
        return self.qk_dim**-0.5 * (self.yarn.softmax_gain if self.yarn else 1.0)

    def is_moe(self, layer: int) -> bool:
        return self.experts > 0 and layer >= self.dense_layers

    def with_(self, **changes: Any) -> DeepSeekConfig:
        """A copy with some fields changed."""
        return replace(self, **changes)

    @classmethod
    def from_hf(cls, source: Mapping[str, Any] | str | Path) -> DeepSeekConfig:
        """Read a ``config.json`` (mapping, path, or folder) of model type deepseek_v2, deepseek_v3 or kimi_k2."""
        raw = _mapping(source)
        kind = raw.get("model_type")
        if kind not in ("deepseek_v2", "deepseek_v3", "kimi_k2"):
            raise ConfigError(
                f"model_type {str(kind)[:40]!r} is not of this family; it reads deepseek_v2, deepseek_v3, kimi_k2"
            )
        _refuse_unsupported(raw)
        v3 = kind != "deepseek_v2"
        grouped = v3 or raw.get("topk_method") == "group_limited_greedy"
        experts = raw.get("n_routed_experts") or 0
        theta, yarn = _rope(raw)
        return cls(
            vocab=raw["vocab_size"],
            hidden=raw["hidden_size"],
            layers=raw["num_hidden_layers"],
            dense_layers=raw.get("first_k_dense_replace", 0),
            intermediate=raw["intermediate_size"],
            heads=raw["num_attention_heads"],
            q_rank=raw.get("q_lora_rank") or 0,
            kv_rank=raw["kv_lora_rank"],
            nope_dim=raw["qk_nope_head_dim"],
            rope_dim=raw["qk_rope_head_dim"],
            v_dim=raw["v_head_dim"],
            experts=experts,
            top_k=raw.get("num_experts_per_tok") or 0,
            expert_intermediate=raw.get("moe_intermediate_size") or 0,
            shared_experts=raw.get("n_shared_experts") or 0,
            groups=(raw.get("n_group") or 1) if grouped else 1,
            top_groups=(raw.get("topk_group") or 1) if grouped else 1,
            scoring=raw.get("scoring_func", "sigmoid" if v3 else "softmax"),
            group_score="top2" if v3 else "max",
            score_bias=v3,
            normalise_weights=bool(raw.get("norm_topk_prob", True)) if v3 else False,
            routed_scale=_real(raw.get("routed_scaling_factor", 1.0), "routed_scaling_factor"),
            mtp_layers=(raw.get("num_nextn_predict_layers", raw.get("num_mtp_layers")) or 0) if v3 else 0,
            rope_theta=theta,
            yarn=yarn,
            max_length=raw.get("max_position_embeddings", 4096),
            norm_eps=raw.get("rms_norm_eps", 1e-6),
            tied=bool(raw.get("tie_word_embeddings", False)),
            init_std=raw.get("initializer_range", 0.02),
        )

    @classmethod
    def from_spec(cls, spec: ModelSpec, **changes: Any) -> DeepSeekConfig:
        """Sizes from a catalog ModelSpec; what it does not hold (scales, RoPE) takes V3's or V2's published values."""
        a, moe = spec.attention, spec.moe
        if a.kind != "mla":
            raise ConfigError(f"{spec.id}: attention kind {a.kind!r}; this family's is mla")
        v3 = moe is None or moe.scoring == "sigmoid"
        config = cls(
            vocab=spec.vocab,
            hidden=spec.hidden,
            layers=spec.layers,
            dense_layers=spec.dense_layers,
            intermediate=spec.intermediate,
            heads=a.heads,
            q_rank=a.q_lora_rank,
            kv_rank=a.kv_lora_rank,
            nope_dim=a.qk_nope_head_dim,
            rope_dim=a.qk_rope_head_dim,
            v_dim=a.v_head_dim,
            experts=moe.experts if moe else 0,
            top_k=moe.top_k if moe else 0,
            expert_intermediate=moe.intermediate if moe else 0,
            shared_experts=moe.shared_experts if moe else 0,
            groups=moe.groups if moe else 1,
            top_groups=moe.top_groups if moe else 1,
            scoring="sigmoid" if v3 else "softmax",
            group_score="top2" if v3 else "max",
            score_bias=bool(moe and moe.score_bias),
            normalise_weights=v3,
            routed_scale=2.5 if v3 else 16.0 if moe and moe.groups > 1 else 1.0,
            mtp_layers=spec.mtp_layers,
            yarn=Yarn(40.0, 4096, mscale=1.0 if v3 else 0.707, mscale_all_dim=1.0 if v3 else 0.707),
            max_length=163840,
            tied=spec.tied_embeddings,
        )
        return replace(config, **changes)

    def to_hf(self) -> dict[str, Any]:
        """The ``config.json`` of this model, in the keys that DeepSeek publishes."""
        v3 = self.group_score == "top2"
        raw = {
            "architectures": ["DeepseekV3ForCausalLM" if v3 else "DeepseekV2ForCausalLM"],
            "model_type": "deepseek_v3" if v3 else "deepseek_v2",
            "vocab_size": self.vocab,
            "hidden_size": self.hidden,
            "num_hidden_layers": self.layers,
            "first_k_dense_replace": self.dense_layers if self.experts else self.layers,
            "intermediate_size": self.intermediate,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.heads,
            "q_lora_rank": self.q_rank or None,
            "kv_lora_rank": self.kv_rank,
            "qk_nope_head_dim": self.nope_dim,
            "qk_rope_head_dim": self.rope_dim,
            "v_head_dim": self.v_dim,
            "n_routed_experts": self.experts or None,
            "num_experts_per_tok": self.top_k,
            "moe_intermediate_size": self.expert_intermediate,
            "n_shared_experts": self.shared_experts,
            "n_group": self.groups,
            "topk_group": self.top_groups,
            "topk_method": "noaux_tc" if v3 else "group_limited_greedy" if self.groups > 1 else "greedy",
            "scoring_func": self.scoring,
            "norm_topk_prob": self.normalise_weights,
            "routed_scaling_factor": self.routed_scale,
            "num_nextn_predict_layers": self.mtp_layers,
            "hidden_act": "silu",
            "attention_bias": False,
            "rope_theta": self.rope_theta,
            "max_position_embeddings": self.max_length,
            "rms_norm_eps": self.norm_eps,
            "tie_word_embeddings": self.tied,
            "initializer_range": self.init_std,
        }
        if self.yarn:
            raw["rope_scaling"] = {
                "type": "yarn",
                "factor": self.yarn.factor,
                "original_max_position_embeddings": self.yarn.original_length,
                "beta_fast": self.yarn.beta_fast,
                "beta_slow": self.yarn.beta_slow,
                "mscale": self.yarn.mscale,
                "mscale_all_dim": self.yarn.mscale_all_dim,
            }
        return {name: value for name, value in raw.items() if value is not None or name == "q_lora_rank"}


def _of_kind(name: str, value: Any, default: Any) -> None:
    """Refuse what is not of the kind of the default: sizes are whole and not negative, numbers finite."""
    if isinstance(default, bool):
        good = isinstance(value, bool)
    elif isinstance(default, int):
        good = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_SIZE
    elif isinstance(default, float):
        good = isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < MAX_SIZE**2
    else:
        good = default is None or isinstance(value, str)
    if not good:
        raise ConfigError(f"{name} = {repr(value)[:40]} is not a size of a model")


def _real(value: Any, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not -MAX_SIZE < value < MAX_SIZE:
        raise ConfigError(f"{name} = {repr(value)[:40]} must be a number")
    return float(value)


def _mapping(source: Mapping[str, Any] | str | Path) -> Mapping[str, Any]:
    if isinstance(source, Mapping):
        return source
    path = Path(source)
    path = path / "config.json" if path.is_dir() else path
    try:
        raw = read_json(path, "config")
    except BadInput as error:
        hint = "" if path.is_file() else "; a checkpoint folder holds config.json"
        raise ConfigError(f"{error}{hint}") from None
    if not isinstance(raw, dict):
        raise ConfigError(f"{path}: a JSON object is needed")
    return raw


def _refuse_unsupported(raw: Mapping[str, Any]) -> None:
    needed = ("vocab_size", "hidden_size", "num_hidden_layers", "intermediate_size", "num_attention_heads")
    needed += ("kv_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim")
    for name in needed:
        if raw.get(name) is None:
            raise ConfigError(f"config.json lacks {name}")
    allowed: dict[str, tuple[Any, ...]] = {
        "hidden_act": ("silu",),
        "attention_bias": (False, None),
        "mlp_bias": (False, None),
        "rope_interleave": (True, None),
        "moe_layer_freq": (1, None),
        "index_topk": (None,),
    }
    for name, values in allowed.items():
        if not any(raw.get(name, values[0]) is value or raw.get(name, values[0]) == value for value in values):
            raise ConfigError(f"{name} = {repr(raw[name])[:40]} is not supported; it must be {values[0]!r}")


def _rope(raw: Mapping[str, Any]) -> tuple[float, Yarn | None]:
    """RoPE's base and YaRN: ``rope_parameters`` (transformers 5), or ``rope_theta`` and ``rope_scaling`` (before)."""
    tables = [raw.get(name) or {} for name in ("rope_scaling", "rope_parameters")]
    if not all(isinstance(table, Mapping) for table in tables):
        raise ConfigError("rope_scaling and rope_parameters must be objects")
    rope = {**tables[0], **tables[1]}
    theta = _real(rope.get("rope_theta", raw.get("rope_theta", 10000.0)), "rope_theta")
    kind = rope.get("rope_type", rope.get("type", "default"))
    if kind == "default":
        return theta, None
    if kind != "yarn":
        raise ConfigError(f"rope type {str(kind)[:40]!r} is not supported; DeepSeek's models use default or yarn")
    for name in ("factor", "original_max_position_embeddings"):
        if rope.get(name) is None:
            raise ConfigError(f"rope of type yarn lacks {name}")
    names = ("beta_fast", "beta_slow", "mscale", "mscale_all_dim")
    optional = {name: _real(rope[name], name) for name in names if rope.get(name)}
    factor, length = (_real(rope[name], name) for name in ("factor", "original_max_position_embeddings"))
    return theta, Yarn(factor, int(length), **optional)
