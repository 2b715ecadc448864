"""Transfer: who stands in for whom, what is carried over, and bands that come from parts left out."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from costsim.calibration.left_out import LeftOut, bands_from, bands_text, coverage, error_of
from costsim.calibration.store import read_calibration
from costsim.calibration.transfer import (
    PATH,
    Bands,
    Faded,
    carried,
    distance,
    find,
    memory_kind,
    read_bands,
    relatives,
    rescaled,
    shipped_bands,
    strangers,
    tile_cores,
)
from costsim.errors import BadInput
from costsim.predict.inference import predict_inference
from costsim.spec.accelerator import Accelerator
from costsim.spec.catalog import ACCELERATORS, load_accelerator, load_model, names
from costsim.spec.edited import about
from costsim.spec.plan import DecodeLoad, PrefillLoad, ServingPlan
from costsim.timing.device import FittedLaw
from costsim.timing.laws import Attend, Hop, Stream, Tile

MEASURED = ("a100-80g-sxm", "h100-sxm", "h200-sxm", "b200-sxm", "b300-sxm", "gb200-nvl72", "gb300-nvl72", "l40s")
PARTS = [load_accelerator(name) for name in MEASURED]
TABLES = {name: read_calibration(name) for name in MEASURED}


def ids(parts: list[Accelerator]) -> list[str]:
    return [part.id for part in parts]


@pytest.mark.parametrize(
    ("chip", "kernels", "wires"),
    [
        ("b200-sxm", "gb200-nvl72", "b300-sxm"),
        ("b300-sxm", "gb300-nvl72", "b200-sxm"),
        ("h100-sxm", "h200-sxm", "h200-sxm"),
        ("h800-sxm", "h100-sxm", "h100-sxm"),
        ("a800-80g-sxm", "a100-80g-sxm", "a100-80g-sxm"),
    ],
)
def test_the_nearest_relative_comes_first(chip: str, kernels: str, wires: str) -> None:
    part = load_accelerator(chip)
    assert ids(relatives(part, "gemm", PARTS))[0] == kernels
    assert ids(relatives(part, "all_reduce", PARTS))[0] == wires
    assert chip not in ids(relatives(part, "gemm", PARTS))


def test_graphics_memory_makes_no_relative() -> None:
    card = load_accelerator("rtx5090")
    assert card.architecture == "blackwell"
    assert memory_kind(card) == "GDDR"
    assert relatives(card, "gemm", PARTS) == []
    assert ids(strangers(card, "gemm", PARTS))[0] == "l40s"


@pytest.mark.parametrize("name", names(ACCELERATORS))
def test_every_part_is_lent_what_was_measured(name: str) -> None:
    chip = load_accelerator(name)
    for key in ("gemm/bf16", "moe/bf16", "mla_decode/bf16", "mla_prefill/bf16", "all_reduce/bytes", "all_gather/bytes"):
        law = find(chip, key, PARTS, TABLES)
        assert law is not None
        assert law.origin != name
        close = [part for part in relatives(chip, key.split("/")[0], PARTS) if key in TABLES[part.id]]
        assert law.grade == ("C" if close else "D")
        low, high = shipped_bands().of(key, law.grade)
        assert law.low <= low <= 1 <= high <= law.high
    assert find(chip, "baking/bf16", PARTS, TABLES) is None


def test_strangers_are_tuned() -> None:
    for name in ("mi300x", "ascend-910c", "a100-80g-sxm", "gaudi3"):
        others = strangers(load_accelerator(name), "moe", PARTS)
        assert {part.architecture for part in others} <= {"hopper", "blackwell"}
    assert ids(strangers(load_accelerator("mi300x"), "moe", PARTS))[0] == "h200-sxm"


def test_distance_is_a_mean_of_logarithms() -> None:
    one, other = load_accelerator("h100-sxm"), load_accelerator("h200-sxm")
    assert distance(one, one, ("bf16",)) == 0
    assert distance(one, other, ("bf16", "memory_bandwidth")) == pytest.approx(math.log(4.8 / 3.35) / 2)
    assert distance(one, other, ()) == math.inf
    die = load_accelerator("ascend-910c-die")
    assert distance(die, load_accelerator("ascend-910c"), ("bf16", "memory_bandwidth")) == pytest.approx(0, abs=1e-9)


def test_latencies_are_kept_in_seconds() -> None:
    law = Tile(4e-6, 0.8, 100.0, 5e-10, 0.9, 0.2)
    assert rescaled(law, 2.0) == replace(law, k0=200.0)
    assert rescaled(Attend(1e-5, 0.6, 300.0, 0.8), 0.5).s0 == 150.0  # type: ignore[union-attr]
    assert rescaled(law, math.nan) == law
    assert rescaled(Stream(1e-6, 0.8), 2.0) == Stream(1e-6, 0.8)


class _Double:
    def factor(self, shape: object) -> float:
        return 2.0


def test_half_a_correction_crosses_architectures() -> None:
    assert Faded(_Double(), 0.5).factor({}) == pytest.approx(math.sqrt(2))
    assert Faded(_Double(), 0.25).factor({}) == pytest.approx(2**0.25)
    entry = FittedLaw(Stream(1e-6, 0.8), "A", 0.95, 1.3, ("x",), 20, None, "h100-sxm", _Double())
    donor, chip = load_accelerator("h100-sxm"), load_accelerator("mi300x")
    near, far = (carried(chip, donor, entry, grade, (0.9, 1.2)) for grade in "CD")
    assert near.correction is entry.correction
    assert isinstance(far.correction, Faded)
    assert (near.grade, near.low, near.high) == ("C", 0.9, 1.3)


def test_collectives_of_strangers_are_averaged() -> None:
    def entry(origin: str, overhead: float) -> dict[str, FittedLaw]:
        law = Hop(overhead, 0.5, 0.9, 1e-6, 1e-8)
        return {"all_reduce/bytes": FittedLaw(law, "A", 0.9, 1.1, (origin,), 60, None, origin, _Double())}

    tables = {"a100-80g-sxm": entry("a", 1e-6), "h100-sxm": entry("h", 3e-6), "h200-sxm": entry("h2", 12e-6),
              "l40s": entry("l", 1e-3)}  # fmt: skip
    law = find(load_accelerator("mi300x"), "all_reduce/bytes", PARTS, tables)
    assert law is not None
    assert law.law.overhead_s == pytest.approx(math.sqrt(1e-6 * 6e-6))  # Hopper votes once; graphics cards do not
    assert law.correction is None
    assert law.points == 180
    assert set(law.sources) == {"a", "h", "h2"}


def test_a_handful_of_points_comes_last() -> None:
    few = {"gemm/fp8": replace(TABLES["h100-sxm"]["gemm/fp8"], points=3, origin="few")}
    law = find(load_accelerator("h800-sxm"), "gemm/fp8", PARTS, TABLES | {"h100-sxm": few})
    assert law is not None
    assert law.origin == "h200-sxm"


def left_out(architecture: str, misses: list[float], scope: str = "architecture", grade: str = "D") -> LeftOut:
    return LeftOut(scope, f"{architecture}-1", architecture, "gemm/bf16", grade, "x", np.array(misses), (1.0, 1.0))


def test_bands_hold_four_rows_in_five_of_each_architecture() -> None:
    rng = np.random.default_rng(1)
    one, other = left_out("one", list(rng.normal(0.2, 0.1, 500))), left_out("other", list(rng.normal(-0.2, 0.1, 5000)))
    bands = bands_from([one, other])
    low, high = bands.of("gemm/bf16", "D")
    assert low == pytest.approx(1 / high, rel=0.1)
    for result in (one, other):
        assert 0.75 < coverage([result], bands, "D") < 0.95
    assert bands.of("gemm/fp8", "D") == bands.of("brewing/bf16", "D") == (low, high)
    hidden = bands_from([one, other], without=["one"])
    assert coverage([one], hidden, "D") > 0.5
    stated = error_of([left_out("one", [math.log(0.5)] * 3)])
    assert stated["median_ape"] == stated["bias"] == pytest.approx(1.0)


def test_bands_are_read_back(tmp_path: Path) -> None:
    results = [left_out("one", [-0.1, 0.1, 0.2]), left_out("one", [0.0, 0.1], "accelerator", "C")]
    path = tmp_path / "transfer.json"
    path.write_text(bands_text(results), encoding="utf-8")
    assert read_bands(path).of("gemm/bf16", "C") == pytest.approx(bands_from(results).of("gemm/bf16", "C"), rel=1e-3)


@pytest.mark.parametrize(
    "data",
    [
        "", "[]", "{}", '{"schema": 9}', '{"schema": 1, "bands": {"C": {}}}',
        '{"schema": 1, "bands": {"C": {"": {"p10_ratio": 2, "p90_ratio": 3}}, "D": {}}}',
    ],
)  # fmt: skip
def test_malformed_bands_are_one_line(data: str, tmp_path: Path) -> None:
    path = tmp_path / "transfer.json"
    path.write_text(data, encoding="utf-8")
    with pytest.raises(BadInput) as caught:
        read_bands(path)
    assert "\n" not in str(caught.value)


def test_shipped_bands_are_wider_the_further_the_donor() -> None:
    document = json.loads(PATH.read_text(encoding="utf-8"))
    assert "l40s" not in document["parts"]
    bands = shipped_bands()
    families = {key for key in bands.table["D"] if key}
    assert {"gemm", "moe", "mla_decode", "all_reduce", "dispatch_ll"} <= families
    for key in families:
        (near_low, near_high), (far_low, far_high) = bands.of(key, "C"), bands.of(key, "D")
        assert far_high / far_low > near_high / near_low, key
    assert bands.of("moe_masked/fp8", "D") == bands.of("moe", "D")
    assert Bands({"C": {}, "D": {}}).of("gemm/bf16", "C") == (1.0, 1.0)


def test_left_out_rows_lie_in_the_shipped_band() -> None:
    pytest.importorskip("aiconfigurator_core", reason="the measured GPU tables are an extra")
    from costsim.calibration.left_out import leave_out, measured_rows

    rows = measured_rows(["h200-sxm", "h100-sxm", "b200-sxm"])
    results = leave_out(rows)
    near = [result for result in results if result.part == "h200-sxm" and result.grade == "C"]
    far = [result for result in results if result.part == "h200-sxm" and result.grade == "D"]
    assert error_of(near)["median_ape"] < 0.10
    assert coverage(near, shipped_bands(), "C") > 0.65
    assert coverage(far, shipped_bands(), "D") > 0.65


def test_a_core_is_a_tile_worth_of_silicon() -> None:
    """A TPU's TensorCores are not counted as cores, so no chip's prefill drowns in latencies scaled to one of them."""
    assert tile_cores(load_accelerator("tpu-v6e")) is None
    assert tile_cores(load_accelerator("ascend-910c")) == 24
    for name in ("tpu-v5p", "tpu-v6e", "tpu-v7", "mi300x", "ascend-910b3"):
        chip = load_accelerator(name)
        plan = ServingPlan(gpus=32, ep=32, precision="fp8" if chip.known("fp8") else "int8")
        report = predict_inference(load_model("deepseek-v2"), chip, plan, PrefillLoad(isl=4096, tokens_per_gpu=8192))
        assert 0.05 < report.metrics["mfu"].value < 0.6, name


@pytest.mark.parametrize("name", ["h20-96g", "mtt-s5000", "mi300x", "h800-sxm"])
def test_no_band_reaches_beyond_light(name: str) -> None:
    plan = ServingPlan(gpus=8, ep=8)
    load = DecodeLoad(context=131072, batch_per_gpu=16)
    report = predict_inference(load_model("deepseek-v2-lite"), load_accelerator(name), plan, load)
    for key in ("mbu", "mfu"):
        assert (report.metrics[key].high or 0.0) <= 1.0 + 1e-9, key


FIELDS = ("bf16", "fp8", "int8", "fp4", "memory_bandwidth", "scale_up_bandwidth", "scale_out_bandwidth")


def edited(name: str, field: str, times: float) -> Accelerator:
    chip = load_accelerator(name)
    datum = chip.datasheet[field]
    value = None if datum.value is None else datum.value * times
    return chip.model_copy(update={"datasheet": {**chip.datasheet, field: datum.model_copy(update={"value": value})}})


@pytest.mark.parametrize("name", ["h200-sxm", "b200-sxm", "h20-96g", "ascend-910c", "mi300x"])
@pytest.mark.parametrize("load", [DecodeLoad(context=4096, batch_per_gpu=32), PrefillLoad(4096, 16384)])
def test_no_better_field_makes_a_chip_slower(name: str, load: DecodeLoad | PrefillLoad) -> None:
    precision = "fp8" if load_accelerator(name).known("fp8") else "int8"
    plan = ServingPlan(gpus=32, ep=64 if name == "ascend-910c" else 32, precision=precision)

    def step_s(chip: Accelerator) -> float:
        return predict_inference(load_model("deepseek-v3"), chip, plan, load)["step_s"]

    for field in FIELDS:
        steps = [step_s(edited(name, field, times)) for times in (1.0, 1.1, 2.0, 4.0)]
        assert all(after <= before * (1 + 1e-6) for before, after in pairwise(steps)), (field, steps)


@pytest.mark.parametrize("name", ["h200-sxm", "h20-96g", "ascend-910c"])
def test_a_new_name_changes_no_number(name: str) -> None:
    chip = load_accelerator(name)
    precision = "fp8" if chip.known("fp8") else "int8"
    plan = ServingPlan(gpus=32, ep=64 if name == "ascend-910c" else 32, precision=precision)
    one, other = (
        predict_inference(load_model("deepseek-v3"), part, plan, DecodeLoad(context=4096, batch_per_gpu=32))["tpot_s"]
        for part in (chip, chip.model_copy(update={"id": "my-chip"}))
    )
    assert one == pytest.approx(other, rel=1e-9)


def test_an_edited_copy_says_so_and_a_unit_slip_is_seen() -> None:
    assert about(load_accelerator("h200-sxm")) == []
    words = " ".join(about(edited("h200-sxm", "memory_bandwidth", 1000.0)))
    assert "edited copy" in words
    assert "is the unit right?" in words
    assert "unit" not in " ".join(about(edited("h200-sxm", "memory_bandwidth", 2.0)))
