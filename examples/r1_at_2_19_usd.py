"""Is R1 at 2.19 USD a million output tokens profitable? DeepSeek's published day, replayed and then made worse.

    python examples/r1_at_2_19_usd.py [--gpu-price 2USD/h] [--paid 0.5]

`--paid` is the share of tokens that somebody pays the list price for: web and app are free, V3 is cheaper, nights are.
"""

from __future__ import annotations

import argparse

import costsim


def main(arguments: list[str] | None = None) -> dict[str, float]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gpu-price", default="2USD/h", help="price of an H800 and hour")
    parser.add_argument("--paid", type=float, default=0.5, help="share of tokens paid at list price")
    o = parser.parse_args(arguments)
    fleet = costsim.load_fleet("deepseek-2025-02-27")
    day = costsim.predict_fleet(fleet)
    cost, revenue = day.metrics["usd_per_day"], day.metrics["revenue_usd"]
    # The day is priced at the rate that its file names; another rate scales it.
    stated = costsim.in_usd(costsim.load_price("deepseek-2usd"))
    scale = costsim.in_usd(costsim.parse_rate(o.gpu_price, "--gpu-price")) / stated
    usd, low, high = (scale * end for end in (cost.value, cost.low, cost.high))

    load = fleet.load
    print(f"{fleet.name}")
    cached = load.cached_tokens / load.input_tokens
    print(f"  tokens in        {load.input_tokens / 1e9:,.0f} G, {cached:.0%} of them cached")
    print(f"  tokens out       {load.output_tokens / 1e9:,.0f} G")
    print(f"  nodes            {day.metrics['mean_nodes']}")
    print(f"  cost a day       {usd:,.0f} USD ({low:,.0f} … {high:,.0f}, grade {cost.grade}) at {o.gpu_price} a card")
    print(f"  all at list      {revenue.value:,.0f} USD\n")

    output = costsim.in_usd(costsim.load_price(fleet.price.output))
    of_output = output * load.output_tokens / 1e6
    print("USD a day          income     margin over cost")
    rows = {"all paid at list": 1.0, f"{o.paid:.0%} paid": o.paid}
    rows["output tokens alone"] = of_output / revenue.value
    for name, share in rows.items():
        earned = revenue.value * share
        margin = earned / usd - 1
        print(f"{name:<19} {earned:8,.0f} {margin:8.0%} ({earned / high - 1:.0%} … {earned / low - 1:.0%})")

    even = usd / revenue.value
    kept = revenue.value * o.paid
    cut = even / o.paid
    print(f"\nBreak-even: {even:.0%} of tokens paid ({low / revenue.value:.0%} … {high / revenue.value:.0%}),")
    print(f"or, with {o.paid:.0%} paid, all list prices cut to {cut:.0%}: {output * cut:.2f} USD a million out.")
    verdict = "profitable" if kept > high else "at a loss" if kept < low else "near break-even"
    print(f"Answer: {verdict} at {o.paid:.0%} paid: {kept:,.0f} USD in, {usd:,.0f} USD for cards.")
    print("Cards alone: no training, no staff, no bandwidth. The day's load fills them; an idle fleet earns nothing.")
    return {"usd_per_day": usd, "revenue": revenue.value, "break_even_share": even, "margin": revenue.value / usd - 1}


if __name__ == "__main__":
    main()
