"""Record which experts a model's tokens choose: counts and token-level choices of every MoE layer, as npy files."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

import numpy as np
import torch
from torch import nn

from costsim.files import replacing
from model.moe import Router, Routing

#: tokens of a layer whose choices are kept; counts go on beyond them
MOST_TOKENS = 1 << 20


class RoutingRecord:
    """While open, every forward of ``module`` adds its choices; routers in the order of their layers.

    >>> with RoutingRecord(module) as record:
    ...     module(input_ids)
    >>> record.save("counts.npy", "topk.npy")  # what `costsim place --loads --coactivation` reads
    """

    def __init__(self, module: nn.Module, most_tokens: int = MOST_TOKENS) -> None:
        self.routers = [part for part in module.modules() if isinstance(part, Router)]
        if not self.routers:
            raise ValueError("the model has no router: nothing to record")
        self.most_tokens = most_tokens
        self._counts = [np.zeros(router.config.experts, dtype=np.int64) for router in self.routers]
        self._chosen: list[list[np.ndarray]] = [[] for _ in self.routers]
        self._hooks: list[torch.utils.hooks.RemovableHandle] = []

    def __enter__(self) -> RoutingRecord:
        self._hooks = [
            router.register_forward_hook(lambda _, __, routing, at=index: self._add(at, routing))
            for index, router in enumerate(self.routers)
        ]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()

    def _add(self, layer: int, routing: Routing) -> None:
        chosen = routing.indices.detach().to("cpu").numpy().astype(np.int16)
        self._counts[layer] += np.bincount(chosen.ravel(), minlength=len(self._counts[layer]))
        room = self.most_tokens - sum(len(part) for part in self._chosen[layer])
        if room > 0:
            self._chosen[layer].append(chosen[:room])

    def counts(self) -> np.ndarray:
        """Tokens that chose each expert, [layers, experts]; routers that no token met are left out."""
        met = [counts for counts in self._counts if counts.any()]
        if not met:
            raise ValueError("nothing recorded: run the model inside `with RoutingRecord(module)`")
        return np.stack(met)

    def topk(self) -> np.ndarray:
        """Choices by token, [layers, tokens, top_k]: as many tokens as every layer met, at most ``most_tokens``."""
        layers = [np.concatenate(parts) for parts in self._chosen if parts]
        if not layers:
            raise ValueError("nothing recorded: run the model inside `with RoutingRecord(module)`")
        tokens = min(len(layer) for layer in layers)
        return np.stack([layer[:tokens] for layer in layers])

    def save(self, counts: str | Path | None = None, topk: str | Path | None = None) -> None:
        """Write counts, choices, or both."""
        for path, table in ((counts, self.counts), (topk, self.topk)):
            if path is not None:
                with replacing(Path(path)) as stream:
                    np.save(stream, table(), allow_pickle=False)
