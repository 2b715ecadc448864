"""Traces read as they were recorded, refused where they are not; `costsim simulate` against the engine and itself."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

import costsim
from costsim.cli.main import main
from costsim.economics.cost import wall_power
from costsim.errors import BadInput
from costsim.predict.loads import TRACES, load_trace, trace_names
from costsim.predict.service import Service, acceptance_of, replica_cards
from costsim.predict.simulation import predict_simulation
from costsim.serving.arrivals import closed_loop, open_loop
from costsim.serving.clients import read_clients
from costsim.serving.traces import read_trace
from costsim.spec.catalog import load_accelerator, load_model
from costsim.spec.plan import ServingLoad, ServingPlan
from costsim.spec.price import parse_rate

TP8 = ServingPlan(8, tp=8, routing="default")


@pytest.mark.parametrize(
    ("name", "count", "isl", "osl", "span_s"),
    [
        ("azure-conv-2023", 19_366, 1155, 211, 58 * 60),
        ("azure-code-2023", 8_819, 2048, 28, 57 * 60),
        ("mooncake-conversation", 12_031, 12_035, 343, 59 * 60),
        ("mooncake-synthetic", 3_993, 15_326, 149, 17 * 60),
    ],
)
def test_shipped_traces_are_the_published_ones(name: str, count: int, isl: int, osl: int, span_s: float) -> None:
    """Counts and means as their publishers and later studies state them."""
    trace = load_trace(name)
    assert len(trace) == count
    assert trace.isl.mean() == pytest.approx(isl, rel=0.001)
    assert trace.osl.mean() == pytest.approx(osl, rel=0.005)
    assert trace.arrival_s[-1] == pytest.approx(span_s, rel=0.02)
    assert name in trace_names()


def test_mooncake_prefixes_hit_as_measured() -> None:
    """37.4 % of prompt tokens repeat an earlier prefix in the conversation trace, counted with an infinite cache."""
    trace = load_trace("mooncake-conversation")
    assert trace.blocks is not None
    seen: set[int] = set()
    hit = 0
    for blocks, isl in zip(trace.blocks, trace.isl, strict=True):
        found = 0
        for block in blocks:
            if block not in seen:
                break
            found += 1
        hit += min(found * trace.block_tokens, int(isl))
        seen.update(blocks)
    assert hit / trace.isl.sum() == pytest.approx(0.374, abs=0.002)


def test_the_day_of_deepseek_r1_clients() -> None:
    """ServeGen's service: 16.0 requests/s on average, 42.5 at its peak; 1,268 tokens in and 1,527 out."""
    clients = read_clients(TRACES / "deepseek-r1-clients.json.gz")
    assert len(clients.clients) == 73
    assert clients.rate_per_s.mean() == pytest.approx(16.01, abs=0.01)
    assert clients.rate_per_s.max() == pytest.approx(42.52, abs=0.01)
    day = clients.draw(0.0, 86_400.0)
    assert len(day) == pytest.approx(16.01 * 86_400, rel=0.01)
    assert day.isl.mean() == pytest.approx(1268, rel=0.02)
    assert day.osl.mean() == pytest.approx(1527, rel=0.02)
    assert np.median(day.isl) == pytest.approx(208, rel=0.05)
    again = clients.draw(0.0, 3600.0, seed=1)
    assert np.array_equal(again.isl, clients.draw(0.0, 3600.0, seed=1).isl)
    assert not np.array_equal(again.isl[:50], clients.draw(0.0, 3600.0, seed=2).isl[:50])


