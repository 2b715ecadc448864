"""Inference: a model, a chip, a plan and a load in; a Report of time, throughput, memory, cost and energy out."""

from __future__ import annotations

import math
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from costsim.calibration.store import Laws
from costsim.economics.cost import Power, joules_per_token, usd_per_mtok, wall_power
from costsim.errors import DoesNotFit
from costsim.num import Num
from costsim.physics.attention import kv_bytes_per_layer_token
from costsim.physics.memory import Footprint
from costsim.predict.bands import serving_band, sources_of, step_band
from costsim.predict.fits import cure
from costsim.predict.hire import billed, hired, prompt_share, usage
from costsim.predict.host import InHost, streamed_weights
from costsim.predict.phases import Answer, Setting, decode, prefill, setting_for
from costsim.predict.question import check_values, most_cards
from costsim.predict.report import Line, Metric, Report
from costsim.predict.serving import Served, serve_disaggregated, serve_events
from costsim.predict.steady import Blend, serve
from costsim.serving.window import whole
from costsim.spec.accelerator import Accelerator
from costsim.spec.cluster import Cluster, standard_cluster
from costsim.spec.model import ModelSpec
from costsim.spec.plan import DecodeLoad, Disaggregated, PrefillLoad, ServingLoad, ServingPlan
from costsim.spec.price import Price, default_rate, in_usd
from costsim.timing.device import GRADES, FittedLaw
from costsim.units import GIGA, HOUR_S, MEGA

Load = PrefillLoad | DecodeLoad | ServingLoad


def predict_inference(
    model: ModelSpec,
    chip: Accelerator,
    plan: ServingPlan,
    load: Load,
    price: Price | None = None,
    cluster: Cluster | None = None,
) -> Report:
    """Predict one phase (PrefillLoad, DecodeLoad) or a closed-loop deployment (ServingLoad).

    Scalars only; sweeps go through ``costsim.explore.search``. Raises BadInput in one line for anything that
    cannot be answered: a plan that does not divide, a model that does not fit (naming the largest term), a
    dtype the chip lacks, a datasheet field that no source states.
    """
    check_values(plan, load)
    setting = setting_for(model, chip, plan, cluster)
    if isinstance(load, ServingLoad):
        blend = serve(setting, load)
        if setting.framework is None:
            refuse_memory(blend.decode.memory, setting, load)
        return _blend_report(setting, load, blend, price, serve_events(setting, load))
    answer = prefill(setting, load) if isinstance(load, PrefillLoad) else decode(setting, load)
    outside = streamed_weights(setting, answer) if isinstance(load, PrefillLoad) else None
    if outside is None:
        refuse_memory(answer.memory, setting, load)
    return _phase_report(setting, load, answer, price, outside)


def refuse_memory(memory: Footprint, setting: Setting, load: Load) -> None:
    """Raise DoesNotFit, naming the largest term, how much is missing, and what would fit."""
    total = float(np.max(memory.total_bytes))
    if total <= memory.capacity_bytes:
        return
    terms = {name: float(np.max(value)) for name, value in memory.terms().items()}
    name, largest = max(terms.items(), key=lambda item: item[1])
    raise DoesNotFit(
        f"does not fit: {total / GIGA:.1f} GB needed on each rank of {setting.chip.id}, "
        f"{memory.capacity_bytes / GIGA:.1f} GB there; "
        f"the largest term is {name.removesuffix('_bytes')} with {largest / GIGA:.1f} GB; {cure(setting, load)}"
    )


