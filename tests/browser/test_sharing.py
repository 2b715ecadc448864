"""Links, files, exports, languages, widths, and visitors who mean no good."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import tomllib
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("streamlit", reason="needs the extra dashboard")
pytest.importorskip("playwright.sync_api", reason="needs playwright (extra dev)")

from playwright.sync_api import TimeoutError as NothingCame
from playwright.sync_api import expect

from costsim.cli.main import available
from costsim.predict.report import Metric
from costsim.report.words import value_text
from costsim.spec.catalog import ACCELERATORS

pytestmark = [pytest.mark.browser]
_UPLOAD = "[data-testid=stSidebar] input[type=file]"


def test_a_link_restores_everything_in_a_fresh_browser(visit: Callable[..., Any]) -> None:
    first = visit("inference").type_in("Requests per card", "48")
    first.page.get_by_text("Share and export").click()
    first.page.wait_for_url("**b=48*")
    link = first.settled().page.locator("code", has_text="b=48").first.inner_text().strip()
    tpot = first.settled().page.locator("[class*='card_tpot_s'] [data-testid=stMetricValue]").inner_text()
    for address in (link, first.page.url):
        other = visit(address.removeprefix(f"{first.address}/"), viewport={"width": 1100, "height": 900})
        other.number(tpot, "tpot_s")
        expect(other.page.get_by_label("Requests per card", exact=True)).to_have_value("48")


def test_a_slow_line_changes_no_setting(visit: Callable[..., Any]) -> None:
    """The page draws itself anew before the browser has the code of its widgets; they show what was asked for."""
    visitor = visit("claims")
    held: list[Any] = []
    for code in ("NumberInput", "Selectbox", "TextInput", "Checkbox", "ButtonGroup"):
        visitor.page.route(f"**/{code}*.js", lambda route: held.append(route))
    visitor.page.goto(f"{visitor.address}/fp8?g=1024&ep=32&tok=1.3e13&vpp=1&rc=full&v=1")
    visitor.page.locator("[class*='card_speedup'] [data-testid=stMetricValue]").wait_for()  # the long answer has come
    visitor.settled()
    assert held
    for route in held:
        route.continue_()
    for name, value in (("Cards", "1024"), ("Expert parallel (ep)", "32"), ("Pipeline stages (pp)", "16"),
                        ("Tokens of the run", "1.300e+13"), ("Tokens of a sequence", "4096")):  # fmt: skip
        expect(visitor.page.get_by_label(name, exact=True)).to_have_value(value)
    visitor.page.get_by_text("More settings").click()
    expect(visitor.page.get_by_label("Virtual stages (vpp)", exact=True)).to_have_value("1")
    visitor.type_in("Cards", "2048").page.wait_for_url(lambda url: "g=1024" not in url)  # and nothing else changes
    assert "ep=32" in visitor.page.url
    assert "vpp=1" in visitor.page.url
    assert "rc=full" in visitor.page.url


def test_an_emptied_number_keeps_its_value(visit: Callable[..., Any]) -> None:
    """No setting jumps to its lowest value because somebody deleted it; one with the verb's own default goes there."""
    visitor = visit("training?vpp=2&v=1")
    visitor.type_in("Cards", "1024").page.wait_for_url("**g=1024*")
    visitor.settled().type_in("Cards", "")
    expect(visitor.page.get_by_label("Cards", exact=True)).to_have_value("1024")
    visitor.page.get_by_text("More settings").click()
    visitor.type_in("Virtual stages (vpp)", "").page.wait_for_url(lambda url: "vpp" not in url)
    expect(visitor.page.get_by_label("Virtual stages (vpp)", exact=True)).to_have_value("")


