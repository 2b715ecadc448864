"""`costsim infer`: what one serving phase or a whole deployment does, needs and costs."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from costsim.cli import ask as asking
from costsim.cli import launch as launching
from costsim.cli.ask import Given, Key, Words
from costsim.cli.output import finish
from costsim.cli.parser import add_choice
from costsim.errors import BadOption

if TYPE_CHECKING:
    from costsim.predict.report import Report
    from costsim.spec.accelerator import Accelerator
    from costsim.spec.cluster import Cluster
    from costsim.spec.model import ModelSpec
    from costsim.spec.plan import DecodeLoad, PrefillLoad, ServingLoad, ServingPlan
    from costsim.spec.price import Price

NAME = "infer"
HELP = "one serving phase or deployment: TTFT, TPOT, tokens/s, memory, USD and J per token"
EXAMPLE = """
costsim infer --phase decode --accelerator h800-sxm --gpus 128 --context 4096 --batch-per-gpu 128 --price 2USD/h
costsim infer --phase prefill --model deepseek-v3 --accelerator h20-96g --gpus 16 --isl 1024:8192:1024
"""

PHASES = ("prefill", "decode", "serving")
PLAN = (
    Key("gpus", "cards of the deployment"),
    Key("tp", "tensor-parallel width of attention"),
    Key("pp", "pipeline stages"),
    Key("ep", "ranks that share one set of experts; default for MoE models with tp 1: all of them"),
    Key("moe_tp", "ranks that split each expert's width; default: tp/ep, at least 1"),
    Key("comm_sms", "cores kept for communication kernels", minimum=0),
    Key("redundant_experts", "replicas of hot experts beyond one copy of each", minimum=0),
    Key("imbalance", "busiest expert rank over the mean, as `costsim place` finds; default: from --routing", False),
    Key("remote_nodes", "further nodes a token is sent to, as `costsim place` finds", whole=False, minimum=0),
)
_ISL = Key("isl", "prompt tokens")
_MTP = (
    Key("mtp_tokens", "tokens drafted per step", minimum=0),
    Key("mtp_acceptance", "chance that a drafted token is kept", whole=False, minimum=0, maximum=1),
)
_CACHED = Key("cached", "prompt tokens found in the prefix cache", minimum=0)
LOADS: dict[str, tuple[Key, ...]] = {
    "prefill": (_ISL, Key("tokens_per_gpu", "prompt tokens per card and step"), _CACHED),
    "decode": (
        Key("context", "mean KV length"),
        Key("batch_per_gpu", "requests per card", whole=False, minimum=1e-6),
        *_MTP,
    ),
    "serving": (
        _ISL,
        Key("osl", "answer tokens"),
        Key("concurrency", "requests in flight on the whole deployment"),
        _CACHED,
        *_MTP,
        Key(
            "length_ratio",
            "lengths uniform from this share of nominal up to it; default: within 10 percent",
            whole=False,
            minimum=0.01,
            maximum=1,
        ),
    ),
}
#: DeepSeek-V3 on H800 as published: prefill units of 32 cards, decode units of 128 [deepseek-v3-report, sec. 3.4].
#: Routing: a phase is its kernel path with experts evenly loaded, as the published profiles are; requests meet an
#: engine as it comes, without a balancer. On 150 closed-loop runs of two MoE models that misses TPOT by 6.5 % on
#: average, and evenly loaded experts by 12 %.
DEFAULTS: dict[str, dict[str, Any]] = {
    "prefill": {"gpus": 32, "isl": 4096, "tokens_per_gpu": 16384, "overlap": "two-batch"},
    "decode": {"gpus": 128, "context": 4096, "batch_per_gpu": 128, "overlap": "two-batch"},
    "serving": {"gpus": 16, "isl": 1024, "osl": 1024, "concurrency": 128, "overlap": "none", "routing": "default"},
}
_COMMON = {"tp": 1, "pp": 1, "redundant_experts": 0, "routing": "balanced", "kv_dtype": "bf16"}


def words() -> tuple[Words, ...]:
    """The options that take a word."""
    from costsim.cli.names import engines
    from costsim.spec import words as plan

    return (
        Words("precision", "arithmetic of the matrix products", plan.PRECISIONS),
        Words("kv_dtype", "format of the KV cache", plan.KV_DTYPES),
        Words("overlap", "how communication hides behind computation", plan.OVERLAPS),
        Words("routing", "how evenly tokens meet experts", plan.ROUTINGS),
        Words("framework", "serving engine: its scheduler, kernels and host", engines()),
    )


def configure(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("question")
    add_choice(group, "--phase", PHASES, "what to predict (decode)")
    launching.add_option(group)
    group.add_argument(
        "--api-price", "--api", dest="api", metavar="PRICE",
        help="serving: API to break even with: deepseek-r1, deepseek-v3, or "
        "input=0.5USD/Mtok,output=2USD/Mtok[,cached=…]",
    )  # fmt: skip
    parser.set_defaults(phase="decode")
    asking.add_subject(parser, "deepseek-v3", "h800-sxm")
    asking.add_keys(parser, "plan (numbers take lists and ranges)", [*PLAN, *words()])
    asking.add_keys(parser, "load (numbers take lists and ranges)", _every_load_key())


def _overlap(args: argparse.Namespace, model: ModelSpec) -> dict[str, str]:
    """Two micro-batches only help where experts are exchanged: not on dense models, nor where one replica holds all."""
    apart = model.moe is not None and args.ep != [1] and (args.tp in (None, [1]) or args.ep is not None)
    small = args.batch_per_gpu is not None and min(args.batch_per_gpu) < 2
    return {} if apart and not small else {"overlap": "none"}


def _every_load_key() -> list[Key]:
    return list({key.name: key for keys in LOADS.values() for key in keys}.values())


@dataclass(frozen=True)
class Question:
    """What the options ask: the nouns, the values of every key, and how a point of them becomes a plan and a load."""

    model: ModelSpec
    chip: Accelerator
    asked: Given
    price: Price | None
    cluster: Cluster | None
    make_load: Callable[[Mapping[str, Any]], PrefillLoad | DecodeLoad | ServingLoad]
    load_names: frozenset[str]
    free_overlap: bool = False

    def point(self, values: Mapping[str, Any]) -> tuple[ServingPlan, PrefillLoad | DecodeLoad | ServingLoad, str]:
        """The plan and the load of one point of the grid, and what was chosen for it in words."""
        from costsim.predict.overlap import better_overlap
        from costsim.spec.plan import ServingLoad, ServingPlan

        plan = {name: value for name, value in values.items() if name not in self.load_names}
        if "ep" not in plan:
            plan["ep"] = ep_of(self.model, self.chip, plan)
        load = self.make_load({name: value for name, value in values.items() if name in self.load_names})
        made = ServingPlan(**plan, **self.asked.words)
        if not self.free_overlap or isinstance(load, ServingLoad):
            return made, load, ""
        chosen, words = better_overlap(self.model, self.chip, made, load, self.cluster)
        return chosen, load, words


def _drafts(args: argparse.Namespace) -> None:
    """Drafted tokens and the chance that they are kept say nothing alone."""
    drafted = args.mtp_tokens is not None and max(args.mtp_tokens) > 0
    if drafted != (args.mtp_acceptance is not None) and (drafted or args.mtp_tokens is None):
        raise BadOption("--mtp-tokens and --mtp-acceptance go together (DeepSeek-V3 keeps 0.85 to 0.9 of one draft)")


def question(args: argparse.Namespace) -> Question:
    """The options with their defaults, checked against each other."""
    from costsim.spec.catalog import load_accelerator, load_model

    model, chip = load_model(args.model), load_accelerator(args.accelerator)
    keys = LOADS[args.phase]
    asking.refuse_foreign(args, _every_load_key(), keys, f"--phase {args.phase}")
    args.precision, about_precision = asking.precision_for(chip, args.precision, model)
    price, cluster, about_supply = asking.supply(args, chip)
    _drafts(args)
    defaults = {**_COMMON, **DEFAULTS[args.phase], **_overlap(args, model)}
    if model.moe is None:
        defaults["routing"] = "balanced"
    free = args.overlap is None and defaults["overlap"] == "two-batch"
    asked = asking.given(args, [*PLAN, *words(), *keys], defaults)
    if free:  # said at each point, with what it was chosen over
        about_overlap = (
            ["overlap: at each point the faster of one and two micro-batches (--overlap)"] if asked.varied else []
        )
        kept = (text for text in asked.assumed if not text.startswith("--overlap"))
        asked = replace(asked, assumed=(*kept, *about_overlap))
    about_ep = [f"--ep {default_ep(model, chip, asked)}"] if args.ep is None else []
    asked = replace(asked, assumed=(*asked.assumed, *about_ep, *about_precision, *about_supply))
    return Question(
        model, chip, asked, price, cluster, load_maker(args.phase), frozenset(key.name for key in keys), free
    )


def run(args: argparse.Namespace) -> int:
    from costsim.predict.inference import predict_inference

    asked = question(args)
    against = _against(args)

    def ask(values: dict[str, Any]) -> Report:
        plan, load, chosen = asked.point(values)
        report = predict_inference(asked.model, asked.chip, plan, load, asked.price, asked.cluster)
        return against(replace(report, notes=(*report.notes, *([chosen] if chosen else []))), load)

    return asking.answer(args, asked.asked, ask) if args.launch is None else _launched(args, asked, ask)


def _against(args: argparse.Namespace) -> Callable[[Report, Any], Report]:
    """What ``--api-price`` adds to a report: nothing without it."""
    if args.api is None:
        return lambda report, _: report
    from costsim.economics.break_even import api_price
    from costsim.predict.break_even import with_break_even

    if args.phase != "serving":
        raise BadOption(
            f"--api-price: a list covers prompts and answers together; ask --phase serving, not {args.phase}"
        )
    price = api_price(args.api)
    return lambda report, load: with_break_even(report, load, price)


def _launched(args: argparse.Namespace, asked: Question, ask: Callable[[dict[str, Any]], Report]) -> int:
    """One point's report with the commands that start it."""
    from costsim.predict.service import Service
    from costsim.report.pages import document_of
    from costsim.serving.policy import Policy

    if asked.asked.varied:
        raise BadOption("--launch: one deployment at a time; give every option one value")
    values = {name: found[0] for name, found in asked.asked.grid.items()}
    report = asking.with_assumed(ask(values), asked.asked.assumed)
    plan, load, _ = asked.point(values)
    dp = max(float(plan.gpus) * asked.chip.dies / (float(plan.tp) * float(plan.pp)), 1.0)
    requests = float(values.get("concurrency", float(values.get("batch_per_gpu", 1)) * float(plan.gpus)))
    tokens = float(values.get("tokens_per_gpu", 8192)) * float(plan.tp) / asked.chip.dies
    policy = Policy(max_running=max(1, math.ceil(requests / dp)), token_budget=max(1, round(tokens)))
    service = Service(policy=policy, mtp_tokens=float(getattr(load, "mtp_tokens", 0)))
    role = {"prefill": "prefill", "decode": "decode", "serving": "both"}[args.phase]
    found = launching.launches(args.launch, asked.model, asked.chip, plan, service, role)
    return finish(args, launching.with_launches(document_of(report), found))


def load_maker(phase: str) -> Callable[[Mapping[str, Any]], PrefillLoad | DecodeLoad | ServingLoad]:
    """The type of load that a phase carries."""
    from costsim.spec.plan import DecodeLoad, PrefillLoad, ServingLoad

    types = {"prefill": PrefillLoad, "decode": DecodeLoad, "serving": ServingLoad}
    return lambda values: types[phase](**values)


def ep_of(model: ModelSpec, chip: Accelerator, plan: Mapping[str, Any]) -> int:
    """Expert parallelism that a plan without one means: all ranks of a stage for an MoE model with tp 1, else none."""
    if model.moe is None or plan["tp"] != 1:
        return 1
    return max(int(plan["gpus"]) * chip.dies // int(plan["pp"]), 1)


def default_ep(model: ModelSpec, chip: Accelerator, asked: Given) -> str:
    """The words for the note."""
    if asked.varied:
        return "all ranks" if model.moe else "1"
    return str(ep_of(model, chip, {name: values[0] for name, values in asked.grid.items()}))
