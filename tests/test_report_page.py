"""A report's page: numbered sources, the question it carries, paper, and the frames behind what it shows."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from costsim.calibration.store import parse_calibration
from costsim.cli import browser
from costsim.cli.main import main
from costsim.errors import Absent, CannotWrite, Malformed, UnknownSchema
from costsim.predict.report import Line, Metric, Report
from costsim.report import figures
from costsim.report.bibliography import named_in, sources
from costsim.report.document import Cell, Chart, Document, Section, Table, cited
from costsim.report.html import page
from costsim.report.pages import document_of
from costsim.report.plain import markdown
from costsim.spec.scenario import SCHEMA, Scenario, carried_text, load_scenario, scenario_text

ROOT = Path(__file__).resolve().parent.parent
FIXTURES = Path(__file__).resolve().parent / "fixtures" / "schema"
EVIL = 'A "title" with </script><script>alert(1)</script>\n\\ \x7f µ'


def document(again: str = "") -> Document:
    table = Table(("what", "source"), [["a", cited(["deepseek-r1", "no-such-key"])],
                                       ["b", Cell("2.5", 2.5, ("deepseek-v2", "deepseek-r1"))]])  # fmt: skip
    chart = Chart(
        figures.waterfall([("before", 2048.0), ("nothing", 0.0), ("less", -820.4)], "w", "cards", "A", "B"), "w"
    )
    one = Section("One", ["see `costsim claims`"], [table], [chart], ("deepseek-v3-report",))
    return Document("T", [one, Section("Two", ["x"]), Section("Three", ["y"], depth=2)], {}, again=again)


def test_sources_are_numbered_as_they_are_named_and_lead_to_their_entry() -> None:
    text = page(document())
    links = re.findall(r'<a class="cite" href="#(_source-\d+)" title="([^"]+)">\[(\d+)\]</a>', text)
    assert [(key, number) for _, key, number in links] == [
        ("deepseek-r1", "1"), ("deepseek-v2", "2"), ("deepseek-r1", "1"), ("deepseek-v3-report", "3"),
    ]  # fmt: skip
    for target, _, _ in links:
        assert text.count(f'id="{target}"') == 1
    assert "no-such-key" in text
    outward = re.findall(r'<a class="out" href="([^"]+)" rel="noreferrer">', text)
    assert outward == [sources()[key].url for key in ("deepseek-r1", "deepseek-v2", "deepseek-v3-report")]
    assert '<a href="#_sources">Sources</a>' in text
    assert "<code>costsim claims</code>" in text
    plain = markdown(document())
    assert "| b | 2.5 [2] [1] |" in plain
    assert re.search(r"^1\. DeepSeek-AI: DeepSeek-R1.* https://arxiv.org/abs/2501.12948$", plain, flags=re.MULTILINE)


def test_the_bibliography_is_read_whole() -> None:
    text = (ROOT / "hwprofiles" / "references.bib").read_text(encoding="utf-8")
    keys = re.findall(r"^@\w+\{([^,\s]+),", text, flags=re.MULTILINE)
    assert list(sources()) == keys
    for source in sources().values():
        assert source.title
        assert not set("{}\\") & set(source.text())
        assert source.url == "" or source.url.startswith("http")
    assert "deepseek-v3-report" in named_in("the report, arXiv:2412.19437, table 1")
    assert named_in("a page nobody has") == []


def test_headings_nest_in_the_contents() -> None:
    text = page(document())
    assert re.search(r'<li><a href="#two">Two</a><br><small><a href="#three">Three</a></small></li>', text)
    assert "<h3>Three</h3>" in text


WORDS = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=30)
SCENARIOS = st.builds(
    lambda title, accelerator, compare, tpot, gpus, tokens, rate: Scenario.model_validate(
        {"title": title, "cluster": {"accelerator": accelerator, "compare": compare},
         "workload": {"tpot": f"{tpot!r} s"}, "training": {"gpus": gpus, "tokens": tokens}, "price": {"rate": rate}}
    ),
    WORDS, WORDS, st.lists(WORDS, max_size=3), st.floats(1e-6, 1e4), st.integers(1, 10**6), st.floats(1.0, 1e15),
    st.none() | WORDS,
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(SCENARIOS)
def test_a_scenario_survives_its_text_and_its_page(
    tmp_path_factory: pytest.TempPathFactory, scenario: Scenario
) -> None:
    folder = tmp_path_factory.mktemp("again")
    toml, html = folder / "s.toml", folder / "s.html"
    toml.write_bytes(scenario_text(scenario).encode("utf-8"))
    html.write_bytes(page(Document("T", (), {}, again=scenario_text(scenario))).encode("utf-8"))
    for path in (toml, html):
        assert load_scenario(str(path)) == scenario


def test_what_a_page_carries_cannot_end_its_element() -> None:
    text = page(document(scenario_text(Scenario(title=EVIL))))
    assert "<script>alert" not in text
    assert text.count("</script>") == text.count("<script")


def test_a_page_that_carries_nothing_or_damage_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.html"
    path.write_text(page(document()), encoding="utf-8")
    with pytest.raises(Malformed, match="carries no question"):
        load_scenario(str(path))
    path.write_text('<script type="application/json" id="_again">"\\ud8"</script>', encoding="utf-8")
    with pytest.raises(Malformed, match="damaged"):
        load_scenario(str(path))
    path.write_text(page(document('{"kind": "decode"}')), encoding="utf-8")
    with pytest.raises(Malformed, match="carries no scenario"):
        load_scenario(str(path))


def test_a_report_is_asked_again_from_its_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = str(tmp_path / "a.html"), str(tmp_path / "b.html")
    assert main(["infer", "--gpus", "32", "--batch-per-gpu", "16", "--out", a]) == 0
    assert main(["infer", "--gpus", "32", "--batch-per-gpu", "32", "--out", b]) == 0
    assert json.loads(carried_text(a))["kind"] == "decode"
    capsys.readouterr()
    assert main(["diff", a, b, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["changed"].keys() == {"load.batch_per_gpu"}
    assert main(["explain", "tpot_s", "--report", a, "--json"]) == 0


def test_old_files_are_carried_over() -> None:
    old = load_scenario(str(FIXTURES / "scenario_v0.toml"))
    assert (old.workload.tpot, old.workload.isl, old.training.gpus) == (0.05, 2048, 1024)
    assert old.training.schedule == "auto"
    laws = parse_calibration(FIXTURES / "calibration_v0.json")
    held = json.loads((FIXTURES / "calibration_v0.json").read_text(encoding="utf-8"))["laws"]
    assert set(laws) == set(held)
    for key, law in laws.items():
        wide = 1.0 + held[key]["held_out"]["p90_ape"]
        assert (law.low, law.high) == pytest.approx((1.0 / wide, wide))


@pytest.mark.parametrize("said", ["2", "-1", "'one'", "true", "1.0", "99999999999999999999999"])
def test_versions_that_are_not_known_are_one_line(
    said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "new.toml"
    path.write_text(f"schema = {said}\n", encoding="utf-8")
    assert main(["report", str(path)]) == 2
    line = capsys.readouterr().err
    assert line.endswith("[CS203]\n")
    assert line.count("\n") == 1
    document = {"schema": json.loads(said.replace("'", '"')), "accelerator": "x", "date": "2026-01-01", "laws": {}}
    (tmp_path / "x.json").write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(UnknownSchema, match=r"calibration .*x.json: schema"):
        parse_calibration(tmp_path / "x.json")


def test_what_is_shipped_says_its_version() -> None:
    assert f"schema = {SCHEMA} " in (ROOT / "costsim" / "spec" / "scenario.py").read_text(encoding="utf-8")
    for path in (ROOT / "hwprofiles" / "calibration").glob("*.json"):
        assert json.loads(path.read_text(encoding="utf-8"))["schema"] == 1
    assert scenario_text(Scenario()).startswith(f"schema = {SCHEMA}\n")


# ------------------------------------------------------------------ figures and frames


def test_a_waterfall_writes_every_change_and_level() -> None:
    bar = document().sections[0].charts[0].figure["data"][0]
    assert bar["text"] == ["2,048", "0", "−820.4", "1,228"]
    assert bar["y"] == ["A", "nothing", "less", "B"]
    assert bar["measure"] == ["absolute", "relative", "relative", "total"]


@pytest.mark.parametrize(("longest", "unit"), [(1e-5, "µs"), (0.05, "ms"), (19.8, "s"), (900.0, "min"), (1e5, "h")])
def test_the_axis_of_a_breakdown_suits_its_length(longest: float, unit: str) -> None:
    figure = figures.breakdown_bar({"a": (Line("op", longest, 1.0, "memory", "A"),)}, "t")
    assert figure["layout"]["xaxis"]["title"]["text"] == f"time in {unit}"
    assert 1.0 <= figure["data"][0]["x"][0] < 1000.0


def test_every_table_and_figure_has_a_tidy_frame() -> None:
    report = Report(
        "decode", {"model": "deepseek-v3"}, {"tpot_s": Metric(0.05, "s", 0.04, 0.06, "B")},
        (Line("attention", 0.03, 0.6, "memory", "A"), Line("experts", 0.02, 0.4, "memory", "B")), {"kv_bytes": 1e9},
        ("deepseek-r1",), ("a note",),
    )  # fmt: skip
    shown = document_of(report)
    frames = shown.frames()
    tables = sum(len(section.tables) for section in shown.sections)
    charts = sum(len(section.charts) for section in shown.sections)
    assert len(frames) == 1 + tables + charts
    drawn = frames["Time: figure: Where the time goes"]
    assert dict(zip(drawn["trace"], drawn["x"], strict=True)) == {"attention": 30.0, "experts": 20.0}
    assert report.frames()["breakdown"]["time_s"].sum() == pytest.approx(0.05)
    assert list(report.frames()) == ["metrics", "breakdown", "memory"]


# ------------------------------------------------------------------ PDF


@pytest.mark.skipif(browser.found() is None, reason="Chromium is not installed (Debian: apt-get install chromium)")
def test_a_report_becomes_a_pdf(tmp_path: Path) -> None:
    out = tmp_path / "a.pdf"
    assert main(["infer", "--gpus", "32", "--batch-per-gpu", "8", "--out", str(out), "--json"]) == 0
    data = out.read_bytes()
    assert data.startswith(b"%PDF-")
    assert data.rstrip().endswith(b"%%EOF")
    assert len(data) > 20_000
    assert list(tmp_path.iterdir()) == [out]


def script(folder: Path, text: str) -> str:
    path = folder / "browser"
    path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def test_without_a_browser_one_line_comes_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COSTSIM_BROWSER", str(tmp_path / "absent"))
    assert browser.found() is None
    with pytest.raises(Absent, match="PDF needs a browser"):
        browser.printed("<p>x</p>")
    assert main(["claims", "--out", str(tmp_path / "a.pdf")]) == 2
    assert capsys.readouterr().err.endswith("[CS501]\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name != "posix", reason="the stand-in for a browser is a shell script")
def test_a_browser_that_fails_or_hangs_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COSTSIM_BROWSER", script(tmp_path, "echo no display >&2; exit 1"))
    with pytest.raises(CannotWrite, match=r"printed no PDF \(no display\)"):
        browser.printed("<p>x</p>")
    monkeypatch.setenv("COSTSIM_BROWSER", script(tmp_path, "sleep 60 & sleep 60"))
    monkeypatch.setattr(browser, "PATIENCE_S", 0.3)
    with pytest.raises(CannotWrite, match="not done after"):
        browser.printed("<p>x</p>")


def test_the_browser_is_told_to_reach_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if shutil.which("sh") is None:
        pytest.skip("no shell here")
    told = tmp_path / "told"
    monkeypatch.setenv("COSTSIM_BROWSER", script(tmp_path, f'printf "%s\\n" "$@" > {told}; exit 0'))
    with pytest.raises(CannotWrite):
        browser.printed("<p>x</p>")
    words = told.read_text(encoding="utf-8").splitlines()
    assert "--host-resolver-rules=MAP * ~NOTFOUND" in words
    assert words[-1].startswith("file://")
    assert not Path(words[-1].removeprefix("file://")).exists()


@pytest.mark.parametrize("ends", [(0.0175, 0.0494), (17.5, 49.4), (0.3, 9.7), (1e3, 9e4), (2e9, 3e13)])
def test_logarithmic_axes_say_whole_numbers(ends: tuple[float, float]) -> None:
    """At least two labels inside every span, each the number itself and not its first digit."""
    axis = figures.log_ticks(ends)
    inside = [
        (value, text) for value, text in zip(axis["tickvals"], axis["ticktext"], strict=True)
        if ends[0] <= value <= ends[1]
    ]  # fmt: skip
    assert len(inside) >= 2
    for value, text in inside:
        letter = {"k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}.get(text[-1])
        assert value == pytest.approx(float(text[:-1]) * letter if letter else float(text), rel=1e-3)


def test_small_changes_of_a_large_level_can_be_seen() -> None:
    figure = figures.waterfall([("A", 52.93e6), ("pue", -0.2e6)], "w", "USD", "A", "B")
    low, high = figure["layout"]["xaxis"]["range"]
    assert 0.9 * 52.73e6 < low < 52.73e6 < 52.93e6 < high
    assert "not from zero" in figure["layout"]["xaxis"]["title"]["text"]
    assert "range" not in figures.waterfall([("A", 5.0), ("b", -3.0)], "w", "s", "A", "B")["layout"]["xaxis"]


def test_the_axis_of_a_frontier_has_labels_where_its_plans_are() -> None:
    from costsim.report.frontier import frontier_document
    from tests.test_notebooks import searched

    found = searched()
    shown = frontier_document(found, "deepseek-v3", "h800-sxm", "decode", (), 10)
    chart = next(chart for section in shown.sections for chart in section.charts)
    for axis, values in (("xaxis", chart.figure["data"][0]["x"]), ("yaxis", chart.figure["data"][0]["y"])):
        ticks = chart.figure["layout"][axis]["tickvals"]
        assert sum(0.5 * min(values) <= tick <= 2 * max(values) for tick in ticks) >= 2
