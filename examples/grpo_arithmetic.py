"""Teach a small DeepSeek-V3 to add by reinforcement learning, on one CPU core, in about a minute.

    python examples/grpo_arithmetic.py [--algorithm grpo|ppo|both] [--iterations 100] [--seed 0]

The steps are DeepSeek-R1's, at toy size: a warm start on written-out answers, half of them wrong, teaches the
format; then the model samples groups of answers with its own ``generate``, two rules reward format and accuracy, and
GRPO (or PPO with a value model, for comparison of memory and time) does the rest.
"""

from __future__ import annotations

import argparse
import copy
import random
import time

import torch

import model
from model.grpo import GRPO, grpo_step, roll_out
from model.losses import IGNORE
from model.optimizer import AdamW, Schedule
from model.ppo import PPO, ValueModel, ppo_step
from model.rewards import accuracy_reward, format_reward
from model.training import Batch, Recipe, train

WORDS = ["<end>", *"0123456789", "+", "=", "<think>", "</think>", "<answer>", "</answer>"]
CODE = {word: i for i, word in enumerate(WORDS)}
END = 0
QUESTION = 4  # tokens of a question such as 3+5=
CONFIG = model.DeepSeekConfig(
    vocab=len(WORDS), hidden=64, layers=2, dense_layers=1, intermediate=256, experts=8, top_k=2, expert_intermediate=64
)


def encode(words: list[str]) -> list[int]:
    return [CODE[word] for word in words]


def decode(tokens: torch.Tensor) -> str:
    """Text up to the end token."""
    words = [WORDS[t] for t in tokens.tolist()]
    return "".join(words[: words.index("<end>")] if "<end>" in words else words)


def question(a: int, b: int) -> list[int]:
    return encode([str(a), "+", str(b), "="])


def answer(a: int, b: int, total: int) -> list[int]:
    return encode(["<think>", str(a), "+", str(b), "</think>", "<answer>", *str(total), "</answer>", "<end>"])


def warm_start_batch(dice: random.Random, size: int, right: float) -> Batch:
    """Questions with answers in the right format, a share ``right`` of them correct; only the answers are learnt."""
    rows, labels = [], []
    for _ in range(size):
        a, b = dice.randrange(10), dice.randrange(10)
        total = a + b if dice.random() < right else dice.randrange(19)
        text = question(a, b) + answer(a, b, total)
        learnt = [IGNORE] * QUESTION + text[QUESTION:]
        blank = 15 - len(text)
        rows.append(text + [END] * blank)
        labels.append(learnt + [IGNORE] * blank)
    return Batch(torch.tensor(rows), torch.tensor(labels))


def warm_start(seed: int, steps: int = 300, right: float = 0.5) -> model.DeepSeek:
    torch.manual_seed(seed)
    dice = random.Random(seed)
    module = model.DeepSeek(CONFIG)
    recipe = Recipe(Schedule(3e-3, warmup=10, decay=steps, floor=3e-4), mtp_weight=0.0, recompute=False)
    for _ in train(module, (warm_start_batch(dice, 64, right) for _ in range(steps)), recipe):
        pass
    return module


def score(module: model.DeepSeek) -> tuple[float, float]:
    """(accuracy, format) over all 100 questions, with samples as the policy draws them."""
    pairs = [(a, b) for a in range(10) for b in range(10)]
    prompts = torch.tensor([question(a, b) for a, b in pairs])
    texts = [decode(row[QUESTION:]) for row in model.generate(module, prompts, 11, temperature=1.0, eos=END)]
    right = [accuracy_reward(text, str(a + b)) for text, (a, b) in zip(texts, pairs, strict=True)]
    return sum(right) / 100, sum(format_reward(text) for text in texts) / 100


def held_bytes(*networks: torch.nn.Module, trained: int) -> int:
    """Weights of all networks; gradients and two moments of the first ``trained``."""
    sizes = [sum(p.numel() * p.element_size() for p in n.parameters()) for n in networks]
    return sum(sizes) + 2 * sum(sizes[:trained])


def reinforce(start: model.DeepSeek, algorithm: str, iterations: int, seed: int) -> dict[str, float]:
    """Run GRPO or PPO from a warm start; reward, accuracy, format, seconds per iteration, bytes held."""
    torch.manual_seed(seed)
    dice = random.Random(seed + 1)
    policy, reference = copy.deepcopy(start), copy.deepcopy(start).eval()
    settings = GRPO(group=16, max_new_tokens=11, kl=0.01, epochs=2)
    optimizer = AdamW(policy.parameters(), lr=5e-4, weight_decay=0.0)
    value = ValueModel(copy.deepcopy(start)) if algorithm == "ppo" else None
    value_optimizer = AdamW(value.parameters(), lr=5e-4, weight_decay=0.0) if value else None
    began = time.perf_counter()
    for iteration in range(iterations):
        pairs = [(dice.randrange(10), dice.randrange(10)) for _ in range(16)]
        prompts = torch.tensor([question(a, b) for a, b in pairs])

        def reward(prompt: int, tokens: torch.Tensor, pairs: list[tuple[int, int]] = pairs) -> float:
            text = decode(tokens)
            return accuracy_reward(text, str(sum(pairs[prompt]))) + 0.2 * format_reward(text)

        rollout = roll_out(policy, reference, prompts, reward, settings, eos=END)
        if value is not None and value_optimizer is not None:
            update = ppo_step(policy, value, (optimizer, value_optimizer), rollout, PPO(settings))
        else:
            update = grpo_step(policy, optimizer, rollout, settings)
        if iteration % 10 == 0 or iteration == iterations - 1:
            drift = f"kl {update.kl:.3f}  clipped {update.clipped:.1%}"
            print(f"{algorithm} {iteration:4d}  reward {update.reward:.2f}  {drift}")
    seconds = (time.perf_counter() - began) / iterations
    accuracy, form = score(policy)
    networks = (policy, reference) if value is None else (policy, value, reference)
    held = held_bytes(*networks, trained=len(networks) - 1)
    return {"accuracy": accuracy, "format": form, "seconds": seconds, "bytes": held}


def main(arguments: list[str] | None = None) -> dict[str, dict[str, float]]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--algorithm", choices=("grpo", "ppo", "both"), default="grpo")
    parser.add_argument("--iterations", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)  # the model is too small to share
    start = warm_start(options.seed)
    accuracy, form = score(start)
    results = {"warm start": {"accuracy": accuracy, "format": form}}
    print(f"warm start: accuracy {accuracy:.0%}, format {form:.0%}")
    for algorithm in ("grpo", "ppo") if options.algorithm == "both" else (options.algorithm,):
        r = results[algorithm] = reinforce(start, algorithm, options.iterations, options.seed)
        cost = f"{r['seconds']:.2f} s an iteration, {r['bytes'] / 1e6:.1f} MB of weights, gradients and moments"
        print(f"{algorithm}: accuracy {r['accuracy']:.0%}, format {r['format']:.0%}; {cost}")
    return results


if __name__ == "__main__":
    main()