def _inputs(setting: Setting, load: Load, rate: Price | None) -> dict[str, Any]:
    plan = {k: _plain(v) for k, v in asdict(setting.plan).items()}
    return {
        "model": setting.model.id,
        "accelerator": setting.chip.id,
        "cluster": setting.cluster.id,
        "plan": plan,
        "load": {k: _plain(v) for k, v in asdict(load).items()},
        "price": None if rate is None else {"id": rate.id, "text": rate.text, "usd_per_h": in_usd(rate)},
    }


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _lines(answer: Answer, total_s: float) -> tuple[Line, ...]:
    """Ops and wires by time; transfers hidden behind compute are marked, and the rest is the host's."""
    times, busy = answer.micro_batches, answer.micro_batches * answer.at_once
    lines = [
        Line(t.item.name, s := float((t.each.time_s + answer.phase.gap(t)) * t.item.count) * busy, s / total_s,
             t.each.bound, t.each.grade, getattr(t.item, "family", ""))
        for t in answer.phase.ops
        if float(np.max(t.total_s)) > 0
    ]  # fmt: skip
    sent = sum(float(np.max(t.total_s)) for t in answer.phase.wires) * times
    exposed = float(np.max(answer.step.exposed_comm_s))
    for t in answer.phase.wires:
        alone = float(np.max(t.total_s)) * times
        seen = alone * exposed / sent if sent else 0.0
        if seen > 0:
            lines.append(Line(t.item.name, seen, seen / total_s, "network", t.each.grade, "network"))
        if alone - seen > 1e-12:
            lines.append(Line(f"{t.item.name} (hidden)", alone - seen, (alone - seen) / total_s, "network",
                              t.each.grade, "network", overlapped=True))  # fmt: skip
    draft = float(np.max(answer.draft_s))
    if draft:
        lines.append(Line("MTP draft", draft, draft / total_s, "mixed", "C", "draft"))
    shown = sum(line.time_s for line in lines if not line.overlapped)
    rest = total_s - shown * float(np.max(answer.setting.layout.pp))
    if rest > 1e-9 * total_s:
        lines.append(Line("host and other stages", rest, rest / total_s, "latency", "D", "host"))
    return tuple(sorted(lines, key=lambda line: (line.overlapped, -line.time_s)))


def _memory(memory: Footprint, outside: InHost | None = None) -> dict[str, float]:
    terms = {name: float(np.max(value)) for name, value in memory.terms().items()}
    held = {"host_bytes": outside.size} if outside else {}
    terms["weights_bytes"] -= outside.size if outside else 0.0
    total = float(np.max(memory.total_bytes)) - held.get("host_bytes", 0.0)
    return terms | held | {"total_bytes": total, "capacity_bytes": memory.capacity_bytes}


def _metric(value: Num, unit: str, band: tuple[float, float], grade: str, rate: bool) -> Metric:
    """A time scales with the band, a rate against it."""
    v = float(np.max(value))
    low, high = (v / band[1], v / band[0]) if rate else (v * band[0], v * band[1])
    return Metric(v, unit, low, high, grade)


_RATES = ("tokens_per_s", "output_tokens_per_s", "mfu", "mbu")


def _timed_metrics(metrics: dict[str, tuple[Num, str]], band: tuple[float, float], grade: str) -> dict[str, Metric]:
    out = {}
    for name, (value, unit) in metrics.items():
        if name in ("flop_per_token", "prefill_share", "busy_share"):
            out[name] = Metric(float(np.max(value)), unit, None, None, "A" if name == "flop_per_token" else grade)
        else:
            out[name] = _metric(value, unit, band, grade, rate=name.startswith(_RATES))
    return out


def _priced(
    name: str, tokens_per_s: Num, rate: Price | None, power: Power | None, band: tuple[float, float], grade: str
) -> dict[str, Metric]:
    """USD per million tokens and joules per token of a card that makes ``tokens_per_s``."""
    out = {}
    if rate is not None:
        usd = usd_per_mtok(in_usd(rate), tokens_per_s)
        out[f"usd_per_mtok_{name}"] = _metric(usd, "USD/Mtok", band, max(grade, _grade(rate), key=GRADES.index), False)
    if power is not None:
        joules = float(np.max(joules_per_token(power.watts, tokens_per_s)))
        low = float(np.max(joules_per_token(power.low_watts, tokens_per_s)))
        out[f"joules_per_token_{name}"] = Metric(joules, "J", low * band[0], joules * band[1], "D")
    return out


def _grade(rate: Price) -> str:
    return rate.confidence[0]


def _cached_price(setting: Setting, rate: Price | None) -> dict[str, Metric]:
    """A cached input token costs the time to bring its KV over the scale-out network: a floor, no storage rent."""
    out = setting.cluster.scale_out_bandwidth
    if rate is None or not out:
        return {}
    per_token = kv_bytes_per_layer_token(setting.model.attention, setting.plan.kv_dtype) * setting.model.cached_layers
    usd = in_usd(rate) / HOUR_S * per_token / out * MEGA
    return {"usd_per_mtok_cached": Metric(usd, "USD/Mtok", usd, usd * 3.0, "D")}


