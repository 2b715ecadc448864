"""Bad questions: one line that names the field, never a traceback, never an answer that is not a number."""

from __future__ import annotations

import math
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest

from costsim.errors import BadInput, DoesNotDivide, DoesNotFit, UnknownField, UnknownName, UnsupportedDtype
from costsim.explore.search import search
from costsim.predict.inference import predict_inference
from costsim.predict.report import Report
from costsim.predict.training import predict_training
from costsim.spec.catalog import load_accelerator, load_cluster, load_model
from costsim.spec.plan import DecodeLoad, PrefillLoad, ServingLoad, ServingPlan, TrainingLoad, TrainingPlan
from costsim.spec.price import load_price, parse_rate

SERVING = ServingPlan(64, ep=64, moe_tp=1, comm_sms=20, redundant_experts=64, overlap="two-batch")
TRAINING = TrainingPlan(2048, pp=16, ep=64)
#: question → a plan and a load that are answered
QUESTIONS: dict[str, tuple[Any, Any]] = {
    "prefill": (SERVING, PrefillLoad(4096, 8192, 512)),
    "decode": (SERVING, DecodeLoad(4096, 64, 1, 0.7)),
    "serving": (SERVING, ServingLoad(1024, 512, 640, 128, 1, 0.7)),
    "training": (TRAINING, TrainingLoad(4096, 15_360, tokens=14.8e12)),
}
#: what no numeric field may be
NOT_NUMBERS: list[Any] = ["", "8", "x\ny", True, False, np.True_, [8], {}, object(), 1 + 2j, b"8", np.array([8, 16])]
NOT_NUMBERS += [np.array([]), math.nan, math.inf, -math.inf, np.float64("nan"), -1, -0.5, 10**400, 10**5000, 1e308]
#: what some fields may be and others not: an answer must be a number
ODD = [0, 1e-320, 0.5, 1.5, 7, 1e12, 10**15, np.int64(64), np.float64(64)]
FIELDS = [
    (question, part, field.name)
    for question, parts in QUESTIONS.items()
    for part, value in enumerate(parts)
    for field in fields(value)
]
NUMERIC = [case for case in FIELDS if not isinstance(getattr(QUESTIONS[case[0]][case[1]], case[2]), str)]
WORDS = [case for case in FIELDS if case not in NUMERIC]


def ask(question: str, changes: dict[int, dict[str, Any]] | None = None, model: str = "deepseek-v3",
        chip: str = "h800-sxm") -> Report:  # fmt: skip
    plan, load = (replace(value, **(changes or {}).get(i, {})) for i, value in enumerate(QUESTIONS[question]))
    predict = predict_training if question == "training" else predict_inference
    return predict(load_model(model), load_accelerator(chip), plan, load)


def refusal(question: str, part: int, field: str, value: Any) -> str:
    with pytest.raises(BadInput) as caught:
        ask(question, {part: {field: value}})
    text = str(caught.value)
    assert "\n" not in text
    assert len(text) < 300
    return text


@pytest.mark.parametrize("question", QUESTIONS)
def test_the_good_question_is_answered(question: str) -> None:
    report = ask(question)
    assert all(math.isfinite(metric.value) and metric.value > 0 for metric in report.metrics.values())


@pytest.mark.parametrize(("question", "part", "field"), NUMERIC)
def test_fields_take_one_finite_number(question: str, part: int, field: str) -> None:
    for value in NOT_NUMBERS:
        assert field in refusal(question, part, field, value), repr(value)[:40]
    default = {f.name: f.default for f in fields(QUESTIONS[question][part])}[field]
    if default is not None:
        assert field in refusal(question, part, field, None)


@pytest.mark.parametrize(("question", "part", "field"), NUMERIC)
def test_odd_numbers_are_refused_or_answered(question: str, part: int, field: str) -> None:
    for value in ODD:
        refused = ""
        try:
            report = ask(question, {part: {field: value}})
        except BadInput as error:
            refused = str(error)
        if refused:
            assert "\n" not in refused
            assert "nan" not in refused
            continue
        for name, metric in report.metrics.items():
            assert math.isfinite(metric.value), (name, value)
            assert metric.value > 0, (name, value)


#: words that a plan may leave out
UNSAID = ("framework", "framework_version", "recipe")


@pytest.mark.parametrize(("question", "part", "field"), WORDS)
@pytest.mark.parametrize(
    "value", ["", "FP8", "none ", "x" * 10_000, "a\nb", 8, None, ["fp8"], np.array(["fp8", "bf16"])]
)
def test_words_come_from_their_lists(question: str, part: int, field: str, value: Any) -> None:
    if field in UNSAID and isinstance(value, str) and value == "":
        return  # no engine in particular
    assert field in refusal(question, part, field, value)


NOT_ZERO = ("gpus", "tp", "pp", "vpp", "ep", "cp", "moe_tp", "isl", "osl", "context", "tokens_per_gpu", "batch_per_gpu",
            "concurrency", "seq", "global_batch", "micro_batch", "tokens")  # fmt: skip


