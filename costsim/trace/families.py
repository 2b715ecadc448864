"""Names of kernels and operators to families: the one table to add a name to. The first pattern that matches counts.

Names come from DeepEP, DeepGEMM, FlashMLA and DeepSeek's training kernels [deepseek-profile-data; deepep], cuBLAS,
CUTLASS, cuDNN, FlashAttention, FlashInfer, Triton, TensorRT-LLM and vLLM; NCCL, RCCL, gloo, HCCL, MCCL, CNCL and
BKCL; hipBLASLt and Composable Kernel; Ascend's AI-core operators; and PyTorch's own operators on the host.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

#: what the time is spent on: computing, moving data between ranks, waiting for other ranks, copies to or from the host
Role = Literal["compute", "transfer", "wait", "copy"]
ROLES: tuple[Role, ...] = ("compute", "transfer", "wait", "copy")


@dataclass(frozen=True)
class Family:
    """A kind of kernel. ``group`` is what a summary adds up; ``tensor`` says whether it runs on matrix units."""

    name: str
    group: str
    role: Role
    tensor: bool
    pattern: re.Pattern[str]


def _family(name: str, group: str, pattern: str, role: Role = "compute", tensor: bool = False) -> Family:
    return Family(name, group, role, tensor, re.compile(pattern, re.IGNORECASE))


_COLLECTIVE = r"(?:nccl|rccl|mccl|cncl|bkcl|xccl|hccl|hcom|gloo|c10d|ucc|mpi)[a-z0-9:_]*?[_:]*"

FAMILIES: tuple[Family, ...] = (
    # waiting for other ranks: DeepEP exchanges counts and signals before it moves tokens
    _family("EP notify", "communication", r"(?:cached_)?notify_(?:dispatch|combine)|cached_notify", "wait"),
    _family("barrier", "communication", r"barrier|(?:notify|event)_wait|wait_signal|signal_wait|shmem\w*wait", "wait"),
    # moving data between ranks; what the host calls is no transfer, the kernel or the gloo thread is
    _family("collective call", "other", r"^c10d::|record_param_comms"),
    _family("EP layout", "routing", r"get_dispatch_layout"),
    _family("EP dispatch", "communication",
            r"(?:intra|inter)node(?:_ll)?::dispatch|ep::\S*dispatch|moe(?:distribute|_a2a_)?dispatch", "transfer"),
    _family("EP combine", "communication",
            r"(?:intra|inter)node(?:_ll)?::combine|ep::\S*combine|moe(?:distribute|_a2a_)?combine(?!d)", "transfer"),
    _family("all-to-all", "communication", _COLLECTIVE + r"all_?to_?all|^all-to-all", "transfer"),
    _family("all-gather", "communication", _COLLECTIVE + r"_?all_?gather", "transfer"),
    _family("reduce-scatter", "communication", _COLLECTIVE + r"_?reduce_?scatter", "transfer"),
    _family("all-reduce", "communication", _COLLECTIVE + r"all_?reduce|cross_device_reduce|(?:one|two)shot\w*reduce|"
            r"multimem_\w*reduce|lamport\w*reduce|quick_?reduce|allreduce", "transfer"),
    _family("broadcast", "communication", _COLLECTIVE + r"broadcast", "transfer"),
    _family("send and receive", "communication", _COLLECTIVE + r"_?(?:send|recv|receive|p2p)|Memcpy PtoP|RDMASend",
            "transfer"),
    _family("other collective", "communication",
            r"nccl(?:dev)?kernel|^(?:hcom_|hccl|gloo:|nccl:|rccl|mccl|cncl|bkcl|xccl|mscclpp)", "transfer"),
    # copies
    _family("copy host to device", "copy", r"Memcpy HtoD", "copy"),
    _family("copy device to host", "copy", r"Memcpy DtoH", "copy"),
    # attention
    _family("attention backward", "attention",
            r"flash\w*bwd|_attn_bwd|bwd_(?:d[qkv]|dot_do|preprocess)|fmha\w*(?:bwd|backward)|"
            r"(?:attention|sdpa|attn)\w*(?:backward|grad|bwd)", tensor=True),
    _family("MLA decode", "attention", r"flash\w*mla|mla_\w*(?:decode|splitkv|kernel)|mlaprolog|batchmla", tensor=True),
    _family("attention", "attention",
            r"flash_?fwd|flash::|fmha|compute_attn|attention|sdpa|attn_fwd|paged_?attn|batch(?:prefill|decode)with|"
            r"single(?:prefill|decode)with|unified_attention|xqa", tensor=True),
    _family("views and dispatch", "other",
            r"aten::(?:view|t|transpose|permute|expand|reshape|slice|as_strided|select|unsqueeze|squeeze|detach|"
            r"empty\w*|alias|split\w*|chunk|unbind|narrow|result_type|item|_unsafe_view|resolve_\w*|lift_fresh|"
        r"matmul|linear|einsum|scaled_dot_product_attention|to|contiguous|layer_norm|rms_norm)$"),
    # number formats and layouts; fused SwiGLU-and-cast kernels count here
    _family("quantise and transpose", "quantise",
            r"cast_(?:to|back)|_cast_|cast_and_transpose|transpose|quant(?!ile)|per_token_group|cast_?transpose|"
            r"(?:^|_)cast(?:_|$)|aten::_?to_copy|transdata"),
    # matrix products
    _family("tensor maps", "other", r"fill_tensormaps"),
    _family("weight gradient GEMM FP8", "GEMM", r"fp8_dptp128c_acc|wgrad\w*fp8|fp8\w*wgrad", tensor=True),
    _family("grouped GEMM FP8", "GEMM", r"m_grouped_fp8|fp8_m_grouped|fp8\w*grouped|grouped\w*fp8", tensor=True),
    _family("GEMM FP8", "GEMM",
            r"fp8\w*gemm|gemm\w*(?:fp8|e4m3)|fp8_ptp128c|e4m3\w*gemm|scaled_mm|nvjet_q|deep_gemm\S*fp8", tensor=True),
    _family("grouped GEMM", "GEMM",
            r"grouped_?(?:mat)?_?(?:gemm|mm|matmul)|fused_moe|moe_gemm|group_?gemm", tensor=True),
    _family("GEMM FP32", "GEMM", r"sgemm|simt\w*gemm|f32f32_f32|gemv|gemvx|dot_kernel"),
    _family("GEMM", "GEMM",
            r"gemm|nvjet|xmma|cutlass\S*gemm|cublas|matmul|Cijk_|aten::(?:mm|bmm|addmm|baddbmm|linear|addmv|mv|_addmm\w*)$|"
            r"mkldnn_linear|wmma|splitk|\bck::|_mm_kernel|aten::_grouped_mm", tensor=True),
    _family("convolution", "GEMM", r"conv(?:olution|[123]d|_depthwise)|implicit_gemm|cudnn\w*conv", tensor=True),
    # what goes on between the matrix products
    _family("RoPE", "elementwise", r"rotary|rope"),
    _family("norm", "norm", r"layer_?norm|rms_?norm|ln_(?:fwd|bwd)|group_?norm|batch_?norm|(?:add)?rms"),
    _family("SwiGLU", "elementwise", r"swiglu|silu|gelu|act_and_mul|geglu|activation"),
    _family("expand and reduce tokens", "permute",
            r"(?:un)?permute|reduce_fused|expand_to_fused|get_fused_mapping|moe_(?:sum|align|finalize|expand)|"
            r"silu_and_scatter|ep_(?:gather|scatter)|index_(?:add|copy|put)|moeinit|moefinalize|moetoken"),
    _family("routing", "routing",
            r"top_?k|expert|group_indices|aux_fi|gating|router|moe_fused_gate|histogram|bincount"),
    _family("softmax and loss", "elementwise", r"softmax|cross_?entropy|nll_loss|log_?sum_?exp"),
    _family("embedding", "elementwise", r"embedding|index_select|gather_kernel"),
    _family("optimizer", "optimizer", r"adam|multi_tensor_apply|optimizer\.|_foreach_|sgd|clip_grad"),
    _family("sampling", "other", r"sampl|multinomial|argmax|philox|distribution|random|rand|dropout"),
    _family("memset and fill", "copy", r"memset|fillfunctor|aten::(?:fill_|zero_|zeros|ones|full)"),
    _family("copy on the device", "copy", r"memcpy|copy|contiguous|clone|aten::cat|CatArray"),
    _family("reduction", "elementwise",
            r"reduce_kernel|reduceop|aten::(?:sum|mean|amax|max|min|norm)|cumsum|scan|sort"),
    _family("elementwise", "elementwise",
            r"elementwise|triton_(?:poi|red|per)|scatter|gather|aten::(?:add|mul|div|sub|pow|neg|exp|where|masked|tril|"
            r"triu|clamp|sigmoid|rsqrt|sqrt|cos|sin|index|arange)"),
)  # fmt: skip
OTHER = _family("other", "other", r"")
GROUPS = ("GEMM", "attention", "norm", "quantise", "permute", "routing", "elementwise", "optimizer", "copy", "other")


@lru_cache(maxsize=1 << 16)
def family_of(name: str) -> Family:
    """The family of a kernel or operator."""
    return next((family for family in FAMILIES if family.pattern.search(name)), OTHER)


_NOISE = re.compile(r"^void\s+|^_ZN?\d*|\((?!anonymous).*$|\bcutlass::device_kernel<|\(anonymous namespace\)::")


def short_name(name: str, most: int = 60) -> str:
    """A kernel's name to fit a table: no return type and parameters, then no template arguments and namespaces."""
    text = _NOISE.sub("", name).removeprefix("void ").strip() or name
    head, _, rest = text.partition("<")
    text = (head if not rest or len(text) > most else text) if text.count("<") == text.count(">") else head.rstrip(">")
    while len(text) > most and "::" in text.partition("<")[0]:
        text = text.partition("::")[2]
    return text if len(text) <= most else text[: most - 1] + "…"
