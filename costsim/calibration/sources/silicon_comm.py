"""Collective tables of ``aiconfigurator-core`` as measurements: NCCL, custom all-reduce, DeepEP."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd

from costsim.calibration.measurement import Measurement
from costsim.calibration.sources.columns import MS, US, Columns, floats, groups
from costsim.physics.op import act_bytes
from costsim.physics.routing import units_touched
from costsim.spec.model import MoE

SOURCE = "aiconfigurator-core"
Reader = Callable[[list[pd.DataFrame], str], Iterator[Measurement]]
#: ranks that share NVLink: a node of eight, or the whole rack
_DOMAIN = {"gb200": 72, "gb300": 72}
#: GPUs of one node in the DeepEP tables
_NODE = {"gb200": 4, "gb300": 4}


def _domain(folder: str) -> float:
    return float(_DOMAIN.get(folder, 8))


def _wire(up: Any, out: Any, ranks: Any, domain: Any) -> dict[str, Any]:
    return {"up_bytes": up, "out_bytes": out, "ranks": ranks, "domain": domain}


def read_nccl(frames: list[pd.DataFrame], folder: str) -> Iterator[Measurement]:
    """nccl-tests sizes: the gathered whole for all-gather and reduce-scatter, what one rank holds otherwise."""
    names = {
        "all_reduce": "all_reduce",
        "all_gather": "all_gather",
        "reduce_scatter": "reduce_scatter",
        "alltoall": "all_to_all",
    }
    for frame in frames:
        for name, family in names.items():
            part = frame[frame["op_name"] == name]
            elements, ranks, ms = floats(part, "message_size", "num_gpus", "latency")
            size = elements * np.where(part["nccl_dtype"] == "half", 2.0, 1.0)
            # all_to_all takes bytes as they leave, by fabric; the other laws take the whole and know the ring.
            direct = family == "all_to_all"
            wire = _wire(
                size * (ranks - 1.0) / ranks if direct else size, 0.0 if direct else size, ranks, _domain(folder)
            )
            yield from Columns(family, "bytes", SOURCE, ms * MS, wire=wire).rows()


def read_custom(frames: list[pd.DataFrame], folder: str) -> Iterator[Measurement]:
    for frame in frames:
        elements, ranks, ms = floats(frame, "message_size", "num_gpus", "latency")
        wire = _wire(elements * 2.0, elements * 2.0, ranks, _domain(folder))
        yield from Columns("all_reduce_custom", "bytes", SOURCE, ms * MS, wire=wire).rows()


def deepep_reader(low_latency: bool) -> Reader:
    """DeepEP with FP8 dispatch and BF16 combine; a transfer's time includes its notify kernel.

    Across nodes the tests limit each token to four nodes, as group-limited routing does.
    """

    def reader(frames: list[pd.DataFrame], folder: str) -> Iterator[Measurement]:
        size, domain = _NODE.get(folder, 8), _domain(folder)
        done: set[int] = set()
        for frame in frames:
            chip = folder.split("_")[0].upper()
            own = frame[frame["device"].str.contains(chip) & ~frame["node_num"].isin(done)]
            done |= {int(nodes) for nodes in frame["node_num"].unique()}
            for (nodes, top_k, experts), part in groups(own, ["node_num", "num_topk", "num_experts"]):
                ranks = float(nodes * size)
                tokens, hidden = floats(part, "num_token", "hidden_size")
                up, out = copies(int(top_k), int(experts), ranks, float(nodes), low_latency)
                for way, each in (("dispatch", act_bytes("fp8")), ("combine", 2.0)):
                    wire = _wire(tokens * hidden * each * up, tokens * hidden * each * out, ranks, domain)
                    shape: dict[str, Any] = {"tokens": tokens}
                    if low_latency:
                        us = part[f"{way}_avg_t_us"].to_numpy(float)
                    else:
                        us = part[f"{way}_transmit_us"].to_numpy(float) + part[f"{way}_notify_us"].to_numpy(float)
                        shape["sms"] = part[f"{way}_sms"].to_numpy(float)
                    name = f"{way}_ll" if low_latency else way
                    yield from Columns(name, "bytes", SOURCE, us * US, shape=shape, wire=wire).rows()

    return reader


def touched(top_k: int, experts: int, ranks: float, nodes: float) -> tuple[float, float]:
    """(ranks, nodes) one token reaches in DeepEP's tests, its own included."""
    # Up to four nodes the tests' limit of four does not bind, and a free choice misses some nodes.
    groups = int(nodes) if nodes > 4 and experts % int(nodes) == 0 else 1
    moe = MoE(experts=experts, top_k=top_k, intermediate=1, groups=groups, top_groups=min(groups, 4))
    return float(units_touched(moe, ranks)), float(units_touched(moe, nodes))


def copies(top_k: int, experts: int, ranks: float, nodes: float, low_latency: bool) -> tuple[float, float]:
    """(inside the node, across nodes) copies of one token, as :func:`costsim.physics.comm.expert_wires` counts."""
    if low_latency:
        remote = 1.0 - 1.0 / nodes
        return top_k * (1.0 - remote), top_k * remote
    by_rank, by_node = touched(top_k, experts, ranks, nodes)
    return by_rank * (1.0 - 1.0 / ranks), by_node * (1.0 - 1.0 / nodes)
