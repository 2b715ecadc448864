"""Claims about what training cost in all, and about prices and demand."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from costsim.evidence.claims.asked import V3_PLAN, Asked, best_decode
from costsim.evidence.claims.figure import Figure, Figures, exact, ratio
from costsim.evidence.claims.rules import Claim
from costsim.predict.run import predict_run
from costsim.spec.catalog import load_accelerator, load_model
from costsim.spec.plan import TrainingPlan
from costsim.spec.price import default_rate
from costsim.spec.run import load_run
from costsim.units import HOUR_S

RUNGS = ("final_run", "interruptions", "experiments", "owned_cluster", "staff")


@lru_cache(maxsize=1)
def v3_run() -> Asked:
    """DeepSeek-V3's run as reported, every phase predicted, with the cost ladder."""
    chip = load_accelerator("h800-sxm")
    plan = TrainingPlan(**V3_PLAN)  # type: ignore[arg-type]
    report = predict_run(load_model("deepseek-v3"), chip, load_run("deepseek-v3"), plan, 1, default_rate(chip))
    return Asked(report, "costsim train --run")


def train_6m(claim: Claim) -> tuple[Figures, dict[str, Any]]:
    """GPU hours against the published 2.788M, and the ladder from the run's rent to cluster and staff."""
    run = v3_run()
    figures: Figures = {"gpu_hours": run("gpu_hours")}
    figures |= {f"{name}_usd": run(f"{name}_usd") for name in RUNGS} | {"cash_usd": run("cash_usd")}
    figures["published_gpu_hours"] = exact(claim.data["published_gpu_hours"], "GPU h")
    figures["hours_off"] = exact(abs(run("gpu_hours").value / claim.data["published_gpu_hours"] - 1.0), "share")
    figures["staff_over_run"] = ratio(figures["staff_usd"], figures["final_run_usd"])
    figures["cash_over_run"] = ratio(figures["cash_usd"], figures["final_run_usd"])
    names = ["final run", "+ stops", "+ experiments", "owned cluster", "+ staff"]
    return figures, {"USD of DeepSeek-V3, by what is counted": {
        "x": names, "series": {"predicted": [figures[f"{name}_usd"].value for name in RUNGS]}, "xaxis": "",
        "unit": "USD", "kind": "bar"}}  # fmt: skip


def gpt4_100m(claim: Claim) -> tuple[Figures, dict[str, Any]]:
    """A published estimate of GPT-4's compute over an A100's peak, MFU and rent; V3's ladder on top."""
    data, chip = claim.data, load_accelerator("a100-80g-sxm")
    peak = chip.need("bf16")

    def hours(flop: float, mfu: float) -> float:
        return flop / (peak * mfu) / HOUR_S

    middle = hours(data["flop"], data["mfu"])
    ends = hours(data["flop_low"], data["mfu_high"]), hours(data["flop_high"], data["mfu_low"])
    figures: Figures = {"a100_hours": Figure(middle, "GPU h", *ends)}
    figures["final_run_usd"] = Figure(middle * data["usd_per_h"], "USD", ends[0] * data["usd_per_h_low"],
                                      ends[1] * data["usd_per_h_high"])  # fmt: skip
    run = v3_run()
    for name in RUNGS[1:]:
        grown = ratio(run(f"{name}_usd"), run("final_run_usd"))
        value = figures["final_run_usd"]
        ends = ((value.low or 0.0) * (grown.low or 1.0), (value.high or 0.0) * (grown.high or 1.0))
        if name in ("interruptions", "experiments"):
            figures[f"{name}_usd"] = Figure(value.value * grown.value, "USD", *ends)
    figures["v3_final_run_usd"] = run("final_run_usd")
    figures["gpt4_over_v3"] = ratio(figures["final_run_usd"], figures["v3_final_run_usd"])
    figures["claimed_usd"] = exact(data["claimed_usd"], "USD")
    figures["claimed_over_v3"] = ratio(figures["claimed_usd"], figures["v3_final_run_usd"])
    figures["claimed_over_run"] = ratio(figures["claimed_usd"], figures["final_run_usd"])
    figures["claimed_over_experiments"] = ratio(figures["claimed_usd"], figures["experiments_usd"])
    return figures, {}


def jevons(_: Claim) -> tuple[Figures, dict[str, Any]]:
    """Spend = price × use and use ∝ price^−ε, so spend ∝ price^(1 − ε): ε = 1 breaks even whatever the fall.

    The fall is that of serving cost: a dense 405B in 16 bits to V3 in FP8, both at their best on the same cards.
    """
    dense = best_decode("h200-sxm", model="llama-3.1-405b", precision="bf16", max_gpus=16)
    ours = best_decode("h200-sxm")
    figures: Figures = {"usd_405b": dense("usd_per_mtok_output"), "usd_v3": ours("usd_per_mtok_output")}
    figures["price_fall"] = fall = ratio(figures["usd_405b"], figures["usd_v3"])
    at = [0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0]
    curve = [(1.0 / fall.value) ** (1.0 - elasticity) for elasticity in at]
    for elasticity in (0.5, 1.0, 1.5):
        name = f"{elasticity:g}".replace(".", "_")
        figures[f"use_at_{name}"] = exact(fall.value**elasticity, "x")
        figures[f"spend_at_{name}"] = exact((1.0 / fall.value) ** (1.0 - elasticity), "x")
    figures["break_even_elasticity"] = exact(float(np.interp(1.0, curve, at)), "")
    return figures, {"Spend after the fall over spend before": {
        "x": at, "series": {"spend": curve}, "xaxis": "price elasticity of demand", "unit": "x"}}  # fmt: skip


CLAIMS = {"train-6m": train_6m, "gpt4-100m": gpt4_100m, "jevons": jevons}
