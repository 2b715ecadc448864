"""A deployment search as a page: the answer, what was simulated, the frontier, why not the rest, break-even."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from costsim.explore.certain import Certain
from costsim.explore.confirm import ATTAINMENT, Confirmed
from costsim.explore.deployments import Deployed, DeploymentSearch, break_even
from costsim.explore.units import Demand
from costsim.report.document import Cell, Chart, Content, Document, Section, Table
from costsim.report.figures import PALETTE, _axis, _layout, log_ticks, time_unit
from costsim.report.words import band, label, number, percent, quantity, value_text
from costsim.version import __version__


def deployment_document(
    found: DeploymentSearch, confirmed: Sequence[Confirmed], demand: Demand, model: str,
    api: Mapping[str, float] | None, assumed: Sequence[str], top: int, loads: Sequence[float] = (),
    sure: Certain | None = None,
) -> Document:  # fmt: skip
    """``costsim search --phase deployment``; the payload holds every deployment with its units."""
    chosen = next((one for one in confirmed if one.met), None)
    best = chosen.deployed if chosen is not None else found.cheapest
    payload = {
        "model": model, "load": {"requests_per_s": demand.requests_per_s, "isl": demand.isl, "osl": demand.osl,
                                 "cached": demand.cached},
        "evaluated": found.evaluated, "feasible": found.feasible, "rejected": found.rejected,
        "best": None if best is None else _json(best, demand),
        "cheapest": None if found.cheapest is None else _json(found.cheapest, demand),
        "fastest": None if found.fastest is None else _json(found.fastest, demand),
        "frontier": [_json(way, demand) for way in found.frontier],
        "confirmed": [_confirmed_json(one, demand) for one in confirmed],
        "why_not": list(found.why_not), "break_even": None if best is None else _break_even(found, best, demand, api),
        "p90": None if sure is None else _sure_json(sure, demand, api),
        "by_load": [_rung_json(load, way, demand, api) for load, way in found.ladder],
        "prices": {chip: {"id": p.id, "text": p.text, "basis": p.basis, "confidence": p.confidence, "date": p.date}
                   for chip, p in found.prices},
        "defaults": list(assumed), "version": __version__,
    }  # fmt: skip
    sections = [
        Section(
            "Answer",
            [*_answer(found, chosen, best, demand, api), *_sure_words(sure, best, demand), *_price_words(found)],
        )
    ]
    if rungs := _shown_rungs(found, demand, loads):
        slow = {} if sure is None else {load: way.gpus for load, way in sure.search.ladder}
        about = ["P90: cards that also carry it with step times at the slow end of their band"] if slow else []
        sections.append(Section("Cards for a load (closed form)", about, [_rungs(rungs, demand, api, slow)]))
    sections += _simulated(confirmed, sure)
    if found.frontier:
        shown = _thin(found.frontier, top)
        sections.append(
            Section("Frontier of the closed form: TPOT against cost", (), [_table(shown, demand)], [_chart(found)])
        )
    if found.why_not:
        rows: list[list[Content]] = [[w["accelerator"], w["way"], w["reason"]] for w in found.why_not]
        sections.append(Section("Why not the others", (), [Table(("accelerator", "way", "reason"), rows)]))
    if found.rejected:
        lost: list[list[Content]] = [
            [reason, count, Cell(percent(count / found.evaluated), count)] for reason, count in found.rejected.items()
        ]
        sections.append(Section("Why units fell out", (), [Table(("reason", "units", "share"), lost)]))
    if assumed:
        sections.append(Section("Notes", [f"defaults: {'  '.join(assumed)}"]))
    title = f"Deployments of {model} for {number(demand.requests_per_s)} requests/s"
    rows_flat = [{**way.metrics(demand), "units": unit_words(way)} for way in found.frontier]
    return Document(title, sections, payload, rows=rows_flat)


def _simulated(confirmed: Sequence[Confirmed], sure: Certain | None) -> list[Section]:
    """What the simulator saw, at the median and at P90."""
    sections = []
    if confirmed:
        note = (
            "Poisson arrivals, lengths within 10 % of those asked; units are added until "
            f"{ATTAINMENT:.0%} of requests meet both targets"
        )
        tables = [_confirmed_table(confirmed), *([_banded(confirmed[0])] if confirmed[0].banded else [])]
        sections.append(Section("Simulated", [note], tables))
    if sure is not None and sure.confirmed:
        note = f"the same with step times at the slow end of their band: × {_paces(sure)}"
        sections.append(Section("Simulated at P90", [note], [_confirmed_table(sure.confirmed)]))
    return sections


def _sure_words(sure: Certain | None, median: Deployed | None, demand: Demand) -> list[str]:
    """How many cards hold at P90, beside the answer at the median."""
    if sure is None or median is None:
        return []
    best, slow = sure.best, _paces(sure)
    if best is None:
        return [f"At P90 (step times × {slow}) no deployment of the grid within the cards allowed meets the targets."]
    how, per = "simulated" if sure.confirmed else "closed form", best.metrics(demand)["usd_per_mtok_output"]
    more = f"{best.usd_per_h / median.usd_per_h - 1.0:+.0%}"
    cost = f"{number(best.usd_per_h)} USD/h ({more}), {number(per)} USD/Mtok of output"
    odds = "The cheapest meets the targets at the median of its band: as likely as not. This one meets them at the P90."
    return [f"For P90 ({how}, step times × {slow}): {best.gpus} cards, {cost}: {unit_words(best)}", odds]


def _paces(sure: Certain) -> str:
    return " and ".join(f"{pace:.2f} on {chip}" for chip, pace in sure.paces.items())


def _sure_json(sure: Certain, demand: Demand, api: Mapping[str, float] | None) -> dict[str, Any]:
    return {
        "step_times": dict(sure.paces), "best": None if sure.best is None else _json(sure.best, demand),
        "cheapest": None if sure.search.cheapest is None else _json(sure.search.cheapest, demand),
        "confirmed": [_confirmed_json(one, demand) for one in sure.confirmed],
        "by_load": [_rung_json(load, way, demand, api) for load, way in sure.search.ladder],
    }  # fmt: skip


def _thin(ways: Sequence[Deployed], most: int) -> list[Deployed]:
    """At most ``most``, evenly spread, ends kept."""
    if len(ways) <= most or most < 2:
        return list(ways[-max(most, 1) :])
    step = (len(ways) - 1) / (most - 1)
    return [ways[round(i * step)] for i in range(most)]


def _json(way: Deployed, demand: Demand) -> dict[str, Any]:
    return {"units": [unit.json() for unit in way.units], "metrics": way.metrics(demand)}


def _confirmed_json(one: Confirmed, demand: Demand) -> dict[str, Any]:
    return {
        **_json(one.deployed, demand), "planned_gpus": one.planned.gpus, "attained": one.attained, "met": one.met,
        "simulated": one.metrics, "slices": one.slices, "requests": one.requests,
        "refused": one.refused, "step_times": one.pace,
        "bands": {name: metric.json() for name, metric in one.banded.items()},
    }  # fmt: skip


def _break_even(
    found: DeploymentSearch, best: Deployed, demand: Demand, api: Mapping[str, float] | None
) -> dict[str, float | None] | None:
    """Load at which the deployment's hour costs what its requests would at the list price, as a share of the demand
    and of what the deployment lets through; ``least_requests_per_s``: with the deployment that is cheapest there."""
    if api is None:
        return None
    each = api["usd_per_request"]
    at = best.usd_per_h / 3600.0 / each
    return {
        "api_usd_per_h": each * demand.requests_per_s * 3600.0, "usd_per_h": best.usd_per_h,
        "requests_per_s": at, "share_of_load": at / demand.requests_per_s,
        "utilisation": at / best.capacity_per_s, "usd_per_request_api": each,
        "least_requests_per_s": break_even(found.ladder, each),
    }  # fmt: skip


def _rung_json(load: float, way: Deployed, demand: Demand, api: Mapping[str, float] | None) -> dict[str, Any]:
    own = replace(demand, requests_per_s=load)
    out = {"requests_per_s": load, "units": [unit.json() for unit in way.units], **way.metrics(own)}
    return out if api is None else {**out, "api_usd_per_h": api["usd_per_request"] * load * 3600.0}


def _shown_rungs(found: DeploymentSearch, demand: Demand, loads: Sequence[float]) -> list[tuple[float, Deployed]]:
    """The loads that were asked for; else a few around the demand."""
    wanted = loads or [demand.requests_per_s * step for step in (1 / 64, 1 / 16, 1 / 4, 1 / 2, 1, 2, 4)]
    return [(load, way) for load, way in found.ladder if any(abs(load / one - 1) < 1e-9 for one in wanted)]


def _rungs(
    rungs: Sequence[tuple[float, Deployed]], demand: Demand, api: Mapping[str, float] | None,
    slow: Mapping[float, int],
) -> Table:  # fmt: skip
    """A row a load: how many cards (and at P90), of which units, how full, what they cost, and what the API would."""
    rows: list[list[Content]] = []
    for load, way in rungs:
        metrics = way.metrics(replace(demand, requests_per_s=load))
        row: list[Content] = [
            Cell(number(load), load), way.gpus, *((slow.get(load),) if slow else ()), unit_words(way),
            Cell(percent(metrics["utilisation"]), metrics["utilisation"]),
            Cell(number(way.usd_per_h), way.usd_per_h),
            Cell(number(metrics["usd_per_mtok_output"]), metrics["usd_per_mtok_output"]),
        ]  # fmt: skip
        if api is not None:
            hour = api["usd_per_request"] * load * 3600.0
            row.append(Cell(number(hour), hour))
        rows.append(row)
    columns = (
        "requests/s",
        "cards",
        *(("P90",) if slow else ()),
        "units",
        "full",
        "USD/h",
        "USD/Mtok",
        *(("API USD/h",) if api is not None else ()),
    )
    return Table(columns, rows)


def _price_words(found: DeploymentSearch) -> list[str]:
    """What each accelerator was costed at, and that unlike prices are unlike."""
    said = [f"{chip} {price.text} ({price.basis or price.id}, {price.confidence})" for chip, price in found.prices]
    words = [f"Per card and hour: {'; '.join(said)}."] if said else []
    if len({price.kind for _, price in found.prices}) > 1:
        kinds = ", ".join(f"{chip} {price.kind.replace('_', ' ')}" for chip, price in found.prices)
        words.append(
            f"These prices are of different kinds ({kinds}): give --price ID=RATE,… to compare like with like."
        )
    return words


def unit_words(way: Deployed) -> str:
    """``3 × prefill 8 h200-sxm tp=8 + 2 × decode …``."""
    return " + ".join(_words(unit.role, unit.count, unit.accelerator, unit.plan) for unit in way.units)


def _words(role: str, count: int, chip: str, plan: Mapping[str, Any]) -> str:
    keys = [k for k in ("tp", "pp", "ep", "moe_tp") if plan.get(k, 1) != 1]
    keys += [k for k in ("overlap",) if plan.get(k, "none") != "none"]
    keys += [k for k in ("redundant_experts", "mtp_tokens") if plan.get(k)]
    keys += ["routing"] if plan.get("ep", 1) != 1 and plan.get("routing", "balanced") != "balanced" else []
    keys += [k for k in ("concurrency", "batch_per_gpu", "tokens_per_gpu") if k in plan]
    name = "" if role == "both" else f"{role} "
    return f"{count} × {name}{plan['gpus']} {chip} " + " ".join(f"{k}={plan[k]}" for k in keys)


def _answer(
    found: DeploymentSearch, chosen: Confirmed | None, best: Deployed | None, demand: Demand,
    api: Mapping[str, float] | None,
) -> list[str]:  # fmt: skip
    counted = f"{found.evaluated:,} units costed, {found.feasible:,} feasible."
    if best is None or found.cheapest is None or found.fastest is None:
        return [counted, "No deployment meets the constraints; the reasons are below."]
    how = "simulated" if chosen is not None else "closed form"
    per = best.metrics(demand)["usd_per_mtok_output"]
    lines = [
        counted,
        f"Cheapest ({how}): {best.gpus} cards, {number(best.usd_per_h)} USD/h, {number(per)} USD/Mtok of output: "
        + unit_words(best),
        f"Fastest: TPOT {quantity(found.fastest.tpot_s, 's')} for {number(found.fastest.usd_per_h)} USD/h: "
        + unit_words(found.fastest),
    ]
    even = _break_even(found, best, demand, api)
    if even is not None:
        word = "less" if (even["usd_per_h"] or 0.0) < (even["api_usd_per_h"] or 0.0) else "more"
        lines.append(
            f"The API would take {number(even['api_usd_per_h'])} USD/h for these requests; the deployment costs "
            f"{word}, and breaks even at {number(even['requests_per_s'])} requests/s: "
            f"{percent(even['share_of_load'])} of the load, {percent(even['utilisation'])} of what it lets through."
        )
        least = even["least_requests_per_s"]
        lines.append(
            "No load up to four times this one is cheaper on hardware of one's own."
            if least is None
            else f"With the deployment that is cheapest there, hardware of one's own pays from {number(least)} "
            "requests/s on."
        )
    return lines


def _table(ways: Sequence[Deployed], demand: Demand) -> Table:
    rows: list[list[Content]] = [
        [
            unit_words(way), way.gpus, Cell(quantity(way.ttft_s, "s"), way.ttft_s),
            Cell(quantity(way.tpot_s, "s"), way.tpot_s), Cell(number(way.usd_per_h), way.usd_per_h),
            Cell(number(m := way.metrics(demand)["usd_per_mtok_output"]), m),
        ]
        for way in ways
    ]  # fmt: skip
    return Table(("units", "cards", "TTFT", "TPOT", "USD/h", "USD/Mtok"), rows)


def _confirmed_table(confirmed: Sequence[Confirmed]) -> Table:
    rows: list[list[Content]] = [
        [
            unit_words(one.deployed), f"{one.planned.gpus} → {one.deployed.gpus}",
            Cell(quantity(one.metrics["ttft_p90_s"], "s"), one.metrics["ttft_p90_s"]),
            Cell(quantity(one.metrics["tpot_p90_s"], "s"), one.metrics["tpot_p90_s"]),
            Cell(percent(one.attained), one.attained), Cell(number(one.deployed.usd_per_h), one.deployed.usd_per_h),
        ]
        for one in confirmed
    ]  # fmt: skip
    return Table(("units", "cards", "TTFT p90", "TPOT p90", "attained", "USD/h"), rows)


def _banded(one: Confirmed) -> Table:
    """Latencies of the first deployment with P10, P90 and grade."""
    rows: list[list[Content]] = [
        [label(name), Cell(value_text(name, metric), metric.value), band(name, metric), metric.grade]
        for name, metric in one.banded.items()
    ]
    return Table(("the cheapest", "value", "P10 … P90", "grade"), rows)


def _chart(found: DeploymentSearch) -> Chart:
    x, y = [way.tpot_s for way in found.frontier], [way.usd_per_h for way in found.frontier]
    unit, scale = time_unit(max(x))
    x = [value / scale for value in x]
    trace = {
        "type": "scatter", "mode": "lines+markers", "x": x, "y": y, "text": [unit_words(w) for w in found.frontier],
        "line": {"color": PALETTE[0], "shape": "hv"},
        "hovertemplate": "%{text}<br>%{x:.4g} " + unit + ", %{y:.4g} USD/h<extra></extra>",
    }  # fmt: skip
    layout = _layout(
        "Pareto frontier", xaxis=_axis(f"TPOT, {unit}", **log_ticks(x)), yaxis=_axis("USD per hour", **log_ticks(y))
    )
    words = (
        f"Cost of carrying the load, {max(y):.4g} to {min(y):.4g} USD an hour, against time per token, {x[0]:.4g} to "
    )
    return Chart({"data": [trace], "layout": layout}, f"{words}{x[-1]:.4g} {unit}.")
