"""Whole-model runs: prefill, decode by batch and context, and a training step, of a model cut to what fits."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

from costsim.spec.model import ModelSpec
from model.cache import LatentCache
from model.config import DeepSeekConfig
from model.optimizer import AdamW
from model.profile.case import DTYPES
from model.training import Batch, Recipe, prepare, train_step
from model.transformer import DeepSeek


@dataclass(frozen=True)
class Run:
    """One whole-model case. ``length``: prompt or sequence tokens, or tokens already cached (decode)."""

    phase: str  # prefill, decode, training
    spec: ModelSpec
    batch: int
    length: int
    dtype: str

    @property
    def key(self) -> str:
        return f"{self.phase} {self.spec.id} batch={self.batch} length={self.length} {self.dtype}"

    @property
    def tokens(self) -> int:
        """Tokens that one run handles."""
        return self.batch * (1 if self.phase == "decode" else self.length)


#: (narrowing, layers, experts) of the two sizes on a host's processor, and the batch shapes run on each; none of them
#: is a power of two, as all micro-benchmarks are
SIZES = ((5 / 16, 4, 24), (7 / 16, 4, 20))
PREFILL = (((1, 192), (3, 320), (1, 768)), ((2, 96), (1, 448), (2, 640)))
DECODE = (((1, 150), (6, 700), (24, 300)), ((3, 400), (12, 1200), (40, 200)))
TRAINING = (((2, 160), (1, 416)), ((1, 224), (3, 192)))


def runs(spec: ModelSpec, dtype: str, quick: bool) -> Iterator[Run]:
    """All cases of the two sizes, or half of them."""
    for (share, layers, experts), *shapes in zip(SIZES, PREFILL, DECODE, TRAINING, strict=True):
        cut = narrowed(spec, share, layers, experts)
        for phase, pairs in zip(("prefill", "decode", "training"), shapes, strict=True):
            yield from (Run(phase, cut, b, n, dtype) for b, n in (pairs[1:] if quick else pairs))


def narrowed(spec: ModelSpec, share: float, layers: int, experts: int) -> ModelSpec:
    """The model with every width times ``share``, ``layers`` layers and ``experts`` experts; head sizes stay.

    Raises ValueError where ``share`` leaves no whole number of heads.
    """
    a, moe = spec.attention, spec.moe
    heads = a.heads * share
    if heads < 1 or heads != int(heads):
        raise ValueError(f"{spec.id}: {a.heads} heads times {share} is not a whole number of heads")

    def cut(width: int) -> int:
        return 8 * max(round(width * share / 8), 1) if width else 0

    attention = a.model_copy(update={"heads": int(heads), "kv_heads": int(heads), "q_lora_rank": cut(a.q_lora_rank),
                                     "kv_lora_rank": cut(a.kv_lora_rank)})  # fmt: skip
    update: dict[str, Any] = {
        "id": f"{spec.id}-w{cut(spec.hidden)}-l{layers}", "hidden": cut(spec.hidden), "layers": layers,
        "vocab": cut(spec.vocab) // 4, "intermediate": cut(spec.intermediate), "attention": attention, "mtp_layers": 0,
    }  # fmt: skip
    if moe is not None:
        update["moe"] = moe.model_copy(
            update={
                "experts": experts,
                "intermediate": cut(moe.intermediate),
                "groups": 1,
                "top_groups": 1,
                "first_dense": min(moe.first_dense, 1),
                "top_k": min(moe.top_k, experts),
            }
        )
    return spec.model_copy(update=update)


def build(run: Run, place: torch.device) -> Callable[[], Any]:
    """The call that the run times; the model is made anew, with random weights and random tokens."""
    torch.manual_seed(0)
    config = DeepSeekConfig.from_spec(run.spec)
    with place:
        module = DeepSeek(config)
    if run.dtype != "fp32":
        module = module.to(DTYPES[run.dtype])
    ids = torch.randint(0, config.vocab, (run.batch, 1 if run.phase == "decode" else run.length)).to(place)
    if run.phase == "training":
        recipe = Recipe()
        prepare(module, recipe)
        optimizer = AdamW(module.parameters())

        def training() -> None:
            with torch.enable_grad():
                train_step(module, Batch(ids), optimizer, recipe)

        return training
    module.eval()
    capacity = 1 << math.ceil(math.log2(run.length + 1))
    cache = LatentCache(config, run.batch, capacity, dtype=DTYPES[run.dtype], device=place)
    cache.latents.normal_()

    def prefill() -> None:
        cache.truncate(0)
        with torch.no_grad():
            module.head(module.hidden(ids, cache)[:, -1:])

    def decode() -> None:
        cache.length = run.length
        with torch.no_grad():
            module(ids, cache)

    return prefill if run.phase == "prefill" else decode
