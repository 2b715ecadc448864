"""Price: what something cost, where, when and who says so; and the hourly rate of a card.

``hwprofiles/prices.toml`` is the catalog. Amounts stay in the currency they were published in;
:func:`in_usd` converts with the one exchange rate of the catalog.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, Final

from pydantic import Field, model_validator

from costsim import units
from costsim.errors import BadQuantity, Malformed, OutOfRange, UnknownName
from costsim.spec.accelerator import Accelerator, Confidence
from costsim.spec.base import Frozen, build, cited, read_toml
from costsim.spec.catalog import ROOT, load_accelerator

PRICES: Final = ROOT / "hwprofiles" / "prices.toml"
RENTALS: Final = ("rental", "rental_3yr", "rental_1yr_index", "rental_ondemand", "rental_ondemand_median")
_BY_DIMENSION: Final = {
    "money_rate": (*RENTALS, "tco_owning_hyperscaler", "tco_owning_neocloud", "amortised", "given"),
    "money": ("purchase", "purchase_server8", "capex_cluster"),
    "power": ("allin_power", "server_power"),
    "money_per_kwh": ("electricity", "colocation"),
    "money_per_mtok": ("api_input", "api_input_cached", "api_output"),
    "ratio": ("pue", "server_overhead", "residual_36mo", "cny_per_usd"),
    "count": ("useful_life",),
}
#: kind of price -> dimension of units.UNITS
KINDS: Final = {kind: dimension for dimension, kinds in _BY_DIMENSION.items() for kind in kinds}
_BEST_FIRST: Final = ("A", "A-", "B", "B-", "B (power only)", "C", "D")


class Price(Frozen):
    """One price or cost constant. ``value`` is in ``unit``; ``accelerator`` "*" holds for all.

    In TOML ``value`` is text with its unit (``"2 USD/h"``) and ``source`` a bib key or a list of them.
    """

    id: str
    accelerator: str = "*"
    kind: str
    value: float = Field(ge=0)
    unit: str = ""
    text: str
    currency: str = ""
    date: str = ""
    basis: str = ""
    confidence: Confidence = "D"
    sources: tuple[str, ...] = ()
    note: str = ""

    @model_validator(mode="before")
    @classmethod
    def _read(cls, raw: Any) -> Any:
        if not isinstance(raw, dict) or "text" in raw:
            return raw
        kind = raw.get("kind")
        if not isinstance(kind, str) or kind not in KINDS:
            raise ValueError(f"unknown kind {str(kind)[:40]!r}; kinds: {', '.join(KINDS)}")
        if not isinstance(raw.get("value"), str):
            raise ValueError(f"value: {raw.get('value')!r} is not text; write it with its unit, in quotes")
        data = cited(raw)
        money = KINDS[kind].startswith("money")
        currency = units.currency(raw["value"]) if money else ""
        if raw.get("currency", currency) != currency:
            raise ValueError(f"currency {raw['currency']!r} is not the currency of {raw['value']!r}")
        return data | {
            "value": units.parse(raw["value"], KINDS[kind], "value"),
            "unit": units.SI_NAME[KINDS[kind]].replace("USD", currency or "USD"),
            "text": raw["value"],
            "currency": currency,
        }


@lru_cache(maxsize=1)
def load_prices() -> tuple[Price, ...]:
    """Every price of the catalog, in the order of the file."""
    entries = read_toml(PRICES, "prices").get("price", [])
    return tuple(build(Price, entry, f"{PRICES.name}: {entry.get('id', 'price')}") for entry in entries)


def load_price(name: str) -> Price:
    """A price by id; raises UnknownName with the nearest ids."""
    known = {price.id: price for price in load_prices()}
    key = name.strip().lower().replace("_", "-")
    if key not in known:
        raise UnknownName("price", name, known)
    return known[key]


def parse_rate(text: str, field: str) -> Price:
    """An hourly rate from a price id or a quantity: ``deepseek-2usd``, ``2USD/h``, ``12 CNY/h``.

    Raises BadInput that names ``field`` for a bad quantity or a price that is no hourly rate, UnknownName for an id.
    """
    text = str(text).strip()
    if text[:1].isdigit() or text[:1] in ("", "+", "-", "."):
        if units.parse(text, "money_rate", field) < 0:
            raise BadQuantity(f"{field}: {text!r} is negative; write it like '2 USD/h'")
        return build(Price, {"id": "given", "kind": "given", "value": text, "confidence": "A"}, field)
    price = load_price(text)
    if KINDS[price.kind] != "money_rate":
        raise OutOfRange(f"{field}: {price.id} is of kind {price.kind} ({price.text}), not an hourly rate like 2 USD/h")
    return price


def in_usd(price: Price) -> float:
    """The amount in USD, per whatever it is per; raises BadInput where the catalog has no exchange rate."""
    if price.currency == "USD":
        return price.value
    if price.currency == "CNY":
        return price.value / _constant("cny_per_usd").value
    name = "price" if price.id == "given" else f"price {price.id}:"
    raise BadQuantity(f"{name} {price.text!r} cannot be converted to USD; write it in USD or CNY")


def default_rate(chip: Accelerator) -> Price | None:
    """The hourly rate of one card when the user names none; None where no price exists.

    First that exists: a rental of this card (best confidence, then latest); a neocloud's cost of owning it;
    its purchase price written off; one of these for its ``sibling``, at confidence D. Pass the card, not ``rank()``.
    """
    rate = _own_rate(chip)
    if rate is not None or chip.sibling is None:
        return rate
    sibling = load_accelerator(chip.sibling)
    rate = _own_rate(sibling)
    if rate is None:
        return None
    # the sibling of a die is the card that holds it
    share = chip.dies / sibling.dies
    note = f"rate of the sibling {sibling.id}" + (f" x {share:g}" if share != 1 else "")
    update = {"value": rate.value * share, "text": f"{rate.value * share:.6g} {rate.unit}", "accelerator": chip.id}
    return rate.model_copy(update={**update, "confidence": "D", "note": f"{note}; {rate.note}".rstrip("; ")})


def cluster_price(chip: Accelerator) -> tuple[float, bool] | None:
    """(USD, all in) to buy one card: with its share of server and network where such a price exists, else bare.

    Falls back to the ``sibling`` of the card; None where neither has a price.
    """
    for owner in (chip, None if chip.sibling is None else load_accelerator(chip.sibling)):
        if owner is None:
            continue
        name, share = owner.id, chip.dies / owner.dies
        whole, bare = _best(name, "capex_cluster"), _best(name, "purchase")
        if whole is not None or bare is not None:
            found = whole or bare
            assert found is not None
            return in_usd(found) * share, whole is not None
    return None


def _own_rate(chip: Accelerator) -> Price | None:
    return _best(chip.id, *RENTALS) or _best(chip.id, "tco_owning_neocloud") or _amortised(chip)


def _best(accelerator: str, *kinds: str) -> Price | None:
    """The price of one of these kinds with the best confidence, the latest of equals."""
    found = [price for price in load_prices() if price.accelerator == accelerator and price.kind in kinds]
    found.sort(key=lambda price: price.date, reverse=True)
    return min(found, key=lambda price: _BEST_FIRST.index(price.confidence), default=None)


def _constant(kind: str) -> Price:
    price = _best("*", kind)
    if price is None:
        raise Malformed(f"{PRICES.name}: no entry of kind {kind!r}; add one")
    return price


def _amortised(chip: Accelerator) -> Price | None:
    """purchase / life + TDP · server_overhead · PUE · electricity, USD per hour: card and power, nothing else."""
    purchase = _best(chip.id, "purchase")
    if purchase is None:
        return None
    life, *power = (_constant(kind) for kind in ("useful_life", "server_overhead", "pue", "electricity"))
    rate = in_usd(purchase) / (life.value * units.HOURS_PER_YEAR)
    note = f"{purchase.id} / {life.text} years"
    if chip.known("tdp"):
        rate += chip.need("tdp") / units.KILO * math.prod(price.value for price in power)
        note += " + TDP x server_overhead x PUE x electricity"
    else:
        power, note = [], f"{note}, no power: TDP unknown"
    sources = dict.fromkeys(key for price in (purchase, life, *power) for key in price.sources)
    entry: dict[str, object] = {"id": f"amortised-{chip.id}", "accelerator": chip.id, "kind": "amortised"}
    entry |= {"value": f"{rate:.6g} USD/h", "date": purchase.date, "basis": "card and power only"}
    entry |= {"source": list(sources), "note": f"{note}; leaves out server, network, building and staff"}
    return build(Price, entry, chip.id)
