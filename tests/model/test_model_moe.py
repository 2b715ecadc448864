"""Routing, experts, and the two ways to balance load."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="the model needs torch: pip install costsim[model]")

import model  # noqa: E402
from model import device  # noqa: E402
from model.moe import Experts, MoE, Router, sequence_balance, swiglu  # noqa: E402


@pytest.fixture
def router():
    made = Router(model.DeepSeekConfig(experts=16, groups=4, top_groups=2, top_k=4))
    torch.nn.init.normal_(made.weight, std=0.3)
    return made


def test_tokens_stay_within_their_groups(router):
    groups = router(torch.randn(300, 64)).indices // 4
    assert max(len(set(row.tolist())) for row in groups) == 2


def test_bias_steers_the_choice_and_not_the_weights(router):
    x = torch.randn(50, 64)
    router.bias[5] = 100.0
    routing = router(x)
    assert (routing.indices == 5).any(-1).all()
    expected = torch.sigmoid(x @ router.weight.t()).gather(1, routing.indices)
    torch.testing.assert_close(routing.weights, 2.5 * expected / expected.sum(-1, keepdim=True))


def test_bias_falls_under_load_and_rises_without(router):
    before = router.weight.clone()
    router.load.copy_(torch.tensor([10.0, 0.0] * 8))
    router.update_bias(0.001)
    torch.testing.assert_close(router.bias, torch.tensor([-0.001, 0.001] * 8))
    assert router.bias.grad is None
    assert not router.bias.requires_grad
    assert torch.equal(router.weight, before)
    assert router.load.sum() == 0


def test_bias_and_load_stay_in_float32(router):
    router.bias.fill_(0.123456789)
    router.to(torch.bfloat16)
    assert router.weight.dtype == torch.bfloat16
    assert router.bias.dtype == torch.float32
    assert router.bias[0] == torch.tensor(0.123456789)


def test_bias_balances_a_skewed_stream():
    """Without any auxiliary loss the busiest expert falls from several times the mean to below 1.2."""
    made = Router(model.DeepSeekConfig(experts=16, groups=1, top_groups=1, top_k=2))
    torch.nn.init.normal_(made.weight, std=0.1)
    skew = torch.randn(64)

    def imbalance():
        made(torch.randn(4096, 64) + skew)
        return (made.load.max() / made.load.mean()).item()

    first = imbalance()
    for step in range(400):
        made.update_bias(0.01 if step < 200 else 0.002)
        last = imbalance()
    assert first > 3
    assert last < 1.2


def test_sequence_balance_loss():
    E, T = 8, 32
    even = torch.arange(T)[:, None] % E
    assert sequence_balance(torch.ones(T, E), even, 1) == pytest.approx(1.0)
    scores = torch.full((T, E), 1e-9)
    scores[:, 0] = 1.0
    assert sequence_balance(scores, torch.zeros(T, 1, dtype=torch.long), 1) == pytest.approx(E, rel=1e-5)
    half = torch.cat((torch.zeros(T // 2, 1, dtype=torch.long), torch.ones(T // 2, 1, dtype=torch.long)))
    assert sequence_balance(torch.ones(T, E), half, 2) == pytest.approx(1.0)  # balance is judged per sequence


def test_balance_loss_reaches_the_router(router):
    router.balance_coefficient = 0.1
    router(torch.randn(32, 64), sequences=2)
    router.balance_loss.backward()
    assert router.weight.grad.abs().sum() > 0


def by_hand(experts, x, indices, weights):
    y = torch.zeros_like(x)
    for n in range(len(x)):
        for e, w in zip(indices[n], weights[n], strict=True):
            y[n] += w * experts.down[e] @ swiglu(experts.gate_up[e] @ x[n])
    return y


@pytest.mark.parametrize("tokens", [1, 2, 37])
@pytest.mark.parametrize("grouped", [False, True])
def test_experts_equal_a_plain_loop(tokens, grouped, monkeypatch):
    experts = Experts(8, 16, 32)
    for p in experts.parameters():
        torch.nn.init.normal_(p, std=0.2)
    if grouped:
        if not device.has_grouped_matmul("cpu", torch.float32):
            pytest.skip("this torch has no grouped matmul")
        monkeypatch.setattr(experts, "grouped", True)
    x, indices, weights = torch.randn(tokens, 16), torch.rand(tokens, 8).topk(3).indices, torch.rand(tokens, 3)
    expected = by_hand(experts, x, indices, weights)
    torch.testing.assert_close(experts(x, indices, weights), expected, rtol=1e-5, atol=1e-5)
    with torch.no_grad():
        torch.testing.assert_close(experts(x, indices, weights), expected, rtol=1e-5, atol=1e-5)
    expected.square().sum().backward()
    grads = [p.grad.clone() for p in experts.parameters()]
    experts.zero_grad()
    experts(x, indices, weights).square().sum().backward()
    for p, g in zip(experts.parameters(), grads, strict=True):
        torch.testing.assert_close(p.grad, g, rtol=1e-4, atol=1e-5)


def test_shared_experts_are_optional():
    config = model.DeepSeekConfig(shared_experts=0)
    assert MoE(config).shared is None
    assert model.DeepSeek(config)(torch.zeros(1, 3, dtype=torch.long)).shape == (1, 3, 256)
