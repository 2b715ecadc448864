"""Study: one model side by side on several accelerators: best deployments, FP8 against 16 bits, a training run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from costsim.errors import BadInput, NothingFound
from costsim.explore.search import search
from costsim.predict.explain import Explained, explain_inference
from costsim.predict.explain_report import explain_report
from costsim.predict.fp8 import Fp8Savings, fp8_savings
from costsim.predict.inference import predict_inference
from costsim.predict.post.recipe import predict_recipe
from costsim.predict.report import Metric, Report
from costsim.predict.run import RunResult, training_run
from costsim.predict.training import predict_training
from costsim.spec.accelerator import Accelerator
from costsim.spec.catalog import load_accelerator, load_model
from costsim.spec.model import ModelSpec
from costsim.spec.plan import DecodeLoad, PrefillLoad, ServingPlan, TrainingLoad, TrainingPlan
from costsim.spec.price import Price, default_rate, parse_rate
from costsim.spec.recipe import load_recipe
from costsim.spec.run import PhaseSpec, RunSpec, known_runs, load_run
from costsim.spec.scenario import Scenario

GPUS = [1, 2, 4, 8, 16, 32, 64, 80, 128, 144, 160, 256, 320]
TP = [1, 2, 4, 8]
EP = [1, 2, 4, 8, 16, 32, 64, 128, 256]
BATCH = [1, 2, 4, 8, 12, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512]
TOKENS = [1024, 2048, 4096, 8192, 16384]
#: prefill and decode units of the same chip; a larger unit only wins when it is better
_PREFILL_GPUS = [8, 16, 32, 64]


@dataclass(frozen=True)
class Deployment:
    """The best plan for prefill and for decode on one accelerator in one precision, or why there is none."""

    accelerator: str
    precision: str
    phases: tuple[Report, Report] | None
    reason: str = ""


@dataclass(frozen=True)
class Study:
    """Everything a report shows about one scenario."""

    scenario: Scenario
    model: ModelSpec
    deployments: tuple[Deployment, ...]
    precisions: tuple[tuple[Deployment, Deployment], ...]
    training: tuple[tuple[str, Report | None, str], ...]
    rate: Price | None
    run: RunResult | None = None
    fp8: Fp8Savings | None = None
    post_training: tuple[Report, ...] = ()
    explained: tuple[Explained, ...] = ()


def precisions_of(chip: Accelerator) -> list[str]:
    """Formats the chip multiplies in, narrowest first: the first is its best, the last 16-bit."""
    return [dtype for dtype in ("fp8", "int8", "bf16") if chip.known(dtype)]


def study(scenario: Scenario, progress: Callable[[str], None] | None = None) -> Study:
    """Search the cheapest prefill and decode deployment on every accelerator of the scenario; price a training run."""
    model = load_model(scenario.model.id)
    rate = parse_rate(scenario.price.rate, "price.rate") if scenario.price.rate else None
    chips = [
        load_accelerator(name) for name in dict.fromkeys((scenario.cluster.accelerator, *scenario.cluster.compare))
    ]
    deployments, pairs, runs = [], [], []
    for chip in chips:
        if progress is not None:
            progress(chip.id)
        formats = precisions_of(chip)
        best = formats[0] if scenario.plan.precision == "best" and formats else scenario.plan.precision
        deployments.append(_deploy(model, chip, best, scenario, rate))
        if "bf16" in formats and best != "bf16":
            pairs.append((deployments[-1], _deploy(model, chip, "bf16", scenario, rate)))
        runs.append((chip.id, *_train(model, chip, scenario, rate)))
    run = _whole_run(model, chips[0], runs[0][1], rate)
    savings = _savings(model, chips[0], runs[0][1], rate)
    told = _explained(model, chips[0], deployments[0], runs[0][1], rate)
    return Study(
        scenario, model, tuple(deployments), tuple(pairs), tuple(runs), rate, run, savings,
        _post_trained(model, rate), told,
    )  # fmt: skip


def _explained(
    model: ModelSpec, chip: Accelerator, deployment: Deployment, trained: Report | None, rate: Price | None
) -> tuple[Explained, ...]:
    """Trees of what an output token and the training run cost on the scenario's own accelerator."""
    found: list[Explained] = []
    if deployment.phases is not None:
        decode = deployment.phases[1]
        plan, load = ServingPlan(**decode.inputs["plan"]), DecodeLoad(**decode.inputs["load"])
        metric = next(name for name in ("usd_per_mtok_output", "tpot_s") if name in decode.metrics)
        found.append(explain_inference(model, chip, plan, load, metric, rate or default_rate(chip)))
    if trained is not None:
        metric = next(name for name in ("usd_per_run", "gpu_hours", "step_s") if name in trained.metrics)
        found.append(explain_report(trained, metric))
    return tuple(found)


def _post_trained(model: ModelSpec, rate: Price | None) -> tuple[Report, ...]:
    """The published recipes that start from this model, as published."""
    if model.id not in ("deepseek-v3", "deepseek-r1"):
        return ()
    return tuple(predict_recipe(load_recipe(name), rate)[0] for name in ("r1-zero", "r1"))


def _deploy(model: ModelSpec, chip: Accelerator, precision: str, scenario: Scenario, rate: Price | None) -> Deployment:
    try:
        decode = _cheapest(model, chip, "decode", precision, scenario, rate)
        prefill = _cheapest(model, chip, "prefill", precision, scenario, rate)
    except BadInput as error:
        return Deployment(chip.id, precision, None, str(error))
    return Deployment(chip.id, precision, (prefill, decode))