def _notes(setting: Setting, rate: Price | None, power: Power | None, kind: str) -> tuple[str, ...]:
    """Everything a reader should know that is not in a number: implicit choices and missing facts."""
    plan, device = setting.plan, setting.device
    notes = []
    if rate is None:
        notes.append(f"no hourly price is known for {setting.chip.id}: pass --price 2USD/h for costs")
    else:
        basis = f" ({rate.note})" if rate.note else ""
        notes.append(f"price: {rate.text} from {rate.id}, {rate.date or 'given'}, confidence {rate.confidence}{basis}")
    if power is None:
        notes.append(f"tdp is unknown for {setting.chip.id}: no energy figures")
    else:
        notes.append("energy assumes the chip at its TDP with server overhead and PUE; low end at half TDP")
    if plan.overlap == "two-batch":
        sms = plan.comm_sms if plan.comm_sms is not None else setting.system.comm_sm_share * device.cores
        cores = (
            f"{float(sms):.0f} of {device.cores:.0f} cores run communication" if kind == "prefill" else "no core sends"
        )
        notes.append(f"two micro-batches overlap; {cores}")
    if plan.routing != "balanced":
        notes.append(f"routing {plan.routing}: the busiest expert rank sets the time")
    if plan.imbalance is not None:
        notes.append(f"a known placement: the busiest expert rank carries {float(plan.imbalance):.3g} times the mean")
    if plan.routing == "production":
        notes.append(
            "production: throughput is scaled to a 24 h fleet average (prefill 0.5, decode 0.8 of the kernel path)"
        )
    if setting.chip.dies > 1:
        notes.append(
            f"{setting.chip.id} has {setting.chip.dies} dies: ep, tp, pp count dies; gpus and batch count cards"
        )
    origins = sorted({law.origin for law in _laws(setting) if law.origin and law.origin != setting.chip.id})
    if origins:
        notes.append(f"kernel efficiencies partly carried over from {', '.join(origins)} (grades C and D)")
    return tuple(notes)


def _laws(setting: Setting) -> list[FittedLaw]:
    """The laws that this question used."""
    laws = setting.device.laws
    return laws.used if isinstance(laws, Laws) else list(laws.values())


def _sources(setting: Setting, rate: Price | None, power: Power | None) -> tuple[str, ...]:
    sheet = [
        key for name in ("memory_bandwidth", "bf16", "fp8", "int8") for key in setting.chip.datasheet[name].sources
    ]
    keys = [*sources_of(_laws(setting)), *sheet, *setting.system.sources, *(rate.sources if rate else ())]
    return tuple(dict.fromkeys([*keys, *(power.sources if power else ())]))


def _phase_report(
    setting: Setting, load: Load, answer: Answer, price: Price | None, outside: InHost | None = None
) -> Report:
    rate = price if price is not None else default_rate(setting.chip)
    power = wall_power(setting.chip)
    low, high, grade = step_band(answer.phase, answer.step, answer.micro_batches, setting.plan.routing, setting.device)
    kind = "prefill" if isinstance(load, PrefillLoad) else "decode"
    metrics = _timed_metrics(answer.metrics, (low, high), grade)
    name = "input" if kind == "prefill" else "output"
    metrics |= _priced(name, answer.tokens_per_s, rate, power, (low, high), grade)
    if kind == "prefill":
        metrics |= _cached_price(setting, rate)
    return Report(
        kind=kind,
        inputs=_inputs(setting, load, rate),
        metrics=metrics,
        breakdown=_lines(answer, float(np.max(answer.step_s))),
        memory=_memory(answer.memory, outside),
        sources=(*_sources(setting, rate, power), *(outside.sources if outside else ())),
        notes=(*_notes(setting, rate, power, kind), *([outside.note] if outside else [])),
    )


def _served_metrics(
    setting: Setting, served: Served, band: tuple[float, float, str], in_flight: float
) -> dict[str, Metric]:
    """What the simulated client saw, each with its band. ``in_flight``: requests a card."""
    out = {}
    for name, (value, unit) in served.metrics().items():
        factors = serving_band(setting, band[:2], name, in_flight)
        out[name] = _metric(value, unit, factors, band[2], rate=name.startswith(_RATES))
    return out


