"""Compute and judge claims: the id names the function, the data file the rules."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any

from costsim.evidence.claims import (
    attention,
    chips,
    experiments,
    money,
    reinforcement,
    serving,
    size,
    training,
    workloads,
)
from costsim.evidence.claims.figure import Figures
from costsim.evidence.claims.rules import Claim, Judged, claim, load_claims, verdict_of

#: figures and, for pages, curves: name -> {"x": ..., "series": ...}
Answer = tuple[Figures, dict[str, Any]]
#: id of a claim -> what computes it
COMPUTED: dict[str, Callable[[Claim], Answer]] = {
    **size.CLAIMS, **attention.CLAIMS, **serving.CLAIMS, **training.CLAIMS, **money.CLAIMS, **reinforcement.CLAIMS,
    **chips.CLAIMS, **workloads.CLAIMS, **experiments.CLAIMS,
}  # fmt: skip


@lru_cache(maxsize=64)
def judged(name: str) -> Judged:
    """One claim by id. Raises UnknownName."""
    asked = claim(name)
    figures, curves = COMPUTED[name](asked)
    return Judged(asked, figures, verdict_of(asked, figures), curves)


def judge(names: Sequence[str] = ()) -> Iterator[Judged]:
    """Claims by id, all where none is named, one after another; unknown names are refused before any work."""
    wanted = [claim(name).id for name in names] or list(load_claims())
    for name in wanted:
        yield judged(name)
