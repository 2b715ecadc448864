"""Kernel tables of ``aiconfigurator-core`` as measurements: GEMM, MoE, MLA, grouped-query attention, quantising.

FLOPs and bytes are counted by :mod:`costsim.physics`, so that a law fitted here is asked the same question.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd

from costsim.calibration.measurement import Measurement
from costsim.calibration.sources.collector_routing import rank_load
from costsim.calibration.sources.columns import MS, Array, Columns, floats, groups
from costsim.physics.attention import decode_attention, prefill_attention
from costsim.physics.layout import Layout
from costsim.physics.op import Op, act_bytes, batched_gemm, gemm, grouped_gemm
from costsim.spec.catalog import load_model
from costsim.spec.model import Attention, ModelSpec

SOURCE = "aiconfigurator-core"
Reader = Callable[[list[pd.DataFrame], str], Iterator[Measurement]]
#: dtype names of the tables → ours; "fp8" is DeepSeek's block scaling, "fp8_tensor" one scale per tensor
DTYPES = {
    "bfloat16": "bf16", "fp8_block": "fp8", "fp8": "fp8_tensor", "nvfp4": "fp4", "int4_wo": "w4", "w4a16_mxfp4": "w4",
    "w4a8_mxfp4_mxfp8": "w4a8",
}  # fmt: skip
_GATED_MOE = (
    "moe_torch_flow_cutlass", "deepgemm", "moe_torch_flow", "sglang_fused_moe_triton", "deepepmoe",
    "sglang_flashinfer_trtllm_moe", "sglang_mxfp4_flashinfer_trtllm_moe", "sglang_marlin_moe",
)  # fmt: skip
#: vLLM names the backend behind these; of them SGLang has the same Triton kernel
_GATED_VLLM = (
    "vllm_fp8moe_", "vllm_unquantizedfusedmoe_", "vllm_compressedtensorswna16marlinmoe_", "vllm_gptossmxfp4moe_",
    "vllm_compressedtensorsw4a4nvfp4moe_", "vllm_mxfp4moe_flashinfer_trtllm_mxfp4_mxfp8_",
)  # fmt: skip
_SHARED_VLLM = ("vllm_fp8moe_triton_", "vllm_unquantizedfusedmoe_triton_")


def _by_dtype(frame: pd.DataFrame, column: str) -> Iterator[tuple[str, pd.DataFrame]]:
    for name, ours in DTYPES.items():
        part = frame[frame[column] == name]
        if len(part):
            yield ours, part


def _counted(op: Callable[..., Op], dtype: str, m: Array, n: Any, k: Any, *groups: Any) -> Op:
    """A GEMM as physics counts it; with one scale per tensor each 8-bit operand is exactly half its BF16 bytes."""
    if dtype != "fp8_tensor":
        return op("", m, n, k, *groups, dtype, 1.0, "")
    wide = op("", m, n, k, *groups, "bf16", 1.0, "")
    out = m * n * (groups[0] if groups else 1.0)
    return Op("", wide.family, dtype, wide.flop, wide.bytes / 2.0 + out, 1.0, "", wide.shape)


def read_gemm(frames: list[pd.DataFrame], _: str) -> Iterator[Measurement]:
    for frame in frames:
        for dtype, part in _by_dtype(frame, "gemm_dtype"):
            m, n, k, ms = floats(part, "m", "n", "k", "latency")
            op = _counted(gemm, dtype, m, n, k)
            yield from Columns("gemm", dtype, SOURCE, ms * MS, op.flop, op.bytes, op.shape).rows()


def read_batched_gemm(frames: list[pd.DataFrame], _: str) -> Iterator[Measurement]:
    """MLA's absorbed projections: query 128 → 512 ("pre") and value 512 → 128 ("post"), one matrix per head."""
    for frame in frames:
        for dtype, part in _by_dtype(frame, "bmm_dtype"):
            m, heads, ms = floats(part, "num_tokens", "num_heads", "latency")
            pre = (part["op_name"] == "mla_gen_pre").to_numpy()
            op = _counted(batched_gemm, dtype, m, np.where(pre, 512.0, 128.0), np.where(pre, 128.0, 512.0), heads)
            yield from Columns("batched_gemm", dtype, SOURCE, ms * MS, op.flop, op.bytes, op.shape).rows()


def read_stream(frames: list[pd.DataFrame], _: str) -> Iterator[Measurement]:
    """Static FP8 quantisation of an m × k BF16 matrix: the plainest elementwise kernel, 2 bytes read and 1 written."""
    for frame in frames:
        m, k, ms = floats(frame[frame["quant_dtype"] == "fp8"], "m", "k", "latency")
        yield from Columns("memory_stream", "bf16", SOURCE, ms * MS, 0.0, 3.0 * m * k, {"m": m, "k": k}).rows()


