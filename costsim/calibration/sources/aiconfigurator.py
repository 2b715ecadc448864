"""Measured GPU kernels and collectives from the tables of ``aiconfigurator-core`` (Apache-2.0).

The package carries parquet tables ``systems/data/<system>/<family>/<framework>/<version>/``. ``latency`` is
milliseconds; DeepEP times are microseconds; ``message_size`` counts elements (the collectors divide
nccl-tests' byte size by the element size, and the largest rows then reach 80–97 % of the line rate; read
as bytes they would reach half of it). One table per family, the first of the list that a system has:

family                   table               why
gemm                     sglang 0.5.14       the bare kernel (cuBLAS, DeepGEMM, CUTLASS); TensorRT-LLM's FP8-block
                                             rows include the cast of the activations, which physics counts apart
batched_gemm             sglang 0.5.14       the bare kernel; TensorRT-LLM's FP8 rows include the cast
moe                      trtllm 1.3.0rc20    all splits and skews; SGLang 0.5.14 and vLLM 0.24.0 read DeepSeek's
                                             weights faster than HBM can; A100 has only SGLang 0.5.10 in full
moe@sglang, moe@vllm     their 0.5.14, 0.24.0  what these engines run; rows of skewed routing only, for the balanced
                                             ones are those that beat HBM. SGLang's Triton kernel is vLLM's: where
                                             its collector missed the tuned tile sizes, vLLM's rows show them
moe_normal, moe_masked   sglang 0.5.10       the only DeepGEMM grouped kernels behind DeepEP; the normal (prefill)
                                             ones were timed without a CUDA graph: a floor of about 0.37 ms is host
mla_*                    trtllm 1.3.0rc20    SGLang's FP8-KV decode is up to ten times slower than its own BF16-KV
attention_*              sglang 0.5.14       the bare FlashAttention-3 or trtllm-gen kernel, Triton rows left out;
                                             TensorRT-LLM's rows include rope and the cache write
memory_stream            vllm 0.24.0         static FP8 quantisation in one pass; SGLang's reaches a fifth of the rate
NCCL                     nccl 2.29.2         newest; nccl-tests in one process, CUDA graphs off
all_reduce_custom        trtllm 1.3.0rc20    timed in a CUDA graph between small GEMMs, whose time is taken off
dispatch, combine (_ll)  sglang 0.5.6.post2  the only one with 2–8 nodes; one node from 0.5.12 where it exists
"""

from __future__ import annotations

from collections.abc import Collection
from importlib import resources
from importlib.util import find_spec
from pathlib import Path

import pandas as pd

from costsim.calibration.measurement import Measurement
from costsim.calibration.sources.silicon_comm import deepep_reader, read_custom, read_nccl
from costsim.calibration.sources.silicon_kernels import (
    Reader,
    gqa_reader,
    mla_reader,
    moe_reader,
    read_batched_gemm,
    read_gemm,
    read_stream,
)
from costsim.errors import Absent, Malformed, UnknownName

