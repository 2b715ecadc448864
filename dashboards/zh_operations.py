"""Chinese for the operations of a step: what they work on, and what is done to it."""
# ruff: noqa: E501

from __future__ import annotations

OPERATIONS = {
    "MTP input": "MTP 输入", "MTP norms": "MTP 归一化", "absorb query": "query 吸收", "add shared": "加共享专家输出",
    "all-reduce attention": "注意力 all-reduce", "all-reduce dense ffn": "稠密 FFN all-reduce",
    "all-reduce experts": "专家 all-reduce", "all_gather dense": "稠密参数 all-gather", "all_gather expert": "专家参数 all-gather",
    "answers": "回答", "attention": "注意力", "combine": "combine（汇回）", "combine_ll": "combine（低延迟）", "copies": "拷贝",
    "cross-entropy": "交叉熵", "dense ffn down": "稠密 FFN 下投影", "dense ffn gate-up": "稠密 FFN 门控上投影",
    "dense ffn swiglu": "稠密 FFN SwiGLU", "dispatch": "dispatch（分发）", "dispatch_ll": "dispatch（低延迟）", "embedding": "词嵌入",
    "expand value": "value 展开", "expert layout": "专家布局", "experts": "专家", "experts down": "专家下投影",
    "experts gate-up": "专家门控上投影", "experts in place": "专家就位", "experts swiglu": "专家 SwiGLU", "ffn norm": "FFN 归一化",
    "final norm": "末层归一化", "gather again for attention": "为注意力再收集", "gather again for dense ffn": "为稠密 FFN 再收集",
    "gather attention": "注意力收集", "gather dense ffn": "稠密 FFN 收集", "gather gradient of attention": "注意力梯度收集",
    "gather gradient of dense ffn": "稠密 FFN 梯度收集", "gather head": "输出头收集", "host and other stages": "主机与其他阶段",
    "idle": "空闲", "input norm": "输入归一化", "join keys": "key 拼接", "keep output": "保留输出", "key-value up": "KV 上投影",
    "kv down": "KV 下投影", "latent norms": "潜向量归一化", "lm head": "输出头", "offload and reload": "卸载与载回",
    "old log-probabilities": "旧策略对数概率", "optimizer": "优化器", "output": "输出投影", "permute": "重排", "pipeline bubble": "流水线气泡",
    "pipeline send": "流水线传送", "policy updates": "策略更新", "prompts": "提示", "qk norm": "QK 归一化", "qkv": "QKV",
    "qkv down": "QKV 下投影", "quantise context": "上下文量化", "quantise ffn input": "FFN 输入量化", "quantise input": "输入量化",
    "quantise latent": "潜向量量化", "query down": "query 下投影", "query up": "query 上投影",
    "reduce_scatter dense": "稠密梯度 reduce-scatter", "reduce_scatter expert": "专家梯度 reduce-scatter",
    "reference log-probabilities": "参考模型对数概率", "batch runs down": "批次收尾", "last tenth of the batch": "最后一成批次",
    "prefill": "预填充", "rope": "RoPE", "rope, cache write": "RoPE 与缓存写入", "router": "路由", "router weights": "路由权重",
    "routing": "路由", "scatter attention": "注意力散发", "scatter dense ffn": "稠密 FFN 散发", "scatter embedding": "词嵌入散发",
    "scatter gradient of attention": "注意力梯度散发", "scatter gradient of dense ffn": "稠密 FFN 梯度散发",
    "scatter gradient of head": "输出头梯度散发", "shared expert down": "共享专家下投影", "shared expert gate-up": "共享专家门控上投影",
    "shared expert swiglu": "共享专家 SwiGLU", "slower kernels beside transfers, stragglers": "通信旁变慢的内核与掉队者",
    "split qkv": "QKV 拆分", "stragglers, host": "掉队者与主机", "top-k choice": "top-k 选择", "unpermute": "还原重排",
    "weight sync": "权重同步", "forward and backward": "前向与反向", "gradient sync": "梯度同步", "other": "其他",
}  # fmt: skip

SUFFIXES = {
    " (hidden)": "（已隐藏）", " weight transpose": "权重转置", " transpose": "转置", " grad cast": "梯度转换", " cast": "格式转换",
    " backward": "反向", " wgrad": "权重梯度", " dgrad": "输入梯度", " gradient": "梯度",
}  # fmt: skip

PREFIXES = {"decode: ": "解码：", "prefill: ": "预填充：", "rollout: ": "生成："}
