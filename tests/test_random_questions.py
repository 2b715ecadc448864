"""Random questions of every kind: trees sum to their number, and parts of a difference to the difference."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from costsim.errors import BadInput
from costsim.explore.diff import diff
from costsim.explore.inputs import SERVING, Question, ask, of_report
from costsim.predict.explain import explain_inference
from costsim.predict.explain_report import explain_report, explained
from costsim.predict.report import Report
from costsim.spec.catalog import load_accelerator, load_model
from costsim.spec.plan import ServingPlan
from costsim.spec.price import parse_rate

Values = dict[str, Any]
FP8 = ["h800-sxm", "h20-96g", "h200-sxm", "b200-sxm"]


def subject(rng: random.Random, *chips: str) -> Values:
    return {"accelerator": rng.choice(chips or FP8), "price": rng.choice([0.7, 1.3, 2.0])}


def prefill(rng: random.Random) -> Values:
    gpus = rng.choice([16, 32, 64])
    return subject(rng) | {
        "model": rng.choice(["deepseek-v3", "kimi-k2"]), "plan.gpus": gpus, "plan.ep": gpus,
        "plan.overlap": rng.choice(["none", "two-batch"]), "plan.routing": rng.choice(["balanced", "default"]),
        "load.isl": rng.choice([1024, 4096]), "load.tokens_per_gpu": rng.choice([4096, 16384]),
        "load.cached": rng.choice([0, 512]),
    }  # fmt: skip


def decode(rng: random.Random) -> Values:
    gpus = rng.choice([32, 64, 144])
    return subject(rng) | {
        "model": "deepseek-v3", "plan.gpus": gpus, "plan.ep": gpus, "plan.overlap": rng.choice(["none", "two-batch"]),
        "load.context": rng.choice([1024, 4096]), "load.batch_per_gpu": rng.choice([4, 16, 48]),
        "load.mtp_tokens": rng.choice([0, 1]), "load.mtp_acceptance": 0.8,
    }  # fmt: skip


def serving(rng: random.Random) -> Values:
    return subject(rng, "h100-sxm", "h200-sxm") | {
        "model": rng.choice(["qwen3-32b", "qwen2.5-7b"]), "plan.gpus": 8, "plan.tp": rng.choice([2, 4]),
        "plan.precision": "bf16", "load.isl": rng.choice([512, 2048]), "load.osl": rng.choice([128, 512]),
        "load.concurrency": rng.choice([16, 64]),
    }  # fmt: skip


def training(rng: random.Random) -> Values:
    return subject(rng, "h800-sxm", "h100-sxm", "b200-sxm") | {
        "model": "deepseek-v3", "plan.gpus": 2048, "plan.pp": 16, "plan.ep": rng.choice([32, 64]),
        "plan.recompute": "full", "plan.schedule": rng.choice(["1f1b", "dualpipe", "zb-h1"]), "load.seq": 4096,
        "load.global_batch": rng.choice([7680, 15360]), "load.tokens": rng.choice([1e12, 14.8e12]),
    }  # fmt: skip


def training_run(rng: random.Random) -> Values:
    layout = {key: value for key, value in training(rng).items() if not key.startswith("load.")}
    layout["accelerator"] = rng.choice(["h800-sxm", "h100-sxm"])
    return layout | {
        "run": "made-up", "micro_batch": 1, "phase.1.name": "one", "phase.1.tokens": rng.choice([1e12, 5e12]),
        "phase.1.global_batch": 15360, "phase.2.name": "two", "phase.2.gpu_hours": rng.choice([1000.0, 5000.0]),
        "assume.pue": rng.choice(["1.1", "1.3"]), "assume.project_years": rng.choice(["1", "2"]),
    }  # fmt: skip


def post_training(rng: random.Random) -> Values:
    return subject(rng, "h100-sxm", "h20-96g") | {
        "model": "qwen2.5-7b", "plan.gpus": 32, "plan.algorithm": rng.choice(["grpo", "ppo"]), "plan.train_gpus": 32,
        "plan.train_zero": 3, "plan.train_precision": "bf16", "plan.train_routing": "balanced", "plan.rollout_gpus": 32,
        "plan.rollout_tp": rng.choice([1, 2]), "plan.rollout_precision": "bf16",
        "load.prompts": rng.choice([128, 512]), "load.group": 8, "load.prompt_mean": 512,
        "load.response_mean": rng.choice([1000, 4000]), "load.response_max": 16000, "load.steps": 100,
    }  # fmt: skip


def simulation(rng: random.Random) -> Values:
    return subject(rng, "h100-sxm", "h200-sxm") | {
        "model": "qwen3-32b", "plan.gpus": 8, "plan.tp": rng.choice([2, 4]), "plan.precision": "bf16",
        "load.rate": rng.choice([2.0, 8.0]), "load.requests": 60, "load.isl": rng.choice([512, 2048]), "load.osl": 128,
        "load.seed": 1, "service.policy.order": rng.choice(["mixed", "prefill-first"]), "service.prefix_cache": False,
    }  # fmt: skip


KINDS: Mapping[str, Callable[[random.Random], Values]] = {
    "prefill": prefill, "decode": decode, "serving": serving, "training": training, "training_run": training_run,
    "post_training": post_training, "simulation": simulation,
}  # fmt: skip


def drawn(kind: str, rng: random.Random) -> tuple[Values, Report]:
    """A random question that has an answer, and the answer."""
    for _ in range(200):
        values = KINDS[kind](rng)
        try:
            return values, ask(kind, values)
        except BadInput:
            continue
    raise AssertionError(f"no {kind} question has an answer")


@pytest.mark.parametrize("seed", range(28))
def test_trees_sum_to_the_number(seed: int) -> None:
    kind = list(KINDS)[seed % len(KINDS)]
    values, report = drawn(kind, random.Random(seed))
    known = explained(report)
    assert known, kind
    for metric in known:
        found = explain_report(report, metric)
        leaves = sum(leaf.value for leaf in found.tree.leaves())
        assert leaves == pytest.approx(found.tree.value, rel=1e-3), metric
        if found.unit == found.metric.unit:
            assert leaves == pytest.approx(found.metric.value, rel=1e-3), metric
    if kind not in SERVING:
        return
    plan, load = (
        {key[5:]: value for key, value in values.items() if key.startswith(part)} for part in ("plan.", "load.")
    )
    for metric in [*report.metrics, "total_bytes", "weights_bytes"]:
        one = explain_inference(
            load_model(values["model"]), load_accelerator(values["accelerator"]), ServingPlan(**plan),
            SERVING[kind](**load), metric, parse_rate(f"{values['price']} USD/h", "price"),
        )  # fmt: skip
        leaves = sum(leaf.value for leaf in one.tree.leaves())
        assert leaves == pytest.approx(one.tree.value, rel=1e-3), metric
        if one.unit == one.metric.unit and not metric.startswith(("tokens", "output", "mf", "mb")):
            assert leaves == pytest.approx(one.metric.value, rel=1e-3), metric


@pytest.mark.parametrize("seed", range(21))
def test_parts_sum_to_the_difference(seed: int) -> None:
    kind = list(KINDS)[seed % len(KINDS)]
    rng = random.Random(1000 + seed)
    a, b = (Question(kind, drawn(kind, rng)[0], name, {}) for name in "ab")
    found = diff(a, b)
    assert found.differences
    for one in found.differences:
        whole = one.after.value - one.before.value
        size = max(abs(one.after.value), abs(one.before.value))
        assert math.fsum(part.part for part in one.parts) == pytest.approx(whole, rel=1e-3, abs=1e-9 * size), one.metric


@pytest.mark.parametrize("kind", KINDS)
def test_a_report_of_every_kind_is_asked_again_as_it_was(kind: str) -> None:
    """Through its JSON and back: the same inputs give the same numbers."""
    _, report = drawn(kind, random.Random(7))
    document = report.json()
    if kind == "simulation":
        asked = {key[5:]: value for key, value in drawn(kind, random.Random(7))[0].items() if key.startswith("load.")}
        document["inputs"] = {**document["inputs"], "load": {**document["inputs"]["load"], "asked": asked}}
    again = of_report(document, "x")
    found = ask(kind, again.values)
    for name, metric in report.metrics.items():
        if name != "elapsed_cpu_s":
            assert found.metrics[name].value == pytest.approx(metric.value, rel=1e-12), name
