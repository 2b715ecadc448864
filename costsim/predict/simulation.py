"""Simulated serving: a model on cards under arrivals; latencies, rates, memory and money as a Report."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from costsim.errors import BadInput
from costsim.frames import Framed, Rows
from costsim.predict.bands import sources_of, step_band
from costsim.predict.counted import about, counted, same
from costsim.predict.hire import Hired, bill, energy, hired, usage
from costsim.predict.phases import Setting, decode, prefill
from costsim.predict.report import Line, Metric, Report
from costsim.predict.service import Service, deployment_of, parts_of, replica_cards, scaled
from costsim.serving.history import BUSY, PROMPT
from costsim.serving.outcome import Outcome
from costsim.serving.request import Requests
from costsim.serving.simulation import Deployment, Pool, simulate
from costsim.serving.window import Window
from costsim.spec.accelerator import Accelerator
from costsim.spec.cluster import Cluster
from costsim.spec.model import ModelSpec
from costsim.spec.plan import DecodeLoad, PrefillLoad, ServingPlan
from costsim.spec.price import Price, default_rate, in_usd
from costsim.timing.device import worst

QUANTILES = (0.5, 0.9, 0.99)
_BANDS = "bands: the whole run again with all step times at their P10 and at their P90"


@dataclass(frozen=True)
class Simulated(Framed):
    """The report and what it was made from; ``band``: step times at P10 and P90 over those predicted."""

    report: Report
    outcome: Outcome
    deployment: Deployment
    window: Window
    ttft_s: float = math.inf
    tpot_s: float = math.inf
    band: tuple[float, float] = (1.0, 1.0)

    def rows(self) -> Rows:
        """The report's tables, ``requests`` (one row each) and ``state`` (the engine over time)."""
        out, turned = self.outcome, ("", "waited too long", "longer than the KV cache")
        columns = ("arrival_s", "admitted_s", "first_s", "finish_s", "isl", "osl", "cached", "preemptions", "ttft_s",
                   "tpot_s")  # fmt: skip
        values = [getattr(out, name) for name in columns]
        return {
            **self.report.rows(),
            "requests": [
                dict(zip(columns, map(float, row), strict=True))
                | {"turned_away": turned[int(aborted)], "counted": bool(counted)}
                for *row, aborted, counted in zip(*values, out.aborted, self.window.among, strict=True)
            ],
            "state": [dict(zip(("time_s", "waiting", "running", "kv_share"), p, strict=True)) for p in out.series],
        }


def predict_simulation(
    model: ModelSpec,
    chip: Accelerator,
    plan: ServingPlan,
    requests: Requests,
    service: Service | None = None,
    *,
    concurrency: int | None = None,
    price: Price | None = None,
    prefill_price: Price | None = None,
    cluster: Cluster | None = None,
    progress: Callable[[int, int], None] | None = None,
    bands: bool = True,
    record: bool = False,
    warmup: float | str | None = None,
    pace: float = 1.0,
) -> Simulated:
    """Simulate ``requests`` on ``plan.gpus`` cards (and ``service.prefill.gpus`` more) and report what users saw.

    Step times come from the same laws as :func:`predict_inference`; the ends of the band are two more runs with all
    step times at their P10 and P90, so that queues amplify them as they would. ``concurrency``: closed loop.
    ``warmup``: None counts all of the run, from the empty deployment to the last answer; ``"auto"`` its steady part,
    and seconds the part from then on (:func:`costsim.serving.window.steady`). ``pace``: all step times so many times
    as long as predicted.
    Raises BadInput for what cannot be answered.
    """
    service = service or Service()
    began = time.process_time()
    deployment, settings = deployment_of(model, chip, plan, service, cluster)
    pools = deployment.pools
    outcome = simulate(scaled(deployment, pace), requests, concurrency, progress, record)
    elapsed = time.process_time() - began
    _refuse_empty(outcome, pools)
    window = counted(outcome, warmup)
    low, high, grade = _band(settings, outcome)
    ends = []
    if bands:
        ends = [
            same(window, simulate(scaled(deployment, pace * factor), requests, concurrency)) for factor in (low, high)
        ]
    rates = _rates(chip, service, price, prefill_price)
    pools_hired = [
        hired(role, round(float(one.gpus) / (each := replica_cards(model, own, one))), each, own, rate)
        for (role, own, one), rate in zip(parts_of(chip, plan, service), rates, strict=True)
    ]
    report = Report(
        kind="simulation",
        inputs=_inputs(model, chip, plan, service, requests, concurrency, rates) | {"warmup": warmup},
        metrics=_metrics(window, ends, grade, service, pools_hired) | {
            "elapsed_cpu_s": Metric(elapsed, "s", None, None, "A"),
        },
        breakdown=_breakdown(window),
        memory={"kv_tokens_per_rank": float(min(p.engine.kv_tokens for p in pools))},
        sources=tuple(dict.fromkeys(key for s in settings for key in (*s.system.sources, *_used(s)))),
        notes=(*_notes(outcome, pools, service, rates), *([_BANDS] if bands else []), *about(window, concurrency)),
    )  # fmt: skip
    return Simulated(report, outcome, deployment, window, service.ttft_s, service.tpot_s, (low, high))


