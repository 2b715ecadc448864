"""One formula for one question and for a sweep: an element of an array is the scalar answer, a search is a loop."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from costsim.economics.cost import usd_per_mtok
from costsim.errors import BadInput
from costsim.explore.grid import blocks, plan_count
from costsim.explore.pareto import pareto
from costsim.explore.search import search
from costsim.predict.inference import predict_inference, refuse_memory
from costsim.predict.phases import decode, prefill, setting_for
from costsim.predict.steady import serve
from costsim.predict.training import training_step
from costsim.spec.catalog import load_accelerator, load_model
from costsim.spec.cluster import standard_cluster
from costsim.spec.plan import DecodeLoad, PrefillLoad, ServingLoad, ServingPlan, TrainingLoad, TrainingPlan
from costsim.spec.price import parse_rate

V3, H800 = load_model("deepseek-v3"), load_accelerator("h800-sxm")
#: gpus, tp, pp, ep: plans that divide
PLANS = [(8, 8, 1, 1), (16, 1, 1, 16), (64, 4, 2, 32), (144, 1, 1, 144), (320, 2, 5, 64)]
#: a correction grid interpolates in single precision
RTOL = 1e-7


def columns(*values: Any) -> list[NDArray[np.float64]]:
    return [np.array(column, dtype=float) for column in zip(*values, strict=True)]


@pytest.mark.parametrize("overlap", ["none", "two-batch", "single-batch"])
@pytest.mark.parametrize("routing", ["balanced", "production"])
@pytest.mark.parametrize("name", ["deepseek-v3", "qwen3-32b", "gpt-oss-120b"])
def test_an_element_of_a_sweep_is_the_scalar_answer(name: str, routing: str, overlap: str) -> None:
    model = load_model(name)
    plans = [(g, tp, pp, 1 if model.moe is None else min(ep, 128)) for g, tp, pp, ep in PLANS if g != 144]
    loads = [(1000 + 517 * i, 16 + 37 * i) for i in range(len(plans))]
    words: dict[str, Any] = {"overlap": overlap, "routing": routing}
    mtp = np.array([1.0, 0.0, 2.0, 1.0]) * min(model.mtp_layers, 1)
    g, tp, pp, ep = columns(*plans)
    many = setting_for(model, H800, ServingPlan(g, tp=tp, pp=pp, ep=ep, **words))
    lengths, batch = columns(*loads)
    swept = {
        "decode": decode(many, DecodeLoad(lengths, batch, mtp, 0.7), strict=False),
        "prefill": prefill(many, PrefillLoad(lengths, batch * 64, 100.0), strict=False),
    }
    served = serve(many, ServingLoad(lengths, 300.0, batch * g, 100.0), strict=False)
    for i, plan in enumerate(plans):
        one = setting_for(model, H800, ServingPlan(plan[0], tp=plan[1], pp=plan[2], ep=plan[3], **words))
        scalar = {
            "decode": decode(one, DecodeLoad(loads[i][0], loads[i][1], float(mtp[i]), 0.7), strict=False),
            "prefill": prefill(one, PrefillLoad(loads[i][0], loads[i][1] * 64, 100), strict=False),
        }
        for phase, answer in scalar.items():
            for metric, (value, _) in answer.metrics.items():
                element = np.broadcast_to(swept[phase].metrics[metric][0], (len(plans),))[i]
                assert element == pytest.approx(float(value), rel=RTOL), (phase, metric, plan)
        closed = serve(one, ServingLoad(loads[i][0], 300, loads[i][1] * plan[0], 100), strict=False)
        for metric, (value, _) in closed.metrics.items():
            element = np.broadcast_to(served.metrics[metric][0], (len(plans),))[i]
            assert element == pytest.approx(float(value), rel=RTOL), ("serving", metric, plan)


def test_memory_of_a_sweep_is_the_scalar_memory() -> None:
    """The draft module's weights count where it runs and nowhere else."""
    batch, drafts = columns((8, 0), (64, 1), (400, 0), (400, 2))
    setting = setting_for(V3, H800, ServingPlan(64, ep=64))
    many = decode(setting, DecodeLoad(4096.0, batch, drafts, 0.5)).memory
    for i in range(len(batch)):
        one = decode(setting, DecodeLoad(4096.0, float(batch[i]), float(drafts[i]), 0.5)).memory
        for name, term in one.terms().items():
            assert np.broadcast_to(many.terms()[name], (4,))[i] == pytest.approx(float(term), rel=RTOL), (name, i)


