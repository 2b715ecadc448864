"""HCCL's operations cut into transfer and waiting by the tasks that they are made of.

Ascend's timeline draws each operation whole on a row of its group, and task by task on rows called planes. While one
of its planes moves or reduces data it transfers; while all that run are Notify_Wait, or none, it waits.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from costsim.trace.columns import Spans
from costsim.trace.families import ROLES
from costsim.trace.intervals import Intervals, union

WAIT = ROLES.index("wait")


def cut_by_tasks(
    spans: Spans, role: NDArray[np.int8], whole: NDArray[np.bool_], task: NDArray[np.bool_]
) -> tuple[Spans, NDArray[np.int8], NDArray[np.bool_]]:
    """Spans without tasks, their roles, and which of them open a call; ``whole`` marks HCCL's operations.

    Operations of two groups at once share one set of planes here: where the trace has both, waiting is a lower bound.
    """
    moves = task & (role != WAIT)
    moving = union(spans.start_s[moves], spans.end_s[moves])
    index, starts, ends, roles, opens = [], [], [], [], []
    for place in np.flatnonzero(~task).tolist():
        start, end, own = float(spans.start_s[place]), float(spans.end_s[place]), int(role[place])
        pieces = _pieces(start, end, moving, own) if whole[place] and own != WAIT else [(start, end, own)]
        first = next((at for at, piece in enumerate(pieces) if piece[2] == own), 0)
        for at, (left, right, does) in enumerate(pieces):
            index.append(place)
            starts.append(left)
            ends.append(right)
            roles.append(does)
            opens.append(at == first)
    kept = spans.where(np.array(index, dtype=np.int64))
    columns = {name: getattr(kept, name) for name in Spans.__dataclass_fields__}
    cut = Spans(**{**columns, "start_s": np.array(starts), "end_s": np.array(ends)})
    order = np.argsort(cut.start_s, kind="stable")
    return cut.where(order), np.array(roles, dtype=np.int8)[order], np.array(opens, dtype=bool)[order]


def _pieces(start: float, end: float, moving: Intervals, own: int) -> list[tuple[float, float, int]]:
    """(start, end, role) of one operation: its own role while data move, waiting between."""
    from_, to = np.searchsorted(moving[:, 1], start, side="right"), np.searchsorted(moving[:, 0], end, side="left")
    pieces, at = [], start
    for left, right in moving[from_:to].tolist():
        left, right = max(left, start), min(right, end)
        if left > at:
            pieces.append((at, left, WAIT))
        pieces.append((left, right, own))
        at = right
    if at < end:
        pieces.append((at, end, WAIT))
    return pieces or [(start, end, own)]
