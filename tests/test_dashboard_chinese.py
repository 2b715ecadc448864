"""Sentences with numbers in Chinese: wholly or not at all, no number lost, and no template that the reports outgrew."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("streamlit", reason="needs the extra dashboard")

from costsim.report.document import Document
from dashboards import answers, pages, sentences, words
from dashboards.sentences import chinese, plain
from dashboards.views import overview
from dashboards.zh_operations import OPERATIONS, PREFIXES, SUFFIXES
from dashboards.zh_sentences import TEMPLATES

ROOT = Path(__file__).resolve().parent.parent
#: values of options: a Chinese text writes them as the command line does
VALUES = {"balanced", "trained", "dualpipe", "deepseek", "auto", "selective", "mixed", "none", "full", "sglang", "vllm",
          "trtllm", "gpipe", "interleaved", "eplb", "production",
          "query", "key", "value", "dispatch", "combine", "rank", "ep", "tp", "pp", "pue",
          "restart", "gpus", "reliability.toml", "concurrency", "costsim", "train", "--overlap", "Pareto", "Daly",
          "$MODEL", "$HEAD"}  # fmt: skip
#: words of a question → what it changes of the page's defaults
ASKED: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("inference", "prefill", {}), ("inference", "decode", {}), ("inference", "serving", {"api": "deepseek-r1"}),
    ("inference", "decode", {"accelerator": "ascend-910c", "routing": "production", "gpus": 64, "batch_per_gpu": 16.0}),
    ("inference", "decode", {"imbalance": 1.3, "framework": "sglang", "launch": "sglang"}),
    ("inference", "serving", {"framework": "sglang", "accelerator": "h200-sxm", "gpus": 8, "tp": 8}),
    ("training", "", {}), ("training", "", {"schedule": "1f1b", "framework": "megatron", "recompute": ["full"]}),
    ("fleet", "", {}), ("fleet", "", {"night_price": 0.5, "cache": "200TB", "lease": "1USD/h", "reactive": True}),
    ("search", "decode", {"gpus": "16,32"}), ("search", "prefill", {"gpus": "16"}),
    ("search", "serving", {"gpus": "16"}), ("search", "decode", {"gpus": "8", "tpot": "1ms"}),
    ("search", "training", {"pp": "8,16", "tp": "1", "cp": "1", "schedule": ["dualpipe", "1f1b"], "ep": "32,64"}),
    ("search", "deployment", {"gpus": "16,32"}),
    ("search", "deployment", {"gpus": "16", "confirm": 0, "load": "1,2req/s"}),
    ("simulation", "rate", {"requests": 80, "osl": 60}), ("simulation", "concurrency", {"requests": 80, "osl": 60}),
    ("run", "", {}), ("fp8", "", {}), ("inference", "decode", {"batch_per_gpu": "64,256,512,768,1024,2048"}),
)  # fmt: skip


@lru_cache(maxsize=1)
def documents() -> tuple[tuple[str, Document], ...]:
    values = pages.all_pages()["overview"].question.defaults("")
    found = [("overview", answers.ask(overview.argv_of(values, *one[1:4]))) for one in overview.QUESTIONS]
    for name, mode, change in ASKED:
        page = pages.all_pages()[name]
        found.append((f"{name} {mode}", answers.ask(page.question.argv(page.question.defaults(mode) | change))))
    return tuple(found)


def texts(document: Document) -> Iterator[str]:
    """Titles, sentences, words of charts: all that a reader reads beside the cells of tables."""
    yield document.title
    for part in document.sections:
        if part.heading.startswith("Launch with"):
            continue
        yield from (part.heading, *part.paragraphs, *(chart.label for chart in part.charts))
        for chart in part.charts:
            yield str(chart.figure["layout"].get("title", {}).get("text", ""))
    for one in document.payload.get("launch") or ():
        yield from one["notes"]


def english(text: str) -> bool:
    """Whether a word of English prose is left in a Chinese text."""
    bare = re.sub(r"[^\x00-\x7f]+", " ", re.sub(r"--\S+( [^-\s]\S*)?", " ", text))
    return not all(plain(word) or word.strip("().,;:") in VALUES for word in bare.split())


def test_every_sentence_of_the_main_pages_is_chinese(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(words, "language", lambda: "zh")
    left = []
    for name, document in documents():
        for text in texts(document):
            shown = words.pieces(text)
            if text and not plain(text) and (shown == text or english(shown)):
                left.append(f"{name}: {text[:200]} → {shown[:200]}")
    assert not left, "\n".join(left)


def test_a_sentence_is_wholly_chinese_or_wholly_english_and_keeps_its_numbers() -> None:
    number = re.compile(r"\d[\d.,]*\d|\d")
    for name, document in documents():
        cells = (str(cell) for part in document.sections for table in part.tables for row in table.rows for cell in row
                 if isinstance(cell, str))  # fmt: skip
        for text in {*texts(document), *cells}:
            shown = chinese(text)
            if shown is None:
                continue
            assert not english(shown), (name, text, shown)
            if text not in sentences.CHINESE:
                assert sorted(number.findall(shown)) == sorted(number.findall(text)), (name, text, shown)


#: made of the names of fields and of kinds of prices, or said with a word put in
_BEGIN = ("--overlap ", "{o_chip} rental ", "scheduler: ", "The API would take ", "For P90 (", "the grid is in ")
KEYS = {"micro batch {o_v}", *(template for template in TEMPLATES if template.startswith(_BEGIN))}


@lru_cache(maxsize=1)
def source() -> str:
    """Every text of the package and of its tables, placeholders apart."""
    found = []
    for path in (ROOT / "costsim").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                found.append("\0".join(part.value if isinstance(part, ast.Constant) else "" for part in node.values))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    found += [path.read_text(encoding="utf-8") for path in (ROOT / "hwprofiles").glob("*.toml")]
    return "\n".join(found)


def test_templates_are_sentences_that_the_package_still_says() -> None:
    """Each clause of a template, of two words or more, stands in the package: a sentence that changes is noticed."""
    gone = []
    for template in TEMPLATES:
        if template in KEYS:
            continue
        for fixed in re.split(r"\{\w+\}|[;:,.()] ?| \+ ", template):
            bare = fixed.strip(" .,;:()")
            if len(bare.split()) >= 2 and bare not in source():
                gone.append(f"{bare} in {template[:80]}")
    assert not gone, "\n".join(gone)


def test_templates_have_the_same_fields_on_both_sides() -> None:
    for template, target in TEMPLATES.items():
        assert sorted(re.findall(r"\{(\w+)\}", template)) == sorted(re.findall(r"\{(\w+)\}", target)), template
        assert target != template or english(template) is False, template


def test_operations_are_made_of_what_they_work_on_and_what_is_done() -> None:
    assert chinese("experts gate-up wgrad") == "专家门控上投影权重梯度"
    assert chinese("decode: combine_ll (hidden)") == "解码：combine（低延迟）（已隐藏）"
    assert chinese("nonsense wgrad") is None
    assert all((*OPERATIONS.values(), *SUFFIXES.values(), *PREFIXES.values()))


def test_refusals_and_points_without_an_answer() -> None:
    text = "does not fit: 83.8 GB needed on each rank of h800-sxm, 80.0 GB there; the largest term is kv with 55.3 GB; "
    shown = chinese(f"batch_per_gpu 192.0: {text}it fits with batch_per_gpu = 179, or with kv_dtype = fp8")
    assert shown is not None
    assert shown.startswith("batch_per_gpu 192.0：放不下：h800-sxm 每 rank 需 83.8 GB")
    assert chinese("2 more points cannot be answered") == "另有 2 个点无法求解"
    assert chinese(f"{text}wish for more") is None


@pytest.mark.parametrize(
    "text",
    [
        "3 strange points cannot be answered",
        "7 wonders plans costed, 5 feasible, 2 on the frontier.",
        "Largest parts of the step: experts 2 ms (40.0%), nonsense 1 ms (1%).",
        "price: 2 USD/h from x, 2025-01-01, confidence A (an unknown reason)",
        "Decode: my model on h800-sxm, 8 GPUs and more",
        "Per card and hour: h800-sxm 2 USD/h (an unknown basis, A).",
        "These move it by less than 1%: one thing after another.",
    ],
)
def test_a_part_without_translation_leaves_all_in_english(text: str) -> None:
    assert chinese(text) is None


def test_a_long_text_is_matched_in_no_time() -> None:
    """Texts of others reach the templates too: names of models, lines of refusals."""
    import time

    began = time.perf_counter()
    for text in (
        "Largest parts of the step: " + "a 1 ms (1%), " * 3000,
        "x " * 20_000,
        "1" * 20_000,
        "defaults: " * 4000,
    ):
        chinese(text)
    assert time.perf_counter() - began < 3
