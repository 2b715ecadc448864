"""Plans per CPU second: a grid through the public search, and a million unrelated plans through the same formulas.

Peers on similar machines: calculon 23-74, SimuMax 4-11 plans a second with pipelines; llm-analysis about 1,000
(FLOPs only); aiconfigurator about 60.
"""

from __future__ import annotations

import os
import time

import numpy as np

import costsim
from costsim.predict.phases import decode, setting_for

PLANS = 1_000_000
#: plans per array: the working set of a step stays in cache
CHUNK = 8192


def _print(what: str, plans: int, cpu: float) -> None:
    print(f"{what:<30} {plans:>9,} plans {cpu:6.2f} CPU s {plans / cpu:>12,.0f} plans/s")


def grid() -> None:
    """A million decode plans as a grid, with memory, divisibility and a latency target."""
    model, chip = costsim.load_model("deepseek-v3"), costsim.load_accelerator("h800-sxm")
    axes = {
        "gpus": [32, 64, 128, 256], "tp": [1, 2, 4, 8], "ep": [8, 16, 32, 64, 128],
        "context": list(range(512, 10241, 512)), "batch_per_gpu": list(range(1, 316)), "overlap": ["none", "two-batch"],
    }  # fmt: skip
    start = time.process_time()
    found = costsim.search(model, chip, "decode", axes, tpot_s=0.1)
    cpu = time.process_time() - start
    _print("grid through costsim.search", found.evaluated, cpu)


def scattered() -> None:
    """A million plans that share nothing, so that no axis can be factored out."""
    model, chip = costsim.load_model("deepseek-v3"), costsim.load_accelerator("h800-sxm")
    rng = np.random.default_rng(0)
    start = time.process_time()
    for first in range(0, PLANS, CHUNK):
        n = min(CHUNK, PLANS - first)
        plan = costsim.ServingPlan(
            gpus=2.0 ** rng.integers(3, 9, n), tp=2.0 ** rng.integers(0, 4, n), ep=2.0 ** rng.integers(0, 8, n),
            overlap="two-batch",
        )  # fmt: skip
        load = costsim.DecodeLoad(rng.integers(128, 16384, n).astype(float), rng.integers(2, 512, n).astype(float))
        with np.errstate(all="ignore"):
            decode(setting_for(model, chip, plan), load, strict=False)
    cpu = time.process_time() - start
    _print("scattered, same formulas", PLANS, cpu)


def main() -> None:
    print(f"one process, {os.cpu_count()} CPUs visible")
    grid()
    scattered()


if __name__ == "__main__":
    main()
