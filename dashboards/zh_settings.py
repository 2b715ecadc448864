"""Chinese for what pages ask: labels of settings, headings of folds, what an empty field means."""
# ruff: noqa: E501

from __future__ import annotations

_LABELS = {
    "Its id": "编号", "Its name": "名称", "Add the chip of this form": "按此表单添加芯片", "or as TOML": "或用 TOML",
    "Dense peaks; bandwidths a card and direction; n/a: not there; unknown: nobody states it.": "稠密峰值；带宽按每卡每方向；n/a：没有；unknown：无人公布。",
    "Model": "模型", "Accelerator": "加速器", "Cluster": "集群", "Price of a card": "单卡价格", "Precision": "精度",
    "Phase": "阶段", "Cards": "卡数", "Mean context": "平均上下文", "Requests per card": "每卡请求数",
    "Prompt tokens": "输入 token", "Answer tokens": "输出 token", "Tokens per card and step": "每卡每步 token",
    "Requests in flight": "并发请求", "Overlap": "通信重叠", "Tensor parallel (tp)": "张量并行 (tp)",
    "Pipeline stages (pp)": "流水线级数 (pp)", "Expert parallel (ep)": "专家并行 (ep)",
    "Context parallel (cp)": "上下文并行 (cp)", "Virtual stages (vpp)": "虚拟级数 (vpp)",
    "Split of each expert (moe-tp)": "专家内切分 (moe-tp)", "KV cache format": "KV 缓存格式", "Routing": "路由",
    "Redundant experts": "冗余专家", "Cores for communication": "用于通信的核心",
    "Prompt tokens in the prefix cache": "命中前缀缓存的 token", "MTP: tokens drafted per step": "MTP：每步草拟 token",
    "MTP: chance of acceptance": "MTP：接受概率", "More settings": "更多设置", "default": "默认", "prefill": "预填充",
    "decode": "解码", "serving": "整体服务", "training": "训练", "Best": "优化目标",
    "Largest time per output token": "每个输出 token 的最长时间", "Largest time to first token": "首 token 最长时间",
    "At most so many cards": "卡数上限", "Sequences per step": "每步序列数", "Micro-batch": "微批",
    "Tokens of the run": "训练 token 总数", "Tokens of a sequence": "序列长度", "Schedule": "流水线调度",
    "ZeRO stage": "ZeRO 级别", "Recompute": "重计算", "Cards that prefill": "预填充卡数", "Cards that decode": "解码卡数",
    "Cards that train": "训练卡数", "Load": "负载", "rate": "到达率", "concurrency": "并发", "trace": "记录",
    "Requests a second": "每秒请求", "Recorded trace": "记录的负载", "Requests in all": "请求总数",
    "Target: time to first token": "目标：首 token 时间", "Target: time per token": "目标：每 token 时间",
    "Play so many times as fast": "播放倍速", "Burstiness of arrivals (cv)": "到达突发性 (cv)",
    "Cards of a separate prefill pool": "独立预填充池卡数", "Router": "请求路由", "Prefix cache": "前缀缓存",
    "Prompts beside answers, or first": "提示与回答并行或先行", "New tokens of an iteration": "每轮新 token",
    "Requests that decode on a rank": "每个 rank 的解码请求", "Seed": "随机种子", "Units come after the load, not ahead of it": "负载到后再扩容（不提前）",
    "Load of a unit that is aimed at": "单元目标负载", "How often the scaler acts": "扩缩容间隔",
    "What an idle card earns": "空闲卡出租价", "Also request by request": "另外逐请求播放", "Show": "显示", "One chip": "单个芯片",
    "All chips": "全部芯片", "Add your own": "添加自己的芯片", "Question": "问题", "one step": "一步",
    "a published recipe": "公开配方", "two ways compared": "两种做法对比", "Recipe": "配方", "Compared": "对比",
    "Algorithm": "算法", "Questions of a step": "每步问题数", "Answers to each question": "每题回答数",
    "Mean tokens of an answer": "回答平均 token", "Longest answer": "最长回答", "Framework": "框架",
    "Another network between the nodes": "节点间换用的网络",
    "Generation: ep": "生成：ep", "Generation: tp": "生成：tp", "Routing of paths": "路径选择",
    "Share of the optimiser on the host": "主机上的优化器占比", "Training: cp": "训练：cp", "Training: ep": "训练：ep",
    "Training: pp": "训练：pp", "Training: tp": "训练：tp", "Title": "标题", "Compare with": "对比芯片", "Ranks": "rank 数", "Traffic": "流量", "Topology": "拓扑",
    "cluster": "集群", "topology": "拓扑", "Load of the experts": "专家负载", "Expert-parallel ranks": "专家并行 rank",
    "Nodes": "节点", "Experts held, copies included": "专家槽位（含副本）", "Groups of experts": "专家分组", "Goal": "目标",
    "The placement alone, without the study": "仅放置，不做分析", "Steps of the run": "总步数",
    "the default is the accelerator's standard node": "默认是该加速器的标准节点",
    "the default for MoE models with tp 1 is all ranks": "tp 为 1 的 MoE 模型默认用全部 rank",
}  # fmt: skip

