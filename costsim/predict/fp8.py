"""What FP8 training saves over BF16, as a waterfall: one change at a time, each on top of those before it.

Time and memory change at different places: matrix products and casts, expert transfers, activations kept for the
backward pass, copies of weights, and the recomputation that freed memory makes needless. The last level is the FP8
plan itself, so the changes add up to the whole by construction.
"""

from __future__ import annotations

import itertools
from dataclasses import asdict, dataclass, fields, replace

import numpy as np

from costsim.errors import DoesNotDivide, DoesNotFit
from costsim.frames import Framed, Rows
from costsim.physics.memory import RESERVE_SHARE
from costsim.physics.training.recompute import recomputed_tensors
from costsim.predict.layout import refuse
from costsim.predict.question import check_values
from costsim.predict.report import Metric, Report
from costsim.predict.training import predict_training
from costsim.predict.training.answer import LEFT_OUT, parts_of
from costsim.predict.training.fits import memory_by_rank
from costsim.predict.training.memory import TrainingFootprint, training_footprint
from costsim.predict.training.pipeline import playable, played
from costsim.predict.training.setting import TrainingSetting, training_rules, training_setting
from costsim.predict.training.step import closed_form
from costsim.predict.training.sync import send_seconds
from costsim.spec.accelerator import Accelerator
from costsim.spec.cluster import Cluster, standard_cluster
from costsim.spec.model import ModelSpec
from costsim.spec.plan import TrainingLoad, TrainingPlan
from costsim.spec.price import Price, default_rate, in_usd
from costsim.units import GIGA, HOUR_S

#: heavier and heavier recomputation, tried until a plan fits
POLICIES = ("none", "selective", "full")
_PP = (1, 2, 4, 8, 16, 32, 64)


@dataclass(frozen=True)
class Level:
    """A state of the plan between BF16 and FP8. ``memory`` is at the FP8 plan's recomputation; ``cards`` make the
    BF16 plan's tokens a day; ``usd`` is the run's."""

    id: str
    title: str
    step_s: float
    memory: dict[str, float]
    cards: float
    usd: float | None

    @property
    def memory_bytes(self) -> float:
        return sum(self.memory.values())


@dataclass(frozen=True)
class Fp8Savings(Framed):
    """Levels from BF16 to FP8; a change is the difference of two neighbours."""

    levels: tuple[Level, ...]
    recompute: tuple[str, str]
    fewest_cards: tuple[float | None, float | None]
    report: Report

    def rows(self) -> Rows:
        """The report's tables and ``levels``, from BF16 to FP8."""
        levels = [
            {"level": level.id, "title": level.title, "step_s": level.step_s, "memory_bytes": level.memory_bytes,
             "cards": level.cards, "usd": level.usd}
            for level in self.levels
        ]  # fmt: skip
        return {**self.report.rows(), "levels": levels}

    def changes(self, name: str) -> list[tuple[str, float]]:
        """(title, difference) of ``step_s``, ``memory_bytes``, ``cards`` or ``usd``; they add up to last − first."""
        values = [float(getattr(level, name) or 0.0) for level in self.levels]
        return [(b.title, y - x) for b, x, y in zip(self.levels[1:], values, values[1:], strict=False)]


