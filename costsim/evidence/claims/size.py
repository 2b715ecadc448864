"""Claims about the model's size: parameters, the share that a token uses, and what that makes of its cost."""

from __future__ import annotations

from typing import Any

from costsim.evidence.claims.asked import fits, infer
from costsim.evidence.claims.figure import Figure, Figures, exact, ratio
from costsim.evidence.claims.rules import Claim
from costsim.physics.parameters import parameters
from costsim.spec.catalog import load_model

#: requests a card at which a wide deployment and a node are asked
BATCHES = (1, 2, 4, 8, 16, 32, 64, 128)
#: widest decode unit as published: 144 cards, 32 replicas of hot experts [deepseek-open-infra-day6]
WIDE: dict[str, Any] = {"gpus": 144, "ep": 144, "overlap": "none", "redundant_experts": 32, "context": 4096}


def counted(model: str, key: str) -> Figure:
    """A count of parameters as `costsim models show` prints it."""
    known = parameters(load_model(model))
    value = {"total": known.total, "mtp": known.total_with_mtp - known.total, "active": known.active,
             "active_without_input_embedding": known.active_without_input_embedding}[key]  # fmt: skip
    return Figure(float(value), "parameters", None, None, f"costsim models show {model}", f"params.{key}")


def params(claim: Claim) -> tuple[Figures, dict[str, Any]]:
    """Counts from the published configuration against 671B and 37B."""
    figures = {name: counted("deepseek-v3", name)
               for name in ("total", "active", "active_without_input_embedding", "mtp")}  # fmt: skip
    figures["total_with_mtp"] = exact(figures["total"].value + figures["mtp"].value, "parameters")
    figures["total_off"] = exact(abs(figures["total"].value / claim.data["total"] - 1.0), "share")
    figures["active_off"] = exact(abs(figures["active"].value / claim.data["active"] - 1.0), "share")
    return figures, {}


def eleven_times(claim: Claim) -> tuple[Figures, dict[str, Any]]:
    """Which comparison gives 11: its own total, or a dense model's parameters; and the work of a token."""
    ours, dense = counted("deepseek-v3", "active"), counted("llama-3.1-405b", "active")
    total = counted("deepseek-v3", "total")
    flop = {
        name: infer("prefill", model=name, accelerator="h200-sxm", gpus=16, tp=8, ep=8 if moe else 1,
                    isl=4096, tokens_per_gpu=2048, precision="fp8")("flop_per_token")
        for name, moe in (("deepseek-v3", True), ("llama-3.1-405b", False))
    }  # fmt: skip
    figures = {
        "active": ours, "dense_405b": dense, "total": total,
        "against_405b": ratio(dense, ours), "total_over_active": ratio(total, ours),
        "flop_per_token_v3": flop["deepseek-v3"], "flop_per_token_405b": flop["llama-3.1-405b"],
        "flop_against_405b": ratio(flop["llama-3.1-405b"], flop["deepseek-v3"], common=True),
    }  # fmt: skip
    figures["off_eleven"] = exact(abs(figures["against_405b"].value / claim.data["claimed"] - 1.0), "share")
    figures["total_off_eleven"] = exact(abs(figures["total_over_active"].value / claim.data["claimed"] - 1.0), "share")
    return figures, {}


def like_37b(_: Claim) -> tuple[Figures, dict[str, Any]]:
    """USD per token of V3 over that of a dense model of 37B, by batch, on one node and spread wide; prefill; memory."""
    node: dict[str, Any] = {"accelerator": "h200-sxm", "gpus": 8, "tp": 8, "context": 4096, "precision": "fp8"}
    names = ("one node of 8 H200", "144 H800, experts spread (a dense card holds 32)")
    curves: dict[str, list[float | None]] = {name: [] for name in names}
    figures: Figures = {}
    for batch in BATCHES:
        pairs = {
            "node": (fits("decode", **node, ep=8, batch_per_gpu=batch),
                     fits("decode", model="dense-37b", **node, batch_per_gpu=batch)),
            "wide": (fits("decode", **WIDE, batch_per_gpu=batch),
                     fits("decode", model="dense-37b", gpus=8, tp=1, context=4096, batch_per_gpu=min(batch, 32))),
        }  # fmt: skip
        for (name, (moe, dense)), curve in zip(pairs.items(), curves.values(), strict=True):
            if moe is None or dense is None:
                curve.append(None)
                continue
            figure = ratio(moe("usd_per_mtok_output"), dense("usd_per_mtok_output"))
            curve.append(figure.value)
            if batch in (1, 16, 32, 128):
                figures[f"{name}_decode_batch_{batch}"] = figure
    prompt: dict[str, Any] = {"isl": 4096, "tokens_per_gpu": 16384}
    moe = infer("prefill", gpus=32, ep=32, overlap="two-batch", **prompt)
    dense = infer("prefill", model="dense-37b", gpus=8, tp=1, **prompt)
    figures["prefill_v3"], figures["prefill_dense"] = moe("usd_per_mtok_input"), dense("usd_per_mtok_input")
    figures["prefill"] = ratio(figures["prefill_v3"], figures["prefill_dense"])
    figures["weights"] = ratio(counted("deepseek-v3", "total"), counted("dense-37b", "total"))
    first = infer("decode", **WIDE, batch_per_gpu=1)
    figures["v3_wide_batch_1"] = first("usd_per_mtok_output")
    figures["v3_wide_batch_128"] = infer("decode", **WIDE, batch_per_gpu=128)("usd_per_mtok_output")
    return figures, {"USD per token, V3 over a dense 37B": {"x": list(BATCHES), "series": curves,
                                                            "xaxis": "requests per card", "unit": "x"}}  # fmt: skip


CLAIMS = {"params": params, "eleven-times": eleven_times, "like-37b": like_37b}
