"""Units of a fleet with their capacity: the kernel path under the laws, and what a full unit keeps of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from costsim.errors import BadOption, OutOfRange
from costsim.predict.inference import predict_inference
from costsim.predict.phases import PRODUCTION_UTILISATION
from costsim.predict.report import Report
from costsim.spec.accelerator import Accelerator
from costsim.spec.catalog import load_accelerator, load_model
from costsim.spec.fleet import Fleet, FleetUnit
from costsim.spec.plan import DecodeLoad, PrefillLoad, ServingPlan
from costsim.spec.price import default_rate, in_usd, parse_rate


@dataclass(frozen=True)
class UnitKind:
    """A unit with its capacity in tokens per second (prefill: computed input; decode: output), its nodes and price.

    ``report``: the kernel path; ``kept``: the share of it that a full unit keeps in production.
    """

    unit: FleetUnit
    chip: Accelerator
    report: Report
    kept: float
    most: int
    usd_per_h: float

    @property
    def nodes(self) -> float:
        return self.unit.gpus / self.chip.node_devices

    def capacity(self, end: str = "value") -> float:
        """Tokens per second of one full unit in production; ``end``: value, low or high."""
        metric = self.report.metrics["tokens_per_s_per_gpu"]
        each = getattr(metric, end)
        return float(metric.value if each is None else each) * self.unit.gpus * self.kept

    @property
    def usd_per_token(self) -> float:
        return self.usd_per_h * self.unit.gpus / self.capacity()


def kept_in_production(fleet: Fleet, phase: str, peak: float) -> float:
    """Share of its kernels' rate that a full unit keeps: peak demand / (units · cards · the operator's own profile).

    In the peak hour every unit runs, so what they carry then is what they can carry. Without a published profile
    the day average of :data:`PRODUCTION_UTILISATION` stands in.
    """
    for unit in fleet.unit:
        if unit.phase == phase and unit.profile is not None and unit.most is not None:
            return peak / (unit.most * unit.gpus * unit.profile)
    return PRODUCTION_UTILISATION[phase]


def kinds_of(
    fleet: Fleet, phase: str, mix: Mapping[str, float] | None, peak: float, target: float, asked: float | None = None
) -> tuple[UnitKind, ...]:
    """The kinds of one phase, cheapest token first. ``peak``: of the day as it was, which tells what units keep in
    production; ``asked``: of the day that is asked about, for which there are as many units as it takes."""
    found = []
    for unit in fleet.unit:
        share = float(unit.most is not None) if mix is None else mix.get(unit.accelerator, 0.0)
        if unit.phase == phase and share > 0:
            kind = _kind_of(fleet, unit, kept_in_production(fleet, phase, peak))
            most = unit.most if mix is None else None
            if most is None or (asked is not None and asked > peak * (1 + 1e-9)):
                needed = math.ceil(share * (peak if asked is None else asked) / target / kind.capacity() - 1e-9)
                most = max(needed, most or 0)
            found.append(replace(kind, most=most or 1))
    if not found:
        raise BadOption(f"fleet {fleet.id}: no {phase} unit; give one with `most`, or --mix with shares")
    return tuple(sorted(found, key=lambda kind: kind.usd_per_token))


def check_mix(mix: Mapping[str, float], fleet: Fleet) -> None:
    known = sorted({unit.accelerator for unit in fleet.unit})
    for name, share in mix.items():
        if name not in known:
            raise OutOfRange(f"mix: {fleet.id} describes no unit of {name[:40]!r}; it has {', '.join(known)}")
        if not 0 <= share <= 1:
            raise OutOfRange(f"mix: {name} = {share:g}: a share from 0 to 1 is needed")
    if abs(sum(mix.values()) - 1.0) > 1e-6:
        raise OutOfRange(f"mix: shares sum to {sum(mix.values()):g}; they must sum to 1")


def _kind_of(fleet: Fleet, unit: FleetUnit, kept: float) -> UnitKind:
    """A unit with the rate of its kernels under the load that it is described with."""
    model, chip = load_model(fleet.model), load_accelerator(unit.accelerator)
    plan = ServingPlan(
        unit.gpus, tp=unit.tp, ep=unit.ep, precision=unit.precision, kv_dtype=unit.kv_dtype,
        overlap=unit.overlap, redundant_experts=unit.redundant_experts, routing="balanced",  # type: ignore[arg-type]
    )  # fmt: skip
    load = (
        PrefillLoad(unit.isl, unit.tokens_per_gpu)
        if unit.phase == "prefill"
        else DecodeLoad(unit.context or fleet.load.context, unit.batch_per_gpu)
    )
    report = predict_inference(model, chip, plan, load)
    rate = parse_rate(unit.price, "price") if unit.price is not None else default_rate(chip)
    if rate is None:
        raise BadOption(f"no hourly price is known for {chip.id}; give the unit a price")
    return UnitKind(unit, chip, report, kept, unit.most or 1, in_usd(rate))
