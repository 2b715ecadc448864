"""Reading Hugging Face config.json: the families, their counts by transformers, and files that are wrong."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest

from costsim.errors import BadInput
from costsim.physics.parameters import parameters
from costsim.spec.base import MAX_SPEC_BYTES
from costsim.spec.catalog import load_model
from costsim.spec.huggingface import read_config

GQA = {
    "hidden_size": 64,
    "num_hidden_layers": 4,
    "vocab_size": 96,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 160,
}
MLA = GQA | {
    "num_key_value_heads": 4,
    "q_lora_rank": 24,
    "kv_lora_rank": 32,
    "qk_nope_head_dim": 16,
    "qk_rope_head_dim": 8,
    "v_head_dim": 16,
    "n_routed_experts": 8,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 48,
    "n_shared_experts": 2,
    "first_k_dense_replace": 1,
    "n_group": 2,
    "topk_group": 1,
}
SPARSE = {"num_local_experts": 8, "num_experts_per_tok": 2}
#: case → model_type and the keys of a small config of that family
SMALL: dict[str, tuple[str, dict[str, Any]]] = {
    "deepseek_v3": ("deepseek_v3", MLA),
    "deepseek_v3 biased": ("deepseek_v3", MLA | {"attention_bias": True}),
    "deepseek_v3 one group": ("deepseek_v3", MLA | {"n_group": 1, "topk_group": 1}),
    "deepseek_v2": ("deepseek_v2", MLA | {"topk_method": "group_limited_greedy"}),
    "deepseek_v2 lite": ("deepseek_v2", MLA | {"q_lora_rank": None, "n_group": 1}),
    "qwen2": ("qwen2", GQA),
    "qwen2 tied": ("qwen2", GQA | {"tie_word_embeddings": True}),
    "qwen3": ("qwen3", GQA | {"head_dim": 24}),
    "qwen3 default head": ("qwen3", GQA),
    "qwen3 biased": ("qwen3", GQA | {"attention_bias": True, "head_dim": 16}),
    "qwen3_moe": ("qwen3_moe", GQA | {"num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 48}),
    "qwen3_moe dense first": (
        "qwen3_moe",
        GQA | {"num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 48, "mlp_only_layers": [0, 1]},
    ),
    "llama": ("llama", GQA),
    "llama multi-head": ("llama", {k: v for k, v in GQA.items() if k != "num_key_value_heads"}),
    "llama biased": ("llama", GQA | {"attention_bias": True}),
    "mixtral": ("mixtral", GQA | SPARSE),
    "gpt_oss": ("gpt_oss", GQA | SPARSE | {"head_dim": 16}),
    "minimax_m2": ("minimax_m2", GQA | SPARSE | {"head_dim": 16}),
}


def write(folder: Path, data: object) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / "config.json"
    path.write_text(data if isinstance(data, str) else json.dumps(data), encoding="utf-8")
    return path


@pytest.mark.parametrize("case", SMALL)
@pytest.mark.parametrize("written_by", ["us", "transformers"])
def test_counts_equal_transformers(case: str, written_by: str, tmp_path: Path) -> None:
    """The same small config, read by us and built by transformers' model code on the meta device."""
    torch = pytest.importorskip("torch", reason="the outside count needs torch, which the light install leaves out")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        transformers = pytest.importorskip("transformers", reason="the outside count is made by its model code")
        family, keys = SMALL[case]
        config = transformers.AutoConfig.for_model(family, **keys)
        with torch.device("meta"):
            module = transformers.AutoModelForCausalLM.from_config(config)
        if written_by == "transformers":
            config.save_pretrained(tmp_path / "saved")
            path = tmp_path / "saved" / "config.json"
        else:
            path = write(tmp_path / "saved", {"model_type": family} | keys)
    counted = sum(tensor.numel() for tensor in module.parameters())
    assert parameters(read_config(path)).total == counted


