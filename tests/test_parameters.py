"""Parameter, cache and checkpoint counts against published figures and against other people's model code."""

from __future__ import annotations

import warnings
from types import ModuleType
from typing import Any

import pytest

from costsim.errors import UnsupportedDtype
from costsim.physics.parameters import (
    CHECKPOINT_DTYPES,
    STORED_BYTES,
    checkpoint_bytes,
    checkpoint_elements,
    kv_bytes_per_token,
    linear_parameters,
    parameters,
)
from costsim.spec.catalog import MODELS, load_model, names
from costsim.spec.model import Attention, ModelSpec, MoE

CATALOG = names(MODELS)


@pytest.fixture(scope="module")
def transformers() -> ModuleType:
    pytest.importorskip("torch", reason="the outside count needs torch, which the light install leaves out")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("transformers", reason="the outside count is made by transformers' model code")


# DeepSeek: exact


def test_deepseek_v3_counts() -> None:
    p = parameters(load_model("deepseek-v3"))
    assert p.total == 671_026_404_352
    assert p.router_bias_total == 58 * 256
    assert p.mtp_unique == 11_610_067_968
    assert p.mtp_router_bias == 256
    assert p.total_with_mtp == 682_636_472_320
    assert p.total_with_copies == 684_489_830_400
    assert p.active == 37_552_282_624
    assert p.active_without_input_embedding == 36_625_603_584
    assert p.mtp_active == 688_100_352
    assert p.mtp_active + p.embedding + p.head == 2_541_458_432


def test_deepseek_v3_components_are_the_papers_arithmetic() -> None:
    p = parameters(load_model("deepseek-v3"))
    assert p.embedding == p.head == 129_280 * 7_168
    assert p.expert == p.shared == 3 * 7_168 * 2_048
    assert p.dense_ffn == 3 * 7_168 * 18_432
    assert p.router == 256 * 7_168
    assert p.attention_norms == 1_536 + 512
    query = 7_168 * 1_536 + 1_536 * 128 * 192
    latent = 7_168 * (512 + 64) + 512 * 128 * (128 + 128)
    assert p.attention == query + latent + 128 * 128 * 7_168


def test_deepseek_v3_checkpoint_has_the_published_elements() -> None:
    """The Hub's safetensors metadata of deepseek-ai/DeepSeek-V3."""
    stored = checkpoint_elements(load_model("deepseek-v3"), "fp8")
    assert stored == {"F8": 680_571_043_840, "BF16": 3_918_786_560, "F32": 41_555_600}
    assert sum(stored.values()) == 684_531_386_000
    assert stored["F32"] - 59 * 256 == 41_540_496  # one scale per 128 × 128 block
    assert checkpoint_bytes(load_model("deepseek-v3"), "fp8") == 680_571_043_840 + 2 * 3_918_786_560 + 4 * 41_555_600


def test_deepseek_v3_bf16_checkpoint() -> None:
    assert checkpoint_bytes(load_model("deepseek-v3"), "bf16") == 2 * 684_489_830_400 + 4 * 59 * 256


def test_r1_is_v3_in_size() -> None:
    ours, base = load_model("deepseek-r1"), load_model("deepseek-v3")
    named = {"id", "name", "source", "notes"}
    assert ours.model_dump(exclude=named) == base.model_dump(exclude=named)


# The catalog against published figures