def test_an_own_chip_travels_in_the_link(visit: Callable[..., Any], said: Callable[..., Any], tmp_path: Path) -> None:
    """A browser that has never seen the chip shows the numbers that the command line has for its file."""
    text = ACCELERATORS.joinpath("h20-96g.toml").read_text(encoding="utf-8")
    text = text.replace('id = "h20-96g"', 'id = "half-h20"', 1).replace('"4 TB/s"', '"2 TB/s"', 1)
    value = f"own-{hashlib.sha256(text.encode()).hexdigest()[:16]}"
    packed = base64.urlsafe_b64encode(zlib.compress(text.encode(), 9)).decode().rstrip("=")
    chip = tmp_path / "chip.toml"
    chip.write_text(text)
    answer = said("infer", f"--accelerator={chip}", "--gpus=32", "--batch-per-gpu=32")
    visitor = visit(f"inference?a={value}&g=32&b=32&chip={packed}")
    visitor.number(value_text("tpot_s", Metric(**answer["metrics"]["tpot_s"])), "tpot_s")
    visitor.page.get_by_text("Share and export").click()
    visitor.sees("Your own chip travels in the link")
    question = tomllib.loads(_download(visitor, "Question (TOML)").decode())
    assert question["chips"] == {value: text}


def test_values_stay_when_one_leaves_and_comes_back(visit: Callable[..., Any]) -> None:
    visitor = visit("inference").type_in("Cards", "64").settled()
    visitor.page.wait_for_url("**g=64*")
    visitor.page.get_by_role("link", name="Training").first.click()
    visitor.page.get_by_role("heading", name="Training", exact=True).wait_for()
    visitor.settled()
    visitor.page.get_by_role("link", name="Inference").first.click()
    visitor.page.get_by_role("heading", name="Inference", exact=True).wait_for()
    visitor.page.wait_for_url("**g=64*")
    assert visitor.page.get_by_label("Cards", exact=True).input_value() == "64"


def _download(visitor: Any, name: str) -> bytes:
    """A click in the moment in which the page draws itself anew is lost, as it is for people: they click again."""
    for left in (2, 1, 0):
        try:
            with visitor.page.expect_download(timeout=20_000) as waiting:
                visitor.page.get_by_role("button", name=name, exact=False).last.click()
            return Path(waiting.value.path()).read_bytes()
        except NothingCame:
            if not left:
                raise
    raise AssertionError("unreachable")


def test_exports_parse(visit: Callable[..., Any], said: Callable[..., Any]) -> None:
    visitor = visit("inference").drawn()
    visitor.page.get_by_text("Share and export").click()
    answer = json.loads(_download(visitor, "JSON"))
    assert answer["metrics"] == said("infer")["metrics"]
    rows = list(csv.DictReader(io.StringIO(_download(visitor, "CSV").decode())))
    assert {row["name"] for row in rows if row["part"] == "metric"} == set(answer["metrics"])
    page = _download(visitor, "HTML").decode()
    assert page.startswith("<!DOCTYPE html>")
    assert "src=" not in page.partition("<script>")[0]
    assert _download(visitor, "PARQUET")[:4] == b"PAR1"
    question = tomllib.loads(_download(visitor, "TOML").decode())
    assert question["page"] == "inference"
    assert question["values"]["gpus"] == 128


def test_a_saved_question_opens_its_page(visit: Callable[..., Any], said: Callable[..., Any]) -> None:
    visitor = visit()
    text = 'page = "training"\nversion = 1\n[values]\ngpus = 4096\nnonsense = "<b>"\nseq = -3\n'
    visitor.page.get_by_text("Load a question (TOML)").click()
    visitor.page.locator(_UPLOAD).set_input_files(
        {"name": "q.toml", "mimeType": "application/toml", "buffer": text.encode()}
    )
    visitor.page.get_by_role("heading", name="Training", exact=True).wait_for(timeout=60_000)
    visitor.sees("nonsense").sees("seq")
    hours = said("train", "--gpus=4096")["metrics"]["gpu_hours"]["value"]
    visitor.number(f"{hours:,.0f} GPU h", "gpu_hours")


@pytest.mark.parametrize("data", [b"\xff\xfe\x00", b"a = [", b"page = 'x'", b"[model]\nid = 3"])
def test_malformed_uploads_are_one_line(visit: Callable[..., Any], data: bytes) -> None:
    visitor = visit()
    visitor.page.get_by_text("Load a question (TOML)").click()
    visitor.page.locator(_UPLOAD).set_input_files({"name": "q.toml", "mimeType": "text/plain", "buffer": data})
    alert = visitor.page.locator("[data-testid=stSidebar] [data-testid=stAlert]")
    alert.wait_for(timeout=60_000)
    assert "Traceback" not in alert.inner_text()
    visitor.sees("Where from?")


