"""Calibration: laws on disk, what is not one, how evidence carries over, and refits that give the same laws."""

from __future__ import annotations

import json
import math
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from costsim.calibration.fit import fit, law_kind
from costsim.calibration.measurement import Measurement, read_measurements, write_measurements
from costsim.calibration.run import shipped_measurements
from costsim.calibration.store import (
    SCHEMA,
    Laws,
    calibration_text,
    device_for,
    law_json,
    parse_calibration,
)
from costsim.calibration.transfer import shipped_bands
from costsim.cli.main import main
from costsim.errors import BadInput
from costsim.physics.op import gemm
from costsim.physics.step import decode_demand, draft_demand, prefill_demand
from costsim.predict.phases import setting_for
from costsim.spec.catalog import ACCELERATORS, CALIBRATION, MEASUREMENTS, load_accelerator, load_model, names
from costsim.spec.plan import ServingPlan
from costsim.timing.device import FittedLaw, worse, worst
from costsim.timing.duration import combined_band, grade_at, time_op
from costsim.timing.laws import KINDS, Hop, Stream, Tile, law_from

CALIBRATED = sorted(path.stem for path in CALIBRATION.glob("*.json"))
ENTRY: dict[str, Any] = {
    "law": "stream",
    "parameters": {"overhead_s": 2e-6, "memory_efficiency": 0.8},
    "grade": "A",
    "n": 12,
    "range": {"m": [1, 8]},
    "held_out": {"p10_ratio": 0.9, "p90_ratio": 1.1},
    "sources": ["flashmla"],
}


def document(**changes: Any) -> dict[str, Any]:
    entry = {**ENTRY, **changes}
    return {"schema": SCHEMA, "accelerator": "h800-sxm", "date": "", "laws": {"memory_stream/bf16": entry}}


def write(folder: Path, data: object) -> Path:
    path = folder / "chip.json"
    path.write_text(data if isinstance(data, str) else json.dumps(data), encoding="utf-8")
    return path


@pytest.mark.parametrize("name", CALIBRATED)
def test_shipped_files_are_lawful(name: str) -> None:
    chip = load_accelerator(name)
    raw = json.loads((CALIBRATION / f"{name}.json").read_text(encoding="utf-8"))
    laws = parse_calibration(CALIBRATION / f"{name}.json")
    assert set(laws) == set(raw["laws"])
    assert raw["accelerator"] == chip.id
    for key, found in laws.items():
        assert found.law.kind == law_kind(*key.split("/"))
        assert found.origin == chip.id
        assert found.sources
        assert found.grade == ("A" if found.points >= 10 else "B")
        assert 0 < found.low <= 1.0 <= found.high
        for field in fields(found.law):
            value = getattr(found.law, field.name)
            assert value == raw["laws"][key]["parameters"][field.name]
            if "efficiency" in field.name:
                assert 0 < value <= 1.0


def test_a_stored_law_is_read_back(tmp_path: Path) -> None:
    law = parse_calibration(write(tmp_path, document()))["memory_stream/bf16"]
    assert law == FittedLaw(Stream(2e-6, 0.8), "A", 0.9, 1.1, ("flashmla",), 12, {"m": (1.0, 8.0)}, "h800-sxm")


@pytest.mark.parametrize(
    "data",
    [
        "", "[]", "null", "3", "{", '{"schema": 1}', '{"schema": 1, "accelerator": "x", "laws": []}', "[" * 100_000,
        {**document(), "schema": SCHEMA + 1},
        document(parameters={"overhead_s": 2e-6, "memory_efficiency": 1.0001}),
        document(parameters={"overhead_s": 2e-6, "memory_efficiency": 0.0}),
        document(parameters={"overhead_s": -1e-9, "memory_efficiency": 0.8}),
        document(parameters={"overhead_s": math.nan, "memory_efficiency": 0.8}),
        document(parameters={"overhead_s": math.inf, "memory_efficiency": 0.8}),
        document(parameters={"overhead_s": 2e-6}),
        document(parameters={"overhead_s": "2 us", "memory_efficiency": 0.8}),
        document(parameters={"overhead_s": 2e-6, "memory_efficiency": 0.8, "magic": 1.0}),
        document(parameters=[1, 2]),
        document(law="magic"),
        document(law=["stream"]),
        document(grade="E"),
        document(grade=1),
        document(n="many"),
        document(range={"m": [1]}),
        document(held_out={"p10_ratio": 0.9}),
        document(held_out={"p10_ratio": math.nan, "p90_ratio": 1.1}),
        document(held_out={"p10_ratio": -1.0, "p90_ratio": 1.1}),
        document(held_out={"p10_ratio": 1.2, "p90_ratio": 1.1}),
        document(sources="flashmla"),
        document(sources=[1]),
    ],
    ids=str,
)  # fmt: skip
def test_malformed_files_are_one_line(data: object, tmp_path: Path) -> None:
    with pytest.raises(BadInput) as caught:
        parse_calibration(write(tmp_path, data))
    assert "\n" not in str(caught.value)
    assert "chip.json" in str(caught.value)


