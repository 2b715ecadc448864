"""How a model is laid out on devices, and the load it carries. Plain values; checks live in ``predict/layout.py``.

Every numeric field of a plan or load may hold a numpy array: a sweep is the same value with arrays inside.
``gpus`` and ``batch_per_gpu`` count cards; ``tp``, ``ep``, ``dp`` and ``pp`` count ranks (dies on a multi-die card).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from costsim.num import Num
from costsim.spec.words import DISPATCHERS as DISPATCHERS
from costsim.spec.words import FRAMEWORKS as FRAMEWORKS
from costsim.spec.words import GRAPHS as GRAPHS
from costsim.spec.words import KV_DTYPES as KV_DTYPES
from costsim.spec.words import OVERLAPS as OVERLAPS
from costsim.spec.words import PRECISIONS as PRECISIONS
from costsim.spec.words import RECOMPUTES as RECOMPUTES
from costsim.spec.words import ROUTINGS as ROUTINGS
from costsim.spec.words import SCHEDULE_WORDS as SCHEDULE_WORDS
from costsim.spec.words import TRAINING_OVERLAPS as TRAINING_OVERLAPS
from costsim.spec.words import TRAINING_PRECISIONS as TRAINING_PRECISIONS

Overlap = Literal["none", "two-batch", "single-batch"]
Routing = Literal["balanced", "eplb", "default", "production", "trained"]


@dataclass(frozen=True)
class ServingPlan:
    """Layout of an inference deployment.

    ``tp``: tensor parallel width of attention (and of experts when ``ep`` = 1); ``ep``: ranks that share
    one set of experts; ``moe_tp`` splits each expert's width (None: tp/ep, at least 1); attention data
    parallelism follows as ranks / (tp·pp).
    ``comm_sms``: cores reserved for communication kernels (None: what the overlap mode usually takes).
    ``framework``: the engine that runs (its kernels, scheduler and host; empty: none in particular), as of
    ``framework_version`` (empty: the newest) with the settings of a benchmark's ``recipe`` (empty: its defaults).
    ``imbalance``: busiest expert rank over the mean and ``remote_nodes``: further nodes that a token is sent to, both
    of a measured or planned placement (None: what ``routing`` says).
    """

    gpus: Num
    tp: Num = 1
    pp: Num = 1
    ep: Num = 1
    moe_tp: Num | None = None
    precision: str = "fp8"
    kv_dtype: str = "bf16"
    overlap: Overlap = "none"
    comm_sms: Num | None = None
    redundant_experts: Num = 0
    routing: Routing = "balanced"
    framework: str = ""
    framework_version: str = ""
    recipe: str = ""
    imbalance: Num | None = None
    remote_nodes: Num | None = None


@dataclass(frozen=True)
class PrefillLoad:
    """Prompts of ``isl`` tokens, ``cached`` of each already in the prefix cache; ``tokens_per_gpu`` new per step."""

    isl: Num
    tokens_per_gpu: Num
    cached: Num = 0


@dataclass(frozen=True)
class DecodeLoad:
    """``batch_per_gpu`` requests on each card with a mean KV length of ``context`` tokens.

    MTP drafts ``mtp_tokens`` tokens per step; ``mtp_acceptance`` is the chance that one drafted token is kept.
    """

    context: Num
    batch_per_gpu: Num
    mtp_tokens: Num = 0
    mtp_acceptance: Num = 0.0


@dataclass(frozen=True)
class ServingLoad:
    """Closed loop of ``concurrency`` requests in flight: prompts of ``isl``, answers of ``osl`` tokens.

    Lengths are drawn uniformly from [``length_ratio``, 1] of these, as benchmark clients do; None: within 10 % of
    these on either side. Equal lengths (1) make all requests run in step.
    """

    isl: Num
    osl: Num
    concurrency: Num
    cached: Num = 0
    mtp_tokens: Num = 0
    mtp_acceptance: Num = 0.0
    length_ratio: Num | None = None

    @property
    def mean(self) -> Num:
        """Mean length over nominal."""
        return 1.0 if self.length_ratio is None else (1.0 + self.length_ratio) / 2.0


@dataclass(frozen=True)
class PoolPlan:
    """``workers`` equal engines of one pool, each laid out as ``plan`` (whose gpus are one worker's).

    ``batch``: requests that one attention rank of a worker runs at once; 0: as many as the framework allows.
    """

    plan: ServingPlan
    workers: int = 1
    batch: int = 0


@dataclass(frozen=True)
class Disaggregated:
    """Prompts on one pool, answers on another."""

    prefill: PoolPlan
    decode: PoolPlan

    @property
    def gpus(self) -> float:
        return float(sum(pool.workers * pool.plan.gpus for pool in (self.prefill, self.decode)))


@dataclass(frozen=True)
class TrainingPlan:
    """Layout of a training job. ``dp`` follows as gpus / (tp·pp·cp); ``ep`` of the dp·cp·tp ranks share the experts.

    ``schedule``: auto is interleaved 1F1B where vpp > 1, else 1F1B. ``overlap``: none (every transfer in turn),
    gradients (data-parallel and pipeline transfers beside compute, and tensor-parallel ones of dense models), pair
    (expert transfers too, beside a forward and a backward of two micro-batches); auto is pair for DualPipe, else
    gradients. ``comm_sms``: cores kept for transfers (auto: 20 under pair, else none). ``framework`` decides kernels
    and number formats: deepseek (block-scaled FP8, BF16 moments) or megatron; auto is deepseek for DualPipe.
    ``dispatcher``: deepep (two hops, one copy for each node and rank) or alltoall (one copy for each expert); auto is
    alltoall for Megatron without overlap. ``graphs``: attention where attention and routing run as captured graphs,
    which leaves short gaps and nothing to launch. ``recompute``: none, selective, full, offload, or a list of tensors.
    ``layers`` cuts the model short.
    ``imbalance``: busiest expert rank over the mean of a measured load (None: what ``routing`` says).
    """

    gpus: Num
    tp: Num = 1
    pp: Num = 1
    vpp: Num = 1
    ep: Num = 1
    cp: Num = 1
    precision: str = "fp8"
    recompute: str = "selective"
    zero: Num = 1
    routing: Routing = "balanced"
    schedule: str = "auto"
    overlap: str = "auto"
    comm_sms: Num | None = None
    framework: str = "auto"
    dispatcher: str = "auto"
    graphs: str = "none"
    layers: int | None = None
    imbalance: Num | None = None


@dataclass(frozen=True)
class TrainingLoad:
    """Sequences of ``seq`` tokens, ``micro_batch`` at a time on a data-parallel rank, ``global_batch`` per step.

    ``tokens`` counts the whole run.
    """

    seq: Num
    global_batch: Num
    micro_batch: Num = 1
    tokens: Num | None = None
