"""Trees of training, post-training and runs sum to the number; frames and notebook views hold the same numbers."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from costsim.cli import main as cli
from costsim.errors import BadInput, UnknownName
from costsim.evidence.claims.asked import recipe, train
from costsim.evidence.claims.money import v3_run
from costsim.explore.inputs import ask
from costsim.explore.post_training import r1_zero_question
from costsim.predict.explain import explain_inference
from costsim.predict.explain_report import explain_report, explained, from_json
from costsim.predict.post_training import predict_post_training
from costsim.predict.report import Line, Metric, Report
from costsim.report.document import Table
from costsim.report.pages import document_of
from costsim.spec.catalog import load_accelerator, load_model
from costsim.spec.plan import DecodeLoad, ServingPlan


def post_training() -> Report:
    return predict_post_training(*r1_zero_question())


DENSE = {"model": "qwen2.5-7b", "accelerator": "h100-sxm", "gpus": 8, "pp": 1, "ep": 1, "schedule": "auto",
         "routing": "balanced", "precision": "bf16", "recompute": "selective", "zero": 3, "global_batch": 64,
         "tokens": 1e9}  # fmt: skip
REPORTS = {
    "training": lambda: train().report, "1f1b": lambda: train(schedule="1f1b", recompute="full").report,
    "run": lambda: v3_run().report, "r1": lambda: recipe("r1")[0].report, "grpo": post_training,
    "dense": lambda: train(**DENSE).report,
}  # fmt: skip


@pytest.mark.parametrize("name", REPORTS)
def test_trees_sum_to_the_number(name: str) -> None:
    report = REPORTS[name]()
    known = explained(report)
    assert {"gpu_hours"} & set(known) or "step_s" in known
    for metric in known:
        found = explain_report(report, metric)
        leaves = sum(leaf.value for leaf in found.tree.leaves())
        assert leaves == pytest.approx(found.tree.value, rel=1e-3), metric
        if found.unit == found.metric.unit:
            assert leaves == pytest.approx(found.metric.value, rel=1e-3), metric
    with pytest.raises(UnknownName):
        explain_report(report, "joy")


@pytest.mark.parametrize("seed", range(20))
def test_trees_of_random_questions_sum_to_the_number(seed: int) -> None:
    rng = random.Random(seed)
    model, chip = load_model("deepseek-v3"), load_accelerator(rng.choice(["h800-sxm", "h20-96g", "h200-sxm"]))
    while True:
        gpus = rng.choice([16, 32, 64, 128])
        plan = ServingPlan(gpus, ep=rng.choice([16, gpus]), overlap=rng.choice(["none", "two-batch"]))
        load = DecodeLoad(rng.choice([512, 4096, 9000]), rng.choice([2, 16, 48]), *rng.choice([(0, 0.0), (1, 0.8)]))
        try:
            names = ("tpot_s", "usd_per_mtok_output", "step_s", "total_bytes")
            found = [explain_inference(model, chip, plan, load, name) for name in names]
        except BadInput:
            continue
        break
    for one in found:
        assert sum(leaf.value for leaf in one.tree.leaves()) == pytest.approx(one.metric.value, rel=1e-3), one.name


def test_the_verb_takes_a_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "t.json"
    assert cli.main(["train", "--out", str(path)]) == 0
    capsys.readouterr()
    assert cli.main(["explain", "gpu_hours", "--report", str(path), "--json", "--out", str(tmp_path / "e.html")]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["tree"]["value"] == pytest.approx(answer["value"])
    assert "icicle" in (tmp_path / "e.html").read_text(encoding="utf-8")
    assert cli.main(["explain", "total_bytes", "--report", str(path)]) == 0
    simulated = tmp_path / "s.json"
    assert cli.main(["simulate", "--rate", "2", "--requests", "40", "--gpus", "16", "--ep", "16", "--out",
                     str(simulated)]) == 0  # fmt: skip
    capsys.readouterr()
    assert cli.main(["explain", "usd", "--report", str(simulated), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert sum(child["value"] for child in answer["tree"]["children"]) == pytest.approx(answer["value"])
    assert cli.main(["explain", "gpu_hours", "--report", str(path), "--op", "x"]) == 2
    assert cli.main(["explain", "joy", "--report", str(path)]) == 2


def test_a_report_comes_back_from_its_json() -> None:
    report = train().report
    again = from_json(json.loads(json.dumps(report.json())))
    assert again.metrics == dict(report.metrics)
    assert again.breakdown == report.breakdown


def test_frames_hold_the_numbers() -> None:
    report = train().report
    frame = report.frame()
    assert list(frame.columns) == ["metric", "value", "unit", "low", "high", "grade"]
    assert frame.set_index("metric").value["step_s"] == report["step_s"]
    lines = report.frame("breakdown")
    assert lines[~lines.overlapped].time_s.sum() == pytest.approx(report["step_s"], rel=1e-3)
    assert report.frame("memory").set_index("part").bytes["total_bytes"] == report.memory["total_bytes"]
    with pytest.raises(BadInput, match="metrics, breakdown, memory"):
        report.frame("joy")
    table = Table(("a", "b"), [["x", 1.5], ["y", None]]).frame()
    assert table.b[0] == 1.5
    assert len(document_of(report).frame()) >= len(frame)


def test_notebooks_show_reports_and_no_script_of_theirs() -> None:
    evil = "<script>alert(1)</script>"
    line = Line(evil, 1.0, 1.0, "x", "A")
    report = Report("decode", {"model": evil}, {"step_s": Metric(1.0, "s", 0.9, 1.1, "A")}, (line,), notes=(evil,))
    text = report._repr_html_()
    assert "<script>" not in text
    assert "0.9 … 1.1" in text
    values = {"model": "deepseek-v3", "accelerator": "h800-sxm", "plan.gpus": 32, "plan.ep": 32,
              "load.context": 4096, "load.batch_per_gpu": 8}  # fmt: skip
    shown = document_of(ask("decode", values))._repr_html_()
    assert shown.startswith("<iframe srcdoc=")
    assert "<script" not in shown.replace("&lt;script", "")


def test_a_day_of_a_fleet_is_the_sum_of_its_units(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    day = tmp_path / "day.json"
    mix = ["--mix", "h20-96g=0.5,h800-sxm=0.5"]
    for argv in ([], mix):
        assert cli.main(["fleet", *argv, "--out", str(day)]) == 0
        capsys.readouterr()
        for metric in ("usd_per_day", "usd_per_mtok_output", "node_hours", "mean_nodes"):
            assert cli.main(["explain", metric, "--report", str(day), "--json"]) == 0
            found = json.loads(capsys.readouterr().out)
            leaves = [leaf["value"] for phase in found["tree"]["children"] for leaf in phase["children"]]
            assert sum(leaves) == pytest.approx(found["value"], rel=1e-3)
            assert len(leaves) == (4 if argv else 2)
    assert cli.main(["explain", "margin", "--report", str(day)]) == 2
    day.write_text(day.read_text(encoding="utf-8").replace('"mean_units": ', '"mean_units": 9'), encoding="utf-8")
    capsys.readouterr()
    assert cli.main(["explain", "usd_per_day", "--report", str(day)]) == 2
    assert "was the file edited?" in capsys.readouterr().err
