"""H20 or H800 for my load? Cheapest prefill and decode of DeepSeek-V3 on each, priced per thousand requests.

    python examples/h20_or_h800.py [--isl 4096] [--osl 1024] [--tpot-ms 50] [--h20 1.2USD/h] [--h800 2USD/h]

Each chip gets the best plan of a few thousand. Then all inputs are drawn from their bands to see how sure the order is.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

import costsim

CARDS = {"h20-96g": [8, 16, 32, 64], "h800-sxm": [16, 32, 64, 128, 256]}
GRID = {"tp": [1, 2, 4, 8], "ep": [1, 8, 16, 32, 64, 128, 256], "overlap": ["none", "two-batch", "single-batch"],
        "routing": ["eplb"], "redundant_experts": [0, 32]}  # fmt: skip


@dataclass(frozen=True)
class Answer:
    """One chip: its best prefill and decode, and USD for a thousand requests with P10 and P90."""

    chip: str
    prefill: costsim.Report
    decode: costsim.Report
    usd: float
    low: float
    high: float


def best(chip: str, phase: str, load: dict[str, list[float]], rate: costsim.Price, **limits: float) -> costsim.Report:
    """The cheapest plan of a phase, asked again for its bands and grades."""
    model, card = costsim.load_model("deepseek-v3"), costsim.load_accelerator(chip)
    grid = {"gpus": CARDS[chip], **GRID, **load}
    found = costsim.search(model, card, phase, grid, price=rate, **limits)
    if found.best is None:
        raise SystemExit(f"{chip}: no {phase} plan meets the target; {found.notes[-1] if found.notes else ''}")
    return costsim.predict_inference(model, card, *found.best.question(phase), price=rate)


def answer(chip: str, rate: str, isl: int, osl: int, tpot_s: float) -> Answer:
    price = costsim.parse_rate(rate, chip)
    prompts = {"isl": [isl], "tokens_per_gpu": [2048, 4096, 8192, 16384]}
    prefill = best(chip, "prefill", prompts, price)
    context = isl + osl // 2  # the cache of a request half way through its answer
    batches = {"context": [context], "batch_per_gpu": [4, 8, 16, 24, 32, 48, 64, 96, 128, 192, 256]}
    decode = best(chip, "decode", batches, price, tpot_s=tpot_s)
    parts = [(prefill.metrics["usd_per_mtok_input"], isl), (decode.metrics["usd_per_mtok_output"], osl)]
    usd, low, high = (sum(getattr(m, end) * tokens for m, tokens in parts) / 1e3 for end in ("value", "low", "high"))
    return Answer(chip, prefill, decode, usd, low, high)


def shown(found: Answer) -> None:
    for report in (found.prefill, found.decode):
        plan, load = report.inputs["plan"], report.inputs["load"]
        size, what = (load["batch_per_gpu"], "requests") if "context" in load else (load["tokens_per_gpu"], "tokens")
        layout = f"{plan['gpus']:g} cards, tp {plan['tp']:g}, ep {plan['ep']:g}"
        print(f"{found.chip:<9} {report.kind:<8} {layout}, {size:g} {what} a card")
        print(f"          {report.metrics['tokens_per_s_per_gpu']}")
    print(f"          1,000 requests: {found.usd:.2f} USD ({found.low:.2f} … {found.high:.2f})\n")


def main(arguments: list[str] | None = None) -> dict[str, float]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--isl", type=int, default=4096, help="prompt tokens of a request")
    parser.add_argument("--osl", type=int, default=1024, help="answer tokens of a request")
    parser.add_argument("--tpot-ms", type=float, default=50.0, help="most milliseconds a token")
    parser.add_argument("--h20", default="1.2USD/h", help="price of an H20 and hour")
    parser.add_argument("--h800", default="2USD/h", help="price of an H800 and hour")
    o = parser.parse_args(arguments)
    print(f"DeepSeek-V3, {o.isl:,} tokens in, {o.osl:,} out, at most {o.tpot_ms:g} ms a token")
    print(f"H20 at {o.h20}, H800 at {o.h800}\n")
    h20, h800 = (answer(chip, rate, o.isl, o.osl, o.tpot_ms / 1e3)
                 for chip, rate in (("h20-96g", o.h20), ("h800-sxm", o.h800)))  # fmt: skip
    shown(h20)
    shown(h800)
    questions = [costsim.of_report(found.decode.json(), found.chip) for found in (h20, h800)]
    sure = costsim.ranking(questions, "usd_per_mtok_output", draws=200).beats[0][1]
    ratio = costsim.in_usd(costsim.parse_rate(o.h20, "h20")) * h800.usd / h20.usd
    cheaper, other = (h20, h800) if h20.usd < h800.usd else (h800, h20)
    print(f"Answer: {cheaper.chip} is {1 - cheaper.usd / other.usd:.0%} cheaper a request at these prices.")
    print(f"Both cost the same when an H20 costs {ratio:.2f} USD/h; below that, rent H20.")
    print(f"In decode alone, H20 is cheaper in {sure:.0%} of draws from the bands of laws, datasheets and prices.")
    if h20.low < h800.high and h800.low < h20.high:
        print("The bands of the two overlap: measure one of them before a large order.")
    return {"h20_usd": h20.usd, "h800_usd": h800.usd, "break_even_usd_per_h": ratio, "h20_beats_h800": sure}


if __name__ == "__main__":
    main()
