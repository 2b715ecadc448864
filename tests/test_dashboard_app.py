"""The app's logic, run without a server: controls, links, notices, languages, comparison."""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("streamlit", reason="needs the extra dashboard")

from streamlit.testing.v1 import AppTest

from costsim import DecodeLoad, ServingPlan, load_accelerator, load_model, predict_inference
from costsim.predict.report import Metric
from costsim.report.words import value_text
from costsim.spec.catalog import ACCELERATORS
from dashboards import pages

APP = Path(__file__).resolve().parent.parent / "dashboards" / "app.py"


def opened(**query: str) -> AppTest:
    """The app as a visitor with this link meets it."""
    app = AppTest.from_file(str(APP), default_timeout=90)
    for name, value in query.items():
        app.query_params[name] = value
    app.run()
    assert not app.exception
    return app


def metric(app: AppTest, label: str) -> str:
    """The large number of this name."""
    return next(str(one.value) for one in app.metric if one.label == label)


def expected(batch: float) -> str:
    """TPOT of the overview's decode unit straight from the library."""
    model, chip = load_model("deepseek-v3"), load_accelerator("h800-sxm")
    return faster(model, chip, 128, batch)


def faster(model: Any, chip: Any, gpus: int, batch: float) -> str:
    """TPOT with one micro-batch or two, whichever takes less: what the verb chooses."""
    load = DecodeLoad(context=4096, batch_per_gpu=batch)
    plans = [ServingPlan(gpus=gpus, ep=gpus, overlap=overlap) for overlap in ("none", "two-batch")]
    found = [predict_inference(model, chip, plan, load).metrics["tpot_s"] for plan in plans]
    return value_text("tpot_s", min(found, key=lambda one: one.value))


def test_the_overview_shows_the_library_s_numbers_and_follows_a_control() -> None:
    app = opened()
    assert metric(app, "TPOT") == expected(128.0)
    field = next(one for one in app.number_input if one.label == "Requests per card")
    field.set_value(40.0).run()
    assert not app.exception
    assert metric(app, "TPOT") == expected(40.0)
    assert app.query_params["b"] in ("40", ["40"])
    field.set_value(128.0).run()
    assert "b" not in app.query_params


def test_a_link_sets_controls_and_says_what_it_could_not_use() -> None:
    app = opened(b="24", isl="banana", nonsense="1", v="7")
    assert metric(app, "TPOT") == expected(24.0)
    said = app.warning[0].value
    assert all(word in said for word in ("another version", "banana", "nonsense"))