def fp8_savings(
    model: ModelSpec, chip: Accelerator, plan: TrainingPlan, load: TrainingLoad, price: Price | None = None,
    cluster: Cluster | None = None,
) -> Fp8Savings:  # fmt: skip
    """The waterfall for one layout. Raises BadInput where the chip has no FP8 or the layout is wrong, DoesNotFit where
    not even full recomputation makes one of the two formats fit."""
    check_values(plan, load)
    where = cluster or standard_cluster(chip, int(plan.gpus))
    narrow = training_setting(model, chip, replace(plan, precision="fp8"), load, where)
    wide = training_setting(model, chip, replace(plan, precision="bf16"), load, where)
    # the framework of the FP8 plan, also where the words of the BF16 one would choose another
    wide = replace(wide, recipe=replace(narrow.recipe, dtype="bf16", eight_bit_dispatch=False),
                   convention=replace(narrow.convention, eight_bit_copy=0.0))  # fmt: skip
    refuse(training_rules(model, chip, plan, load), DoesNotDivide)
    light, heavy = _policy(narrow, plan.recompute), _policy(wide, plan.recompute)
    rate = price if price is not None else default_rate(chip)
    usd = None if rate is None or load.tokens is None else in_usd(rate)
    levels = _levels(narrow, wide, light, heavy, usd)
    fewest = (
        _fewest_cards(model, chip, plan, load, where, "bf16"),
        _fewest_cards(model, chip, plan, load, where, "fp8"),
    )
    report = _report(model, chip, replace(plan, precision="fp8", recompute=light), load, rate, where, levels, fewest)
    if plan.precision != "fp8":
        told = f"precision {plan.precision}, where both formats are compared{LEFT_OUT}"
        report = replace(report, notes=(*report.notes, told))
    return Fp8Savings(levels, (heavy, light), fewest, report)


def _levels(
    narrow: TrainingSetting, wide: TrainingSetting, light: str, heavy: str, usd: float | None
) -> tuple[Level, ...]:
    """Time and memory of each state; a state differs from the one before in one thing.

    Time is that of plans that fit: BF16 recomputes as much as it must. What FP8 frees shows twice, in memory at equal
    recomputation and in the time of the recomputation that it makes needless.
    """
    under = replace(wide, policy=recomputed_tensors(heavy))
    products = replace(under, recipe=replace(narrow.recipe, eight_bit_dispatch=False))
    transfers = replace(products, recipe=narrow.recipe)
    last = replace(narrow, policy=recomputed_tensors(light))
    # memory is compared at the recomputation of the FP8 plan, whether BF16 fits with it or not
    full_width, kept = replace(wide, policy=last.policy), replace(last, convention=wide.convention)
    states = (
        ("bf16", "BF16", under, full_width),
        ("compute", "matrix products and casts", products, full_width),
        ("communication", "expert transfers", transfers, full_width),
        ("activations", "activations kept", transfers, kept),
        ("weights", "copies of weights", transfers, last),
        ("recompute", "less recomputation", last, last),
    )
    done = {id(state): _played(state) for state in (under, products, transfers, full_width, kept, last)}
    first = done[id(under)][0]
    cards = float(narrow.plan.gpus)
    tokens, batch = float(narrow.load.tokens or 0.0), float(narrow.load.global_batch) * float(narrow.load.seq)
    out = []
    for name, title, timed, held in states:
        seconds, terms = done[id(timed)][0], done[id(held)][1]
        hours = tokens / batch * seconds * cards / HOUR_S
        out.append(Level(name, title, seconds, terms, cards * seconds / first, None if usd is None else hours * usd))
    return tuple(out)


def _played(setting: TrainingSetting) -> tuple[float, dict[str, float]]:
    """(seconds of a step, bytes of the fullest rank by kind) as the prediction of one plan finds them."""
    step = closed_form(setting, [])
    game = played(setting, float(np.max(send_seconds(setting)))) if playable(setting) else None
    memory = memory_by_rank(setting, game)
    terms = {field.name: memory[field.name] for field in fields(TrainingFootprint)}
    return parts_of(setting, step, game).step_s, terms


def _room(chip: Accelerator) -> float:
    return (1.0 - RESERVE_SHARE) * chip.rank().need("memory")


def _policy(setting: TrainingSetting, asked: str) -> str:
    """The recomputation asked for, or the lightest heavier one that fits."""
    later = POLICIES[POLICIES.index(asked) :] if asked in POLICIES else (asked, *POLICIES[1:])
    for policy in later:
        needed = sum(_played(replace(setting, policy=recomputed_tensors(policy)))[1].values())
        if needed <= _room(setting.chip):
            return policy
    raise DoesNotFit(
        f"does not fit in {setting.recipe.dtype} even with full recomputation: {needed / GIGA:.1f} GB on a rank of "
        f"{setting.chip.id}, {_room(setting.chip) / GIGA:.1f} GB free; raise pp or ep"
    )


