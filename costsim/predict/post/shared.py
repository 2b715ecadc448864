"""What every post-training answer shares: its inputs as said, the memory check, the band of an update."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from costsim.errors import DoesNotFit
from costsim.physics.memory import RESERVE_SHARE
from costsim.spec.accelerator import Accelerator
from costsim.spec.cluster import Cluster
from costsim.spec.model import ModelSpec
from costsim.spec.post_training import FineTuningLoad, PostTrainingLoad, PostTrainingPlan
from costsim.spec.price import Price, in_usd
from costsim.units import GIGA

Load = PostTrainingLoad | FineTuningLoad
#: how far an update may be off either way: first-order training, packing and load balance (an assumption)
UPDATE_BAND = (0.7, 1.6)


def refuse_memory(memory: dict[str, float], chip: Accelerator) -> None:
    """DoesNotFit that names the phase and its largest term."""
    total = memory["total_bytes"] + RESERVE_SHARE * memory["capacity_bytes"]
    if total <= memory["capacity_bytes"]:
        return
    names = ("weights_bytes", "gradients_bytes", "optimizer_bytes", "activations_bytes", "value_model_bytes")
    largest = max(names, key=lambda name: memory[name])
    cures = {"optimizer_bytes": "offload the optimiser (offload = 1), ", "activations_bytes": "recompute more, "}
    raise DoesNotFit(
        f"does not fit: {total / GIGA:.1f} GB needed on each rank of {chip.id} in the update phase, "
        f"{memory['capacity_bytes'] / GIGA:.1f} GB there; the largest term is "
        f"{largest.removesuffix('_bytes').replace('_', ' ')} with {memory[largest] / GIGA:.1f} GB; "
        f"{cures.get(largest, '')}widen training's pp, ep or tp, or lower micro_tokens"
    )


def inputs_of(
    model: ModelSpec, chip: Accelerator, plan: PostTrainingPlan, load: Load, rate: Price | None, cluster: Cluster
) -> dict[str, Any]:
    named = {key: value for key, value in asdict(plan).items() if value != ""}
    train, rollout = named.pop("train"), named.pop("rollout")
    prefixed = {f"train_{k}": v for k, v in train.items()} | {f"rollout_{k}": v for k, v in (rollout or {}).items()}
    return {
        "model": model.id,
        "accelerator": chip.id,
        "cluster": cluster.id,
        "plan": named | prefixed,
        "load": asdict(load),
        "price": None if rate is None else {"id": rate.id, "text": rate.text, "usd_per_h": in_usd(rate)},
    }
