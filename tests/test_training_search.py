"""Search over training layouts: the frontier against brute force, families that add up, and how fast it is."""

from __future__ import annotations

import itertools
import json
import time
from typing import Any

import numpy as np
import pytest

from costsim.cli.main import main
from costsim.errors import BadInput, DoesNotFit
from costsim.explore.families import MOST_VALUES, Family, compared, family_keys
from costsim.explore.grid import at_edge
from costsim.explore.search import SearchResult, search
from costsim.predict.training import predict_training, training_step
from costsim.spec.catalog import load_accelerator, load_model
from costsim.spec.cluster import standard_cluster
from costsim.spec.plan import TrainingLoad, TrainingPlan
from costsim.spec.price import parse_rate

V3, H800 = load_model("deepseek-v3"), load_accelerator("h800-sxm")
RATE = parse_rate("2 USD/h", "price")
GRID: dict[str, Any] = {
    "gpus": [1024, 2048], "tp": [1, 2], "pp": [4, 16], "vpp": [1], "ep": [64], "cp": [1],
    "recompute": ["selective", "full"], "schedule": ["1f1b", "dualpipe"], "precision": ["fp8", "bf16"], "seq": [4096],
    "micro_batch": [1], "global_batch": [15360],
}  # fmt: skip
_LOAD = ("seq", "micro_batch", "global_batch")


def every_plan(grid: dict[str, Any]) -> list[dict[str, Any]]:
    return [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]


def ask(point: dict[str, Any]) -> dict[str, float]:
    """One plan as scalars through the same closed form, with its own loop over rules and memory."""
    load = TrainingLoad(**{name: point[name] for name in _LOAD})
    plan = TrainingPlan(**{name: value for name, value in point.items() if name not in _LOAD})
    step, _ = training_step(V3, H800, plan, load, standard_cluster(H800, int(plan.gpus)), strict=True)
    memory = float(np.max(step.memory.total_bytes))
    if memory > 0.96 * H800.need("memory"):
        raise DoesNotFit("closed form")
    seconds = float(np.max(step.step_s))
    return {"step_s": seconds, "memory_bytes": memory,
            "tokens_per_s_per_gpu": load.global_batch * load.seq / seconds / plan.gpus}  # fmt: skip


def test_the_best_is_the_best_as_train_answers_it(
    brute: list[tuple[dict[str, Any], dict[str, float]]], result: SearchResult
) -> None:
    """One plan has one step time and one memory, whichever verb is asked; it is the shortest of the near ones."""
    ranked = sorted(brute, key=lambda item: item[1]["step_s"])
    answers = []
    for point, _ in ranked[:4]:
        load = TrainingLoad(**{name: point[name] for name in _LOAD})
        plan = TrainingPlan(**{name: value for name, value in point.items() if name not in _LOAD})
        answers.append(predict_training(V3, H800, plan, load, RATE))
    shortest = min(answers, key=lambda report: report["step_s"])
    assert result.best is not None
    assert result.best.metrics["step_s"] == pytest.approx(shortest["step_s"])
    assert result.best.metrics["memory_bytes"] == pytest.approx(shortest["peak_memory_bytes"])
    assert any("played task by task" in note for note in result.notes)


def test_a_best_plan_on_the_edge_is_said() -> None:
    grid = {"gpus": [64, 128], "ep": [64, 128], "tp": [1, 2], "batch_per_gpu": [8, 16, 32], "context": [4096]}
    best = {"gpus": 128, "ep": 128, "tp": 1, "batch_per_gpu": 16, "context": 4096}
    assert "gpus 128 is the largest tried" in at_edge(grid, best)
    assert "ep" not in at_edge(grid, best)  # every card holds experts already
    assert "tp" not in at_edge(grid, best)
    assert at_edge(grid, best, most_gpus=128) == ""
    assert "batch_per_gpu 8 is the smallest tried" in at_edge(grid, {**best, "batch_per_gpu": 8}, most_gpus=128)


@pytest.fixture(scope="module")
def brute() -> list[tuple[dict[str, Any], dict[str, float]]]:
    found = []
    for point in every_plan(GRID):
        try:
            found.append((point, ask(point)))
        except BadInput:
            continue
    return found


@pytest.fixture(scope="module")
def result() -> SearchResult:
    return search(V3, H800, "training", GRID, objective="step_s", price=RATE)


def test_search_finds_what_asking_every_plan_finds(
    brute: list[tuple[dict[str, Any], dict[str, float]]], result: SearchResult
) -> None:
    assert result.evaluated == len(every_plan(GRID))
    assert result.feasible == len(brute) > 10
    assert sum(result.rejected.values()) == result.evaluated - result.feasible
    best = min(brute, key=lambda item: item[1]["step_s"])
    assert min(found.metrics["step_s"] for found in result.frontier) == pytest.approx(best[1]["step_s"])
    front = [
        (m["memory_bytes"], m["step_s"])
        for _, m in brute
        if not any(o["memory_bytes"] <= m["memory_bytes"] and o["step_s"] <= m["step_s"] and o != m for _, o in brute)
    ]
    ours = [(f.metrics["memory_bytes"], f.metrics["step_s"]) for f in result.frontier]
    assert len(set(ours)) == len(set(front))
    assert np.array(sorted(set(ours))) == pytest.approx(np.array(sorted(set(front))))


def test_plans_of_the_frontier_are_the_scalar_answers(result: SearchResult) -> None:
    for found in result.frontier:
        alone = ask(dict(found.plan))
        for name, value in alone.items():
            assert found.metrics[name] == pytest.approx(value, rel=1e-6), name


