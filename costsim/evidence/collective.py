"""Collectives as points: seconds of one all-reduce, gather, scatter or all-to-all alone on its fabrics.

Plan: ``op`` and ``ranks``; load: ``bytes``, which a rank holds (the whole, for gather and scatter). Metrics:
``time_s``, and the algorithm and bus bandwidth that nccl-tests derive from it. [nccl-tests]
"""

from __future__ import annotations

from costsim.calibration.store import MIN_POINTS, device_for
from costsim.calibration.transfer import shipped_bands
from costsim.errors import BadInput, OutOfRange
from costsim.evidence.points import Point
from costsim.network.collectives import KINDS, time_collective
from costsim.predict.report import Metric, Report
from costsim.spec.accelerator import Accelerator
from costsim.spec.cluster import MOST_DEVICES, standard_cluster
from costsim.timing.device import FittedLaw, worse

#: bytes on the busiest link over the bytes a rank holds, as nccl-tests counts them
_BUS = {"all_reduce": 2.0, "all_gather": 1.0, "reduce_scatter": 1.0, "all_to_all": 1.0, "p2p": 0.0}

#: times the measured ranks from which a collective's law is as unsure as one from another architecture
FAR = 4.0


def evidence(fitted: FittedLaw, kind: str, ranks: int, tray: int = 8) -> tuple[float, float, str]:
    """P10 and P90 of measured/predicted, and the grade, of a collective over ``ranks``.

    A law of a handful of points, or of fewer ranks than are asked for, is no surer than one from a sibling part, and
    from :data:`FAR` times the measured ranks on than one from another architecture; beyond the measured ranks grade A
    becomes B. ``tray``: ranks measured where the law does not say.
    """
    low, high, grade = fitted.low, fitted.high, fitted.grade
    axes = [axis for axis in getattr(fitted.correction, "axes", ()) if axis.name == "ranks"]
    most = max((2.0 ** (axis.start + axis.step * (axis.count - 1)) for axis in axes), default=float(tray))
    beyond = ranks > most
    if beyond or fitted.points < MIN_POINTS:
        other = shipped_bands().of(f"{kind}/bytes", "D" if ranks > FAR * most else "C")
        low, high = min(low, other[0]), max(high, other[1])
    return low, high, worse(grade) if beyond and grade == "A" else grade


def predict_collective(point: Point, chip: Accelerator) -> Report:
    """The report of a collective row. BadInput where it states no known op, ranks or bytes."""
    kind = point.plan.get("op", "").lower().replace("-", "_").replace("alltoall", "all_to_all")
    if kind not in KINDS[:5]:
        raise BadInput(f"op = {kind[:40]!r}: not one of {', '.join(KINDS[:5])}")
    ranks, size = point.number("ranks", point.gpus), point.number("bytes")
    if not 2 <= ranks <= MOST_DEVICES or ranks != int(ranks):
        raise OutOfRange(f"ranks = {ranks:g}: must be a whole number from 2 to {MOST_DEVICES:,}")
    if not 1.0 <= size <= 1e13:
        raise OutOfRange(f"bytes = {size:g}: must be from 1 to 1e13")
    cluster = standard_cluster(chip, int(ranks))
    device = device_for(chip.model_copy(update={"dies": 1}), cluster)
    domain = min(cluster.scale_up_domain, int(ranks))
    timed = time_collective(kind, size, int(ranks), domain, device)
    seconds, fitted = float(timed.time_s), timed.duration.fitted
    low, high, grade = evidence(fitted, kind, int(ranks), chip.node_devices)
    rate, moved = size / seconds, (1.0 if kind == "p2p" else _BUS[kind] * (ranks - 1.0) / ranks)
    metrics = {"time_s": Metric(seconds, "s", seconds * low, seconds * high, grade)}
    for name, value in (("algorithm_bytes_per_s", rate), ("bus_bytes_per_s", rate * moved)):
        metrics[name] = Metric(value, "B/s", value / high, value / low, grade)
    return Report("collective", {}, metrics, sources=fitted.sources)