def test_training_broadcasts() -> None:
    pp, ep, micro = columns((8, 64, 1), (16, 64, 1), (16, 32, 2), (4, 256, 1))
    cluster = standard_cluster(H800, 2048)
    many, _ = training_step(V3, H800, TrainingPlan(2048, pp=pp, ep=ep), TrainingLoad(4096, 16_384, micro), cluster)
    for i in range(4):
        plan = TrainingPlan(2048, pp=pp[i], ep=ep[i])
        one, _ = training_step(V3, H800, plan, TrainingLoad(4096, 16_384, micro[i]), cluster)
        for name in ("forward_s", "backward_s", "bubble_s", "gradient_s", "optimizer_s", "step_s", "micro_batches"):
            element = np.broadcast_to(getattr(many, name), (4,))[i]
            assert element == pytest.approx(float(getattr(one, name)), rel=RTOL), name
        for name, term in one.memory.terms().items():
            assert np.broadcast_to(many.memory.terms()[name], (4,))[i] == pytest.approx(float(term), rel=RTOL), name


GRID: dict[str, dict[str, list[Any]]] = {
    "decode": {
        "gpus": [8, 64, 144], "tp": [1, 3, 8], "ep": [1, 8, 64, 144], "precision": ["fp8", "bf16"],
        "routing": ["balanced", "eplb"], "context": [4096], "batch_per_gpu": [16, 128, 2000],
    },
    "prefill": {
        "gpus": [8, 32], "tp": [1, 8], "ep": [1, 32, 7], "overlap": ["none", "two-batch"], "isl": [1024, 4096],
        "tokens_per_gpu": [4096, 16_384], "cached": [0, 1024],
    },
    "serving": {
        "gpus": [8, 32], "tp": [8, 1], "ep": [1, 32], "isl": [1024], "osl": [256, 1024], "concurrency": [8, 512],
        "routing": ["balanced", "default"],
    },
}  # fmt: skip
LOADS = {"decode": DecodeLoad, "prefill": PrefillLoad, "serving": ServingLoad}
LATENCY = {"decode": "tpot_s", "prefill": "ttft_s", "serving": "tpot_s"}
RATE = {"decode": "tokens_per_s_per_gpu", "prefill": "tokens_per_s_per_gpu", "serving": "output_tokens_per_s_per_gpu"}


def closed_form(plan: ServingPlan, load: Any) -> dict[str, float]:
    """A closed loop as sweeps answer it: one question is simulated instead."""
    blend = serve(setting_for(V3, H800, plan), load)
    refuse_memory(blend.decode.memory, blend.decode.setting, load)
    return {name: float(np.max(value)) for name, (value, _) in blend.metrics.items()}


def loop(phase: str) -> tuple[list[tuple[dict[str, Any], float, float]], Counter[str]]:
    """(plan, latency, USD) of every plan that one question answers, and what the others were refused for."""
    names = list(GRID[phase])
    load_names = set(LOADS[phase].__dataclass_fields__)
    found, refused = [], Counter[str]()
    for values in itertools.product(*GRID[phase].values()):
        plan = dict(zip(names, values, strict=True))
        load = LOADS[phase](**{k: v for k, v in plan.items() if k in load_names})
        layout = ServingPlan(**{k: v for k, v in plan.items() if k not in load_names})
        try:
            report = closed_form(layout, load) if phase == "serving" else predict_inference(V3, H800, layout, load)
        except BadInput as error:
            refused[str(error).split(":")[0].split(" = ")[0]] += 1
            continue
        found.append((plan, report[LATENCY[phase]], float(usd_per_mtok(2.0, report[RATE[phase]]))))
    return found, refused


def asked(plan: dict[str, Any]) -> float:
    """USD per million answer tokens of one plan, its requests simulated as the verb does."""
    load = ServingLoad(**{k: v for k, v in plan.items() if k in ServingLoad.__dataclass_fields__})
    layout = ServingPlan(**{k: v for k, v in plan.items() if k not in ServingLoad.__dataclass_fields__})
    report = predict_inference(V3, H800, layout, load)
    return float(usd_per_mtok(2.0, report["output_tokens_per_s_per_gpu"]))


