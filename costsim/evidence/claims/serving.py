"""Claims about serving: crowds, drafted tokens, the smallest deployment, and the published day."""

from __future__ import annotations

from typing import Any

from costsim.evidence.claims.asked import BATCHES, best_decode, fits, infer
from costsim.evidence.claims.figure import Figure, Figures, exact, ratio, scaled, total
from costsim.evidence.claims.rules import Claim
from costsim.evidence.claims.size import WIDE
from costsim.spec.price import in_usd, load_price
from costsim.units import DAY_S, HOUR_S, MEGA

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
    for name, chip, gpus in (("h200", "h200-sxm", 8), ("h20", "h20-96g", 16), ("h800", "h800-sxm", 16)):
        answer = best_decode(chip, max_gpus=gpus)
        hourly = answer.report.inputs["price"]["usd_per_h"] * answer.report.inputs["plan"]["gpus"]
        figures[f"{name}_usd_per_h"] = exact(hourly, "USD/h")
        figures[f"{name}_usd_two_weeks"] = exact(hourly * 24 * 14, "USD")
        figures[f"{name}_usd_per_mtok"] = answer("usd_per_mtok_output")
        figures[f"{name}_gpus"] = exact(answer.report.inputs["plan"]["gpus"], "GPU")
    figures["least_usd_two_weeks"] = min(
        (figures[f"{name}_usd_two_weeks"] for name in ("h200", "h20", "h800")), key=lambda figure: figure.value
    )
    return figures, {}


def day(claim: Claim) -> tuple[Figures, dict[str, Any]]:
    """GPU days of the published tokens at predicted production rates, at list prices; against what was published."""
    data = claim.data
    fresh = data["input_tokens"] - data["cached_tokens"]
    wide: dict[str, Any] = {"overlap": "two-batch", "redundant_experts": 32, "routing": "production"}
    prefill = infer("prefill", gpus=32, ep=32, isl=4096, tokens_per_gpu=16384, **wide)
    decode = infer("decode", gpus=144, ep=144, context=4989, batch_per_gpu=128, **wide)
    costs = {
        "prefill_usd": scaled(prefill("usd_per_mtok_input"), fresh / MEGA, "USD"),
        "decode_usd": scaled(decode("usd_per_mtok_output"), data["output_tokens"] / MEGA, "USD"),
    }
    spent = total(list(costs.values()), "USD")
    units: list[tuple[str, dict[str, Any]]] = [
        ("prefill", {"gpus": 32, "ep": 32, "isl": 4096, "tokens_per_gpu": 16384}),
        ("decode", {"gpus": 144, "ep": 144, "context": 4989, "batch_per_gpu": 128}),
    ]
    kernels = [infer(phase, **keys | wide | {"routing": "balanced"}) for phase, keys in units]
    even = total([scaled(kernels[0]("usd_per_mtok_input"), fresh / MEGA, "USD"),
                  scaled(kernels[1]("usd_per_mtok_output"), data["output_tokens"] / MEGA, "USD")], "USD")  # fmt: skip
    revenue = sum(
        data[f"{kind}_tokens"] / MEGA * in_usd(load_price(f"deepseek-r1-{name}"))
        for kind, name in (("cached", "input-cached"), ("output", "output"))
    ) + fresh / MEGA * in_usd(load_price("deepseek-r1-input"))
    rate = prefill.report.inputs["price"]["usd_per_h"]
    nodes = scaled(spent, 1.0 / (rate * 8 * DAY_S / HOUR_S), "nodes")
    figures: Figures = {
        "prefill_rate": prefill("tokens_per_s_per_gpu"), "decode_rate": decode("tokens_per_s_per_gpu"), **costs,
        "usd_per_day": spent, "usd_at_kernel_rate": even, "mean_nodes": nodes, "revenue_usd": exact(revenue, "USD"),
        "margin": _margin(revenue, spent), "published_usd_per_day": exact(data["usd_per_day"], "USD"),
        "published_margin": exact(data["margin"], "x"),
    }  # fmt: skip
    figures["usd_off"] = exact(abs(spent.value / data["usd_per_day"] - 1.0), "share")
    figures["margin_off"] = exact(abs(figures["margin"].value / data["margin"] - 1.0), "share")
    billed = exact(data["usd_per_day"], "USD")
    figures["margin_of_published_cost"] = exact(revenue / billed.value - 1.0, "x")
    # what part of the list price must have been paid for the day to break even
    figures["break_even_share_of_list"] = ratio(spent, exact(revenue, "USD"), "share")
    return figures, {}


def _margin(revenue: float, spent: Figure) -> Figure:
    """Profit over cost."""
    ends = [None if end is None else revenue / end - 1.0 for end in (spent.high, spent.low)]
    return Figure(revenue / spent.value - 1.0, "x", ends[0], ends[1])


CLAIMS = {"one-256th": one_256th, "mtp": mtp, "two-weeks": two_weeks, "day": day}
