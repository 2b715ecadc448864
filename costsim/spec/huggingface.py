"""Hugging Face ``config.json`` → ModelSpec. The file is read as data: no code that it names is fetched or run.

Every refusal is one line that names the file and the key. What the file says but ModelSpec cannot express
(linear attention, sparse layers in an odd pattern, FFN biases) is refused and not rounded to something near.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from costsim.errors import BadInput, Malformed
from costsim.files import read_json
from costsim.spec.base import build
from costsim.spec.model import MAX_COUNT, MAX_LAYERS, ModelSpec

#: quantization_config.quant_method → the weights' format (4-bit and 8-bit integer methods also give ``bits``)
_FLOAT_METHODS = {"fp8": "fp8", "fbgemm_fp8": "fp8", "mxfp4": "fp4"}
_INTEGER_METHODS = ("awq", "gptq")
_INTEGER_FORMATS = {4: "w4", 8: "int8"}

Table = dict[str, Any]
_REQUIRED = object()


@dataclass(frozen=True)
class _Config:
    """The top-level object of a config.json, read key by key with the type that is due."""

    data: Table
    where: str

    def fail(self, key: str, problem: str) -> BadInput:
        return Malformed(f"{self.where}: {key}: {problem}")

    def _value(self, key: str, default: Any) -> Any:
        """The value; ``default`` where it is absent or null, as Hugging Face reads it."""
        value = self.data.get(key)
        if value is not None:
            return value
        if default is _REQUIRED:
            raise self.fail(key, "missing; it is needed to size the model")
        return default

    def count(self, key: str, default: Any = _REQUIRED, least: int = 1, most: int = MAX_COUNT) -> int:
        """A whole number of at least ``least``; true and 4096.0 are not numbers of layers."""
        value = self._value(key, default)
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.fail(key, f"expected a whole number, not {str(value)[:40]!r}")
        if not least <= value <= most:
            raise self.fail(key, f"{str(value)[:40]} is outside {least} to {most}")
        return value

    def flag(self, key: str, default: bool = False) -> bool:
        value = self._value(key, default)
        if not isinstance(value, bool):
            raise self.fail(key, f"expected true or false, not {str(value)[:40]!r}")
        return value

    def text(self, key: str, default: Any = _REQUIRED) -> str:
        value = self._value(key, default)
        if not isinstance(value, str):
            raise self.fail(key, f"expected a string, not {str(value)[:40]!r}")
        return value

    def entries(self, key: str) -> list[Any]:
        value = self._value(key, [])
        if not isinstance(value, list):
            raise self.fail(key, f"expected a list, not {str(value)[:40]!r}")
        return value

    def only(self, key: str, allowed: Any) -> None:
        """Refuse a value that changes the cost in a way ModelSpec cannot express."""
        if self._value(key, allowed) != allowed:
            raise self.fail(key, f"{str(self.data[key])[:40]!r} is not supported; only {allowed!r} is")


def read_config(path: Path) -> ModelSpec:
    """The model that a Hugging Face ``config.json`` describes; raises BadInput with file and key."""
    where = f"config {path}"
    config = _Config(_read_object(path, where), where)
    family = config.text("model_type")
    if family not in _FAMILIES:
        raise config.fail("model_type", f"{family[:40]!r} is not supported; supported: {', '.join(sorted(_FAMILIES))}")
    origin = config.text("_name_or_path", "").rstrip("/").rsplit("/", 1)[-1]
    name = _printable(origin or path.resolve().parent.name) or family
    common: Table = {
        "id": _slug(name) or _slug(family),
        "name": name,
        "hidden": config.count("hidden_size"),
        "layers": config.count("num_hidden_layers", most=MAX_LAYERS),
        "vocab": config.count("vocab_size"),
        "tied_embeddings": config.flag("tie_word_embeddings"),
        "native_dtype": _native_dtype(config),
        "source": "Hugging Face config.json",
        "notes": f"Read from a config.json of model_type {family}.",
    }
    return build(ModelSpec, common | _FAMILIES[family](config), where)


def _read_object(path: Path, where: str) -> Table:
    """The JSON object in the file; NaN and infinity refused with their key."""
    data = read_json(path, "config")
    if not isinstance(data, dict):
        raise Malformed(f"{where}: expected a JSON object with model_type, not {type(data).__name__}")
    _refuse_non_finite(data, where)
    return data


def _refuse_non_finite(data: Table, where: str) -> None:
    """Walk with an explicit stack: what json could still nest must not exhaust ours."""
    stack: list[tuple[str, Any]] = list(data.items())
    while stack:
        key, value = stack.pop()
        if isinstance(value, float) and not math.isfinite(value):
            raise Malformed(f"{where}: {_printable(key)}: {value} is not a finite number")
        if isinstance(value, dict):
            stack += [(f"{key}.{inner}"[:80], item) for inner, item in value.items()]
        elif isinstance(value, list):
            stack += [(key, item) for item in value]


def _printable(text: str) -> str:
    """Without control characters and lone surrogates, which a file may hold and a terminal should not get."""
    return "".join(letter for letter in text if letter.isprintable())[:80]


def _slug(name: str) -> str:
    """``Qwen2.5-7B Instruct`` → ``qwen2.5-7b-instruct``."""
    return re.sub(r"[^a-z0-9.]+", "-", name.lower())[:80].strip("-.")


def _native_dtype(config: _Config) -> str:
    """Format of the published weights: BF16 unless ``quantization_config`` names another."""
    quantisation = config.data.get("quantization_config")
    if quantisation is None:
        return "bf16"
    if not isinstance(quantisation, dict):
        raise config.fail("quantization_config", "expected an object")
    method, bits = quantisation.get("quant_method"), quantisation.get("bits")
    if isinstance(method, str) and method in _FLOAT_METHODS:
        return _FLOAT_METHODS[method]
    if isinstance(method, str) and method in _INTEGER_METHODS and isinstance(bits, int) and bits in _INTEGER_FORMATS:
        return _INTEGER_FORMATS[bits]
    known = ", ".join((*_FLOAT_METHODS, *(f"{name} of 4 or 8 bits" for name in _INTEGER_METHODS)))
    shown = f"{str(method)[:40]!r} of {str(bits)[:8]} bits" if bits is not None else repr(str(method)[:40])
    raise config.fail("quantization_config.quant_method", f"{shown} is not supported; supported: {known}")


def _gqa(config: _Config, kv_heads: Any = _REQUIRED, head_dim: int | None = None, **extra: Any) -> Table:
    """Grouped-query attention. Without ``head_dim`` in the file: the family's, else hidden_size / heads."""
    hidden, heads = config.count("hidden_size"), config.count("num_attention_heads")
    if head_dim is None and config.data.get("head_dim") is None:
        if hidden % heads:
            raise config.fail("num_attention_heads", f"{heads} does not divide hidden_size {hidden}; give head_dim")
        head_dim = hidden // heads
    groups = config.count("num_key_value_heads", heads if kv_heads is None else kv_heads)
    if heads % groups:
        raise config.fail("num_key_value_heads", f"{groups} does not divide num_attention_heads {heads}")
    return {"kind": "gqa", "heads": heads, "kv_heads": groups, "head_dim": config.count("head_dim", head_dim)} | extra


