"""Claims about training: FP8, DualPipe, cores for communication, doing without tensor parallelism, idle supply."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from costsim.errors import BadInput
from costsim.evidence.claims.asked import V3_LOAD, V3_PLAN, Asked, infer, options, train
from costsim.evidence.claims.figure import Figures, exact, ratio, saving, scaled
from costsim.evidence.claims.rules import Claim
from costsim.predict.fp8 import fp8_savings
from costsim.spec.catalog import load_accelerator, load_model
from costsim.spec.plan import TrainingLoad, TrainingPlan
from costsim.spec.price import default_rate

#: the H800 cluster as it is, and with the NVLink that export rules took away
_WIRES = ("h800-8x400g-ib", "h800-8x400g-nvlink450")
SMS = (4, 8, 12, 16, 20, 24, 28, 32, 40, 48, 64)


@lru_cache(maxsize=1)
def savings() -> Asked:
    """The FP8 waterfall on V3's own layout."""
    chip = load_accelerator("h800-sxm")
    plan, load = TrainingPlan(**V3_PLAN), TrainingLoad(**V3_LOAD)  # type: ignore[arg-type]
    found = fp8_savings(load_model("deepseek-v3"), chip, plan, load, default_rate(chip))
    said = options({"model": "deepseek-v3", "accelerator": "h800-sxm"} | V3_PLAN | V3_LOAD)
    return Asked(found.report, f"costsim train --fp8-savings {said}")


def fp8_memory(_: Claim) -> tuple[Figures, dict[str, Any]]:
    """Bytes, seconds and cards of BF16 against FP8 in training; weights and cards in serving."""
    found = savings()
    names = ("bf16_memory_bytes", "fp8_memory_bytes", "bf16_step_s", "fp8_step_s", "speedup",
             "activations_frees_bytes", "weights_frees_bytes", "gpus_for_same_tokens")  # fmt: skip
    figures: Figures = {name: found(name) for name in names}
    for name in ("fewest_gpus_bf16", "fewest_gpus_fp8"):
        if name in found.report.metrics:
            figures[name] = found(name)
    figures["copies_bytes"] = scaled(figures["weights_frees_bytes"], -1.0, "B")
    figures["training_memory_saved"] = saving(figures["fp8_memory_bytes"], figures["bf16_memory_bytes"], common=True)
    serve: dict[str, Any] = {"accelerator": "h200-sxm", "gpus": 16, "ep": 16, "context": 4096, "batch_per_gpu": 32}
    for name in ("fp8", "bf16"):
        figures[f"serving_weights_{name}"] = infer("decode", **serve, precision=name)("weights_bytes")
        figures[f"serving_tpot_{name}"] = infer("decode", **serve, precision=name)("tpot_s")
    figures["serving_weights_saved"] = saving(figures["serving_weights_fp8"], figures["serving_weights_bf16"])
    return figures, {}


def dualpipe(_: Claim) -> tuple[Figures, dict[str, Any]]:
    """Exposed communication and bubble of a step under 1F1B, zero-bubble and DualPipe on V3's layout."""
    figures: Figures = {}
    bars: dict[str, list[float]] = {"exposed communication": [], "bubble": []}
    names = ("1f1b", "zb-h1", "dualpipe")
    for name in names:
        # the same kernels and number formats under every schedule; full recomputation where two copies must fit too
        asked = train(schedule=name, framework="deepseek", recompute="full")
        word = name.replace("-", "_")
        figures[f"step_{word}"] = asked("step_s")
        figures[f"exposed_{word}"] = asked("exposed_comm_s")
        figures[f"bubble_{word}"] = asked("bubble_s")
        figures[f"exposed_share_{word}"] = ratio(asked("exposed_comm_s"), asked("step_s"), "share", common=True)
        bars["exposed communication"].append(figures[f"exposed_{word}"].value)
        bars["bubble"].append(figures[f"bubble_{word}"].value)
    asked = train(schedule="dualpipe")
    figures["own_layout_exposed"], figures["own_layout_step"] = asked("exposed_comm_s"), asked("step_s")
    figures["own_layout_exposed_share"] = ratio(asked("exposed_comm_s"), asked("step_s"), "share", common=True)
    figures["own_layout_hidden"] = asked("hidden_comm_s")
    figures["exposed_removed"] = saving(figures["exposed_dualpipe"], figures["exposed_1f1b"], common=True)
    figures["step_gain"] = ratio(figures["step_1f1b"], figures["step_dualpipe"], common=True)
    return figures, {"Seconds of a step on 2,048 H800": {"x": list(names), "series": bars, "xaxis": "", "unit": "s",
                                                         "kind": "bar"}}  # fmt: skip