def _blend_report(setting: Setting, load: ServingLoad, blend: Blend, price: Price | None, served: Served) -> Report:
    """Prefill and decode on the same cards: the loop's bill, shared by what replicas spent their time on."""
    d = _phase_report(setting, DecodeLoad(0, 0), blend.decode, price)
    p = _phase_report(setting, PrefillLoad(0, 0), blend.prefill, price)
    rate = price if price is not None else default_rate(setting.chip)
    band = step_band(blend.decode.phase, blend.decode.step, 1, setting.plan.routing, setting.device)
    in_flight = float(load.concurrency) / served.gpus
    metrics = _served_metrics(setting, served, band, in_flight)
    replicas, window = len(served.outcome.statistics), whole(served.outcome)
    pool = hired("both", replicas, served.gpus / replicas, setting.chip, rate)
    shares = {"decode_step_s": blend.metrics["decode_step_s"], "prefill_share": (prompt_share(window), ""),
              "busy_share": (usage(window, [pool])["busy_share"], "")}  # fmt: skip
    metrics |= _timed_metrics(shares, serving_band(setting, band[:2], "tpot_s", in_flight), band[2])
    made = metrics["output_tokens_per_s_per_gpu"]
    metrics |= _cached_price(setting, rate)
    metrics |= billed(window, [pool], made, "A" if rate is None else _grade(rate))
    lines = tuple(replace(line, name=f"decode: {line.name}") for line in d.breakdown)
    n, engine = len(served.outcome.isl), setting.framework.name if setting.framework else "continuous batching"
    note = f"closed loop of {n} requests simulated ({engine}); the breakdown is of one decode step"
    return Report(
        kind="serving",
        inputs=_inputs(setting, load, rate),
        metrics=metrics,
        breakdown=lines,
        memory=d.memory,
        sources=tuple(dict.fromkeys([*d.sources, *p.sources, *_engine_sources(setting)])),
        notes=(note, *d.notes),
    )


def _engine_sources(setting: Setting) -> tuple[str, ...]:
    return () if setting.framework is None else setting.framework.sources


def predict_disaggregated(
    model: ModelSpec,
    chip: Accelerator,
    pools: Disaggregated,
    load: ServingLoad,
    price: Price | None = None,
    cluster: Cluster | None = None,
) -> Report:
    """A closed loop on separate prefill and decode pools. The bill of all cards is shared by the output tokens.

    Raises BadInput as :func:`predict_inference` does.
    """
    check_values(load)
    sides = []
    for pool in (pools.prefill, pools.decode):
        check_values(pool.plan)
        sides.append(setting_for(model, chip, pool.plan, cluster or standard_cluster(chip, most_cards(pools.gpus))))
    served = serve_disaggregated(sides[0], sides[1], pools, load)
    d = decode(sides[1], DecodeLoad(float(load.isl + load.osl / 2) * load.mean, _batch_per_gpu(pools, load)))
    band = step_band(d.phase, d.step, 1, sides[1].plan.routing, sides[1].device)
    rate = price if price is not None else default_rate(chip)
    report = _phase_report(sides[1], DecodeLoad(0, 0), d, price)
    metrics = _served_metrics(sides[1], served, band, math.inf)
    per_card = metrics["output_tokens_per_s_per_gpu"].value
    metrics |= _priced("output", per_card, rate, wall_power(chip), (1.0 / band[1], 1.0 / band[0]), band[2])
    workers = f"{pools.prefill.workers} prefill and {pools.decode.workers} decode workers"
    return Report(
        kind="serving",
        inputs=_inputs(sides[1], load, rate) | {"pools": asdict(pools)},
        metrics=metrics,
        breakdown=tuple(replace(line, name=f"decode: {line.name}") for line in report.breakdown),
        memory=report.memory,
        sources=tuple(dict.fromkeys([*report.sources, *_engine_sources(sides[1])])),
        notes=(f"closed loop of {len(served.outcome.isl)} requests simulated on {workers}", *report.notes),
    )


def _batch_per_gpu(pools: Disaggregated, load: ServingLoad) -> float:
    """Requests in flight, all decoding, on each card of the decode pool."""
    return float(load.concurrency) / (pools.decode.workers * float(np.max(pools.decode.plan.gpus)))