def _mla(config: _Config) -> Table:
    heads, bias = config.count("num_attention_heads"), config.flag("attention_bias")
    sizes = ("kv_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim")
    return {
        "kind": "mla",
        "heads": heads,
        "kv_heads": config.count("num_key_value_heads", heads),
        # null means no query latent (DeepSeek-V2-Lite)
        "q_lora_rank": config.count("q_lora_rank", 0, least=0),
        "qkv_bias": bias,
        "out_bias": bias,
    } | {name: config.count(name) for name in sizes}


def _window(config: _Config) -> Table:
    """Sliding window: from ``layer_types`` where listed, else from the older use_sliding_window switch.

    ModelSpec holds windows on every n-th layer; any other pattern is refused.
    """
    width = config.count("sliding_window", 0, least=0)
    kinds = config.entries("layer_types")
    layers = config.count("num_hidden_layers", most=MAX_LAYERS)
    if kinds:
        unknown = [kind for kind in kinds if kind not in ("sliding_attention", "full_attention")]
        if unknown:
            raise config.fail("layer_types", f"{str(unknown[0])[:40]!r} is not supported")
        if len(kinds) != layers:
            raise config.fail("layer_types", f"{len(kinds)} entries for {layers} layers")
        sliding = [kind == "sliding_attention" for kind in kinds]
    else:
        on = bool(width) and config.flag("use_sliding_window", config.data.get("model_type") == "mixtral")
        first = config.count("max_window_layers", 0, least=0)
        sliding = [on and layer >= first for layer in range(layers)]
    if not any(sliding):
        return {}
    if not width:
        raise config.fail("sliding_window", "missing, though layer_types names sliding layers")
    every = layers if sum(sliding) == 1 else sliding.index(True, sliding.index(True) + 1) - sliding.index(True)
    if [layer % every == sliding.index(True) % every for layer in range(layers)] != sliding:
        raise config.fail("layer_types", "sliding windows on other than every n-th layer are not supported")
    return {"window": width, "window_every": every}


