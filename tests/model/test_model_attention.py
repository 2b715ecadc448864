"""Attention, RoPE and cache: the two ways agree, and so do all ways of splitting a sequence."""

from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch", reason="the model needs torch: pip install costsim[model]")

import model  # noqa: E402
from model import rope  # noqa: E402
from model.cache import CacheFull  # noqa: E402

YARN = model.Yarn(40.0, 64, mscale=1.0, mscale_all_dim=1.0)


@pytest.fixture(params=[{}, {"q_rank": 0}, {"yarn": YARN}], ids=["query latent", "no query latent", "yarn"])
def module(request):
    return model.DeepSeek(model.DeepSeekConfig(init_std=0.15, **request.param)).eval()


def with_mode(module, mode):
    for block in module.blocks:
        block.attention.mode = mode
    return module


@torch.no_grad()
def test_absorbed_equals_naive(module):
    ids = torch.randint(0, 256, (2, 33))
    naive = with_mode(module, "naive")(ids)
    assert (with_mode(module, "absorbed")(ids) - naive).abs().max() <= 2e-5


@torch.no_grad()
@pytest.mark.parametrize("mode", ["naive", "absorbed", "auto"])
@pytest.mark.parametrize("pieces", [[1] * 16, [10, 6], [3, 1, 7, 5], [16]])
def test_cached_equals_whole(module, mode, pieces):
    ids = torch.randint(0, 256, (2, 16))
    whole = with_mode(module, "naive")(ids)
    cache = model.LatentCache(module.config, 2, 16)
    with_mode(module, mode)
    logits = torch.cat([module(piece, cache) for piece in ids.split(pieces, dim=1)], dim=1)
    assert (logits - whole).abs().max() <= 2e-5


@torch.no_grad()
def test_left_padding_changes_nothing(module):
    ids = torch.randint(0, 256, (1, 9))
    padded = torch.cat((torch.zeros(1, 4, dtype=torch.long), ids), dim=1)
    both = torch.cat((padded, torch.randint(0, 256, (1, 13))))
    logits = module(both, padding=torch.tensor([4, 0]))
    assert (logits[:1, 4:] - module(ids)).abs().max() <= 2e-5


@torch.no_grad()
def test_truncated_cache_forgets(module):
    ids = torch.randint(0, 256, (1, 8))
    cache = model.LatentCache(module.config, 1, 8)
    module(ids[:, :6], cache)
    cache.truncate(4)
    assert (module(ids[:, 4:], cache) - module(ids)[:, 4:]).abs().max() <= 2e-5


def test_cache_refuses_what_does_not_fit(module):
    with pytest.raises(CacheFull, match="9 positions exceed the cache's capacity of 8"):
        module(torch.zeros(1, 9, dtype=torch.long), model.LatentCache(module.config, 1, 8))


def test_cache_bytes_of_v3():
    from costsim.spec.catalog import load_model

    config = model.DeepSeekConfig.from_spec(load_model("deepseek-v3"))
    cache = model.LatentCache(config, 1, 3, dtype=torch.bfloat16)
    assert cache.bytes_per_token == 70272
    assert cache.latents.nbytes == 3 * 70272


def test_absorbs_where_it_is_cheaper():
    """V3: below r(nope + v) / (2r − nope − v) = 170.7 queries."""
    from model.attention import MLA

    config = model.DeepSeekConfig(hidden=8, heads=1, q_rank=0, kv_rank=512, nope_dim=128, rope_dim=64, v_dim=128)
    attention = MLA(config)
    assert attention._absorbs(170, fresh=False)
    assert not attention._absorbs(171, fresh=False)
    assert not attention._absorbs(2, fresh=True)


def test_yarn_frequencies_and_scale():
    """Equal to transformers', and by the formula at both ends."""
    from tests.model.conftest import hf_model

    reference = hf_model(yarn=True)
    expected = reference.model.rotary_emb.inv_freq
    torch.testing.assert_close(rope.frequencies(8, 10000.0, YARN), expected, rtol=1e-6, atol=0)
    config = model.DeepSeekConfig(yarn=YARN)
    assert config.softmax_scale == pytest.approx(24**-0.5 * (0.1 * math.log(40) + 1) ** 2)
    plain = rope.frequencies(64, 10000.0, None)
    yarn = rope.frequencies(64, 10000.0, model.Yarn(40.0, 4096))
    assert torch.equal(yarn[:10], plain[:10])
    torch.testing.assert_close(yarn[-8:], plain[-8:] / 40)


def test_rotation_without_complex_numbers(monkeypatch):
    from model import device

    x, rotation = torch.randn(2, 5, 3, 8), rope.Rope(model.DeepSeekConfig())(2, 5, torch.device("cpu"))
    expected = rope.rotate(x, rotation)
    monkeypatch.setattr(device, "has_complex", lambda kind: False)
    torch.testing.assert_close(rope.rotate(x, rotation), expected)


def test_recompute_keeps_gradients_and_frees_memory():
    config = model.DeepSeekConfig(init_std=0.1)
    module = model.DeepSeek(config)
    ids = torch.randint(0, 256, (2, 16))

    def gradients():
        module.zero_grad()
        held = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t: held.append(t) or t, lambda t: t):
            loss = module(ids).logsumexp(-1).mean()
        kept = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in held}
        loss.backward()
        return sum(kept.values()), [p.grad.clone() for p in module.parameters() if p.grad is not None]

    before, expected = gradients()
    module.set_recompute()
    after, found = gradients()
    assert after < 0.85 * before
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-7)
