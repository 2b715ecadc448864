"""Claims about how the work itself changes: a small thinker beside a large model, agents."""

from __future__ import annotations

from typing import Any

from costsim.evidence.claims.asked import best_decode, infer
from costsim.evidence.claims.figure import Figures, exact, ratio, scaled, total
from costsim.evidence.claims.rules import Claim
from costsim.units import MEGA


def thinking_machine(claim: Claim) -> tuple[Figures, dict[str, Any]]:
    """USD per solved question when R1's tokens come from 671B, from a distilled 32B or 7B, or from both in turn.

    cost / solved = tokens · USD per token / pass@1; the answer's last tokens stay with the large model.
    """
    data = claim.data
    large = best_decode("h800-sxm")("usd_per_mtok_output")
    small = best_decode("h800-sxm", model="qwen2.5-7b", precision="fp8")("usd_per_mtok_output")
    middle = best_decode("h800-sxm", model="qwen2.5-32b", precision="fp8")("usd_per_mtok_output")
    tokens = data["thinking_tokens"] / MEGA
    figures: Figures = {"usd_per_mtok_671b": large, "usd_per_mtok_7b": small, "usd_per_mtok_32b": middle}
    figures["token_price_ratio"] = ratio(large, small)
    figures["solved_671b"] = scaled(large, tokens / data["solved_671b"], "USD/solved")
    figures["solved_7b"] = scaled(small, tokens / data["solved_7b"], "USD/solved")
    figures["solved_32b"] = scaled(middle, tokens / data["solved_32b"], "USD/solved")
    figures["solved_ratio_7b"] = ratio(figures["solved_671b"], figures["solved_7b"])
    figures["solved_ratio_32b"] = ratio(figures["solved_671b"], figures["solved_32b"])
    answer = data["answer_tokens"] / MEGA
    split = total([scaled(small, tokens, "USD"), scaled(large, answer, "USD")], "USD")
    whole = scaled(large, tokens + answer, "USD")
    figures["split_saves"] = ratio(whole, split)
    curve = []
    shares = [0.0, 0.25, 0.5, 0.75, 0.9, 1.0]
    for moved in shares:
        cost = tokens * (moved * small.value + (1 - moved) * large.value) + answer * large.value
        curve.append(cost)
    return figures, {"USD per question as thinking moves to 7B": {
        "x": shares, "series": {"cost": curve}, "xaxis": "share of thinking tokens moved", "unit": "USD"}}  # fmt: skip


def agents(claim: Claim) -> tuple[Figures, dict[str, Any]]:
    """USD of a task of many calls on a growing context, by what the prefix cache finds; against one chat turn."""
    data = claim.data
    calls, start, grown, answer = (int(data[name]) for name in ("calls", "start", "grown", "answer"))
    middle = start + grown * calls // 2
    wide: dict[str, Any] = {"gpus": 32, "ep": 32, "overlap": "two-batch", "tokens_per_gpu": 16384}
    fresh = infer("prefill", isl=middle, cached=0, **wide)
    hit = infer("prefill", isl=middle, cached=middle - grown, **wide)
    decode = infer("decode", gpus=144, ep=144, redundant_experts=32, context=middle, batch_per_gpu=16)
    figures: Figures = {
        "input_usd": fresh("usd_per_mtok_input"), "input_usd_beside_cache": hit("usd_per_mtok_input"),
        "output_usd": decode("usd_per_mtok_output"), "mean_context": exact(middle, "tokens"),
    }  # fmt: skip
    out = scaled(decode("usd_per_mtok_output"), calls * answer / MEGA, "USD")
    no_cache = scaled(fresh("usd_per_mtok_input"), calls * middle / MEGA, "USD")
    cached = scaled(hit("usd_per_mtok_input"), calls * grown / MEGA, "USD")
    figures["task_no_cache"], figures["task_cached"] = total([no_cache, out], "USD"), total([cached, out], "USD")
    figures["input_share_no_cache"] = ratio(no_cache, figures["task_no_cache"], "share", common=True)
    figures["input_share_cached"] = ratio(cached, figures["task_cached"], "share", common=True)
    figures["cache_saves"] = ratio(figures["task_no_cache"], figures["task_cached"], common=True)
    turn_in = infer("prefill", isl=1024, cached=0, **wide)
    turn_out = infer("decode", gpus=144, ep=144, redundant_experts=32, context=1536, batch_per_gpu=128)
    chat_in = scaled(turn_in("usd_per_mtok_input"), 1024 / MEGA, "USD")
    chat = total([chat_in, scaled(turn_out("usd_per_mtok_output"), 1024 / MEGA, "USD")], "USD")
    figures["chat_turn"] = chat
    figures["input_share_chat"] = ratio(chat_in, chat, "share", common=True)
    figures["task_over_turn"] = ratio(figures["task_no_cache"], chat)
    figures["tokens_in_per_out"] = exact(middle / answer, "x")
    return figures, {}


CLAIMS = {"thinking-machine": thinking_machine, "agents": agents}
