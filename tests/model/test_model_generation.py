"""Generation: sampling, ends, and speculative decoding that writes exactly the greedy text."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="the model needs torch: pip install costsim[model]")

import model  # noqa: E402
from model.generation import choose  # noqa: E402


@pytest.fixture
def module():
    return model.DeepSeek(model.DeepSeekConfig(vocab=32, mtp_layers=1, init_std=0.15)).eval()


@torch.no_grad()
def greedy_by_hand(module, ids, new):
    for _ in range(new):
        ids = torch.cat((ids, module(ids)[:, -1:].argmax(-1)), dim=1)
    return ids


def test_greedy_equals_repeated_forward(module):
    ids = torch.randint(0, 32, (3, 7))
    assert torch.equal(model.generate(module, ids, 15), greedy_by_hand(module, ids, 15))


def learn_to_count(module):
    """Text that continues n, n + 1, … mod 32 with a rare surprise, so that drafts are mostly right."""
    optimizer = torch.optim.AdamW(module.parameters(), lr=3e-3)
    module.train()
    for _ in range(60):
        ids = (torch.randint(0, 32, (16, 1)) + torch.arange(24)) % 32
        hidden = module.hidden(ids)
        losses = [torch.nn.functional.cross_entropy(module.head(hidden[:, :-1]).flatten(0, 1), ids[:, 1:].flatten())]
        (state,) = module.mtp_hidden(ids, hidden)
        losses.append(torch.nn.functional.cross_entropy(module.head(state[:, :-1]).flatten(0, 1), ids[:, 2:].flatten()))
        optimizer.zero_grad()
        sum(losses).backward()
        optimizer.step()
    return module.eval()


@pytest.mark.parametrize("new", [1, 2, 17, 18])
@pytest.mark.parametrize("batch", [1, 3])
def test_speculation_writes_the_greedy_text(module, new, batch):
    ids = torch.randint(0, 32, (batch, 6))
    result = model.generate(module, ids, new, mtp=True, report=True)
    assert torch.equal(result.tokens, model.generate(module, ids, new))
    assert result.drafted <= batch * result.steps
    assert 0 <= result.acceptance <= 1


def test_acceptance_saves_passes(module):
    learn_to_count(module)
    ids = torch.tensor([[3, 4, 5, 6], [30, 31, 0, 1]])
    plain = model.generate(module, ids, 40, report=True)
    fast = model.generate(module, ids, 40, mtp=True, report=True)
    assert torch.equal(fast.tokens, plain.tokens)
    assert fast.acceptance > 0.9
    assert fast.steps < 0.6 * plain.steps


def test_speculation_with_ends_and_padding(module):
    learn_to_count(module)
    ids = torch.tensor([[9, 9, 9, 3, 4], [14, 15, 16, 17, 18]])
    padding = torch.tensor([3, 0])
    plain = model.generate(module, ids, 30, eos=12, padding=padding)
    fast = model.generate(module, ids, 30, eos=12, padding=padding, mtp=True)
    assert torch.equal(fast, plain)
    single = model.generate(module, ids[:1, 3:], 30, eos=12)
    assert torch.equal(plain[:1, 5 : 5 + single.shape[1] - 2], single[:, 2:])


def test_rows_stop_at_the_end_token(module):
    ids = torch.randint(0, 32, (2, 4))
    eos = int(model.generate(module, ids, 3)[0, -1])
    text = model.generate(module, ids, 12, eos=eos)[:, 4:]
    for row in text:
        found = (row == eos).nonzero()
        if len(found):
            assert (row[found[0] :] == eos).all()


def test_sampling_follows_the_distribution():
    logits = torch.tensor([0.5, 0.3, 0.15, 0.05]).log().expand(20000, 4)
    drawn = torch.bincount(choose(logits, temperature=1.0), minlength=4) / 20000
    torch.testing.assert_close(drawn, torch.tensor([0.5, 0.3, 0.15, 0.05]), atol=0.02, rtol=0)
    nucleus = torch.bincount(choose(logits, temperature=1.0, top_p=0.7), minlength=4) / 20000
    torch.testing.assert_close(nucleus, torch.tensor([0.625, 0.375, 0, 0]), atol=0.02, rtol=0)
    assert (choose(logits) == 0).all()


def test_refusals(module):
    ids = torch.zeros(1, 2, dtype=torch.long)
    with pytest.raises(ValueError, match="max_new_tokens 0"):
        model.generate(module, ids, 0)
    with pytest.raises(ValueError, match="needs temperature 0"):
        model.generate(module, ids, 2, mtp=True, temperature=1.0)
    plain = model.DeepSeek(model.DeepSeekConfig())
    with pytest.raises(ValueError, match="this one has none"):
        model.generate(plain, ids, 2, mtp=True)
    assert plain.training
    model.generate(plain, ids, 2)
    assert plain.training
