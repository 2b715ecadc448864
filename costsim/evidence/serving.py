"""Serving rows: a point's plan and load, one pool or two, and which engine ran under which benchmark's settings."""

from __future__ import annotations

from typing import Any

from costsim.errors import BadInput
from costsim.evidence.points import Point
from costsim.predict.inference import predict_disaggregated, predict_inference
from costsim.predict.report import Report
from costsim.spec.accelerator import Accelerator
from costsim.spec.framework import Recipe, framework_for, frameworks, recipe_in, repair_for
from costsim.spec.model import ModelSpec
from costsim.spec.plan import Disaggregated, PoolPlan, ServingLoad, ServingPlan

#: client tools of the serving points draw lengths uniformly from 0.8 to 1.0 of nominal, where the source says nothing
LENGTH_RATIO = 0.8
#: drafted tokens kept, of those whose forerunners were, where a row with MTP states none [cloudmatrix384, sec. 5.2]
MTP_ACCEPTANCE = 0.7
#: words of tables for number formats; the first that a row's word begins with counts
FORMATS = {
    "bf16": "bf16", "bfloat16": "bf16", "fp16": "bf16", "float16": "bf16", "fp8": "fp8", "w8a8": "int8", "int8": "int8",
    "nvfp4": "fp4", "mxfp4": "fp4", "fp4": "fp4", "w4a16_mxfp4": "w4", "w4a8_mxfp4": "w4a8", "w4a4": "fp4",
    "int4": "w4", "w4": "w4", "awq": "w4", "gptq": "w4",
}  # fmt: skip
_YES, _NO = ("true", "yes", "on"), ("false", "no", "off", "none")
#: other names of a plan's keys
_ALSO = {
    "attention_dp": ("dp_attention", "dp_attn", "enable_attention_dp", "attention_dp_size", "dp_size"),
    "moe_ep": ("ep", "moe_ep_size", "ep_size"), "moe_tp": ("moe_tp_size",), "tp": ("tp_size",), "pp": ("pp_size",),
    "workers": ("num_workers", "num_worker", "worker"), "batch": ("batch_size", "max_batch_size"),
}  # fmt: skip


def _refuse_unmodelled(point: Point) -> None:
    """Keys that would change the answer and that serving predictions do not have: said, not dropped."""
    for key in ("cp", "vpp", "dcp", "pcp"):
        value = point.number(key, 1.0)
        if value > 1.0:
            raise BadInput(f"{key} = {value:g} is not modelled for serving")
    if "layers" in point.plan:
        raise BadInput("layers: a model cut short is only predicted in training")


def precision_of(point: Point, model: ModelSpec, chip: Accelerator) -> str:
    """The arithmetic that a row's word means on this part: the checkpoint's own format where it states none.

    4-bit floats are multiplied as such where the part can and the checkpoint has 4-bit activations; MXFP4 of gpt-oss
    has not, and engines give it MXFP8 activations where the part multiplies MX formats; elsewhere they are stored in 4
    bits and multiplied in 16. [tensorrt-llm; inferencex-recipes]
    """
    word = point.precision.strip().lower().replace("-", "_")
    known = next((FORMATS[name] for name in FORMATS if word == name), None)
    known = known or next((FORMATS[name] for name in FORMATS if word.startswith(name)), None)
    precision = model.native_dtype if not word or word == "n/a" else known or word
    if precision == "fp4" and not chip.known("fp4"):
        return "w4"
    return "w4a8" if precision == "fp4" and model.native_dtype == "fp4" else precision


def _width(point: Point, side: str, key: str, default: float) -> float:
    """A width of the plan under any of its names; zero, which exports write for "none", is the default."""
    for name in (key, *_ALSO.get(key, ())):
        text = point.plan.get(f"{side}{name}", "").strip().lower()
        if not text or text == "n/a":
            continue
        if text in _NO:
            return default
        if text in _YES:
            return -1.0
        value = point.number(f"{side}{name}", default)
        return value if value != 0.0 else default
    return default


