"""Benchmarks read back: a file made from the simulator's own answer must compare as equal, and shifts as shifts."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from costsim.calibration.sources.vllm_bench import Serving, read_runs
from costsim.cli.main import main
from costsim.errors import BadInput
from costsim.predict.bench import compare, load_of, summary
from costsim.predict.engine import policy_for
from costsim.predict.service import Service
from costsim.predict.simulation import predict_simulation
from costsim.serving.arrivals import closed_loop
from costsim.serving.outcome import Outcome
from costsim.serving.request import Requests
from costsim.spec.catalog import load_accelerator, load_model
from costsim.spec.framework import framework_for
from costsim.spec.plan import ServingPlan

DONE = '{"duration": 1, "completed": 1, "total_output_tokens": 1, "mean_ttft_ms": 1'
FIXTURE = Path(__file__).parent / "fixtures" / "vllm_bench.json"


def document(**changes: Any) -> dict[str, Any]:
    """A result file whose latencies are the simulator's for the same load."""
    requests = closed_loop(60, 300, 40, 0.5, seed=3)
    run = predict_simulation(
        load_model("deepseek-v3"), load_accelerator("h200-sxm"), ServingPlan(8, tp=8, routing="default"), requests,
        concurrency=6, bands=False,
    )  # fmt: skip
    made = figures(run.outcome, requests)
    return {name: float(v) if isinstance(v, np.floating) else v for name, v in (made | changes).items()}


def figures(out: Outcome, requests: Requests) -> dict[str, Any]:
    """What a benchmark client would write of this outcome."""
    made: dict[str, Any] = {
        "backend": "vllm", "model_id": "deepseek-v3", "max_concurrency": 6, "request_rate": "inf",
        "duration": out.end_s, "completed": len(requests), "failed": 0, "total_input_tokens": int(requests.isl.sum()),
        "total_output_tokens": int(requests.osl.sum()), "input_lens": requests.isl.tolist(),
        "output_lens": requests.osl.tolist(),
    }  # fmt: skip
    for name, column in (("ttft", out.ttft_s), ("tpot", out.tpot_s), ("e2el", out.e2e_s)):
        made |= {f"mean_{name}_ms": 1e3 * np.mean(column), f"median_{name}_ms": 1e3 * np.median(column)}
        made |= {f"p99_{name}_ms": 1e3 * np.quantile(column, 0.99)}
    return made


