"""A question as flat inputs: read back from a report or a scenario, changed one input at a time, and answered again."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from costsim.errors import BadInput, Malformed, NothingFound, UnreadableFile
from costsim.explore.again import ask_run, ask_simulation, run_values, simulation_values
from costsim.explore.fleets import ask_fleet, fleet_values
from costsim.explore.study import headline
from costsim.files import json_of
from costsim.predict.inference import predict_inference
from costsim.predict.post.recipe import predict_recipe
from costsim.predict.post_training import predict_post_training
from costsim.predict.report import Metric, Report
from costsim.predict.training import predict_training
from costsim.spec.base import build, listed, read_text, read_toml, refuse_far
from costsim.spec.catalog import ACCELERATORS, CLUSTERS, MODELS, load_accelerator, load_cluster, load_model, names
from costsim.spec.plan import DecodeLoad, PrefillLoad, ServingLoad, ServingPlan, TrainingLoad, TrainingPlan
from costsim.spec.post_training import FineTuningLoad, PostTrainingLoad, PostTrainingPlan
from costsim.spec.price import Price, parse_rate
from costsim.spec.recipe import load_recipe
from costsim.spec.scenario import Scenario, carried_text, load_scenario

SERVING = {"prefill": PrefillLoad, "decode": DecodeLoad, "serving": ServingLoad}
KINDS = (*SERVING, "training", "training_run", "simulation", "post_training", "post_training_recipe", "fleet",
         "scenario")  # fmt: skip
#: parts of a report's inputs that are read on their own
_PARTS = ("plan", "load", "price", "cluster", "phases", "assumptions", "published_gpu_hours", "service")
#: numbers beyond this mean nothing in a question
MOST = 1e18
#: letters of a word, and numbers that only make sense when small
_LONGEST = 200
_CAPS = {"mtp_tokens": 64.0, "mtp_acceptance": 1.0, "offload": 1.0, "sigma": 3.0, "zero": 3.0, "epochs": 1e4}
#: files of a folder among which one's own part is looked for
_MOST_FILES = 100
#: bytes of a report's JSON that is read back; a million-row answer is no report
MOST_BYTES = 20_000_000


@dataclass(frozen=True)
class Question:
    """``values``: input → value, with ``plan.`` and ``load.`` before the keys of plan and load. ``stored`` holds the
    metrics of the file, where it had any; ``version`` made them."""

    kind: str
    values: Mapping[str, Any]
    name: str
    stored: Mapping[str, float]
    version: str = ""


def read_question(path: str) -> Question:
    """The question behind a report's JSON or a scenario's TOML. Raises BadInput."""
    if path.endswith(".toml"):
        return _of_scenario(load_scenario(path), path)
    page = path.endswith((".html", ".htm"))
    if not page and not path.endswith(".json"):
        raise Malformed(f"{path}: give a report's .json or .html (`costsim infer --out a.json`) or a scenario's .toml")
    text = carried_text(path) if page else read_text(Path(path), "report", MOST_BYTES)
    if page and not text.lstrip().startswith("{"):
        return _of_scenario(load_scenario(path), path)
    return of_report(json_of(text, f"report {path}"), path)


def of_report(document: Any, name: str) -> Question:
    """The question of a report's JSON."""
    if not isinstance(document, dict) or not isinstance(document.get("inputs"), dict):
        raise Malformed(f"report {name}: no `inputs` in it; is it the --json of infer, train or posttrain?")
    kind = str(document.get("kind", ""))[:40]
    if kind not in KINDS:
        raise NothingFound(f"report {name}: kind {kind!r} cannot be asked again; it can for {', '.join(KINDS)}")
    inputs = document["inputs"]
    if kind == "fleet":
        flat = {key: _plain(value, f"{name}: {key}") for key, value in fleet_values(inputs, name).items()}
        return Question(kind, flat, name, _stored(document), str(document.get("version", "")))
    for key in ("model", "accelerator", "cluster"):
        refuse_far(str(inputs.get(key) or ""), Path(name), f"report {name}: {key}")
    values: dict[str, Any] = {key: _plain(value, f"{name}: {key}") for key, value in inputs.items()
                              if key not in _PARTS}  # fmt: skip
    if isinstance(inputs.get("cluster"), str) and not inputs["cluster"].endswith("-standard"):
        values["cluster"] = inputs["cluster"]
    price = inputs.get("price")
    if isinstance(price, dict):
        values["price"] = _amount(price.get("usd_per_h"), f"{name}: price.usd_per_h")
    more = run_values(inputs, name) if kind == "training_run" else {}
    more |= simulation_values(inputs, name) if kind == "simulation" else {}
    values |= {key: _plain(value, f"{name}: {key}") for key, value in more.items()}
    for part in ("plan",) if kind == "simulation" else ("plan", "load"):
        section = inputs.get(part) or {}
        if not isinstance(section, dict):
            raise Malformed(f"report {name}: `inputs.{part}` is not an object")
        values |= {f"{part}.{key}": _plain(value, f"{name}: {part}.{key}") for key, value in section.items()}
    return Question(kind, values, name, _stored(document.get("metrics")), str(document.get("version", "")))


