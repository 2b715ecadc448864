"""Window: the part of a run that counts. A run starts empty and ends by draining; neither is the steady state.

A system that starts empty fills while its first requests last: with Poisson arrivals at rate λ and as many servers as
are asked for, λ·∫₀ᵗ P(S > u) du requests of duration S are in it at t [eick-massey-whitt-1993, eq. 2]. So the time in
which nine in ten answers are made is left out at the start, and again before arrivals stop, as those who come then
see others leave and none come. Whether the run settles at all is asked of MSER-5, on the tokens of the requests in the
system; cutting where it says would pick the calm part of a run (the mean wait of short M/D/1 runs comes out 13 % low).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from costsim.errors import OutOfRange
from costsim.serving.history import Mark
from costsim.serving.outcome import Column, Outcome
from costsim.serving.statistics import itl_quantiles

#: observations of a batch, and the share of a run within which a warm-up must end for the rule to hold
BATCH, MOST = 5, 0.5
#: even times at which the state is looked at, and the fewest requests that a steady window may hold
SAMPLES, FEWEST = 2000, 30
#: more held in the second half of a run than in the first by which it grows beyond what its start explains
GROWN = 1.25
#: share of answers in whose time a run fills, and that must have been made before arrivals stop
ENDED = 0.9


def mser5(values: NDArray[np.float64]) -> int | None:
    """How many first ``values`` to leave out as warm-up; None where the rule finds no steady part.

    MSER-5: of the means z of every five values, leave out the first d so that Σ_{i>d} (z_i − z̄_d)²/(n − d)² is
    least: the squared standard error of what is kept. A d at the middle of the run means that it never settled.
    [white-mser-2000]
    """
    n = len(values) // BATCH
    if n < 2:
        return None
    means = values[: n * BATCH].reshape(n, BATCH).mean(axis=1)
    means = means - means.mean()
    left = np.arange(n, 0, -1)
    total, squares = (np.cumsum(v[::-1])[::-1] for v in (means, means * means))
    error = (squares - total * total / left) / (left * left)
    within = max(int(MOST * n), 1)
    cut = int(np.argmin(error[: within + 1]))
    return None if cut >= within else BATCH * cut


def tokens_held(outcome: Outcome, at_s: Column) -> Column:
    """Tokens of the requests in the system: each prompt from its arrival on, each answer as it is made."""
    lost = np.where(np.isfinite(outcome.aborted_s), outcome.aborted_s, outcome.end_s)
    left = np.where(outcome.finished, outcome.finish_s, lost)
    held = _running_sum(outcome.arrival_s, outcome.isl, at_s) - _running_sum(left, outcome.isl, at_s)
    made = outcome.finish_s > outcome.first_s  # an answer that was begun, made evenly
    first, last, osl = outcome.first_s[made], outcome.finish_s[made], outcome.osl[made]
    slope = osl / (last - first)
    rise = _running_sum(first, slope, at_s) - _running_sum(last, slope, at_s)
    base = _running_sum(first, slope * first, at_s) - _running_sum(last, slope * first, at_s)
    return np.asarray(held + rise * at_s - base)


def _running_sum(when_s: Column, amount: Column, at_s: Column) -> Column:
    """Sum of what came up to each time."""
    order = np.argsort(when_s, kind="stable")
    total = np.concatenate([[0.0], np.cumsum(amount[order])])
    return np.asarray(total[np.searchsorted(when_s[order], at_s, side="right")])


@dataclass(frozen=True)
class Window:
    """From ``begin_s`` to ``end_s`` of a run: the requests that came then, and what was done in that time.

    ``steady``: None where nothing was asked to be cut, else whether a steady part was found; where it was not, all of
    the run counts.
    """

    outcome: Outcome
    begin_s: float
    end_s: float
    steady: bool | None = None

    @property
    def span_s(self) -> float:
        return max(self.end_s - self.begin_s, 1e-300)

    @cached_property
    def among(self) -> NDArray[np.bool_]:
        """The requests that came in this time."""
        arrival = self.outcome.arrival_s
        return np.asarray((arrival >= self.begin_s) & (arrival <= self.end_s))

    @cached_property
    def _edges(self) -> tuple[Mark, Mark]:
        return self.outcome.history.at(self.begin_s), self.outcome.history.at(self.end_s)

    @property
    def spent(self) -> NDArray[np.float64]:
        """Replica seconds [pools × (busy, prompt, cached, KV)] of this time."""
        before, after = self._edges
        return after.spent - before.spent

    def itl_s(self, quantiles: list[float]) -> NDArray[np.float64]:
        """Quantiles of the time between two tokens of one request, over all tokens of this time."""
        before, after = self._edges
        gaps = {b: weight - before.gaps.get(b, 0.0) for b, weight in after.gaps.items()}
        return itl_quantiles(gaps, quantiles)

    @cached_property
    def tokens(self) -> dict[str, float]:
        """Tokens computed (input), found (cached) and made (output) in this time, of the requests that finished.

        A prompt is read evenly from admission to the first token, an answer made evenly from there to its end.
        """
        o = self.outcome
        done = o.finished
        made = self._share(o.first_s[done], o.finish_s[done])
        read = self._share(np.fmin(o.admitted_s[done], o.first_s[done]), o.first_s[done])
        cached = float(np.sum(read * o.cached[done]))
        computed = float(np.sum(read * o.isl[done])) - cached
        return {"input": computed, "cached": cached, "output": float(np.sum(made * o.osl[done]))}

    def _share(self, start_s: Column, stop_s: Column) -> Column:
        """What part of [start, stop] lies in the window; all of an instant that does."""
        length = stop_s - start_s
        common = np.minimum(stop_s, self.end_s) - np.maximum(start_s, self.begin_s)
        with np.errstate(invalid="ignore", divide="ignore"):
            share = np.where(length > 0, common / length, common >= 0)
        return np.asarray(np.clip(share, 0.0, 1.0))

    @property
    def finished_per_s(self) -> float:
        """Requests that were done in this time, a second."""
        finish = self.outcome.finish_s
        return float(np.sum((finish >= self.begin_s) & (finish <= self.end_s))) / self.span_s

    @property
    def waiting(self) -> tuple[float, int]:
        """(mean over time, most) requests in queues, as far as the thinned series shows."""
        inside = [point for point in self.outcome.series if self.begin_s <= point[0] <= self.end_s]
        if len(inside) < 2:
            return 0.0, max((point[1] for point in inside), default=0)
        times, counts = (np.array([point[i] for point in inside], dtype=float) for i in (0, 1))
        spans = np.diff(times)
        mean = float(np.dot(spans, 0.5 * (counts[1:] + counts[:-1])) / max(float(spans.sum()), 1e-300))
        return mean, int(counts.max())


def whole(outcome: Outcome, steady: bool | None = None) -> Window:
    """All of a run."""
    return Window(outcome, 0.0, outcome.end_s, steady)


def steady(outcome: Outcome, warmup_s: float | None = None) -> Window:
    """The steady part of a run: requests that come when the first have been answered (P90), or from ``warmup_s`` on,
    and whose own answers (P90) are made before arrivals stop.

    All of the run, with ``steady`` False, where there is none: more comes than is let through, so that the load never
    settles, or too few requests are left. Raises OutOfRange for a ``warmup_s`` that leaves too few to count.
    """
    last_s = float(outcome.arrival_s[-1])
    took = outcome.e2e_s[outcome.finished]
    each_s = float(np.quantile(took, ENDED)) if took.size else math.inf
    found = Window(outcome, each_s if warmup_s is None else warmup_s, last_s - each_s, True)
    enough = found.end_s > found.begin_s and int(found.among.sum()) >= FEWEST
    if warmup_s is not None and not enough:
        raise OutOfRange(
            f"warm-up of {warmup_s:g} s: fewer than {FEWEST} requests come after it and are answered (P90 in "
            f"{each_s:.3g} s) before arrivals stop at {last_s:.0f} s; more requests are needed, or a shorter warm-up"
        )
    return found if enough and (warmup_s is not None or settles(outcome)) else whole(outcome, steady=False)


def settles(outcome: Outcome) -> bool:
    """Whether the tokens held settle while requests come: MSER-5 finds a steady part, or they grow no more.

    A calm second half after a busy first one is cut away by MSER-5 too, so that growth must be there as well.
    """
    last_s = float(outcome.arrival_s[-1])
    if not last_s > 0:
        return False
    count = int(np.clip(len(outcome.isl), 20 * BATCH, SAMPLES))
    held = tokens_held(outcome, np.linspace(0.5, count - 0.5, count, dtype=np.float64) * (last_s / count))
    first, second = (float(np.mean(half)) for half in np.array_split(held, 2))
    return mser5(held) is not None or second <= GROWN * first