def test_own_csv_and_jsonl(tmp_path: Path) -> None:
    csv = tmp_path / "mine.csv"
    csv.write_text("arrival_s,isl,osl,priority\n2.5,10,20,1\n1.0,30,40,0\n")
    trace = read_trace(csv)
    assert trace.arrival_s.tolist() == [0.0, 1.5]
    assert trace.isl.tolist() == [30, 10]
    assert trace.priority is not None
    assert trace.priority.tolist() == [0, 1]
    packed = tmp_path / "mine.jsonl.gz"
    packed.write_bytes(gzip.compress(b'{"timestamp": 3000, "input_length": 5, "output_length": 0, "hash_ids": [7]}\n'))
    one = read_trace(packed)
    assert one.osl.tolist() == [1], "an engine makes at least one token"
    assert one.blocks == [[7]]


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.csv", "", "no requests"),
        ("a.csv", "x,y\n1,2\n", "no column arrival_s"),
        ("a.csv", "arrival_s,isl,osl\n0,ten,1\n", "line 2: isl"),
        ("a.csv", "arrival_s,isl,osl\nnan,1,1\n", "line 2: arrival_s"),
        ("a.csv", "arrival_s,isl,osl\n0,-5,1\n", "line 2: isl"),
        ("a.csv", "arrival_s,isl,osl\n0,1e30,1\n", "line 2: isl"),
        ("a.csv", "TIMESTAMP,ContextTokens,GeneratedTokens\nyesterday,1,1\n", "TIMESTAMP"),
        ("a.jsonl", "[1,2]\n", "one object a line"),
        ("a.jsonl", '{"timestamp": 0, "input_length": 1, "output_length": 1, "hash_ids": ["x"]}\n', "hash_ids"),
        ("a.jsonl", '{"timestamp": true, "input_length": 1, "output_length": 1}\n', "timestamp"),
        ("a.jsonl", "{" * 100_000 + "\n", "not JSON"),
        ("a.parquet", "x", r"must end in \.csv or \.jsonl"),
        ("a.csv.gz", "not gzip", "cannot be read"),
    ],
)
def test_what_is_no_trace_is_refused_by_name(tmp_path: Path, name: str, text: str, words: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(BadInput, match=words):
        read_trace(path)


def test_light_load_is_the_static_step() -> None:
    """One request at a time: TTFT is its prefill, TPOT its decode step, as the phases predict them."""
    model, chip = load_model("deepseek-v3"), load_accelerator("h200-sxm")
    run = predict_simulation(model, chip, TP8, closed_loop(4, 2048, 256), concurrency=1, bands=False)
    prompt = costsim.predict_inference(model, chip, TP8, costsim.PrefillLoad(2048, 2048 / 8))
    step = costsim.predict_inference(model, chip, TP8, costsim.DecodeLoad(2048 + 128, 1 / 8))
    assert run.report["ttft_s"] == pytest.approx(prompt["step_s"], rel=0.02)
    assert run.report["tpot_s"] == pytest.approx(step["tpot_s"], rel=0.02)


def test_more_cards_wait_less_and_bands_hold_the_value() -> None:
    model, chip = load_model("deepseek-v3"), load_accelerator("h200-sxm")
    load = open_loop(400, 6.0, 2000, 200, 0.8, 2.0)
    few, many = (
        predict_simulation(model, chip, ServingPlan(gpus, tp=8, routing="default"), load).report for gpus in (8, 32)
    )
    assert many["ttft_p99_s"] < few["ttft_p99_s"]
    assert many["usd_per_mtok_output"] > few["usd_per_mtok_output"]
    for metric in few.metrics.values():
        if metric.low is not None and metric.high is not None:
            assert metric.low <= metric.value <= metric.high


def test_disaggregation_from_plans() -> None:
    model, chip = load_model("deepseek-v3"), load_accelerator("h800-sxm")
    load = open_loop(300, 20.0, 3000, 200, 0.8)
    plan = ServingPlan(64, ep=64, routing="default")
    service = Service(prefill=ServingPlan(32, ep=32, routing="default"))
    run = predict_simulation(model, chip, plan, load, service, bands=False)
    assert run.report["finished"] == 300
    assert [s.prompt_tokens for s in run.outcome.statistics] == [int(load.isl.sum()), 0]


def test_pools_on_two_accelerators_pay_their_own_price() -> None:
    """Prompts on H800, answers on H20: each pool's cards at its price, and its time goes to its part of the tokens."""
    h20, h800 = load_accelerator("h20-96g"), load_accelerator("h800-sxm")
    two, one = parse_rate("2 USD/h", "price"), parse_rate("1 USD/h", "price")
    service = Service(prefill=ServingPlan(32, ep=32), prefill_chip=h800)
    run = predict_simulation(
        load_model("deepseek-v3"), h20, ServingPlan(16, ep=16), open_loop(200, 2.0, 2000, 200), service, price=one,
        prefill_price=two, bands=False,
    )  # fmt: skip
    report, out = run.report, run.outcome
    hours = out.end_s / 3600.0
    assert report["usd"] == pytest.approx((32 * 2.0 + 16 * 1.0) * hours)
    assert report["usd_per_mtok_input"] * out.isl.sum() / 1e6 == pytest.approx(32 * 2.0 * hours)
    assert report["usd_per_mtok_output"] * out.osl.sum() / 1e6 == pytest.approx(16 * hours)
    watts = [wall_power(chip).watts * cards for chip, cards in ((h800, 32), (h20, 16))]  # type: ignore[union-attr]
    assert report["joules_per_token_input"] * out.isl.sum() == pytest.approx(watts[0] * out.end_s)
    assert report["joules_per_token_output"] * out.osl.sum() == pytest.approx(watts[1] * out.end_s)
    assert 0 < report["prefill_busy_share"] < 1


def test_money_and_energy_of_all_parts_are_those_of_all_cards() -> None:
    trace = load_trace("mooncake-synthetic").first(300)
    run = predict_simulation(
        load_model("deepseek-v3"), load_accelerator("h200-sxm"), ServingPlan(32, tp=8, routing="default"), trace,
        Service(prefix_cache=True, router="cache-aware"), bands=False,
    )  # fmt: skip
    out, report = run.outcome, run.report
    done = out.finished
    tokens = {
        "input": (out.isl - out.cached)[done].sum(),
        "cached": out.cached[done].sum(),
        "output": out.osl[done].sum(),
    }
    assert tokens["cached"] > 0
    assert sum(report[f"usd_per_mtok_{name}"] * n / 1e6 for name, n in tokens.items()) == pytest.approx(report["usd"])
    assert report["usd_per_mtok_cached"] < 0.3 * report["usd_per_mtok_input"]
    assert 0 < report["kv_mean_share"] < report["kv_peak_share"] <= 1


def test_acceptance_by_position_keeps_as_many_tokens() -> None:
    """vLLM reports the share of steps that keep each position; the sum is what matters to a step."""
    shares = [0.85, 0.62, 0.41]
    chance = acceptance_of(shares)
    assert sum(chance**i for i in (1, 2, 3)) == pytest.approx(sum(shares))
    assert acceptance_of([0.9]) == pytest.approx(0.9)


def test_priorities_timeouts_and_full_queues_show_by_class(capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--rate", "48", "--requests", "900", "--gpus", "8", "--isl", "4000", "--osl", "50", "--priorities",
               "0.1,0.9", "--timeout", "5s", "--ttft", "2s", "--json", "--no-bands"]  # fmt: skip
    assert main(["simulate", *options]) == 0
    answer = json.loads(capsys.readouterr().out)
    first, second = answer["by_priority"]
    assert first["requests"] + second["requests"] == 900
    assert first["ttft_p50_s"] < 0.5 * second["ttft_p50_s"]
    assert first["aborted"] == 0 < second["aborted"] == answer["aborted"]
    assert first["goodput_share"] > 3 * second["goodput_share"]
    assert max(answer["series"]["waiting"]) > 100
    assert main(["simulate", *options, "--max-waiting", "20"]) == 0
    assert max(json.loads(capsys.readouterr().out)["series"]["waiting"]) <= 20


@pytest.mark.parametrize(
    ("plan", "cards"),
    [(ServingPlan(64, tp=8), 8), (ServingPlan(64, ep=32), 32), (ServingPlan(16, tp=4, ep=8), 8), (ServingPlan(8), 1)],
)
def test_cards_of_a_replica(plan: ServingPlan, cards: int) -> None:
    assert replica_cards(load_model("deepseek-v3"), load_accelerator("h200-sxm"), plan) == cards


def test_cli_json_out_and_traces(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    perfetto, table = tmp_path / "steps.json", tmp_path / "requests.csv"
    options = ["--trace", "azure-conv-2023", "--requests", "200", "--gpus", "8", "--ttft", "1s", "--tpot", "50ms"]
    status = main(["simulate", *options, "--json", "--perfetto", str(perfetto), "--out", str(table)])
    answer = json.loads(capsys.readouterr().out)
    assert status == 0
    assert answer["requests"] == answer["finished"] == 200
    assert 0 < answer["metrics"]["goodput_share"]["value"] <= 1
    assert answer["elapsed_cpu_s"] > 0
    rows = table.read_text().splitlines()
    assert len(rows) == 201
    slices = [event for event in json.loads(perfetto.read_text())["traceEvents"] if event["ph"] == "X"]
    steps = [event for event in slices if "iterations" in event["args"]]
    told = {event["args"]["request"] for event in slices if "request" in event["args"]}
    assert told == set(range(200))
    lanes: dict[tuple[int, int], float] = {}
    for event in slices:
        if "request" in event["args"]:  # no two slices of a lane overlap
            assert event["ts"] >= lanes.get((event["pid"], event["tid"]), 0.0) - 1e-3
            lanes[event["pid"], event["tid"]] = event["ts"] + event["dur"]
    assert sum(step["args"]["iterations"] for step in steps) == answer["iterations"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--gpus", "8"], "one load"),
        (["--rate", "1", "--trace", "azure-conv-2023"], "one load"),
        (["--trace", "nothing"], "unknown trace"),
        (["--rate", "1", "--gpus", "12"], "multiple"),
        (["--rate", "1", "--host-cache", "1TB"], "--prefix-cache"),
        (["--rate", "1", "--prefill-tp", "8"], "--prefill-gpus"),
        (["--trace", "azure-conv-2023", "--hours", "2-1"], "--hours"),
        (["--trace", "azure-conv-2023", "--isl", "5"], "--isl"),
        (["--concurrency", "4", "--isl", "2000000"], "longer"),
        (["--rate", "1", "--perfetto", "x.txt"], "--perfetto"),
        (["--rate", "1", "--prefix-cache"], "beginnings"),
        (["--rate", "1", "--router", "cache-aware"], "--prefix-cache"),
        (["--rate", "1", "--mtp-acceptance", "0.8"], "go together"),
        (["--rate", "1", "--mtp-positions", "0.5,0.8"], "cannot rise"),
        (["--rate", "1", "--priorities", "0.5,0.4"], "sum to 0.9"),
        (["--concurrency", "4", "--cv", "2"], "--cv"),
        (["--rate", "1", "--prefill-accelerator", "h20-96g"], "--prefill-gpus"),
        (["--rate", "1", "--host-step", "2ms"], "--framework"),
    ],
)
def test_cli_refuses_in_one_line(options: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", *options]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("gpus", [16, 128])
def test_the_share_of_prompts_is_the_one_that_the_bill_was_split_by(gpus: int) -> None:
    """Wide expert parallelism lets a prompt hold up all ranks: the share is the simulated one, not a closed form's."""
    report = costsim.predict_inference(
        load_model("deepseek-v3"), load_accelerator("h800-sxm"), ServingPlan(gpus, ep=gpus), ServingLoad(512, 512, 128)
    )
    paid_in, paid_out = report["usd_per_mtok_input"] * 512, report["usd_per_mtok_output"] * 512
    assert report["prefill_share"] == pytest.approx(paid_in / (paid_in + paid_out), rel=0.01)
    assert 0 < report["busy_share"] <= 1 + 1e-9