def test_the_simulator_s_own_answer_compares_as_equal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "own.json"
    path.write_text(json.dumps(document()))
    assert main(["simulate", "--bench", str(path), "--gpus", "8", "--tp", "8", "--no-bands", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    names = {row["name"] for row in answer["rows"]}
    assert {"mean_ttft", "median_tpot", "p99_e2el", "output_tokens_per_s", "requests_per_s"} <= names
    for row in answer["rows"]:
        assert row["ratio"] == pytest.approx(1.0, rel=1e-6), row["name"]
    assert answer["summary"]["tpot_mape"] == pytest.approx(0.0, abs=1e-6)


def test_an_engine_a_quarter_slower_shows_as_such(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = document()
    made |= {name: value * 1.25 for name, value in made.items() if name.endswith("_tpot_ms")}
    path = tmp_path / "slow.jsonl"
    path.write_text(json.dumps(made) + "\n" + json.dumps(made) + "\n")  # as bench_serving appends runs
    assert main(["simulate", "--bench", str(path), "--gpus", "8", "--tp", "8", "--no-bands", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert {row["run"] for row in answer["rows"]} == {1, 2}
    assert answer["summary"]["tpot_measured_over_predicted"] == pytest.approx(1.25, rel=1e-6)
    assert answer["summary"]["ttft_measured_over_predicted"] == pytest.approx(1.0, rel=1e-6)


def test_the_load_is_what_the_file_says() -> None:
    (run,) = read_runs(FIXTURE)
    requests, concurrency = load_of(run)
    assert (len(requests), concurrency) == (640, 64)
    assert requests.isl.mean() == pytest.approx(589_824 / 640, rel=0.01)
    assert len(set(requests.isl.tolist())) > 50, "equal lengths would run in step"
    base: dict[str, Any] = {
        "model": "m", "backend": "b", "concurrency": None, "completed": 10, "failed": 0, "duration_s": 1.0,
        "input_tokens": 1000.0, "output_tokens": 500.0, "requests_per_s": 10.0, "output_tokens_per_s": 500.0,
        "latency_s": {"mean_ttft": 1.0},
    }  # fmt: skip
    rated, open_ = load_of(Serving(**base, request_rate=4.0))
    assert open_ is None
    assert rated.arrival_s[-1] > 0
    assert load_of(Serving(**base))[1] == 10, "all at once"
    own, _ = load_of(Serving(**base, lengths=((7, 3), (9, 2))))
    assert own.isl.tolist() == [7, 9]


#: a line of SGLang's bench_serving, with the keys that its release 0.5.23 writes
SGLANG = {
    "tag": None, "backend": "sglang", "dataset_name": "random", "request_rate": 8.0, "max_concurrency": None,
    "random_input_len": 1024, "random_output_len": 512, "random_range_ratio": 0.5, "duration": 100.0, "completed": 800,
    "total_input_tokens": 614_400, "total_output_tokens": 307_200, "total_output_tokens_retokenized": 307_100,
    "request_throughput": 8.0, "input_throughput": 6144.0, "output_throughput": 3072.0,
    "mean_e2e_latency_ms": 12_500.0, "median_e2e_latency_ms": 12_000.0, "p90_e2e_latency_ms": 19_000.0,
    "p99_e2e_latency_ms": 21_000.0, "mean_ttft_ms": 300.0, "median_ttft_ms": 250.0, "p90_ttft_ms": 500.0,
    "p99_ttft_ms": 900.0, "mean_tpot_ms": 31.0, "median_tpot_ms": 31.0, "p90_tpot_ms": 35.0, "p99_tpot_ms": 40.0,
    "mean_itl_ms": 31.0, "median_itl_ms": 29.0, "p95_itl_ms": 50.0, "p99_itl_ms": 80.0, "concurrency": 99.0,
    "accept_length": 2.4, "max_concurrent_requests": 130,
}  # fmt: skip


def test_every_statistic_of_sglang_s_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "sglang.jsonl"
    path.write_text(json.dumps(SGLANG) + "\n" + json.dumps({**SGLANG, "request_rate": "trace"}) + "\n")
    first, second = read_runs(path)
    assert first.latency_s["mean_e2el"] == pytest.approx(12.5)
    assert first.latency_s["p90_e2el"] == pytest.approx(19.0)
    assert first.latency_s["p90_ttft"] == pytest.approx(0.5)
    assert (first.request_rate, second.request_rate, first.tokens_per_step) == (8.0, None, 2.4)
    requests, _ = load_of(first)
    assert requests.isl.mean() == pytest.approx(768, rel=0.02)
    assert requests.isl.max() <= 1024
    assert requests.isl.min() >= 512
    report = predict_simulation(
        load_model("deepseek-v3"), load_accelerator("h200-sxm"), ServingPlan(8, tp=8), requests.first(60), bands=False
    ).report
    named = {row.name for row in compare(1, first, report)}
    assert {"mean_e2el", "median_e2el", "p90_e2el", "p90_ttft", "p90_tpot", "p99_itl"} <= named


def test_burstiness_is_the_shape_of_the_gaps(tmp_path: Path) -> None:
    path = tmp_path / "vllm.json"
    path.write_text(json.dumps({**document(), "request_rate": 5.0, "burstiness": 0.25}))
    (run,) = read_runs(path)
    assert run.cv == pytest.approx(2.0)
    gaps = np.diff(load_of(replace(run, completed=4000, lengths=()))[0].arrival_s)
    assert np.std(gaps) / np.mean(gaps) == pytest.approx(2.0, rel=0.1)


def test_a_slow_host_is_found_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file made with 4 ms of host time an iteration and 8 ms in front: the correction names them."""
    load = closed_loop(80, 400, 60, 0.5, seed=3)
    framework = framework_for("vllm")
    slow = framework.host.model_copy(update={"step_s": 4e-3, "frontend_s": 8e-3})
    policy = policy_for(framework, 0.0, 1.0)
    run = predict_simulation(
        load_model("deepseek-v3"), load_accelerator("h200-sxm"),
        ServingPlan(8, tp=8, routing="default", framework="vllm"), load, Service(policy=policy, host=slow),
        concurrency=6, bands=False,
    )  # fmt: skip
    path = tmp_path / "slow.json"
    path.write_text(json.dumps(document(**figures(run.outcome, load))))
    assert main(["simulate", "--bench", str(path), "--gpus", "8", "--framework", "vllm", "--no-bands", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["correction"]["step_s"] == pytest.approx(4e-3, rel=0.05)
    assert answer["correction"]["frontend_s"] == pytest.approx(8e-3, rel=0.01)
    assert answer["corrected_summary"]["tpot_mape"] < 0.005 < answer["summary"]["tpot_mape"]
    assert answer["corrected_summary"]["ttft_mape"] < 0.02 < answer["summary"]["ttft_mape"]


def test_figures_that_only_one_side_has_are_left_out() -> None:
    (run,) = read_runs(FIXTURE)
    requests, concurrency = load_of(run)
    report = predict_simulation(
        load_model("deepseek-v3"), load_accelerator("h200-sxm"), ServingPlan(8, tp=8), requests.first(20),
        concurrency=concurrency, bands=False,
    ).report  # fmt: skip
    rows = compare(1, run, report)
    assert "std_ttft" not in {row.name for row in rows}
    assert all(row.predicted > 0 for row in rows)
    assert summary([]) == {}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{}", "no key 'duration'"),
        ("[1]", "JSON object"),
        ("not json", "not JSON"),
        (DONE + ', "request_rate": -3}', "request_rate"),
        (DONE + ', "input_lens": ["x"], "output_lens": [1]}', "input_lens"),
        ('{"duration": 1}\n{"duration": 2}\n', "line 1"),
    ],
)  # fmt: skip
def test_what_is_no_result_is_refused(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "bench.json"
    path.write_text(text)
    with pytest.raises(BadInput, match=words):
        read_runs(path)


def test_the_file_says_what_was_sent(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", "--bench", str(FIXTURE), "--rate", "3"]) == 2
    assert "the file says itself" in capsys.readouterr().err
    assert main(["simulate", "--bench", "nowhere.json"]) == 2
    assert "nowhere.json" in capsys.readouterr().err