def test_oversized_uploads_are_refused_and_the_app_stays_up(visit: Callable[..., Any]) -> None:
    visitor = visit()
    visitor.page.get_by_text("Load a question (TOML)").click()
    visitor.page.locator(_UPLOAD).set_input_files(
        {"name": "q.toml", "mimeType": "text/plain", "buffer": b"#" * 3_000_000}
    )
    visitor.page.locator("[data-testid=stSidebar]").get_by_text("must be", exact=False).first.wait_for(timeout=60_000)
    visitor.type_in("Requests per card", "16").settled().sees("Where from?")


FORGED = (
    "inference?g=banana&zz=1&m=%3Cscript%3Ealert(1)%3C/script%3E&ph=nowhere&v=9",
    "inference?a=../../etc/passwd&p=--json&b=1e999",
    "search?g=1:200000000&b=1:99999999999",
    "simulation?ld=trace&tr=/etc/passwd",
    "report?ti=%3Cimg%20src=x%20onerror=alert(1)%3E&tpot=%00",
    "network?n=99999999&c=..%2F..%2Fx",
)


@pytest.mark.parametrize("path", FORGED)
def test_forged_links_are_mended_or_refused(visit: Callable[..., Any], path: str) -> None:
    visitor = visit(path)
    visitor.page.get_by_test_id("stAlert").first.wait_for(timeout=60_000)
    assert visitor.page.locator("img[src=x]").count() == 0
    assert "Traceback" not in visitor.page.get_by_test_id("stMain").inner_text()


def test_chinese_dark_and_narrow(visit: Callable[..., Any]) -> None:
    phone = {"viewport": {"width": 390, "height": 844}, "color_scheme": "dark", "has_touch": True}
    for path, heading in (("?lang=zh", "总览"), ("inference?lang=zh", "推理"), ("training?lang=zh", "训练")):
        visitor = visit(path, **phone).sees(heading).sees("从何而来")
        wide = visitor.page.evaluate("document.documentElement.scrollWidth")
        assert wide <= 390, f"{path}: {wide} px wide"
        colour = visitor.page.evaluate(
            "getComputedStyle(document.querySelector('[data-testid=stApp]')).backgroundColor"
        )
        assert sum(int(part) for part in colour.strip("rgba()").split(",")[:3]) < 120, colour
        visitor.shot(f"phone-{heading}")
    visitor = visit("inference?lang=zh&view=Curves", color_scheme="dark").drawn(2).shot("dark-zh-curves")
    visitor.choose("English")
    visitor.sees("What one serving phase")
    visitor.page.wait_for_url(lambda url: "lang=zh" not in url)


def test_a_and_b_side_by_side(visit: Callable[..., Any]) -> None:
    visitor = visit("inference")
    visitor.choose("Compare A and B")
    visitor.page.get_by_role("button", name="Keep this as A").click()
    visitor.sees("asked differently").type_in("Requests per card", "32").settled()
    visitor.sees("batch per GPU").drawn().shot("compare")
    if {"diff", "sensitivity"} <= set(available()):
        visitor.sees("What the difference is made of").drawn(2).shot("attribution")
        visitor.choose("Sensitivity")
        visitor.sees("Tornado").sees("beats").drawn().shot("sensitivity")


def test_the_keyboard_reaches_controls_and_views(visit: Callable[..., Any]) -> None:
    visitor = visit("inference")
    field = visitor.page.get_by_label("Requests per card", exact=True)
    field.focus()
    visitor.page.keyboard.press("ControlOrMeta+a")
    visitor.page.keyboard.type("96")
    visitor.page.keyboard.press("Enter")
    visitor.page.wait_for_url("**b=96*")
    seen = set()
    for _ in range(60):
        visitor.page.keyboard.press("Tab")
        seen.add(visitor.page.evaluate("document.activeElement.innerText || document.activeElement.ariaLabel || ''"))
    assert any("Where from?" in str(text) for text in seen)