def _refuse_empty(outcome: Outcome, pools: tuple[Pool, ...]) -> None:
    """BadInput where nothing was served."""
    if not outcome.finished.any():
        raise BadInput(
            f"none of {len(outcome.isl):,} requests could be served: {int((outcome.aborted == 2).sum()):,} are longer "
            f"than the {min(p.engine.kv_tokens for p in pools):,} tokens of KV beside the weights of a rank, "
            f"{int((outcome.aborted == 1).sum()):,} waited too long"
        )


def _rates(chip: Accelerator, service: Service, price: Price | None, first: Price | None) -> list[Price | None]:
    """The hourly rate of a card of each pool, prefill first."""
    own = price if price is not None else default_rate(chip)
    if service.prefill is None:
        return [own]
    if first is None:
        first = own if service.prefill_chip in (None, chip) else default_rate(service.prefill_chip)
    return [first, own]


def _used(setting: Setting) -> tuple[str, ...]:
    laws = setting.device.laws
    return sources_of(getattr(laws, "used", laws.values()))


def _band(settings: list[Setting], outcome: Outcome) -> tuple[float, float, str]:
    """Factors on step times at P10 and P90, from a decode and a prefill step at the mean of what was run."""
    context = float(np.mean(outcome.isl + outcome.osl / 2.0))
    running = [r for _, _, r, _ in outcome.series if r]
    batch = max(float(np.mean(running)) / max(len(outcome.statistics), 1), 1.0) if running else 1.0
    setting = settings[-1]
    replica = float(np.max(setting.layout.tp * setting.layout.pp / setting.chip.dies))
    ranks = max(float(np.max(setting.layout.attention_dp)), 1.0)
    d = decode(setting, DecodeLoad(context, max(batch / ranks, 1.0) / replica), strict=False)
    p = prefill(settings[0], PrefillLoad(max(context, 2.0), max(context, 2.0) / replica), strict=False)
    bands = [
        step_band(a.phase, a.step, a.micro_batches, a.setting.plan.routing, a.setting.device) for a in (d, p)
    ]  # fmt: skip
    return min(b[0] for b in bands), max(b[1] for b in bands), worst([b[2] for b in bands])


def latencies(outcome: Outcome, among: NDArray[np.bool_] | None = None) -> dict[str, float]:
    """Means and quantiles of TTFT, TPOT and E2E, of the requests ``among`` all."""
    out: dict[str, float] = {}
    for name, column in (("ttft", outcome.ttft_s), ("tpot", outcome.tpot_s), ("e2e", outcome.e2e_s)):
        known = column if among is None else column[among]
        known = known[np.isfinite(known)]
        out[f"{name}_s"] = float(np.mean(known)) if known.size else math.nan
        for q in QUANTILES:
            out[f"{name}_p{round(100 * q)}_s"] = float(np.quantile(known, q)) if known.size else math.nan
    return out


def _of(window: Window, service: Service, pools: list[Hired]) -> dict[str, tuple[float, str]]:
    """Every latency and rate of one run."""
    outcome, among, span = window.outcome, window.among, window.span_s
    cards = sum(pool.replicas * pool.cards for pool in pools)
    out: dict[str, tuple[float, str]] = {name: (value, "s") for name, value in latencies(outcome, among).items()}
    for q, value in zip(QUANTILES, window.itl_s(list(QUANTILES)), strict=True):
        out[f"itl_p{round(100 * q)}_s"] = (float(value), "s")
    made = window.tokens["output"]
    read = window.tokens["input"] + window.tokens["cached"]
    out["requests_per_s"] = (window.finished_per_s, "1/s")
    out["output_tokens_per_s"] = (made / span, "token/s")
    out["output_tokens_per_s_per_gpu"] = (made / span / cards, "token/s")
    out["input_tokens_per_s_per_gpu"] = (read / span / cards, "token/s")
    out |= {name: (share, "") for name, share in usage(window, pools).items()}
    waiting, most = window.waiting
    out |= {"waiting_mean": (waiting, "requests"), "waiting_peak": (float(most), "requests")}
    if math.isfinite(service.ttft_s) or math.isfinite(service.tpot_s):
        good = outcome.good(service.ttft_s, service.tpot_s)[among]
        out["goodput_share"] = (float(np.mean(good)), "")
        out["goodput_requests_per_s"] = (float(np.sum(good)) / span, "1/s")
    return {name: value for name, value in out.items() if math.isfinite(value[0])}


