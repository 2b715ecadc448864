"""The best plans of a grid as their own verbs answer them: a training step task by task, a deployment by its requests.

Closed forms rank a grid; what a verb answers costs a tenth of a second and more. A closed form leaves out what only
events show (ranks that wait for one another, stages that come out uneven), so it is mostly the better of the two: plans
are played from the best on, until what was played is better than the closed form of the next.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from costsim.economics.cost import usd_per_mtok
from costsim.errors import BadInput
from costsim.explore.layouts import plan_and_load, whole_layers
from costsim.predict.inference import predict_inference
from costsim.predict.training import predict_training
from costsim.spec.accelerator import Accelerator
from costsim.spec.cluster import Cluster
from costsim.spec.model import ModelSpec
from costsim.spec.plan import ServingLoad, ServingPlan

Point = Mapping[str, Any]
Metrics = dict[str, float]
#: verb and words of each phase that has events
PLAYS = {"training": ("costsim train", "task by task"), "serving": ("costsim infer", "request by request")}
#: metric whose shift is told
_TOLD = {"training": ("step_s", "step"), "serving": ("tpot_s", "TPOT")}
#: plans played at least, as close ones may change places, and at most
LEAST, MOST = 8, 24


@dataclass(frozen=True)
class Question:
    """What every plan of one search has in common; ``limits`` are its targets, by metric."""

    model: ModelSpec
    chip: Accelerator
    cluster: Cluster | None
    phase: str
    usd_per_h: float | None
    limits: Mapping[str, float]

    def play(self, point: Point, closed: Mapping[str, float]) -> Metrics | None:
        """Metrics of one plan as its verb answers; None where it is refused so, or misses a target."""
        try:
            found = self._training(point) if self.phase == "training" else self._serving(point, closed)
        except BadInput:
            return None
        if self.usd_per_h is not None:
            found["usd_per_mtok"] = float(usd_per_mtok(self.usd_per_h, found["tokens_per_s_per_gpu"]))
        return None if any(found[name] > limit for name, limit in self.limits.items()) else found

    def _training(self, point: Point) -> Metrics:
        plan, load = plan_and_load(point)
        report = predict_training(self.model, self.chip, plan, load, None, self.cluster)
        return {"step_s": report["step_s"], "tokens_per_s_per_gpu": report["tokens_per_s_per_gpu"],
                "memory_bytes": report["peak_memory_bytes"]}  # fmt: skip

    def _serving(self, point: Point, closed: Mapping[str, float]) -> Metrics:
        names = ServingLoad.__dataclass_fields__
        load = ServingLoad(**{name: value for name, value in point.items() if name in names})
        plan = ServingPlan(**whole_layers({name: value for name, value in point.items() if name not in names}))
        report = predict_inference(self.model, self.chip, plan, load, None, self.cluster)
        shown = {name: report[name] for name in closed if name in report.metrics}
        rate = report["output_tokens_per_s_per_gpu"]
        return shown | {"tokens_per_s_per_gpu": rate, "memory_bytes": float(report.memory["total_bytes"])}


@dataclass(frozen=True)
class Played:
    """Plans in the order of their closed forms, with what playing says of each."""

    closed: list[Mapping[str, float]]
    game: list[Metrics | None]
    best: int | None

    def words(self, phase: str) -> str:
        """How far playing lies from the closed form, and what it refuses."""
        pairs = [(a, b) for a, b in zip(self.closed, self.game, strict=True) if b is not None]
        verb, how = PLAYS[phase]
        words = f"the grid is in closed form; its {len(self.game)} best plans were played {how}, as {verb} does"
        name, told = _TOLD[phase]
        if pairs:
            shifts = [100.0 * (b[name] / a[name] - 1.0) for a, b in pairs]
            words += f": {told} {min(shifts):+.1f} to {max(shifts):+.1f} % of the closed form"
        if lost := len(self.game) - len(pairs):
            words += f"; refused or past a target so: {lost}"
        return words if pairs else f"{words}; the best named is the closed form's"


def played(
    ask: Question, ranked: Sequence[tuple[Point, Mapping[str, float]]], cost: Callable[[Mapping[str, float]], float]
) -> Played:
    """Play ``ranked`` plans, best closed form first, as far as a better one may come; ``cost`` is what is least."""
    closed: list[Mapping[str, float]] = []
    game: list[Metrics | None] = []
    best: int | None = None
    for point, metrics in ranked[:MOST]:
        lowest = None if best is None else game[best]
        if len(game) >= LEAST and lowest is not None and cost(lowest) <= cost(metrics):
            break
        closed.append(metrics)
        game.append(ask.play(point, metrics))
        now = game[-1]
        if now is not None and (lowest is None or cost(now) < cost(lowest)):
            best = len(game) - 1
    return Played(closed, game, best)
