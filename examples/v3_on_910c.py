"""Can I train DeepSeek-V3 on Ascend 910C? Memory, time and money of the best layout, beside 2,048 H800.

    python examples/v3_on_910c.py [--cards 1024] [--tokens 14.8e12] [--price "12 CNY/h"]

A card has two dies; widths count dies. The 910C has no FP8, so the run is in BF16.
"""

from __future__ import annotations

import argparse
from dataclasses import replace

import costsim

LAYOUTS = {"pp": [4, 8, 16], "tp": [1, 2, 4], "ep": [32, 64, 128, 256], "schedule": ["1f1b", "dualpipe"],
           "recompute": ["none", "selective", "full"], "precision": ["bf16"]}  # fmt: skip
LOAD = {"seq": [4096], "micro_batch": [1], "global_batch": [15360]}


def main(arguments: list[str] | None = None) -> dict[str, float]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cards", type=int, default=1024)
    parser.add_argument("--tokens", type=float, default=14.8e12, help="tokens of the whole run")
    parser.add_argument("--price", default="12 CNY/h", help="what a card costs an hour")
    o = parser.parse_args(arguments)
    model, chip = costsim.load_model("deepseek-v3"), costsim.load_accelerator("ascend-910c")
    price = costsim.parse_rate(o.price, "--price")

    grid = {"gpus": [o.cards], **LAYOUTS, **LOAD}
    found = costsim.search(model, chip, "training", grid, objective="tokens_per_s_per_gpu", price=price)
    print(f"{found.evaluated} layouts of {o.cards} cards: {found.feasible} work")
    for reason, count in sorted(found.rejected.items(), key=lambda item: -item[1]):
        print(f"  {count:4} {reason}")
    if found.best is None:
        print("Answer: no. None of these layouts holds the model.")
        return {"feasible": 0.0}

    plan, load = found.best.question("training")
    ours = costsim.predict_training(model, chip, plan, replace(load, tokens=o.tokens), price)
    print(f"\nbest: pp {plan.pp:g}, tp {plan.tp:g}, ep {plan.ep:g}, {plan.schedule}, recompute {plan.recompute}")
    # DeepSeek's own layout, in FP8, is what this is held against.
    published = costsim.TrainingPlan(gpus=2048, pp=16, ep=64, schedule="dualpipe")
    h800 = costsim.predict_training(model, costsim.load_accelerator("h800-sxm"), published,
                                    replace(load, tokens=o.tokens))  # fmt: skip
    days = {}
    for name, report, cards in (("910C", ours, o.cards), ("H800", h800, 2048)):
        hours = report.metrics["gpu_hours"]
        days[name] = hours.value / cards / 24
        print(f"\n{cards:,} x {name}, {report.inputs['plan']['precision']}")
        print(f"  step             {report.metrics['step_s']}")
        print(f"  MFU              {report.metrics['mfu_causal']}")
        filled = report.memory["total_bytes"] / report.memory["capacity_bytes"]
        print(f"  fullest device   {report.memory['total_bytes'] / 1e9:.1f} GB, {filled:.0%} of what it has")
        print(f"  card hours       {hours}")
        print(f"  USD              {report.metrics['usd_per_run']}")
        print(f"  days             {days[name]:.0f}")

    hours = ours.metrics["gpu_hours"]
    low, high = (end / o.cards / 24 for end in (hours.low, hours.high))
    usd = ours["usd_per_run"] / h800["usd_per_run"]
    print(f"\nAnswer: it fits, and takes {days['910C']:.0f} days ({low:.0f} … {high:.0f}) on {o.cards:,} cards.")
    print(f"One 910C card does the work of {h800['gpu_hours'] / ours['gpu_hours']:.2f} H800; "
          f"the run costs {usd:.2f} times as much at {o.price}.")  # fmt: skip
    print(f"Grade {hours.grade}: no training kernel of the 910C is published. Stops and restarts come on top.")
    return {"feasible": float(found.feasible), "days": days["910C"], "usd_ratio": usd}


if __name__ == "__main__":
    main()