def _widths(point: Point, model: ModelSpec, side: str) -> tuple[float, float, float, float, float]:
    """(tp, pp, attention dp, ep, moe tp or −1) of a row or of one side of it.

    Attention that is data-parallel by a mere "true" splits the stated tp ranks into replicas of one.
    """
    tp, pp = _width(point, side, "tp", 1.0), _width(point, side, "pp", 1.0)
    dp = _width(point, side, "attention_dp", 1.0)
    if dp < 0:
        tp, dp = 1.0, tp
    if model.moe is None:
        return tp, pp, dp, 1.0, -1.0
    ep, moe_tp = _width(point, side, "moe_ep", 1.0), _width(point, side, "moe_tp", -1.0)
    if ep < 0:
        ep = tp * dp
    return tp, pp, dp, ep, moe_tp


def serving_plan(point: Point, model: ModelSpec, chip: Accelerator, side: str = "") -> ServingPlan:
    """Serving layout of a point, or of one ``side`` (``prefill_``, ``decode_``) of a disaggregated one.

    Widths that a row leaves out follow from the others; the cards of a worker are those of its layout.
    """
    if point.gpus is None and not side:
        raise BadInput("the row states no gpus")
    _refuse_unmodelled(point)
    if not side and _disaggregated(point):
        raise BadInput("a disaggregated row must be of kind serving and state prefill_workers and decode_workers")
    tp, pp, dp, ep, moe_tp = _repaired(point, model, chip, side)
    ranks = max(tp * dp, ep * max(moe_tp, 1.0) if model.moe else 1.0)
    comm = point.number("comm_sms", -1.0)
    precision = precision_of(point, model, chip)
    return ServingPlan(
        gpus=ranks * pp / chip.dies if side else point.gpus or ranks,
        tp=tp,
        pp=pp,
        ep=ep,
        moe_tp=moe_tp if moe_tp > 0 and model.moe else None,
        precision=precision,
        overlap=point.plan.get("overlap", "none"),  # type: ignore[arg-type]
        comm_sms=None if comm < 0 else comm,
        redundant_experts=point.number("redundant_experts", _spares(model, ep)),
        routing=point.plan.get("routing", "default" if point.kind == "serving" else "balanced"),  # type: ignore[arg-type]
        **_engine(point, model, chip, precision),  # type: ignore[arg-type]
    )


def _spares(model: ModelSpec, ep: float) -> float:
    """Replicas that a row does not state: as few as let every rank hold equally many experts."""
    return -model.moe.experts % ep if model.moe is not None and 1 < ep < model.moe.experts else 0.0


def _repaired(point: Point, model: ModelSpec, chip: Accelerator, side: str) -> tuple[float, float, float, float, float]:
    """A row's widths; those of its benchmark's recipe where the export is known not to hold them."""
    tp, pp, dp, ep, moe_tp = _widths(point, model, side)
    name, recipe = _framework_in(point.plan.get("framework", "")), recipe_in(point.source)
    if side or recipe is None or point.kind != "serving" or point.plan.get("framework_version") or ep > 1 or dp > 1:
        return tp, pp, dp, ep, moe_tp
    repair = repair_for(recipe.id, name, model.id, chip.id)
    if repair is None:
        return tp, pp, dp, ep, moe_tp
    if repair.attention_dp(point.number("isl"), point.number("osl"), point.number("concurrency")):
        return 1.0, pp, tp, tp, 1.0
    return tp, pp, dp, tp, 1.0


