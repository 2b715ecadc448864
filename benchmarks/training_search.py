"""Training layouts per CPU second: a grid through the public search, and layouts that share nothing.

Both with divisibility and memory. "Costed" counts every layout whose step and memory were computed, also those that
a rule throws out. Peers on similar machines: calculon 23-74 a second, SimuMax 4-11.
"""

from __future__ import annotations

import os
import time
from typing import Any

import numpy as np

import costsim
from costsim.predict.training import training_step
from costsim.spec.cluster import standard_cluster

#: layouts per array in the second case: the working set of a step stays in cache
CHUNK = 4096
LAYOUTS = 200_000
GRID: dict[str, Any] = {
    "gpus": [2048], "tp": [1, 2, 4, 8], "pp": [1, 2, 4, 8, 16, 32], "vpp": [1, 2, 4],
    "ep": [1, 2, 4, 8, 16, 32, 64, 128, 256], "cp": [1, 2, 4, 8], "zero": [0, 1],
    "schedule": ["1f1b", "interleaved", "zb-h1", "dualpipe"], "recompute": ["none", "selective", "full"],
    "precision": ["fp8", "bf16"], "seq": [4096], "micro_batch": [1, 2, 4, 8], "global_batch": [7680, 15360],
}  # fmt: skip


def _print(what: str, layouts: int, feasible: int, cpu: float) -> None:
    print(f"{what:<30} {layouts:>9,} layouts, {feasible:>7,} fit {cpu:6.2f} CPU s {layouts / cpu:>12,.0f} a second")


def grid() -> float:
    """Layouts of a grid through ``costsim.search``, with frontier, reasons and families; returns layouts a second."""
    model, chip = costsim.load_model("deepseek-v3"), costsim.load_accelerator("h800-sxm")
    start = time.process_time()
    found = costsim.search(model, chip, "training", GRID, objective="step_s")
    cpu = time.process_time() - start
    _print("grid through costsim.search", found.evaluated, found.feasible, cpu)
    return found.evaluated / cpu


def scattered(layouts: int = LAYOUTS) -> float:
    """Layouts drawn at random, so that no axis can be factored out; returns layouts a second."""
    model, chip = costsim.load_model("deepseek-v3"), costsim.load_accelerator("h800-sxm")
    cluster = standard_cluster(chip, 2048)
    rng = np.random.default_rng(0)
    words = [(r, p, s) for r in GRID["recompute"] for p in GRID["precision"] for s in GRID["schedule"]]
    fit = done = 0
    start = time.process_time()
    for index in range(-(-layouts // CHUNK)):
        recompute, precision, schedule = words[index % len(words)]
        drawn = {name: rng.choice(np.asarray(GRID[name], dtype=float), CHUNK) for name in GRID if name not in
                 ("recompute", "precision", "schedule", "seq", "micro_batch", "global_batch")}  # fmt: skip
        plan = costsim.TrainingPlan(**drawn, recompute=recompute, precision=precision, schedule=schedule)
        load = costsim.TrainingLoad(4096.0, rng.choice([3840.0, 7680.0, 15360.0], CHUNK), rng.choice([1.0, 2.0], CHUNK))
        with np.errstate(all="ignore"):
            step, _ = training_step(model, chip, plan, load, cluster, strict=False)
        good = np.asarray(step.memory.total_bytes) <= 0.96 * chip.need("memory")
        for rule in step.rules:
            good &= ~rule.broken
        fit += int(good.sum())
        done += CHUNK
    cpu = time.process_time() - start
    _print("scattered, same formulas", done, fit, cpu)
    return done / cpu


def main() -> None:
    print(f"one process, {os.cpu_count()} CPUs visible")
    grid()
    scattered()


if __name__ == "__main__":
    main()
