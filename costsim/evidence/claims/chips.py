"""Claims about chips: H20, domestic parts, area of high-precision units, edge devices."""

from __future__ import annotations

from typing import Any

from costsim.errors import BadInput
from costsim.evidence.claims.asked import BATCHES, Asked, best_decode, fits, infer
from costsim.evidence.claims.figure import Figure, Figures, exact, ratio, scaled
from costsim.evidence.claims.rules import Claim
from costsim.physics.parameters import parameters
from costsim.predict.inference import predict_inference
from costsim.spec.accelerator import Accelerator
from costsim.spec.catalog import load_accelerator, load_model
from costsim.spec.plan import DecodeLoad, PrefillLoad, ServingPlan
from costsim.spec.price import load_price

_DOMESTIC = {"910c": "ascend-910c", "910b2": "ascend-910b2"}
_EDGE = {"1_5b": "qwen2.5-1.5b", "7b": "qwen2.5-7b", "14b": "qwen2.5-14b"}


def h20_fit(_: Claim) -> tuple[Figures, dict[str, Any]]:
    """Best decode on H20, H100 and H800 with V3: tokens, MBU, batch, and the rent at which H20 is cheapest."""
    figures: Figures = {}
    for name, chip in (("h20", "h20-96g"), ("h100", "h100-sxm"), ("h800", "h800-sxm")):
        answer = best_decode(chip)
        figures[f"{name}_rate"], figures[f"{name}_mbu"] = answer("tokens_per_s_per_gpu"), answer("mbu")
        figures[f"{name}_mfu"] = answer("mfu")
        figures[f"{name}_usd"] = answer("usd_per_mtok_output")
        figures[f"{name}_batch"] = exact(answer.report.inputs["load"]["batch_per_gpu"], "requests")
        figures[f"{name}_rent"] = exact(answer.report.inputs["price"]["usd_per_h"], "USD/h")
        same: dict[str, Any] = {"gpus": 16, "ep": 16, "context": 4096, "accelerator": chip}
        largest = next(b for b in reversed((*BATCHES, 640, 768)) if fits("decode", batch_per_gpu=b, **same))
        figures[f"{name}_largest_batch_16"] = exact(largest, "requests")
        figures[f"{name}_prefill_rate"] = infer(
            "prefill", accelerator=chip, gpus=16, ep=16, isl=4096, tokens_per_gpu=4096
        )("tokens_per_s_per_gpu")
    a = load_model("deepseek-v3").attention
    latent = a.kv_lora_rank + a.qk_rope_head_dim
    # every head multiplies with the 16-bit latent of a token twice: scores over all of it, values over its rank
    figures["flop_per_byte_mla"] = exact(2.0 * a.heads * (latent + a.kv_lora_rank) / (2.0 * latent), "FLOP/B")
    for name, chip in (("h20", "h20-96g"), ("h100", "h100-sxm")):
        part = load_accelerator(chip)
        figures[f"{name}_ridge"] = exact(part.need("bf16") / part.need("memory_bandwidth"), "FLOP/B")
    figures["decode_h20_over_h100"] = ratio(figures["h20_rate"], figures["h100_rate"])
    figures["decode_h20_over_h800"] = ratio(figures["h20_rate"], figures["h800_rate"])
    figures["prefill_h20_over_h100"] = ratio(figures["h20_prefill_rate"], figures["h100_prefill_rate"])
    figures["mfu_h20_over_h100"] = ratio(figures["h20_mfu"], figures["h100_mfu"])
    figures["mbu_h20_over_h100"] = ratio(figures["h20_mbu"], figures["h100_mbu"])
    figures["break_even_rent"] = ratio(figures["h20_rate"], figures["h100_rate"], "share")
    figures["rent_h20_over_h100"] = ratio(figures["h20_rent"], figures["h100_rent"])
    return figures, {}


