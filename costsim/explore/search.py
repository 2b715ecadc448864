"""Search: every plan of a grid costed, the frontier kept, and the rest counted by the reason it fell out."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from costsim.economics.cost import usd_per_mtok
from costsim.errors import BadOption, OutOfRange, UnknownName
from costsim.explore.families import Family, compared, family_keys
from costsim.explore.families import Tally as FamilyTally
from costsim.explore.grid import Block, Values, at_edge, blocks, plan_count
from costsim.explore.layouts import training_fit, training_parts, whole_layers
from costsim.explore.pareto import pareto
from costsim.explore.played import PLAYS, Question, played
from costsim.frames import Framed, Rows
from costsim.predict.layout import Rule
from costsim.predict.phases import decode, prefill, setting_for
from costsim.predict.question import most_cards
from costsim.predict.steady import serve
from costsim.predict.training import training_step
from costsim.spec.accelerator import Accelerator
from costsim.spec.cluster import Cluster, standard_cluster
from costsim.spec.model import ModelSpec
from costsim.spec.plan import (
    DecodeLoad,
    PrefillLoad,
    ServingLoad,
    ServingPlan,
    TrainingLoad,
    TrainingPlan,
)
from costsim.spec.price import Price, default_rate, in_usd

Array = NDArray[np.float64]
PHASES = ("prefill", "decode", "serving", "training")
#: objective -> (metric, sign): lower sign·metric is better
OBJECTIVES = {"usd_per_mtok": 1.0, "tokens_per_s_per_gpu": -1.0, "step_s": 1.0}
#: plans kept from each block before the frontier of all is taken
KEEP = 256
#: best plans kept from each block beside them, to be played
NEAR = 24


@dataclass(frozen=True)
class Found:
    """One plan of the frontier with its numbers."""

    plan: dict[str, Any]
    metrics: dict[str, float]

    def question(self, phase: str) -> tuple[Any, Any]:
        """The plan and the load that a prediction of this ``phase`` takes: it adds bands, grades and a breakdown."""
        parts = []
        for kind in _types(phase):
            names = {field.name for field in fields(kind)}
            parts.append(kind(**whole_layers({name: value for name, value in self.plan.items() if name in names})))
        return parts[0], parts[1]

    def json(self) -> dict[str, Any]:
        return {"plan": self.plan, "metrics": self.metrics}


@dataclass(frozen=True)
class SearchResult(Framed):
    """``evaluated`` plans were costed or refused by a rule; ``rejected`` counts the refused by reason."""

    evaluated: int
    feasible: int
    rejected: dict[str, int]
    frontier: tuple[Found, ...]
    best: Found | None
    objective: str
    notes: tuple[str, ...] = ()
    families: tuple[Family, ...] = ()
    trade: str = ""

    def rows(self) -> Rows:
        """``frontier``: plan keys and metrics of every plan on it; ``rejected``: reasons; ``families``: why not."""
        return {
            "frontier": [{**found.plan, **found.metrics} for found in self.frontier],
            "rejected": [{"reason": reason, "plans": count} for reason, count in self.rejected.items()],
            "families": [family.json() for family in self.families],
        }

    def json(self) -> dict[str, Any]:
        return {
            "evaluated": self.evaluated,
            "feasible": self.feasible,
            "rejected": self.rejected,
            "frontier": [found.json() for found in self.frontier],
            "best": None if self.best is None else self.best.json(),
            "objective": self.objective,
            "notes": list(self.notes),
            "families": [family.json() for family in self.families],
            "trade": self.trade,
        }


@dataclass
class _Tally:
    """What the blocks add up to."""

    families: FamilyTally
    trade: str
    evaluated: int = 0
    feasible: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    kept: list[tuple[dict[str, Any], dict[str, float]]] = field(default_factory=list)


def search(
    model: ModelSpec,
    chip: Accelerator,
    phase: str,
    grid: Mapping[str, Values],
    *,
    objective: str = "usd_per_mtok",
    ttft_s: float | None = None,
    tpot_s: float | None = None,
    max_gpus: float | None = None,
    price: Price | None = None,
    cluster: Cluster | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> SearchResult:
    """Cost every plan of ``grid`` (plan and load keys → values; words and numbers) for one phase.

    Divisibility, memory and targets are masks, so a million plans are a few array operations.
    The frontier trades latency (tpot_s or ttft_s; in training memory, or the step where GPU counts differ) against
    ``objective``; ``families`` says of each value of each key what stopped its plans or set them back. Raises BadInput
    for unknown keys, empty axes, unknown words or dtypes the chip lacks.
    """
    if phase not in PHASES:
        raise UnknownName("phase", phase, PHASES)
    if objective not in OBJECTIVES:
        raise UnknownName("objective", objective, OBJECTIVES)
    _check_keys(phase, grid)
    total = plan_count(grid)
    rate = price if price is not None else default_rate(chip)
    if objective == "usd_per_mtok" and rate is None:
        raise BadOption(
            f"no hourly price is known for {chip.id}; pass --price 2USD/h or --objective tokens_per_s_per_gpu"
        )
    usd = None if rate is None else in_usd(rate)
    limits = _limits(phase, ttft_s, tpot_s)
    tally = _Tally(FamilyTally(family_keys(grid, _family_names(phase))), _trade(phase, objective, grid))
    for block in blocks(grid):
        _run_block(tally, block, model, chip, phase, objective, limits, max_gpus, usd, cluster)
        if progress is not None:
            progress(tally.evaluated, total)
    result = _result(tally, objective, rate)
    parts = functools.partial(training_parts, model, chip, cluster) if phase == "training" else None
    sign = OBJECTIVES[objective]
    if phase in PLAYS and result.best is not None:
        result = _replayed(result, tally, Question(model, chip, cluster, phase, usd, limits))
    if result.best is not None and (edge := at_edge(grid, result.best.plan, max_gpus)):
        result = replace(result, notes=(*result.notes, edge))
    return replace(result, families=compared(tally.families.families(sign), sign, parts))


def _replayed(result: SearchResult, tally: _Tally, ask: Question) -> SearchResult:
    """The result with the best of its plans by what playing says of them."""
    name, sign = result.objective, OBJECTIVES[result.objective]
    ranked = sorted(tally.kept, key=lambda kept: kept[1][name] * sign)
    found = played(ask, ranked, lambda metrics: metrics[name] * sign)
    best = result.best
    if found.best is not None:
        metrics = found.game[found.best]
        assert metrics is not None
        best = Found(ranked[found.best][0], metrics)
    return replace(result, best=best, notes=(*result.notes, found.words(ask.phase)))


def _limits(phase: str, ttft_s: float | None, tpot_s: float | None) -> dict[str, float]:
    """The targets that were set; one that this phase has no number for is refused, not ignored."""
    has = {"prefill": ("ttft_s",), "decode": ("tpot_s",), "serving": ("ttft_s", "tpot_s"), "training": ()}[phase]
    limits = {}
    for name, value in (("ttft_s", ttft_s), ("tpot_s", tpot_s)):
        if value is None:
            continue
        if name not in has:
            raise BadOption(f"{name.removesuffix('_s')}: does not apply to phase {phase}")
        if not value > 0:
            raise OutOfRange(f"{name.removesuffix('_s')} = {value:g} s: must be above zero")
        limits[name] = value
    return limits


def _check_keys(phase: str, grid: Mapping[str, Values]) -> None:
    plan, load = _types(phase)
    known = plan_keys(phase)
    for name in grid:
        if name not in known:
            raise UnknownName(f"key of a {phase} plan", name, known)
    if len(grid.get("layers", ())) > 1:
        raise BadOption("layers: a search cuts the model once; give one value")
    required = {f.name for f in (*fields(plan), *fields(load)) if f.default.__class__.__name__ == "_MISSING_TYPE"}
    missing = sorted(required - set(grid))
    if missing:
        raise BadOption(f"{missing[0]}: needed to search {phase} plans; give one or more values")


def _types(phase: str) -> tuple[type[Any], type[Any]]:
    loads = {"prefill": PrefillLoad, "decode": DecodeLoad, "serving": ServingLoad, "training": TrainingLoad}
    return (TrainingPlan if phase == "training" else ServingPlan), loads[phase]


def plan_keys(phase: str) -> tuple[str, ...]:
    """Every key that a grid of this phase may have, plan first."""
    plan, load = _types(phase)
    return tuple(dict.fromkeys(f.name for f in (*fields(plan), *fields(load))))


def _split(block: Block, cls: type[Any]) -> Any:
    names = {f.name for f in fields(cls)}
    both: dict[str, Any] = {**block.words, **block.numbers}
    return cls(**whole_layers({name: value for name, value in both.items() if name in names}))


def _run_block(
    tally: _Tally, block: Block, model: ModelSpec, chip: Accelerator, phase: str, objective: str,
    limits: Mapping[str, float], max_gpus: float | None, usd: float | None, cluster: Cluster | None,
) -> None:  # fmt: skip
    with np.errstate(all="ignore"):
        metrics, rules, fits = _evaluate(block, model, chip, phase, cluster, usd)
        good = np.ones(block.shape, dtype=bool)
        out: list[tuple[str, NDArray[np.bool_]]] = []
        for rule in rules:
            _reject(out, good, np.broadcast_to(rule.broken, block.shape), rule.reason)
        for reason, broken in fits:
            _reject(out, good, np.broadcast_to(broken, block.shape), reason)
        if max_gpus is not None and "gpus" in block.numbers:
            _reject(out, good, np.broadcast_to(block.numbers["gpus"] > max_gpus, block.shape), "more than max_gpus")
        for name, limit in limits.items():
            _reject(out, good, np.broadcast_to(metrics[name] > limit, block.shape), f"misses the {name} target")
        cost = np.broadcast_to(metrics[objective] * OBJECTIVES[objective], block.shape)
    for reason, mask in out:
        tally.rejected[reason] += int(np.count_nonzero(mask))
    tally.families.add(block, out, good, cost)
    tally.evaluated += block.size
    count = int(np.count_nonzero(good))
    tally.feasible += count
    if count:
        _keep_best(tally, block, metrics, good, objective)


def _reject(
    out: list[tuple[str, NDArray[np.bool_]]], good: NDArray[np.bool_], broken: NDArray[np.bool_], reason: str
) -> None:
    """Plans still good that break here fall out, for this reason alone."""
    lost = good & broken
    if lost.any():
        out.append((reason, lost))
        good &= ~broken


def _evaluate(
    block: Block, model: ModelSpec, chip: Accelerator, phase: str, cluster: Cluster | None, usd: float | None
) -> tuple[dict[str, Array], list[Rule], list[tuple[str, Any]]]:
    """Metrics, rules, and the ways not to fit in memory, each with where it holds."""
    plan_type, load_type = _types(phase)
    plan, load = _split(block, plan_type), _split(block, load_type)
    if phase == "training":
        where = cluster or standard_cluster(chip, most_cards(plan.gpus))
        step, _ = training_step(model, chip, plan, load, where, strict=False)
        rate = load.global_batch * load.seq / step.step_s / plan.gpus
        metrics = {"step_s": step.step_s, "tokens_per_s_per_gpu": rate, "memory_bytes": step.memory.total_bytes}
        rules, fits = step.rules, training_fit(step.memory, chip)
    else:
        setting = setting_for(model, chip, plan, cluster)
        metrics, rules, whole = _serving_metrics(phase, setting, load)
        fits = [("does not fit in memory", ~np.asarray(whole))]
    if usd is not None:
        metrics["usd_per_mtok"] = usd_per_mtok(usd, metrics["tokens_per_s_per_gpu"])
    return metrics, rules, fits


def _serving_metrics(phase: str, setting: Any, load: Any) -> tuple[dict[str, Array], list[Rule], Any]:
    if phase == "serving":
        blend = serve(setting, load, strict=False)
        metrics: dict[str, Any] = {name: value for name, (value, _) in blend.metrics.items()}
        metrics["tokens_per_s_per_gpu"] = metrics["output_tokens_per_s_per_gpu"]
        metrics["memory_bytes"] = blend.decode.memory.total_bytes
        return metrics, blend.rules, blend.decode.memory.fits
    answer = prefill(setting, load, strict=False) if phase == "prefill" else decode(setting, load, strict=False)
    metrics = {
        name: value for name, (value, _) in answer.metrics.items() if name not in ("flop_per_token", "mfu", "mbu")
    }
    metrics["memory_bytes"] = answer.memory.total_bytes
    return metrics, answer.rules, answer.memory.fits


def _family_names(phase: str) -> tuple[str, ...]:
    """Keys of the plan, and the micro-batch: what a person chooses, not the load he is given."""
    return (*(f.name for f in fields(_types(phase)[0])), "micro_batch")


def _trade(phase: str, objective: str, grid: Mapping[str, Values]) -> str:
    """The metric on the other axis of the frontier."""
    if phase == "training":
        return "step_s" if len(grid.get("gpus", ())) > 1 and objective != "step_s" else "memory_bytes"
    return {"prefill": "ttft_s", "decode": "tpot_s", "serving": "tpot_s"}[phase]


def _keep_best(
    tally: _Tally, block: Block, metrics: Mapping[str, Array], good: NDArray[np.bool_], objective: str
) -> None:
    """The block's own frontier and its best plans; the frontier of all blocks and what is played are among these."""
    where = np.flatnonzero(good)
    full = {name: np.broadcast_to(value, block.shape).ravel() for name, value in metrics.items()}
    cost = full[objective][where] * OBJECTIVES[objective]
    latency = full[tally.trade][where]
    lowest = np.argpartition(cost, min(NEAR, cost.size - 1))[:NEAR]
    chosen = where[np.union1d(pareto(latency, cost)[:KEEP], lowest)]
    for index in chosen:
        tally.kept.append((block.plan_at(int(index)), {name: float(values[index]) for name, values in full.items()}))


def _result(tally: _Tally, objective: str, rate: Price | None) -> SearchResult:
    notes = [] if rate is None else [f"price: {rate.text} from {rate.id}, confidence {rate.confidence}"]
    if not tally.kept:
        if tally.rejected:
            reason, count = tally.rejected.most_common(1)[0]
            notes.append(f"no plan is feasible; most ({count:,}) fell out because: {reason}")
        return SearchResult(tally.evaluated, 0, dict(tally.rejected.most_common()), (), None, objective, tuple(notes),
                            trade=tally.trade)  # fmt: skip
    latency = np.array([metrics[tally.trade] for _, metrics in tally.kept])
    cost = np.array([metrics[objective] * OBJECTIVES[objective] for _, metrics in tally.kept])
    front = tuple(Found(*tally.kept[i]) for i in pareto(latency, cost))
    best = Found(*tally.kept[int(np.argmin(cost))])
    return SearchResult(
        tally.evaluated, tally.feasible, dict(tally.rejected.most_common()), front, best, objective, tuple(notes),
        trade=tally.trade,
    )  # fmt: skip
