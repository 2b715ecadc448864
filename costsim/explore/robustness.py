"""Robustness of a ranking: in what share of draws from all bands one answer beats another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from costsim.errors import OutOfRange
from costsim.explore.inputs import Question
from costsim.explore.moved import Asked, lower_is_better
from costsim.explore.sensitivity import band_of, levers, sampled
from costsim.frames import Framed, Rows

#: fewest draws that say anything about tails, and most that anybody waits for
LEAST, MOST = 20, 20_000


@dataclass(frozen=True)
class Ranking(Framed):
    """``first[i]``: share of draws in which answer i is best; ``beats[i][j]``: in which i beats j (half a tie);
    ``bands``: of each answer as it carries it, at its price."""

    metric: str
    unit: str
    names: tuple[str, ...]
    values: tuple[float, ...]
    bands: tuple[tuple[float, float], ...]
    first: tuple[float, ...]
    beats: tuple[tuple[float, ...], ...]
    draws: int
    seed: int
    lower_is_better: bool

    @property
    def order(self) -> list[int]:
        """Answers from best to worst by their value."""
        return sorted(range(len(self.names)), key=lambda i: self.values[i] * (1 if self.lower_is_better else -1))

    def rows(self) -> Rows:
        """``answers``: value, band and how often each is best; ``beats``: in what share of draws one beats another."""
        return {
            "answers": [
                {"name": name, "value": self.values[i], "unit": self.unit, "low": self.bands[i][0],
                 "high": self.bands[i][1], "first": self.first[i]}
                for i, name in enumerate(self.names)
            ],
            "beats": [
                {"name": one, "other": other, "share": self.beats[i][j]}
                for i, one in enumerate(self.names) for j, other in enumerate(self.names) if i != j
            ],
        }  # fmt: skip

    def json(self) -> dict[str, Any]:
        return {
            "metric": self.metric, "unit": self.unit, "draws": self.draws, "seed": self.seed,
            "lower_is_better": self.lower_is_better,
            "answers": [
                {"name": name, "value": self.values[i], "low": self.bands[i][0], "high": self.bands[i][1],
                 "first": self.first[i], "beats": dict(zip(self.names, self.beats[i], strict=True))}
                for i, name in enumerate(self.names)
            ],
        }  # fmt: skip


def ranking(questions: Sequence[Question], metric: str, draws: int = 400, seed: int = 0) -> Ranking:
    """Draw every input of every question from its band and count who is best. Raises BadInput."""
    if not LEAST <= draws <= MOST:
        raise OutOfRange(f"draws = {draws}: must be from {LEAST} to {MOST:,}")
    asked = [Asked(question, metric) for question in questions]
    known = [levers(one) for one in asked]
    found = np.array(sampled(asked, known, draws, seed))
    sign = 1.0 if lower_is_better(metric) else -1.0
    cost = sign * found
    best = np.argmin(cost, axis=0)
    beats = [[float(np.mean((cost[i] < cost[j]) + 0.5 * (cost[i] == cost[j]))) for j in range(len(asked))]
             for i in range(len(asked))]  # fmt: skip
    bands = [band_of(one, each, draws, seed) for one, each in zip(asked, known, strict=True)]
    names = _names(questions)
    return Ranking(
        metric, asked[0].report.metrics[metric].unit, names, tuple(one.value for one in asked),
        tuple(bands),
        tuple(float(np.mean(best == i)) for i in range(len(asked))), tuple(tuple(row) for row in beats), draws, seed,
        sign > 0,
    )  # fmt: skip


def _names(questions: Sequence[Question]) -> tuple[str, ...]:
    """Names that tell the answers apart: equal ones are numbered."""
    seen: dict[str, int] = {}
    out = []
    for question in questions:
        seen[question.name] = seen.get(question.name, 0) + 1
        out.append(question.name if seen[question.name] == 1 else f"{question.name} ({seen[question.name]})")
    return tuple(out)
