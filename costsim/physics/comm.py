"""Wire bytes of a step: expert dispatch and combine, tensor-parallel reductions, pipeline hand-over.

Bytes per rank and per direction. Expert traffic is two-hop: a token crosses the scale-out network once
per remote node and fans out inside the node once per rank (normal mode), or is sent once per expert
(low latency). [deepseek-v3-report, sec. 3.2.2; deepep]
"""

from __future__ import annotations

import numpy as np

from costsim.num import Num
from costsim.physics.layout import Layout
from costsim.physics.op import Wire, act_bytes
from costsim.physics.routing import units_touched
from costsim.spec.model import ModelSpec

_B16 = 2.0


def expert_wires(model: ModelSpec, layout: Layout, tokens: Num, count: Num, low_latency: bool) -> list[Wire]:
    """Dispatch and combine of one MoE layer, where attention replicas send to each other's experts.

    ``tokens`` are split over the replica's tp ranks before they are sent. The busiest receiver sets the time: inside
    a node, and everywhere in low latency, bytes grow with the ranks' imbalance, over the network with the nodes'.
    """
    moe = model.moe
    assert moe is not None
    own = tokens / layout.tp
    skew = layout.skew(own * moe.top_k, "decode" if low_latency else "prefill")
    group = layout.ep * layout.moe_tp
    nodes = np.maximum(group / layout.domain, 1.0)
    h = float(model.hidden)
    sent, back = h * act_bytes(layout.precision), h * _B16
    if low_latency:
        remote_share = 1.0 - 1.0 / nodes
        out_copies, up_copies = moe.top_k * remote_share, moe.top_k * (1.0 - remote_share)
        out_skew = skew
        kinds = ("dispatch_ll", "combine_ll")
    else:
        touched_nodes, touched_ranks = units_touched(moe, nodes), units_touched(moe, layout.ep)
        # A token's own node is one of those it reaches as often as any other.
        out_copies = touched_nodes * (1.0 - 1.0 / nodes) if layout.remote_nodes is None else layout.remote_nodes
        up_copies = touched_ranks * (1.0 - 1.0 / layout.ep)
        out_skew = layout.node_skew(own * moe.top_k, "prefill", nodes)
        kinds = ("dispatch", "combine")
    # Only layouts whose replicas differ need to exchange tokens; one replica already holds them all.
    needed = (group > layout.tp) * 1.0
    return [
        Wire(kind, kind, own * up_copies * size * skew, own * out_copies * size * out_skew, group, layout.domain,
             count * needed, part)
        for kind, size, part in ((kinds[0], sent, "dispatch"), (kinds[1], back, "combine"))
    ]  # fmt: skip


def tensor_wires(model: ModelSpec, layout: Layout, tokens: Num, dense_count: Num, moe_count: Num) -> list[Wire]:
    """All-reduces of tensor parallelism: after attention, after a dense FFN, and after an MoE whose ranks share tokens.

    With experts spread over several replicas (group > tp) the MoE side is a reduce-scatter before dispatch
    and an all-gather after combine instead, of the same volume as one all-reduce.
    """
    size = tokens * model.hidden * _B16
    split = (np.asarray(layout.tp) > 1) * 1.0
    one = {"up_bytes": size, "out_bytes": size, "ranks": layout.tp, "domain": layout.domain}
    return [
        Wire("all-reduce attention", "all_reduce", count=(dense_count + moe_count) * split, part="attention", **one),
        Wire("all-reduce dense ffn", "all_reduce", count=dense_count * split, part="dense", **one),
        Wire("all-reduce experts", "all_reduce", count=moe_count * split, part="moe", **one),
        *_norm_wires(model, layout, tokens, (dense_count + moe_count) * split),
    ]


def _norm_wires(model: ModelSpec, layout: Layout, tokens: Num, count: Num) -> list[Wire]:
    """A query/key norm over all heads needs the mean squares of every rank's: two FP32 numbers a token. [vllm]"""
    if model.attention.qk_norm != "full":
        return []
    size = 2.0 * 4.0 * tokens
    return [Wire("all-reduce qk norm", "all_reduce", size, size, layout.tp, layout.domain, count, "attention")]


def pipeline_wires(model: ModelSpec, layout: Layout, tokens: Num, count: Num) -> list[Wire]:
    """Activations handed to the next pipeline stage, split over tp ranks; across nodes when a stage fills one."""
    size = tokens * model.hidden * _B16 / layout.tp
    stages = (np.asarray(layout.pp) > 1) * 1.0
    return [Wire("pipeline send", "p2p", size, size, layout.pp * layout.tp, layout.domain, count * stages, "head")]