@pytest.mark.parametrize("phase", GRID)
def test_search_is_a_loop_over_questions(phase: str) -> None:
    price = parse_rate("2 USD/h", "price")
    result = search(V3, H800, phase, GRID[phase], price=price)
    found, refused = loop(phase)
    assert result.evaluated == plan_count(GRID[phase]) == len(found) + sum(refused.values())
    assert result.feasible == len(found) > 1
    assert sum(result.rejected.values()) == sum(refused.values()) > 1
    for reason, count in refused.items():
        same = sum(n for text, n in result.rejected.items() if text.startswith(reason))
        assert same == count, (reason, result.rejected, refused)
    best = min(found, key=lambda item: item[2])
    assert result.best is not None
    if phase == "serving":  # the best is played: what the verb says of that plan, and none of the near ones is cheaper
        assert min(e.metrics["usd_per_mtok"] for e in result.frontier) == pytest.approx(best[2], rel=RTOL)
        answers = {str(plan): asked(plan) for plan, _, _ in sorted(found, key=lambda item: item[2])[:3]}
        assert result.best.metrics["usd_per_mtok"] == pytest.approx(asked(result.best.plan))
        assert result.best.metrics["usd_per_mtok"] <= min(answers.values()) * (1 + RTOL)
    else:
        assert result.best.metrics["usd_per_mtok"] == pytest.approx(best[2], rel=RTOL)
    by_plan = {tuple(sorted(plan.items())): (latency, usd) for plan, latency, usd in found}
    for entry in result.frontier:
        latency, usd = by_plan[tuple(sorted(entry.plan.items()))]
        assert entry.metrics[LATENCY[phase]] == pytest.approx(latency, rel=RTOL)
        assert entry.metrics["usd_per_mtok"] == pytest.approx(usd, rel=RTOL)
        better = [p for p, other, cost in found if other < latency * (1 - 1e-9) and cost < usd * (1 - 1e-9)]
        assert not better


def test_search_of_training_plans_is_a_loop() -> None:
    varied: dict[str, list[Any]] = {"pp": [8, 16, 32, 5], "ep": [32, 64], "recompute": ["selective", "full"],
                                    "global_batch": [15_360, 16_384], "micro_batch": [1, 2]}  # fmt: skip
    grid = {"gpus": [2048], "seq": [4096]} | varied
    result = search(V3, H800, "training", grid, price=parse_rate("2 USD/h", "price"))
    rates, refused, cluster = [], 0, standard_cluster(H800, 2048)
    for pp, ep, recompute, batch, micro in itertools.product(*varied.values()):
        plan, load = TrainingPlan(2048, pp=pp, ep=ep, recompute=recompute), TrainingLoad(4096, batch, micro)
        try:
            step, _ = training_step(V3, H800, plan, load, cluster)
            if float(step.memory.total_bytes) > 0.96 * H800.need("memory"):
                raise BadInput("does not fit")
            rates.append(batch * 4096 / float(step.step_s) / 2048)
        except BadInput:
            refused += 1
    assert result.feasible == len(rates) > 1
    assert sum(result.rejected.values()) == refused > 1
    found = max(entry.metrics["tokens_per_s_per_gpu"] for entry in result.frontier)
    assert found == pytest.approx(max(rates), rel=RTOL)


def test_blocks_cover_every_plan_once() -> None:
    grid: dict[str, Any] = {"a": [1, 2, 3], "w": ["x", "y"], "b": list(range(11)), "c": [0.5, 7]}
    for chunk in (1, 5, 7, 64, 10_000):
        seen = [tuple(sorted(block.plan_at(i).items())) for block in blocks(grid, chunk) for i in range(block.size)]
        expected = [tuple(sorted(zip(grid, values, strict=True))) for values in itertools.product(*grid.values())]
        assert sorted(seen) == sorted(expected)


def test_targets_only_remove_plans() -> None:
    price = parse_rate("2 USD/h", "price")
    whole = search(V3, H800, "decode", GRID["decode"], price=price)
    tight = search(V3, H800, "decode", GRID["decode"], price=price, tpot_s=0.1, max_gpus=64)
    assert 0 < tight.feasible < whole.feasible
    assert tight.evaluated == whole.evaluated == tight.feasible + sum(tight.rejected.values())
    assert all(e.metrics["tpot_s"] <= 0.1 and e.plan["gpus"] <= 64 for e in tight.frontier)
    assert whole.best is not None
    assert tight.best is not None
    assert whole.best.metrics["usd_per_mtok"] <= tight.best.metrics["usd_per_mtok"]


@pytest.mark.parametrize("seed", range(30))
def test_pareto_against_its_definition(seed: int) -> None:
    rng = np.random.default_rng(seed)
    size = int(rng.integers(0, 60))
    # Few distinct values, so that ties happen; some NaN and infinity.
    x, y = (rng.integers(0, 12, size).astype(float) for _ in range(2))
    for column in (x, y):
        column[rng.random(size) < 0.05] = np.nan
        column[rng.random(size) < 0.05] = np.inf
    front = pareto(x, y)
    points = [(x[i], y[i]) for i in range(size) if np.isfinite(x[i]) and np.isfinite(y[i])]
    expected = {p for p in points if not any(q[0] <= p[0] and q[1] <= p[1] and q != p for q in points)}
    kept = [(x[i], y[i]) for i in front]
    assert set(kept) == expected
    assert len(kept) == len(expected), "equal points are kept once"
    assert kept == sorted(kept)
