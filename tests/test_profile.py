"""Draft accelerators, laws beside a user's TOML, processor laws, and predictions of runs from compulsory work."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from costsim.calibration.draft import draft_peaks, drafted
from costsim.calibration.fit import fit
from costsim.calibration.measurement import Measurement, write_measurements
from costsim.calibration.store import device_for, fitted_laws
from costsim.cli.main import main
from costsim.errors import BadInput
from costsim.physics.op import experts, gemm
from costsim.predict.runs import Added, Case, Extra, Host, compulsory, predict_run
from costsim.spec.accelerator import DATASHEET
from costsim.spec.catalog import load_accelerator, load_model
from costsim.spec.model import ModelSpec
from costsim.timing.duration import light_s, time_op
from costsim.timing.laws import Cached, Panel, Supply, Unpadded, Work, blend

FACTS = {"device": "cpu", "name": 'A "chip"\\ of mine', "memory_bytes": 16 * 10**9, "cores": 2, "devices": 1}
PEAK, BANDWIDTH = 2e11, 5e10
TRUTH = {
    "gemm": Panel(3e-6, 1e-6, 0.9, 20.0, 2.0, 30.0, 20.0, 0.4),
    "moe": Panel(9e-6, 4e-6, 0.8, 20.0, 2.0, 30.0, 20.0, 0.4),
    "memory_stream": Cached(2e-6, 0.9, 0.3, 4e6),
    "mla_prefill": Unpadded(5e-6, 0.5, 40.0, 0.4),
}


def seconds(family: str, shape: dict[str, float], flop: float, moved: float) -> float:
    supply = Supply(PEAK, BANDWIDTH, 2.0)
    return float(blend(*TRUTH[family].terms(Work(flop, moved, shape), supply)))


def made_rows() -> list[Measurement]:
    """Kernels of a processor that follows known laws exactly, and one of each that touches its peak and bandwidth."""
    rows = [
        Measurement("gemm", "fp32", 2.0 * 10**9 / PEAK, "made", 2e9, 1.0, {"m": 1e3, "n": 1e3, "k": 1e3, "groups": 1.0})
    ]
    rows.append(Measurement("memory_upload", "bf16", 1e9 / BANDWIDTH, "made", 0.0, 1e9, {"tokens": 1e9}))
    for m in (1, 4, 16, 64, 256):
        for n, k in ((256, 512), (512, 512), (1024, 256), (256, 1024), (1024, 1024)):
            shape = {"m": float(m), "n": float(n), "k": float(k), "groups": 1.0}
            flop, moved = 2.0 * m * n * k, 4.0 * (m * n + m * k + n * k)
            rows.append(Measurement("gemm", "fp32", seconds("gemm", shape, flop, moved), "made", flop, moved, shape))
            for groups in (4.0, 16.0):
                wide = shape | {"groups": groups}
                moe = seconds("moe", wide, 1.5 * flop * groups, moved * groups)
                rows.append(Measurement("moe", "fp32", moe, "made", 1.5 * flop * groups, moved * groups, wide))
    for size in np.geomspace(1e3, 1e8, 26).tolist():
        took = seconds("memory_stream", {}, 0.0, size)
        rows.append(Measurement("memory_stream", "bf16", took, "made", 0.0, size, {"tokens": size}))
    for context in (64.0, 128.0, 512.0, 1024.0):
        for heads in (2.0, 8.0):
            shape = {"context": context, "heads": heads, "batch": 1.0}
            flop, moved = 320.0 * heads * context**2, 2560.0 * heads * context
            took = seconds("mla_prefill", shape, flop, moved)
            rows.append(Measurement("mla_prefill", "fp32", took, "made", flop, moved, shape))
    return rows


@pytest.fixture(scope="module")
def laws() -> dict[str, Any]:
    _, chip = drafted("my-chip", made_rows(), FACTS)
    device = device_for(chip)
    groups: dict[str, list[Measurement]] = {}
    for row in made_rows():
        groups.setdefault(row.key, []).append(row)
    return {key: fit(*key.split("/"), rows, device) for key, rows in groups.items()}


# ------------------------------------------------------------------ drafts


def test_a_draft_states_what_was_measured_and_nothing_else() -> None:
    text, chip = drafted("my-chip", made_rows(), FACTS)
    assert chip.torch_device == "cpu"
    assert chip.name == "A chip of mine"
    assert chip.peak("fp32") == pytest.approx(PEAK, rel=2e-3)
    assert chip.need("memory_bandwidth") == pytest.approx(BANDWIDTH, rel=2e-3)
    unknown = {key for key in DATASHEET if not chip.known(key)}
    assert unknown >= {"bf16", "fp8", "int8", "tdp", "scale_up_bandwidth", "scale_out_bandwidth"}
    assert "measured" in text


def test_no_row_is_faster_than_its_draft(laws: dict[str, Any]) -> None:
    _, chip = drafted("my-chip", made_rows(), FACTS)
    device = device_for(chip)
    for row in made_rows():
        least = max(row.flop / device.peaks.get(row.dtype, np.inf), row.bytes / device.bandwidth)
        assert row.time_s >= least
    assert all(found.rejected == 0 for found in laws.values())


def test_the_fabric_of_a_draft_is_what_collectives_reached() -> None:
    wire = {"up_bytes": 1e6, "out_bytes": 1e6, "ranks": 2.0, "domain": 2.0}
    rows = [*made_rows(), Measurement("all_reduce", "bytes", 1e-3, "made", wire=wire)]
    # two ranks: each sends 2·(2−1)/2 of the payload
    assert draft_peaks(rows)["scale_up_bandwidth"] == pytest.approx(1e9, rel=1e-3)
    assert drafted("my-chip", rows, FACTS)[1].need("scale_up_domain") == 2


@pytest.mark.parametrize("name", ["My Chip", "../x", "", "a" * 80])
def test_an_id_is_an_id(name: str) -> None:
    with pytest.raises(BadInput, match="--draft"):
        drafted(name, made_rows(), FACTS)


def test_rows_without_products_show_no_peak() -> None:
    with pytest.raises(BadInput, match="gemm"):
        draft_peaks([row for row in made_rows() if not row.flop])


def test_from_rows_to_a_report_of_an_unknown_chip(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """CSV → draft and laws → a cost report that uses them: the laws are the chip's own, not a stranger's."""
    rows = [*made_rows(), *(Measurement(r.family, "bf16", r.time_s, r.source, r.flop, r.bytes, r.shape)
                            for r in made_rows() if r.dtype == "fp32")]  # fmt: skip
    write_measurements(tmp_path / "measurements.csv", rows)
    (tmp_path / "machine.json").write_text(json.dumps(FACTS), encoding="utf-8")
    folder = ["--folder", str(tmp_path)]
    assert main(["calibrate", "--draft", "my-chip", "--measurements", str(tmp_path / "measurements.csv"), *folder]) == 0
    chip = load_accelerator(str(tmp_path / "my-chip.toml"))
    assert chip.calibration == str(tmp_path / "my-chip.json")
    assert device_for(chip).law("gemm", "bf16").origin == "my-chip"
    assert device_for(chip).law("gemm", "bf16").grade == "A"
    capsys.readouterr()
    question = ["infer", "--phase", "decode", "--model", "qwen2.5-1.5b", "--gpus", "1", "--context", "512"]
    asked = [*question, "--batch-per-gpu", "4", "--precision", "bf16", "--accelerator", str(tmp_path / "my-chip.toml")]
    assert main([*asked, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["metrics"]["tpot_s"]["value"] > 0
    # the weights cross the memory once a step at least
    assert answer["metrics"]["tpot_s"]["value"] > 1.3e9 * 2 / BANDWIDTH


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--draft", "my-chip"], "takes --measurements"),
        (["h800-sxm", "--draft", "my-chip", "--measurements", "x.csv"], "nothing of the catalog"),
        (["--draft", "my-chip", "--measurements", "absent.csv"], "absent.csv"),
    ],
)
def test_bad_drafts(argv: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["calibrate", *argv]) == 2
    assert words in capsys.readouterr().err


def test_laws_beside_a_toml_must_be_its_own(tmp_path: Path) -> None:
    text, _ = drafted("my-chip", made_rows(), FACTS)
    (tmp_path / "my-chip.toml").write_text(text, encoding="utf-8")
    other = {"schema": 1, "accelerator": "another", "laws": {}}
    entry = {"law": "stream", "parameters": {"overhead_s": 1e-6, "memory_efficiency": 0.5}, "grade": "A", "n": 9,
             "range": {}, "held_out": {"p10_ratio": 0.9, "p90_ratio": 1.1}, "sources": []}  # fmt: skip
    (tmp_path / "my-chip.json").write_text(
        json.dumps(other | {"laws": {"memory_stream/bf16": entry}}), encoding="utf-8"
    )
    with pytest.raises(BadInput, match="was measured on another"):
        device_for(load_accelerator(str(tmp_path / "my-chip.toml")))


# ------------------------------------------------------------------ laws of processors


@pytest.mark.parametrize("key", ["gemm/fp32", "moe/fp32", "memory_stream/bf16", "mla_prefill/fp32"])
def test_laws_find_the_processor_they_were_made_from(laws: dict[str, Any], key: str) -> None:
    found = laws[key]
    assert found.law.kind == TRUTH[key.split("/")[0]].kind
    assert found.median_ape < 0.06


def test_a_processor_is_never_faster_than_its_sheet(laws: dict[str, Any]) -> None:
    _, chip = drafted("my-chip", made_rows(), FACTS)
    device = device_for(chip)
    device = type(device)(**{**vars(device), "laws": fitted_laws(laws, chip.id)})
    m = np.array([1.0, 3.0, 70.0, 3000.0])
    for op in (gemm("", m, 700.0, 900.0, "fp32", 1.0, "x", out="bf16"),
               experts("", m, 300.0, 640.0, 6.0, "fp32", 1.0, "x", "moe")):  # fmt: skip
        assert np.all(np.asarray(time_op(op, device).time_s) >= np.asarray(light_s(op, device)))


# ------------------------------------------------------------------ runs of a model


def small() -> ModelSpec:
    attention = {"kind": "mla", "heads": 4, "kv_heads": 4, "kv_lora_rank": 96, "qk_nope_head_dim": 128,
                 "qk_rope_head_dim": 64, "v_head_dim": 128}  # fmt: skip
    moe = {"experts": 8, "top_k": 2, "intermediate": 88, "shared_experts": 1, "first_dense": 1}
    sizes = {"id": "small", "name": "small", "hidden": 192, "layers": 3, "vocab": 500, "intermediate": 400}
    return ModelSpec.model_validate(sizes | {"attention": attention, "moe": moe})


def test_compulsory_work_keeps_its_flops_in_any_format() -> None:
    for phase in ("prefill", "decode", "training"):
        narrow, wide = (compulsory(Case(phase, small(), 2, 30, dtype)) for dtype in ("bf16", "fp32"))
        assert [float(op.flop) for op in narrow] == [float(op.flop) for op in wide]
        for a, b in zip(narrow, wide, strict=True):
            assert float(b.bytes) == pytest.approx(2 * float(a.bytes)), a.name
        assert not any(op.family.startswith("memory_") for op in wide)


def test_compulsory_bytes_are_those_of_the_product() -> None:
    """In 16 bits the recast ops are physics' own."""
    from costsim.physics.layout import Layout, expert_slots
    from costsim.physics.step import prefill_demand

    layout = Layout(1.0, 1.0, 1.0, 1.0, 1.0, 1.0, expert_slots(small(), 1.0, 0.0), "bf16", "bf16")
    own = {op.name: op for op in prefill_demand(small(), layout, 60.0, 30.0).ops}
    for op in compulsory(Case("prefill", small(), 2, 30, "bf16")):
        expected = float(own[op.name].bytes)
        if op.name == "router":  # physics writes its scores in 32 bits
            expected -= 2.0 * 60 * 8
        assert float(op.bytes) == pytest.approx(expected), op.name


