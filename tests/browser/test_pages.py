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
from costsim.report.words import number, quantity, value_text
from dashboards import pages
from dashboards.views.report import scenario_toml

pytestmark = [pytest.mark.browser]

#: page → charts that it draws at once
CHARTS = {"inference": 1, "training": 1, "search": 1, "simulation": 2, "posttraining": 1, "hardware": 2, "network": 2,
          "validation": 1, "report": 2, "placement": 1, "fp8": 0, "run": 0, "fleet": 1, "claims": 0}  # fmt: skip


#: what pages are opened with whose own question takes many seconds; their other tests ask more
BRIEF = {"claims": "?c=params", "report": "?with=&nc=1"}


def shown(answer: dict[str, Any], metric: str) -> str:
    """A number of the command line's JSON as a page writes it."""
    return value_text(metric, Metric(**answer["metrics"][metric]))


@pytest.mark.parametrize("name", list(pages.all_pages()))
def test_every_page_opens_clean_and_draws(visit: Callable[..., Any], name: str) -> None:
    home = next(iter(pages.all_pages()))
    visitor = visit("" if name == home else f"{name}{BRIEF.get(name, '')}")
    visitor.sees({home: "Where from?", "profiling": "Nothing is sent anywhere"}.get(name, "Share and export"))
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
    visitor.choose("prefill")
    visitor.number(shown(said("infer", "--phase=prefill"), "usd_per_mtok_input"), "usd_per_mtok_input")


def test_training_control(visit: Callable[..., Any], said: Callable[..., Any]) -> None:
    visitor = visit("training").type_in("Sequences per step", "7680")
    visitor.number(shown(said("train", "--global-batch=7680"), "step_s"), "step_s")


def test_search_control(visit: Callable[..., Any], said: Callable[..., Any]) -> None:
    visitor = visit("search").type_in("Cards", "16,32")
    found = said("search", "--gpus=16,32")
    visitor.sees(f"{found['evaluated']:,} plans costed, {found['feasible']:,} feasible")


def test_deployment_control(visit: Callable[..., Any], said: Callable[..., Any]) -> None:
    """The cheapest deployment of a load, its launch commands as a file, and where it breaks even with an API."""
    visitor = visit("search?ph=deployment&as=h20-96g").type_in("Load to carry", "10req/s")
    found = said("search", "--phase=deployment", "--load=10req/s", "--accelerator=h20-96g", "--tpot=50ms", "--ttft=2s",
                 "--api=deepseek-v3", "--launch=sglang")  # fmt: skip
    usd = found["best"]["metrics"]["usd_per_h"]
    visitor.number(value_text("usd_per_h", Metric(usd, "USD/h")), "usd_per_h")
    visitor.sees("Why not the others")
    with visitor.page.expect_download() as waiting:
        visitor.page.get_by_role("button", name="Launch commands").click()
    script = Path(waiting.value.path()).read_text()
    assert found["launch"][0]["commands"][0] in script
    visitor.choose("Break-even")
    visitor.sees(f"pays off from {number(found['break_even']['requests_per_s'])} requests/s").drawn().shot("break-even")


def test_best_plan_is_asked_in_full(visit: Callable[..., Any], said: Callable[..., Any]) -> None:
    """The search's best plan has band and grade, and opens on the page of its phase."""
    best = said("search", "--gpus=32,64")["best"]
    visitor = visit("search?g=32,64").sees("The best plan")
    text = value_text("usd_per_mtok_output", Metric(best["metrics"]["usd_per_mtok"], "USD/Mtok"))
    visitor.number(text, "usd_per_mtok_output")
    visitor.page.get_by_role("link", name="Open this plan on its own page").click()
    visitor.page.get_by_role("heading", name="Inference", exact=True).wait_for()
    visitor.number(text, "usd_per_mtok_output")


def test_break_even_of_a_deployment(visit: Callable[..., Any], said: Callable[..., Any]) -> None:
    visitor = visit("inference?ph=serving&a=h200-sxm&g=8&tp=8&n=64&api=deepseek-r1&view=Break-even").drawn()
    argv = ("--phase=serving", "--accelerator=h200-sxm", "--gpus=8", "--tp=8", "--concurrency=64", "--api=deepseek-r1")
    visitor.number(shown(said("infer", *argv), "break_even_share"), "break_even_share")


def test_simulation_control(visit: Callable[..., Any], said: Callable[..., Any]) -> None:
    visitor = visit("simulation?k=200").type_in("Requests a second", "3")
    argv = ("--rate=3", "--requests=200", "--isl=2000", "--osl=500", "--gpus=8", "--tp=8", "--ttft=1s", "--tpot=50ms")
    visitor.number(shown(said("simulate", *argv), "ttft_p99_s"), "ttft_p99_s")


def test_whole_run_control(visit: Callable[..., Any], said: Callable[..., Any]) -> None:
    visitor = visit("run").type_in("Tokens of the run", "2e12")
    visitor.number(shown(said("train", "--run", "--tokens=2e12"), "final_run_usd"), "final_run_usd")


def test_fp8_control(visit: Callable[..., Any], said: Callable[..., Any]) -> None:
    visitor = visit("fp8").type_in("Sequences per step", "7680")
    answer = said("train", "--fp8-savings", "--global-batch=7680")
    visitor.number(shown(answer, "speedup"), "speedup").number(shown(answer, "bf16_step_s"), "bf16_step_s")


