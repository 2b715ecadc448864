"""Readers of measured data: recorded logs of each format, and the measured GPU tables where they are installed."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from costsim.calibration.measurement import Measurement, read_measurements, write_measurements
from costsim.calibration.sources import aiconfigurator, deepep, nccl_tests, vllm_bench
from costsim.calibration.sources.collector_routing import rank_load
from costsim.errors import BadInput
from costsim.physics.op import gemm
from costsim.spec.catalog import load_accelerator

FIXTURES = Path(__file__).parent / "fixtures"
MISSING = [name for name in ("aiconfigurator_core", "pyarrow") if find_spec(name) is None]
silicon = pytest.mark.skipif(
    bool(MISSING), reason=f"not installed: {', '.join(MISSING)} (pip install costsim[silicon])"
)


def written(folder: Path, text: str) -> Path:
    path = folder / "log.txt"
    path.write_text(text, encoding="utf-8")
    return path


# nccl-tests


def test_nccl_text_names_collective_ranks_and_hosts() -> None:
    rows = nccl_tests.read(FIXTURES / "nccl_all_reduce.txt")
    assert [row.family for row in rows] == ["all_reduce", "all_reduce"]
    assert rows[1].time_s == pytest.approx(2311.2e-6)
    assert rows[1].wire == {"up_bytes": 536870912.0, "out_bytes": 536870912.0, "ranks": 4.0, "domain": 2.0}


def test_nccl_json_of_a_build_without_mpi_counts_threads_and_gpus() -> None:
    (row,) = nccl_tests.read(FIXTURES / "nccl_alltoall.json")
    assert (row.family, row.wire["ranks"], row.wire["out_bytes"]) == ("all_to_all", 8.0, 0.0)
    assert row.wire["up_bytes"] / row.time_s / 1e9 == pytest.approx(311.1, rel=1e-3)  # nccl-tests' own bus bandwidth


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("hello", "names no nccl-tests program"),
        ("all_reduce_perf", "give ranks"),
        ("# all_reduce_perf\n# nThread 1 nGpus 8 \n", "no measured size"),
        ("# all_reduce_perf\n# nThread 1 nGpus 8 \n 1024 512 half sum -1 1.0 900.0 1.0 0\n", "line 3"),
        ("# all_reduce_perf\n# nThread 1 nGpus 8 \n 1024 512 half sum -1 abc 900.0 1.0 0\n", "line 3: time"),
        ("# all_reduce_perf alltoall_perf", "several programs"),
        ('{"args": "all_reduce_perf", "config": {"nthreads": 1, "ngpus": 8}, "results": 3}', "no list `results`"),
        ('{"args": "all_reduce_perf", "config": {"nthreads": "x", "ngpus": 8}, "results": []}', "nthreads"),
        ('{"all_reduce_perf"', "line 1: not JSON"),
        ("[" * 5000, "names no nccl-tests program"),
        ('{"all_reduce_perf":' + "[" * 200_000, "nested too deeply"),
    ],
)
def test_nccl_malformed_is_one_line(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(BadInput) as caught:
        nccl_tests.read(written(tmp_path, text))
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


# DeepEP


def test_deepep_normal_reads_time_or_bandwidth() -> None:
    fp8, bf16, combine = deepep.read(FIXTURES / "deepep_internode.log", deepep.Setup(ranks=16, experts=256))
    assert [row.family for row in (fp8, bf16, combine)] == ["dispatch", "dispatch", "combine"]
    assert bf16.time_s == pytest.approx(2450e-6)
    assert combine.time_s == pytest.approx(2456.5e-6)  # transmit + notify
    # Half the bytes and their scales at about the same bandwidth: about half the time.
    assert fp8.time_s / bf16.time_s == pytest.approx(0.515, rel=0.02)
    assert fp8.shape["sms"] == 24.0
    # The printed bandwidth counts the rank's own copies, a wire only those that leave it.
    assert bf16.wire["out_bytes"] / bf16.time_s / 1e9 == pytest.approx(47.72 / 2, rel=0.02)


def test_deepep_low_latency_keeps_one_rank() -> None:
    setup = deepep.Setup(ranks=16, tokens=128, hidden=7168, top_k=8, experts=256)
    dispatch, combine = deepep.read(FIXTURES / "deepep_low_latency.log", setup)
    assert (dispatch.family, combine.family) == ("dispatch_ll", "combine_ll")
    assert (dispatch.time_s, combine.time_s) == pytest.approx((126.5e-6, 237.9e-6))
    assert dispatch.wire["up_bytes"] + dispatch.wire["out_bytes"] == pytest.approx(128 * 8 * 7168 * (1 + 4 / 128))


def test_deepep_elastic_adds_the_copy_and_takes_ranks_from_the_line() -> None:
    dispatch, combine = deepep.read(FIXTURES / "deepep_elastic.log")
    assert dispatch.time_s == pytest.approx(865e-6)
    assert combine.time_s == pytest.approx(1490e-6)
    assert dispatch.wire["ranks"] == 16.0
    assert dispatch.wire["out_bytes"] == pytest.approx(90e9 * 675e-6 / 2)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no timing"),
        (
            "[tuning] Best dispatch (FP8): SMs 24, NVL chunk 8: 150.0 GB/s (NVL)",
            "ranks, tokens, hidden, top_k, experts",
        ),
        ("[rank 0] Dispatch bandwidth: 60.12 GB/s, avg_t=126", "cut short"),
        ("num_tokens=1, hidden=7168, num_topk=8, num_experts=256\n[tuning] Best combine: SMs 24, nothing", "line 2"),
        ("num_tokens=" + "9" * 400, "no timing"),
    ],
)
def test_deepep_malformed_is_one_line(tmp_path: Path, text: str, says: str) -> None:
    setup = deepep.Setup(ranks=8) if "num_tokens" in text else None
    with pytest.raises(BadInput, match=says):
        deepep.read(written(tmp_path, text), setup)


# vLLM bench serve


def test_vllm_bench() -> None:
    run = vllm_bench.read(FIXTURES / "vllm_bench.json")
    assert (run.model, run.concurrency, run.completed) == ("deepseek-ai/DeepSeek-V3", 64, 640)
    assert run.latency_s["mean_ttft"] == pytest.approx(0.4125)
    assert run.latency_s["p99_itl"] == pytest.approx(0.048)
    assert "mean_e2el" not in run.latency_s
    assert run.output_tokens_per_s == pytest.approx(run.output_tokens / run.duration_s, rel=1e-3)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"duration": None}, "duration"),
        ({"duration": True}, "duration"),
        ({"completed": "many"}, "completed"),
        ({"mean_ttft_ms": -1}, "mean_ttft_ms"),
        ({"mean_ttft_ms": math.nan}, "mean_ttft_ms"),
        ({"total_output_tokens": [1]}, "total_output_tokens"),
    ],
)
def test_vllm_bench_malformed(tmp_path: Path, change: dict[str, object], says: str) -> None:
    document = json.loads((FIXTURES / "vllm_bench.json").read_text()) | change
    with pytest.raises(BadInput, match=says):
        vllm_bench.read(written(tmp_path, json.dumps(document)))


@pytest.mark.parametrize("text", ["", "[]", "3", '{"duration": 1}', "\0"])
def test_vllm_bench_refuses_other_files(tmp_path: Path, text: str) -> None:
    with pytest.raises(BadInput):
        vllm_bench.read(written(tmp_path, text))


def test_missing_file_is_bad_input(tmp_path: Path) -> None:
    for reader in (nccl_tests.read, deepep.read, vllm_bench.read):
        with pytest.raises(BadInput, match="cannot be read"):
            reader(tmp_path / "absent.log")


# Our own CSV


def test_measurements_keep_the_new_columns(tmp_path: Path) -> None:
    shape = {"m": 4.0, "n": 4096.0, "k": 7168.0, "groups": 32.0, "experts": 32.0, "skew": 1.5, "tokens": 64.0}
    rows = [Measurement("moe", "fp8", 1e-4, "test", 1.0, 2.0, shape)]
    path = tmp_path / "rows.csv"
    write_measurements(path, rows)
    assert read_measurements(path) == rows


# Routing of the public collectors


def test_balanced_rows_are_counted() -> None:
    assert rank_load(1024, 256, 8, 8, "balanced") == (1024.0, 32.0, 1.0)
    assert rank_load(16, 256, 8, 8, "balanced")[:2] == (16.0, 16.0)


def test_power_law_times_the_busiest_rank() -> None:
    even, _, _ = rank_load(4096, 256, 8, 8, "balanced")
    pairs, active, skew = rank_load(4096, 256, 8, 8, "power_law_1.2")
    assert pairs > 1.2 * even
    assert active <= 32.0
    assert skew > 2.0
    assert rank_load(4096, 256, 8, 1, "power_law_1.2")[0] <= 4096 * 8


# aiconfigurator-core


def test_absent_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aiconfigurator, "find_spec", lambda name: None)
    with pytest.raises(BadInput, match=r"pip install costsim\[silicon\]"):
        aiconfigurator.read("h200-sxm")


def test_unknown_system_and_family() -> None:
    with pytest.raises(BadInput, match="h200-sxm"):
        aiconfigurator.read("h2000-sxm")
    with pytest.raises(BadInput, match="gemm"):
        aiconfigurator.read("h200-sxm", ["gem"])


def spot(rows: list[Measurement], **values: float) -> float:
    """Seconds of the one shape (the least, where it was timed twice)."""
    found = [r.time_s for r in rows if all((r.shape | r.wire).get(name) == value for name, value in values.items())]
    assert found, values
    return min(found)


@silicon
def test_every_system_is_in_the_catalog() -> None:
    for system in aiconfigurator.systems():
        assert load_accelerator(system).id == system


@silicon
def test_spot_values_h200() -> None:
    by: dict[str, list[Measurement]] = defaultdict(list)
    for row in aiconfigurator.read("h200-sxm"):
        by[row.key].append(row)
    heads = {"heads": 32, "kv_heads": 8, "head_dim": 128}
    kernels: list[tuple[str, dict[str, float], float]] = [
        ("gemm/fp8", {"m": 768, "n": 2560, "k": 7168}, 34.8e-6),
        ("moe/fp8", {"n": 4096, "k": 7168, "groups": 256, "tokens": 64, "m": 2}, 2.664e-3),
        ("moe_masked/fp8", {"experts": 32, "tokens": 1024, "skew": 1}, 0.385e-3),
        ("mla_prefill/bf16", {"batch": 2, "heads": 128, "context": 512}, 98.2e-6),
        ("attention_prefill/bf16", {"batch": 1, **heads, "context": 4096}, 265.5e-6),
        ("attention_decode/bf16", {"batch": 16, **heads, "context": 8192}, 130.3e-6),
        ("all_reduce/bytes", {"ranks": 8, "up_bytes": 2.0**29}, 2.04e-3),
        ("all_gather/bytes", {"ranks": 8, "up_bytes": 2.0**29}, 1.395e-3),
        ("all_reduce_custom/bytes", {"ranks": 8, "up_bytes": 2.0**25}, 0.194e-3),
    ]
    for key, shape, seconds in kernels:
        assert spot(by[key], **shape) == pytest.approx(seconds, rel=0.02), key
    # 256 requests of 8,192 tokens read 2.4 GB of latent cache: between one and two times what HBM needs.
    assert 0.5e-3 < spot(by["mla_decode/bf16"], batch=256, heads=16, context=8192) < 1.0e-3
    for key in ("batched_gemm/bf16", "mla_module_prefill/fp8", "mla_module_decode/fp8", "moe_normal/fp8"):
        assert by[key], key
    assert {r.wire["ranks"] for r in by["dispatch/bytes"]} == {8.0, 16.0, 32.0, 64.0}
    assert {r.wire["ranks"] for r in by["combine_ll/bytes"]} == {8.0, 16.0, 32.0, 64.0}


@silicon
@pytest.mark.parametrize(("system", "share"), [("a100-80g-sxm", 0.01), ("h100-sxm", 0.05), ("b200-sxm", 0.01)])
def test_few_kernels_beat_light(system: str, share: float) -> None:
    """A wrong unit would show at once: everything would beat the datasheet, or reach a thousandth of it."""
    chip = load_accelerator(system)
    bandwidth = chip.need("memory_bandwidth")
    families = ["gemm", "batched_gemm", "mla_prefill", "mla_decode", "attention_decode", "moe"]
    efficiency: dict[str, list[float]] = defaultdict(list)
    for row in aiconfigurator.read(system, families):
        if row.dtype == "bf16":
            light = max(row.flop / chip.need("bf16"), row.bytes / bandwidth)
            efficiency[row.family].append(light / row.time_s)
    assert set(efficiency) == set(families)
    for family, values in efficiency.items():
        assert np.mean(np.array(values) > 1) < share, family
        assert np.quantile(values, 0.99) > 0.4, family


@silicon
def test_flop_and_bytes_are_those_of_physics() -> None:
    for row in aiconfigurator.read("h100-sxm", ["gemm"])[::5000]:
        if row.dtype in ("bf16", "fp8"):
            op = gemm("", row.shape["m"], row.shape["n"], row.shape["k"], row.dtype, 1.0, "")
            assert (row.flop, row.bytes) == (op.flop, op.bytes)


@silicon
def test_every_system_reads_every_table_it_has() -> None:
    found = {system: {row.family for row in aiconfigurator.read(system, ["gemm", "all_reduce", "mla_decode"])}
             for system in aiconfigurator.systems()}  # fmt: skip
    assert all(families == {"gemm", "all_reduce", "mla_decode"} for families in found.values()), found