#: trainable parameters of the published checkpoints, MTP and router buffers apart
TOTAL = {
    "deepseek-v2": 235_741_434_880,
    "deepseek-v2-lite": 15_706_484_224,
    "kimi-k2": 1_026_408_209_408,
    "qwen3-235b-a22b": 235_093_634_560,
    "qwen3-30b-a3b": 30_532_122_624,
    "qwen3-32b": 32_762_123_264,
    "qwen2.5-1.5b": 1_543_714_304,
    "qwen2.5-7b": 7_615_616_512,
    "qwen2.5-14b": 14_770_033_664,
    "qwen2.5-32b": 32_763_876_352,
    "llama-3.1-8b": 8_030_261_248,
    "llama-3.1-70b": 70_553_706_496,
    "llama-3.1-405b": 405_853_388_800,
    "gpt-oss-120b": 116_829_156_672,
    "minimax-m2.5": 228_689_748_992,
}
#: billions active for a token as the publishers state them, input embedding apart
ACTIVE = {
    "deepseek-v2": (21.0, 0.5),
    "deepseek-v2-lite": (2.4, 0.06),
    "kimi-k2": (32.0, 0.5),
    "qwen3-235b-a22b": (22.0, 0.5),
    "gpt-oss-120b": (5.13, 0.005),
}
#: billions without both embeddings, from the model cards, which round to about a percent
WITHOUT_EMBEDDINGS = {
    "qwen2.5-1.5b": 1.31,
    "qwen2.5-7b": 6.53,
    "qwen2.5-14b": 13.1,
    "qwen2.5-32b": 31.0,
    "qwen3-32b": 31.2,
    "qwen3-30b-a3b": 29.9,
    "qwen3-235b-a22b": 234.0,
}


@pytest.mark.parametrize("name", TOTAL)
def test_published_totals(name: str) -> None:
    assert parameters(load_model(name)).total == TOTAL[name]


@pytest.mark.parametrize("name", ACTIVE)
def test_published_active(name: str) -> None:
    stated, rounding = ACTIVE[name]
    assert parameters(load_model(name)).active_without_input_embedding / 1e9 == pytest.approx(stated, abs=rounding)


@pytest.mark.parametrize("name", WITHOUT_EMBEDDINGS)
def test_published_counts_without_embeddings(name: str) -> None:
    p = parameters(load_model(name))
    assert (p.total - p.embedding - p.head) / 1e9 == pytest.approx(WITHOUT_EMBEDDINGS[name], rel=0.01)


def test_minimax_active_is_the_reports() -> None:
    """The M2 report (arXiv 2605.26494) states 9.8 B active, which leaves out both embeddings."""
    p = parameters(load_model("minimax-m2.5"))
    assert round((p.active - p.embedding - p.head) / 1e9, 1) == 9.8


def test_gpt_oss_model_card() -> None:
    """Table 1 of the card, in billions: MLP 114.71, attention 0.96, both embeddings 1.16; checkpoint 60.8 GiB."""
    model = load_model("gpt-oss-120b")
    p = parameters(model)
    assert round(36 * (128 * p.expert + p.router) / 1e9, 2) == 114.71
    assert round(36 * p.attention / 1e9, 2) == 0.96
    assert round((p.embedding + p.head) / 1e9, 2) == 1.16
    assert round(checkpoint_bytes(model, "fp4") / 2**30, 1) == 60.8


def test_made_up_dense_model_is_near_v3s_active_parameters() -> None:
    dense, sparse = (parameters(load_model(name)) for name in ("dense-37b", "deepseek-v3"))
    assert dense.active == dense.total == pytest.approx(sparse.active, rel=0.02)


# Against transformers' model code, on the meta device


