"""Does a bias on the router balance experts without an auxiliary loss? A small DeepSeek-V3 trained three ways.

Expert load is counted over the whole batch, as expert parallelism sees it. ``imbalance`` is the busiest expert over
the mean in the worst layer. The three runs share weights, data and order; they differ in what keeps experts busy:
nothing, the bias alone, or the auxiliary loss alone [deepseek-v3-report, section 2.1.2; arXiv 2408.15664].
``python -m model.balance`` prints the experiment.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from model.config import DeepSeekConfig
from model.optimizer import Schedule
from model.training import Batch, Recipe, train
from model.transformer import DeepSeek

#: bias speed, coefficient of the auxiliary loss
WAYS = {"nothing": (0.0, 0.0), "bias": (5e-3, 0.0), "loss": (0.0, 1e-2)}
VOCAB, LENGTH, SEQUENCES = 256, 64, 16
#: steps whose mean stands for a run's end
LAST = 20


@dataclass(frozen=True)
class Balance:
    """One run: imbalance and language loss of every step, and the means of the last ones."""

    way: str
    imbalance: tuple[float, ...]
    loss: tuple[float, ...]

    @property
    def final_imbalance(self) -> float:
        return sum(self.imbalance[-LAST:]) / len(self.imbalance[-LAST:])

    @property
    def final_loss(self) -> float:
        return sum(self.loss[-LAST:]) / len(self.loss[-LAST:])


def small() -> DeepSeekConfig:
    """Two layers of 32 experts, 4 chosen, one shared."""
    return DeepSeekConfig(
        vocab=VOCAB, layers=2, dense_layers=0, experts=32, top_k=4, groups=1, top_groups=1, max_length=LENGTH
    )


def stream(steps: int, seed: int) -> Iterator[Batch]:
    """Text of a made-up language: Zipf's law over words, each followed by one of four others, so topics are uneven."""
    draw = torch.Generator().manual_seed(seed)
    zipf = 1.0 / torch.arange(1, VOCAB + 1, dtype=torch.float)
    follow = torch.multinomial(zipf.expand(VOCAB, VOCAB), 4, generator=draw)
    for _ in range(steps):
        ids = torch.empty(SEQUENCES, LENGTH, dtype=torch.long)
        ids[:, 0] = torch.multinomial(zipf, SEQUENCES, replacement=True, generator=draw)
        pick = torch.randint(0, 4, (SEQUENCES, LENGTH), generator=draw)
        for t in range(1, LENGTH):
            ids[:, t] = follow[ids[:, t - 1], pick[:, t]]
        yield Batch(ids)


def run(way: str, steps: int = 400, seed: int = 0) -> Balance:
    """Train one way; the same seed gives the same weights and the same text."""
    speed, coefficient = WAYS[way]
    torch.manual_seed(seed)
    module = DeepSeek(small())
    recipe = Recipe(schedule=Schedule(2e-3, warmup=20), bias_speed=speed, balance=coefficient, recompute=False)
    done = list(train(module, stream(steps, seed + 1), recipe))
    return Balance(way, tuple(step.imbalance for step in done), tuple(step.loss for step in done))


def table(steps: int = 400) -> str:
    """The three runs as text."""
    lines = ["way        first   after 50   at the end   loss at the end"]
    for way in WAYS:
        found = run(way, steps)
        early = found.imbalance[min(50, steps - 1)]
        lines.append(
            f"{way:9s}{found.imbalance[0]:7.2f}{early:11.2f}{found.final_imbalance:13.2f}{found.final_loss:18.4f}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.stdout.write(table() + "\n")
