"""A deployment's report set against an API's list price: how much of its full load it takes to be the cheaper way."""

from __future__ import annotations

from dataclasses import replace

from costsim.economics.break_even import ApiPrice, api_usd_per_mtok_output, break_even_share
from costsim.economics.cost import usd_per_mtok
from costsim.errors import BadOption
from costsim.predict.report import Metric, Report
from costsim.spec.plan import ServingLoad

#: names of what is added
OWN, API, SHARE = "self_hosted_usd_per_mtok_output", "api_usd_per_mtok_output", "break_even_share"


def with_break_even(report: Report, load: ServingLoad, price: ApiPrice) -> Report:
    """The report of a full deployment with three more numbers: its whole rent and the API's bill for a million answer
    tokens and their prompts, and the share of its load at which both are equal.

    Raises BadInput where the cards have no price.
    """
    rent = report.inputs.get("price")
    cost = report.metrics.get("usd_per_mtok_output")
    if not isinstance(rent, dict) or cost is None:
        raise BadOption("--api-price: the cards have no price to compare with; give --price, like 2USD/h")
    rate = report.metrics["output_tokens_per_s_per_gpu"]
    own = usd_per_mtok(rent["usd_per_h"], rate.value)
    # more tokens a second make each cheaper: the high end of the rate is the low end of the cost
    low = None if rate.high is None else float(usd_per_mtok(rent["usd_per_h"], rate.high))
    high = None if rate.low is None else float(usd_per_mtok(rent["usd_per_h"], rate.low))
    api = float(api_usd_per_mtok_output(price, load.isl, load.osl, load.cached))
    ends = [None if end is None else float(break_even_share(end, api)) for end in (low, high)]
    added = {
        OWN: Metric(float(own), "USD/Mtok", low, high, cost.grade),
        API: Metric(api, "USD/Mtok", api, api, price.confidence[:1]),
        SHARE: Metric(float(break_even_share(own, api)), "share", ends[0], ends[1], cost.grade),
    }
    note = (
        f"break-even with {price.id}: {price.input:g} USD/Mtok in, {price.cached:g} cached, {price.output:g} out; "
        "cards are paid for whether used or not, and all of their rent is set against the answers"
    )
    return replace(
        report, metrics={**report.metrics, **added}, notes=(*report.notes, note),
        sources=tuple(dict.fromkeys((*report.sources, *price.sources))),
    )  # fmt: skip