def test_parts_of_a_run_add_up_and_grow(laws: dict[str, Any]) -> None:
    _, chip = drafted("my-chip", made_rows(), FACTS)
    device = device_for(chip)
    own = fitted_laws(laws, chip.id)
    stand = {"batched_gemm/fp32": own["gemm/fp32"], "mla_decode/fp32": own["mla_prefill/fp32"],
             "mla_backward/fp32": own["mla_prefill/fp32"]}  # fmt: skip
    device = type(device)(**{**vars(device), "laws": own | stand})
    added = Added([Extra("stream", 1e6, 1e-4, 3)], kernels=100, views=50)
    host = Host(2e-6, 5e-6, 1e-6)
    for phase in ("prefill", "decode", "training"):
        one = predict_run(Case(phase, small(), 1, 64, "fp32"), device, added, host)
        two = predict_run(Case(phase, small(), 4, 64, "fp32"), device, added, host)
        assert two.total_s > one.total_s > 0
        assert one.other_kernels_s > 3e-4
        assert one.host_s == pytest.approx(100 * (5e-6 if phase == "training" else 2e-6) + 50e-6)
        assert min(one.experts_s, one.attention_s, one.products_s) > 0


# ------------------------------------------------------------------ the verb


def test_an_absent_device_is_one_line_that_lists_what_is_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("torch", reason="profiling needs torch")
    assert main(["profile", "--device", "npu", "--out-dir", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "found: " in error
    assert "cpu" in error.split("found: ")[1]


def test_a_model_of_another_family_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch", reason="profiling needs torch")
    assert main(["profile", "--model", "llama-3.1-8b", "--out-dir", str(tmp_path)]) == 2
    assert "DeepSeek family" in capsys.readouterr().err
    assert load_model("deepseek-v2-lite").attention.kind == "mla"