def test_an_address_that_comes_late_undoes_no_change_and_back_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow browser sends its old address with the next change; only its Back button means it."""
    app = opened(b="24")

    def batch() -> Any:
        return next(one for one in app.number_input if one.label == "Requests per card")

    batch().set_value(40.0).run()
    assert metric(app, "TPOT") == expected(40.0)
    app.query_params.clear()
    app.query_params["b"] = "24"  # as it was opened, without what the page adds
    batch().set_value(48.0).run()
    assert metric(app, "TPOT") == expected(48.0)
    app.query_params.clear()
    app.query_params |= {"b": "40", "v": "1"}  # as the page had it in between; nothing changed meanwhile
    app.run()
    assert metric(app, "TPOT") == expected(48.0)
    monkeypatch.setattr("dashboards.state.went_back", lambda: True)
    app.query_params.clear()
    app.query_params |= {"b": "40", "v": "1"}
    app.run()
    assert metric(app, "TPOT") == expected(40.0)
    app.query_params.clear()
    app.run()
    assert metric(app, "TPOT") == expected(128.0), "back to the bare address is back to the defaults"


def _own_chip() -> tuple[str, str, str]:
    """TOML of a chip like the H20 with half its memory bandwidth; the value that stands for it; its text in a link."""
    text = ACCELERATORS.joinpath("h20-96g.toml").read_text(encoding="utf-8")
    changed = text.replace('id = "h20-96g"', 'id = "half-h20"', 1).replace('"4 TB/s"', '"2 TB/s"', 1)
    packed = base64.urlsafe_b64encode(zlib.compress(changed.encode(), 9)).decode().rstrip("=")
    return changed, f"own-{hashlib.sha256(changed.encode()).hexdigest()[:16]}", packed


def test_an_own_chip_comes_with_its_link(tmp_path: Path) -> None:
    text, value, packed = _own_chip()
    chip = tmp_path / "chip.toml"
    chip.write_text(text)
    app = opened(a=value, b="32", dg="32", chip=packed)
    assert metric(app, "TPOT") == faster(load_model("deepseek-v3"), load_accelerator(str(chip)), 32, 32)
    assert app.query_params["chip"] in (packed, [packed]), "the address keeps what it needs"
    assert not app.warning
    without = opened(a=value)
    assert value in without.warning[0].value.replace("\\", "")


@pytest.mark.parametrize("chip", ["AAAA", "..", "\U0001f600", "x" * 7000, "bomb"])
def test_forged_chips_in_links_are_said(chip: str) -> None:
    if chip == "bomb":
        chip = base64.urlsafe_b64encode(zlib.compress(b"#" * 10**6, 9)).decode()
    app = opened(b="64", chip=chip)
    assert len(app.warning) == 1
    assert "chip" in app.warning[0].value
    assert metric(app, "TPOT") == expected(64.0)


def test_an_emptied_list_in_a_link_stays_empty() -> None:
    def script() -> None:
        import streamlit as st

        from dashboards import pages as known
        from dashboards import state
        from dashboards.page import Page

        page: Page = known.all_pages()["report"]
        state.restore(page)
        from dashboards import draw

        st.json(draw.controls(page))

    app = AppTest.from_function(script, default_timeout=60)
    app.query_params["with"] = ""
    app.run()
    assert not app.exception
    assert json.loads(app.json[0].value)["compare"] == []


def test_chinese_follows_the_link_and_unknown_languages_are_english() -> None:
    assert opened(lang="zh").title[0].value == "总览"
    assert opened(lang="<script>").title[0].value == "Overview"


def test_the_overview_compares_when_every_answer_has_changed() -> None:
    """Three attributions on one page: none takes the place of another, and nothing after them is lost."""
    app = opened()
    next(one for one in app.button if one.label == "Keep this as A").click().run()
    field = next(one for one in app.text_input if one.label == "Price of a card")
    field.set_value("3 USD/h").run()
    for _ in range(60):
        if not any("working" in one.value or "%" in one.value for one in app.info):
            break
        app.run()
    assert not app.exception
    assert not app.error
    assert [one.value for one in app.subheader].count("What the difference is made of") == 3
    assert any(one.value.startswith("Start from a question") for one in app.subheader)


def test_a_mistyped_text_leaves_all_other_settings_in_place() -> None:
    """A price that cannot be read is said; the last one that could is asked, and no other control loses its value."""

    def script(name: str) -> None:
        from dashboards import pages as known
        from dashboards.run import run

        run(known.all_pages()[name])

    app = AppTest.from_function(script, args=("inference",), default_timeout=90).run()
    for text, asked in (("3 USD/h", "3 USD/h"), ("2 EUR/h", "3 USD/h"), ("2", "3 USD/h"), ("4 USD/h", "4 USD/h")):
        field = next(one for one in app.text_input if one.label == "Price of a card")
        field.set_value(text).run()
        assert not app.exception
        assert len(app.error) == (text != asked)
        values = {one.label: one.value for one in app.number_input}
        assert (values["Cards"], values["Mean context"], values["Requests per card"]) == (128, 4096, 128.0)
        page = pages.all_pages()["inference"]
        from dashboards import answers

        found = answers.ask(page.question.argv(page.question.defaults("decode") | {"price": asked})).payload
        cost = found["metrics"]["usd_per_mtok_output"]
        shown = value_text("usd_per_mtok_output", Metric(**cost))
        assert metric(app, "USD per Mtok output") == shown


def test_what_cannot_be_answered_is_one_line() -> None:
    app = opened(b="100000")
    assert len(app.error) == 1
    assert "does not fit" in app.error[0].value
    assert metric(app, "TTFT")


def test_a_breakdown_chart_holds_the_numbers_of_the_report() -> None:
    """A page of its own, run as a script would: its chart's bars are the report's seconds."""

    def script(name: str) -> None:
        from dashboards import pages as known
        from dashboards.run import run

        run(known.all_pages()[name])

    app = AppTest.from_function(script, args=("inference",), default_timeout=90).run()
    assert not app.exception
    chart: Any = app.get("plotly_chart")[0]
    spec = json.loads(chart.proto.spec)
    page = pages.all_pages()["inference"]
    from dashboards import answers

    answer = answers.ask(page.question.argv(page.question.defaults("decode")))
    longest = answer.payload["breakdown"][0]
    first = next(bar for bar in spec["data"] if bar["name"] == longest["name"])
    assert first["x"] == [pytest.approx(1e3 * longest["time_s"])]
