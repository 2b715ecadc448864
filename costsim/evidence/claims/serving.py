"""Claims about serving: crowds, drafted tokens, the smallest deployment, and the published day."""

from __future__ import annotations

from typing import Any

from costsim.evidence.claims.asked import BATCHES, best_decode, fits, infer
from costsim.evidence.claims.figure import Figures, exact, of_metric, ratio, scaled, total
from costsim.evidence.claims.rules import Claim
from costsim.evidence.claims.size import WIDE
from costsim.predict.fleet import predict_fleet
from costsim.spec.fleet import load_fleet
from costsim.units import MEGA

#: DeepSeek's published day in hwprofiles/fleets
_DAY = "deepseek-2025-02-27"
ACCEPTED = (0.6, 0.7, 0.8, 0.9)


def one_256th(_: Claim) -> tuple[Figures, dict[str, Any]]:
    """USD per token from one request on a whole unit to a full one; a dense model of 37B under the same crowd."""
    batches = [1.0 / 144, 1.0 / 16, 1.0, 4.0, 16.0, 64.0, 128.0]
    costs = [infer("decode", **WIDE, batch_per_gpu=batch)("usd_per_mtok_output") for batch in batches]
    figures = dict(zip(("one_request", "nine_requests", "batch_1", "batch_4", "batch_16", "batch_64", "batch_128"),
                       costs, strict=True))  # fmt: skip
    figures["one_to_full"] = ratio(costs[0], costs[-1], common=True)
    figures["batch_1_to_full"] = ratio(costs[2], costs[-1], common=True)
    figures["batch_16_to_full"] = ratio(costs[4], costs[-1], common=True)
    node = [fits("decode", accelerator="h200-sxm", gpus=8, ep=8, context=4096, batch_per_gpu=b)
            for b in (1 / 8, *BATCHES)]  # fmt: skip
    known = [answer("usd_per_mtok_output") for answer in node if answer is not None]
    figures["node_one_request"], figures["node_floor"] = known[0], min(known, key=lambda figure: figure.value)
    figures["node_one_to_floor"] = ratio(known[0], figures["node_floor"], common=True)
    dense = [infer("decode", model="dense-37b", gpus=1, context=4096, batch_per_gpu=b)("usd_per_mtok_output")
             for b in (1, 32)]  # fmt: skip
    figures["dense_one_to_full"] = ratio(dense[0], dense[1], common=True)
    floor = infer("decode", **WIDE, batch_per_gpu=128.0)
    figures["floor_mfu"] = floor("mfu")
    return figures, {"USD per million output tokens": {
        "x": batches, "series": {"144 H800": [cost.value for cost in costs]}, "xaxis": "requests per card",
        "unit": "USD/Mtok"}}  # fmt: skip


def mtp(claim: Claim) -> tuple[Figures, dict[str, Any]]:
    """Time per token with one drafted token over without, by acceptance and batch."""
    figures: Figures = {}
    curves: dict[str, list[float | None]] = {f"{a:.0%} kept": [] for a in ACCEPTED}
    batches = (1, 4, 16, 32, 64, 96, 128)
    for batch in batches:
        plain = infer("decode", **WIDE, batch_per_gpu=batch)
        for a, curve in zip(ACCEPTED, curves.values(), strict=True):
            drafted = fits("decode", **WIDE, batch_per_gpu=batch, mtp_tokens=1, mtp_acceptance=a)
            if drafted is None:
                curve.append(None)
                continue
            gain = ratio(drafted("tokens_per_s_per_gpu"), plain("tokens_per_s_per_gpu"), common=True)
            curve.append(gain.value)
            if batch in (1, 32, 96) and a in (0.6, 0.8, 0.9):
                figures[f"gain_batch_{batch}_kept_{a * 100:.0f}"] = gain
        if batch in (1, 32, 96):
            figures[f"plain_batch_{batch}"] = plain("tpot_s")
            figures[f"drafted_batch_{batch}"] = infer(
                "decode", **WIDE, batch_per_gpu=batch, mtp_tokens=1, mtp_acceptance=0.85
            )("tpot_s")
            figures[f"gain_batch_{batch}"] = ratio(figures[f"plain_batch_{batch}"], figures[f"drafted_batch_{batch}"],
                                                   common=True)  # fmt: skip
    known = [value for values in curves.values() for value in values if value is not None]
    figures["least_gain"], figures["most_gain"] = exact(min(known), "x"), exact(max(known), "x")
    figures["expected_tokens"] = exact(1.0 + claim.data["acceptance"], "tokens a step")
    return figures, {"Tokens per second with one draft over none": {
        "x": list(batches), "series": curves, "xaxis": "requests per card", "unit": "x"}}  # fmt: skip


