"""costsim: what DeepSeek-class models cost to train and to serve, on any accelerator, and why.

The names below load on first use, so that ``import costsim`` and ``costsim --help`` cost nothing:

>>> import costsim
>>> model, chip = costsim.load_model("deepseek-v3"), costsim.load_accelerator("h800-sxm")
>>> plan = costsim.ServingPlan(gpus=128, ep=128, overlap="two-batch")
>>> report = costsim.predict_inference(model, chip, plan, costsim.DecodeLoad(context=4096, batch_per_gpu=128))
>>> report["tpot_s"]
"""

from __future__ import annotations

import importlib
from typing import Any

from costsim.version import __version__

#: public name -> the module that defines it
_HOME = {
    "BadInput": "costsim.errors",
    "Accelerator": "costsim.spec.accelerator",
    "Cluster": "costsim.spec.cluster",
    "ModelSpec": "costsim.spec.model",
    "Price": "costsim.spec.price",
    "ServingPlan": "costsim.spec.plan",
    "TrainingPlan": "costsim.spec.plan",
    "PostTrainingPlan": "costsim.spec.post_training",
    "PostTrainingLoad": "costsim.spec.post_training",
    "FineTuningLoad": "costsim.spec.post_training",
    "PrefillLoad": "costsim.spec.plan",
    "DecodeLoad": "costsim.spec.plan",
    "ServingLoad": "costsim.spec.plan",
    "TrainingLoad": "costsim.spec.plan",
    "load_accelerator": "costsim.spec.catalog",
    "load_cluster": "costsim.spec.catalog",
    "load_model": "costsim.spec.catalog",
    "load_price": "costsim.spec.price",
    "parse_rate": "costsim.spec.price",
    "in_usd": "costsim.spec.price",
    "Report": "costsim.predict.report",
    "predict_inference": "costsim.predict.inference",
    "predict_training": "costsim.predict.training",
    "predict_run": "costsim.predict.run",
    "load_run": "costsim.spec.run",
    "assume": "costsim.spec.assumption",
    "fp8_savings": "costsim.predict.fp8",
    "predict_post_training": "costsim.predict.post_training",
    "search": "costsim.explore.search",
    "search_deployments": "costsim.explore.deployments",
    "load_fleet": "costsim.spec.fleet",
    "predict_fleet": "costsim.predict.fleet",
    "validate": "costsim.evidence.validate",
    "read_points": "costsim.evidence.points",
    "judge": "costsim.evidence.claims",
    "diff": "costsim.explore.diff",
    "read_question": "costsim.explore.inputs",
    "of_report": "costsim.explore.inputs",
    "tornado": "costsim.explore.sensitivity",
    "ranking": "costsim.explore.robustness",
}

__all__ = ["__version__", *sorted(_HOME)]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'costsim' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value  # the next use finds it without coming here
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