def _stored(metrics: Any) -> dict[str, float]:
    """The metrics that a report states; a fleet's stand among its other keys."""
    found = metrics.items() if isinstance(metrics, dict) else ()
    return {key: float(entry["value"]) for key, entry in found
            if isinstance(entry, dict) and _number(entry.get("value"))}  # fmt: skip


def _of_scenario(scenario: Scenario, name: str) -> Question:
    values: dict[str, Any] = {}
    for section, part in scenario.model_dump(exclude={"title"}).items():
        values |= {f"{section}.{key}": value for key, value in part.items() if key != "compare"}
    return Question("scenario", values, name, {})


def _plain(value: Any, where: str) -> Any:
    if value is None or isinstance(value, bool | str):
        return value
    return _amount(value, where)


def _amount(value: Any, where: str) -> float | int:
    # NaN is in no range, and an integer of many digits has no float
    if isinstance(value, bool) or not isinstance(value, int | float) or not -MOST <= value <= MOST:
        raise Malformed(f"report {where}: not a number from {-MOST:g} to {MOST:g}")
    return value


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and -MOST <= value <= MOST


def answer(kind: str, values: Mapping[str, Any]) -> Mapping[str, Metric]:
    """Metrics of a question. Raises BadInput where it has no answer, as the verb would."""
    if kind == "scenario":
        return headline(_scenario(values))
    if kind == "fleet":
        return ask_fleet(values).metrics
    return ask(kind, values).metrics


def ask(kind: str, values: Mapping[str, Any]) -> Report:
    """The whole report of a question."""
    price = None if values.get("price") is None else parse_rate(f"{values['price']!r} USD/h", "price")
    where = None if values.get("cluster") is None else load_cluster(part_id(values, "cluster"))
    if kind == "post_training_recipe":
        return predict_recipe(load_recipe(part_id(values, "recipe")), price, where, part_id(values, "accelerator"))[0]
    model, chip = load_model(part_id(values, "model")), load_accelerator(part_id(values, "accelerator"))
    plan, load = ({key[5:]: value for key, value in values.items() if key.startswith(f"{part}.")}
                  for part in ("plan", "load"))  # fmt: skip
    if kind == "training_run":
        return ask_run(values, model, chip, _made(TrainingPlan, plan), price, where)
    if kind == "simulation":
        pool = {key[16:]: value for key, value in values.items() if key.startswith("service.prefill.")}
        rest = {key: value for key, value in values.items() if not key.startswith("service.prefill.")}
        prefill = _made(ServingPlan, pool) if pool else None
        return ask_simulation(rest, model, chip, _made(ServingPlan, plan), price, where, prefill)
    if kind in SERVING:
        return predict_inference(model, chip, _made(ServingPlan, plan), _made(SERVING[kind], load), price, where)
    if kind == "training":
        return predict_training(model, chip, _made(TrainingPlan, plan), _made(TrainingLoad, load), price, where)
    return _post_training(model, chip, plan, load, price, where)


