"""Parameters, checkpoint bytes and FLOPs: the module against published numbers and against costsim's closed forms."""

from __future__ import annotations

import math
from collections import Counter

import pytest

torch = pytest.importorskip("torch", reason="the model needs torch: pip install costsim[model]")

import model  # noqa: E402
from costsim.physics.layout import Layout  # noqa: E402
from costsim.physics.parameters import kv_bytes_per_token, parameters  # noqa: E402
from costsim.physics.step import decode_demand, prefill_demand  # noqa: E402
from costsim.spec.catalog import load_model  # noqa: E402
from costsim.spec.model import ModelSpec  # noqa: E402
from model import device  # noqa: E402
from model.checkpoint import manifest  # noqa: E402


def on_meta(name, **changes):
    with torch.device("meta"):
        return model.DeepSeek(model.DeepSeekConfig.from_spec(load_model(name), **changes))


def count(module):
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(
    ("name", "main"),
    [("deepseek-v3", 671_026_404_352), ("deepseek-v2", 235_741_434_880), ("deepseek-v2-lite", 15_706_484_224)],
)
def test_parameters_exact(name, main):
    module = on_meta(name)
    assert count(module) - count(module.mtp) == main
    assert main == parameters(load_model(name)).total


def test_v3_with_mtp():
    module = on_meta("deepseek-v3")
    assert count(module.mtp) == 11_610_067_968
    assert count(module) == 682_636_472_320
    biases = sum(r.bias.numel() for r in module.routers())
    assert biases == 59 * 256


def test_v3_checkpoint_by_dtype():
    total = Counter()
    config = model.DeepSeekConfig.from_spec(load_model("deepseek-v3"))
    for dtype, shape in manifest(config, "fp8").values():
        total[dtype] += math.prod(shape)
    assert total == {"F8_E4M3": 680_571_043_840, "BF16": 3_918_786_560, "F32": 41_555_600}
    assert sum(math.prod(s) for n, (_, s) in manifest(config, "bf16").items() if "bias" not in n) == 684_489_830_400


def tiny_spec():
    attention = {"kind": "mla", "heads": 4, "kv_heads": 4, "q_lora_rank": 48, "kv_lora_rank": 32}
    attention |= {"qk_nope_head_dim": 16, "qk_rope_head_dim": 8, "v_head_dim": 16}
    moe = {"experts": 16, "top_k": 4, "intermediate": 32, "shared_experts": 1, "first_dense": 1, "groups": 4}
    moe |= {"top_groups": 2, "scoring": "sigmoid", "score_bias": True}
    sizes = {"id": "tiny", "name": "tiny", "hidden": 64, "layers": 4, "vocab": 256, "intermediate": 128}
    return ModelSpec.model_validate(sizes | {"attention": attention, "moe": moe})


def one_rank():
    return Layout(tp=1, pp=1, ep=1, moe_tp=1, ranks=1, domain=8, slots=16, precision="bf16", kv_dtype="bf16")


@torch.no_grad()
def test_prefill_flops_are_the_analytical_ones(monkeypatch):
    from torch.utils.flop_counter import FlopCounterMode

    monkeypatch.setattr(device, "has_fused_attention", lambda kind: True)  # the counter knows no fused CPU kernel
    spec = tiny_spec()
    module = model.DeepSeek(model.DeepSeekConfig.from_spec(spec)).eval()
    with FlopCounterMode(display=False) as counter:
        module(torch.randint(0, 256, (2, 24)))
    assert counter.get_total_flops() == prefill_demand(spec, one_rank(), 48.0, 24.0, all_logits=True).flop_full


@torch.no_grad()
def test_decode_flops_are_the_analytical_ones():
    from torch.utils.flop_counter import FlopCounterMode

    spec = tiny_spec()
    module = model.DeepSeek(model.DeepSeekConfig.from_spec(spec)).eval()
    cache = model.LatentCache(module.config, 3, 24)
    module(torch.randint(0, 256, (3, 23)), cache)
    with FlopCounterMode(display=False) as counter:
        module(torch.randint(0, 256, (3, 1)), cache)
    assert counter.get_total_flops() == decode_demand(spec, one_rank(), 3.0, 23.0).flop  # 23 cached, and itself


def test_cache_bytes_are_the_analytical_ones():
    spec = tiny_spec()
    cache = model.LatentCache(model.DeepSeekConfig.from_spec(spec), 1, 1, dtype=torch.bfloat16)
    assert cache.bytes_per_token == kv_bytes_per_token(spec, "bf16")
