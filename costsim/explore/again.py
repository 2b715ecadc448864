"""Whole training runs and serving simulations asked again: their inputs as flat values, and the answer to them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from functools import lru_cache
from typing import Any

from costsim.errors import BadInput
from costsim.predict.loads import load_of
from costsim.predict.report import Report
from costsim.predict.run import predict_run
from costsim.predict.service import Service
from costsim.predict.simulation import predict_simulation
from costsim.serving.policy import Policy
from costsim.spec.accelerator import Accelerator
from costsim.spec.assumption import assume, load_assumptions
from costsim.spec.base import build
from costsim.spec.catalog import load_accelerator
from costsim.spec.cluster import Cluster
from costsim.spec.framework import Host
from costsim.spec.model import ModelSpec
from costsim.spec.plan import ServingPlan, TrainingPlan
from costsim.spec.price import Price, parse_rate
from costsim.spec.run import PhaseSpec, RunSpec

#: phases of a run that is read back, and requests of a simulation that is played again for every combination
_PHASES, _REQUESTS = 50, 200_000
#: keys of a phase that tell of it and change nothing
_TOLD = ("note", "group", "published", "published_group")
_POLICY = {field.name for field in fields(Policy)}
_SERVICE = {"router", "prefix_cache", "host_cache_bytes", "ttft_s", "tpot_s", "mtp_tokens", "mtp_acceptance"}
_PREFILL = ("prefill_accelerator", "prefill_usd_per_h")


def run_values(inputs: Mapping[str, Any], name: str) -> dict[str, Any]:
    """What a run rests on beside model, chip, plan and price: its phases field by field, and its assumptions."""
    phases, chosen = inputs.get("phases"), inputs.get("assumptions") or {}
    if not isinstance(phases, list) or not 0 < len(phases) <= _PHASES or not isinstance(chosen, Mapping):
        raise BadInput(f"report {name}: no `inputs.phases` in it; `costsim train --run --out x.json` writes them")
    values: dict[str, Any] = {"micro_batch": inputs.get("micro_batch", 1)}
    for index, phase in enumerate(phases, start=1):
        if not isinstance(phase, Mapping):
            raise BadInput(f"report {name}: phase {index} is not an object")
        values |= {f"phase.{index}.{key}": value for key, value in phase.items() if key not in _TOLD}
    known = load_assumptions()
    for key, text in chosen.items():
        if key in known and isinstance(text, str):
            values[f"assume.{key}"] = text.removesuffix(f" {known[key].unit}") if known[key].unit else text
    return values


def ask_run(
    values: Mapping[str, Any], model: ModelSpec, chip: Accelerator, plan: TrainingPlan, price: Price | None,
    where: Cluster | None,
) -> Report:  # fmt: skip
    """The run that flat values describe. Raises BadInput."""
    phases: dict[str, dict[str, Any]] = {}
    for key, value in values.items():
        part, _, rest = key.partition(".")
        if part == "phase":
            index, _, name = rest.partition(".")
            phases.setdefault(index, {})[name] = value
    made = [build(PhaseSpec, phase, f"phase {index}") for index, phase in sorted(phases.items(), key=_number)]
    spec = build(RunSpec, {"id": str(values.get("run", "run"))[:80], "phase": made}, "run")
    usual = load_assumptions()
    moved = [f"{key[7:]}={text}" for key, text in values.items()
             if key.startswith("assume.") and usual[key[7:]].text != text]  # fmt: skip
    micro = values.get("micro_batch", 1)
    if isinstance(micro, bool) or not isinstance(micro, int | float) or not 1 <= micro <= 1e6:
        raise BadInput("micro_batch: a number from 1 to 1e6 is needed")
    return predict_run(model, chip, spec, plan, micro, price, where, assume(moved))


def _number(item: tuple[str, Any]) -> int:
    return int(item[0]) if item[0].isdigit() else 0


def simulation_values(inputs: Mapping[str, Any], name: str) -> dict[str, Any]:
    """What a simulation rests on beside model, chip, plan and price: how its requests are made, and its service."""
    load, service = inputs.get("load"), inputs.get("service")
    asked = load.get("asked") if isinstance(load, Mapping) else None
    if not isinstance(asked, Mapping) or not isinstance(service, Mapping):
        raise BadInput(
            f"report {name}: does not say how its requests were made; `costsim simulate --out x.json` writes it"
        )
    values = {f"load.{key}": value for key, value in asked.items() if value is not None}
    for key, value in service.items():
        if isinstance(value, Mapping):
            values |= {
                f"service.{key}.{inner}": item for inner, item in value.items()
                if inner != "timeout_s" or (isinstance(item, int | float) and item < float("inf"))
            }  # fmt: skip
        elif value is not None:
            values[f"service.{key}"] = value
    return values


def ask_simulation(
    values: Mapping[str, Any], model: ModelSpec, chip: Accelerator, plan: ServingPlan, price: Price | None,
    where: Cluster | None, prefill: ServingPlan | None,
) -> Report:  # fmt: skip
    """The simulation that flat values describe, without its bands (they are two more runs). Raises BadInput."""
    own = {key[8:]: value for key, value in values.items() if key.startswith("service.")}
    policy = {key[7:]: value for key, value in own.items() if key.startswith("policy.")}
    host = {key[5:]: value for key, value in own.items() if key.startswith("host.")}
    service = {key: value for key, value in own.items() if "." not in key and key not in _PREFILL}
    other, rate = (own.get(key) for key in _PREFILL)
    for given, known in ((policy, _POLICY), (service, _SERVICE)):
        for key in given:
            if key not in known:
                raise BadInput(f"service has no {key[:40]!r}; it has {', '.join(sorted(known))}")
    made = Service(
        policy=Policy(**_checked(policy, Policy())), prefill=prefill, host=build(Host, host, "host") if host else None,
        prefill_chip=load_accelerator(other[:80]) if isinstance(other, str) and prefill is not None else None,
        **_checked(service, Service()),
    )  # fmt: skip
    first = parse_rate(f"{rate!r} USD/h", "prefill_usd_per_h") if isinstance(rate, float) else None
    requests, concurrency = _requests(tuple(sorted(
        (key[5:], value) for key, value in values.items() if key.startswith("load.")
    )))  # fmt: skip
    found = predict_simulation(
        model,
        chip,
        plan,
        requests,
        made,
        concurrency=concurrency,
        price=price,
        prefill_price=first,
        cluster=where,
        bands=False,
        warmup=values.get("warmup"),
    )
    return found.report


@lru_cache(maxsize=16)
def _requests(asked: tuple[tuple[str, Any], ...]) -> Any:
    """Requests are drawn or read once for all questions that share them."""
    requests, concurrency = load_of(dict(asked))
    if len(requests) > _REQUESTS:
        raise BadInput(f"load: {len(requests):,} requests; a comparison plays them many times and takes {_REQUESTS:,}")
    return requests, concurrency


def _checked(given: Mapping[str, Any], usual: Any) -> dict[str, Any]:
    """Values of the kind that the field has: a switch, a word or a number that is not below zero."""
    for key, value in given.items():
        default = getattr(usual, key)
        kind: Any = bool if isinstance(default, bool) else str if isinstance(default, str) else (int, float)
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise BadInput(f"service: {key}: {str(value)[:40]!r} is not what this field takes")
        if isinstance(value, int | float) and not 0 <= value <= 1e18:
            raise BadInput(f"service: {key}: must be from 0 to 1e18")
    return dict(given)
