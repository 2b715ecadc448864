"""Claims judged by experiments on the runnable model: read from the file that a command wrote, with its date."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from costsim.evidence.claims.figure import Figure, Figures, exact, ratio
from costsim.evidence.claims.rules import Claim
from costsim.evidence.claims.training import steps_by_routing
from costsim.files import read_json
from costsim.spec.catalog import ROOT

RESULTS = ROOT / "hwprofiles" / "experiments.json"
COMMAND = "python -m model.experiments"


@lru_cache(maxsize=1)
def stored() -> dict[str, Any]:
    """The stored results."""
    found: dict[str, Any] = read_json(RESULTS, "experiments")
    return found


def _date() -> Figure:
    """The day of the run as yyyymmdd, so that a reader sees how old it is."""
    return exact(float(str(stored()["date"]).replace("-", "")), "yyyymmdd")


def _kept(value: float, path: str) -> Figure:
    return Figure(float(value), "share", None, None, COMMAND, path)


def fp8_accumulation(_: Claim) -> tuple[Figures, dict[str, Any]]:
    """Error of a 4,096-element FP8 product with 14-bit sums, with and without promotion every 128 elements."""
    tables = stored()["accumulation"]
    figures: Figures = {"date": _date()}
    curves: dict[str, list[float]] = {"narrow to the end": [], "promoted every 128": []}
    for mean in ("mean_0", "mean_1"):
        last = tables[mean][-1]
        for name in ("fp32_error", "promoted_error", "narrow_error", "promoted_drift", "narrow_drift", "narrow_worst"):
            figures[f"{name}_{mean}"] = _kept(last[name], f"accumulation.{mean}.{len(tables[mean]) - 1}.{name}")
    for row in tables["mean_1"]:
        curves["narrow to the end"].append(row["narrow_drift"])
        curves["promoted every 128"].append(row["promoted_drift"])
    figures["k"] = exact(tables["mean_0"][-1]["k"], "elements")
    figures["drift_removed"] = ratio(figures["narrow_drift_mean_1"], figures["promoted_drift_mean_1"])
    figures["promoted_over_fp32"] = ratio(figures["promoted_error_mean_0"], figures["fp32_error_mean_0"])
    return figures, {"Drift of the accumulator, operands of one sign": {
        "x": [row["k"] for row in tables["mean_1"]], "series": curves, "xaxis": "elements summed",
        "unit": "share"}}  # fmt: skip


def aux_free(_: Claim) -> tuple[Figures, dict[str, Any]]:
    """Imbalance and loss of three training runs; what imbalance costs V3's step."""
    ways = stored()["balance"]
    figures: Figures = {"date": _date()}
    for way, found in ways.items():
        figures[f"imbalance_{way}"] = Figure(found["final_imbalance"], "x", None, None, COMMAND,
                                             f"balance.{way}.final_imbalance")  # fmt: skip
        figures[f"loss_{way}"] = Figure(found["final_loss"], "nats", None, None, COMMAND, f"balance.{way}.final_loss")
    figures["imbalance_cut"] = ratio(figures["imbalance_nothing"], figures["imbalance_bias"])
    figures["loss_bias_less_aux"] = exact(ways["bias"]["final_loss"] - ways["loss"]["final_loss"], "nats")
    figures |= steps_by_routing()
    figures["trained_over_balanced"] = ratio(figures["step_trained"], figures["step_balanced"], common=True)
    if "step_default" in figures:
        figures["default_over_trained"] = ratio(figures["step_default"], figures["step_trained"], common=True)
    curves = {way: found["imbalance"] for way, found in ways.items()}
    return figures, {"Busiest expert over the mean": {
        "x": ways["bias"]["steps"], "series": curves, "xaxis": "step", "unit": "x"}}  # fmt: skip


CLAIMS = {"fp8-accumulation": fp8_accumulation, "aux-free": aux_free}
