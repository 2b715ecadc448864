"""Measured points: how they are read, that each is predicted or refused with a reason, and how far off we are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from costsim.errors import BadInput
from costsim.evidence.points import COLUMNS, MAX_BYTES, Point, read_points
from costsim.evidence.validate import Row, predict_point, statistics, summarise, validate
from costsim.predict.training import cut_layers
from costsim.spec.catalog import load_model

TRUTH = Path(__file__).resolve().parents[2] / "shared" / "truth"
#: bars of the published phases
MAPE, BALANCED = 0.15, 0.20

DECODE = Point(
    id="one", kind="decode", model="deepseek-v3", accelerator="h800-sxm", gpus=64, precision="fp8",
    plan={"tp": "1", "ep": "64", "routing": "balanced"}, load={"context": "4096", "batch_per_gpu": "64"},
    metric="tokens_per_s_per_gpu", value=1000.0, unit="token/s", source="", confidence="primary", notes="",
)  # fmt: skip


def point(**changes: object) -> Point:
    return Point(**{**DECODE.__dict__, **changes})


def truth(name: str) -> Path:
    path = TRUTH / name
    if not path.is_file():
        pytest.skip(f"{name} is in shared/truth/, which this checkout lacks")
    return path


def write(folder: Path, *rows: str, header: str = ",".join(COLUMNS)) -> Path:
    path = folder / "points.csv"
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


GOOD = (
    "a,decode,deepseek-v3,h800-sxm,64,fp8,tp=1;ep=64,context=4096;batch_per_gpu=64,"
    'tokens_per_s_per_gpu,1e3,token/s,x,A,"n, m"'
)


def test_a_row_is_read_whole(tmp_path: Path) -> None:
    read = read_points(write(tmp_path, GOOD, GOOD.replace("64,fp8", ",fp8")))
    assert read[0].plan == {"tp": "1", "ep": "64"}
    assert read[0].load == {"context": "4096", "batch_per_gpu": "64"}
    assert (read[0].gpus, read[0].value, read[0].notes, read[1].gpus) == (64.0, 1000.0, "n, m", None)
    with_mark = tmp_path / "mark.csv"
    with_mark.write_bytes(b"\xef\xbb\xbf" + (tmp_path / "points.csv").read_bytes())
    assert read_points(with_mark) == read


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (GOOD.replace("1e3", "fast"), "row 1: value = 'fast' is not a number"),
        (GOOD.replace("1e3", ""), "row 1: value = '' is not a number"),
        (GOOD.replace("1e3", "nan"), "row 1: value = 'nan' is not finite"),
        (GOOD.replace("1e3", "-inf"), "row 1: value = '-inf' is not finite"),
        (GOOD.replace("1e3", "0"), "row 1: value = '0' must be above zero"),
        (GOOD.replace("h800-sxm,64", "h800-sxm,many"), "row 1: gpus = 'many'"),
        (GOOD.replace("tp=1", "tp"), "row 1: 'tp' is not key=value"),
        (GOOD.replace("context=4096", "=4096"), "row 1: '=4096' is not key=value"),
    ],
)
def test_bad_rows_are_one_line(row: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput) as caught:
        read_points(write(tmp_path, row))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_bad_files_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="cannot be read"):
        read_points(tmp_path / "absent.csv")
    with pytest.raises(BadInput, match="no column 'kind'"):
        read_points(write(tmp_path, "a,b", header="id,value"))
    with pytest.raises(BadInput, match="no rows"):
        read_points(write(tmp_path))
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadInput, match="not UTF-8"):
        read_points(tmp_path / "binary.csv")
    with pytest.raises(BadInput, match="not CSV"):
        read_points(write(tmp_path, '"' + "x" * 200_000))
    with (tmp_path / "large.csv").open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    with pytest.raises(BadInput, match="larger than"):
        read_points(tmp_path / "large.csv")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"kind": "baking"}, "points of kind baking are not predicted yet"),
        ({"model": "deepseek-v9"}, "unknown model"),
        ({"accelerator": "h900"}, "unknown accelerator"),
        ({"metric": "joy"}, "metric joy is not predicted; tokens_per_s_per_gpu"),
        ({"load": {"context": "4096"}}, "the row states no batch_per_gpu"),
        ({"load": {"context": "n/a", "batch_per_gpu": "64"}}, "the row states no context"),
        ({"load": {"context": "4k", "batch_per_gpu": "64"}}, "context = '4k' is not a number"),
        ({"load": {"context": "1e999", "batch_per_gpu": "64"}}, "is not finite"),
        ({"load": {"context": "4096", "batch_per_gpu": "1e6"}}, "does not fit"),
        ({"gpus": None}, "the row states no gpus"),
        ({"gpus": 60.0}, "does not divide gpus = 60"),
        ({"precision": "fp6"}, "precision: 'fp6' is not one of"),
        ({"accelerator": "a100-80g-sxm"}, "has no fp8"),
        ({"plan": {"ep": "64", "routing": "hope"}}, "routing: 'hope'"),
        ({"plan": {"mode": "disaggregated"}}, "must be of kind serving"),
    ],
)
def test_refused_points_say_why(changes: dict[str, object], reason: str) -> None:
    row = predict_point(point(**changes))
    assert row.predicted is row.ape is row.inside is None
    assert reason in (row.error or "")
    assert "\n" not in (row.error or "")


TRAIN = point(kind="training", gpus=2048, plan={"pp": "16", "ep": "64"}, metric="step_s",
              load={"seq": "4096", "global_batch": "15360"})  # fmt: skip
DAY = point(kind="fleet", plan={"nodes": "10"}, load={"usd_per_gpu_h": "2"}, metric="usd_per_day")


@pytest.mark.parametrize("text", ["0", "-1", "0.5", "7", "1e15", "1e300", "nan", "inf", "", "n/a", "abc"])
def test_odd_statements_never_crash(text: str) -> None:
    """Every key of every kind of row: a finite positive prediction, or one line that says why not."""
    for one in (DECODE, TRAIN, DAY):
        for side in ("plan", "load"):
            keys = {
                **getattr(one, side),
                "layers": "",
                "pp": "",
                "tp": "",
                "cp": "",
                "vpp": "",
                "mtp_tokens": "",
                "dp": "",
            }
            for key in keys:
                row = predict_point(Point(**{**one.__dict__, side: {**getattr(one, side), key: text}}))
                if row.error is None:
                    assert row.predicted is not None
                    assert 0 < row.predicted < np.inf, (one.kind, key)
                else:
                    assert "\n" not in row.error


def test_errors_are_computed_from_the_pair() -> None:
    row = Row(point(value=200.0), predicted=150.0, low=140.0, high=210.0, grade="A")
    assert (row.ratio, row.ape, row.inside) == (0.75, 0.25, True)
    over = Row(point(value=100.0), predicted=150.0, low=140.0, high=210.0, grade="B")
    missing = Row(point(), error="no")
    stats = statistics([row, over, missing])
    assert (stats["n"], stats["predicted"]) == (3, 2)
    assert stats["mape"] == pytest.approx(0.375)
    assert stats["median_ape"] == pytest.approx(0.375)
    assert stats["p90_ape"] == pytest.approx(0.475)
    assert stats["bias"] == pytest.approx(0.125)
    assert stats["inside_band"] == 0.5
    empty = statistics([missing])
    assert empty["mape"] is empty["inside_band"] is None
    groups = summarise([row, over, missing, Row(point(kind="prefill"), error="no")])
    assert [(g["kind"], g["n"]) for g in groups] == [("decode", 3), ("prefill", 1)]


def test_a_time_and_a_rate_lean_the_same_way() -> None:
    slow_rate = Row(point(value=100.0), predicted=50.0)
    long_time = Row(point(value=1.0, metric="tpot_s", unit="s"), predicted=2.0)
    memory = Row(point(value=1.0, metric="peak_memory_bytes", unit="B"), predicted=8.0)
    assert statistics([slow_rate])["too_fast"] == pytest.approx(-0.5)
    assert statistics([slow_rate, long_time, memory])["too_fast"] == pytest.approx(-0.5)
    assert statistics([memory])["too_fast"] is None


def test_cut_models_keep_dense_layers_in_proportion() -> None:
    v3 = load_model("deepseek-v3")
    four = cut_layers(v3, 4)
    # Dense layers in proportion, at least one: single-node runs of four layers keep one of V3's three.
    assert (four.layers, four.dense_layers, four.moe_layers, four.mtp_layers) == (4, 1, 3, 0)
    assert cut_layers(v3, 1).dense_layers == 1
    assert cut_layers(v3, 41).dense_layers == 2


def test_the_production_day_is_exact_arithmetic() -> None:
    """226.75 nodes of 8 H800 for 24 h at 2 USD, and the published income at list prices. [deepseek-open-infra-day6]"""
    day = point(
        kind="fleet",
        gpus=1814,
        plan={"nodes": "226.75"},
        load={"usd_per_gpu_h": "2"},
        metric="usd_per_day",
        value=87_072,
    )
    assert predict_point(day).predicted == 226.75 * 8 * 24 * 2 == 87_072.0
    tokens = {"input_tokens": "608e9", "cache_hit_tokens": "342e9", "output_tokens": "168e9"}
    tokens |= {"usd_per_mtok_hit": "0.14", "usd_per_mtok_miss": "0.55", "usd_per_mtok_out": "2.19"}
    income = predict_point(point(kind="fleet", load=tokens, metric="usd_revenue_per_day", value=562_027))
    assert income.predicted == pytest.approx(342e3 * 0.14 + 266e3 * 0.55 + 168e3 * 2.19)
    assert income.ape is not None
    assert income.ape < 2e-4


@pytest.mark.parametrize("name", ["points_phase.csv", "points_training.csv", "points_serving.csv"])
def test_every_published_row_is_predicted_or_refused(name: str) -> None:
    points = read_points(truth(name))
    rows = validate(points)
    assert [row.point for row in rows] == points
    for row in rows:
        assert (row.predicted is None) != (row.error is None), row.point.id
        if row.error is not None:
            assert len(row.error) > 10
            assert "\n" not in row.error
        else:
            assert row.predicted is not None
            assert row.low is not None
            assert row.high is not None
            assert 0 < row.low <= row.predicted <= row.high < np.inf
            assert row.grade in ("A", "B", "C", "D")
    assert any(row.predicted is not None for row in rows)


def stated(rows: list[Row]) -> list[Row]:
    """Rows of a phase that state their batch: what the accuracy bar counts."""
    needed = {"prefill": ("isl", "tokens_per_gpu"), "decode": ("context", "batch_per_gpu"), "serving": ("concurrency",)}
    return [r for r in rows if r.point.kind in needed and all(k in r.point.load for k in needed[r.point.kind])]


def test_published_phases_within_the_bar() -> None:
    rows = stated(validate(read_points(truth("points_phase.csv"))))
    assert len(rows) == 14
    apes = {row.point.id: row.ape for row in rows}
    assert None not in apes.values(), apes
    assert float(np.mean([ape for ape in apes.values() if ape is not None])) <= MAPE, apes
    balanced = [row for row in rows if row.point.plan.get("routing") == "balanced"]
    assert len(balanced) == 5
    for row in balanced:
        assert row.ape is not None
        assert row.ape <= BALANCED, row.point.id


def test_points_without_a_batch_are_refused_not_guessed() -> None:
    errors = {row.point.id: row.error for row in validate(read_points(truth("points_phase.csv"))) if row.error}
    assert errors == {
        "ds-prod-decode": "the row states no batch_per_gpu",
        "ds-prod-prefill-nocache": "the row states no isl",
    }