def _cheapest(
    model: ModelSpec, chip: Accelerator, phase: str, precision: str, scenario: Scenario, rate: Price | None
) -> Report:
    """The plan with the most tokens per second and card that fits and meets the target, as a full Report."""
    limit = scenario.plan.max_gpus
    gpus = [n for n in (GPUS if phase == "decode" else _PREFILL_GPUS) if n <= limit] or [limit]
    grid: dict[str, list[Any]] = {
        "gpus": gpus, "tp": TP, "ep": EP if model.moe else [1], "precision": [precision],
        "overlap": ["none", "two-batch"], "routing": [scenario.plan.routing],
    }  # fmt: skip
    work = scenario.workload
    if phase == "decode":
        grid |= {"context": [work.context], "batch_per_gpu": BATCH}
    else:
        grid |= {"isl": [work.isl], "tokens_per_gpu": TOKENS}
    found = search(
        model, chip, phase, grid, objective="tokens_per_s_per_gpu", price=rate,
        tpot_s=work.tpot if phase == "decode" else None,
    )  # fmt: skip
    if found.best is None:
        raise NothingFound(
            f"no {phase} plan of up to {limit} cards works: {found.notes[-1] if found.notes else 'none fits'}"
        )
    best = dict(found.best.plan)
    load = (
        DecodeLoad(best.pop("context"), best.pop("batch_per_gpu"))
        if phase == "decode"
        else PrefillLoad(best.pop("isl"), best.pop("tokens_per_gpu"))
    )
    return predict_inference(model, chip, ServingPlan(**best), load, rate or default_rate(chip))


def _whole_run(model: ModelSpec, chip: Accelerator, report: Report | None, rate: Price | None) -> RunResult | None:
    """All phases of the training run on the layout that was priced; one phase where no catalogued run is this one."""
    if report is None:
        return None
    plan, load = TrainingPlan(**report.inputs["plan"]), TrainingLoad(**report.inputs["load"])
    spec = load_run(model.id) if model.id in known_runs() else None
    first = None if spec is None else spec.phase[0]
    asked = (load.tokens, load.seq, load.global_batch)
    if first is None or spec is None or (first.all_tokens, first.seq, first.global_batch) != asked:
        one = PhaseSpec(
            name="pre-training", tokens=float(load.tokens or 0), seq=int(load.seq), global_batch=int(load.global_batch)
        )
        spec = RunSpec(id="one-phase", title=f"{model.name}, one phase", model=model.id, phase=(one,))
    try:
        return training_run(model, chip, spec, plan, float(load.micro_batch), rate)
    except BadInput:
        return None


def _savings(model: ModelSpec, chip: Accelerator, report: Report | None, rate: Price | None) -> Fp8Savings | None:
    """FP8 against BF16 on the layout that was priced; None where the chip has no FP8 or BF16 fits nowhere near it."""
    if report is None or not chip.known("fp8"):
        return None
    plan, load = TrainingPlan(**report.inputs["plan"]), TrainingLoad(**report.inputs["load"])
    try:
        return fp8_savings(model, chip, plan, load, rate)
    except BadInput:
        return None


def _train(model: ModelSpec, chip: Accelerator, scenario: Scenario, rate: Price | None) -> tuple[Report | None, str]:
    part = scenario.training
    precision = "fp8" if chip.known("fp8") else "bf16"
    plan = TrainingPlan(
        gpus=part.gpus // chip.dies or 1,
        pp=part.pp,
        ep=part.ep if model.moe else 1,
        precision=precision,
        schedule=part.schedule if model.moe else "auto",
        routing="trained" if model.moe else "balanced",
    )
    load = TrainingLoad(part.seq, part.global_batch, 1, part.tokens)
    reason = ""
    for recompute in ("norm,mla_up_proj", "selective", "full"):
        try:
            tried = TrainingPlan(**{**plan.__dict__, "recompute": recompute})
            return predict_training(model, chip, tried, load, rate or default_rate(chip)), ""
        except BadInput as error:
            reason = str(error)
    return None, reason


#: metrics of a scenario's own accelerator that two scenarios are compared by: phase -> names
HEADLINE = {
    "prefill": ("tokens_per_s_per_gpu", "usd_per_mtok_input", "ttft_s"),
    "decode": ("tokens_per_s_per_gpu", "usd_per_mtok_output", "tpot_s"),
    "training": ("step_s", "gpu_hours", "usd_per_run"),
}


def headline(scenario: Scenario) -> dict[str, Metric]:
    """The numbers that a scenario comes down to on its own accelerator, by ``phase_metric``; BadInput where none."""
    model, chip = load_model(scenario.model.id), load_accelerator(scenario.cluster.accelerator)
    rate = parse_rate(scenario.price.rate, "price.rate") if scenario.price.rate else None
    formats = precisions_of(chip)
    best = formats[0] if scenario.plan.precision == "best" and formats else scenario.plan.precision
    deployment = _deploy(model, chip, best, scenario, rate)
    training, reason = _train(model, chip, scenario, rate)
    if deployment.phases is None and training is None:
        raise NothingFound(f"{model.id} on {chip.id}: {deployment.reason or reason}")
    prefill, decode = deployment.phases if deployment.phases is not None else (None, None)
    answers = {"prefill": prefill, "decode": decode, "training": training}
    return {
        f"{phase}_{name}": report.metrics[name]
        for phase, report in answers.items() if report is not None
        for name in HEADLINE[phase] if name in report.metrics
    }  # fmt: skip