@pytest.mark.parametrize(("question", "part", "field"), [case for case in NUMERIC if case[2] in NOT_ZERO])
def test_nothing_to_do_is_refused(question: str, part: int, field: str) -> None:
    assert field in refusal(question, part, field, 0)


#: changes to the good question → the field, and what the message offers
DO_NOT_DIVIDE: list[tuple[str, dict[int, dict[str, Any]], str]] = [
    ("decode", {0: {"tp": 3}}, "tp = 3 does not divide attention heads = 128; nearest that works: 2 or 4"),
    ("decode", {0: {"tp": 128}}, "tp × pp = 128 does not divide gpus = 64; nearest that works: 64"),
    ("decode", {0: {"gpus": 63}}, "ep × moe_tp = 64 does not divide gpus = 63"),
    ("decode", {0: {"ep": 48}}, "ep × moe_tp = 48 does not divide gpus = 64; nearest that works: 32 or 64"),
    ("decode", {0: {"moe_tp": 5, "ep": 1, "gpus": 5}}, "moe_tp = 5 does not divide expert width = 2048; nearest"),
    ("decode", {0: {"pp": 64}}, "pp = 64 exceeds the model's 61 layers"),
    ("decode", {0: {"gpus": 1024, "ep": 1024}}, "ep = 1024 exceeds twice the 256 experts"),
    ("decode", {0: {"comm_sms": 132}}, "comm_sms = 132: must be from 0 to 131"),
    ("decode", {1: {"mtp_tokens": 1.5}}, "mtp_tokens: must be a whole number from 0 to 8"),
    ("decode", {1: {"mtp_acceptance": 1.01}}, "mtp_acceptance: must be from 0 to 1"),
    ("prefill", {1: {"cached": 4096}}, "isl − cached = 0"),
    ("serving", {1: {"cached": 2000}}, "isl − cached = -976"),
    ("training", {0: {"tp": 3}}, "tp = 3 does not divide attention heads = 128; nearest that works: 2 or 4"),
    ("training", {0: {"pp": 15}}, "tp × pp × cp = 15 does not divide gpus = 2048; nearest that works: 8 or 16"),
    ("training", {0: {"ep": 48}}, "ep = 48 does not divide experts = 256; nearest that works: 32 or 64"),
    ("training", {0: {"vpp": 8}}, "pp × vpp exceeds the 61 layers"),
    ("training", {0: {"zero": 4}}, "zero: must be 0, 1, 2 or 3"),
    ("training", {1: {"global_batch": 15_361}}, "micro_batch × dp = 128 does not divide global_batch = 15361"),
]


@pytest.mark.parametrize(
    ("question", "changes", "message"), DO_NOT_DIVIDE, ids=[case[2][:40] for case in DO_NOT_DIVIDE]
)
def test_plans_that_do_not_divide(question: str, changes: dict[int, dict[str, Any]], message: str) -> None:
    with pytest.raises(DoesNotDivide) as caught:
        ask(question, changes)
    assert message in str(caught.value)


def test_dense_models_have_no_experts_to_spread() -> None:
    with pytest.raises(BadInput, match="qwen3-32b has no experts; use ep = 1"):
        ask("decode", {1: {"mtp_tokens": 0}}, model="qwen3-32b")
    with pytest.raises(BadInput, match="ep: qwen3-32b has no experts; use ep = 1"):
        ask("training", model="qwen3-32b")
    with pytest.raises(BadInput, match="mtp_tokens: qwen3-32b has no MTP module"):
        ask("decode", {0: {"ep": 1, "moe_tp": None, "redundant_experts": 0}}, model="qwen3-32b")


@pytest.mark.parametrize(
    ("question", "changes", "term"),
    [
        ("decode", {0: {"gpus": 8, "ep": 8, "redundant_experts": 0}}, "weights"),
        ("decode", {1: {"batch_per_gpu": 4096, "context": 8192}}, "kv"),
        ("decode", {1: {"batch_per_gpu": 4096, "context": 16}}, "communication"),
        ("prefill", {1: {"tokens_per_gpu": 600_000}}, "communication"),
        (
            "prefill",
            {0: {"gpus": 8, "ep": 1, "tp": 8, "moe_tp": 8, "precision": "w4"}, 1: {"tokens_per_gpu": 100_000}},
            "activations",
        ),
        ("training", {0: {"recompute": "none"}}, "activations"),
        ("training", {0: {"pp": 8, "ep": 8, "recompute": "full", "precision": "bf16"}}, "gradients"),
    ],
)
def test_what_does_not_fit_names_its_largest_term(question: str, changes: dict[int, dict[str, Any]], term: str) -> None:
    with pytest.raises(DoesNotFit, match=rf"largest term is {term} with \d+\.\d GB") as caught:
        ask(question, changes)
    assert "80.0 GB" in str(caught.value)


