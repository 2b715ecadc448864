"""GRPO and PPO: the corners of their formulas, and one step that raises the reward."""

from __future__ import annotations

import copy

import pytest

torch = pytest.importorskip("torch", reason="the model needs torch: pip install costsim[model]")

import model  # noqa: E402
from model.grpo import GRPO, Rollout, clipped_objective, group_advantages, grpo_loss, grpo_step, k3, roll_out  # noqa: E402
from model.optimizer import AdamW  # noqa: E402
from model.ppo import PPO, ValueModel, advantages_and_returns, ppo_step, token_rewards  # noqa: E402
from model.rewards import accuracy_reward, format_reward  # noqa: E402


def test_advantages_are_standardised_with_population_deviation():
    a = group_advantages(torch.tensor([[1.0, 0.0, 0.0, 1.0], [3.0, 1.0, 2.0, 2.0]]))
    torch.testing.assert_close(a[0], torch.tensor([1.0, -1.0, -1.0, 1.0]))
    torch.testing.assert_close(a[1], torch.tensor([1.0, -1.0, 0.0, 0.0]) * 2**0.5)


def test_a_group_of_equals_teaches_nothing():
    rewards = torch.full((2, 8), 0.1)
    assert torch.equal(group_advantages(rewards), torch.zeros(2, 8))


def test_clipping_both_ways():
    ratio = torch.tensor([0.5, 0.9, 1.1, 1.5], requires_grad=True)
    clipped_objective(ratio, torch.tensor(1.0), 0.2).sum().backward()
    assert ratio.grad.tolist() == [1.0, 1.0, 1.0, 0.0]  # a good answer: no gain above 1 + ε
    ratio.grad = None
    clipped_objective(ratio, torch.tensor(-1.0), 0.2).sum().backward()
    assert ratio.grad.tolist() == [0.0, -1.0, -1.0, -1.0]  # a bad one: no gain below 1 − ε


def test_k3_is_a_kl():
    policy, reference = torch.randn(2, 50).log_softmax(-1), torch.randn(2, 50).log_softmax(-1)
    assert (k3(policy, reference) >= 0).all()
    assert torch.equal(k3(policy, policy), torch.zeros(2, 50))
    exact = (policy.exp() * (policy - reference)).sum(-1)
    torch.testing.assert_close((policy.exp() * k3(policy, reference)).sum(-1), exact)


def rollout_of(log_probs, rewards=(1.0, 0.0)):
    mask = torch.tensor([[0.0, 1.0, 1.0, 0.0], [0.0, 1.0, 1.0, 1.0]])
    ids = torch.zeros(2, 5, dtype=torch.long)
    return Rollout(ids, mask, log_probs.detach(), log_probs.detach(), torch.tensor(rewards))


def test_loss_at_the_first_step():
    """Ratio 1, no KL: the loss is −mean advantage, its gradient −A/|o| per answer token."""
    log_probs = torch.randn(2, 4).requires_grad_()
    advantages = torch.tensor([1.0, -1.0])
    loss, kl, clipped = grpo_loss(log_probs, rollout_of(log_probs), advantages, GRPO())
    assert loss.item() == pytest.approx(0.0, abs=1e-7)
    assert kl == clipped == 0
    loss.backward()
    expected = torch.tensor([[0, -1 / 2, -1 / 2, 0], [0, 1 / 3, 1 / 3, 1 / 3]]) / 2
    torch.testing.assert_close(log_probs.grad, expected)