def moe_reader(family: str) -> Reader:
    """A whole MoE layer on one rank: gather, gate-up, SwiGLU, down and the weighted sum, timed together.

    ``n``, ``k`` are the gate-up matrix (2·width × hidden), ``m`` the mean rows of the experts that have any
    (``groups`` of the rank's ``experts``), ``skew`` the busiest of them over that mean, ``tokens`` the batch.
    """

    def reader(frames: list[pd.DataFrame], _: str) -> Iterator[Measurement]:
        for frame in frames:
            vllm = _SHARED_VLLM if family == "moe@sglang" else _GATED_VLLM
            known = frame[frame["kernel_source"].isin(_GATED_MOE) | frame["kernel_source"].str.startswith(vllm)]
            if family == "moe_normal":
                known = known[known["distribution"] != "uniform"]
            elif "@" in family:
                known = known[known["distribution"] != "balanced"]
            for dtype, part in _by_dtype(known, "moe_dtype"):
                keys = part[["num_tokens", "num_experts", "topk", "moe_ep_size"]].to_numpy(int).tolist()
                loads = [rank_load(*key, name) for key, name in zip(keys, part["distribution"], strict=True)]
                pairs, groups, skew = np.array(loads, float).reshape(-1, 3).T
                keep = pairs > 0
                part, pairs, groups, skew = part[keep], pairs[keep], groups[keep], skew[keep]
                hidden, inter, tp, ep, experts, tokens, ms = floats(
                    part,
                    "hidden_size",
                    "inter_size",
                    "moe_tp_size",
                    "moe_ep_size",
                    "num_experts",
                    "num_tokens",
                    "latency",
                )
                width, m = inter / tp, pairs / groups
                up = _counted(grouped_gemm, dtype, m, 2.0 * width, hidden, groups)
                down = _counted(grouped_gemm, dtype, m, hidden, width, groups)
                # SwiGLU as physics.ffn counts it: gate and up in, their product out.
                between = pairs * width * (4.0 + act_bytes("fp8" if dtype == "fp8_tensor" else dtype))
                shape = {**up.shape, "experts": experts / ep, "skew": skew, "tokens": tokens}
                yield from Columns(
                    family, dtype, SOURCE, ms * MS, up.flop + down.flop, up.bytes + between + down.bytes, shape
                ).rows()

    return reader


def _layout(tp: Any, precision: str, kv_dtype: str) -> Layout:
    return Layout(tp, 1.0, 1.0, 1.0, tp, 8.0, 1.0, precision, kv_dtype)


def _kv(name: str) -> str:
    return "bf16" if name == "bfloat16" else "fp8"


def _attention_ops(
    model: ModelSpec, part: pd.DataFrame, tp: Any, precision: str, kv_dtype: str, decode: bool, written: float
) -> list[Op]:
    """``written``: how many of the new tokens ``step`` already counts (module tables count the new one)."""
    batch, isl, step = floats(part, "batch_size", "isl", "step")
    layout = _layout(tp, precision, kv_dtype)
    if decode:
        return decode_attention(model, layout, batch, 1.0, np.maximum(step - written, 1.0), 1.0)
    return prefill_attention(model, layout, batch * isl, isl, 0.0, 1.0)


def mla_reader(decode: bool, module: bool) -> Reader:
    """The MLA kernel, or the whole attention module with its projections (then ``flop`` and ``bytes`` are sums)."""
    family = f"mla_{'module_' if module else ''}{'decode' if decode else 'prefill'}"

    def reader(frames: list[pd.DataFrame], _: str) -> Iterator[Measurement]:
        model = load_model("deepseek-v3")
        latent = float(model.attention.kv_lora_rank + model.attention.qk_rope_head_dim)
        for frame in frames:
            named = frame.assign(precision=frame["gemm_type"].map(DTYPES) if module else "bf16")
            for (kv_name, precision), part in groups(named, ["kv_cache_dtype", "precision"]):
                kv_dtype = _kv(str(kv_name))
                tp = model.attention.heads / part["num_heads"].to_numpy(float)
                ops = _attention_ops(model, part, tp, str(precision), kv_dtype, decode, 1.0 if module else 0.0)
                core = next(op for op in ops if op.name == "attention")
                flop = sum(op.flop * op.count for op in ops) if module else core.flop
                moved = sum(op.bytes * op.count for op in ops) if module else core.bytes
                if decode and kv_dtype == "fp8":
                    # This framework keeps 576 bytes a token and layer; physics counts FlashMLA's 656.
                    moved = moved - core.shape["batch"] * core.shape["context"] * (656.0 - latent)
                dtype = str(precision) if module else kv_dtype
                yield from Columns(
                    family, dtype, SOURCE, part["latency"].to_numpy(float) * MS, flop, moved, core.shape
                ).rows()

    return reader


def gqa_reader(decode: bool) -> Reader:
    family = "attention_decode" if decode else "attention_prefill"

    def reader(frames: list[pd.DataFrame], _: str) -> Iterator[Measurement]:
        base = load_model("qwen3-235b-a22b")
        for frame in frames:
            plain = frame[frame["kernel_source"] != "triton"]
            if "window_size" in plain:
                plain = plain[plain["window_size"] == 0]
            by = ["num_heads", "num_key_value_heads", "head_dim", "kv_cache_dtype", "attn_dtype"]
            for (heads, kv_heads, head_dim, kv_name, name), part in groups(plain, by):
                if heads % kv_heads:
                    continue
                attention = Attention(kind="gqa", heads=int(heads), kv_heads=int(kv_heads), head_dim=int(head_dim))
                model = base.model_copy(update={"attention": attention})
                ops = _attention_ops(model, part, 1.0, "bf16", _kv(str(kv_name)), decode, 0.0)
                core = next(op for op in ops if op.name == "attention")
                dtype = _kv(str(kv_name)) if decode else _kv(str(name))
                shape = {**core.shape, "kv_heads": float(kv_heads), "head_dim": float(head_dim)}
                seconds = part["latency"].to_numpy(float) * MS
                yield from Columns(family, dtype, SOURCE, seconds, core.flop, core.bytes, shape).rows()

    return reader