def test_placement_control(visit: Callable[..., Any], said: Callable[..., Any]) -> None:
    argv = ("--loads=lognormal:0.8", "--gpus=32", "--nodes=4", "--groups=8", "--objective=both", "--quick")
    visitor = visit("placement").type_in("Experts held, copies included", "320")
    found = said("place", *argv, "--slots=320")["metrics"]
    for way, mark in (("after", ""), ("before", "in_order_")):
        visitor.number(shown({"metrics": found[way]}, "usd_per_mtok"), f"{mark}usd_per_mtok")


def test_fleet_control(visit: Callable[..., Any], said: Callable[..., Any]) -> None:
    visitor = visit("fleet").sees("Share and export")
    visitor.page.get_by_text("Units come after the load").click()
    found = said("fleet", "--reactive")["node_hours"]
    visitor.number(value_text("node_hours", Metric(found["value"], found["unit"])), "node_hours")


def test_claims_control(visit: Callable[..., Any], said: Callable[..., Any]) -> None:
    judged = said("claims", "no-tp")[0]
    visitor = visit("claims?c=params").sees("params: supported")
    field = visitor.page.get_by_test_id("stMain").get_by_role("combobox").first
    field.fill("no-tp")
    field.press("Enter")
    visitor.sees(f"no-tp: {judged['verdict']}").sees(judged["statement"])
    ratio = judged["computed"]["ratio_own_layout"]["value"]
    visitor.sees(f"{ratio:.3g}x")


@pytest.mark.timeout(400)
def test_report_control(visit: Callable[..., Any], said: Callable[..., Any], tmp_path: Path) -> None:
    values = pages.all_pages()["report"].question.defaults("") | {"compare": [], "context": 8192}
    scenario = tmp_path / "scenario.toml"
    scenario.write_text(scenario_toml(values))
    found = said("report", str(scenario), "--folder=-", "--no-claims")["deployments"][0]["decode"]["metrics"]
    visitor = visit("report?with=&nc=1").type_in("Mean context", "8192")
    visitor.sees(f"decodes {shown({'metrics': found}, 'tokens_per_s_per_gpu')}")


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
    visitor.choose("Add your own")
    visitor.type_in("memory bandwidth", "2 TB/s").type_in("Its id", "half-h20")
    visitor.page.get_by_role("button", name="Add the chip of this form", exact=True).click()
    visitor.sees("half-h20").sees("2 TB/s")
    visitor.choose("Add your own")
    visitor.page.get_by_text("or as TOML").click()
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
    visitor.page.get_by_role("button", name="Add the chip of this text", exact=True).click()
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


def test_profiling_reads_measurements(visit: Callable[..., Any], said: Callable[..., Any]) -> None:
    """A measurement file becomes laws with the errors that the command line states."""
    pytest.importorskip("scipy", reason="laws are fitted with scipy (extra profile)")
    file = Path(__file__).resolve().parents[2] / "hwprofiles" / "measurements" / "h20-96g.csv"
    laws = said("calibrate", "h20-96g", f"--measurements={file}")["accelerators"][0]["laws"]
    visitor = visit("profiling?f=measurements&a=h20-96g")
    visitor.page.locator("input[type=file]").last.set_input_files(file)
    visitor.sees("gemm/fp8").drawn()
    rows = visitor.page.locator(".cs-table").first.locator("tbody tr").count()
    assert rows == len(laws)
    bad = {"name": "m.csv", "mimeType": "text/csv", "buffer": b"family,dtype\n<script>,x\n"}
    visitor.page.locator("input[type=file]").last.set_input_files(bad)
    visitor.page.get_by_test_id("stMain").get_by_test_id("stAlert").first.wait_for()


def test_chips_side_by_side(visit: Callable[..., Any], said: Callable[..., Any]) -> None:
    sheet = said("hw", "show", "mi300x")["datasheet"]["memory_bandwidth"]["text"]
    visit("hardware?w=Side%20by%20side&as=h800-sxm,mi300x").sees("mi300x").sees(sheet).shot("side-by-side")


def test_memory_by_stage(visit: Callable[..., Any], said: Callable[..., Any]) -> None:
    memory = said("train")["memory"]
    visitor = visit("training?view=Memory").drawn(2).shot("memory")
    visitor.sees(f"hold {quantity(memory['rank_0_bytes'], 'B')} to {quantity(memory['allocated_bytes'], 'B')}")


def test_a_chart_s_camera_saves_a_png(visit: Callable[..., Any]) -> None:
    visitor = visit("inference").drawn()
    visitor.page.locator("[data-testid=stPlotlyChart]").first.hover()
    with visitor.page.expect_download() as waiting:
        visitor.page.locator("[data-title*='png' i]").first.click()
    assert Path(waiting.value.path()).read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_where_a_number_comes_from(visit: Callable[..., Any]) -> None:
    visitor = visit("inference").drawn()
    visitor.page.locator("[class*='card_tpot_s']").get_by_role("button", name="Where from?").click()
    dialog = visitor.page.get_by_role("dialog")
    dialog.get_by_text("Laws and the points behind them").wait_for(timeout=60_000)
    dialog.locator(".js-plotly-plot .main-svg").first.wait_for(state="attached", timeout=60_000)
    visitor.shot("where-from")
    visitor.page.keyboard.press("Escape")
    dialog.wait_for(state="hidden")