def _post_training(model: Any, chip: Any, plan: dict[str, Any], load: Any, price: Price | None, where: Any) -> Report:
    """Post-training plans come flat, with ``train_`` and ``rollout_`` before the keys of their parts."""
    own = {field.name for field in fields(PostTrainingPlan)}
    listed(str(plan.get("reward_model") or ""))
    parts = {name: {key.removeprefix(name): value for key, value in plan.items()
                    if key.startswith(name) and key not in own} for name in ("train_", "rollout_")}  # fmt: skip
    rest = {key: value for key, value in plan.items() if key in own}
    rollout = _made(ServingPlan, parts["rollout_"]) if parts["rollout_"] else None
    made = _made(PostTrainingPlan, {**rest, "train": _made(TrainingPlan, parts["train_"]), "rollout": rollout})
    loads = FineTuningLoad if "samples" in load else PostTrainingLoad
    return predict_post_training(model, chip, made, _made(loads, load), price, where)


def _made(cls: Any, given: Mapping[str, Any]) -> Any:
    """A plan or load; keys that it does not know are refused by name."""
    known = {field.name for field in fields(cls)}
    for key in given:
        if key not in known:
            raise Malformed(f"{cls.__name__} has no {str(key)[:40]!r}; it has {', '.join(sorted(known))[:400]}")
    for field in fields(cls):
        if field.name in given:
            _check(cls.__name__, field.name, str(field.type), field.default, given[field.name])
    try:
        return cls(**given)
    except TypeError as error:
        raise Malformed(f"{cls.__name__}: {str(error).split('__init__() ')[-1]}") from None


def _check(where: str, name: str, kind: str, default: Any, value: Any) -> None:
    """A word where the plan has words, a switch where it has one, else a number that is not below zero."""
    if value is None and default is None:
        return
    if isinstance(value, TrainingPlan | ServingPlan) or (name == "rollout" and value is None):
        return
    if isinstance(default, str) or kind in ("str", "Routing", "Overlap"):
        if not isinstance(value, str) or len(value) > _LONGEST:
            raise Malformed(f"{where}: {name}: a word of at most {_LONGEST} letters is needed")
    elif isinstance(default, bool):
        if not isinstance(value, bool):
            raise Malformed(f"{where}: {name}: true or false is needed")
    elif not _number(value) or not (1 if name == "imbalance" else 0) <= value <= _CAPS.get(name, MOST):
        raise Malformed(
            f"{where}: {name}: a number from {1 if name == 'imbalance' else 0} to {_CAPS.get(name, MOST):g} is needed"
        )


def part_id(values: Mapping[str, Any], name: str) -> str:
    """A name of a catalog; the file of that name in this folder where one's own part is meant."""
    value = values.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= _LONGEST:
        raise Malformed(f"{name}: an id of at most {_LONGEST} letters is needed")
    if not value.endswith(".toml"):
        listed(value)
    if value.endswith(".toml") or any(value in names(folder) for folder in (ACCELERATORS, MODELS, CLUSTERS)):
        return value
    found = _own_file(value)
    if found is None and name == "accelerator":
        raise UnreadableFile(
            f"accelerator {value[:60]!r}: neither in the catalog nor described by a .toml file of this folder; "
            "ask where its file lies"
        )
    return found or value


def _own_file(name: str) -> str | None:
    """The file of this folder that describes a part of this id: a report tells the part, not where its file lay."""
    beside = Path(f"{name}.toml")
    if name == beside.stem and beside.is_file():
        return str(beside)
    for path in sorted(Path().glob("*.toml"))[:_MOST_FILES]:
        with suppress(BadInput):
            if read_toml(path, "part").get("id") == name:
                return str(path)
    return None


def _scenario(values: Mapping[str, Any]) -> Scenario:
    nested: dict[str, dict[str, Any]] = {}
    for key, value in values.items():
        section, _, field = key.partition(".")
        nested.setdefault(section, {})[field] = value
    nested["workload"]["tpot"] = f"{nested['workload']['tpot']!r} s"
    nested["cluster"]["compare"] = []
    return build(Scenario, nested, "scenario")
