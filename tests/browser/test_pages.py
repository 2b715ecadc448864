"""Every page in a real browser: it opens clean, draws, and its main control shows what the command line says."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("streamlit", reason="needs the extra dashboard")

from costsim.predict.report import Metric
from costsim.report.words import value_text
from dashboards import pages

pytestmark = [pytest.mark.browser]

#: page → charts that it draws at once
CHARTS = {"inference": 1, "training": 1, "search": 1, "simulation": 2, "posttraining": 1, "hardware": 2, "network": 2,
          "validation": 1, "report": 2, "placement": 1, "fp8": 0, "run": 0, "fleet": 1, "claims": 0}  # fmt: skip


def shown(answer: dict[str, Any], metric: str) -> str:
    """A number of the command line's JSON as a page writes it."""
    return value_text(metric, Metric(**answer["metrics"][metric]))


@pytest.mark.parametrize("name", list(pages.all_pages()))
def test_every_page_opens_clean_and_draws(visit: Callable[..., Any], name: str) -> None:
    home = next(iter(pages.all_pages()))
    visitor = visit("" if name == home else name)
    visitor.sees({home: "Where from?", "profiling": "Nothing is sent anywhere"}.get(name, "Share and export"), 150_000)
    if CHARTS.get(name):
        visitor.drawn(CHARTS[name])
    unnamed = visitor.page.locator("[data-testid=stPlotlyChart]").evaluate_all(
        "all => all.filter(one => !one.querySelector('[aria-label]') && !one.getAttribute('aria-label')).length"
    )
    assert unnamed == 0, "charts without words for who cannot see them"
    visitor.settled().shot(f"page-{name}")


def test_overview_control(visit: Callable[..., Any], said: Callable[..., Any]) -> None:
    visitor = visit().type_in("Requests per card", "64")
    visitor.number(shown(said("infer", "--phase=decode", "--batch-per-gpu=64"), "tpot_s"), "tpot_s")
    visitor.type_in("Cards that train", "4096")
    visitor.number(shown(said("train", "--gpus=4096"), "gpu_hours"), "gpu_hours")


def test_inference_control(visit: Callable[..., Any], said: Callable[..., Any]) -> None:
    visitor = visit("inference").type_in("Requests per card", "32")
    visitor.number(shown(said("infer", "--batch-per-gpu=32"), "tpot_s"), "tpot_s")
    visitor.page.get_by_role("radio", name="prefill").click()
    visitor.number(shown(said("infer", "--phase=prefill"), "usd_per_mtok_input"), "usd_per_mtok_input")


def test_training_control(visit: Callable[..., Any], said: Callable[..., Any]) -> None:
    visitor = visit("training").type_in("Sequences per step", "7680")
    visitor.number(shown(said("train", "--global-batch=7680"), "step_s"), "step_s")


def test_search_control(visit: Callable[..., Any], said: Callable[..., Any]) -> None:
    visitor = visit("search").type_in("Cards", "16,32")
    found = said("search", "--gpus=16,32")
    visitor.sees(f"{found['evaluated']:,} plans costed, {found['feasible']:,} feasible")


def test_simulation_control(visit: Callable[..., Any], said: Callable[..., Any]) -> None:
    visitor = visit("simulation?k=200").type_in("Requests a second", "2")
    argv = ("--rate=2", "--requests=200", "--isl=2000", "--osl=500", "--gpus=8", "--tp=8", "--ttft=1s", "--tpot=50ms")
    visitor.number(shown(said("simulate", *argv), "ttft_p99_s"), "ttft_p99_s")


@pytest.mark.skipif("posttraining" not in pages.all_pages(), reason="no such verb here")
def test_posttraining_control(visit: Callable[..., Any], said: Callable[..., Any]) -> None:
    visitor = visit("posttraining").type_in("Questions of a step", "256")
    visitor.number(shown(said("posttrain", "--algorithm=grpo", "--prompts=256"), "step_s"), "step_s")


def test_network_control(visit: Callable[..., Any]) -> None:
    visit("network").type_in("Ranks", "16").sees("16 endpoints")


def test_validation_control(visit: Callable[..., Any], said: Callable[..., Any]) -> None:
    root = Path(__file__).resolve().parents[2]
    rows = said("validate", f"--points={root / 'hwprofiles' / 'points' / 'post_training.csv'}")["rows"]
    visitor = visit("validation").sees("measured points predicted")
    visitor.page.get_by_role("combobox").first.click()
    visitor.page.get_by_role("option", name="post_training").click()
    known = sum(row["predicted"] is not None for row in rows)
    visitor.sees(f"{known} of {len(rows)} measured points predicted")


def test_hardware_control_and_own_chip(visit: Callable[..., Any], said: Callable[..., Any]) -> None:
    visitor = visit("hardware?a=h20-96g").sees(said("hw", "show", "h20-96g")["name"])
    visitor.page.get_by_role("radio", name="Add your own").click()
    area = visitor.page.get_by_label("The chip as TOML")
    area.wait_for()
    text = area.input_value()
    first = text.partition('id = "')[2].partition('"')[0]
    area.fill(
        text.replace(f'id = "{first}"', 'id = "my-chip"', 1).replace(
            'name = "', 'name = "<script>alert(1)</script> ', 1
        )
    )
    area.press("Control+Enter")
    visitor.settled()
    visitor.page.get_by_role("button", name="Add", exact=True).click()
    visitor.sees("my-chip: <script>alert(1)</script>")


def test_profiling_reads_a_trace(visit: Callable[..., Any]) -> None:
    events = [
        {"ph": "X", "cat": "kernel", "name": f"<b>gemm_{i}</b>", "pid": 0, "tid": 7, "ts": 100 * i, "dur": 60,
         "args": {"stream": 7, "device": 0}}
        for i in range(50)
    ]  # fmt: skip
    data = gzip.compress(json.dumps({"traceEvents": events}).encode())
    visitor = visit("profiling")
    given = {"name": "../../<img src=x onerror=alert(1)>.json.gz", "mimeType": "application/gzip", "buffer": data}
    visitor.page.locator("input[type=file]").last.set_input_files(given)
    visitor.sees("Kernels by family").drawn()
    assert visitor.page.locator("img[src=x]").count() == 0


def test_where_a_number_comes_from(visit: Callable[..., Any]) -> None:
    visitor = visit("inference").drawn()
    visitor.page.locator("[class*='card_tpot_s']").get_by_role("button", name="Where from?").click()
    dialog = visitor.page.get_by_role("dialog")
    dialog.get_by_text("Laws and the points behind them").wait_for(timeout=60_000)
    dialog.locator(".js-plotly-plot .main-svg").first.wait_for(state="attached", timeout=60_000)
    visitor.shot("where-from")
    visitor.page.keyboard.press("Escape")
    dialog.wait_for(state="hidden")