_FOLDS = {
    "Layout": "布局", "Engine": "引擎", "Separate prefill pool": "独立预填充池", "Arrivals and patience": "到达与耐心",
    "Drafted tokens (MTP)": "草拟 token (MTP)", "A cheaper night": "夜间优惠", "Autoscaling": "自动扩缩容",
    "Request by request": "逐请求播放", "Fine-tuning and distillation": "微调与蒸馏", "Generation": "生成",
    "Update of the weights": "权重更新", "Sequences and tokens": "序列与 token",
}  # fmt: skip

_SERVING = {
    "API prices of one's own": "自填的 API 价格", "Busiest expert rank over the mean": "最忙专家 rank 与平均之比",
    "Further nodes a token is sent to": "每 token 另发往的节点数", "Serving engine": "推理引擎",
    "Shortest prompts and answers over the nominal": "最短提示与回答占标称长度之比", "Hours of the trace": "记录中的时段",
    "Shares of the priorities": "各优先级占比", "Clients give up after": "客户端放弃等待的时间",
    "MTP: share of steps that keep draft 1, 2, …": "MTP：保留第 1、2…个草拟 token 的步占比", "Prefill: tp": "预填充：tp",
    "Prefill: ep": "预填充：ep", "Prefill: accelerator": "预填充：加速器", "Prefill: price of a card": "预填充：单卡价格",
    "Requests are spread over ranks by": "请求按何分配到各 rank", "Prompts are never cut": "提示不切分",
    "Host memory for cached prefixes": "缓存前缀的主机内存", "Requests that may wait on a rank": "每 rank 可等待的请求",
    "Tokens of a KV block": "KV 块的 token 数", "Share of an answer whose KV is set aside": "预留 KV 的回答占比",
    "KV tokens kept free for each request": "每请求保留的空闲 KV token", "Host time of an iteration": "每轮主机用时",
    "Time of the process in front for a request": "每请求前端进程用时", "Bytes that a rank holds": "每 rank 的字节数",
    "Whose step is timed": "计时的阶段", "Spread of an expert's load between windows": "窗口间专家负载的波动",
    "Remote copies beyond a node-local placement's": "相对节点内放置多出的远端副本", "Length of a window": "窗口长度",
    "Rank shown in detail": "详细显示的 rank", "Left out at the start": "开头不计的时间", "Without the public claims": "不含公开说法", "Shortest stretch leased out, hours": "最短出租时长（小时）",
    "Prefix cache of the whole fleet": "整个集群的前缀缓存", "Accelerators and their shares": "各加速器及其占比",
    "Price at night over the list price": "夜间价与标价之比", "Night from hour to hour": "夜间时段",
    "Share of the other load that moves to the night": "移到夜间的其他负载占比",
    "Free share of capacity before a unit goes": "单元撤出前须空闲的容量占比",
    "From the decision to a unit that serves": "从决定到单元可服务的时间", "How long a unit idles before it goes": "单元撤出前的空闲时间",
    "How long each hour is played": "每小时播放的时长",
}  # fmt: skip

_TRAINING = {
    "Captured as CUDA graphs": "捕获为 CUDA 图的部分", "How tokens reach experts": "token 到达专家的方式",
    "Kernels and number formats of": "内核与数值格式取自", "Phases of the run": "训练各阶段", "Other assumptions": "其他假设",
    "Samples in all": "样本总数", "Mean tokens of a sample": "样本平均 token", "Longest sample": "最长样本",
    "Samples of an optimiser step": "每次优化的样本数", "Passes over the samples or answers": "样本或回答的遍数",
    "Updates on the answers of a step": "每步回答上的更新次数", "Mean tokens of a question": "问题平均 token",
    "Law of answer lengths": "回答长度分布", "Spread of the log-normal law": "对数正态分布的离散度",
    "Model that scores answers": "给回答打分的模型", "No reference pass (no KL term)": "无参考模型（无 KL 项）",
    "Cards that only generate": "仅用于生成的卡数", "Pipeline schedule": "流水线调度方式", "Precision of training": "训练精度",
    "Packed tokens of a micro-batch": "微批打包的 token",
}  # fmt: skip

_NOTES = {
    "a published run says its sequences and tokens itself": "公开的训练自带序列与 token 数",
    "auto: the time of nine in ten answers; none: all requests count": "auto：九成回答所需的时间；none：所有请求都计入", "all": "全部", "all do both": "全部兼做",
    "as published": "按公布值", "in place of the two settings above": "代替上面两项", "never": "从不",
    "of several chips each by its id: h800-sxm=2USD/h,h20-96g=1USD/h": "多种芯片按其 id 分别填写：h800-sxm=2USD/h,h20-96g=1USD/h",
    "one phase": "一个阶段", "one priority": "单一优先级", "rules": "规则", "the first file": "第一个文件", "the same": "相同",
    "several values make a simulation each, side by side": "填多个值则各仿真一次，并列显示",
    "several, like 1,5,20req/s, say how many cards each takes": "可填多个，如 1,5,20req/s，分别给出所需卡数",
    "the default follows from the routing; the page Expert placement finds it": "默认由路由推出；“专家放置”页可求出",
    "the default: lengths within a tenth of the nominal": "默认：长度在标称值上下一成之内",
    "the first share is served first": "排在前面的占比优先服务",
}  # fmt: skip

SETTINGS: dict[str, str] = _LABELS | _FOLDS | _SERVING | _TRAINING | _NOTES
