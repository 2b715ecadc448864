"""Local search on many layers at once: swaps of slots between GPUs, and other choices of what to replicate.

States are arrays [rows, slots] of experts, slots in GPU order. Loads are scaled so that a GPU's mean is 1.
A slot of load x weighs y = x + c·x²: with c = 0 the sum over a GPU is its load; with c = t·ν²/2 it is the bound
(1/t) ln E e^{tX} on the load X that a GPU has once every expert drifts by a relative standard deviation ν (Chernoff).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from costsim.placement.placement import LEAST_GAIN, Loads, Slots, count_copies

Mask = NDArray[np.bool_]


def shares(experts: Slots, loads: Loads) -> Loads:
    """Load of each slot when an expert's tokens split evenly over its copies, [rows, slots]."""
    copies = count_copies(experts, loads.shape[1]).astype(loads.dtype)
    return np.take_along_axis(loads / copies, experts, axis=1)


def swap(experts: Slots, weight: Loads, per_gpu: int, rounds: int, same: int = 0) -> tuple[Slots, Loads]:
    """Swap a slot of the busiest GPU for the one elsewhere that levels the two best, until nothing betters it.

    ``weight`` [rows, slots] travels with its slot. ``same`` > 0 keeps partners within blocks of so many slots (a
    node). Returns experts and weights in their new order.
    """
    experts, weight = experts.copy(), weight.copy()
    slots = experts.shape[1]
    gpu_of, inside = np.arange(slots) // per_gpu, np.arange(per_gpu)
    live = np.arange(len(experts))
    for _ in range(rounds):
        w = weight[live]
        total = w.reshape(len(live), -1, per_gpu).sum(axis=2)
        rows, busy = np.arange(len(live)), total.argmax(axis=1)
        top = total[rows, busy]
        own = busy[:, None] * per_gpu + inside
        moved = w[rows[:, None], own][:, :, None] - w[:, None, :]
        after = np.maximum(top[:, None, None] - moved, total[:, gpu_of][:, None, :] + moved)
        if same:
            after[np.broadcast_to((own[:, :1] // same != np.arange(slots) // same)[:, None, :], after.shape)] = np.inf
        best = after.reshape(len(live), -1).argmin(axis=1)
        gain = top - after.reshape(len(live), -1)[rows, best]
        better = gain > LEAST_GAIN
        live, here, there = live[better], (own[rows, best // slots])[better], (best % slots)[better]
        if not len(live):
            break
        for array in (experts, weight):
            array[live, here], array[live, there] = array[live, there], array[live, here]
    return experts, weight


def folded(weight: Loads) -> Loads:
    """Largest with smallest: the pairing of 2n slots whose heaviest pair is lightest; pair sums, [..., n]."""
    ordered = np.sort(weight, axis=-1)
    half = ordered.shape[-1] // 2
    return np.asarray(ordered[..., :half] + ordered[..., : half - 1 : -1])


def fold(experts: Slots, weight: Loads) -> Slots:
    """Experts in pairs, largest with smallest; two copies of one expert are parted where a neighbour can take one."""
    order = np.argsort(weight, axis=1, kind="stable")
    half = order.shape[1] // 2
    pairs = np.stack([order[:, :half], order[:, : half - 1 : -1]], axis=2)
    return np.take_along_axis(experts, pairs.reshape(len(experts), -1), axis=1)


def _donors(experts: Slots, copies: Slots, count: int, rng: np.random.Generator) -> Slots:
    """Slots that may give up their expert (it has another copy), chosen at random, [rows, count]."""
    spare = np.take_along_axis(copies, experts, axis=1) > 1
    key = rng.random(experts.shape) + spare
    return np.argpartition(-key, count - 1, axis=1)[:, :count]


def changes(
    experts: Slots, hot: Slots, tries: int, experts_in_all: int, rng: np.random.Generator
) -> tuple[Slots, Slots]:
    """Random (slot, expert to put there), [rows, tries] each: ``hot`` [rows, n] names the busiest GPU's experts."""
    return _donors(experts, count_copies(experts, experts_in_all), tries, rng), _recipients(
        hot, tries, experts_in_all, rng
    )


def _recipients(hot: Slots, count: int, experts_in_all: int, rng: np.random.Generator) -> Slots:
    """Experts that may get one more copy: half from the busiest GPU, half anyone, [rows, count]."""
    rows = len(hot)
    known = np.take_along_axis(hot, rng.integers(0, hot.shape[1], (rows, count // 2)), axis=1)
    return np.concatenate([known, rng.integers(0, experts_in_all, (rows, count - count // 2))], axis=1)


def changed(experts: Slots, loads: Loads, slots: Slots, new: Slots) -> tuple[Loads, Mask]:
    """Slot loads if slot ``slots[r, j]`` held expert ``new[r, j]``, one change at a time: [rows, tries, slots].

    The mask says which changes leave every expert placed.
    """
    copies = count_copies(experts, loads.shape[1])
    now = np.take_along_axis(loads / copies.astype(loads.dtype), experts, axis=1)
    old = np.take_along_axis(experts, slots, axis=1)
    left, grown = np.take_along_axis(copies, old, axis=1) - 1, np.take_along_axis(copies, new, axis=1) + 1
    gives = np.take_along_axis(loads, old, axis=1) / np.maximum(left, 1).astype(loads.dtype)
    takes = np.take_along_axis(loads, new, axis=1) / grown.astype(loads.dtype)
    held = experts[:, None, :]
    after = np.where(held == old[..., None], gives[..., None],
                     np.where(held == new[..., None], takes[..., None], now[:, None, :]))  # fmt: skip
    np.put_along_axis(after, slots[..., None], takes[..., None], axis=2)
    return after, (left >= 1) & (old != new)


class Pairs:
    """Two slots a GPU: given the copies, folding is optimal, so the search is over what to replicate alone."""

    def __init__(
        self, loads: Loads, steepness: float = 1.0, drift: float = 0.0, cap: Loads | None = None, present: float = 0.0
    ) -> None:
        # Half the bytes are enough to tell candidates apart; what is found is measured in full.
        self.loads: Any = loads.astype(np.float32)
        self.steepness, self.drift = steepness, drift
        self.curve = steepness * drift**2 / 2.0
        self.cap, self.present = cap, present

    def weighing(self, present: float) -> Pairs:
        """The same with ``present`` as the weight of the window itself against the drifted one."""
        return Pairs(self.loads, self.steepness, self.drift, self.cap, present)

    def score(self, share: Loads) -> Loads:
        """Busiest pair; with drift weighed against the bound on the drifted busiest, above ``cap`` steeply more.

        The bound is (1/t) ln Σ_g e^{t·y_g}, y as in the module's head.
        """
        ordered = np.sort(share, axis=-1)
        half = ordered.shape[-1] // 2
        low, high = ordered[..., :half], ordered[..., : half - 1 : -1]
        pair = low + high
        busiest = pair.max(axis=-1)
        if self.curve == 0.0:
            return np.asarray(busiest)
        y = self.steepness * (pair + self.curve * (low * low + high * high))
        top = y.max(axis=-1, keepdims=True)
        drifted = (top[..., 0] + np.log(np.exp(y - top).sum(axis=-1))) / self.steepness
        over = 0.0 if self.cap is None else np.maximum(busiest - self.cap.reshape(-1, *[1] * (busiest.ndim - 1)), 0.0)
        return np.asarray(self.present * busiest + (1.0 - self.present) * drifted + 100.0 * over)

    def improve(self, experts: Slots, rounds: int, tries: int, rng: np.random.Generator) -> Slots:
        """Give a replica to another expert wherever that lowers the score; ``tries`` random changes a round."""
        experts = experts.copy()
        rows = np.arange(len(experts))
        tries = min(tries, experts.shape[1])
        now = self.score(shares(experts, self.loads))
        for _ in range(rounds):
            share = shares(experts, self.loads)
            order = np.argsort(share, axis=1)
            pair = (np.take_along_axis(share, order, 1) + np.take_along_axis(share, order[:, ::-1], 1)).argmax(axis=1)
            hot = experts[rows[:, None], order[rows[:, None], np.stack([pair, order.shape[1] - 1 - pair], axis=1)]]
            slots, new = changes(experts, hot, tries, self.loads.shape[1], rng)
            after, allowed = changed(experts, self.loads, slots, new)
            score = np.where(allowed, self.score(after), np.inf)
            best = score.argmin(axis=1)
            found = score[rows, best]
            at = np.flatnonzero(found <= now)
            experts[at, slots[at, best[at]]] = new[at, best[at]]
            now[at] = found[at]
        return experts


def kicked(experts: Slots, loads: Loads, starts: int, rng: np.random.Generator) -> Slots:
    """Rows that start the same, ``starts`` of each layer, with a few replicas changed in all but the first of each."""
    experts, rows = experts.copy(), np.arange(len(experts))
    for _ in range(3):
        slot = _donors(experts, count_copies(experts, loads.shape[1]), 1, rng)[:, 0]
        spare = count_copies(experts, loads.shape[1])[rows, experts[rows, slot]] > 1
        at = rows[spare & (rows % starts > 0)]
        experts[at, slot[at]] = rng.integers(0, loads.shape[1], len(at))
    return experts


def shake(experts: Slots, loads: Loads, per_gpu: int, rounds: int, rng: np.random.Generator) -> Slots:
    """Iterated local search: change a replica or swap two slots at random, swap downhill, keep what is no worse.

    For any number of slots a GPU; rows are independent, so several starts of one layer are several rows.
    """
    best, rows = experts.copy(), np.arange(len(experts))
    now = _level(best, loads, per_gpu)
    slots = experts.shape[1]
    for step in range(rounds):
        trial = best.copy()
        if step % 3:
            total = shares(best, loads).reshape(len(rows), -1, per_gpu).sum(axis=2)
            busiest = total.argmax(axis=1)[:, None] * per_gpu + np.arange(per_gpu)
            hot = np.take_along_axis(best, busiest, axis=1)
            slot = _donors(trial, count_copies(trial, loads.shape[1]), 1, rng)[:, 0]
            new = _recipients(hot, 2, loads.shape[1], rng)[rows, rng.integers(0, 2, len(rows))]
            spare = count_copies(trial, loads.shape[1])[rows, trial[rows, slot]] > 1
            trial[rows[spare], slot[spare]] = new[spare]
        for _ in range(1 + step % 2):
            a, b = rng.integers(0, slots, (2, len(rows)))
            trial[rows, a], trial[rows, b] = trial[rows, b], trial[rows, a]
        trial = swap(trial, shares(trial, loads), per_gpu, 60)[0]
        found = _level(trial, loads, per_gpu)
        better = found <= now
        best[better], now[better] = trial[better], found[better]
    return best


def _level(experts: Slots, loads: Loads, per_gpu: int) -> Loads:
    """Busiest GPU, by layer, with a trace of the sum of squares to tell equals apart."""
    total = shares(experts, loads).reshape(len(experts), -1, per_gpu).sum(axis=2)
    return np.asarray(total.max(axis=1) + 1e-4 * (total**2).mean(axis=1))
