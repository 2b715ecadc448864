"""The DeepSeek-V3 family in plain PyTorch: read it, run it, train it, and check the analytical counts against it.

Names load on first use, so ``import model`` costs nothing until torch is needed::

    module = model.from_pretrained(folder)          # a Hugging Face folder: BF16, FP32 or block-FP8 safetensors
    logits = module(input_ids)                      # [batch, sequence, vocabulary]
    tokens = model.generate(module, input_ids, max_new_tokens=64, mtp=True)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from model.cache import LatentCache
    from model.checkpoint import CheckpointError, from_pretrained, save_pretrained
    from model.config import DeepSeekConfig, Yarn
    from model.generation import Generation, generate
    from model.routing_record import RoutingRecord
    from model.transformer import DeepSeek

_HOME = {
    "CheckpointError": "checkpoint",
    "DeepSeek": "transformer",
    "DeepSeekConfig": "config",
    "Generation": "generation",
    "LatentCache": "cache",
    "RoutingRecord": "routing_record",
    "Yarn": "config",
    "from_pretrained": "checkpoint",
    "generate": "generation",
    "save_pretrained": "checkpoint",
}

__all__ = [
    "CheckpointError",
    "DeepSeek",
    "DeepSeekConfig",
    "Generation",
    "LatentCache",
    "RoutingRecord",
    "Yarn",
    "from_pretrained",
    "generate",
    "save_pretrained",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'model' has no attribute {name!r}")
    value = getattr(import_module(f"model.{_HOME[name]}"), name)
    globals()[name] = value
    return value
