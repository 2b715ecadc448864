"""Questions of the claims: each is a prediction and the command line that prints the same numbers."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import lru_cache
from typing import Any

from costsim.errors import BadInput, NothingFound
from costsim.evidence.claims.figure import Figure, of_metric
from costsim.explore.search import search
from costsim.predict.inference import predict_inference
from costsim.predict.post.recipe import StageCost, predict_recipe
from costsim.predict.report import Report
from costsim.predict.training import predict_training
from costsim.spec.catalog import load_accelerator, load_cluster, load_model
from costsim.spec.plan import DecodeLoad, PrefillLoad, ServingLoad, ServingPlan, TrainingLoad, TrainingPlan
from costsim.spec.price import default_rate, parse_rate
from costsim.spec.recipe import load_recipe

LOADS = {"prefill": PrefillLoad, "decode": DecodeLoad, "serving": ServingLoad}
#: largest and smallest units that a search looks at, and the batches of a card
GPUS, TP = (8, 16, 32, 64, 128, 144), (1, 8)
EP = (8, 16, 32, 64, 128, 144)
BATCHES = (1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 160, 192, 256, 320, 384, 512)
#: V3's own layout: DualPipe over 16 stages, 64-way experts, norms and up-projections again
#: [deepseek-v3-report, sec. 3.2, 4.2]
V3_PLAN = {
    "gpus": 2048, "tp": 1, "pp": 16, "vpp": 1, "ep": 64, "cp": 1, "zero": 1, "precision": "fp8",
    "recompute": "norm,mla_up_proj", "routing": "trained", "schedule": "dualpipe",
}  # fmt: skip
V3_LOAD = {"seq": 4096, "global_batch": 15360, "micro_batch": 1, "tokens": 14.8e12}


@dataclass(frozen=True)
class Asked:
    """A report and the command that prints it."""

    report: Report
    command: str

    def __call__(self, metric: str) -> Figure:
        """A metric, or a term of the memory in bytes."""
        if metric in self.report.metrics:
            found = of_metric(self.report.metrics[metric], self.command, f"metrics.{metric}")
            return replace(found, unit="share") if metric.startswith(("mfu", "mbu")) else found
        if metric in self.report.memory:
            return Figure(self.report.memory[metric], "B", None, None, self.command, f"memory.{metric}")
        raise KeyError(f"{metric} is not in the answer of {self.command}")


def options(values: dict[str, Any]) -> str:
    """``{"batch_per_gpu": 8}`` → ``--batch-per-gpu 8``, keys without a value left out."""
    known = {name: value for name, value in values.items() if value is not None}
    return " ".join(f"--{name.replace('_', '-')} {_text(value)}" for name, value in known.items())


def _text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ",".join(_text(item) for item in value)
    if isinstance(value, str):
        return value if " " not in value else f"'{value}'"
    return repr(int(value)) if float(value).is_integer() and abs(value) < 1e9 else repr(float(value))


@lru_cache(maxsize=4096)
def _infer(phase: str, model: str, accelerator: str, price: str | None, keys: tuple[tuple[str, Any], ...]) -> Asked:
    chip = load_accelerator(accelerator)
    given = dict(keys)
    load_type = LOADS[phase]
    load_names = {field.name for field in fields(load_type)}
    plan = ServingPlan(**{name: value for name, value in given.items() if name not in load_names})
    load = load_type(**{name: value for name, value in given.items() if name in load_names})
    rate = default_rate(chip) if price is None else parse_rate(price, "price")
    report = predict_inference(load_model(model), chip, plan, load, rate)
    said = {"phase": phase, "model": model, "accelerator": accelerator, "price": price} | given
    return Asked(report, f"costsim infer {options(said)}")


def infer(
    phase: str, model: str = "deepseek-v3", accelerator: str = "h800-sxm", price: str | None = None, **keys: Any
) -> Asked:
    """One phase of serving; every key that the command line would fill in by itself is said."""
    chip = load_accelerator(accelerator)
    precision = next((dtype for dtype in ("fp8", "int8") if chip.known(dtype)), "bf16")
    given = {"tp": 1, "pp": 1, "ep": 1, "precision": precision, "kv_dtype": "bf16", "overlap": "none",
             "redundant_experts": 0, "routing": "balanced"} | keys  # fmt: skip
    return _infer(phase, model, accelerator, price, tuple(given.items()))


def fits(phase: str, **keys: Any) -> Asked | None:
    """The same, or None where the plan does not fit or does not divide."""
    try:
        return infer(phase, **keys)
    except BadInput:
        return None


@lru_cache(maxsize=256)
def _train(model: str, accelerator: str, cluster: str | None, keys: tuple[tuple[str, Any], ...]) -> Asked:
    given = dict(keys)
    load_names = {field.name for field in fields(TrainingLoad)}
    plan = TrainingPlan(**{name: value for name, value in given.items() if name not in load_names})
    load = TrainingLoad(**{name: value for name, value in given.items() if name in load_names})
    chip = load_accelerator(accelerator)
    where = None if cluster is None else load_cluster(cluster)
    report = predict_training(load_model(model), chip, plan, load, default_rate(chip), where)
    said = {"model": model, "accelerator": accelerator, "cluster": cluster} | given
    return Asked(report, f"costsim train {options(said)}")


def train(model: str = "deepseek-v3", accelerator: str = "h800-sxm", cluster: str | None = None, **keys: Any) -> Asked:
    """One layout of training: V3's own with ``keys`` changed."""
    return _train(model, accelerator, cluster, tuple((V3_PLAN | V3_LOAD | keys).items()))


@lru_cache(maxsize=16)
def recipe(name: str) -> tuple[Asked, tuple[StageCost, ...]]:
    """A published post-training recipe as a whole, and its stages."""
    report, costs = predict_recipe(load_recipe(name))
    return Asked(report, f"costsim posttrain --recipe {name}"), tuple(costs)


@lru_cache(maxsize=64)
def best_decode(
    accelerator: str, model: str = "deepseek-v3", precision: str | None = None, context: int = 4096,
    tpot: float = 0.05, max_gpus: int = 144, price: str | None = None, kv_dtype: str = "bf16",
) -> Asked:  # fmt: skip
    """The cheapest decode plan under a latency target, found by search and asked again as one question.

    Raises BadInput where nothing fits.
    """
    spec, chip = load_model(model), load_accelerator(accelerator)
    dtype = precision or next((d for d in ("fp8", "int8") if chip.known(d)), "bf16")
    grid: dict[str, list[Any]] = {
        "gpus": [1, 2, 4, *(n for n in GPUS if n <= max_gpus)] if spec.moe is None else [
            n for n in GPUS if n <= max_gpus],
        "tp": [1, 2, 4, 8], "pp": [1], "ep": [e * chip.dies for e in EP] if spec.moe else [1], "precision": [dtype],
        "kv_dtype": [kv_dtype], "overlap": ["none", "two-batch"] if spec.moe else ["none"], "routing": ["balanced"],
        "redundant_experts": [0, 32] if spec.moe else [0], "context": [context], "batch_per_gpu": list(BATCHES),
    }  # fmt: skip
    rate = default_rate(chip) if price is None else parse_rate(price, "price")
    goal = "usd_per_mtok" if rate is not None else "tokens_per_s_per_gpu"
    found = search(spec, chip, "decode", grid, objective=goal, tpot_s=tpot, price=rate, max_gpus=max_gpus)
    if found.best is None:
        raise NothingFound(f"no decode plan of {model} works on {accelerator} within {tpot:g} s a token")
    return infer("decode", model=model, accelerator=accelerator, price=price, **found.best.plan)