def _engine(point: Point, model: ModelSpec, chip: Accelerator, precision: str) -> dict[str, str]:
    """Which framework served a row, in which version and by which benchmark's settings, and its KV format."""
    name = _framework_in(point.plan.get("framework", ""))
    if point.kind != "serving" or not name:
        stated = FORMATS.get(point.plan.get("kv_dtype", "").lower(), "")
        return {"kv_dtype": stated} if stated else {}
    version, recipe = _version(point.plan.get("framework_version", "")), recipe_in(point.source)
    said = {"framework": name, "framework_version": version, "recipe": recipe.id if recipe else ""}
    kv_dtype = FORMATS.get(point.plan.get("kv_dtype", "").lower(), "")
    if not kv_dtype:
        kernels = framework_for(name, version, said["recipe"], model.id, chip.architecture, precision).kernels
        kv_dtype = kernels.kv_dtype or ("fp8" if kernels.kv_fp8 and precision in ("fp8", "fp4") else "")
    if kv_dtype == "fp8" and not chip.known("fp8"):
        kv_dtype = ""
    return said | ({"kv_dtype": kv_dtype} if kv_dtype else {})


def _version(text: str) -> str:
    """A version as its numbers begin; what names none (a commit, "nightly") is no version."""
    plain = text.strip().lower().removeprefix("v")
    return plain if plain[:1].isdigit() and "." in plain else ""


def _framework_in(text: str) -> str:
    """The framework that a row's words name (``dynamo-sglang``, ``TensorRT-LLM``); empty for one that no file knows."""
    plain = text.lower().replace("tensorrt", "trt").replace("-", "").replace("_", "").replace(" ", "")
    found = next((name for name in frameworks() if name in plain), "")
    return found or ("trtllm" if "trt" in plain else "")


def predict_served(point: Point, model: ModelSpec, chip: Accelerator) -> Report:
    """A closed-loop row: simulated on one pool, or on a prefill and a decode pool where it states workers of both."""
    recipe = recipe_in(point.source)
    load = ServingLoad(
        point.number("isl"), point.number("osl"), point.number("concurrency"), **_drafts(point, model, recipe),
        length_ratio=recipe.length_ratio if recipe else LENGTH_RATIO,
    )  # fmt: skip
    if _disaggregated(point):
        return predict_disaggregated(model, chip, _pools(point, model, chip), load)
    return predict_inference(model, chip, serving_plan(point, model, chip), load)


def _disaggregated(point: Point) -> bool:
    """Whether prompts and answers have pools of their own: the mode says so, or there are workers of one."""
    words = point.plan.get("mode", "").lower()
    return words.startswith("disagg") or any(
        f"{side}_{name}" in point.plan for side in ("prefill", "decode") for name in ("workers", *_ALSO["workers"])
    )


def _drafts(point: Point, model: ModelSpec, recipe: Recipe | None) -> dict[str, Any]:
    """Drafted tokens and their acceptance; a row that only says "mtp" drafts as many as its recipe."""
    tokens, words = point.number("mtp_tokens", -1.0), {**point.plan, **point.load}
    said = next((words[key].lower() for key in ("spec_decoding", "speculative", "mtp") if words.get(key)), "")
    if tokens < 0 and said and said not in (*_NO, "0", "stp"):
        apart = _disaggregated(point)
        wide = _widths(point, model, "decode_" if apart else "")[2] > 1
        usual = Recipe(id="", match="-") if recipe is None else recipe
        tokens = float(said) if said.isdigit() else float(usual.drafts_attention_dp if wide else usual.drafts)
    tokens = max(tokens, 0.0)
    return {"mtp_tokens": tokens, "mtp_acceptance": point.number("mtp_acceptance", MTP_ACCEPTANCE if tokens else 0.0)}


def _pools(point: Point, model: ModelSpec, chip: Accelerator) -> Disaggregated:
    """The two pools of a disaggregated row. One worker has the cards of its layout."""
    sides = []
    for side in ("prefill_", "decode_"):
        workers, batch = _width(point, side, "workers", 0.0), _width(point, side, "batch", 0.0)
        if workers < 1:
            raise BadInput(f"the row states no {side}workers")
        sides.append(PoolPlan(serving_plan(point, model, chip, side), int(workers), int(batch)))
    return Disaggregated(*sides)