def domestic(_: Claim) -> tuple[Figures, dict[str, Any]]:
    """Decode tokens per card of Ascend parts over A100, A800 and H20, at their best under 100 ms; and USD."""
    figures: Figures = {}
    answers: dict[str, Asked] = {}
    for name, chip in {**_DOMESTIC, "a100": "a100-80g-sxm", "h20": "h20-96g"}.items():
        try:
            answer = best_decode(chip, tpot=0.1)
        except BadInput:
            continue
        answers[name] = answer
        figures[f"{name}_rate"] = answer("tokens_per_s_per_gpu")
        if "usd_per_mtok_output" in answer.report.metrics:
            figures[f"{name}_usd"] = answer("usd_per_mtok_output")
        # 0 for A to 3 for D: what the number rests on
        grade = answer.report.metrics["tokens_per_s_per_gpu"].grade
        figures[f"{name}_grade"] = exact("ABCD".index(grade), "steps from a measurement")
    for name in _DOMESTIC:
        if f"{name}_rate" in figures:
            figures[f"{name}_over_a100"] = ratio(figures[f"{name}_rate"], figures["a100_rate"])
            figures[f"{name}_over_h20"] = ratio(figures[f"{name}_rate"], figures["h20_rate"])
    figures |= _even_kernels(answers["910b2"], answers["a100"])
    prompt: dict[str, Any] = {"isl": 4096, "tokens_per_gpu": 4096}
    card = infer("prefill", accelerator="ascend-910c", gpus=16, ep=32, **prompt)
    old = infer("prefill", accelerator="a100-80g-sxm", gpus=32, ep=32, **prompt)
    figures["910c_prefill_rate"], figures["a100_prefill_rate"] = card("tokens_per_s_per_gpu"), old(
        "tokens_per_s_per_gpu")  # fmt: skip
    figures["910c_prefill_over_a100"] = ratio(figures["910c_prefill_rate"], figures["a100_prefill_rate"])
    return figures, {}


def _even_kernels(ours: Asked, old: Asked) -> Figures:
    """What the datasheets say, and the ratio of rates if A100's latent attention reached the share of its peak that
    the other's does, at A100's own batch."""
    chip, a100 = (load_accelerator(asked.report.inputs["accelerator"]) for asked in (ours, old))
    attention_s = [
        next(line.time_s for line in asked.report.breakdown if line.name == "attention") for asked in (ours, old)
    ]
    batch = [float(asked.report.inputs["load"]["batch_per_gpu"]) for asked in (ours, old)]
    step_s = old("step_s").value
    peak = chip.need("bf16") / a100.need("bf16")
    even_s = step_s - attention_s[1] + attention_s[0] / batch[0] * batch[1] * peak
    return {
        "peak_910b2_over_a100": exact(peak, "x"),
        "bandwidth_910b2_over_a100": exact(chip.need("memory_bandwidth") / a100.need("memory_bandwidth"), "x"),
        "a100_attention_share": exact(attention_s[1] / step_s, "share"),
        "910b2_over_a100_even": exact(
            ours("tokens_per_s_per_gpu").value / old("tokens_per_s_per_gpu").value * even_s / step_s, "x"
        ),
    }


def faster(chip: Accelerator, factor: float) -> Accelerator:
    """The chip with its matrix peaks ``factor`` times as high, all else the same."""
    sheet = {
        key: datum if key not in ("bf16", "fp8", "int8") or datum.value is None
        else datum.model_copy(update={"value": datum.value * factor, "text": f"{datum.text} x {factor:g}"})
        for key, datum in chip.datasheet.items()
    }  # fmt: skip
    return chip.model_copy(update={"datasheet": sheet})


