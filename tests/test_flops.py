"""FLOPs against torch's own counter on small random transformers models, and causal ones by hand."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from costsim.physics.attention import prefill_core
from costsim.physics.layout import Layout, expert_slots
from costsim.physics.step import Demand, decode_demand, prefill_demand
from costsim.physics.training import flop_full, model_passes
from costsim.physics.training.passes import Recipe
from costsim.physics.training.shard import Shard
from costsim.spec.catalog import load_model
from costsim.spec.huggingface import read_config
from costsim.spec.model import Attention, ModelSpec

GQA: dict[str, Any] = {
    "hidden_size": 48,
    "num_hidden_layers": 3,
    "vocab_size": 104,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "intermediate_size": 88,
    "head_dim": 8,
}
MLA: dict[str, Any] = {
    "hidden_size": 48,
    "num_hidden_layers": 4,
    "vocab_size": 104,
    "num_attention_heads": 6,
    "num_key_value_heads": 6,
    "intermediate_size": 88,
    "q_lora_rank": 20,
    "kv_lora_rank": 24,
    "qk_nope_head_dim": 12,
    "qk_rope_head_dim": 4,
    "v_head_dim": 10,
    "n_routed_experts": 8,
    "num_experts_per_tok": 3,
    "moe_intermediate_size": 28,
    "n_shared_experts": 1,
    "first_k_dense_replace": 1,
    "n_group": 4,
    "topk_group": 2,
}
SPARSE = {"num_experts": 8, "num_experts_per_tok": 3, "moe_intermediate_size": 28}
#: case → model_type, keys of a small config
SMALL: dict[str, tuple[str, dict[str, Any]]] = {
    "deepseek_v3": ("deepseek_v3", MLA),
    "deepseek_v3 all sparse": ("deepseek_v3", MLA | {"first_k_dense_replace": 0}),
    "deepseek_v3 shared twice": ("deepseek_v3", MLA | {"n_shared_experts": 2}),
    "deepseek_v2": ("deepseek_v2", MLA | {"topk_method": "group_limited_greedy"}),
    "deepseek_v2 lite": ("deepseek_v2", MLA | {"q_lora_rank": None, "n_group": 1, "topk_group": 1}),
    "qwen3": ("qwen3", GQA),
    "qwen3 wide heads": ("qwen3", GQA | {"head_dim": 20}),
    "qwen3_moe": ("qwen3_moe", GQA | SPARSE),
    "qwen3_moe dense first": ("qwen3_moe", GQA | SPARSE | {"mlp_only_layers": [0]}),
    "llama": ("llama", GQA),
    "llama multi-head": ("llama", GQA | {"num_key_value_heads": 6}),
    "qwen2": ("qwen2", {k: v for k, v in GQA.items() if k != "head_dim"}),
    "qwen2 tied": ("qwen2", {k: v for k, v in GQA.items() if k != "head_dim"} | {"tie_word_embeddings": True}),
}
BATCH, SEQ = 2, 13


def one_rank(model: ModelSpec, precision: str = "bf16") -> Layout:
    return Layout(tp=1.0, pp=1.0, ep=1.0, moe_tp=1.0, ranks=1.0, domain=8.0, slots=expert_slots(model, 1.0, 0.0),
                  precision=precision, kv_dtype="bf16")  # fmt: skip


def counted_flop(family: str, keys: dict[str, Any], attention: str) -> tuple[int, int]:
    """(forward, backward) FLOPs by torch's counter of one pass over every position.

    It sees matrix products and convolutions. Rotary angles are products with one inner element, which torch
    turns into plain multiplications: neither side counts them.
    """
    torch = pytest.importorskip("torch", reason="the outside count needs torch, which the light install leaves out")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        transformers = pytest.importorskip("transformers", reason="the outside count is made by its model code")
        from torch.nn.attention import SDPBackend, sdpa_kernel
        from torch.utils.flop_counter import FlopCounterMode

        config = transformers.AutoConfig.for_model(family, **keys)
        torch.manual_seed(0)
        # One expert at a time and attention in plain products: grouped_mm and the fused CPU kernel count as zero.
        module = transformers.AutoModelForCausalLM.from_config(
            config, attn_implementation=attention, experts_implementation="eager"
        )
        tokens = torch.randint(0, keys["vocab_size"], (BATCH, SEQ))
        with sdpa_kernel(SDPBackend.MATH):
            with FlopCounterMode(display=False) as forward:
                out = module(tokens, use_cache=False).logits
            with FlopCounterMode(display=False) as backward:
                out.square().sum().backward()
    return forward.get_total_flops(), backward.get_total_flops()


def spec_of(family: str, keys: dict[str, Any], folder: Path) -> ModelSpec:
    path = folder / "config.json"
    path.write_text(json.dumps({"model_type": family} | keys), encoding="utf-8")
    return read_config(path)


def core_flop(demand: Demand) -> float:
    """Non-causal FLOPs of the products of attention with keys and values."""
    return sum(float(op.flop_full * op.count) for op in demand.ops if op.flop_full is not None)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("case", SMALL)
def test_passes_equal_torch(case: str, attention: str, tmp_path: Path) -> None:
    """Both exactly, but for the scores that fused attention recomputes going backward: we count 5/2, torch 2."""
    family, keys = SMALL[case]
    forward, backward = counted_flop(family, keys, attention)
    model = spec_of(family, keys, tmp_path)
    demand = prefill_demand(model, one_rank(model), float(BATCH * SEQ), float(SEQ), all_logits=True)
    assert round(float(demand.flop_full), 3) == forward
    experts = float(model.moe.experts) if model.moe else 1.0
    shard = Shard(float(BATCH * SEQ), float(SEQ), float(BATCH), 1.0, 1.0, 1.0, 1.0, experts, 8.0)
    passes = model_passes(model, shard, Recipe("bf16"))
    # The vocabulary is padded as trained; torch's is not.
    extra = 2.0 * BATCH * SEQ * model.hidden * (-model.vocab % 128)
    assert round(float(flop_full(passes.forward)) - extra, 3) == forward
    both = float(flop_full(passes.backward)) + float(flop_full(passes.weight))
    assert round(both - 2.0 * extra - 0.5 * core_flop(demand), 3) == backward


@pytest.mark.parametrize("width", [2, 4])
def test_ranks_share_the_work(width: int) -> None:
    """Over all ranks of a layout the FLOPs are the same, but for MLA's down projections, which tp repeats."""
    model = load_model("deepseek-v3")
    whole = prefill_demand(model, one_rank(model), 8192.0, 4096.0, all_logits=True)
    spread = Layout(tp=1.0, pp=1.0, ep=float(width), moe_tp=1.0, ranks=float(width), domain=8.0,
                    slots=expert_slots(model, width, 0.0), precision="bf16", kv_dtype="bf16")  # fmt: skip
    each = prefill_demand(model, spread, 8192.0 / width, 4096.0, all_logits=True)
    assert float(each.flop_full) * width == pytest.approx(float(whole.flop_full), rel=1e-12)
    split = Layout(tp=float(width), pp=1.0, ep=1.0, moe_tp=float(width), ranks=float(width), domain=8.0,
                   slots=expert_slots(model, 1.0, 0.0), precision="bf16", kv_dtype="bf16")  # fmt: skip
    each = prefill_demand(model, split, 8192.0, 4096.0, all_logits=True)
    repeated = sum(float(op.flop * op.count) for op in each.ops if op.name in ("qkv down", "router")) * (width - 1)
    assert float(each.flop_full) * width == pytest.approx(float(whole.flop_full) + repeated, rel=1e-12)


