"""Text from the model: greedy or sampled, and greedy with multi-token prediction as a speculative draft."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, overload

import torch
from torch import Tensor

from model.cache import LatentCache
from model.transformer import DeepSeek


@dataclass(frozen=True)
class Generation:
    """``tokens`` [B, prompt + new] and how they came about.

    ``steps``: forward passes of the model after the prompt's. ``drafted`` and ``accepted``: draft tokens proposed and
    right, counted per row; a right draft that has to wait for another row counts, but is computed again.
    """

    tokens: Tensor
    prompt_length: int
    steps: int
    drafted: int = 0
    accepted: int = 0

    @property
    def acceptance(self) -> float:
        """Share of drafts that the model itself would have written."""
        return self.accepted / self.drafted if self.drafted else 0.0


@overload
def generate(
    module: DeepSeek,
    input_ids: Tensor,
    max_new_tokens: int,
    mtp: bool = ...,
    *,
    report: Literal[True],
    **options: object,
) -> Generation: ...
@overload
def generate(
    module: DeepSeek, input_ids: Tensor, max_new_tokens: int, mtp: bool = ..., **options: object
) -> Tensor: ...
@torch.no_grad()
def generate(
    module: DeepSeek,
    input_ids: Tensor,
    max_new_tokens: int,
    mtp: bool = False,
    *,
    temperature: float = 0.0,
    top_p: float = 1.0,
    eos: int | None = None,
    padding: Tensor | None = None,
    generator: torch.Generator | None = None,
    report: bool = False,
) -> Tensor | Generation:
    """Continue ``input_ids`` [B, T] by up to ``max_new_tokens``: [B, T + new], or a Generation with ``report``.

    temperature 0 is greedy. ``padding`` [B] counts left-padding positions. Rows that wrote ``eos`` are filled with it.
    ``mtp`` drafts one token ahead with the first MTP module and verifies it in the next pass: the same greedy text in
    fewer passes. Rows advance together, by the fewest tokens any unfinished row accepts.
    """
    if max_new_tokens < 1:
        raise ValueError(f"max_new_tokens {max_new_tokens} must be at least 1")
    if mtp and not module.mtp:
        raise ValueError("mtp=True needs a model with MTP modules; this one has none")
    if mtp and temperature > 0:
        raise ValueError("mtp=True is greedy; it needs temperature 0")
    training = module.training
    module.eval()
    try:
        if mtp:
            result = _speculate(module, input_ids, max_new_tokens, eos, padding)
        else:
            result = _decode(module, input_ids, max_new_tokens, temperature, top_p, eos, padding, generator)
    finally:
        module.train(training)
    return result if report else result.tokens


def choose(
    logits: Tensor, temperature: float = 0.0, top_p: float = 1.0, generator: torch.Generator | None = None
) -> Tensor:
    """One token per row of logits [B, vocab]: the likeliest, or a draw from the ``top_p`` nucleus."""
    if temperature <= 0:
        return logits.argmax(dim=-1)
    probabilities = (logits.float() / temperature).softmax(dim=-1)
    if top_p < 1:
        ranked, order = probabilities.sort(dim=-1, descending=True)
        ranked = ranked.masked_fill(ranked.cumsum(-1) - ranked >= top_p, 0.0)
        probabilities = torch.zeros_like(ranked).scatter_(1, order, ranked)
    return torch.multinomial(probabilities, 1, generator=generator).squeeze(1)


def _cache(module: DeepSeek, ids: Tensor, capacity: int, layers: int | None = None) -> LatentCache:
    weight = module.embed.weight
    return LatentCache(module.config, len(ids), capacity, layers=layers, dtype=weight.dtype, device=weight.device)


def _decode(
    module: DeepSeek,
    ids: Tensor,
    new: int,
    temperature: float,
    top_p: float,
    eos: int | None,
    padding: Tensor | None,
    generator: torch.Generator | None,
) -> Generation:
    cache = _cache(module, ids, ids.shape[1] + new)
    tokens, fed = ids, ids
    finished = torch.zeros(len(ids), dtype=torch.bool, device=ids.device)
    steps = -1  # the prompt's pass is not counted
    while tokens.shape[1] < ids.shape[1] + new:
        steps += 1
        last = module.head(module.hidden(fed, cache, padding)[:, -1])
        token = choose(last, temperature, top_p, generator)
        if eos is not None:
            token = token.masked_fill(finished, eos)
            finished |= token == eos
        fed = token[:, None]
        tokens = torch.cat((tokens, fed), dim=1)
        if eos is not None and finished.all():
            break
    return Generation(tokens, ids.shape[1], steps)


def _speculate(module: DeepSeek, ids: Tensor, new: int, eos: int | None, padding: Tensor | None) -> Generation:
    """Draft one token, verify it together with the token before it, keep what agrees."""
    limit = ids.shape[1] + new
    cache, drafts = _cache(module, ids, limit + 1), _cache(module, ids, limit + 1, layers=1)
    hidden = module.hidden(ids, cache, padding)
    token = module.head(hidden[:, -1]).argmax(-1)
    tokens = torch.cat((ids, token[:, None]), dim=1)
    steps = drafted = accepted = 0
    while tokens.shape[1] < limit and not _ended(tokens, ids.shape[1], eos):
        # The module sees positions up to the newest hidden state, each with the token that followed it.
        ahead = tokens[:, drafts.length + 1 :]
        draft = module.head(module.draft_hidden(ahead, hidden, drafts, padding)[:, -1]).argmax(-1)
        checked = torch.stack((tokens[:, -1], draft), dim=1)
        hidden = module.hidden(checked, cache, padding)
        following = module.head(hidden).argmax(-1)  # what the model writes after the last token, and after the draft
        agrees = following[:, 0] == draft
        done = _finished(tokens, ids.shape[1], eos)
        steps, drafted, accepted = steps + 1, drafted + int((~done).sum()), accepted + int((agrees & ~done).sum())
        if bool((agrees | done).all()) and tokens.shape[1] + 1 < limit:
            tokens = torch.cat((tokens, following), dim=1)
        else:
            tokens = torch.cat((tokens, following[:, :1]), dim=1)
            cache.truncate(cache.length - 1)
            hidden = hidden[:, :1]
    return Generation(_fill_after_eos(tokens, ids.shape[1], eos), ids.shape[1], steps, drafted, accepted)


def _finished(tokens: Tensor, prompt: int, eos: int | None) -> Tensor:
    """Rows [B] that have written ``eos``."""
    if eos is None:
        return torch.zeros(len(tokens), dtype=torch.bool, device=tokens.device)
    return (tokens[:, prompt:] == eos).any(dim=1)


def _ended(tokens: Tensor, prompt: int, eos: int | None) -> bool:
    return eos is not None and bool(_finished(tokens, prompt, eos).all())


def _fill_after_eos(tokens: Tensor, prompt: int, eos: int | None) -> Tensor:
    """``eos`` in place of whatever a row wrote after its first ``eos``, cut where the last row ends."""
    if eos is None:
        return tokens
    written = tokens[:, prompt:] == eos
    after = (written.cumsum(1) - written.int()) > 0
    text = tokens[:, prompt:].masked_fill(after, eos)
    length = int((~after).sum(1).max())
    return torch.cat((tokens[:, :prompt], text[:, :length]), dim=1)
