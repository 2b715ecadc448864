"""Losses, optimizer, schedule and the loop; FP8 against BF16 on a small run."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="the model needs torch: pip install costsim[model]")
F = torch.nn.functional

import model  # noqa: E402
from model import fp8  # noqa: E402
from model.losses import IGNORE, token_log_probs, training_losses  # noqa: E402
from model.optimizer import AdamW, Schedule, clip_gradients, deepseek_v3_rate  # noqa: E402
from model.training import Batch, Recipe, train, update_biases  # noqa: E402


def test_mtp_loss_equals_hand_shifted():
    module = model.DeepSeek(model.DeepSeekConfig(mtp_layers=2, init_std=0.1))
    ids = torch.randint(0, 256, (2, 12))
    losses = training_losses(module, ids, mtp_weight=0.3)
    logits = module(ids)
    main = F.cross_entropy(logits[:, :-1].reshape(-1, 256), ids[:, 1:].reshape(-1))
    torch.testing.assert_close(losses.main, main)  # the modules change nothing in front of them
    h, expected = module.hidden(ids), []
    for k, part in enumerate(module.mtp, start=1):
        h = part(module.embed(ids[:, k:]), h[:, : 12 - k], module.rope(0, 12 - k, ids.device))
        each = [-module.head(h[:, i]).log_softmax(-1)[range(2), ids[:, i + k + 1]] for i in range(12 - k - 1)]
        expected.append(torch.stack(each).mean())
    torch.testing.assert_close(losses.mtp, sum(expected) / 2)
    torch.testing.assert_close(losses.total, main + 0.3 * sum(expected) / 2)


def test_fine_tuning_learns_only_the_labels():
    module = model.DeepSeek(model.DeepSeekConfig(init_std=0.1))
    ids = torch.randint(0, 256, (2, 10))
    labels = ids.clone()
    labels[:, :6] = IGNORE
    expected = -token_log_probs(module, ids)[:, 5:].mean()
    torch.testing.assert_close(training_losses(module, ids, labels).main, expected)


def test_adamw_equals_torch():
    ours, theirs = (torch.nn.Linear(7, 5, bias=False) for _ in range(2))
    theirs.load_state_dict(ours.state_dict())
    a = AdamW(ours.parameters(), lr=0.01, moments=torch.float32)
    b = torch.optim.AdamW(theirs.parameters(), lr=0.01, betas=(0.9, 0.95), weight_decay=0.1)
    for _ in range(20):
        x = torch.randn(4, 7)
        for net, optimizer in ((ours, a), (theirs, b)):
            optimizer.zero_grad()
            net(x).square().sum().backward()
            optimizer.step()
    torch.testing.assert_close(ours.weight, theirs.weight, rtol=1e-5, atol=1e-6)


def test_master_weights_collect_what_bf16_would_lose():
    p = torch.nn.Parameter(torch.ones(1, 1, dtype=torch.bfloat16))
    optimizer = AdamW([p], lr=1e-4, weight_decay=0.0)
    for _ in range(100):
        p.grad = torch.ones_like(p)
        optimizer.step()
    state = optimizer.state[p]
    assert state["m"].dtype == state["v"].dtype == torch.bfloat16
    assert state["master"].dtype == torch.float32
    assert p.item() == pytest.approx(0.99, abs=0.004)  # each step alone is below BF16's resolution


def test_schedules():
    schedule = Schedule(1.0, warmup=10, constant=5, decay=20, floor=0.1)
    assert schedule(0) == pytest.approx(0.1)
    assert schedule(9) == schedule(14) == 1.0
    assert schedule(25) == pytest.approx(0.55)
    assert schedule(35) == schedule(1000) == pytest.approx(0.1)
    assert deepseek_v3_rate(999, 1e9) == pytest.approx(1.1e-4)
    assert deepseek_v3_rate(9999, 5e12) == 2.2e-4
    assert deepseek_v3_rate(9999, 14.299999e12) == pytest.approx(2.2e-5, rel=1e-4)
    assert deepseek_v3_rate(9999, 14.7e12) == 7.3e-6


def test_clipping():
    p = torch.nn.Parameter(torch.zeros(4))
    p.grad = torch.full((4,), 3.0)
    assert clip_gradients([p], 1.0) == pytest.approx(6.0)
    assert p.grad.norm().item() == pytest.approx(1.0)
    p.grad[0] = float("nan")
    with pytest.raises(FloatingPointError, match="nan"):
        clip_gradients([p])


def chain(vocab, generator, sharpness=2.0):
    """A random Markov chain over ``vocab`` tokens: text with a known, learnable structure."""
    return (torch.randn(vocab, vocab, generator=generator) * sharpness).softmax(-1)


def text(transition, batch, length, generator):
    ids = torch.randint(0, len(transition), (batch, 1), generator=generator)
    for _ in range(length - 1):
        ids = torch.cat((ids, torch.multinomial(transition[ids[:, -1]], 1, generator=generator)), dim=1)
    return ids


SMALL = model.DeepSeekConfig(vocab=64, layers=2, expert_intermediate=64, mtp_layers=1)


def run(precision, steps):
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(1)
    transition = chain(64, generator)
    module = model.DeepSeek(SMALL).to(torch.bfloat16)
    if precision == "fp8":
        fp8.enable(module)
    batches = (Batch(text(transition, 16, 32, generator)) for _ in range(steps))
    recipe = Recipe(Schedule(3e-3, warmup=10, constant=steps // 2, decay=steps // 2, floor=3e-4))
    records = list(train(module, batches, recipe))
    held_out = text(transition, 64, 32, torch.Generator().manual_seed(2))
    module.eval()
    with torch.no_grad():
        return records, training_losses(module, held_out).main.item()


def test_the_loop_learns():
    records, held_out = run("bf16", 60)
    assert records[0].loss > 4.0
    assert held_out < 3.2
    assert records[-1].mtp_loss < records[0].mtp_loss
    assert all(r.rate > 0 and r.imbalance >= 1 for r in records)


@pytest.mark.slow
def test_fp8_trains_like_bf16():
    _, reference = run("bf16", 150)
    _, quantised = run("fp8", 150)
    assert quantised == pytest.approx(reference, rel=0.0025)


def test_biases_are_updated_from_the_whole_load():
    module = model.DeepSeek(model.DeepSeekConfig())
    module(torch.randint(0, 256, (2, 50)))
    seen = []
    assert update_biases(module, 0.01, seen.append) > 1
    assert len(seen) == 2
    assert all(r.bias.abs().sum() > 0 and r.load.sum() == 0 for r in module.routers())
