"""The writers: HTML that stands alone and escapes everything, charts that plotly accepts, words that read well."""

from __future__ import annotations

import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from costsim.predict.report import Line, Metric, Report
from costsim.report import figures, words
from costsim.report.document import Cell, Chart, Document, Section, Table
from costsim.report.html import page
from costsim.report.jsonable import dumps, jsonable
from costsim.report.pages import document_of
from costsim.report.plain import csv_text, markdown

EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&"
VOID = {"meta", "br", "img", "link", "hr", "input"}
LINES = (
    Line("attention", 0.03, 0.5, "memory", "A"),
    Line(EVIL, 0.02, 0.33, "compute", "B"),
    Line("dispatch", 0.01, 0.17, "network", "C", overlapped=True),
)


class Page(HTMLParser):
    """Collects elements and checks that every one opened is closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            self.scripts[-1] += data
        elif self.open and self.open[-1] != "style":
            self.text += data

    def having(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def document() -> Document:
    chart = Chart(figures.breakdown_bar({"decode": LINES, EVIL: LINES}, EVIL), f"Bars of {EVIL}")
    table = Table(("name", EVIL), [(EVIL, Cell("1.5 ms", 0.0015)), ("plain", None)], caption=EVIL)
    return Document(
        title=f"A report {EVIL}",
        subtitle=EVIL,
        sections=[
            Section("Same name", [EVIL], [table], [chart]),
            Section("Same name", (), (), [Chart(figures.waterfall([("a", 1.0), ("b", -0.4)], "w", "USD"), "A bridge")]),
            Section("Chart 1", ["the third"]),
            Section(EVIL, ["the fourth"]),
        ],
        payload={"value": math.nan},
    )


@pytest.fixture(scope="module")
def parsed(document: Document) -> Page:
    return Page(page(document))


def test_nothing_is_loaded_from_elsewhere(parsed: Page) -> None:
    assert parsed.having("link") == []
    assert parsed.having("img") == []
    for _, attributes in parsed.elements:
        for name in ("src", "href", "action", "data", "poster", "srcset"):
            assert (attributes.get(name) or "#").startswith("#")
        assert not any(name.startswith("on") for name in attributes)


def test_style_loads_nothing(document: Document) -> None:
    style = re.search(r"<style>(.*?)</style>", page(document), flags=re.DOTALL)
    assert style is not None
    assert "url(" not in style.group(1)
    assert "@import" not in style.group(1)
    for wanted in ("prefers-color-scheme: dark", "@media print"):
        assert wanted in style.group(1)


def test_names_cannot_end_a_script_or_become_elements(parsed: Page) -> None:
    # sorting, plotly, the charts' data, drawing
    assert len(parsed.scripts) == 4
    assert parsed.text.count("alert(1)") >= 6
    assert "<script>alert(1)</script>" in parsed.text
    data = json.loads(parsed.scripts[2])
    assert "<" not in parsed.scripts[2]
    assert data[0]["layout"]["title"]["text"] == EVIL


def test_ids_are_unique_and_the_contents_list_finds_them(parsed: Page) -> None:
    ids = [attributes["id"] for _, attributes in parsed.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    targets = [str(attributes["href"]) for attributes in parsed.having("a")]
    assert len(targets) == 4
    assert {target.lstrip("#") for target in targets} <= set(ids)


def test_charts_have_words_and_tables_have_headings(parsed: Page) -> None:
    charts = [attributes for attributes in parsed.having("div") if attributes.get("class") == "chart"]
    assert [chart["role"] for chart in charts] == ["img", "img"]
    assert charts[0]["aria-label"] == f"Bars of {EVIL}"
    assert all(heading["scope"] == "col" for heading in parsed.having("th"))
    assert parsed.having("html") == [{"lang": "en"}]


def test_cells_sort_by_their_number(parsed: Page) -> None:
    cells = parsed.having("td")
    assert [cell.get("data-value") for cell in cells] == [None, "0.0015", None, None]


def test_a_page_without_charts_is_small() -> None:
    text = page(Document("Small", [Section("One", ["text"])], {}))
    assert len(text) < 10_000
    assert "Plotly" not in text


def test_a_report_becomes_every_format() -> None:
    report = Report(
        kind="decode",
        inputs={"model": "deepseek-v3", "plan": {"gpus": 128}},
        metrics={"tpot_s": Metric(0.05, "s", 0.04, 0.06, "B"), "mfu": Metric(math.nan, "ratio")},
        breakdown=LINES,
        memory={"weights_bytes": 1.3e10},
        notes=(EVIL,),
    )
    made = document_of(report)
    parsed = Page(page(made))
    assert "50 ms" in parsed.text
    assert EVIL in parsed.text
    text = markdown(made)
    assert "| TPOT | 50 ms | 40 … 60 | B |" in text
    assert "<script" not in text
    assert csv_text(made.rows).splitlines()[0].startswith("part,name,value,unit,low,high,grade")


@pytest.mark.parametrize(
    "figure",
    [
        figures.breakdown_bar({"one": LINES}, "Where the time goes", keep=1),
        figures.grouped_bar(["a", "b"], {"x": [1.0, None]}, "t", "USD", {"x": [(0.5, 2.0), None]}),
        figures.predicted_against_measured({"decode": [(1.0, 1.1, "p1"), (0.0, 1.0, "no log")], "empty": []}, "t", "s"),
        figures.predicted_against_measured({}, "nothing", "s"),
        figures.waterfall([("base", 5.0), ("less", -2.0)], "t", "USD", start="base", total="all"),
    ],
)
def test_plotly_accepts_every_figure(figure: dict[str, Any]) -> None:
    import plotly.graph_objects as go

    assert go.Figure(figure).to_plotly_json()["data"]
    json.dumps(figure, allow_nan=False)


def test_a_breakdown_leaves_nothing_out_but_hidden_time() -> None:
    figure = figures.breakdown_bar({"one": LINES}, "t", keep=1)
    assert [trace["name"] for trace in figure["data"]] == ["attention", "other"]
    assert sum(trace["x"][0] for trace in figure["data"]) == pytest.approx(50.0)


def test_json_is_strict() -> None:
    data = {
        "nan": math.nan,
        "inf": [math.inf, -math.inf],
        "array": np.array([1.0, np.nan]),
        "scalar": np.float64(2.0),
        "metric": Metric(1.0, "s"),
        "path": Path("a/b"),
        "set": {"b", "a"},
        3: "key",
        "surrogate": "file\udcff",
    }
    read = json.loads(dumps(data))
    assert read["nan"] is None
    assert read["inf"] == [None, None]
    assert read["array"] == [1.0, None]
    assert read["metric"]["unit"] == "s"
    assert (read["path"], read["set"], read["3"], read["scalar"]) == ("a/b", ["a", "b"], "key", 2.0)
    dumps(data).encode("utf-8")
    assert jsonable(True) is True


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.0501, "s", "50.1 ms"),
        (13.2e9, "B", "13.2 GB"),
        (0.123, "ratio", "12.3%"),
        (1850.4, "tokens/s", "1,850 tokens/s"),
        (5_576_000.0, "USD", "5,576,000 USD"),
        (0.3003, "USD/Mtok", "0.3003 USD/Mtok"),
        (14.8e12, "token", "14.8 trillion token"),
        (1e-9, "J", "1.000e-09 J"),
        (math.nan, "s", "–"),
        (None, "s", "–"),
    ],
)
def test_quantities_read_well(value: float | None, unit: str, text: str) -> None:
    assert words.quantity(value, unit) == text


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("tpot_s", "TPOT"),
        ("tokens_per_s_per_gpu", "tokens/s per GPU"),
        ("peak_memory_bytes", "peak memory"),
        ("energy_j_per_token", "energy per token"),
        ("gpu_hours", "GPU hours"),
        ("moe_layers", "MoE layers"),
    ],
)
def test_names_read_well(name: str, text: str) -> None:
    assert words.label(name) == text
