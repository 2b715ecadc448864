"""Chinese for the fixed words of answers: names of numbers, headings, columns, titles and axes of charts."""
# ruff: noqa: E501

from __future__ import annotations

#: names and abbreviations that Chinese texts write as they are
SAME = frozenset(
    ("TTFT", "TPOT", "MFU", "MBU", "E2E", "TP", "EP", "PP", "CP", "GRPO", "PPO", "PPO/GRPO", "BF16", "FP8", "GB", "TB/s", "n", "P90",
     "P10 … P90", "id", "p50", "p90", "p99", "GPU h", "USD", "USD/h", "USD/Mtok", "token/s", "ecmp", "nvls", "MAPE", "MFU*", "s", "ms", "µs",
     "J/token", "USD/M in", "USD/M out", "EPLB", "GPU", "MB")
)  # fmt: skip

METRICS = {
    "flop per token": "每 token FLOP", "joules per input token": "每输入 token 焦耳", "joules per output token": "每输出 token 焦耳",
    "joules per token": "每 token 焦耳", "TTFT p90": "TTFT P90", "TTFT p99": "TTFT P99", "TPOT p50": "TPOT P50",
    "TPOT p90": "TPOT P90", "TPOT p99": "TPOT P99", "E2E p50": "E2E P50", "E2E p90": "E2E P90", "E2E p99": "E2E P99",
    "ITL p50": "ITL P50", "ITL p90": "ITL P90", "ITL p99": "ITL P99", "decode step": "解码步时间", "prefill share": "预填充占比",
    "USD per hour": "每小时美元", "cards at P90": "P90 所需卡数", "USD per hour at P90": "P90 每小时美元",
    "USD per Mtok output at P90": "P90 每百万输出 token 美元", "requests/s": "每秒请求", "output tokens/s": "每秒输出 token",
    "input tokens/s per GPU": "每卡每秒输入 token", "money": "费用", "cached share": "缓存命中占比", "KV peak share": "KV 峰值占用",
    "KV mean share": "KV 平均占用", "goodput requests/s": "达标请求/秒", "waiting mean": "平均等待数", "waiting peak": "峰值等待数",
    "GPUs": "卡数", "requests": "请求数", "finished": "完成", "aborted": "被拒", "preemptions": "抢占次数", "iterations": "迭代数",
    "elapsed cpu": "计算用时", "forward only": "仅前向", "backward only": "仅反向", "weight only": "仅权重梯度",
    "forward backward": "前向与反向重叠", "bubble": "气泡", "optimizer": "优化器", "gradient sync": "梯度同步",
    "exposed comm": "未隐藏通信", "hidden comm": "已隐藏通信", "tokens per day": "每天 token", "MFU noncausal": "MFU（非因果）",
    "tflops per GPU causal": "每卡 TFLOP/s（因果）", "tflops per GPU noncausal": "每卡 TFLOP/s（非因果）",
    "forward backward pair": "一对前向与反向", "GPU hours per trillion tokens": "每万亿 token GPU 小时",
    "pre training GPU hours": "预训练 GPU 小时", "context extension GPU hours": "上下文扩展 GPU 小时",
    "post training GPU hours": "后训练 GPU 小时", "days": "天数", "goodput": "有效时间占比", "days with stops": "含中断的天数",
    "stops": "中断次数", "checkpoint interval": "检查点间隔", "checkpoint": "检查点用时", "energy": "能耗",
    "final run at rental price": "按租价的最终训练", "interruptions": "中断", "experiments": "试验", "owned cluster": "自有集群",
    "everything, with staff": "全部（含人员）", "cash for all of it": "全部现金支出", "log probs": "对数概率", "update": "更新", "sync": "同步", "tail": "长尾",
    "response tokens": "回答 token", "longest response": "最长回答", "rollout share": "生成占比", "tail share": "长尾占比",
    "GPU hours per step": "每步 GPU 小时", "USD per step": "每步美元", "wall clock days": "日历天数",
    "published GPU hours": "公布的 GPU 小时", "BF16 step": "BF16 步时间", "BF16 memory": "BF16 内存", "BF16 run": "BF16 训练费用",
    "FP8 step": "FP8 步时间", "FP8 memory": "FP8 内存", "FP8 run": "FP8 训练费用", "compute saves": "计算节省", "compute frees": "计算释放",
    "communication saves": "通信节省", "communication frees": "通信释放", "activations saves": "激活节省", "activations frees": "激活释放",
    "weights saves": "权重节省", "weights frees": "权重释放", "recompute saves": "重计算节省", "recompute frees": "重计算释放",
    "speedup": "加速比", "GPUs for same tokens": "同样 token 所需卡数", "fewest GPUs FP8": "FP8 最少卡数",
    "fewest GPUs BF16": "BF16 最少卡数", "USD per Mtok": "每百万 token 美元", "in order step": "原顺序步时间",
    "in order tokens/s per GPU": "原顺序每卡 token/s", "in order per Mtok": "原顺序每百万 token 美元", "EPLB step": "EPLB 步时间",
    "EPLB tokens/s per GPU": "EPLB 每卡 token/s", "EPLB per Mtok": "EPLB 每百万 token 美元", "node hours": "节点小时",
    "mean nodes": "平均节点", "peak nodes": "峰值节点", "USD per day": "每天美元", "revenue": "收入", "margin": "利润率",
    "prefill tokens/s per node": "每节点预填充 token/s", "decode tokens/s per node": "每节点解码 token/s",
    "mean prefill nodes": "平均预填充节点", "mean decode nodes": "平均解码节点", "per Mtok": "每百万 token",
    "self hosted per Mtok output": "自有卡每百万输出 token", "API per Mtok output": "API 每百万输出 token",
    "break even share": "盈亏平衡负载",
}  # fmt: skip

