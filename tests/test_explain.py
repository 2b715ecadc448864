"""Explain: leaves that sum to the metric, facts that give the seconds of a leaf, and refusals in one line."""

from __future__ import annotations

import json
from typing import Any

import pytest

from costsim.cli import main as cli
from costsim.errors import UnknownName
from costsim.physics.memory import weight_bytes_per_rank, weights_by_kind
from costsim.predict.explain import Explanation, explain_inference
from costsim.predict.inference import predict_inference
from costsim.predict.phases import setting_for
from costsim.report.explained import explained_document
from costsim.report.plain import markdown
from costsim.spec.catalog import load_accelerator, load_model
from costsim.spec.plan import DecodeLoad, PrefillLoad, ServingLoad, ServingPlan

QUESTIONS = {
    "prefill": ("deepseek-v3", "h800-sxm", ServingPlan(32, ep=32, overlap="two-batch"), PrefillLoad(4096, 16384)),
    "decode": ("deepseek-v3", "h800-sxm", ServingPlan(128, ep=128, overlap="two-batch"), DecodeLoad(4096, 128)),
    "serial": ("deepseek-v3", "h200-sxm", ServingPlan(16, ep=16), DecodeLoad(4096, 32, 1, 0.8)),
    "single": ("deepseek-v3", "h20-96g", ServingPlan(16, ep=16, overlap="single-batch"), DecodeLoad(4864, 32)),
    "tensor": ("qwen3-32b", "a100-80g-sxm", ServingPlan(8, tp=4, pp=2, precision="bf16"), DecodeLoad(2048, 8)),
    "dies": ("deepseek-v3", "ascend-910c", ServingPlan(32, ep=64, precision="int8"), DecodeLoad(4096, 32)),
    "serving": ("qwen3-32b", "h100-sxm", ServingPlan(8, tp=4, precision="bf16"), ServingLoad(1024, 256, 64)),
}  # fmt: skip


def asked(name: str, metric: str) -> Explanation:
    model, chip, plan, load = QUESTIONS[name]
    return explain_inference(load_model(model), load_accelerator(chip), plan, load, metric)


def metrics(name: str) -> list[str]:
    model, chip, plan, load = QUESTIONS[name]
    report = predict_inference(load_model(model), load_accelerator(chip), plan, load)
    return [*report.metrics, *(term for term in report.memory if term != "capacity_bytes")]


@pytest.mark.parametrize("name", QUESTIONS)
def test_leaves_sum_to_every_metric(name: str) -> None:
    for metric in metrics(name):
        found = asked(name, metric)
        leaves = sum(leaf.value for leaf in found.tree.leaves())
        assert leaves == pytest.approx(found.tree.value, rel=1e-3), metric
        if found.unit == found.metric.unit and not metric.startswith(("tokens", "output", "mf", "mb")):
            assert found.tree.value == pytest.approx(found.metric.value, rel=1e-3), metric
        assert all(leaf.value >= -1e-12 for leaf in found.tree.leaves()), metric


@pytest.mark.parametrize("name", [name for name in QUESTIONS if name != "serving"])
def test_a_leaf_follows_from_its_facts(name: str) -> None:
    """Seconds = times · (max(law · correction, light) · contention + gap): the facts leave nothing out."""
    for leaf in asked(name, "step_s").tree.leaves():
        facts = leaf.facts
        if not facts.get("law"):
            continue
        each = max(facts["law_s"] * facts["correction"], facts["light_s"]) * facts["contention"]
        assert each == pytest.approx(facts["each_s"], rel=1e-6)
        assert 0.99 < facts["contention"] < 1.3
        assert facts["above_light"] is None or facts["above_light"] >= 1 - 1e-9
        total = (each + facts.get("gap_s", 0.0)) * facts["count"] * facts["times"] * facts.get("exposed_share", 1.0)
        assert leaf.value == pytest.approx(total, rel=1e-6)
        assert facts["sources"]
        assert facts["held_out_median_ape"] is not None, leaf.name
        assert facts["grade"] in "ABCD"


def test_exposed_transfers_follow_the_schedule() -> None:
    shares = [
        leaf.facts["exposed_share"] for leaf in asked("serial", "step_s").tree.leaves() if "alone_s" in leaf.facts
    ]
    assert shares == pytest.approx([1.0] * len(shares))
    hidden = [
        leaf.facts["exposed_share"] for leaf in asked("decode", "step_s").tree.leaves() if "alone_s" in leaf.facts
    ]
    assert all(0 <= share < 1 for share in hidden)


def test_weights_by_kind_are_all_the_weights() -> None:
    model, chip, plan, _ = QUESTIONS["decode"]
    setting = setting_for(load_model(model), load_accelerator(chip), plan)
    kinds = weights_by_kind(setting.model, setting.layout, with_mtp=True)
    assert float(sum(kinds.values())) == float(weight_bytes_per_rank(setting.model, setting.layout, with_mtp=True))
    assert {"routed expert", "shared expert", "router", "MTP module"} <= set(kinds)


def test_an_unknown_metric_is_refused_with_the_nearest() -> None:
    with pytest.raises(UnknownName, match="tpot_s"):
        asked("decode", "tpot")


def test_the_page_has_every_section() -> None:
    text = markdown(explained_document(asked("decode", "usd_per_mtok_output")))
    for part in ("One execution of each op", "Laws and the points behind them", "datasheet: fp8", "system: step_host_s",
                 "experts", "h800-sxm"):  # fmt: skip
        assert part in text
    one = explained_document(asked("decode", "step_s"), "experts")
    assert "held out median ape" in markdown(one)
    assert all(row["term"] == "experts" for row in one.rows)
    with pytest.raises(UnknownName):
        explained_document(asked("decode", "step_s"), "baking")


def run(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str, str]:
    status = cli.main(list(argv))
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_the_verb(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, "explain", "tpot_s", "--phase", "decode", "--gpus", "64", "--json")
    assert status == 0
    answer: dict[str, Any] = json.loads(out)
    assert answer["metric"] == "tpot_s"
    assert answer["tree"]["value"] == pytest.approx(answer["value"], rel=1e-3)
    assert {"field", "value", "source", "confidence"} <= set(answer["datasheet"][0])
    assert answer["system"]["step_host_s"] > 0

    def leaves(node: dict[str, Any]) -> float:
        return sum(map(leaves, node["children"])) if node["children"] else float(node["value"])

    assert leaves(answer["tree"]) == pytest.approx(answer["value"], rel=1e-3)
    assert run(capsys, "explain", "step_s", "--op", "experts")[0] == 0
    for bad in (["explain"], ["explain", "speed"], ["explain", "step_s", "--gpus", "64,128"],
                ["explain", "step_s", "--op", "zzz"]):  # fmt: skip
        status, out, err = run(capsys, *bad)
        assert (status, out) == (2, "")
        assert err.count("\n") == 1