def test_equal_rewards_leave_the_policy_alone():
    module = model.DeepSeek(model.DeepSeekConfig(vocab=16))
    before = copy.deepcopy(module.state_dict())
    settings = GRPO(group=4, max_new_tokens=3)
    optimizer = AdamW(module.parameters(), lr=0.1, weight_decay=0.0)
    rollout = roll_out(module, module, torch.randint(1, 16, (2, 3)), lambda prompt, answer: 1.0, settings, eos=0)
    update = grpo_step(module, optimizer, rollout, settings)
    assert update.loss == 0
    for name, value in module.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_rollouts():
    module = model.DeepSeek(model.DeepSeekConfig(vocab=8, init_std=0.3))
    settings = GRPO(group=5, max_new_tokens=6)
    seen = []
    rollout = roll_out(
        module, module, torch.randint(1, 8, (3, 4)), lambda p, a: seen.append((p, a)) or float(len(a)), settings, eos=0
    )
    assert [p for p, _ in seen] == [0] * 5 + [1] * 5 + [2] * 5
    for row, (_, answer) in enumerate(seen):
        assert rollout.mask[row].sum() == len(answer)
        assert (answer[:-1] != 0).all()  # nothing behind the end token is judged
        assert torch.equal(rollout.ids[row, 1:][rollout.mask[row].bool()], answer)
    torch.testing.assert_close(rollout.old, rollout.reference)


def climb(step, optimizers, module, settings, reference):
    """Mean reward by iteration for preferring token 3."""
    means = []
    for _ in range(25):
        prompts = torch.randint(1, 8, (4, 2))
        reward = lambda p, a: (a == 3).float().mean().item()  # noqa: E731
        rollout = roll_out(module, reference, prompts, reward, settings, eos=0)
        means.append(step(rollout).reward)
    return means


def test_grpo_raises_the_reward():
    module = model.DeepSeek(model.DeepSeekConfig(vocab=8))
    reference = copy.deepcopy(module).eval()
    settings = GRPO(group=8, max_new_tokens=4, epochs=2)
    optimizer = AdamW(module.parameters(), lr=3e-3)
    means = climb(lambda r: grpo_step(module, optimizer, r, settings), None, module, settings, reference)
    assert sum(means[-5:]) / 5 > sum(means[:5]) / 5 + 0.3


def test_ppo_raises_the_reward():
    module = model.DeepSeek(model.DeepSeekConfig(vocab=8))
    reference = copy.deepcopy(module).eval()
    value = ValueModel(copy.deepcopy(module))
    settings = PPO(GRPO(group=8, max_new_tokens=4, epochs=2))
    optimizers = AdamW(module.parameters(), lr=3e-3), AdamW(value.parameters(), lr=3e-3)
    step = lambda r: ppo_step(module, value, optimizers, r, settings)  # noqa: E731
    means = climb(step, None, module, settings.rollout, reference)
    assert sum(means[-5:]) / 5 > sum(means[:5]) / 5 + 0.3


def test_advantage_estimates_by_hand():
    rewards, values = torch.tensor([[0.0, 0.0, 1.0, 0.0]]), torch.tensor([[9.0, 0.5, 0.25, 7.0]])
    mask = torch.tensor([[0.0, 1.0, 1.0, 0.0]])
    advantages, returns = advantages_and_returns(rewards, values, mask, 1.0, 0.9)
    last = 1.0 - 0.25
    torch.testing.assert_close(advantages, torch.tensor([[0.0, 0.25 - 0.5 + 0.9 * last, last, 0.0]]))
    torch.testing.assert_close(returns, (advantages + values) * mask)


def test_reward_arrives_at_the_last_token():
    log_probs = torch.randn(2, 4)
    rewards = token_rewards(rollout_of(log_probs, (5.0, 7.0)), log_probs, kl=0.1)
    assert rewards.tolist() == [[0, 0, 5, 0], [0, 0, 0, 7]]


@pytest.mark.parametrize(
    ("text", "form", "accuracy"),
    [
        ("<think>2+2</think><answer>4</answer>", 1, 1),
        (" <think>\n</think>\n<answer> 4.0 </answer>\n", 1, 1),
        ("<think>x</think><answer>5</answer>", 1, 0),
        ("<answer>4</answer>", 0, 0),
        ("<think>x</think><answer>4</answer> and more", 0, 0),
        ("<think><think>x</think><answer>4</answer>", 0, 1),
    ],
)
def test_rule_rewards(text, form, accuracy):
    assert format_reward(text) == form
    assert accuracy_reward(text, "4") == accuracy


def test_text_answers_compare_as_text():
    assert accuracy_reward("<think></think><answer>yes</answer>", "yes") == 1
    assert accuracy_reward("<think></think><answer>1,000</answer>", "1000") == 1
