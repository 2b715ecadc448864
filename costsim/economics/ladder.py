"""The cost ladder: from the price of one training run to what a company spends to have the model.

Rungs, each a wider question than the one below it:

1. ``final_run``      GPU hours × hourly price: what a report states
2. ``interruptions``  the same run with its stops and restarts: hours / goodput
3. ``experiments``    all research compute at rental price: rung 2 / final_run_share
4. ``owned_cluster``  owning the cards for the project instead of renting: capex/life + operations + power
5. ``staff``          rung 4 and the people

``cash_usd`` is what has to be paid, not written off: the cluster bought, its operation and power, the people.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from costsim.economics.goodput import checkpoint_s, goodput
from costsim.spec.assumption import Assumption
from costsim.units import HOURS_PER_YEAR, KILO

RUNGS = ("final_run", "interruptions", "experiments", "owned_cluster", "staff")
#: what each rung asks, in words
TITLES = {
    "final_run": "final run at rental price",
    "interruptions": "+ stops and restarts",
    "experiments": "+ failed runs and experiments",
    "owned_cluster": "the cluster owned, not rented",
    "staff": "+ staff",
}
_GRADES = "ABCD"


@dataclass(frozen=True)
class Job:
    """The final run as the ladder needs it; ``gpu_hours`` without stops, with its own band."""

    gpu_hours: float
    low_hours: float
    high_hours: float
    cards: float
    node_cards: float
    usd_per_h: float
    card_usd: float
    all_in: bool
    tdp_w: float
    parameters: float
    grade: str


@dataclass(frozen=True)
class Rung:
    """A cumulative cost; ``rests_on`` are the assumptions that it adds to those of the rungs below."""

    id: str
    usd: float
    low_usd: float
    high_usd: float
    grade: str
    rests_on: tuple[str, ...]

    @property
    def title(self) -> str:
        return TITLES[self.id]


@dataclass(frozen=True)
class Ladder:
    """The rungs, the cash, and how far each assumption alone moves the last rung (low, high in USD)."""

    rungs: tuple[Rung, ...]
    cash_usd: float
    cash_low_usd: float
    cash_high_usd: float
    cards: float
    goodput: float
    mtbf_s: float
    interval_s: float
    checkpoint_s: float
    swing: Mapping[str, tuple[float, float]]
    #: (low, high) of goodput, mtbf_s, interval_s and checkpoint_s
    bands: Mapping[str, tuple[float, float]]


#: which assumptions enter at which rung
RESTS_ON: dict[str, tuple[str, ...]] = {
    "final_run": (),
    "interruptions": ("gpu_hours_per_interruption", "restart", "node_write"),
    "experiments": ("final_run_share",),
    "owned_cluster": ("project_years", "cluster_utilisation", "capex_spread", "cluster_factor", "amortisation_years",
                      "operations_share", "power_load", "server_overhead", "pue", "electricity"),
    "staff": ("staff", "staff_cost"),
}  # fmt: skip


#: which assumptions set the watts of a card
POWER = ("power_load", "server_overhead", "pue")


def facility_w(tdp_w: float, values: Mapping[str, float]) -> float:
    """Average watts at the meter for one card: TDP × load × server overhead × PUE."""
    return tdp_w * values["power_load"] * values["server_overhead"] * values["pue"]


def _costs(job: Job, values: Mapping[str, float]) -> dict[str, float]:
    """Every rung, the cash and the numbers between, for one choice of all assumptions."""
    saved = checkpoint_s(job.parameters, job.cards, job.node_cards, values["node_write"])
    rhythm = goodput(values["gpu_hours_per_interruption"], job.cards, saved, values["restart"])
    kept = float(rhythm.ratio)
    rented = job.gpu_hours * job.usd_per_h
    hours = job.gpu_hours / kept / values["final_run_share"]
    years = values["project_years"]
    cards = max(job.cards, math.ceil(hours / (years * HOURS_PER_YEAR * values["cluster_utilisation"])))
    capex = cards * job.card_usd * values["capex_spread"] * (1.0 if job.all_in else values["cluster_factor"])
    # cards bought for longer than the project serve others after it
    held = capex * min(years / values["amortisation_years"], 1.0)
    kwh = cards * facility_w(job.tdp_w, values) / KILO * HOURS_PER_YEAR * years
    running = capex * values["operations_share"] * years + kwh * values["electricity"]
    people = values["staff"] * values["staff_cost"] * years
    return {
        "final_run": rented, "interruptions": rented / kept,
        "experiments": rented / kept / values["final_run_share"],
        "owned_cluster": held + running, "staff": held + running + people, "cash": capex + running + people,
        "cards": float(cards), "goodput": kept, "mtbf_s": float(rhythm.mtbf_s), "interval_s": float(rhythm.interval_s),
        "checkpoint_s": float(saved),
    }  # fmt: skip


def spread(middle: float, ends: list[tuple[float, float]]) -> tuple[float, float]:
    """(low, high) from one-at-a-time ends, combined in quadrature of their logarithms: they are independent."""
    if middle <= 0:
        return middle, middle
    down = math.hypot(*(min(0.0, *(math.log(max(v, 1e-9) / middle) for v in pair)) for pair in ends))
    up = math.hypot(*(max(0.0, *(math.log(max(v, 1e-9) / middle) for v in pair)) for pair in ends))
    return middle * math.exp(-down), middle * math.exp(up)


def ladder(job: Job, assumptions: Mapping[str, Assumption]) -> Ladder:
    """The rungs for one job. Linear in every price; bands from moving one assumption at a time between its ends."""
    values = {name: a.value for name, a in assumptions.items()}
    middle = _costs(job, values)
    moved: dict[str, tuple[dict[str, float], dict[str, float]]] = {
        name: (_costs(job, values | {name: a.low}), _costs(job, values | {name: a.high}))
        for name, a in assumptions.items()
    }
    hours = tuple(_costs(Job(**{**job.__dict__, "gpu_hours": end}), values) for end in (job.low_hours, job.high_hours))

    def band(key: str) -> tuple[float, float]:
        pairs = [(low[key], high[key]) for low, high in moved.values()]
        return spread(middle[key], [*pairs, (hours[0][key], hours[1][key])])

    rungs = []
    grade = job.grade
    for name in RUNGS:
        used = [n for n in RESTS_ON[name] if n != "cluster_factor" or not job.all_in]
        grade = max([grade, *(assumptions[n].confidence[0] for n in used)], key=_GRADES.index)
        rungs.append(Rung(name, middle[name], *band(name), grade, tuple(used)))
    swing = {
        name: (low["staff"], high["staff"]) for name, (low, high) in moved.items() if low["staff"] != high["staff"]
    }
    largest = dict(sorted(swing.items(), key=lambda item: -abs(math.log(item[1][1] / item[1][0]))))
    return Ladder(
        tuple(rungs), middle["cash"], *band("cash"), middle["cards"], middle["goodput"], middle["mtbf_s"],
        middle["interval_s"], middle["checkpoint_s"], largest,
        {key: band(key) for key in ("goodput", "mtbf_s", "interval_s", "checkpoint_s")},
    )  # fmt: skip