def test_deepseek_v3_flops_follow_its_active_parameters() -> None:
    """2 FLOP per active matrix element and token; 37.55 G active with both embeddings, the input one not multiplied."""
    model = load_model("deepseek-v3")
    demand = prefill_demand(model, one_rank(model), 4096.0, 4096.0, all_logits=True)
    per_token = (float(demand.flop_full) - core_flop(demand)) / 4096.0
    norms = 61 * (2 * 7168 + 1536 + 512) + 7168
    assert per_token == pytest.approx(2.0 * (37_552_282_624 - 7168 * 129_280 - norms), rel=1e-12)


@pytest.mark.parametrize(("isl", "cached"), [(1, 0), (7, 0), (4096, 0), (4096, 1024), (9, 8)])
def test_causal_pairs_by_enumeration(isl: int, cached: int) -> None:
    """n new tokens see n·c cached ones and n(n+1)/2 of each other; without the causal saving n·(n + c)."""
    new = isl - cached
    causal, full = prefill_core(Attention(kind="gqa", heads=4, kv_heads=2, head_dim=8), float(isl), float(cached))
    assert causal == sum(cached + i for i in range(1, new + 1)) == new * cached + new * (new + 1) / 2
    assert full == new * isl


def test_causal_flop_by_hand() -> None:
    """DeepSeek-V3, one 4,096-token prompt: 61 layers · 128 heads · 2 · (192 + 128) · n(n+1)/2."""
    model = load_model("deepseek-v3")
    core = [op for op in prefill_demand(model, one_rank(model), 4096.0, 4096.0).ops if op.family == "mla_prefill"]
    assert [float(op.flop * op.count) for op in core] == [61 * 128 * 2 * (192 + 128) * 4096 * 4097 / 2]
    assert [float(op.flop_full * op.count) for op in core if op.flop_full is not None] == [61 * 128 * 640 * 4096**2]


@pytest.mark.parametrize(("isl", "cached"), [(50, 0), (10, 0), (50, 7), (50, 16), (50, 30), (17, 3)])
def test_window_pairs_by_enumeration(isl: int, cached: int) -> None:
    """Every second layer sees at most the last w tokens: token i sees min(i, w)."""
    window = 16
    a = Attention(kind="gqa", heads=4, kv_heads=2, head_dim=8, window=window, window_every=2)
    capped = sum(min(i, window) for i in range(cached + 1, isl + 1))
    whole = sum(range(cached + 1, isl + 1))
    causal, _ = prefill_core(a, float(isl), float(cached))
    assert causal == (capped + whole) / 2


def test_decoding_token_by_token_is_a_causal_prefill() -> None:
    """GQA: the attention FLOPs of n decode steps add up to those of one causal prefill of n tokens."""
    model = load_model("qwen3-32b")
    steps = np.arange(64, dtype=float)
    decode, prefill = (
        decode_demand(model, one_rank(model), 1.0, steps),
        prefill_demand(model, one_rank(model), 64.0, 64.0),
    )
    decoded = [op for op in decode.ops if op.family == "attention_decode"]
    prefilled = [op for op in prefill.ops if op.family == "attention_prefill"]
    assert float(np.sum(decoded[0].flop)) == prefilled[0].flop


def test_absorbed_attention_by_hand() -> None:
    """MLA decode works on the latent: scores over 512 + 64, values over 512, for each of 128 heads."""
    model = load_model("deepseek-v3")
    ops = {op.name: op for op in decode_demand(model, one_rank(model), 32.0, 4095.0).ops}
    assert ops["attention"].flop == 2 * 32 * 128 * 4096 * (512 + 64 + 512)
    assert ops["absorb query"].flop == ops["expand value"].flop == 2 * 32 * 128 * 128 * 512
