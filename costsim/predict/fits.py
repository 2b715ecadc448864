"""What would make a serving plan fit: the smallest change that does, found by computing it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from costsim.errors import BadInput
from costsim.predict.phases import Setting, decode, prefill, setting_for
from costsim.predict.steady import serve
from costsim.spec.plan import DecodeLoad, PrefillLoad, ServingLoad, ServingPlan

#: parallelism, cards and formats are tried in this order: what is the same cards comes first
_TIMES = (2, 4, 8, 16, 32)
_NARROWER = {"bf16": ("fp8", "int8", "w4", "fp4"), "fp8": ("w4", "fp4"), "int8": ("w4", "fp4")}
#: keys of a load that its user may lower, in the order in which they are named
_LOWER = {DecodeLoad: ("batch_per_gpu", "context"), PrefillLoad: ("tokens_per_gpu",), ServingLoad: ()}

Fits = Callable[[ServingPlan, Any], bool]
Change = tuple[str, dict[str, Any]]


def fits_in(setting: Setting, plan: ServingPlan, load: Any) -> bool:
    """Whether a phase or a closed loop fits with this plan and load, and breaks no rule."""
    cluster = setting.cluster if float(np.max(plan.gpus)) == float(np.max(setting.plan.gpus)) else None
    try:
        own = setting_for(setting.model, setting.chip, plan, cluster)
        if isinstance(load, ServingLoad):
            blend = serve(own, load, strict=False)
            memory, rules = blend.decode.memory, blend.rules
        else:
            answer = (decode if isinstance(load, DecodeLoad) else prefill)(own, load, strict=False)
            memory, rules = answer.memory, answer.rules
    except BadInput:
        return False
    return bool(np.all(memory.fits)) and not any(bool(np.any(rule.broken)) for rule in rules)


def cure(setting: Setting, load: Any, fits: Fits | None = None) -> str:
    """The smallest change of the plan that fits with the load as it is, and the largest load that fits the plan.

    Plan: no replicas of experts, more ep or tp on the same cards, a narrower KV cache, more cards, narrower weights;
    the least of the first kind that works. ``fits`` (plan, load): by default :func:`fits_in`.
    """
    asked = setting.plan
    works = fits if fits is not None else (lambda plan, of: fits_in(setting, plan, of))
    changes = list(_changes(setting))
    found = next((text for text, change in changes if works(replace(asked, **change), load)), None)
    lower = _smaller(asked, load, works)
    if ways := [way for way in (lower and lower[0], found) if way]:
        return f"it fits with {', or with '.join(ways)}"
    # Not alone: with the cards there are, the change that leaves the most of the load, of equal ones the first.
    same = [(text, replace(asked, **change)) for text, change in changes if "gpus" not in change]
    both = [(least[1], text, least[0]) for text, plan in same if (least := _smaller(plan, load, works)) is not None]
    if both:
        _, text, and_lower = max(both, key=lambda way: way[0])
        return f"it fits with {text} and {and_lower}"
    return "no change of ep, tp, cards, formats or load fits; a larger accelerator, or several of them together"


def _changes(setting: Setting) -> Iterator[Change]:
    """Changes of a plan, each with its words: those that take no more cards first."""
    plan, moe = setting.plan, setting.model.moe is not None
    if float(np.max(plan.redundant_experts)) > 0:
        yield "redundant_experts = 0", {"redundant_experts": 0}
    gpus, ep, tp = (float(np.max(getattr(plan, name))) for name in ("gpus", "ep", "tp"))
    ranks = gpus * setting.chip.dies
    for field, value in (("ep", ep), ("tp", tp)) if moe else (("tp", tp),):
        yield from ((f"{field} = {value * k:g}", {field: value * k}) for k in _TIMES if value * k <= ranks)
    if plan.kv_dtype == "bf16":
        yield from ((f"kv_dtype = {dtype}", {"kv_dtype": dtype}) for dtype in ("fp8", "int8"))
    for k in _TIMES:
        wider: dict[str, Any] = {"gpus": gpus * k}
        wider |= {"ep": max(ep, tp) * k} if moe else {"tp": tp * k}
        yield " and ".join(f"{name} = {value:g}" for name, value in wider.items()), wider
    yield from ((f"precision = {dtype}", {"precision": dtype}) for dtype in _NARROWER.get(plan.precision, ()))


def _smaller(plan: ServingPlan, load: Any, works: Fits) -> tuple[str, float] | None:
    """The largest value of a key of the load with which it fits, or no drafts: words, and how much of it is left."""
    if load is None:
        return None
    for key in _LOWER[type(load)]:
        asked = float(np.max(getattr(load, key)))
        most = _largest(lambda value, key=key: works(plan, replace(load, **{key: value})), asked)  # type: ignore[misc]
        if most is not None:
            return f"{key} = {most:.0f}", most / asked
    if float(np.max(getattr(load, "mtp_tokens", 0.0))) > 0:
        without = replace(load, mtp_tokens=0.0, mtp_acceptance=0.0)
        if works(plan, without):
            return "mtp_tokens = 0", 1.0
    return None


def _largest(works: Callable[[float], bool], below: float) -> float | None:
    """The largest whole number under ``below`` that works, if one does; what fits, fits with less."""
    low, high = 0, math.ceil(below)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if works(float(middle)) else (low, middle)
    return float(low) if low else None