def _deepseek(config: _Config) -> Table:
    """DeepSeek-V2/V3 and Kimi-K2. V2 routes by softmax; V3 by sigmoid with a score-correction bias."""
    config.only("moe_layer_freq", 1)
    config.only("mlp_bias", False)
    v2 = config.text("model_type") == "deepseek_v2"
    body: Table = {"attention": _mla(config), "intermediate": config.count("intermediate_size")}
    body["mtp_layers"] = config.count("num_nextn_predict_layers", 0, least=0)
    if config.data.get("n_routed_experts") is None:
        return body
    method = config.text("topk_method", "greedy" if v2 else "noaux_tc")
    grouped = method != "greedy"
    body["moe"] = {
        "experts": config.count("n_routed_experts"),
        "top_k": config.count("num_experts_per_tok"),
        "intermediate": config.count("moe_intermediate_size"),
        "shared_experts": config.count("n_shared_experts", 0, least=0),
        "first_dense": config.count("first_k_dense_replace", 0, least=0),
        "groups": config.count("n_group", 1) if grouped else 1,
        "top_groups": config.count("topk_group", 1) if grouped else 1,
        "scoring": config.text("scoring_func", "softmax" if v2 else "sigmoid"),
        "score_bias": method == "noaux_tc",
    }
    return body


def _qwen2(config: _Config) -> Table:
    attention = _gqa(config, qkv_bias=True, **_window(config))
    return {"intermediate": config.count("intermediate_size"), "attention": attention}


def _qwen3(config: _Config) -> Table:
    bias = config.flag("attention_bias")
    attention = _gqa(config, head_dim=128, qkv_bias=bias, out_bias=bias, qk_norm="head", **_window(config))
    return {"intermediate": config.count("intermediate_size"), "attention": attention}


def _qwen3_moe(config: _Config) -> Table:
    config.only("decoder_sparse_step", 1)
    dense = config.entries("mlp_only_layers")
    if dense != list(range(len(dense))):
        raise config.fail("mlp_only_layers", "dense layers other than the first ones are not supported")
    bias = config.flag("attention_bias")
    # the published files say num_experts, files that transformers 5 writes num_local_experts
    experts = "num_local_experts" if "num_local_experts" in config.data else "num_experts"
    return {
        "intermediate": config.count("intermediate_size") if dense else 0,
        "attention": _gqa(config, qkv_bias=bias, out_bias=bias, qk_norm="head", **_window(config)),
        "moe": _experts(config, experts, "moe_intermediate_size") | {"first_dense": len(dense)},
    }


def _llama(config: _Config) -> Table:
    config.only("mlp_bias", False)
    bias = config.flag("attention_bias")
    attention = _gqa(config, kv_heads=None, qkv_bias=bias, out_bias=bias)
    return {"intermediate": config.count("intermediate_size"), "attention": attention}


def _mixtral(config: _Config) -> Table:
    moe = _experts(config, "num_local_experts", "intermediate_size")
    return {"attention": _gqa(config, **_window(config)), "moe": moe}


def _gpt_oss(config: _Config) -> Table:
    bias = config.flag("attention_bias", True)
    extra = {"qkv_bias": bias, "out_bias": bias, "sinks": True}
    if not config.data.get("layer_types"):
        # the family's default: every other layer, beginning with the first
        window: Table = {"window": config.count("sliding_window", 128), "window_every": 2}
    else:
        window = _window(config)
    moe = _experts(config, "num_local_experts", "intermediate_size")
    return {"attention": _gqa(config, **extra, **window), "moe": moe | {"router_bias": True, "expert_bias": True}}


def _minimax_m2(config: _Config) -> Table:
    """MiniMax-M2. The MTP modules that the file names are left out: their make-up is not published."""
    config.only("shared_intermediate_size", 0)
    if any(kind != 1 for kind in config.entries("attn_type_list")):
        raise config.fail("attn_type_list", "linear attention is not supported; only 1 (softmax) is")
    if config.flag("use_qk_norm", True):
        config.only("qk_norm_type", "per_layer")
        norm = "full"
    else:
        norm = "none"
    moe = _experts(config, "num_local_experts", "intermediate_size")
    routing = {"scoring": config.text("scoring_func", "sigmoid"), "score_bias": config.flag("use_routing_bias", True)}
    return {"attention": _gqa(config, qk_norm=norm), "moe": moe | routing}


def _experts(config: _Config, experts: str, width: str) -> Table:
    return {
        "experts": config.count(experts),
        "top_k": config.count("num_experts_per_tok"),
        "intermediate": config.count(width),
    }


_FAMILIES: dict[str, Callable[[_Config], Table]] = {
    "deepseek_v2": _deepseek,
    "deepseek_v3": _deepseek,
    "kimi_k2": _deepseek,
    "qwen2": _qwen2,
    "qwen3": _qwen3,
    "qwen3_moe": _qwen3_moe,
    "llama": _llama,
    "mixtral": _mixtral,
    "gpt_oss": _gpt_oss,
    "minimax_m2": _minimax_m2,
}
