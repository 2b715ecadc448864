"""Answers in notebooks: every kind shows itself as escaped HTML and gives tidy frames that hold its numbers."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pandas
import pytest

import costsim
from costsim.evidence.claims import judged
from costsim.explore.diff import diff
from costsim.explore.inputs import Question
from costsim.explore.robustness import ranking
from costsim.explore.sensitivity import tornado
from costsim.frames import Framed
from costsim.network.build import topology
from costsim.network.summary import summarise
from costsim.predict.fp8 import fp8_savings
from costsim.predict.loads import load_of
from costsim.predict.run import training_run
from costsim.predict.simulation import predict_simulation
from costsim.spec.catalog import load_link, load_topology
from costsim.spec.plan import TrainingLoad, TrainingPlan
from costsim.spec.run import load_run
from tests.test_random_questions import decode

EVIL = "<script>alert(1)</script>"


def questions() -> list[Question]:
    rng = random.Random(5)
    base = decode(rng) | {"plan.gpus": 64, "plan.ep": 64, "load.batch_per_gpu": 16}
    return [Question("decode", base | {"accelerator": chip}, chip, {}) for chip in ("h20-96g", "h200-sxm")]


def searched() -> Any:
    model, chip = costsim.load_model("deepseek-v3"), costsim.load_accelerator("h800-sxm")
    grid = {"gpus": [16, 32], "ep": [16, 32], "context": [4096], "batch_per_gpu": [4, 8, 16]}
    return costsim.search(model, chip, "decode", grid)


def simulated() -> Any:
    model, chip = costsim.load_model("qwen2.5-7b"), costsim.load_accelerator("h100-sxm")
    requests, _ = load_of({"rate": 4.0, "requests": 20})
    return predict_simulation(model, chip, costsim.ServingPlan(1, precision="bf16"), requests, bands=False)


def trained() -> Any:
    model, chip = costsim.load_model("deepseek-v3"), costsim.load_accelerator("h800-sxm")
    plan = TrainingPlan(2048, pp=16, ep=64, recompute="norm,mla_up_proj", schedule="dualpipe")
    return training_run(model, chip, load_run("deepseek-v3"), plan)


def saved() -> Any:
    model, chip = costsim.load_model("deepseek-v3"), costsim.load_accelerator("h800-sxm")
    plan = TrainingPlan(2048, pp=16, ep=64, recompute="norm,mla_up_proj", schedule="dualpipe")
    return fp8_savings(model, chip, plan, TrainingLoad(4096, 15360, tokens=1e12))


ANSWERS: dict[str, tuple[Callable[[], Any], set[str]]] = {
    "search": (searched, {"frontier", "rejected", "families"}),
    "simulation": (simulated, {"metrics", "breakdown", "memory", "requests", "state"}),
    "fleet": (lambda: costsim.predict_fleet(costsim.load_fleet("deepseek-2025-02-27")), {"metrics", "schedule"}),
    "run": (trained, {"metrics", "breakdown", "memory", "phases", "ladder"}),
    "fp8": (saved, {"metrics", "breakdown", "memory", "levels"}),
    "claim": (lambda: judged("mtp"), {"verdict", "figures", "curves"}),
    "diff": (lambda: diff(*questions()), {"differences", "parts", "changed"}),
    "tornado": (lambda: tornado(questions()[0], "tpot_s", 20), {"metric", "bars"}),
    "ranking": (lambda: ranking(questions(), "tpot_s", 20), {"answers", "beats"}),
    "network": (lambda: summarise(topology(load_topology("dragonfly-9"), load_link)), {"numbers", "contention"}),
}  # fmt: skip


@pytest.mark.parametrize("kind", ANSWERS)
def test_every_answer_shows_itself_and_has_tidy_frames(kind: str) -> None:
    make, names = ANSWERS[kind]
    answer = make()
    frames = answer.frames()
    assert set(frames) == names
    shown = answer._repr_html_()
    for name, frame in frames.items():
        assert isinstance(frame, pandas.DataFrame)
        assert len(frame) == len(list(answer.rows()[name]))
        if len(frame):
            assert f"<b>{name}</b>" in shown
            assert not frame.columns.duplicated().any()
    assert shown.count("<table>") == sum(1 for frame in frames.values() if len(frame))


def test_frames_hold_the_numbers() -> None:
    found = searched()
    assert found.frames()["frontier"]["usd_per_mtok"].min() == pytest.approx(found.best.metrics["usd_per_mtok"])
    parts = diff(*questions()).frames()["parts"]
    assert (parts.loc[parts.metric == "tpot_s", "part"]).sum() != 0
    day = ANSWERS["fleet"][0]().frames()["schedule"]
    assert day["hour"].is_monotonic_increasing


def test_no_name_becomes_markup() -> None:
    class Evil(Framed):
        def rows(self) -> Any:
            return {EVIL: [{EVIL: EVIL, "n": None}] * 20}

    shown = Evil()._repr_html_()
    assert "<script>" not in shown
    assert "12 of 20 rows" in shown