@pytest.mark.parametrize("kind", KINDS)
def test_law_bounds(kind: str) -> None:
    good = {field.name: 0.5 for field in fields(KINDS[kind])}
    assert law_from(kind, good) == KINDS[kind](**good)
    for name in good:
        high = 1.0 if "efficiency" in name or name == "quantisation" else math.inf
        for value in (-1e-9, math.nan, *((1.0 + 1e-9, math.inf) if high == 1.0 else ())):
            with pytest.raises(ValueError, match=name):
                law_from(kind, good | {name: value})
        if "efficiency" in name:
            with pytest.raises(ValueError, match=name):
                law_from(kind, good | {name: 0.0})


def test_own_measurements_outrank_relatives_and_strangers() -> None:
    own = Laws(load_accelerator("h800-sxm"))["gemm/fp8"]
    relative = Laws(load_accelerator("h100-pcie"))["gemm/fp8"]
    stranger = Laws(load_accelerator("mi300x"))["gemm/fp8"]
    assert [law.grade for law in (own, relative, stranger)] == ["A", "C", "D"]
    assert own.origin == "h800-sxm"
    assert load_accelerator(relative.origin).architecture == "hopper"
    assert stranger.origin != "mi300x"
    for law, grade in ((relative, "C"), (stranger, "D")):
        low, high = shipped_bands().of("gemm/fp8", grade)
        assert law.low <= low
        assert law.high >= high


def test_a_twin_runs_the_same_kernel_but_a_relative_does_not() -> None:
    """H100 takes H800's grouped kernels before other kernels of its own; H20, a fifth of the peak, keeps its own."""
    assert Laws(load_accelerator("h100-sxm"))["moe_normal/fp8"].origin == "h800-sxm"
    assert Laws(load_accelerator("h20-96g"))["moe/fp8"].origin == "h20-96g"


def test_another_family_or_dtype_costs_a_grade() -> None:
    laws = Laws(load_accelerator("h800-sxm"))
    exact, borrowed = laws["gemm/fp8"], laws["gemm/int8"]
    assert borrowed.law == exact.law
    assert (exact.grade, borrowed.grade) == ("A", "C")
    assert laws["batched_gemm/bf16"].grade > "A"
    message, reduction = laws["p2p/bytes"].law, laws["all_reduce/bytes"].law
    assert isinstance(message, Hop)
    assert isinstance(reduction, Hop)
    # Bandwidths are all-reduce's; a message makes one step and crosses the network once.
    assert (message.up_efficiency, message.out_efficiency) == (reduction.up_efficiency, reduction.out_efficiency)
    assert (message.per_doubling_s, message.out_overhead_s) == (0.0, 3.7e-6)
    with pytest.raises(KeyError):
        laws["baking/bf16"]


def asked() -> list[str]:
    """family/dtype of everything that inference and training of the catalog's kinds of model ask a law for."""
    keys = set()
    for model, plan in (("deepseek-v3", ServingPlan(64, ep=64)), ("qwen3-32b", ServingPlan(8, tp=8, pp=2)),
                        ("deepseek-v3", ServingPlan(8, tp=8)), ("gpt-oss-120b", ServingPlan(8, ep=8))):  # fmt: skip
        setting = setting_for(load_model(model), load_accelerator("h800-sxm"), replace(plan, precision="bf16"))
        demands = (
            decode_demand(setting.model, setting.layout, 64.0, 4096.0),
            prefill_demand(setting.model, setting.layout, 4096.0, 4096.0),
            draft_demand(setting.model, setting.layout, 64.0, 4096.0, 1.0),
        )
        for demand in demands:
            keys |= {f"{op.family}/{op.dtype}" for op in demand.ops} | {f"{wire.kind}/bytes" for wire in demand.wires}
    return sorted(keys | {"all_gather/bytes", "reduce_scatter/bytes"})


FAMILIES = asked()