def _fewest_cards(
    model: ModelSpec, chip: Accelerator, plan: TrainingPlan, load: TrainingLoad, where: Cluster, precision: str
) -> float | None:
    """Cards of the smallest job of this tp, cp, ep and recomputation that fits, over pipeline depths; None if none."""
    pp = np.asarray(_PP, dtype=float)[:, None]
    ranks = float(plan.tp) * float(plan.cp) * pp
    replicas = np.maximum(float(plan.ep) / (float(plan.tp) * float(plan.cp)), 1.0) * 2.0 ** np.arange(4)
    gpus = ranks * replicas / chip.dies
    # one micro-batch a stage fills the pipeline; only memory is asked here
    batch = replicas * 4.0 * np.max(pp) * np.ones_like(gpus)
    tried = replace(plan, gpus=gpus, pp=pp * np.ones_like(gpus), precision=precision, vpp=1)
    work = replace(load, global_batch=batch * float(load.micro_batch))
    with np.errstate(all="ignore"):
        rules = training_rules(model, chip, tried, work)
        setting = training_setting(model, chip, tried, work, where)
        fits = np.asarray(training_footprint(setting).total_bytes) <= _room(chip)
    for rule in rules:
        fits = fits & ~rule.broken
    best = float(np.min(np.where(fits, gpus, np.inf)))
    return None if np.isinf(best) else best


def _report(
    model: ModelSpec, chip: Accelerator, plan: TrainingPlan, load: TrainingLoad, rate: Price | None, where: Cluster,
    levels: tuple[Level, ...], fewest: tuple[float | None, float | None],
) -> Report:  # fmt: skip
    """Levels as metrics with the band of the FP8 plan's own prediction."""
    base = predict_training(model, chip, plan, load, rate, where)
    step = base.metrics["step_s"]
    low, high = ((end or step.value) / step.value for end in (step.low, step.high))
    peak = base.metrics["peak_memory_bytes"]
    less, more = ((end or peak.value) / peak.value for end in (peak.low, peak.high))
    metrics: dict[str, Metric] = {}
    for name, level in (("bf16", levels[0]), ("fp8", levels[-1])):
        metrics[f"{name}_step_s"] = Metric(level.step_s, "s", level.step_s * low, level.step_s * high, step.grade)
        size = level.memory_bytes
        metrics[f"{name}_memory_bytes"] = Metric(size, "B", size * less, size * more, peak.grade)
        if level.usd is not None:
            metrics[f"{name}_usd"] = Metric(level.usd, "USD", level.usd * low, level.usd * high, step.grade)
    for before, after in itertools.pairwise(levels):
        saved = before.step_s - after.step_s
        metrics[f"{after.id}_saves_s"] = _between(saved, "s", low, high, "D")
        freed = before.memory_bytes - after.memory_bytes
        metrics[f"{after.id}_frees_bytes"] = _between(freed, "B", 0.9, 1.1, "C")
    ratio = levels[0].step_s / levels[-1].step_s
    metrics["speedup"] = Metric(ratio, "x", 1.0 + (ratio - 1.0) * low, 1.0 + (ratio - 1.0) * high, "D")
    metrics["gpus_for_same_tokens"] = Metric(levels[-1].cards, "GPU", None, None, "D")
    for name, value in zip(("bf16", "fp8"), fewest, strict=True):
        if value is not None:
            metrics[f"fewest_gpus_{name}"] = Metric(value, "GPU", None, None, "C")
    price = None if rate is None else {"id": rate.id, "text": rate.text, "usd_per_h": in_usd(rate)}
    return Report(
        kind="fp8_savings",
        inputs={"model": model.id, "accelerator": chip.id, "plan": asdict(plan), "load": asdict(load), "price": price},
        metrics=metrics,
        sources=base.sources,
        notes=("each change on top of those before it; cards make the BF16 plan's tokens a day", base.notes[0],
               *(note for note in base.notes if note.endswith(LEFT_OUT))),
    )  # fmt: skip


def _between(value: float, unit: str, low: float, high: float, grade: str) -> Metric:
    """A difference with its band, also where it is a loss."""
    return Metric(value, unit, min(value * low, value * high), max(value * low, value * high), grade)