COLUMNS = {
    "overlap": "通信重叠", "batch per GPU": "每卡批", "family": "类别", "feasible": "可行", "of its plans": "占其方案",
    "best USD per Mtok": "最低每百万 token 美元", "why": "原因", "tokens per GPU": "每卡 token", "precision": "精度",
    "recompute": "重计算", "micro batch": "微批", "best step": "最短步时间", "units": "单元", "cards": "卡数", "attained": "达标",
    "the cheapest": "最便宜者", "accelerator": "加速器", "way": "方式", "mean": "均值", "phase": "阶段", "published": "公布", "off": "偏差",
    "USD in all": "合计美元", "on published": "按公布值", "of the run": "训练指标", "assumption": "假设", "enters at": "进入于",
    "last line, USD": "末行，美元", "stage": "阶段", "steps": "步数", "hours": "小时", "GB a rank": "每 rank GB", "change": "变化",
    "run, USD": "训练，美元", "placement": "放置", "max/mean": "最大/平均", "next": "下一窗口", "remote nodes": "远端节点",
    "off by": "偏差", "hour": "时刻", "nodes": "节点", "prefill load": "预填充负载", "decode load": "解码负载",
    "lead \\ hold": "提前 \\ 保持", "0 min": "0 分", "15 min": "15 分", "30 min": "30 分", "60 min": "60 分", "plan": "方案", "chip": "芯片",
    "formats": "格式", "weights a rank, cards of the unit": "每 rank 权重，单元卡数", "decode, GB a rank": "解码，每 rank GB",
    "buffers": "缓冲", "there": "容量", "as": "做法", "recipe": "配方", "family/dtype": "算子/类型", "parameters": "参数",
    "up GB/s": "域内 GB/s", "out GB/s": "域外 GB/s", "quantity": "量", "collective": "集合通信", "size/time": "大小/时间", "ring": "环",
    "tree": "树", "fastest": "最快", "mode": "模式", "tokens": "token", "logical": "逻辑", "all-to-all": "全交换", "contention": "争用",
    "64 B far": "64 B 最远", "what it is": "说明", "from": "从", "to": "到", "moved": "传输量", "at line rate": "按线速", "traffic": "流量",
    "static": "静态", "valiant": "Valiant", "points": "测点", "bias": "偏差", "in band": "在区间内", "kind": "种类", "rows": "行",
    "first row": "首行", "claim": "说法", "verdict": "判断", "main figure": "主要数字", "figure": "数字", "feature": "特性",
    "band, x": "区间，倍", "at low": "低端", "at high": "高端", "swing": "摆幅", "too fast": "过快", "sources": "来源", "law": "规律",
    "commands that print these figures": "得出这些数字的命令", "supported": "成立", "conditional": "有条件成立", "overstated": "夸大",
}  # fmt: skip

