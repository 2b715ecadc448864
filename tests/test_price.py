"""Prices: every entry loads and is sourced; rates parse; the default rate follows its stated rule."""

from __future__ import annotations

import csv
import re
from collections import Counter
from pathlib import Path

import pytest

from costsim.errors import BadInput, UnknownName
from costsim.predict.inference import predict_inference
from costsim.spec import catalog
from costsim.spec.base import build
from costsim.spec.plan import ServingLoad, ServingPlan
from costsim.spec.price import KINDS, Price, default_rate, in_usd, load_price, load_prices, parse_rate

PRICES_CSV = Path(__file__).resolve().parents[2] / "shared" / "truth" / "prices.csv"
HOURS_PER_MONTH = 730.5


def rate_of(accelerator: str) -> Price:
    rate = default_rate(catalog.load_accelerator(accelerator))
    assert rate is not None
    return rate


def test_every_price_loads_with_source_date_and_known_accelerator() -> None:
    prices = load_prices()
    assert len(prices) >= 70
    for price in prices:
        assert price.sources, price.id
        assert re.fullmatch(r"20\d\d(-(Q[1-4]|\d\d(-\d\d)?))?", price.date), price.id
        assert price.accelerator == "*" or price.accelerator in catalog.names(catalog.ACCELERATORS), price.id
        assert price.value > 0, price.id


def test_ids_are_unique_and_cannot_be_taken_for_a_quantity() -> None:
    ids = [price.id for price in load_prices()]
    assert len(ids) == len(set(ids))
    assert all(re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name) for name in ids)
    assert load_prices() is load_prices()


@pytest.mark.skipif(not PRICES_CSV.is_file(), reason="the collected table prices.csv is not beside this checkout")
def test_values_equal_the_collected_table() -> None:
    scale = {"allin_power": 1e3, "server_power": 1e3, "colo": 1 / HOURS_PER_MONTH}
    with PRICES_CSV.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    have = Counter((p.accelerator, p.kind, p.currency or "USD", float(f"{p.value:.4g}")) for p in load_prices())
    for row in rows:
        kind = {"colo": "colocation"}.get(row["kind"], row["kind"])
        money = "CNY" if "CNY" in row["unit"] else "USD"
        value = float(f"{float(row['value']) * scale.get(row['kind'], 1.0):.4g}")
        assert have[row["id"], kind, money, value] == 1, row


def test_api_price_lists_of_deepseek() -> None:
    listed = {name: load_price(f"deepseek-{name}").value for name in ("r1-input-cached", "r1-input", "r1-output")}
    assert listed == {"r1-input-cached": 0.14, "r1-input": 0.55, "r1-output": 2.19}
    assert [load_price(f"deepseek-v3-{name}").value for name in ("input-cached", "input", "output")] == [
        0.07,
        0.27,
        1.1,
    ]


def test_unknown_price_offers_the_nearest() -> None:
    with pytest.raises(UnknownName, match=r"unknown price 'deepseek-2us'; nearest: deepseek-2usd"):
        load_price("deepseek-2us")


@pytest.mark.parametrize(
    ("text", "value", "unit", "usd"),
    [
        ("2USD/h", 2.0, "USD/h", 2.0),
        ("1.99 USD/h", 1.99, "USD/h", 1.99),
        ("12 CNY/h", 12.0, "CNY/h", 12 / 7.2),
        ("0 USD/h", 0.0, "USD/h", 0.0),
        ("deepseek-2usd", 2.0, "USD/h", 2.0),
        ("Semianalysis_Rental_3yr_H100_SXM", 1.3, "USD/h", 1.3),
    ],
)
def test_rate_from_quantity_or_id(text: str, value: float, unit: str, usd: float) -> None:
    rate = parse_rate(text, "--price")
    assert (rate.value, rate.unit) == (value, unit)
    assert in_usd(rate) == pytest.approx(usd)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("2", r"--price: a bare number in '2'; write it like '2 USD/h'"),
        ("2 USD", r"--price: unknown unit 'USD'"),
        ("-2 USD/h", r"--price: '-2 USD/h' is negative"),
        ("2 GBP/h", r"--price: unknown unit 'GBP/h'"),
        ("", r"--price: '' is not a quantity"),
        ("electricity-us-industrial", r"--price: electricity-us-industrial is of kind electricity"),
        ("huggingface-purchase-h100-sxm", r"is of kind purchase \(30000 USD\), not an hourly rate"),
        ("cheap", r"unknown price 'cheap'"),
    ],
)
def test_bad_rate_is_one_line(text: str, message: str) -> None:
    with pytest.raises(BadInput, match=message) as caught:
        parse_rate(text, "--price")
    assert "\n" not in str(caught.value)


