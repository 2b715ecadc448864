"""Collectives of a trace: bytes where the profiler recorded them, and waiting told from transfer by several ranks.

A collective ends on all ranks at about the same time and cannot move data before the last rank has come. The rank
that comes last does not wait, so of the k-th call of a kind the shortest over all ranks is the transfer, and what a
rank spends beyond it is waiting. Only durations are compared: clocks of hosts need not agree.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from costsim.trace.columns import Spans
from costsim.trace.families import ROLES
from costsim.trace.recording import Collective
from costsim.trace.summary import CollectiveUse
from costsim.trace.work import Work, matched

ELEMENT_BYTES = {
    "float": 4.0, "float32": 4.0, "double": 8.0, "float64": 8.0, "half": 2.0, "float16": 2.0, "bfloat16": 2.0,
    "c10::bfloat16": 2.0, "c10::half": 2.0, "byte": 1.0, "char": 1.0, "uint8": 1.0, "int8": 1.0, "bool": 1.0,
    "int": 4.0, "int32": 4.0, "long": 8.0, "long int": 8.0, "int64": 8.0, "short": 2.0, "float8_e4m3fn": 1.0,
    "float8_e5m2": 1.0, "c10::float8_e4m3fn": 1.0, "c10::float8_e5m2": 1.0,
}  # fmt: skip
Key = tuple[Any, ...]


def collectives(work: Work) -> tuple[CollectiveUse, ...]:
    """Calls by kind and size, the longest together first."""
    rows: dict[Key, list[int]] = defaultdict(list)
    moving = np.flatnonzero(work.of_roles("transfer", "wait"))
    keys = dict(zip(moving.tolist(), _keys(work, moving), strict=True))
    for place, key in keys.items():
        rows[key].append(place)
    uses = [_use(work, key, np.array(places)) for key, places in rows.items()]
    return tuple(sorted(uses, key=lambda use: -use.time_s))


def _use(work: Work, key: Key, places: NDArray[np.int64]) -> CollectiveUse:
    family, size, ranks = key[0], key[1], key[2]
    waited = work.of_roles("wait")[places]
    always = work.families[int(work.spans.name[places[0]])].role == "wait"
    time_s = float(np.sum(work.spans.time_s[places]))
    calls = int(np.sum(work.opens[places]))
    wait_s = time_s if always else float(np.sum(work.spans.time_s[places][waited])) if waited.any() else None
    moved_s = time_s - (wait_s or 0.0)
    rate = None if size is None or ranks < 2 or moved_s <= 0 else size * _bus_factor(family, ranks) * calls / moved_s
    return CollectiveUse(family, calls, ranks, size, time_s, wait_s, rate)


def _bus_factor(family: str, ranks: int) -> float:
    """Bytes over a rank's link per byte of the message, as nccl-tests counts them [nccl-tests, note PERFORMANCE]."""
    if family == "all-reduce":
        return 2.0 * (ranks - 1) / ranks
    return (ranks - 1) / ranks if family in ("all-gather", "reduce-scatter", "all-to-all") else 1.0


def _keys(work: Work, places: NDArray[np.int64]) -> Iterator[Key]:
    """(family, bytes, ranks, group) of each piece, as far as recorded: on the kernel, or on the operator behind it."""
    trace = work.trace
    recorded = np.array([isinstance(value, Collective) for value in trace.details] + [False])
    calls = trace.ops.where(recorded[trace.ops.detail])
    behind = matched(work.spans.external[places], calls.external)
    for place, call in zip(places.tolist(), behind.tolist(), strict=True):
        detail = int(work.spans.detail[place])
        value = trace.details[int(calls.detail[call])] if detail < 0 <= call else None
        value = trace.details[detail] if detail >= 0 else value
        family = work.families[int(work.spans.name[place])].name
        if isinstance(value, Collective):
            width = ELEMENT_BYTES.get(value.dtype.lower())
            count = max(value.elements_in, value.elements_out)
            size = None if width is None or not count else count * width
            yield (family, size, value.ranks or trace.world or 0, value.group)
        else:
            yield (family, None if value is None else _tensor_bytes(value), trace.world or 0, "")


def _tensor_bytes(value: Any) -> float | None:
    """Bytes of the first tensor of an operator's recorded inputs."""
    dims, types = value[0], value[1]
    if not isinstance(dims, list) or not isinstance(types, list) or not dims or not types:
        return None
    first = dims[0]
    if not isinstance(first, list) or not all(type(n) is int and 0 < n < 2**48 for n in first) or not first:
        return None
    width = ELEMENT_BYTES.get(str(types[0]).lower())
    return None if width is None else float(np.prod([float(n) for n in first])) * width


def told_apart(works: Sequence[Work]) -> tuple[list[Work], list[str]]:
    """The ranks' work with collectives cut into waiting and transfer, and notes on what could not be matched."""
    if len(works) < 2 or any(_told_by_tasks(work) for work in works):
        return list(works), []
    calls = [_calls(work) for work in works]
    waits = [np.zeros(len(work.spans)) for work in works]
    unmatched, matched_calls = 0, 0
    for key in dict.fromkeys(key for found in calls for key in found):
        places = [found.get(key, []) for found in calls]
        if len({len(found) for found in places}) != 1:
            unmatched += max(len(found) for found in places)
            continue
        times = np.array([work.spans.time_s[found] for work, found in zip(works, places, strict=True)])
        for wait, found, time_s in zip(waits, places, times, strict=True):
            wait[found] = time_s - times.min(axis=0)
        matched_calls += times.shape[1]
    notes = []
    if matched_calls:
        notes.append(
            f"{matched_calls:,} collectives matched over {len(works)} ranks: beyond the shortest's time is waiting."
        )
    if unmatched:
        notes.append(
            f"{unmatched:,} collectives could not be matched over the ranks: their waiting is not told from transfer."
        )
    return [_cut(work, wait) for work, wait in zip(works, waits, strict=True)], notes


def _told_by_tasks(work: Work) -> bool:
    """Whether the trace itself parts the waiting inside collectives (HCCL's does)."""
    moving = np.array([family.role == "transfer" for family in work.families])
    return bool(np.any(moving[work.spans.name] & work.of_roles("wait")))


def _calls(work: Work) -> dict[Key, list[int]]:
    """Whole collective calls by kind, in order of start."""
    found: dict[Key, list[int]] = defaultdict(list)
    places = np.flatnonzero(work.of_roles("transfer") & work.opens)
    for place, key in zip(places.tolist(), _keys(work, places), strict=True):
        found[key].append(place)
    return found


def _cut(work: Work, wait: NDArray[np.float64]) -> Work:
    """Each piece that waits as two: waiting first, for the data come last."""
    waits = wait > 0
    if not waits.any():
        return work
    spans = work.spans
    turn = np.where(waits, spans.start_s + wait, spans.start_s)
    rest = replace(spans, start_s=turn)
    first = replace(spans.where(waits), end_s=turn[waits])
    order = np.argsort(np.concatenate((rest.start_s, first.start_s)), kind="stable")
    columns = {
        name: np.concatenate((getattr(rest, name), getattr(first, name)))[order] for name in Spans.__dataclass_fields__
    }
    role = np.concatenate((work.role, np.full(int(waits.sum()), ROLES.index("wait"), np.int8)))[order]
    opens = np.concatenate((work.opens, np.zeros(int(waits.sum()), bool)))[order]
    return replace(work, spans=Spans(**columns), role=role, opens=opens)