def hf_config(model: ModelSpec, transformers: ModuleType) -> Any:
    """The transformers configuration of the family that ``model`` belongs to."""
    a, moe = model.attention, model.moe
    common: dict[str, Any] = {
        "hidden_size": model.hidden,
        "num_hidden_layers": model.layers,
        "vocab_size": model.vocab,
        "num_attention_heads": a.heads,
        "num_key_value_heads": a.kv_heads,
        "tie_word_embeddings": model.tied_embeddings,
    }
    if model.intermediate:
        common["intermediate_size"] = model.intermediate
    if a.kind == "mla":
        assert moe is not None
        sizes = ("kv_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim")
        common |= {name: getattr(a, name) for name in sizes} | {"q_lora_rank": a.q_lora_rank or None}
        common |= {"n_routed_experts": moe.experts, "num_experts_per_tok": moe.top_k, "n_group": moe.groups}
        common |= {"moe_intermediate_size": moe.intermediate, "n_shared_experts": moe.shared_experts}
        common |= {"first_k_dense_replace": moe.first_dense, "topk_group": moe.top_groups}
        family = transformers.DeepseekV3Config if moe.score_bias else transformers.DeepseekV2Config
        if a.index_top_k:
            common |= {"index_n_heads": a.index_heads, "index_head_dim": a.index_head_dim, "index_topk": a.index_top_k}
            family = getattr(transformers, "DeepseekV32Config", None)
            if family is None:
                pytest.skip("this transformers has no DeepSeek-V3.2 model code")
        return family(**common)
    common["head_dim"] = a.head_dim
    if moe is None:
        if a.qkv_bias:
            common.pop("head_dim")  # Qwen2 always uses hidden_size / heads
            return transformers.Qwen2Config(**common)
        return (transformers.Qwen3Config if a.qk_norm == "head" else transformers.LlamaConfig)(**common)
    common |= {"num_experts_per_tok": moe.top_k}
    if model.linear is not None:
        family = getattr(transformers, "Qwen3_5MoeTextConfig", None)
        if family is None:
            pytest.skip("this transformers has no Qwen3.5 model code")
        n = model.linear
        kinds = ["full_attention" if (i + 1) % n.full_every == 0 else "linear_attention" for i in range(model.layers)]
        common |= {"linear_num_key_heads": n.key_heads, "linear_num_value_heads": n.value_heads, "layer_types": kinds}
        common |= {"linear_key_head_dim": n.key_head_dim, "linear_value_head_dim": n.value_head_dim}
        common |= {"linear_conv_kernel_dim": n.conv, "num_experts": moe.experts}
        common |= {"moe_intermediate_size": moe.intermediate, "shared_expert_intermediate_size": moe.intermediate}
        return family(**common)
    if a.qk_norm == "head":
        return transformers.Qwen3MoeConfig(num_experts=moe.experts, moe_intermediate_size=moe.intermediate, **common)
    common |= {"num_local_experts": moe.experts, "intermediate_size": moe.intermediate}
    return (transformers.GptOssConfig if a.sinks else transformers.MiniMaxM2Config)(**common)


def count_on_meta(config: Any, transformers: ModuleType) -> tuple[int, int]:
    """(trainable parameters, router buffers) of a model that holds no memory; shared tensors count once."""
    import torch

    with warnings.catch_warnings(), torch.device("meta"):
        warnings.simplefilter("ignore")
        module = transformers.AutoModelForCausalLM.from_config(config)
    trained = sum(tensor.numel() for tensor in module.parameters())
    biases = sum(tensor.numel() for name, tensor in module.named_buffers() if name.endswith("e_score_correction_bias"))
    return trained, biases


@pytest.mark.parametrize("name", CATALOG)
def test_full_size_count_equals_transformers(name: str, transformers: ModuleType) -> None:
    model = load_model(name)
    p = parameters(model)
    assert (p.total, p.router_bias_total) == count_on_meta(hf_config(model, transformers), transformers)


def test_mtp_module_equals_transformers(transformers: ModuleType) -> None:
    import torch

    layers = pytest.importorskip("transformers.modeling_layers")
    if not hasattr(layers, "MtpModel"):
        pytest.skip("this transformers has no MTP model code")
    model = load_model("deepseek-v3")
    with torch.device("meta"):
        main = transformers.AutoModelForCausalLM.from_config(hf_config(model, transformers))
        module = layers.MtpModel(main, 1)
    shared = ("embed_tokens.weight", "shared_head.weight")
    unique = sum(tensor.numel() for name, tensor in module.named_parameters() if name not in shared)
    assert unique == parameters(model).mtp_unique


# KV cache


def test_kv_bytes_of_deepseek_v3() -> None:
    model = load_model("deepseek-v3")
    assert kv_bytes_per_token(model, "bf16") == 70_272
    assert kv_bytes_per_token(model, "fp8") == 61 * 656  # FlashMLA: 512 FP8 + 4 scales + 64 BF16
    assert kv_bytes_per_token(model, "int8") == 61 * 576


def test_kv_bytes_of_grouped_query_attention() -> None:
    """Llama-3.1-70B: 2 × 8 heads × 128 × 80 layers elements."""
    model = load_model("llama-3.1-70b")
    assert kv_bytes_per_token(model, "bf16") == 327_680
    assert kv_bytes_per_token(model, "fp8") == kv_bytes_per_token(model, "int8") == 163_840