@pytest.mark.parametrize("name", names(ACCELERATORS))
def test_every_chip_has_a_law_for_every_family(name: str) -> None:
    laws = Laws(load_accelerator(name))
    own, chip = name in CALIBRATED, load_accelerator(name)
    alike = {load_accelerator(other).architecture for other in CALIBRATED} & {chip.architecture}
    for key in FAMILIES:
        law = laws[key]
        assert law.grade in "ABCD"
        assert 0 < law.low <= 1 <= law.high
        if not own and not alike:
            assert law.grade == "D", key


def test_grades_and_bands_combine() -> None:
    assert [worse("A"), worse("B", 2), worse("D")] == ["B", "D", "D"]
    assert worst(["A", "C", "B"]) == "C"
    one, two = (FittedLaw(Stream(1e-6, 0.8), grade, 0.9, 1.2, ("x",)) for grade in "AB")
    low, high, grade = combined_band([(3.0, one), (1.0, one)], 5.0)
    assert (low, high, grade) == (pytest.approx(4.6), pytest.approx(5.8), "A")  # one library: errors add
    low, high, grade = combined_band([(3.0, one), (4.0, two), (0.0, two)], 10.0)
    assert (low, high, grade) == (pytest.approx(9.5), pytest.approx(11.0), "B")  # two: in quadrature
    inside, outside = (gemm("g", m, 64.0, 64.0, "bf16", 1.0, "x") for m in (8.0, 64.0))
    ranged = FittedLaw(Stream(1e-6, 0.8), "A", 0.9, 1.1, ("x",), 20, {"m": (4.0, 16.0)})
    assert (grade_at(inside, ranged), grade_at(outside, ranged)) == ("A", "B")


