"""Against transformers' DeepseekV3 and DeepseekV2, an independent implementation."""

from __future__ import annotations

import subprocess
import sys

import pytest

torch = pytest.importorskip("torch", reason="the model needs torch: pip install costsim[model]")
transformers = pytest.importorskip("transformers", reason="the reference implementation")

import model  # noqa: E402
from model.mtp import MTPModule  # noqa: E402
from tests.model.conftest import hf_model  # noqa: E402


def test_import_needs_neither_torch_nor_transformers():
    code = "import model, sys; assert 'torch' not in sys.modules; model.DeepSeek; import model.checkpoint"
    code += "; assert 'transformers' not in sys.modules"
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


@torch.no_grad()
def test_logits_equal(pair):
    reference, ours = pair
    ids = torch.randint(0, 256, (2, 100))
    expected = reference(ids).logits
    assert expected.std() > 0.5
    assert (ours(ids) - expected).abs().max() <= 1e-4


@torch.no_grad()
def test_cached_decode_equals_reference(pair):
    reference, ours = pair
    ids = torch.randint(0, 256, (2, 20))
    cache = model.LatentCache(ours.config, 2, 20)
    logits = torch.cat([ours(piece, cache) for piece in ids.split([12, 1, 5, 1, 1], dim=1)], dim=1)
    assert (logits - reference(ids).logits).abs().max() <= 1e-4


@torch.no_grad()
def test_greedy_text_equals_reference(pair):
    reference, ours = pair
    ids = torch.randint(2, 256, (1, 9))
    expected = reference.generate(ids, max_new_tokens=20, do_sample=False, eos_token_id=None, pad_token_id=0)
    assert torch.equal(model.generate(ours, ids, 20), expected)


@torch.no_grad()
def test_without_query_latent(tmp_path):
    reference = hf_model(q_lora_rank=None)
    reference.save_pretrained(tmp_path)
    ours = model.from_pretrained(tmp_path)
    ids = torch.randint(0, 256, (2, 30))
    assert (ours(ids) - reference(ids).logits).abs().max() <= 1e-4


@torch.no_grad()
@pytest.mark.parametrize("method", ["greedy", "group_limited_greedy"])
def test_v2_logits_equal(method, tmp_path):
    config = transformers.DeepseekV2Config(
        vocab_size=256, hidden_size=64, intermediate_size=128, moe_intermediate_size=32, num_hidden_layers=3,
        num_attention_heads=4, n_routed_experts=16, num_experts_per_tok=4, topk_method=method, n_group=4, topk_group=2,
        kv_lora_rank=32, q_lora_rank=None, qk_nope_head_dim=16, qk_rope_head_dim=8, v_head_dim=16, head_dim=8,
        first_k_dense_replace=1, n_shared_experts=2, initializer_range=0.15, routed_scaling_factor=1.5,
    )  # fmt: skip
    reference = transformers.DeepseekV2ForCausalLM(config).eval()
    reference.save_pretrained(tmp_path)
    ours = model.from_pretrained(tmp_path)
    assert ours.config.scoring == "softmax"
    ids = torch.randint(0, 256, (2, 30))
    assert (ours(ids) - reference(ids).logits).abs().max() <= 1e-4


@torch.no_grad()
def test_router_chooses_the_same_experts(pair):
    reference, ours = pair
    x = torch.randn(500, 64)
    for layer in range(1, 4):
        _, weights, indices = reference.model.layers[layer].mlp.gate(x)
        routing = ours.blocks[layer].ffn.router(x)
        order, own = indices.argsort(-1), routing.indices.argsort(-1)
        assert torch.equal(indices.gather(1, order), routing.indices.gather(1, own))
        torch.testing.assert_close(routing.weights.gather(1, own), weights.gather(1, order), rtol=1e-6, atol=1e-6)


@torch.no_grad()
def test_mtp_module_equals_reference_layer(tmp_path):
    """One prediction module against transformers' MtpLayer, with the same weights put in by hand."""
    from transformers.modeling_layers import MtpModel

    reference = hf_model(num_mtp_layers=1)
    theirs = MtpModel(reference, 1).eval()
    torch.nn.init.normal_(theirs.layers[0].eh_proj.weight, std=0.1)
    reference.save_pretrained(tmp_path)
    ours = model.from_pretrained(tmp_path)  # without the module, which transformers does not save
    module = MTPModule(ours.config, 0)
    layer = theirs.layers[0]
    block = dict(layer.mtp_block.state_dict())
    own = {
        "embed_norm.weight": layer.enorm.weight,
        "hidden_norm.weight": layer.hnorm.weight,
        "project.weight": layer.eh_proj.weight,
        "norm.weight": layer.post_norm.weight,
    }
    names = {
        "attention_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm",
        "attention.q_down": "self_attn.q_a_proj", "attention.q_norm": "self_attn.q_a_layernorm",
        "attention.q_up": "self_attn.q_b_proj", "attention.kv_down": "self_attn.kv_a_proj_with_mqa",
        "attention.kv_norm": "self_attn.kv_a_layernorm", "attention.kv_up": "self_attn.kv_b_proj",
        "attention.out": "self_attn.o_proj", "ffn.shared.down": "mlp.shared_experts.down_proj",
    }  # fmt: skip
    own |= {f"block.{a}.weight": block[f"{b}.weight"] for a, b in names.items()} if "mlp.gate.weight" in block else {}
    if not own.keys() & {"block.attention_norm.weight"}:
        pytest.fail("transformers built a dense layer; the reference no longer matches DeepSeek's module")
    gate, up = block["mlp.shared_experts.gate_proj.weight"], block["mlp.shared_experts.up_proj.weight"]
    own |= {
        "block.ffn.shared.gate_up.weight": torch.cat((gate, up)),
        "block.ffn.experts.gate_up": block["mlp.experts.gate_up_proj"],
        "block.ffn.experts.down": block["mlp.experts.down_proj"],
        "block.ffn.router.weight": block["mlp.gate.weight"],
        "block.ffn.router.bias": block["mlp.gate.e_score_correction_bias"],
    }
    module.load_state_dict(own)
    module.eval()
    ids, hidden = torch.randint(0, 256, (1, 12)), torch.randn(1, 12, 64)
    positions = torch.arange(12)[None]
    expected = theirs.shared_head(theirs.forward_layer(0, hidden, positions, None, input_ids=ids))
    found = ours.head(module(ours.embed(ids), hidden, ours.rope(0, 12, ids.device)))
    assert (found - expected).abs().max() <= 1e-4