def test_kimi_is_read_as_deepseek_v3(tmp_path: Path) -> None:
    kimi, deepseek = (
        read_config(write(tmp_path / name, {"model_type": name} | MLA)) for name in ("kimi_k2", "deepseek_v3")
    )
    differs = {"id", "name", "notes"}
    assert kimi.model_dump(exclude=differs) == deepseek.model_dump(exclude=differs)


#: catalog id → the file of the published config that aiconfigurator-core ships
SHIPPED = {
    "deepseek-v3": "deepseek-ai--DeepSeek-V3",
    "deepseek-r1": "deepseek-ai--DeepSeek-R1",
    "kimi-k2": "moonshotai--Kimi-K2-Instruct",
    "minimax-m2.5": "MiniMaxAI--MiniMax-M2.5",
    "gpt-oss-120b": "openai--gpt-oss-120b",
    "qwen3-235b-a22b": "Qwen--Qwen3-235B-A22B",
    "qwen3-30b-a3b": "Qwen--Qwen3-30B-A3B",
    "qwen3-32b": "Qwen--Qwen3-32B",
    "llama-3.1-8b": "meta-llama--Meta-Llama-3.1-8B",
    "llama-3.1-70b": "meta-llama--Meta-Llama-3.1-70B",
    "llama-3.1-405b": "meta-llama--Meta-Llama-3.1-405B",
}


@pytest.mark.parametrize("name", SHIPPED)
def test_catalog_equals_the_published_config(name: str) -> None:
    core = pytest.importorskip("aiconfigurator_core", reason="its folder holds copies of the published configs")
    path = Path(core.__path__[0]) / "model_configs" / f"{SHIPPED[name]}_config.json"
    if not path.is_file():
        pytest.skip(f"this aiconfigurator-core does not ship {path.name}")
    # what a four-bit checkpoint of the model quantises stands in that checkpoint, not in this configuration
    differs = {"id", "name", "source", "notes", "fp4_parts"}
    assert read_config(path).model_dump(exclude=differs) == load_model(name).model_dump(exclude=differs)


# What the file says beside sizes


def test_name_and_id(tmp_path: Path) -> None:
    data = {"model_type": "llama"} | GQA
    from_folder = read_config(write(tmp_path / "My Llama_8B", data))
    assert (from_folder.id, from_folder.name) == ("my-llama-8b", "My Llama_8B")
    named = read_config(write(tmp_path / "x", data | {"_name_or_path": "Org/Llama-3.1-8B/"}))
    assert (named.id, named.name) == ("llama-3.1-8b", "Llama-3.1-8B")
    nameless = read_config(write(tmp_path / "___", data | {"_name_or_path": "org/\x1b\ud800"}))
    assert (nameless.id, nameless.name) == ("llama", "llama")


def test_catalog_loads_a_folder(tmp_path: Path) -> None:
    write(tmp_path, {"model_type": "llama"} | GQA)
    assert load_model(str(tmp_path)).hidden == 64


@pytest.mark.parametrize(
    ("quantisation", "dtype"),
    [
        (None, "bf16"),
        ({"quant_method": "fp8", "weight_block_size": [128, 128]}, "fp8"),
        ({"quant_method": "fbgemm_fp8"}, "fp8"),
        ({"quant_method": "mxfp4"}, "fp4"),
        ({"quant_method": "awq", "bits": 4}, "w4"),
        ({"quant_method": "gptq", "bits": 8}, "int8"),
    ],
)
def test_native_dtype(quantisation: object, dtype: str, tmp_path: Path) -> None:
    data = {"model_type": "llama", "quantization_config": quantisation} | GQA
    assert read_config(write(tmp_path, data)).native_dtype == dtype


def sliding(*layers: int) -> list[str]:
    return ["sliding_attention" if layer in layers else "full_attention" for layer in range(4)]


