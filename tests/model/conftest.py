"""Shared pieces of the model's tests: a tiny transformers checkpoint, with and without YaRN."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="the model needs torch: pip install costsim[model]")


# Tiny tensors: a second thread only waits for the first.
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _deterministic():
    torch.manual_seed(0)


def hf_config(yarn: bool = False, **changes):
    """A tiny DeepseekV3Config."""
    transformers = pytest.importorskip("transformers", reason="the reference implementation")
    rope = {"rope_type": "default", "rope_theta": 10000.0}
    if yarn:
        rope = {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 40.0, "original_max_position_embeddings": 64}
        rope |= {"beta_fast": 32.0, "beta_slow": 1.0, "mscale": 1.0, "mscale_all_dim": 1.0}
    sizes = {
        "vocab_size": 256, "hidden_size": 64, "intermediate_size": 128, "moe_intermediate_size": 32,
        "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 4, "n_routed_experts": 16,
        "num_experts_per_tok": 4, "n_group": 4, "topk_group": 2, "kv_lora_rank": 32, "q_lora_rank": 48,
        "qk_nope_head_dim": 16, "qk_rope_head_dim": 8, "v_head_dim": 16, "first_k_dense_replace": 1,
        "n_shared_experts": 1, "max_position_embeddings": 2560, "initializer_range": 0.15, "num_mtp_layers": 0,
    }  # fmt: skip
    return transformers.DeepseekV3Config(**(sizes | {"rope_parameters": rope} | changes))


def hf_model(yarn: bool = False, **changes):
    """A tiny DeepseekV3ForCausalLM with random router biases, so that the choice and the weights differ."""
    transformers = pytest.importorskip("transformers", reason="the reference implementation")
    reference = transformers.DeepseekV3ForCausalLM(hf_config(yarn, **changes)).eval()
    for name, buffer in reference.named_buffers():
        if name.endswith("e_score_correction_bias"):
            buffer.normal_(std=0.1)
    return reference


@pytest.fixture(params=[False, True], ids=["rope", "yarn"])
def pair(request, tmp_path):
    """(transformers' model, ours loaded from its checkpoint)."""
    import model

    reference = hf_model(request.param)
    reference.save_pretrained(tmp_path / "hf")
    return reference, model.from_pretrained(tmp_path / "hf")
