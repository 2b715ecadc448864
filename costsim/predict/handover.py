"""Handover: what moving a prompt's KV from a prefill to a decode pool takes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from costsim.physics.delta import state_bytes
from costsim.physics.memory import kv_bytes_per_rank
from costsim.physics.op import Wire
from costsim.predict.phases import Setting
from costsim.timing.duration import time_wire

#: seconds before the first byte of a KV transfer between pools: a handshake over RDMA, an assumption (grade D)
START_S = 1e-3


def kv_bytes_per_token(setting: Setting) -> float:
    """Bytes of KV of one token over all ranks of a replica's tensor-parallel group; MLA's latent, which every rank
    holds, once."""
    one, two = (float(np.max(kv_bytes_per_rank(setting.model, setting.layout, 1.0, n))) for n in (1.0, 2.0))
    each = two - one  # what a sequence holds whatever its length is no part of a token's
    split = 1.0 if setting.model.attention.kind == "mla" else float(np.max(setting.layout.tp))
    return each * split * float(np.max(setting.layout.pp))


def rank_bytes(setting: Setting, tokens: float) -> float:
    """Bytes that one rank sends or receives of a sequence of ``tokens``: its layers, and its heads or its part of
    MLA's latent; linear layers hold a state whatever the length."""
    ranks = float(np.max(setting.layout.tp * setting.layout.pp))
    state = state_bytes(setting.model) * setting.model.linear_layers
    return (tokens * kv_bytes_per_token(setting) + float(state)) / ranks


def handover(prefill: Setting, decode: Setting) -> Callable[[int], float]:
    """Seconds to hand a prompt of so many tokens over: START_S, then all ranks of both ends at once, each its share,
    over the scale-out links; the slower end counts.

    T = START_S + max over ends of t(bytes of a rank), t the measured law of point-to-point transfers between nodes.
    """

    def one_end(setting: Setting, tokens: int) -> float:
        size, domain = rank_bytes(setting, tokens), setting.layout.domain
        wire = Wire("kv", "p2p", size, size, 2.0 * domain, domain, 1.0, "kv")
        return float(np.max(time_wire(wire, setting.device).time_s))

    return lambda tokens: START_S + max(one_end(end, tokens) for end in (prefill, decode))