def test_families_add_up_and_hold_their_own_best(
    brute: list[tuple[dict[str, Any], dict[str, float]]], result: SearchResult
) -> None:
    keys = {family.key for family in result.families}
    assert keys == {name for name, values in GRID.items() if len(values) > 1}
    for key in keys:
        own = [family for family in result.families if family.key == key]
        assert sum(family.evaluated for family in own) == result.evaluated
        assert sum(family.feasible for family in own) == result.feasible
        for family in own:
            steps = [m["step_s"] for point, m in brute if point[key] == family.value]
            assert family.feasible == len(steps)
            if steps:
                assert family.best == pytest.approx(min(steps))
                assert family.plan is not None
                assert ask(dict(family.plan))["step_s"] == pytest.approx(family.best)
            else:
                assert family.best is None
                assert family.reason


def test_a_family_behind_says_by_how_much_and_where() -> None:
    rows = [Family("pp", 8, 4, 2, 10.0, {"pp": 8}, ""), Family("pp", 16, 4, 2, 15.0, {"pp": 16}, "memory"),
            Family("pp", 32, 4, 0, None, None, "memory")]  # fmt: skip
    parts = {8: {"bubble": 1.0, "compute": 9.0}, 16: {"bubble": 5.5, "compute": 9.5}}
    told = compared(rows, 1.0, lambda plans: [parts[plan["pp"]] for plan in plans])
    assert [family.behind for family in told] == ["", "1.50x the best: bubble +4.5 s, compute +0.5 s", ""]
    assert compared(rows[:2], -1.0, None)[0].behind == "1.50x the best"


def test_scales_are_no_families() -> None:
    grid = {"tp": [1, 2], "micro_batch": list(range(MOST_VALUES + 1)), "pp": [4], "seq": [1, 2]}
    assert family_keys(grid, ("tp", "pp", "micro_batch")) == ("tp",)


def test_a_plan_that_does_not_fit_names_its_largest_term(result: SearchResult) -> None:
    reasons = [reason for reason in result.rejected if reason.startswith("does not fit in memory")]
    assert reasons
    plan = TrainingPlan(gpus=2048, pp=4, ep=32, recompute="selective", precision="bf16", schedule="1f1b")
    with pytest.raises(DoesNotFit) as caught:
        predict_training(V3, H800, plan, TrainingLoad(4096, 15360), RATE)
    largest = str(caught.value).split("the largest term is ")[1].split(" ")[0]
    assert any(f"({largest} largest)" in reason for reason in reasons)


def test_gpu_counts_trade_the_step_against_money() -> None:
    found = search(V3, H800, "training", GRID, objective="usd_per_mtok", price=RATE)
    assert found.trade == "step_s"
    steps = [f.metrics["step_s"] for f in found.frontier]
    money = [f.metrics["usd_per_mtok"] for f in found.frontier]
    assert steps == sorted(steps)
    assert money == sorted(money, reverse=True)
    one = search(V3, H800, "training", GRID | {"gpus": [2048]}, objective="usd_per_mtok", price=RATE)
    assert one.trade == "memory_bytes"


@pytest.mark.parametrize("name", ["llama-3.1-405b", "qwen3-235b-a22b", "qwen3-32b"])
def test_any_model_is_searched(name: str) -> None:
    model, chip = load_model(name), load_accelerator("h100-sxm")
    grid = GRID | {"gpus": [1024], "ep": [1] if model.moe is None else [32, 64], "tp": [1, 2, 4, 8]}
    found = search(model, chip, "training", grid, objective="tokens_per_s_per_gpu")
    assert found.feasible > 0
    assert found.best is not None


def test_a_hundred_thousand_layouts_take_a_second_of_one_core() -> None:
    """The bar with a margin for a slow machine; `python -m benchmarks.training_search` says the real figure."""
    grid = GRID | {
        "tp": [1, 2, 4, 8], "pp": [1, 2, 4, 8, 16, 32], "ep": [1, 2, 4, 8, 16, 32, 64, 128], "cp": [1, 2, 4, 8],
        "micro_batch": [1, 2, 4, 8], "gpus": [2048], "vpp": [1, 2, 4], "zero": [0, 1],
        "global_batch": [3840, 7680, 15360],
    }  # fmt: skip
    search(V3, H800, "training", GRID, objective="step_s")
    start = time.process_time()
    found = search(V3, H800, "training", grid, objective="step_s")
    seconds = time.process_time() - start
    assert found.evaluated == np.prod([len(values) for values in grid.values()])
    assert found.evaluated / seconds > 50_000


def test_the_command_prints_families_and_writes_the_best_layout(
    tmp_path: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    base = ["search", "--phase", "training", "--objective", "step_s", "--gpus", "2048", "--pp", "8,16", "--ep", "64"]
    out = tmp_path / "best.sh"
    assert main([*base, "--json", "--write-megatron", str(out)]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert {"evaluated", "feasible", "rejected", "frontier", "families", "trade"} <= set(shown)
    assert all({"family", "feasible", "evaluated", "reason"} <= set(family) for family in shown["families"])
    assert f"--pipeline-model-parallel-size {shown['best']['plan']['pp']}" in out.read_text(encoding="utf-8")
    assert main(base) == 0
    assert "Families of plans" in capsys.readouterr().out
    assert main(["search", "--write-megatron", str(out)]) == 2
    assert "--phase training" in capsys.readouterr().err


def test_a_cut_model_is_searched_at_one_depth() -> None:
    small = GRID | {"gpus": [32], "pp": [1], "ep": [8], "schedule": ["1f1b"], "global_batch": [64], "layers": [2]}
    found = search(V3, H800, "training", small, objective="step_s")
    assert found.best is not None
    assert found.best.plan["layers"] == 2
    with pytest.raises(BadInput, match="layers"):
        search(V3, H800, "training", small | {"layers": [2, 4]}, objective="step_s")