def drop_fp64(claim: Claim) -> tuple[Figures, dict[str, Any]]:
    """Prefill and decode of an Ascend 910B2 whose matrix peaks grow by the area given up, against H100 and A100.

    The area is an assumption with a range; B300 over B200, which did give up FP64, shows the order on silicon.
    """
    figures: Figures = {}
    model, chip = load_model("deepseek-v3"), load_accelerator("ascend-910b2")
    area = claim.data
    prefill_plan = ServingPlan(32, ep=32, precision="int8")
    prompt, batch = PrefillLoad(4096, 4096), DecodeLoad(4096, 32)
    for name, share in (("today", 0.0), ("freed", area["area"]), ("freed_most", area["area_high"])):
        grown = faster(chip, 1.0 / (1.0 - share))
        for phase, load in (("prefill", prompt), ("decode", batch)):
            metric = predict_inference(model, grown, prefill_plan, load).metrics["tokens_per_s_per_gpu"]
            figures[f"{phase}_{name}"] = Figure(metric.value, metric.unit, metric.low, metric.high)
    same: dict[str, Any] = {"gpus": 32, "ep": 32}
    for name, other in (("h100", "h100-sxm"), ("a100", "a100-80g-sxm")):
        figures[f"prefill_{name}"] = infer(
            "prefill", accelerator=other, isl=4096, tokens_per_gpu=4096, **same
        )("tokens_per_s_per_gpu")  # fmt: skip
        figures[f"decode_{name}"] = infer("decode", accelerator=other, context=4096, batch_per_gpu=32, **same)(
            "tokens_per_s_per_gpu"
        )
    for phase in ("prefill", "decode"):
        figures[f"{phase}_gain"] = ratio(figures[f"{phase}_freed"], figures[f"{phase}_today"], common=True)
        figures[f"{phase}_gain_most"] = ratio(figures[f"{phase}_freed_most"], figures[f"{phase}_today"], common=True)
        figures[f"{phase}_over_h100"] = ratio(figures[f"{phase}_freed_most"], figures[f"{phase}_h100"])
    b200, b300 = load_accelerator("b200-sxm"), load_accelerator("b300-sxm")
    if b200.known("fp4") and b300.known("fp4"):
        figures["b300_over_b200_fp4"] = exact(b300.need("fp4") / b200.need("fp4"), "x")
    figures["b300_over_b200_fp8"] = exact(b300.need("fp8") / b200.need("fp8"), "x")
    figures["area"] = exact(area["area"], "share")
    return figures, {}


def edge(claim: Claim) -> tuple[Figures, dict[str, Any]]:
    """One user's tokens per second and joules per token of distilled models on a consumer card, 16 and 4 bits."""
    figures: Figures = {}
    for name, model in _EDGE.items():
        for width in ("bf16", "w4"):
            answer = fits("decode", model=model, accelerator="rtx4090", gpus=1, context=2048, batch_per_gpu=1,
                          precision=width)  # fmt: skip
            if answer is not None:
                figures[f"rtx4090_{name}_{width}"] = answer("tokens_per_s_per_user")
                figures[f"rtx4090_{name}_{width}_joules"] = answer("joules_per_token_output")
    crowd = best_decode("h800-sxm")
    figures["h800_v3_joules"] = crowd("joules_per_token_output")
    # no phone is in the catalog: the ceiling of its memory bandwidth alone, one read of 4-bit weights per token
    size = parameters(load_model("qwen2.5-7b")).active_without_input_embedding * claim.data["bits"] / 8.0
    figures["phone_ceiling_7b"] = exact(claim.data["phone_bandwidth"] / size, "token/s")
    small = parameters(load_model("qwen2.5-1.5b")).active_without_input_embedding * claim.data["bits"] / 8.0
    figures["phone_ceiling_1_5b"] = exact(claim.data["phone_bandwidth"] / small, "token/s")
    joules = figures["rtx4090_7b_w4_joules"] if "rtx4090_7b_w4_joules" in figures else figures["rtx4090_7b_bf16_joules"]
    # a desk has no hall to cool
    figures["desk_7b_joules"] = scaled(joules, 1.0 / load_price("pue-air-cooled").value, "J")
    figures["joules_edge_over_cloud"] = ratio(figures["desk_7b_joules"], figures["h800_v3_joules"])
    figures["desktop_7b"] = figures.get("rtx4090_7b_w4", figures.get("rtx4090_7b_bf16", exact(0.0, "token/s")))
    return figures, {}


CLAIMS = {"h20-fit": h20_fit, "domestic": domestic, "drop-fp64": drop_fp64, "edge": edge}