@pytest.mark.parametrize(
    ("chip", "precision", "message"),
    [
        ("a100-80g-sxm", "fp8", "a100-80g-sxm has no fp8 arithmetic; it has: bf16, int8"),
        ("ascend-910b3", "fp8", "has no fp8"),
        ("tpu-v5p", "fp8", "has no fp8"),
    ],
)
def test_number_formats_that_a_chip_lacks(chip: str, precision: str, message: str) -> None:
    plan = ServingPlan(1, precision=precision)
    with pytest.raises(UnsupportedDtype, match=message):
        predict_inference(load_model("qwen2.5-7b"), load_accelerator(chip), plan, DecodeLoad(1024, 1))
    with pytest.raises(UnsupportedDtype, match="kv_dtype"):
        predict_inference(
            load_model("qwen2.5-7b"), load_accelerator(chip), ServingPlan(1, precision="bf16", kv_dtype="fp8"),
            DecodeLoad(1024, 1),
        )  # fmt: skip


def test_unknown_names_offer_the_nearest() -> None:
    for load, name, nearest in (
        (load_model, "deepsek-v3", "deepseek-v3"),
        (load_accelerator, "h800", "h800-sxm"),
        (load_cluster, "cloudmatrix", "cloudmatrix384"),
        (load_price, "deepseek-2us", "deepseek-2usd"),
    ):
        with pytest.raises(UnknownName, match=nearest) as caught:
            load(name)  # type: ignore[operator]
        assert name in str(caught.value)
    for text in ("2", "-1 USD/h", "nan USD/h", "2 USD", "", "cheap"):
        with pytest.raises(BadInput, match=r"price|unknown"):
            parse_rate(text, "price")


def test_a_cluster_of_another_chip() -> None:
    with pytest.raises(BadInput, match="made of"):
        predict_inference(load_model("deepseek-v3"), load_accelerator("h20-96g"), ServingPlan(64, ep=64),
                          DecodeLoad(4096, 64), cluster=load_cluster("cloudmatrix384"))  # fmt: skip


GRID: dict[str, Any] = {"gpus": [64.0], "ep": [64.0], "context": [4096.0], "batch_per_gpu": [64.0]}


@pytest.mark.parametrize(
    ("phase", "changes", "kwargs", "error", "message"),
    [
        ("decoding", {}, {}, UnknownName, "nearest: decode"),
        ("decode", {}, {"objective": "price"}, UnknownName, "nearest"),
        ("decode", {"tpp": [8.0]}, {}, UnknownName, "nearest: tp"),
        ("decode", {"tp": []}, {}, BadInput, "tp: no values"),
        ("decode", {"routing": ["even"]}, {}, BadInput, "routing: 'even' is not one of"),
        ("decode", {"precision": ["fp5"]}, {}, BadInput, "precision: 'fp5' is not one of"),
        ("decode", {"precision": ["fp4"]}, {}, BadInput, "w4 keeps weights in 4 bits"),
        ("decode", {"batch_per_gpu": np.arange(1e6), "context": np.arange(1e6)}, {}, BadInput, "use larger steps"),
        ("prefill", {}, {}, UnknownName, "key of a prefill plan"),
    ],
)
def test_searches_that_cannot_run(
    phase: str, changes: dict[str, Any], kwargs: dict[str, Any], error: type[BadInput], message: str
) -> None:
    with pytest.raises(error, match=message) as caught:
        search(load_model("deepseek-v3"), load_accelerator("h800-sxm"), phase, GRID | changes, **kwargs)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [math.nan, math.inf, -1.0, 0.0, 0.5])
@pytest.mark.parametrize("key", ["gpus", "tp", "pp", "ep", "context", "batch_per_gpu", "redundant_experts", "comm_sms"])
def test_odd_values_in_a_grid_are_counted_out(key: str, value: float) -> None:
    """A sweep goes on past a bad value: no feasible plan with it, and a reason that names the key."""
    good = {"tp": 1.0, "pp": 1.0, "redundant_experts": 0.0, "comm_sms": 20.0} | {k: v[0] for k, v in GRID.items()}
    grid = {name: [value] if name == key else [number] for name, number in good.items()}
    allowed = {
        ("redundant_experts", 0.0),
        ("comm_sms", 0.0),
        ("comm_sms", 0.5),
        ("batch_per_gpu", 0.5),
        ("context", 0.5),
    }
    result = search(load_model("deepseek-v3"), load_accelerator("h800-sxm"), "decode", grid)
    assert result.evaluated == 1
    if (key, value) in allowed:
        assert result.feasible == 1
        return
    assert result.feasible == 0
    assert any(key in reason for reason in result.rejected), result.rejected


def test_an_unknown_datasheet_field_is_named_by_a_search_too() -> None:
    with pytest.raises(UnknownField, match="scale_up_bandwidth"):
        search(load_model("deepseek-v3"), load_accelerator("mlu590"), "decode",
               GRID | {"precision": ["bf16"]}, objective="tokens_per_s_per_gpu")  # fmt: skip