@pytest.mark.parametrize(
    ("keys", "window", "every"),
    [
        ({"layer_types": sliding(0, 2)}, 128, 2),
        ({"layer_types": sliding(0, 1, 2, 3)}, 128, 1),
        ({"layer_types": sliding()}, 0, 1),
        ({"use_sliding_window": True, "max_window_layers": 0}, 128, 1),
        ({"use_sliding_window": True, "max_window_layers": 28}, 0, 1),
        ({"use_sliding_window": False}, 0, 1),
    ],
)
def test_sliding_windows(keys: dict[str, Any], window: int, every: int, tmp_path: Path) -> None:
    attention = read_config(write(tmp_path, {"model_type": "qwen2", "sliding_window": 128} | GQA | keys)).attention
    assert (attention.window, attention.window_every) == (window, every)


def test_gpt_oss_slides_every_other_layer_by_default(tmp_path: Path) -> None:
    attention = read_config(write(tmp_path, {"model_type": "gpt_oss"} | GQA | SPARSE)).attention
    assert (attention.window, attention.window_every) == (128, 2)


def test_mixtral_slides_everywhere(tmp_path: Path) -> None:
    attention = read_config(write(tmp_path, {"model_type": "mixtral", "sliding_window": 128} | GQA | SPARSE)).attention
    assert (attention.window, attention.window_every) == (128, 1)


def test_routing_of_the_deepseek_generations(tmp_path: Path) -> None:
    v3 = read_config(write(tmp_path / "a", {"model_type": "deepseek_v3", "num_nextn_predict_layers": 1} | MLA))
    v2 = read_config(write(tmp_path / "b", {"model_type": "deepseek_v2", "topk_method": "greedy"} | MLA))
    assert v3.moe is not None
    assert v2.moe is not None
    assert (v3.moe.scoring, v3.moe.score_bias, v3.moe.groups, v3.mtp_layers) == ("sigmoid", True, 2, 1)
    assert (v2.moe.scoring, v2.moe.score_bias, v2.moe.groups, v2.mtp_layers) == ("softmax", False, 1, 0)


# Files that are wrong: one line with the key, never a traceback

