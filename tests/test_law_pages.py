"""Laws on pages: parameters in a table, law against points in log-log charts, from the fit and from stored files."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import pytest

from costsim.calibration.evidence import evidence, stored_laws
from costsim.calibration.points import MOST_POINTS, law_points, shape_text
from costsim.calibration.run import measurements_of
from costsim.calibration.store import Laws
from costsim.cli import main as cli
from costsim.report.laws import law_charts, law_section
from costsim.spec.catalog import load_accelerator
from costsim.timing.device import Correction
from costsim.timing.laws import AnyLaw, Stream

CHIP = load_accelerator("h800-sxm")
ROWS = measurements_of("h800-sxm")


def stored(key: str) -> tuple[AnyLaw, Correction | None] | None:
    found = Laws(CHIP).get(key)
    return None if found is None else (found.law, found.correction)


def test_points_lie_near_their_law() -> None:
    points = law_points(CHIP, ROWS, stored)
    assert {"gemm/fp8", "mla_decode/bf16", "dispatch/bytes"} <= set(points)
    for key in ("gemm/fp8", "mla_decode/bf16", "attention_decode/bf16"):
        misses = sorted(abs(predicted / measured - 1) for measured, predicted, _ in points[key])
        assert misses[len(misses) // 2] < 0.1, key
        assert len(points[key]) <= MOST_POINTS
    assert law_points(CHIP, ROWS, lambda key: None) == {}


def test_points_say_their_shape() -> None:
    texts = {row.key: shape_text(row) for row in ROWS}
    assert re.match(r"m [\d,e+]+, n [\d,e+]+, k", texts["gemm/fp8"])
    assert "ranks" in texts["dispatch/bytes"]


def test_a_chart_a_family_with_a_series_a_dtype() -> None:
    points = {"gemm/fp8": [(1e-5, 1.1e-5, "m 1")], "gemm/bf16": [(2e-5, 2e-5, "m 2")], "memory_norm/bf16": []}
    charts = law_charts(points)
    assert len(charts) == 1
    names = [trace["name"] for trace in charts[0].figure["data"]]
    assert names[2:] == ["bf16", "fp8"]
    assert charts[0].figure["data"][3]["x"] == pytest.approx([10.0])
    section = law_section({"memory_norm/bf16": Stream(2e-6, 0.8)}, {}, "Laws")
    assert section.charts == []
    assert section.tables[0].rows[0][1:] == ["stream", "overhead 2 µs, memory efficiency 0.8"]


def test_evidence_finds_the_entry_behind_a_law() -> None:
    laws = Laws(CHIP)
    for key in stored_laws("h800-sxm"):
        found = evidence(laws[key], key)
        assert [(entry.key, entry.measured_on) for entry in found] == [(key, "h800-sxm")]
        assert found[0].points == laws[key].points
    lent = Laws(load_accelerator("mi300x"))["all_gather/bytes"]
    assert {entry.measured_on for entry in evidence(lent, "all_gather/bytes")} == set(lent.origin.split("+"))
    assert stored_laws("no-such-part") == {}


def charts_in(path: Path) -> list[dict[str, object]]:
    found = re.search(r'id="_charts">(.*?)</script>', path.read_text(encoding="utf-8"), re.DOTALL)
    return [] if found is None else list(json.loads(found.group(1)))


def test_pages_of_the_verbs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("scipy", reason="fitting needs scipy, which the light install leaves out")
    for argv, name in ((["calibrate", "ascend-910c"], "c.html"), (["hw", "show", "h20-96g"], "h.html")):
        assert cli.main([*argv, "--out", str(tmp_path / name)]) == 0
        charts = charts_in(tmp_path / name)
        assert len(charts) >= 3
        for chart in charts:
            for trace in chart["data"]:  # type: ignore[attr-defined]
                assert all(math.isfinite(value) and value > 0 for value in (*trace["x"], *trace["y"]))
    capsys.readouterr()
    assert cli.main(["hw", "show", "mi300x", "--out", str(tmp_path / "m.md")]) == 0
    text = (tmp_path / "m.md").read_text(encoding="utf-8")
    assert "Laws and points" in text
    assert "| gemm/bf16 | tile | overhead" in text