CHARTS = {
    "time in ms": "时间（毫秒）", "time in s": "时间（秒）", "memory, bytes": "内存，字节", "seconds": "秒", "KV in use": "KV 占用",
    "share of requests": "请求占比", "million USD": "百万美元", "layer": "层", "to GPU": "到 GPU", "from GPU": "从 GPU",
    "received over mean": "接收/平均", "time of day": "时刻", "load over capacity": "负载/容量", "claims": "说法",
    "running": "运行中", "waiting": "等待中", "time to first token": "首 token 时间", "time per later token": "后续 token 时间",
    "Pareto frontier": "Pareto 前沿", "The state over time": "随时间的状态", "Latency of requests": "请求延迟",
    "From the price of a run to the cost of a model": "从一次训练的价格到一个模型的成本", "GPU hours by stage": "各阶段 GPU 小时",
    "Seconds of a step by phase": "一步中各阶段秒数", "Memory while updating": "更新时的内存", "BF16 to FP8": "BF16 到 FP8",
    "same tokens": "同样 token", "run": "训练", "Tokens/s of a GPU in the next window": "下一窗口每卡 token/s",
    "Cost of a million tokens": "百万 token 成本", "Load of each GPU": "各 GPU 负载", "in order": "原顺序", "ours": "本方案",
    "Busiest GPU over the mean": "最忙 GPU/平均", "Copies of a token from GPU to GPU": "GPU 之间的 token 副本",
    "Heat of each GPU's scale-up link": "各 GPU 域内链路热度", "Heat of each node's network links": "各节点网络链路热度",
    "Nodes by hour": "逐时节点数", "Load of the running units": "运行单元的负载", "Cost and income": "成本与收入",
    "USD per million tokens": "每百万 token 美元", "every card busy": "所有卡满载", "Decode step by operation": "解码步各算子",
    "Predicted against measured": "预测与实测", "law against points": "规律与测点", "Time of collectives by size": "集合通信时间与大小",
    "Claims by verdict": "按判断分类的说法", "lower bound": "下界", "GPU time": "GPU 时间", "pipeline rank": "流水线 rank",
    "Memory of the fullest device": "最满设备的内存", "Memory by pipeline rank": "各流水线 rank 的内存",
    "Cost of the load: own cards and API": "负载的成本：自有卡与 API", "own cards": "自有卡", "API list price": "API 标价", "cheapest for each load": "各负载下最便宜者",
    "A million answer tokens, prompts included": "一百万回答 token（含提示）", "share of full load that comes": "到来的负载占满载之比",
    "low end of the band": "区间低端", "high end of the band": "区间高端", "size": "大小", "income": "收入", "cost": "成本",
}  # fmt: skip

HEADINGS = {
    "Families of plans": "方案类别", "Frontier: memory against step": "前沿：内存与步时间", "Simulated": "仿真结果",
    "Frontier of the closed form: TPOT against cost": "闭式解的前沿：TPOT 与成本", "Why not the others": "为何不选其他",
    "Why units fell out": "单元为何落选", "Phases": "阶段", "The cost ladder": "成本阶梯", "Stops, saving, energy": "中断、存档与能耗",
    "Assumptions, by how far they move the last line": "各假设对末行的影响", "Notes and sources": "说明与来源", "Whole recipe": "整个配方",
    "Stages": "各阶段", "Where the hours go": "时间去向", "GRPO against PPO": "GRPO 对比 PPO",
    "Distillation against reinforcement learning": "蒸馏对比强化学习",
    "FP8 against BF16, one change at a time": "FP8 对比 BF16，逐项变化", "Load by layer and GPU": "各层各 GPU 负载",
    "Traffic": "流量", "The day": "这一天", "Arithmetic on the published schedule": "按公布时刻表的核算", "By hour": "逐时",
    "Policy": "策略", "8 bits against 16": "8 位对比 16 位", "Where a decode step goes": "解码步的时间去向",
    "Training in FP8 against BF16": "训练：FP8 对比 BF16", "Published figures beside ours": "公布数字与本工具对照",
    "The network": "网络", "Collectives": "集合通信", "All-reduce by algorithm": "各算法的 all-reduce", "Expert parallelism": "专家并行",
    "Other networks between the same nodes": "同样节点间的其他网络", "Busiest links": "最忙链路", "Drawing": "图", "Verdicts": "判断",
    "Break-even with an API": "与 API 的盈亏平衡", "Kernels by family": "按类别的内核",
    "20 of 25 plans, evenly spread": "25 个方案中的 20 个，均匀选取", "wall-clock hours, longest first": "日历小时，最长在前",
    "per card; plan: cards, widths, tokens a card and step": "每卡；方案：卡数、并行度、每卡每步 token",
    "per card; plan: cards, widths, requests a card": "每卡；方案：卡数、并行度、每卡请求",
    "Busiest link over the busiest endpoint (1: the network adds nothing)": "最忙链路/最忙端点（1：网络不增加负担）",
}  # fmt: skip