V3 = {"model_type": "deepseek_v3"} | MLA
LLAMA = {"model_type": "llama"} | GQA
BROKEN: dict[str, tuple[object, str]] = {
    "no model_type": (GQA, "model_type: missing"),
    "unknown model_type": (LLAMA | {"model_type": "mamba"}, "model_type: 'mamba'.*supported: deepseek_v2"),
    "model_type of wrong type": (LLAMA | {"model_type": 3}, "model_type: expected a string"),
    "missing hidden_size": ({"model_type": "llama"}, "hidden_size: missing"),
    "missing expert size": ({k: v for k, v in V3.items() if k != "moe_intermediate_size"}, "moe_intermediate_size"),
    "null": (LLAMA | {"vocab_size": None}, "vocab_size: missing"),
    "negative": (LLAMA | {"num_hidden_layers": -1}, "num_hidden_layers: -1 is outside"),
    "zero": (LLAMA | {"num_attention_heads": 0}, "num_attention_heads: 0 is outside"),
    "too many layers": (LLAMA | {"num_hidden_layers": 10**9}, "num_hidden_layers: 1000000000 is outside"),
    "astronomic": (LLAMA | {"vocab_size": 10**300}, "vocab_size: 1000.* is outside"),
    "string for a number": (LLAMA | {"hidden_size": "4096"}, "hidden_size: expected a whole number"),
    "true for a number": (LLAMA | {"num_hidden_layers": True}, "num_hidden_layers: expected a whole number"),
    "fraction": (LLAMA | {"hidden_size": 64.5}, "hidden_size: expected a whole number"),
    "list for a number": (LLAMA | {"hidden_size": [64]}, "hidden_size: expected a whole number"),
    "number for a switch": (LLAMA | {"attention_bias": 1}, "attention_bias: expected true or false"),
    "NaN": (LLAMA | {"hidden_size": float("nan")}, "hidden_size: nan is not a finite number"),
    "infinity inside": (LLAMA | {"rope_scaling": {"factor": float("inf")}}, "rope_scaling.factor: inf"),
    "overflow": (json.dumps(LLAMA)[:-1] + ', "rope_theta": 1e999}', "rope_theta: inf"),
    "heads do not divide": (LLAMA | {"num_attention_heads": 5, "num_key_value_heads": 5}, "num_attention_heads: 5"),
    "groups do not divide": (LLAMA | {"num_key_value_heads": 3}, "num_key_value_heads: 3"),
    "more chosen than experts": (V3 | {"num_experts_per_tok": 9}, "top_k 9 exceeds experts 8"),
    "expert groups": (V3 | {"n_group": 3}, "groups 3 must divide experts 8"),
    "scoring": (V3 | {"scoring_func": "relu"}, "scoring"),
    "sparse every second layer": (V3 | {"moe_layer_freq": 2}, "moe_layer_freq: '2' is not supported"),
    "biased FFN": (LLAMA | {"mlp_bias": True}, "mlp_bias"),
    "quantisation": (LLAMA | {"quantization_config": {"quant_method": "hqq"}}, "quant_method: 'hqq'"),
    "quantisation of wrong type": (LLAMA | {"quantization_config": "fp8"}, "quantization_config: expected an object"),
    "odd bits": (LLAMA | {"quantization_config": {"quant_method": "gptq", "bits": 3}}, "'gptq' of 3 bits"),
    "unlistable bits": (LLAMA | {"quantization_config": {"quant_method": "awq", "bits": [4]}}, "quant_method"),
    "window on an odd pattern": (
        {"model_type": "qwen2", "sliding_window": 8, "layer_types": sliding(0, 1, 3)} | GQA,
        "layer_types",
    ),
    "too few layer types": ({"model_type": "qwen2", "layer_types": ["full_attention"]} | GQA, "1 entries for 4"),
    "linear attention": ({"model_type": "qwen3", "layer_types": ["linear_attention"] * 4} | GQA, "linear_attention"),
    "linear attention, MiniMax": (
        {"model_type": "minimax_m2", "attn_type_list": [1, 0, 1, 1]} | GQA | SPARSE,
        "attn_type_list",
    ),
    "dense layers between": (
        {"model_type": "qwen3_moe", "mlp_only_layers": [2], "num_experts": 8, "num_experts_per_tok": 2} | GQA,
        "mlp_only_layers",
    ),
    "not an object": ("[1, 2]", "expected a JSON object"),
    "not JSON": ("{'a': 1}", "not JSON|cannot be read as JSON"),
    "empty": ("", "not JSON|cannot be read as JSON"),
    "digits without end": ('{"vocab_size": ' + "9" * 5000 + "}", "not JSON|cannot be read as JSON"),
    "deep lists": ('{"a": ' + "[" * 100_000 + "]" * 100_000 + "}", "nested too deeply"),
    "deep objects": ('{"a": ' * 100_000 + "1" + "}" * 100_000, "nested too deeply"),
    "huge": (json.dumps(LLAMA) + " " * MAX_SPEC_BYTES, "larger than"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_files_are_one_line(case: str, tmp_path: Path) -> None:
    data, message = BROKEN[case]
    path = write(tmp_path, data)
    with pytest.raises(BadInput, match=message) as caught:
        read_config(path)
    text = str(caught.value)
    assert str(path) in text
    assert "\n" not in text
    assert len(text) < len(str(path)) + 300


def test_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="cannot be read"):
        read_config(tmp_path / "absent.json")
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe\x00{")
    with pytest.raises(BadInput, match="not UTF-8"):
        read_config(tmp_path / "binary.json")


def test_keys_with_long_names_stay_cheap(tmp_path: Path) -> None:
    """A path of keys is cut while walking: long keys times many values must not fill memory."""
    deep = {"k" * 50_000: {"k" * 50_000: [0] * 20_000 + [float("nan")]}}
    with pytest.raises(BadInput, match="is not a finite number"):
        read_config(write(tmp_path, LLAMA | deep))
