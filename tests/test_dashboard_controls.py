"""Every option of a verb is a control of its page or is left to the command line for a reason; each control's value
reaches the verb and moves the answer as the option does on the command line."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

import pytest

pytest.importorskip("streamlit", reason="needs the extra dashboard")

from costsim.cli import main as cli
from costsim.cli.parser import verb_parser
from costsim.report.document import Document
from costsim.report.jsonable import dumps
from dashboards import answers, pages, patterns
from dashboards.page import Page

#: options that a page leaves to the command line, and why
EVERYWHERE = {"--help": "the page explains itself", "--json": "an export", "--out": "an export"}
_FILES = "files of the server's disk are not read or written for a browser"
_CUT = "cuts the model for experiments with the simulator itself"
_TRAINING = {"--layers": _CUT, "--megatron": _FILES, "--write-megatron": _FILES, "--perfetto": _FILES}
LEFT = {
    "search": {"--exit-code": "a page has none",
               "--top": "the exports hold the whole frontier", "--layers": _CUT, "--write-megatron": _FILES,
               "--imbalance": "a measured load belongs to one plan: the page Inference has it",
               "--remote-nodes": "a measured load belongs to one plan: the page Inference has it"},
    "simulation": {"--no-bands": "every number of a page has its band", "--perfetto": _FILES, "--bench": _FILES,
                   "--workers": "how a sweep runs", "--scheduler": "how a sweep runs", "--resume": _FILES},
    "training": {**_TRAINING, "--run": "a page of its own", "--fp8-savings": "a page of its own",
                 "--assume": "the page of the whole run has it"},
    "run": {**_TRAINING, "--fp8-savings": "a page of its own"},
    "fp8": {**_TRAINING, "--run": "a page of its own", "--assume": "the page of the whole run has it"},
    "placement": {"--coactivation": _FILES, "--later": _FILES, "--present": _FILES,
                  "--max-moves": "goes with --present"},
    "network": {"--matrix": _FILES},
}  # fmt: skip
#: of these pages every option of the verb is looked at; the others ask several verbs, or take a subject and no options
WHOLE = ("inference", "search", "simulation", "training", "run", "fp8", "posttraining", "placement", "fleet", "network")


def parser_of(page: Page) -> Any:
    module = cli.load_verb(page.question.verb)
    parser: Any = verb_parser(module.NAME, module.HELP, module.EXAMPLE)
    module.configure(parser)
    return parser


@pytest.mark.parametrize("name", WHOLE)
def test_every_option_is_a_control_or_left_out_for_a_reason(name: str) -> None:
    page = pages.all_pages()[name]
    question = page.question
    known = {control.flag for control in question.controls} | {word.partition("=")[0] for word in question.fixed}
    left = {**EVERYWHERE, **LEFT.get(name, {})}
    named = [action.option_strings for action in parser_of(page)._actions if action.option_strings]
    missing = [options for options in named if not set(options) & {*known, *left}]
    assert not missing, "give these a control, or say here why not"
    unused = set(LEFT.get(name, {})) - {option for options in named for option in options}
    assert not unused, "no such options"
    assert not known & set(left), "a control that this list calls left out"


#: page, mode, values set on it, and what is typed on the command line for the same question
ASKED: tuple[tuple[str, str, dict[str, Any], str], ...] = (
    ("inference", "decode", {"framework": "sglang"}, "--framework sglang"),
    ("inference", "decode", {"imbalance": 1.4, "remote_nodes": 2.5}, "--imbalance 1.4 --remote-nodes 2.5"),
    ("inference", "serving", {"length_ratio": 0.5}, "--phase serving --length-ratio 0.5"),
    ("training", "", {"framework": "megatron", "recompute": ["full"]}, "--framework megatron --recompute full"),
    ("training", "", {"overlap": "none"}, "--overlap none"),
    ("training", "", {"comm_sms": 40}, "--comm-sms 40"),
    ("training", "", {"imbalance": 1.5, "recompute": ["full"]}, "--imbalance 1.5 --recompute full"),
    ("training", "", {"dispatcher": "alltoall"}, "--dispatcher alltoall"),
    ("training", "", {"graphs": "attention", "framework": "megatron", "schedule": "1f1b", "recompute": ["full"]},
     "--graphs attention --framework megatron --schedule 1f1b --recompute full"),
    ("training", "", {"recompute": ["norm", "act", "mla_up_proj"]}, "--recompute norm,act,mla_up_proj"),
    ("run", "", {"run": "deepseek-v3"}, "--run deepseek-v3"),
    ("run", "", {"assume": "final-run-share=30%, staff=60"}, "--assume final-run-share=30% --assume staff=60"),
    ("fleet", "", {"night_price": 0.5}, "--night-price 0.5"),
    ("fleet", "", {"night_shift": 0.1}, "--night-shift 0.1"),
    ("fleet", "", {"night_price": 0.5, "night_hours": "1-6"}, "--night-price 0.5 --night-hours 1-6"),
    ("fleet", "", {"cache": "200TB"}, "--cache 200TB"),
    ("fleet", "", {"mix": "h800-sxm=0.5,h20-96g=0.5"}, "--mix h800-sxm=0.5,h20-96g=0.5"),
    ("fleet", "", {"lease": "1USD/h", "lease_hours": 4.0}, "--lease 1USD/h --lease-hours 4"),
    ("fleet", "", {"hysteresis": 0.3}, "--hysteresis 0.3"),
    ("fleet", "", {"hold": "2h", "lead": "1h"}, "--hold 2h --lead 1h"),
    ("posttraining", "one step", {"algorithm": "sft", "samples": 10_000, "tokens_mean": 900.0, "tokens_max": 4096.0,
                                  "batch": 64, "epochs": 3.0},
     "--algorithm sft --samples 10000 --tokens-mean 900 --tokens-max 4096 --batch 64 --epochs 3"),
    ("posttraining", "one step", {"rollout_gpus": 128, "train_ep": 64, "train_cp": 4, "train_zero": 2},
     "--rollout-gpus 128 --train-ep 64 --train-cp 4 --train-zero 2"),
    ("posttraining", "one step", {"mtp_tokens": 0, "mtp_acceptance": 0.0}, "--mtp-tokens 0 --mtp-acceptance 0"),
    ("posttraining", "one step", {"rollout_precision": "bf16"}, "--rollout-precision bf16"),
    ("posttraining", "one step", {"train_precision": "bf16", "train_schedule": "1f1b",
                                  "recompute": "selective", "micro_tokens": 1024},
     "--train-precision bf16 --train-schedule 1f1b --recompute selective --micro-tokens 1024"),
    ("posttraining", "one step", {"law": "exponential", "prompt_mean": 900.0}, "--law exponential --prompt-mean 900"),
    ("posttraining", "one step", {"sigma": 1.5, "updates": 4}, "--sigma 1.5 --updates 4"),
    ("posttraining", "one step", {"reward_model": "qwen2.5-7b"}, "--reward-model qwen2.5-7b"),
    ("posttraining", "one step", {"no_reference": True}, "--no-reference"),
    ("posttraining", "one step", {"accelerator": "h20-96g", "cluster": "h20-8x200g-4nic"},
     "--accelerator h20-96g --cluster h20-8x200g-4nic"),
    ("posttraining", "two ways compared", {"model": "qwen2.5-7b", "gpus": 16, "prompts": 128},
     "--compare grpo-ppo --model qwen2.5-7b --gpus 16 --prompts 128"),
    ("placement", "", {"phase": "decode"}, "--phase decode"),
    ("placement", "", {"price": "3USD/h"}, "--price 3USD/h"),
    ("placement", "", {"drift": "40%"}, "--drift 40%"),
    ("placement", "", {"remote_slack": "20%"}, "--remote-slack 20%"),
    ("placement", "", {"cluster": "h800-8x400g-ib"}, "--cluster h800-8x400g-ib"),
    ("network", "cluster", {"size": "2MB,32MB"}, "--size 2MB,32MB"),
    ("simulation", "rate", {"rate": "2,6"}, "--rate 2,6"),
    ("simulation", "concurrency", {"concurrency": "8,16", "requests": 48}, "--concurrency 8,16 --requests 48"),
    ("simulation", "rate", {"mtp_positions": "0.85,0.6"}, "--mtp-positions 0.85,0.6"),
    ("simulation", "rate", {"mtp_tokens": 1, "mtp_acceptance": 0.8}, "--mtp-tokens 1 --mtp-acceptance 0.8"),
    ("simulation", "rate", {"priorities": "0.1,0.9", "rate": "40"}, "--priorities 0.1,0.9 --rate 40"),
    ("simulation", "rate", {"timeout": "1s", "rate": "200"}, "--timeout 1s --rate 200"),
    ("simulation", "rate", {"framework": "sglang", "host_step": "5ms", "frontend": "20ms"},
     "--framework sglang --host-step 5ms --frontend 20ms"),
    ("simulation", "rate", {"routing": "production"}, "--routing production"),
    ("simulation", "rate", {"ep": 8, "overlap": "two-batch", "moe_tp": 1}, "--ep 8 --overlap two-batch --moe-tp 1"),
    ("simulation", "rate", {"tp": 1, "ep": 8, "imbalance": 1.6, "remote_nodes": 0.0, "redundant_experts": 32},
     "--tp 1 --ep 8 --imbalance 1.6 --remote-nodes 0 --redundant-experts 32"),
    ("simulation", "rate", {"prefill_gpus": 16, "prefill_tp": 8, "prefill_ep": 16, "prefill_accelerator": "h800-sxm",
                            "prefill_price": "3USD/h"},
     "--prefill-gpus 16 --prefill-tp 8 --prefill-ep 16 --prefill-accelerator h800-sxm --prefill-price 3USD/h"),
    ("simulation", "rate", {"whole_prompts": True, "token_budget": 4096}, "--whole-prompts --token-budget 4096"),
    ("simulation", "rate", {"rate": "200", "max_waiting": 2, "max_running": 16},
     "--rate 200 --max-waiting 2 --max-running 16"),
    ("simulation", "trace", {"trace": "azure-conv-2023", "hours": "0.2-0.3"},
     "--trace azure-conv-2023 --hours 0.2-0.3"),
)  # fmt: skip
#: what makes a simulation quick
_LIGHT = {"rate": {"requests": 60, "isl": 2000, "osl": 60}, "concurrency": {"isl": 1024, "osl": 60},
          "trace": {"requests": 60, "speed": None}}  # fmt: skip
#: whose answers take seconds: that the verb is asked the right thing is looked at alone
SLOW = ("placement", "network", "two ways compared")


def asked_of(page: Page, words: Sequence[str]) -> dict[str, Any]:
    """The options of the verb as it reads them."""
    return vars(parser_of(page).parse_intermixed_args(list(words)))


def checked(page: Page, values: dict[str, Any], mode: str) -> None:
    """Each value is one that its control lets through, in a mode that shows it."""
    for control in page.question.controls:
        if control.name in values:
            assert control.shown(mode), control.name
            assert control.checked(values[control.name]) == values[control.name]


@pytest.mark.parametrize(("name", "mode", "values", "typed"), ASKED, ids=lambda one: str(one)[:60])
def test_a_control_asks_what_its_option_does(name: str, mode: str, values: dict[str, Any], typed: str) -> None:
    """The verb is asked what the command line asks with the option, and the answer moves."""
    page = pages.all_pages()[name]
    plain = page.question.defaults(mode) | (_LIGHT.get(mode, {}) if name == "simulation" else {})
    checked(page, values, mode)
    asked, base = page.question.argv(plain | values), page.question.argv(plain)
    dropped = ("--seq=", "--global-batch=", "--tokens=") if "run" in values else ()  # the published run says them
    kept = [word for word in base[1:] if not word.startswith(dropped)] if dropped else list(base[1:])
    assert asked_of(page, asked[1:]) == asked_of(page, [*kept, *typed.split()])
    if not {name, mode} & set(SLOW):
        assert _lasting(answers.ask(asked)) != _lasting(answers.ask(base)), "the control moves nothing"


def _lasting(answer: Document) -> Any:
    """Numbers of an answer, without what was asked, what was said about it and how long it took."""
    found = json.loads(dumps(answer.payload))
    for name in ("elapsed_cpu_s", "notes", "inputs", "defaults"):
        found.pop(name, None)
    found.get("metrics", {}).pop("elapsed_cpu_s", None)
    return found


#: search: what a control allows a grid to hold
SEARCHED = (
    ("decode", {"kv_dtype": ["fp8"], "routing": ["eplb", "balanced"], "mtp_tokens": "1", "mtp_acceptance": "0.8"},
     "--kv-dtype fp8 --routing eplb,balanced --mtp-tokens 1 --mtp-acceptance 0.8"),
    ("decode", {"moe_tp": "1", "redundant_experts": "32", "comm_sms": "20", "framework": ["sglang"]},
     "--moe-tp 1 --redundant-experts 32 --comm-sms 20 --framework sglang"),
    ("prefill", {"cached": "2048"}, "--phase prefill --cached 2048"),
    ("serving", {"length_ratio": "0.5", "concurrency": "16,64"},
     "--phase serving --length-ratio 0.5 --concurrency 16,64"),
    ("training", {"vpp": "1", "cp": "1", "zero": "1", "schedule": ["1f1b"], "recompute": ["full"], "seq": "4096",
                  "kernels": ["megatron"], "pp": "8,16", "ep": "32,64", "tokens": "1e12"},
     ("--phase training --objective step_s --vpp 1 --cp 1 --zero 1 --schedule 1f1b --recompute full --seq 4096 "
      "--framework megatron --pp 8,16 --ep 32,64 --tokens 1e12")),
    ("deployment", {"accelerators": ["h20-96g"], "load": "5,10req/s", "confirm": 0, "api": None, "launch": None},
     "--phase deployment --accelerator h20-96g --load 5,10req/s --confirm 0 --ttft 2s --tpot 50ms"),
    ("deployment", {"accelerators": ["h800-sxm", "h20-96g"], "price": "h800-sxm=3USD/h,h20-96g=1USD/h", "confirm": 0,
                    "api_own": "input=0.5USD/Mtok,output=2USD/Mtok", "launch": None, "gpus": "16,32"},
     ("--phase deployment --accelerator h800-sxm,h20-96g --price h800-sxm=3USD/h,h20-96g=1USD/h --confirm 0 --ttft 2s "
      "--tpot 50ms --load 20req/s --gpus 16,32 --api input=0.5USD/Mtok,output=2USD/Mtok")),
)  # fmt: skip


@pytest.mark.parametrize(("mode", "values", "typed"), SEARCHED, ids=lambda one: str(one)[:60])
def test_a_search_takes_its_grid_from_the_page(mode: str, values: dict[str, Any], typed: str) -> None:
    page = pages.all_pages()["search"]
    small = {} if mode in ("training", "deployment") else {"gpus": "16,32"}
    given = page.question.defaults(mode) | small | values
    checked(page, values, mode)
    asked = page.question.argv(given)
    words = [*typed.split(), *(f"--{key}={value}" for key, value in small.items())]
    assert asked_of(page, asked[1:]) == asked_of(page, words)
    assert answers.ask(asked).payload["best"] is not None


@pytest.mark.parametrize("name", [name for name in vars(patterns) if name.isupper() and name not in ("TITLE",)])
def test_what_may_be_typed_is_no_path_no_option_and_no_markup(name: str) -> None:
    pattern = getattr(patterns, name)
    for text in ("/etc/passwd", "--json", "../x.toml", "x.toml", "~", "<b>", "8\n--out=x", "a=/etc/passwd",
                 "h800-sxm=../x", "$(x)", "1;2", "x" * 400):  # fmt: skip
        assert re.fullmatch(pattern, text) is None, text


def test_a_deployment_shows_what_holds_at_p90_where_the_search_says_it() -> None:
    """The cards and the money of a search's answer at the slow end of its band stand beside those of its median."""
    from dashboards.views.search import numbers

    band = {"value": 0.04, "unit": "s", "low": 0.03, "high": 0.05, "grade": "C"}
    money = {"usd_per_h": 29.0, "gpus": 64, "usd_per_mtok_output": 0.79}
    found = {"best": {"metrics": money}, "confirmed": [{"met": True, "bands": {"tpot_p90_s": band}}]}
    assert set(numbers(found)) == {*money, "tpot_p90_s"}
    slow = {name: 2 * value for name, value in money.items()}
    shown = numbers({**found, "p90": {"best": {"metrics": slow}}})
    assert {name: shown[f"{name}_at_p90"]["value"] for name in money} == slow
    assert shown["gpus_at_p90"]["grade"] == "C"
    assert set(numbers({**found, "p90": {"best": None}})) == {*money, "tpot_p90_s"}


def test_a_best_plan_at_the_edge_of_the_grid_is_said_beside_it() -> None:
    """The page looks for the note by its first words."""
    from dashboards.views.search import EDGE

    page = pages.all_pages()["search"]
    found = answers.ask(page.question.argv(page.question.defaults("decode") | {"gpus": "16,32"})).payload
    assert any(note.startswith(EDGE) for note in found["notes"])