def test_currency_without_a_rate_is_refused() -> None:
    with pytest.raises(BadInput, match=r"'3 EUR/h' cannot be converted to USD"):
        in_usd(parse_rate("3 EUR/h", "--price"))


def test_default_is_the_rental_of_best_confidence_then_latest() -> None:
    assert rate_of("h800-sxm").id == "deepseek-2usd"
    assert rate_of("h100-sxm").id == "semianalysis-rental-3yr-h100-sxm"
    assert rate_of("mi300x").value == 1.55


def test_default_amortises_a_purchase() -> None:
    """14000 USD over 4 years of 8766 h, and 400 W x 1.3 x 1.3 at 0.08 USD/kWh."""
    rate = rate_of("h20-96g")
    assert rate.value == pytest.approx(14000 / (4 * 8766) + 0.4 * 1.3 * 1.3 * 0.08, rel=1e-5)
    assert (rate.kind, rate.confidence, rate.unit) == ("amortised", "D", "USD/h")
    assert "huggingface-purchase-h20-96g / 4 years + TDP" in rate.note
    assert set(rate.sources) == {"huggingface-hardware", "aidatacenterguide-life", "aiinframap-power"}


def test_default_amortises_without_power_where_tdp_is_unknown() -> None:
    rate = rate_of("ascend-910c")
    assert rate.value == pytest.approx(180000 / 7.2 / (4 * 8766), rel=1e-5)
    assert "no power: TDP unknown" in rate.note


def test_default_of_a_sibling_says_so() -> None:
    rate = rate_of("h100-pcie")
    assert (rate.value, rate.confidence, rate.accelerator) == (2.0, "D", "h100-pcie")
    assert "rate of the sibling h800-sxm" in rate.note


def test_a_die_costs_half_its_card() -> None:
    card, die = rate_of("ascend-910c"), rate_of("ascend-910c-die")
    assert die.value == pytest.approx(card.value / 2)


def test_no_price_is_no_rate() -> None:
    assert default_rate(catalog.load_accelerator("ascend-910b3")) is None


@pytest.mark.parametrize("name", catalog.names(catalog.ACCELERATORS))
def test_every_default_is_an_hourly_rate(name: str) -> None:
    rate = default_rate(catalog.load_accelerator(name))
    if rate is not None:
        assert KINDS[rate.kind] == "money_rate"
        assert 0.05 < in_usd(rate) < 10
        assert rate.sources


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"kind": "rental", "value": "2 USD"}, r"unknown unit 'USD'"),
        ({"kind": "rental", "value": 2.0}, r"value: 2.0 is not text"),
        ({"kind": "gift", "value": "2 USD/h"}, r"unknown kind 'gift'"),
        ({"kind": "rental", "value": "2 USD/h", "currency": "CNY"}, r"currency 'CNY' is not the currency"),
        ({"kind": "rental", "value": "2 USD/h", "cost": 1}, r"cost"),
        ({"kind": "rental", "value": "-2 USD/h"}, r"value"),
    ],
)
def test_bad_entry_is_one_line(entry: dict[str, object], message: str) -> None:
    with pytest.raises(BadInput, match=message) as caught:
        build(Price, {"id": "mine"} | entry, "prices.toml: mine")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("gpus", "concurrency", "length_ratio"), [(8, 16, None), (16, 512, None), (16, 512, 1.0)])
def test_a_served_loop_pays_for_every_card_and_no_more(gpus: int, concurrency: int, length_ratio: float | None) -> None:
    load = ServingLoad(2000, 500, concurrency, length_ratio=length_ratio)
    plan = ServingPlan(gpus=gpus, ep=gpus, overlap="none")
    report = predict_inference(
        catalog.load_model("deepseek-v3"),
        catalog.load_accelerator("h200-sxm"),
        plan,
        load,
        parse_rate("2USD/h", "price"),
    )
    made = report["output_tokens_per_s_per_gpu"]
    paid = report["usd_per_mtok_output"] + report["usd_per_mtok_input"] * 2000 / 500
    # lengths are drawn, so the mean prompt per answer is four only about
    assert paid * made / 1e6 * 3600 == pytest.approx(2.0, rel=0.02)


def test_yuan_by_either_name() -> None:
    assert in_usd(parse_rate("12 RMB/h", "--price")) == in_usd(parse_rate("12 CNY/h", "--price"))
