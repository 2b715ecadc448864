"""Overlap: whether one micro-batch or two make the shorter step, where nobody says which."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from costsim.errors import BadInput
from costsim.predict.phases import Answer, decode, prefill, setting_for
from costsim.spec.accelerator import Accelerator
from costsim.spec.cluster import Cluster
from costsim.spec.model import ModelSpec
from costsim.spec.plan import DecodeLoad, Overlap, PrefillLoad, ServingPlan
from costsim.units import format_si

TRIED: tuple[Overlap, ...] = ("two-batch", "none")


def better_overlap(
    model: ModelSpec, chip: Accelerator, plan: ServingPlan, load: PrefillLoad | DecodeLoad,
    cluster: Cluster | None = None,
) -> tuple[ServingPlan, str]:  # fmt: skip
    """The plan with two micro-batches or with one, whichever step is shorter among those that fit, and the words.

    Two hide transfers behind each other's computation and read every expert's weights twice: published on H800
    [deepseek-v3-report, sec. 3.4], and slower for small batches or where links are fast.
    """
    found: dict[Overlap, float] = {}
    needed: dict[Overlap, float] = {}
    for overlap in TRIED:
        try:
            answer = _answer(model, chip, replace(plan, overlap=overlap), load, cluster)
        except BadInput:
            continue
        if any(bool(np.any(rule.broken)) for rule in answer.rules):
            continue
        needed[overlap] = float(np.max(answer.memory.total_bytes))
        if bool(np.all(answer.memory.fits)):
            found[overlap] = float(np.max(answer.step_s))
    if not found:  # refused in either case, with what the smaller of them needs
        return replace(plan, overlap=min(needed, key=lambda name: needed[name]) if needed else "none"), ""
    best = min(found, key=lambda name: found[name])
    words = {"two-batch": "two micro-batches", "none": "one"}
    times = ", ".join(
        f"{format_si(found[name], 's', 4)} with {words[name]}" for name in sorted(found, key=lambda name: found[name])
    )
    return replace(plan, overlap=best), f"--overlap {best} chosen: a step of {times}"


def _answer(
    model: ModelSpec, chip: Accelerator, plan: ServingPlan, load: PrefillLoad | DecodeLoad, cluster: Cluster | None
) -> Answer:
    setting = setting_for(model, chip, plan, cluster)
    if isinstance(load, DecodeLoad):
        return decode(setting, load, strict=False)
    return prefill(setting, load, strict=False)
