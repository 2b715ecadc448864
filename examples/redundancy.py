"""Does redundancy pay? More expert slots level the load and take memory that requests could have.

    python examples/redundancy.py [--gpus 64] [--sigma 0.8] [--drift 0.15] [--tpot-ms 50]

Loads are log-normal (no full table of a deployment is public); each window drifts from the one that was planned on.
For every number of slots the experts are placed, and decode runs the batch that fits and meets the target.
"""

from __future__ import annotations

import argparse

import numpy as np

import costsim
from costsim.placement.drift import mean_imbalance, windows
from costsim.placement.eplb import eplb
from costsim.placement.load import lognormal
from costsim.placement.optimize import Goal, optimise
from costsim.placement.placement import Placement, Shape, naive
from costsim.placement.traffic import Choices, measure

LAYERS = 8  # of the 58, to average over
CHOICES = Choices(top_k=8, top_groups=4)


def decode(placement: Placement, ahead: float, remote: float, tpot_s: float) -> costsim.Report | None:
    """DeepSeek-V3 on H800 with this placement, at the batch with most tokens per second; None where none fits."""
    model, chip = costsim.load_model("deepseek-v3"), costsim.load_accelerator("h800-sxm")
    grid = {
        "gpus": [placement.shape.gpus], "ep": [placement.shape.gpus], "routing": ["eplb"],
        "overlap": ["none", "two-batch", "single-batch"],
        "redundant_experts": [placement.shape.slots - 256], "imbalance": [max(ahead, 1.0)], "remote_nodes": [remote],
        "context": [4096], "batch_per_gpu": list(range(4, 257, 4)),
    }  # fmt: skip
    found = costsim.search(model, chip, "decode", grid, objective="tokens_per_s_per_gpu", tpot_s=tpot_s)
    return None if found.best is None else costsim.predict_inference(model, chip, *found.best.question("decode"))


def main(arguments: list[str] | None = None) -> dict[int, float]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gpus", type=int, default=64)
    parser.add_argument("--sigma", type=float, default=0.8, help="spread of expert popularity")
    parser.add_argument("--drift", type=float, default=0.15, help="relative change of a load to the next window")
    parser.add_argument("--tpot-ms", type=float, default=50.0, help="most milliseconds a token")
    o = parser.parse_args(arguments)
    loads = lognormal(LAYERS, 256, o.sigma).counts
    later, goal = windows(loads, o.drift, 8, seed=1), Goal(drift=o.drift)

    print(f"256 experts on {o.gpus} H800, decode at 4k; popularity log-normal {o.sigma:g}, drift {o.drift:.0%}")
    print("busiest GPU over the mean as planned and in the next window; token/s a GPU\n")
    print("slots           planned    next   batch   token/s (P10 … P90), grade         weights")
    rates: dict[int, float] = {}
    reports: dict[int, costsim.Report] = {}
    least = -(-256 // o.gpus)  # slots a GPU that hold every expert once
    for per_gpu in (least, least + 1, least + 2, least + 4):
        shape = Shape(256, per_gpu * o.gpus, o.gpus, max(o.gpus // 8, 1), groups=8)
        ways = {"in order": naive(shape, LAYERS)} if per_gpu == least else {}
        ways |= {"EPLB": eplb(shape, loads), "ours": optimise(shape, loads, CHOICES, goal)}
        for name, placement in ways.items():
            ahead, now = mean_imbalance(placement, later), float(np.mean(placement.imbalance(loads)))
            remote = measure(placement, loads, CHOICES).remote_nodes_per_token
            report = decode(placement, ahead, remote, o.tpot_ms / 1e3)
            head = f"{shape.slots:5} {name:<9} {now:7.2f} {ahead:7.2f}"
            if report is None:
                print(f"{head}   no batch fits within the target")
                continue
            rate = report.metrics["tokens_per_s_per_gpu"]
            band = f"{rate.value:,.0f} ({rate.low:,.0f} … {rate.high:,.0f}), {rate.grade}"
            batch, weights = report.inputs["load"]["batch_per_gpu"], report.memory["weights_bytes"] / 1e9
            print(f"{head} {batch:7g}   {band:<32} {weights:5.1f} GB")
            if rate.value > rates.get(shape.slots, 0.0):
                rates[shape.slots], reports[shape.slots] = rate.value, report
    print()
    concluded(rates, reports)
    return rates


def concluded(rates: dict[int, float], reports: dict[int, costsim.Report]) -> None:
    """What follows from the best placement of each number of slots."""
    if not rates:
        print("Answer: no placement meets the target here; take more GPUs.")
        return
    fewest, top = min(rates), max(rates.values())
    # A hundredth is below what anybody can measure: of equal ones the one with most memory left is best.
    best = min(slots for slots, rate in rates.items() if rate >= 0.99 * top)
    if best == fewest:
        print(f"Answer: no. More slots than {fewest} bring {top / rates[fewest] - 1:.1%} at most.")
        return
    more = (reports[best].memory["weights_bytes"] - reports[fewest].memory["weights_bytes"]) / 1e9
    gain = rates[best] / rates[fewest] - 1
    print(f"Answer: yes, {best} slots: {gain:+.1%} tokens/s over {fewest} slots, for {more:.1f} GB more weights a GPU.")
    if rates[best] < (reports[fewest].metrics["tokens_per_s_per_gpu"].high or 0.0):
        print("Each number's own band is wider. They share their laws, so their order is surer than they are.")


if __name__ == "__main__":
    main()