def test_measurements_are_read_back(tmp_path: Path) -> None:
    rows = read_measurements(MEASUREMENTS / "h800-sxm.csv")
    assert len(rows) > 500
    write_measurements(tmp_path / "again.csv", rows, "two\nlines")
    assert read_measurements(tmp_path / "again.csv") == rows


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("family,dtype\n", "no column 'time_s'"),
        ("family,dtype,time_s\ngemm,fp8,0\n", "line 2: time_s = '0' must be from 1e-09"),
        ("family,dtype,time_s\ngemm,fp8,-1\n", "must be from 1e-09 to 1e+06"),
        ("family,dtype,time_s\ngemm,fp8,nan\n", "'nan' must be from"),
        ("family,dtype,time_s\ngemm,fp8,1e300\n", "'1e300' must be from"),
        ("# a comment\nfamily,dtype,time_s\ngemm,fp8,\n", "line 3: time_s is empty"),
        ("family,dtype,time_s\ngemm,fp8,1,2\n", "line 2: has more fields than the header"),
        ("family,dtype,time_s,m\ngemm,fp8,1\n", "line 2: has fewer fields than the header"),
        ("family,dtype,time_s,m,m\ngemm,fp8,1,2,3\n", "column 'm' is there twice"),
        ("family,dtype,time_s\n", "no rows"),
        ("family,dtype,time_s\n" + "g" * 140_000 + ",fp8,1\n", "field larger than field limit"),
        ("family,dtype,time_s\ngemm,fp8,fast\n", "'fast' is not a number"),
        ("family,dtype,time_s\n,fp8,1\n", "family and dtype must be given"),
        ("family,dtype,time_s,m\ngemm,fp8,1,-3\n", "m = '-3'"),
        ("", "no column"),
    ],
)
def test_bad_measurements_are_one_line(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(BadInput) as caught:
        read_measurements(path)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def made_rows(law: Tile, noise: float = 0.0) -> list[Measurement]:
    """GEMMs timed by a known law on the H800's datasheet."""
    device, rng, rows = device_for(load_accelerator("h800-sxm")), np.random.default_rng(1), []
    stand_in = FittedLaw(law, "A", 1.0, 1.0, ("made",))
    made = replace(device, laws={"gemm/bf16": stand_in})
    for n, k in ((2112, 7168), (7168, 16384), (24576, 1536), (4096, 7168), (7168, 2048), (576, 7168)):
        for m in (1, 16, 64, 128, 256, 512, 1024, 2048, 4096, 8192):
            op = gemm("g", float(m), float(n), float(k), "bf16", 1.0, "x")
            seconds = float(time_op(op, made).time_s) * math.exp(noise * rng.standard_normal())
            shape = {name: float(np.asarray(value)) for name, value in op.shape.items()}
            rows.append(Measurement("gemm", "bf16", seconds, "made", float(op.flop), float(op.bytes), shape))
    return rows


def test_a_fit_finds_the_law_that_made_the_rows(tmp_path: Path) -> None:
    pytest.importorskip("scipy", reason="fitting needs scipy, which the light install leaves out")
    device = device_for(load_accelerator("h800-sxm"))
    law = Tile(5e-6, 0.7, 120.0, 6e-10, 0.8, 0.4)
    found = fit("gemm", "bf16", made_rows(law), device)
    assert found.median_ape < 0.005
    assert found.rejected == 0
    for field in fields(law):
        assert getattr(found.law, field.name) == pytest.approx(getattr(law, field.name), rel=0.1), field.name
    noisy = fit("gemm", "bf16", made_rows(law, 0.1), device)
    low, high = noisy.band
    assert 0.80 < low < 0.95
    assert 1.05 < high < 1.25
    text = calibration_text("h800-sxm", {"gemm/bf16": found}, "2026-01-01")
    back = parse_calibration(write(tmp_path, text))["gemm/bf16"]
    assert back.points == 60
    assert back.grade == "A"
    for field in fields(law):
        assert getattr(back.law, field.name) == pytest.approx(getattr(found.law, field.name), rel=1e-3)


def test_rows_faster_than_light_are_rejected() -> None:
    pytest.importorskip("scipy", reason="fitting needs scipy, which the light install leaves out")
    device = device_for(load_accelerator("h800-sxm"))
    rows = made_rows(Tile(5e-6, 0.7, 120.0, 6e-10, 0.8, 0.4))
    wrong = [Measurement("gemm", "bf16", row.time_s / 100, "made", row.flop, row.bytes, row.shape) for row in rows[-5:]]
    assert fit("gemm", "bf16", [*rows, *wrong], device).rejected == 5
    with pytest.raises(ValueError, match="all 5 rows are faster than the datasheet of h800-sxm allows"):
        fit("gemm", "bf16", wrong, device)


@pytest.mark.parametrize("name", shipped_measurements())
def test_a_refit_of_the_shipped_rows_gives_the_shipped_laws(name: str) -> None:
    """Parameters within 1 %: optimisers of other versions may stop elsewhere on a flat floor."""
    pytest.importorskip("scipy", reason="fitting needs scipy, which the light install leaves out")
    from costsim.calibration.run import calibrate, measurements_of

    stored = json.loads((CALIBRATION / f"{name}.json").read_text(encoding="utf-8"))["laws"]
    fitted = calibrate(load_accelerator(name), measurements_of(name))
    again = {key: law_json(found) for key, found in fitted.fits.items()}
    assert set(again) == set(stored)
    for key, entry in stored.items():
        assert {k: again[key][k] for k in ("law", "grade", "n", "sources")} == {
            k: entry[k] for k in ("law", "grade", "n", "sources")
        }
        assert again[key]["parameters"] == pytest.approx(entry["parameters"], rel=0.01), key
        assert again[key]["held_out"] == pytest.approx(entry["held_out"], rel=0.02, abs=0.002), key


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("bogus,fp8,1024,1024,1024,1,2e9,4e6,1e-3\n", "unknown family 'bogus'"),
        ("gemm,fp4,1024,1024,1024,1,2e9,4e6,1e-3\n", "states no fp4 peak"),
        ("gemm,fp8,,1024,1024,1,2e9,4e6,1e-3\n", "column 'm' is empty"),
        ("gemm,fp8,1024,1024,1024,1,,4e6,1e-3\n", "column 'flop' is empty"),
        ("all_reduce,bytes,,,,,,,1e-3\n", "column 'up_bytes' is empty"),
        ("gemm,fp8,1024,1024,1024,1,2e15,4e6,1e-9\n", "faster than the datasheet"),
    ],
)
def test_what_cannot_be_fitted_leaves_the_old_file_alone(
    rows: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "rows.csv"
    table.write_text("family,dtype,m,n,k,groups,flop,bytes,time_s\n" + rows, encoding="utf-8")
    kept = tmp_path / "h800-sxm.json"
    kept.write_text("{}", encoding="utf-8")
    assert main(["calibrate", "h800-sxm", "--measurements", str(table), "--folder", str(tmp_path)]) == 2
    assert message in capsys.readouterr().err
    assert kept.read_text(encoding="utf-8") == "{}"


def test_a_law_that_rows_cannot_carry_says_so() -> None:
    from costsim.calibration.fit import Fit
    from costsim.cli.calibrate import _doubt

    law = law_from("stream", ENTRY["parameters"])
    held = np.full(20, np.log(1.05))

    def doubt(points: int, residuals: np.ndarray) -> str:
        return _doubt(Fit(law, points, residuals, 0, {}, ()))

    assert doubt(20, held) == ""
    assert "too few rows (2)" in doubt(2, held)
    assert "off by 50.0%" in doubt(20, np.full(20, -np.log(1.5)))