def comm_sms(_: Claim) -> tuple[Figures, dict[str, Any]]:
    """Step time against the cores kept for transfers; the best number; without overlap."""
    figures: Figures = {}
    steps = []
    for sms in SMS:
        asked = train(comm_sms=sms)
        figures[f"step_{sms}_sms"] = asked("step_s")
        steps.append(asked("step_s").value)
    best = min(range(len(SMS)), key=steps.__getitem__)
    figures["best_sms"] = exact(SMS[best], "SMs")
    figures["step_at_best"] = figures[f"step_{SMS[best]}_sms"]
    figures["over_best"] = exact(figures["step_20_sms"].value / steps[best] - 1.0, "share")
    figures["share_of_cores"] = exact(20.0 / load_accelerator("h800-sxm").need("cores"), "share")
    alone = train(overlap="gradients", framework="deepseek", schedule="1f1b", recompute="full")
    beside = train(framework="deepseek", schedule="dualpipe", recompute="full")
    figures["step_no_overlap"], figures["step_overlap"] = alone("step_s"), beside("step_s")
    figures["gain_of_overlap"] = ratio(alone("step_s"), beside("step_s"), common=True)
    return figures, {"Step time against cores kept for transfers": {
        "x": list(SMS), "series": {"2,048 H800": list(steps)}, "xaxis": "SMs", "unit": "s"}}  # fmt: skip


def no_tp(_: Claim) -> tuple[Figures, dict[str, Any]]:
    """Step time of H800 over the same chip with H100's NVLink, at tensor widths 1 to 8; and over H100's own laws."""
    figures: Figures = {}
    ratios = []
    widths = (1, 2, 4, 8)
    for tp in widths:
        layout: dict[str, Any] = {
            "tp": tp,
            "schedule": "1f1b",
            "framework": "deepseek",
            "recompute": "full",
            "overlap": "gradients",
        }
        ours, other = (train(cluster=name, **layout)("step_s") for name in _WIRES)
        figures[f"h800_tp{tp}"], figures[f"wide_nvlink_tp{tp}"] = ours, other
        figures[f"ratio_tp{tp}"] = ratio(ours, other, common=True)
        ratios.append(figures[f"ratio_tp{tp}"].value)
    ours, other = (train(cluster=name)("step_s") for name in _WIRES)
    figures["h800_own_layout"], figures["wide_nvlink_own_layout"] = ours, other
    figures["h100_own_layout"] = train(accelerator="h100-sxm")("step_s")
    figures["ratio_h100"] = ratio(ours, figures["h100_own_layout"])
    figures["ratio_own_layout"] = ratio(ours, other, common=True)
    figures["penalty_tp1"] = exact(figures["ratio_own_layout"].value - 1.0, "share")
    figures["penalty_tp8"] = exact(figures["ratio_tp8"].value - 1.0, "share")
    return figures, {"Step time, 200 over 450 GB/s of NVLink": {
        "x": list(widths), "series": {"V3, 2,048 cards": list(ratios)}, "xaxis": "tensor-parallel width",
        "unit": "x"}}  # fmt: skip


def overbuilt(_: Claim) -> tuple[Figures, dict[str, Any]]:
    """What share of one H100 a small model's training step uses, and what V3's uses of an H800."""
    single: dict[str, Any] = {
        "accelerator": "h100-sxm", "gpus": 1, "pp": 1, "ep": 1, "schedule": "auto", "routing": "balanced",
        "recompute": "selective", "precision": "bf16", "seq": 4096, "global_batch": 64, "tokens": 1e9,
    }  # fmt: skip
    figures: Figures = {}
    for name, asked in (("single", train(model="qwen2.5-1.5b", **single)), ("v3", train())):
        chip = load_accelerator(asked.report.inputs["accelerator"])
        figures[f"{name}_mfu"] = asked("mfu_causal")
        figures[f"{name}_memory"] = asked("peak_memory_bytes")
        figures[f"{name}_memory_share"] = ratio(asked("peak_memory_bytes"), exact(chip.need("memory"), "B"), "share")
        figures[f"{name}_memory_bound_share"] = exact(_bound(asked, "memory"), "share")
        figures[f"{name}_compute_bound_share"] = exact(_bound(asked, "compute"), "share")
        sent = sum(line.time_s for line in asked.report.breakdown if line.bound == "network")
        figures[f"{name}_network_share"] = exact(sent / asked("step_s").value, "share")
    return figures, {}


def _bound(asked: Asked, what: str) -> float:
    """Share of the step in ops that this binds."""
    return sum(line.share for line in asked.report.breakdown if line.bound == what and not line.overlapped)


def steps_by_routing() -> Figures:
    """V3's step as its experts are met evenly, as trained, and as without balancing."""
    figures: Figures = {}
    for name in ("balanced", "trained", "default"):
        try:
            # full recomputation leaves room for the experts that get most tokens
            figures[f"step_{name}"] = train(routing=name, recompute="full")("step_s")
        except BadInput:
            continue
    return figures


CLAIMS = {"fp8-memory": fp8_memory, "dualpipe": dualpipe, "comm-sms": comm_sms, "no-tp": no_tp, "overbuilt": overbuilt}
