"""What a placement does to a deployment: step time, tokens/s and USD at the imbalance and traffic it has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from costsim.errors import DoesNotDivide, DoesNotFit
from costsim.physics.layout import expert_slots
from costsim.predict.inference import predict_inference
from costsim.predict.report import Metric
from costsim.spec.accelerator import Accelerator
from costsim.spec.cluster import Cluster, standard_cluster
from costsim.spec.model import ModelSpec
from costsim.spec.plan import DecodeLoad, PrefillLoad, ServingPlan
from costsim.spec.price import Price
from costsim.units import GIGA

#: bytes of one weight by the plan's precision, for what a moved expert weighs
WEIGHT_BYTES = {"fp8": 1.0, "int8": 1.0, "w4": 0.5, "w4a8": 0.53125, "fp4": 0.5625, "bf16": 2.0}


@dataclass(frozen=True)
class Deployment:
    """The question that a placement is an answer to; ``plan`` has one expert rank for each GPU of the placement."""

    model: ModelSpec
    chip: Accelerator
    plan: ServingPlan
    load: PrefillLoad | DecodeLoad
    cluster: Cluster
    price: Price | None = None


@dataclass(frozen=True)
class Case:
    """A placement as the prediction sees it: busiest rank over the mean, remote nodes per token, slots in all."""

    imbalance: float
    remote_nodes: float
    slots: int


@dataclass(frozen=True)
class Effect:
    """Seconds, rate of a GPU, money (None without a price) and bytes of a GPU under one placement."""

    step_s: Metric
    tokens_per_s_per_gpu: Metric
    usd_per_mtok: Metric | None
    memory_bytes: float


def effect(deployment: Deployment, case: Case) -> Effect:
    """Predict the deployment with this placement's imbalance and remote nodes in place of a routing word.

    Raises DoesNotFit, naming the slots, where the experts held do not fit beside the rest.
    """
    moe = deployment.model.moe
    assert moe is not None
    plan = replace(
        deployment.plan, redundant_experts=case.slots - moe.experts, imbalance=max(case.imbalance, 1.0),
        remote_nodes=case.remote_nodes, routing="eplb",
    )  # fmt: skip
    try:
        report = predict_inference(
            deployment.model, deployment.chip, plan, deployment.load, deployment.price, deployment.cluster
        )
    except DoesNotFit as error:
        each = float(expert_slots(deployment.model, plan.ep, plan.redundant_experts))
        held = each * slot_bytes(deployment) * deployment.model.moe_layers
        raise DoesNotFit(
            f"slots = {case.slots}: {each:g} experts of each layer on a rank are {held / GIGA:.1f} GB; {error}"
        ) from None
    name = "usd_per_mtok_input" if isinstance(deployment.load, PrefillLoad) else "usd_per_mtok_output"
    step = report.metrics.get("step_s") or report.metrics["tpot_s"]
    return Effect(
        step, report.metrics["tokens_per_s_per_gpu"], report.metrics.get(name), float(report.memory["total_bytes"])
    )


def effects(deployment: Deployment, cases: Sequence[Case]) -> list[Effect | None]:
    """The effect of each case, None where it does not fit."""
    found: list[Effect | None] = []
    for case in cases:
        try:
            found.append(effect(deployment, case))
        except DoesNotFit:
            found.append(None)
    return found


def slot_bytes(deployment: Deployment) -> float:
    """Weights of one expert of one layer: three matrices of hidden × intermediate."""
    moe = deployment.model.moe
    assert moe is not None
    return 3.0 * deployment.model.hidden * moe.intermediate * WEIGHT_BYTES[deployment.plan.precision]


def move_s(deployment: Deployment, moved_per_layer: float) -> float:
    """Seconds in which a rebalance brings its experts over the scale-out network, GPUs fetching side by side.

    Moved slots spread over the GPUs; nothing is hidden behind serving and no host work is counted: a floor.
    """
    bandwidth = deployment.cluster.scale_out_bandwidth or deployment.cluster.scale_up_bandwidth
    if not bandwidth:
        return 0.0
    ranks = float(deployment.plan.gpus)
    return moved_per_layer / ranks * deployment.model.moe_layers * slot_bytes(deployment) / bandwidth


def cluster_of(chip: Accelerator, gpus: int, per_node: int) -> Cluster:
    """The standard cluster with nodes of ``per_node`` ranks."""
    if gpus % chip.dies or per_node % chip.dies:
        raise DoesNotDivide(
            f"gpus = {gpus}, {per_node} a node: {chip.id} has {chip.dies} dies a card; count dies, in pairs"
        )
    cards = per_node // chip.dies
    standard = standard_cluster(chip, gpus // chip.dies)
    return standard.model_copy(update={"scale_up_domain": cards, "node_devices": cards})