def two_weeks(_: Claim) -> tuple[Figures, dict[str, Any]]:
    """The smallest unit that holds the model on common cards, its rent over two weeks and its cost per token."""
    figures: Figures = {}
    prices: dict[str, str] = {}
    for name, chip, gpus in (("h200", "h200-sxm", 8), ("h20", "h20-96g", 16), ("h800", "h800-sxm", 16)):
        answer = best_decode(chip, max_gpus=gpus)
        hourly = answer.report.inputs["price"]["usd_per_h"] * answer.report.inputs["plan"]["gpus"]
        prices[name] = answer.report.inputs["price"]["id"]
        figures[f"{name}_usd_per_h"] = exact(hourly, "USD/h")
        figures[f"{name}_usd_two_weeks"] = exact(hourly * 24 * 14, "USD")
        figures[f"{name}_usd_per_mtok"] = answer("usd_per_mtok_output")
        figures[f"{name}_gpus"] = exact(answer.report.inputs["plan"]["gpus"], "GPU")
    # a card written off without its server is no offer that anybody makes
    rented = [figures[f"{name}_usd_two_weeks"] for name, price in prices.items() if not price.startswith("amortised")]
    figures["least_usd_two_weeks"] = min(rented, key=lambda figure: figure.value)
    return figures, {}


def day(claim: Claim) -> tuple[Figures, dict[str, Any]]:
    """The published day played on scaled units: nodes, USD and margin against what was published; and what the same
    tokens would cost at the kernels' full rate."""
    data = claim.data
    played = predict_fleet(load_fleet(_DAY))
    names = ("usd_per_day", "mean_nodes", "revenue_usd", "margin", "prefill_tokens_per_s_per_node",
             "decode_tokens_per_s_per_node")  # fmt: skip
    figures: Figures = {name: of_metric(played.metrics[name], f"costsim fleet --day {_DAY}", name) for name in names}
    wide: dict[str, Any] = {"overlap": "two-batch", "redundant_experts": 32}
    prefill = infer("prefill", gpus=32, ep=32, isl=4096, tokens_per_gpu=16384, **wide)("usd_per_mtok_input")
    decode = infer("decode", gpus=144, ep=144, context=4989, batch_per_gpu=128, **wide)("usd_per_mtok_output")
    load = played.fleet.load
    fresh, made = (count / MEGA for count in (load.input_tokens - load.cached_tokens, load.output_tokens))
    even = total([scaled(prefill, fresh, "USD"), scaled(decode, made, "USD")], "USD")
    figures |= {"prefill_kernel_usd": prefill, "decode_kernel_usd": decode, "usd_at_kernel_rate": even}
    spent = figures["usd_per_day"]
    figures["usd_off"] = exact(abs(spent.value / data["usd_per_day"] - 1.0), "share")
    figures["margin_off"] = exact(abs(figures["margin"].value / data["margin"] - 1.0), "share")
    figures["margin_at_published_cost"] = exact(figures["revenue_usd"].value / data["usd_per_day"] - 1.0, "ratio")
    # what part of the list price must have been paid for the day to break even
    figures["break_even_share_of_list"] = ratio(spent, figures["revenue_usd"], "share")
    return figures, {"Nodes of the day": {
        "x": [float(hour) for hour in played.hours], "series": {"predicted": [float(n) for n in played.nodes]},
        "xaxis": "hours from noon", "unit": "nodes"}}  # fmt: skip


CLAIMS = {"one-256th": one_256th, "mtp": mtp, "two-weeks": two_weeks, "day": day}