def _metrics(
    window: Window, ends: list[Window], grade: str, service: Service, pools: list[Hired]
) -> dict[str, Metric]:  # fmt: skip
    outcome = window.outcome
    mid, *others = [
        _of(one, service, pools) | bill(one, pools) | energy(one, pools, number == 1)
        for number, one in enumerate((window, *ends))
    ]
    metrics = {}
    for name, (value, unit) in mid.items():
        known = [value, *(other[name][0] for other in others if name in other)]
        low, high = (min(known), max(known)) if others else (None, None)
        metrics[name] = Metric(value, unit, low, high, grade)
    counts = {
        "requests": len(outcome.isl), "finished": int(outcome.finished.sum()),
        "aborted": int((outcome.aborted > 0).sum()), "preemptions": int(outcome.preemptions.sum()),
        "iterations": outcome.iterations,
    }  # fmt: skip
    read = float(outcome.isl.sum())
    metrics["cached_share"] = Metric(float(outcome.cached.sum()) / read, "", None, None, "A")
    return metrics | {name: Metric(float(count), "", None, None, grade) for name, count in counts.items()}


def _breakdown(window: Window) -> tuple[Line, ...]:
    """Replica time: prompts, answers, idle."""
    total = window.span_s * len(window.outcome.statistics)
    busy, prompt = (float(window.spent[:, column].sum()) for column in (BUSY, PROMPT))
    parts = (("prompts", prompt), ("answers", busy - prompt), ("idle", total - busy))
    lines = (Line(name, s, s / total, "schedule" if name == "idle" else "mixed", "C", "replica") for name, s in parts)
    return tuple(line for line in lines if line.time_s > 0)


def _inputs(
    model: ModelSpec, chip: Accelerator, plan: ServingPlan, service: Service, requests: Requests,
    concurrency: int | None, rates: list[Price | None],
) -> dict[str, Any]:  # fmt: skip
    rate = rates[-1]
    own = replace(service, prefill_chip=None, host=None)
    settings = {k: v for k, v in asdict(own).items() if k not in ("prefill_chip", "host")}
    settings["policy"] = asdict(service.policy)
    if service.host is not None:
        settings["host"] = service.host.model_dump()
    if service.prefill is not None:
        first = rates[0]
        settings["prefill_accelerator"] = (service.prefill_chip or chip).id
        settings["prefill_usd_per_h"] = None if first is None else in_usd(first)
    return {
        "model": model.id, "accelerator": chip.id, "plan": asdict(plan),
        "service": {k: v for k, v in settings.items() if not (isinstance(v, float) and math.isinf(v))},
        "load": {
            "requests": len(requests), "isl_mean": float(np.mean(requests.isl)),
            "osl_mean": float(np.mean(requests.osl)), "span_s": float(requests.arrival_s[-1]),
            "concurrency": concurrency,
        },
        "price": None if rate is None else {"id": rate.id, "text": rate.text, "usd_per_h": in_usd(rate)},
    }  # fmt: skip


def _notes(
    outcome: Outcome, pools: tuple[Pool, ...], service: Service, rates: list[Price | None]
) -> tuple[str, ...]:  # fmt: skip
    policy = service.policy
    kind = "prompts first, answers wait" if policy.order == "prefill-first" else "prompts beside answers"
    size = "chunked" if policy.chunked else "whole"
    most = f"{policy.token_budget:,} tokens an iteration, at most {policy.max_running:,} requests a rank"
    notes = [
        f"scheduler: {kind}; {size} prompts, {most}",
        "TPOT leaves out the first token; ITL counts every gap between two tokens of a request",
    ]
    for pool in pools:
        e = pool.engine
        notes.append(
            f"{pool.replicas} replica(s), role {e.role}: {e.ranks} attention rank(s) of {e.kv_tokens:,} KV tokens"
            + (
                f"; {e.policy.reserve_tokens} KV tokens kept free per running request"
                if e.policy.reserve_tokens
                else ""
            )
        )
    too_long = int((outcome.aborted == 2).sum())
    if too_long:
        notes.append(f"{too_long:,} requests are longer than a rank's KV cache and were turned away")
    if any(rate is None for rate in rates):
        notes.append("no hourly price is known: pass --price 2USD/h for costs")
    return tuple(notes)