SENTENCES = {
    "Grades: A measured on this accelerator within the measured shapes; B measured there, extrapolated; C measured on a sibling part; D datasheet times transferred efficiency. Bands are P10 to P90.":
        "等级：A 在本加速器上实测且处于测量范围内；B 在其上实测后外推；C 由同类芯片实测移用；D 标称值乘以移用效率。区间为 P10 到 P90。",
    "Each line answers a wider question than the one above and replaces it. Lines one to three are at rental price; four and five own the cards for the length of the project and write them off. The first line is all that a stated training cost covers.":
        "每一行回答比上一行更宽的问题并取代它。前三行按租价；第四、五行在项目期间自有这些卡并折旧。公布的训练成本只含第一行。",
    "energy assumes the chip at its TDP with server overhead and PUE; low end at half TDP": "能耗按芯片 TDP 加服务器开销与 PUE；低端按一半 TDP",
    "two micro-batches overlap; no core sends": "两个微批重叠；不占用核心做通信",
    "cost of carrying the load against time per token": "承载负载的成本与每 token 时间",
    "requests waiting and running, and KV in use, over time": "等待与运行中的请求及 KV 占用随时间的变化",
    "share of requests with at most this time to first token, and time per token": "首 token 时间与每 token 时间不超过该值的请求占比",
    "TPOT leaves out the first token; ITL counts every gap between two tokens of a request": "TPOT 不含首 token；ITL 计入请求中任意两个 token 的间隔",
    "dualpipe schedule, played task by task; parts are those of the first pipeline rank": "DualPipe 调度，逐任务播放；各部分取自第一个流水线 rank",
    "Memory of the update phase by kind; only PPO has a value model.": "更新阶段各类内存；只有 PPO 有价值模型。",
    "GB; the value model keeps weights, gradients and optimiser state of its own.": "GB；价值模型另有自己的权重、梯度与优化器状态。",
    "Busiest GPU over the mean by layer, with the lower bound.": "各层最忙 GPU 与平均之比，以及下界。",
    "Copies that each GPU receives, over the mean of all.": "每个 GPU 接收的副本与全体平均之比。",
    "nodes that run, predicted and published, by hour of the day": "逐时运行的节点数：预测与公布",
    "load over what the running units carry, by pool": "各池负载与运行单元容量之比", "cost and income by hour": "逐时成本与收入",
    "Node-hours of the same load under other policies: when units are called, and how long idle ones stay.":
        "同一负载在其他策略下的节点小时：何时启用单元、空闲单元保留多久。",
    "Held-out errors of each law. Laws of a sibling count as grade C at best, those of any other part as D.":
        "各规律的留出误差。同类芯片的规律至多为 C 级，其他芯片的为 D 级。",
    "A law with its correction against the points that it was fitted to, both axes logarithmic; the diagonal is equality. How far off it is on shapes left out of the fit is in the table of held-out errors.":
        "规律（含修正）与其拟合测点的对照，双对数坐标，对角线为相等。对未参与拟合形状的误差见留出误差表。",
    "Counted on the graph, except prices and latencies, whose grade is their source's.": "在图上计数；价格与延迟除外，其等级随来源。",
    "A grade marked out: the measurement lies outside the P10–P90 band.": "等级后标 out：实测值落在 P10–P90 区间之外。",
    "Blank is bubble. What follows the last backward is not drawn.": "空白为气泡；最后一次反向之后的部分未画出。",
    "revenue, USD": "收入，美元", "Decode": "解码", "Prefill": "预填充", "Training": "训练", "Serving": "整体服务", "Simulation": "仿真",
    "Post training": "后训练",
}  # fmt: skip

INPUTS = {
    "model": "模型", "KV dtype": "KV 格式", "redundant experts": "冗余专家", "framework": "引擎", "framework version": "引擎版本", "isl": "输入 token",
    "osl": "输出 token", "cached": "缓存命中 token", "price": "价格", "context": "平均上下文", "MTP acceptance": "MTP 接受概率", "MTP tokens": "MTP 草拟 token",
    "gradients": "梯度", "master": "主权重", "moments": "优化器动量", "transient": "临时", "zero": "ZeRO 级别", "dispatcher": "分发方式", "graphs": "CUDA 图",
    "seq": "序列长度", "global batch": "每步序列数", "order": "提示次序", "token budget": "每轮 token", "chunked": "提示分块", "true": "是", "false": "否",
    "max running": "每 rank 请求上限", "block": "KV 块", "timeout": "放弃等待", "ahead": "预先", "reserve": "预留占比", "reserve tokens": "预留 token",
    "max waiting": "等待上限", "spread": "分配依据", "balance": "均衡", "poll": "轮询", "prefix cache": "前缀缓存", "host cache": "主机缓存", "isl mean": "平均输入 token",
    "osl mean": "平均输出 token", "span": "时长", "seed": "随机种子", "cv": "到达突发性", "start": "起点", "speed": "倍速", "pair": "成对", "backward": "反向",
    "forward": "前向", "gradient": "梯度", "router": "请求路由", "concurrency": "并发", "rate": "到达率", "algorithm": "算法", "cluster": "集群", "epochs": "遍数",
    "group": "每题回答数", "law": "长度分布", "micro tokens": "微批 token", "offload": "优化器卸载占比", "prompt mean": "问题平均 token", "prompts": "问题数",
    "recipe": "配方", "reference": "参考模型", "response max": "最长回答", "response mean": "回答平均 token", "sigma": "离散度", "updates": "更新次数",
}  # fmt: skip

FIXED: dict[str, str] = {text: text for text in SAME} | METRICS | COLUMNS | CHARTS | HEADINGS | SENTENCES | INPUTS
