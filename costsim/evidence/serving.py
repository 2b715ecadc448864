"""Serving rows: a point's plan and load, one pool or two, and which engine ran under which benchmark's settings."""

from __future__ import annotations

from costsim.errors import BadInput
from costsim.evidence.points import Point
from costsim.predict.inference import predict_disaggregated, predict_inference
from costsim.predict.report import Report
from costsim.spec.accelerator import Accelerator
from costsim.spec.framework import framework_for, frameworks, recipe_in
from costsim.spec.model import ModelSpec
from costsim.spec.plan import Disaggregated, PoolPlan, ServingLoad, ServingPlan

#: client tools of the serving points draw lengths uniformly from 0.8 to 1.0 of nominal, where the source says nothing
LENGTH_RATIO = 0.8


def _refuse_unmodelled(point: Point) -> None:
    """Keys that would change the answer and that serving predictions do not have: said, not dropped."""
    for key in ("cp", "vpp"):
        value = point.number(key, 1.0)
        if value != 1.0:
            raise BadInput(f"{key} = {value:g} is not modelled for serving")
    if "layers" in point.plan:
        raise BadInput("layers: a model cut short is only predicted in training")


def serving_plan(point: Point, model: ModelSpec, side: str = "") -> ServingPlan:
    """Serving layout of a point, or of one ``side`` (``prefill_``, ``decode_``) of a disaggregated one.

    Widths that a row leaves out follow from the others; the cards of a worker are those of its layout.
    """
    if point.gpus is None:
        raise BadInput("the row states no gpus")
    _refuse_unmodelled(point)
    if not side and point.plan.get("mode") == "disaggregated":
        raise BadInput("a disaggregated row must be of kind serving and state prefill_workers and decode_workers")
    tp, pp = (point.number(f"{side}{name}", 1.0) for name in ("tp", "pp"))
    ep = point.number(f"{side}ep", point.number(f"{side}moe_ep", 1.0)) if model.moe else 1.0
    moe_tp = point.number(f"{side}moe_tp", -1.0)
    ranks = max(tp * point.number(f"{side}attention_dp", 1.0), ep * max(moe_tp, 1.0) if model.moe else 1.0)
    comm = point.number("comm_sms", -1.0)
    return ServingPlan(
        gpus=ranks * pp if side else point.gpus,
        tp=tp,
        pp=pp,
        ep=ep,
        moe_tp=moe_tp if moe_tp > 0 and model.moe else None,
        precision=point.precision or "bf16",
        overlap=point.plan.get("overlap", "none"),  # type: ignore[arg-type]
        comm_sms=None if comm < 0 else comm,
        redundant_experts=point.number("redundant_experts", 0.0),
        routing=point.plan.get("routing", "default" if point.kind == "serving" else "balanced"),  # type: ignore[arg-type]
        **_engine(point),  # type: ignore[arg-type]
    )


def _engine(point: Point) -> dict[str, str]:
    """Which framework served a row, in which version and by which benchmark's settings, and its KV format."""
    name = _framework_in(point.plan.get("framework", ""))
    if point.kind != "serving" or not name:
        return {}
    version, recipe = point.plan.get("framework_version", ""), recipe_in(point.source)
    said = {"framework": name, "framework_version": version, "recipe": recipe.id if recipe else ""}
    kv_dtype = point.plan.get("kv_dtype", "")
    if not kv_dtype and point.precision == "fp8" and framework_for(**_named(said)).kernels.kv_fp8:
        kv_dtype = "fp8"
    return said | ({"kv_dtype": kv_dtype} if kv_dtype else {})


def _framework_in(text: str) -> str:
    """The framework that a row's words name (``dynamo-sglang``, ``TensorRT-LLM``); empty for one that no file knows."""
    plain = text.lower().replace("tensorrt", "trt").replace("-", "").replace("_", "").replace(" ", "")
    return next((name for name in frameworks() if name in plain), "")


def _named(said: dict[str, str]) -> dict[str, str]:
    return {"name": said["framework"], "version": said["framework_version"], "recipe": said["recipe"]}


def predict_served(point: Point, model: ModelSpec, chip: Accelerator) -> Report:
    """A closed-loop row: simulated on one pool, or on a prefill and a decode pool where it states workers of both."""
    recipe = recipe_in(point.source)
    load = ServingLoad(
        point.number("isl"), point.number("osl"), point.number("concurrency"),
        mtp_tokens=point.number("mtp_tokens", 0.0), mtp_acceptance=point.number("mtp_acceptance", 0.0),
        length_ratio=recipe.length_ratio if recipe else LENGTH_RATIO,
    )  # fmt: skip
    if any(f"{side}_workers" in point.plan for side in ("prefill", "decode")):
        return predict_disaggregated(model, chip, _pools(point, model), load)
    return predict_inference(model, chip, serving_plan(point, model), load)


def _pools(point: Point, model: ModelSpec) -> Disaggregated:
    """The two pools of a disaggregated row. One worker has the cards of its layout, or an even share of the row's."""
    sides = []
    for side in ("prefill", "decode"):
        workers, batch = point.number(f"{side}_workers"), point.number(f"{side}_batch", 0.0)
        sides.append(PoolPlan(serving_plan(point, model, f"{side}_"), max(int(workers), 1), int(batch)))
    return Disaggregated(*sides)
