"""Seconds of a step from its demand: op times by part of the layer, and how communication overlaps them.

Parts of an MoE layer: A attention (with norms, router), S shared expert, M routed experts; D dispatch and
C combine on the wire. All quantities broadcast.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from costsim.num import Num
from costsim.physics.op import Op, Wire
from costsim.physics.step import Demand
from costsim.predict.system import System
from costsim.timing.device import Device
from costsim.timing.duration import Duration, time_op, time_wire


@dataclass(frozen=True)
class Timed:
    """An op or wire with its seconds a time; ``total_s`` counts its executions in one micro-batch."""

    item: Op | Wire
    each: Duration

    @property
    def total_s(self) -> Num:
        return self.each.time_s * self.item.count


@dataclass(frozen=True)
class Phase:
    """A timed micro-batch: its ops and wires on one device."""

    ops: tuple[Timed, ...]
    wires: tuple[Timed, ...]
    gap_s: Num

    def part_s(self, *parts: str) -> Num:
        """Seconds per micro-batch of the compute in these parts, launch gaps included."""
        chosen = (t for t in self.ops if t.item.part in parts)
        return sum((t.total_s + self.gap(t) * t.item.count for t in chosen), start=0.0)

    @property
    def launches(self) -> float:
        """Kernels and collectives of the micro-batch."""
        return sum((float(np.max(t.item.count)) for t in (*self.ops, *self.wires)), start=0.0)

    def gap(self, timed: Timed) -> Num:
        """Idle seconds before the next kernel, where its timing does not hold them already."""
        return 0.0 if timed.each.fitted.gap_included else self.gap_s

    def wire_s(self, *parts: str) -> Num:
        return sum((t.total_s for t in self.wires if t.item.part in parts), start=0.0)


def time_demand(
    demand: Demand, device: Device, system: System, cores_share: Num = 1.0, contention: float = 1.0,
    free: frozenset[str] = frozenset(),
) -> Phase:  # fmt: skip
    """Time every op (on ``cores_share`` of the cores) and every wire (alone on the fabric).

    ``contention`` lengthens GEMMs beside communication kernels, which share caches, HBM and power with them.
    ``free``: names of ops that are no kernels of their own.
    """
    ops = tuple(
        Timed(
            op,
            time_op(op, device, cores_share).stretched(
                contention if "gemm" in op.family or op.family.startswith("moe") else 1.0
            ),
        )
        for op in demand.ops
        if bool(np.any(np.asarray(op.count) > 0)) and op.name not in free
    )
    wires = tuple(
        Timed(wire, time_wire(wire, device)) for wire in demand.wires if bool(np.any(np.asarray(wire.count) > 0))
    )
    return Phase(ops, wires, system.kernel_gap_s)


@dataclass(frozen=True)
class StepTime:
    """One step: seconds in all, of which communication that nothing hides, and what was hidden."""

    total_s: Num
    exposed_comm_s: Num
    hidden_comm_s: Num


def serial_step(phase: Phase, shared_beside: bool = False) -> StepTime:
    """No overlap: every op and every transfer in turn; ``shared_beside``: shared experts beside the routed ones."""
    shared, routed = phase.part_s("shared"), phase.part_s("moe")
    compute = phase.part_s("attention", "dense", "head")
    compute = compute + (np.maximum(shared, routed) if shared_beside else shared + routed)
    wires = phase.wire_s("attention", "dense", "moe", "head", "dispatch", "combine")
    return StepTime(compute + wires, wires, 0.0 * np.asarray(wires))


def single_batch_step(phase: Phase) -> StepTime:
    """Dispatch runs beside the shared expert, combine beside the down projection it follows tile by tile.

    t = A + max(D, S) + (M − down) + max(C, down) + rest [lmsys-ant-h20]
    """
    # The down projection is a third of the experts' work.
    down = sum((t.total_s / 3.0 for t in phase.ops if t.item.name.startswith("experts")), start=0.0)
    dispatch, combine = phase.wire_s("dispatch"), phase.wire_s("combine")
    shared = phase.part_s("shared")
    exposed = np.maximum(dispatch - shared, 0.0) + np.maximum(combine - down, 0.0)
    other = phase.wire_s("attention", "dense", "moe", "head")
    total = phase.part_s("attention", "dense", "shared", "moe", "head") + other + exposed
    return StepTime(total, exposed + other, dispatch + combine - exposed)


def two_batch_step(phase: Phase, slowdown: Num) -> StepTime:
    """Two micro-batches, each computing while the other communicates; ``phase`` times one of them.

    Over one layer the cores work 2(A + M), the wires 2(D + C), and each micro-batch must pass A, D, M, C in
    turn; a schedule that splits attention finely enough to fill the gaps reaches
    max(2(A + M), 2(D + C)). Transfers take ``slowdown`` times their stand-alone time. Dense layers and
    the head have nothing to hide behind. [deepseek-v3-report, sec. 3.4; deepseek-open-infra-day6]
    """
    share, rest = _sparse_share(phase)
    a = (phase.part_s("attention") + phase.wire_s("attention")) * share
    moe = phase.part_s("moe", "shared") + phase.wire_s("moe")
    wires = phase.wire_s("dispatch", "combine") * slowdown
    pair = 2.0 * np.maximum(a + moe, wires)
    late = pair - 2.0 * (a + moe)
    reductions = 2.0 * phase.wire_s("attention", "moe", "dense", "head")
    return StepTime(pair + 2.0 * rest, late + reductions, 2.0 * wires - late)


def two_batch_stages(phase: Phase) -> StepTime:
    """Two micro-batches of a decode step in five stages on one compute stream, two stages apart.

    t = 2·(max(D, A₀ + S) + M + max(C, A₁)): a dispatch is in flight beside the other micro-batch's projections A₀ and
    this one's shared expert, a combine beside the other's attention core, output projection and router A₁; routed
    experts have no transfer to hide. [deepseek-open-infra-day6; sglang-two-batch]
    """
    sparse, rest = _sparse_share(phase)
    first, core = _attention_halves(phase)
    dispatch, combine = phase.wire_s("dispatch"), phase.wire_s("combine")
    shared, routed = phase.part_s("shared"), phase.part_s("moe") + phase.wire_s("moe")
    late = np.maximum(dispatch - first * sparse - shared, 0.0) + np.maximum(combine - core * sparse, 0.0)
    total = 2.0 * ((first + core) * sparse + shared + routed + late + rest)
    reductions = 2.0 * phase.wire_s("attention", "moe", "dense", "head")
    return StepTime(total, 2.0 * late + reductions, 2.0 * (dispatch + combine - late))


def two_batch_streams(whole: Phase, half: Phase, light_s: Num) -> StepTime:
    """Two micro-batches of a decode step on two streams with cores of their own: attention of one beside dispatch,
    experts and combine of the other, cores divided so that both take as long. [cloudmatrix384]

    Compute on a share x of the cores takes a + b/x, as it does on all (``whole``) and on half of them; the streams
    share the memory, whose time for both (``light_s``, of a micro-batch) bounds the step.
    """
    sparse, rest = _sparse_share(whole)
    paths = []
    for phase in (whole, half):
        own = (phase.part_s("attention") + phase.wire_s("attention")) * sparse
        paths.append((own, phase.part_s("moe", "shared") + phase.wire_s("moe", "dispatch", "combine")))
    (attend, route), (attend_half, route_half) = paths
    b, d = attend_half - attend, route_half - route
    c = (route - d) - (attend - b)
    root = np.sqrt((c - b + d) ** 2 + 4.0 * b * d)
    with np.errstate(invalid="ignore", divide="ignore"):
        x = np.where(b * d > 0, 2.0 * b / (c + b + d + root), 0.5)
        each = np.maximum(attend - b + b / x, route - d + d / (1.0 - x))
    total = np.maximum(2.0 * each, 2.0 * light_s) + 2.0 * rest
    wires = whole.wire_s("dispatch", "combine")
    reductions = whole.wire_s("attention", "moe", "dense", "head")
    return StepTime(total, 2.0 * reductions, 2.0 * wires)


def _attention_halves(phase: Phase) -> tuple[Num, Num]:
    """Seconds of attention before its core, and from the core on, transfers of its own included."""
    first: Num = 0.0
    seen = False
    for timed in phase.ops:
        seen = seen or timed.item.name == "attention"
        if timed.item.part == "attention" and not seen:
            first = first + timed.total_s + phase.gap(timed) * timed.item.count
    return first, phase.part_s("attention") + phase.wire_s("attention") - first


def _sparse_share(phase: Phase) -> tuple[float, Num]:
    """(share of attention that belongs to routed layers, seconds of what has nothing to hide behind: the other layers
    and the head)."""
    layers = max((float(np.max(t.item.count)) for t in phase.ops if t.item.name == "attention"), default=1.0)
    sparse = max((float(np.max(t.item.count)) for t in phase.ops if t.item.name == "router"), default=0.0)
    share = sparse / layers if layers else 0.0
    attention = phase.part_s("attention") + phase.wire_s("attention")
    return share, attention * (1.0 - share) + phase.part_s("dense", "head") + phase.wire_s("dense", "head")