def test_mla_cache_is_the_papers_fraction_of_multi_head() -> None:
    """DeepSeek-V2 report, table 1: MLA caches 4.5 head sizes a layer, as GQA with 2.25 groups would."""
    model = load_model("deepseek-v2")
    assert kv_bytes_per_token(model, "bf16") == 60 * 4.5 * 128 * 2


# Every model


@pytest.mark.parametrize("name", CATALOG)
def test_components_add_up(name: str) -> None:
    model = load_model(name)
    p = parameters(model)
    experts, top_k = (model.moe.experts, model.moe.top_k) if model.moe else (0, 0)
    per_layer = p.attention + p.attention_norms + p.layer_norms
    rest = p.embedding + p.head + p.final_norm + model.cached_layers * per_layer + model.dense_layers * p.dense_ffn
    rest += model.linear_layers * (linear_parameters(model) + p.layer_norms)
    rest += model.moe_layers * (p.shared + p.router)
    assert p.total == rest + model.moe_layers * experts * p.expert
    assert p.active == rest + model.moe_layers * top_k * p.expert
    assert 0 < p.active_without_input_embedding <= p.active <= p.total


@pytest.mark.parametrize("name", CATALOG)
def test_checkpoints_shrink_with_their_format(name: str) -> None:
    model = load_model(name)
    size = {dtype: checkpoint_bytes(model, dtype) for dtype in CHECKPOINT_DTYPES}
    assert size["w4"] < size["fp8"] < size["bf16"]
    assert size["fp4"] <= size["bf16"]
    assert size["int8"] == pytest.approx(size["fp8"], rel=0.01)
    assert sum(checkpoint_elements(model, "bf16").values()) == (
        parameters(model).total_with_copies + parameters(model).router_bias_total + parameters(model).mtp_router_bias
    )
    assert set(checkpoint_elements(model, "w4")) <= set(STORED_BYTES)


def test_catalog_files_name_their_source() -> None:
    assert len(CATALOG) >= 18
    for name in CATALOG:
        model = load_model(name)
        assert model.id == name
        assert model.source
        assert model.notes


def test_tied_embeddings_count_once_and_stay_active() -> None:
    p = parameters(load_model("qwen2.5-1.5b"))
    assert p.head == 0
    assert p.active_without_input_embedding == p.active


def test_mtp_of_a_dense_model_has_a_dense_layer() -> None:
    attention = Attention(kind="gqa", heads=4, kv_heads=2, head_dim=8)
    model = ModelSpec(
        id="x", name="x", hidden=32, layers=2, vocab=64, intermediate=128, attention=attention, mtp_layers=2
    )
    p = parameters(model)
    assert p.mtp_unique == 2 * (p.layer + p.dense_ffn + 2 * 32 * 32 + 3 * 32)
    assert p.mtp_active == p.mtp_unique
    assert checkpoint_elements(model, "bf16") == {"BF16": p.total_with_mtp + 2 * (p.embedding + p.head)}


def test_partial_blocks_get_a_whole_scale() -> None:
    """A 576-row matrix has five rows of 128-blocks; 130 KV latents need two scales."""
    attention = Attention(kind="mla", heads=1, kv_lora_rank=130, qk_nope_head_dim=8, qk_rope_head_dim=8, v_head_dim=8)
    moe = MoE(experts=2, top_k=1, intermediate=130)
    model = ModelSpec(id="x", name="x", hidden=256, layers=1, vocab=8, attention=attention, moe=moe)
    attention_blocks = 1 * 2 + 2 * 2 + 1 * 2 + 2 * 1  # q 16×256, kv_a 138×256, kv_b 16×130, o 256×8
    assert checkpoint_elements(model, "fp8")["F32"] == attention_blocks + 2 * 3 * 4
    assert kv_bytes_per_token(model, "fp8") == 130 + 2 * 4 + 2 * 8


@pytest.mark.parametrize("dtype", ["fp16x", "", "FP8"])
def test_unknown_dtype_is_one_line(dtype: str) -> None:
    model = load_model("deepseek-v3")
    for ask in (kv_bytes_per_token, checkpoint_bytes):
        with pytest.raises(UnsupportedDtype, match="not one of"):
            ask(model, dtype)