#: our accelerator ids → the package's system folders
SYSTEMS = {
    "a100-80g-sxm": "a100_sxm", "h100-sxm": "h100_sxm", "h200-sxm": "h200_sxm", "b200-sxm": "b200_sxm",
    "b300-sxm": "b300_sxm", "gb200-nvl72": "gb200", "gb300-nvl72": "gb300", "l40s": "l40s",
}  # fmt: skip
_TABLES: dict[str, tuple[str, ...]] = {
    "gemm": ("gemm/sglang/0.5.14/gemm", "gemm/sglang/0.5.10/gemm"),
    "batched_gemm": ("mla_bmm/sglang/0.5.14/mla_bmm", "mla_bmm/sglang/0.5.10/mla_bmm"),
    "moe": ("moe/trtllm/1.3.0rc20/moe", "moe/sglang/0.5.10/moe"),
    "moe@sglang": ("moe/sglang/0.5.14/moe", "moe/vllm/0.24.0/moe"),
    "moe@vllm": ("moe/vllm/0.24.0/moe",),
    "moe_normal": ("moe/sglang/0.5.10/wideep_context_moe",),
    "moe_masked": ("moe/sglang/0.5.10/wideep_generation_moe",),
    "mla_prefill": ("mla/trtllm/1.3.0rc20/context_mla", "mla/trtllm/1.0.0/context_mla"),
    "mla_decode": ("mla/trtllm/1.3.0rc20/generation_mla", "mla/trtllm/1.0.0/generation_mla"),
    "mla_module_prefill": ("mla/trtllm/1.3.0rc20/mla_context_module",),
    "mla_module_decode": ("mla/trtllm/1.3.0rc20/mla_generation_module",),
    "attention_prefill": ("attention/sglang/0.5.14/context_attention", "attention/sglang/0.5.10/context_attention"),
    "attention_decode": (
        "attention/sglang/0.5.14/generation_attention",
        "attention/sglang/0.5.10/generation_attention",
    ),
    "memory_stream": ("quantize/vllm/0.24.0/scale_matrix",),
    "nccl": ("comm/nccl/2.29.2/nccl", "comm/nccl/2.27.3/nccl"),
    "all_reduce_custom": ("comm/trtllm/1.3.0rc20/custom_allreduce", "comm/trtllm/1.0.0/custom_allreduce"),
    "deepep": ("comm/sglang/0.5.12/wideep_deepep_normal", "comm/sglang/0.5.6.post2/wideep_deepep_normal"),
    "deepep_ll": ("comm/sglang/0.5.12/wideep_deepep_ll", "comm/sglang/0.5.6.post2/wideep_deepep_ll"),
}
_PRODUCES = {
    "nccl": ("all_reduce", "all_gather", "reduce_scatter", "all_to_all"),
    "deepep": ("dispatch", "combine"),
    "deepep_ll": ("dispatch_ll", "combine_ll"),
}
FAMILIES = tuple(name for table in _TABLES for name in _PRODUCES.get(table, (table,)))


def systems() -> list[str]:
    """Accelerator ids the package has tables for; BadInput where it is not installed."""
    _data()
    return list(SYSTEMS)


def read(system: str, families: Collection[str] | None = None) -> list[Measurement]:
    """Every measurement of one accelerator (our id or the package's folder name), all families or the named ones.

    Rows are as measured: those faster than light are for the fit to reject and count.
    """
    folder = SYSTEMS.get(system, system)
    if folder not in SYSTEMS.values():
        raise UnknownName("measured system", system, SYSTEMS)
    wanted = set(FAMILIES if families is None else families)
    if unknown := wanted - set(FAMILIES):
        raise UnknownName("family", sorted(unknown)[0], FAMILIES)
    rows: list[Measurement] = []
    for table in _TABLES:
        if wanted & set(_PRODUCES.get(table, (table,))):
            rows += [row for row in _READERS[table](_load(folder, table), folder) if row.family in wanted]
    return rows


def _data() -> Path:
    for package in ("aiconfigurator_core", "pyarrow"):
        if find_spec(package) is None:
            raise Absent(f"measured GPU tables need the package {package}: pip install costsim[silicon]")
    return Path(str(resources.files("aiconfigurator_core") / "systems" / "data"))


def _load(folder: str, table: str) -> list[pd.DataFrame]:
    """The chosen table; for DeepEP the newer one-node table and then the older one with more nodes."""
    paths = [_data() / folder / f"{name}_perf.parquet" for name in _TABLES[table]]
    found = [path for path in paths if path.is_file()]
    if not table.startswith(("deepep", "moe@sglang")):
        found = found[:1]
    try:
        return [pd.read_parquet(path) for path in found]
    except (OSError, ValueError) as error:
        raise Malformed(
            f"{found[0].name}: not a readable parquet table ({error}); reinstall aiconfigurator-core"
        ) from None


_READERS: dict[str, Reader] = {
    "gemm": read_gemm, "batched_gemm": read_batched_gemm,
    "moe": moe_reader("moe"), "moe@sglang": moe_reader("moe@sglang"), "moe@vllm": moe_reader("moe@vllm"),
    "moe_normal": moe_reader("moe_normal"), "moe_masked": moe_reader("moe_masked"),
    "mla_prefill": mla_reader(False, False), "mla_decode": mla_reader(True, False),
    "mla_module_prefill": mla_reader(False, True), "mla_module_decode": mla_reader(True, True),
    "attention_prefill": gqa_reader(False), "attention_decode": gqa_reader(True),
    "memory_stream": read_stream, "nccl": read_nccl, "all_reduce_custom": read_custom,
    "deepep": deepep_reader(False), "deepep_ll": deepep_reader(True),
}  # fmt: skip
