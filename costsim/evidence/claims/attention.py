"""Claims about latent attention: bytes kept for a token, what they buy, and when they do not."""

from __future__ import annotations

from typing import Any

import numpy as np

from costsim.evidence.claims.asked import BATCHES, Asked, best_decode, fits
from costsim.evidence.claims.figure import Figure, Figures, exact, ratio, saving
from costsim.evidence.claims.rules import Claim
from costsim.explore.inputs import of_report
from costsim.explore.moved import Asked as Moved
from costsim.explore.sensitivity import levers, sampled
from costsim.physics.parameters import kv_bytes_per_token
from costsim.spec.catalog import load_model

#: V3 with other attention, all else the same; nobody has trained them
GQA, MHA = "deepseek-v3-gqa", "deepseek-v3-mha"
#: deployments from large to small on which attention kinds are compared: cards, tensor width, expert width
SIZES = ((144, 1, 144), (32, 1, 32), (16, 1, 16), (8, 1, 8), (8, 8, 8))


def kept(model: str) -> Figure:
    """KV bytes of a token in all layers, 16 bits."""
    value = float(kv_bytes_per_token(load_model(model), "bf16"))
    return Figure(value, "B/token", None, None, f"costsim models show {model}", "kv_bytes_per_token.bf16")


def largest_batch(model: str, **plan: Any) -> Asked | None:
    """The decode question with the most requests a card that fit, to the next of BATCHES."""
    answers = (fits("decode", model=model, batch_per_gpu=batch, **plan) for batch in reversed((*BATCHES, 1024, 2048)))
    return next((answer for answer in answers if answer is not None), None)


def mla_93(claim: Claim) -> tuple[Figures, dict[str, Any]]:
    """Bytes against MHA, GQA and the dense 67B that the published 93% was measured on; batch and rate they allow."""
    mla, v2 = kept("deepseek-v3"), kept("deepseek-v2")
    figures: Figures = {
        "v3_mla": mla, "v3_gqa": kept(GQA), "v3_mha": kept(MHA),
        "v2_mla": v2, "dense_67b": kept("deepseek-67b"),
    }  # fmt: skip
    figures["saved_against_mha"] = saving(mla, figures["v3_mha"])
    figures["saved_against_gqa"] = saving(mla, figures["v3_gqa"])
    figures["saved_against_67b"] = saving(v2, figures["dense_67b"])
    cut = exact(v2.value * claim.data["v2_kv_bits"] / 16.0, "B/token")
    figures["v2_quantised"] = cut
    figures["saved_against_67b_quantised"] = saving(cut, figures["dense_67b"])
    figures["off_claim"] = exact(abs(figures["saved_against_67b"].value - claim.data["claimed"]), "share")
    figures["off_claim_quantised"] = exact(
        abs(figures["saved_against_67b_quantised"].value - claim.data["claimed"]), "share"
    )
    wide: dict[str, Any] = {"gpus": 32, "ep": 32, "context": 16384}
    for name in ("deepseek-v3", GQA):
        found = largest_batch(name, **wide)
        if found is not None:
            short = "mla" if name == "deepseek-v3" else "gqa"
            figures[f"{short}_rate_at_largest_batch"] = found("tokens_per_s_per_gpu")
            figures[f"{short}_largest_batch"] = exact(float(found.report.inputs["load"]["batch_per_gpu"]), "requests")
    figures["rate_gain_on_gqa"] = ratio(figures["mla_rate_at_largest_batch"], figures["gqa_rate_at_largest_batch"])
    return figures, {}


def _drawn_ratio(ours: Asked, other: Asked, draws: int = 100) -> Figure:
    """Cost over cost, its band from draws in which both share every law but those of their own attention."""
    metric = "usd_per_mtok_output"
    asked = [Moved(of_report(each.report.json(), each.command), metric) for each in (ours, other)]
    top, bottom = sampled(asked, [levers(each) for each in asked], draws, seed=0)
    low, high = (float(end) for end in np.quantile(top / bottom, (0.1, 0.9)))
    value = ours(metric).value / other(metric).value
    return Figure(value, "x", min(low, value), max(high, value))


def mla_backfire(_: Claim) -> tuple[Figures, dict[str, Any]]:
    """USD per token of MLA over GQA of the same sizes and over a dense 37B as cards and requests fall."""
    figures: Figures = {}
    curves: dict[str, list[float | None]] = {}
    pairs: list[tuple[float, Asked, Asked]] = []
    for gpus, tp, ep in SIZES:
        plan: dict[str, Any] = {"accelerator": "h200-sxm", "gpus": gpus, "tp": tp, "ep": ep, "context": 4096,
                "redundant_experts": 32 if ep == 144 else 0}  # fmt: skip
        name = f"{gpus} H200, TP{tp}"
        curves[name] = []
        for batch in BATCHES:
            ours = fits("decode", batch_per_gpu=batch, **plan)
            other = fits("decode", model=GQA, batch_per_gpu=batch, **plan)
            if ours is None or other is None:
                curves[name].append(None)
                continue
            found = ratio(ours("usd_per_mtok_output"), other("usd_per_mtok_output"), common=True)
            curves[name].append(found.value)
            pairs.append((found.value, ours, other))
            if batch in (1, 64) and gpus in (8, 144):
                figures[f"over_gqa_{gpus}_tp{tp}_batch_{batch}"] = found
    small = fits("decode", accelerator="h200-sxm", gpus=8, tp=8, ep=8, context=4096, batch_per_gpu=1)
    naive = fits("decode", accelerator="h200-sxm", model=MHA, gpus=8, tp=8, ep=8, context=4096,
                 batch_per_gpu=1)  # fmt: skip
    dense = fits("decode", accelerator="h200-sxm", model="dense-37b", gpus=1, context=4096, batch_per_gpu=1)
    crowd = best_decode("h200-sxm", tpot=0.1)
    dense_crowd = best_decode("h200-sxm", model="dense-37b", tpot=0.1)
    assert small is not None and naive is not None and dense is not None  # noqa: PT018
    figures["small_v3"], figures["small_dense_37b"] = small("usd_per_mtok_output"), dense("usd_per_mtok_output")
    figures["crowd_v3"], figures["crowd_dense_37b"] = crowd("usd_per_mtok_output"), dense_crowd("usd_per_mtok_output")
    figures["small_over_dense"] = ratio(figures["small_v3"], figures["small_dense_37b"])
    figures["crowd_over_dense"] = ratio(figures["crowd_v3"], figures["crowd_dense_37b"])
    figures["small_naive"] = naive("usd_per_mtok_output")
    figures["absorbed_over_naive"] = ratio(figures["small_v3"], figures["small_naive"], common=True)
    known = [value for values in curves.values() for value in values if value is not None]
    figures["best_over_gqa"] = exact(min(known), "x")
    worst = max(range(len(pairs)), key=lambda i: pairs[i][0])
    figures["worst_over_gqa"] = _drawn_ratio(*pairs[worst][1:])
    spread = [value for name, curve in curves.items() if name.endswith("TP1") for value in curve if value is not None]
    figures["worst_spread_over_gqa"] = exact(max(spread), "x")
    return figures, {"USD per token, MLA over GQA of the same sizes": {
        "x": list(BATCHES), "series": curves, "xaxis": "requests per card", "unit": "x"}}  # fmt: skip


CLAIMS = {"mla-93": mla_93, "mla-backfire": mla_backfire}
