"""Chinese for the words of the page; what is missing here stays English."""
# ruff: noqa: E501

from __future__ import annotations

from dashboards.zh_report import FIXED
from dashboards.zh_settings import SETTINGS

_PAGES = {
    "Answers": "求解", "Evidence": "依据", "Overview": "总览", "Inference": "推理", "Deployment search": "部署搜索",
    "Serving simulation": "服务仿真", "Training": "训练", "Post-training": "后训练", "Full report": "完整报告",
    "Hardware": "硬件", "Networks": "网络", "Validation": "验证", "Profiling runs": "性能剖析",
    "Expert placement": "专家放置", "FP8 savings": "FP8 节省", "Cost of a whole run": "整个项目的成本",
    "Claims": "公开说法", "Fleet day": "集群的一天",
    "One model on one chip at one price: what a million tokens and a training run cost.":
        "一个模型、一种芯片、一个价格：百万 token 与一次训练要花多少钱。",
    "What one serving phase or a whole deployment does, needs and costs.": "一个推理阶段或整套部署的速度、内存与成本。",
    "Every plan of a grid costed: the frontier between latency and cost, and what the rest failed on. "
    "Fields take lists and ranges: 8,16,32 or 1:256 or 64:1024:64.":
        "对网格中每个方案计价：延迟与成本的前沿，以及其余方案为何落选。可填列表或区间：8,16,32、1:256 或 64:1024:64。",
    "Requests one by one through a deployment: queues, latency quantiles, goodput, money.":
        "逐个请求通过部署：排队、延迟分位数、有效吞吐与费用。",
    "One training layout: step time and its parts, MFU, memory, GPU hours and USD of the run.":
        "一种训练布局：步时间及其组成、MFU、显存、GPU 小时与费用。",
    "Rollout, scoring, update and weight sync: GPU hours and USD of a step or of a whole recipe.":
        "生成、评分、更新与权重同步：一步或整个配方的 GPU 小时与费用。",
    "The cost and efficiency report of one scenario: the best deployment on every chip, FP8 against 16 bits, "
    "training, published figures beside ours.": "一个场景的成本与效率报告：各芯片的最佳部署、FP8 对比 16 位、训练，以及与公开数字的对照。",
    "What the vendor states, what was measured, and how well the laws meet the points.":
        "厂商标称、实测数据，以及拟合规律与测点的吻合程度。",
    "Topologies and clusters as graphs: what they cost, how far apart ranks are, what traffic does to links.":
        "把拓扑与集群看作图：造价、距离、流量对链路的影响。",
    "Predicted against measured: the largest misses first, what cannot be predicted and why.":
        "预测与实测对照：误差最大者在前，并说明哪些无法预测及原因。",
    "A profiler's trace read as streams, kernels, overlap and waiting.": "把剖析器的记录读作流、内核、重叠与等待。",
    "Which expert lives on which card, how often each is copied, and what that does to balance, links and cost.":
        "每个专家放在哪张卡、复制几份，以及对均衡、链路与成本的影响。",
    "The same layout in FP8 and in BF16: where time, memory and money are saved.":
        "同一布局在 FP8 与 BF16 下：时间、显存与费用省在哪里。",
    "From the bill of one run to what a programme costs: which part each headline number includes.":
        "从一次训练的账单到整个项目的成本：每个数字包含哪一部分。",
    "Public statements about DeepSeek's costs: each computed and judged, with the condition under which it holds.":
        "关于 DeepSeek 成本的公开说法：逐条计算、判断，并给出成立条件。",
    "DeepSeek's published serving day: nodes hour by hour, cost and theoretical income, beside the published.":
        "DeepSeek 公布的一天服务：逐时节点数、成本与理论收入，与公布值并列。",
}  # fmt: skip

_PAGE_WORDS = {
    "Sensitivity": "敏感性", "What the difference is made of": "差异由什么构成", "Answer": "结果", "Curves": "曲线", "Roofline": "Roofline", "Pipeline": "流水线", "Compare A and B": "A/B 对比",
    "Explain a number": "解释数字", "View": "视图", "Where from?": "从何而来？", "grade": "等级", "no band": "无区间",
    "The terms, laws and sources of this number": "此数字的组成、规律与来源", "Number": "数字",
    "measured on this part, inside the measured shapes": "在本芯片上实测，处于测量范围内",
    "measured on this part, extrapolated": "在本芯片上实测后外推", "carried over from a sibling part": "由同类芯片移用",
    "datasheet times transferred efficiency, or an assumption": "标称值乘以移用效率，或为假设",
    "What the grades mean": "等级含义",
    "A band holds the middle four fifths of what held-out measurements say: P10 to P90.": "区间为留出测量的中间五分之四：P10 到 P90。",
    "Inputs, notes and sources": "输入、说明与来源", "Sources": "来源", "Inputs": "输入", "Notes": "说明", "open": "打开",
    "Share and export": "分享与导出", "Link to exactly this question (copy button at its right)": "指向此问题的链接（右侧可复制）",
    "Question (TOML)": "问题 (TOML)", "The same on the command line": "命令行上的同一问题",
    "Charts: the camera in their corner saves a PNG; the HTML report prints to PDF.": "图表右上角相机可存 PNG；HTML 报告可打印为 PDF。",
    "Keep this as A": "保存为 A", "Forget A": "清除 A", "asked differently": "不同的输入", "number": "数字", "nothing": "无",
    "Keep an answer as A, then change a setting: B is what the settings ask now.": "先把一个结果保存为 A，再改设置：B 即当前设置的结果。",
    "Where the time goes": "时间去向", "Run": "运行", "Stop": "停止", "stopping …": "正在停止…", "working …": "计算中…",
    "Stopped. Change something or press Run to ask again.": "已停止。修改设置或按“运行”重试。",
    "A defect of costsim, not of your question": "这是 costsim 的缺陷，不是您的问题",
    "Load a question (TOML)": "载入问题 (TOML)",
    "a file saved by this dashboard, or a scenario of costsim report": "本页面保存的文件，或 costsim report 的场景",
    "Every number comes from the same verbs as the command line. Nothing leaves this machine.":
        "每个数字都来自与命令行相同的命令。数据不离开本机。",
    "Prefill": "预填充", "Decode": "解码", "Training run": "训练", "yours": "自有", "gone": "已失效", "Points": "测点",
    "Start from a question that others have": "从常见问题开始", "write it like": "写法如", "the default": "默认值",
    "{0}: not a setting of this page; ignored": "{0}：本页没有此设置，已忽略",
    "{0}: {1} is not valid here; {2} is used": "{0}：{1} 无效，改用 {2}", "{0}: too long; {1} is used": "{0}：过长，改用 {1}",
    "this link was made by another version; what is understood of it is used": "此链接来自其他版本；只采用能理解的部分",
    "V3 pre-training on 2,048 H800": "2,048 张 H800 预训练 V3", "DeepSeek's serving day": "DeepSeek 的一天服务",
    "14.8 trillion tokens at 2 USD an hour": "14.8 万亿 token，每小时 2 美元", "DeepSeek's decode unit": "DeepSeek 解码单元",
    "144 H800, 32 redundant experts": "144 张 H800，32 个冗余专家", "H20 decode": "H20 解码", "910C supernode": "910C 超节点",
    "16 cards, batch 32, FP8": "16 卡，批 32，FP8", "One 8-GPU box": "一台 8 卡服务器", "Two-GPU hobby RL": "双卡业余强化学习",
    "160 cards of CloudMatrix384, INT8, batch 192 a card": "CloudMatrix384 的 160 卡，INT8，每卡批 192",
    "GRPO on a countdown game, Qwen2.5-3B on two H100": "倒计时游戏上的 GRPO，Qwen2.5-3B，两张 H100",
    "8 H200, tp 8, 64 requests in flight": "8 张 H200，tp 8，64 个并发请求",
    "27 February 2025: nodes, cost, theoretical income": "2025 年 2 月 27 日：节点、成本、理论收入",
    "all published points": "全部公开测点", "Add the chip of this text": "添加此文本中的芯片", "Add the chip of this file": "添加此文件中的芯片", "Start from": "起点", "The chip as TOML": "芯片的 TOML",
    "or a TOML file": "或上传 TOML 文件",
    "your own points (CSV: id, kind, model, accelerator, metric, value, …)": "自己的测点（CSV：id, kind, model, accelerator, metric, value…）",
    "Start from a chip near yours, change what differs, and add it. It is kept for this session only.":
        "从相近的芯片开始，修改不同之处，然后添加。仅在本次会话中保留。",
    "traces of torch.profiler, Ascend or any Chrome trace (.json, .json.gz); several ranks of one run together":
        "torch.profiler、昇腾或任意 Chrome trace（.json、.json.gz）；可一次上传多个 rank",
    "Nothing is sent anywhere: the file stays on the machine that runs this dashboard.": "不会外传：文件只留在运行本页面的机器上。",
    "Time of an op by the size of its point; the roof is the datasheet's, dense.": "点的大小表示耗时；屋顶为标称稠密峰值。",
    "The terms that it is the sum of": "组成它的各项",
}  # fmt: skip

_REPORT = {
    "Result": "结果", "Time": "时间", "Memory per device": "每设备内存", "metric": "指标", "value": "数值", "operation": "算子",
    "time": "时间", "share": "占比", "bound by": "受限于", "part": "部分", "size": "大小", "input": "输入", "field": "字段",
    "confidence": "可信度", "source": "来源", "note": "备注", "law": "规律", "measured on": "测于", "median": "中位数",
    "memory": "内存", "compute": "计算", "network": "网络", "latency": "延迟", "schedule": "调度", "reason": "原因", "plans": "方案数",
    "Why the rest fell out": "其余方案为何落选", "Frontier: latency against cost": "前沿：延迟与成本", "Latency": "延迟",
    "Over time": "随时间", "Calibration": "标定", "Laws and points": "规律与测点", "Summary": "汇总", "point": "测点",
    "Points, largest errors first": "测点（误差大者在前）", "Not predicted, and why": "未能预测及原因", "measured": "实测",
    "predicted": "预测", "error": "误差", "Datasheet: dense peaks, bandwidths per direction": "标称：稠密峰值、单向带宽",
    "tokens/s per GPU": "每卡 token/s", "tokens/s per user": "每用户 token/s", "output tokens/s per GPU": "每卡输出 token/s",
    "USD per Mtok output": "每百万输出 token 美元", "USD per Mtok input": "每百万输入 token 美元",
    "USD per Mtok cached": "每百万缓存 token 美元", "joules per token output": "每输出 token 焦耳",
    "joules per token input": "每输入 token 焦耳", "step": "步时间", "USD per run": "整次训练美元", "GPU hours": "GPU 小时",
    "MFU causal": "MFU（因果）", "peak memory": "峰值内存", "rollout": "生成", "weights": "权重", "KV": "KV",
    "activations": "激活", "communication": "通信缓冲", "reserve": "预留", "total": "合计", "capacity": "容量",
    "TTFT p50": "TTFT P50", "busy share": "忙碌占比", "goodput share": "达标占比", "In short": "简述", "Side by side": "并列对比",
}  # fmt: skip

_MORE = {
    "A profiler's trace read as streams, kernels, overlap and waiting; a measurement file as laws with their errors on shapes left out.":
        "把剖析器的记录读作流、内核、重叠与等待；把测量文件读作规律及其留出误差。",
    "Compare with the API price of": "与哪家 API 标价比较", "Load to carry": "要承载的负载", "Accelerators": "加速器",
    "Launch commands for": "启动命令的引擎", "Share of a unit's rate to plan for": "单元速率的计划占比",
    "Deployments to simulate": "要仿真的部署数", "File": "文件", "Measured on": "测于", "Claim": "说法", "none": "无", "no limit": "不限",
    "deployment": "部署", "measurements": "测量", "Side by side": "并列对比", "all claims": "全部说法",
    "cheapest tokens": "token 最便宜", "most tokens/s per card": "每卡吞吐最高", "shortest step": "步时间最短",
    "Break-even": "盈亏平衡", "Memory": "内存", "memory per device": "每设备内存", "Your own chip travels in the link.": "您的芯片已写入链接。",
    "Your own chip is too large for a link: send the question as TOML, which holds it.": "您的芯片太大，放不进链接：请发送包含它的 TOML。",
    "Choose phase “serving” and an API's price list: the lines show at which load own cards pay.":
        "选择阶段“整体服务”与一份 API 标价：曲线显示多大负载时自有卡划算。",
    "Choose phase “deployment” and an API's price list: the lines show from which load own cards pay.":
        "选择阶段“部署”与一份 API 标价：曲线显示从多大负载起自有卡划算。",
    "a.json and b.json: the two answers, each saved with --json > FILE or by the JSON button below.": "a.json 与 b.json：两个结果，各用 --json > 文件 或下方 JSON 按钮保存。",
    "Scenario for `costsim report` (TOML)": "`costsim report` 的场景 (TOML)",
    "Only {0} of the requests meet both targets.": "只有 {0} 的请求满足两个目标。",
    "{0} is not understood; write it like {1}. Until then {2} is asked.": "无法识别{0}；请写成{1}。在此之前按{2}计算。",
    "The best plan": "最佳方案", "Launch commands (.sh)": "启动命令 (.sh)", "How to start it": "如何启动", "Open this plan on its own page": "在其页面打开此方案",
    "measurements of kernels or collectives (CSV of costsim profile: family, dtype, shape, time_s, source)":
        "内核或集合通信的测量（costsim profile 的 CSV：family, dtype, 形状, time_s, source）",
    "The grade of the law that times of each kind rest on.": "各类时间所依据规律的等级。",
    "the default is FP8 where the chip has it, else INT8, else BF16": "默认：芯片支持则 FP8，否则 INT8，再否则 BF16",
    "the default is FP8 where the chip has it, else BF16": "默认：芯片支持则 FP8，否则 BF16",
}  # fmt: skip

CHINESE: dict[str, str] = FIXED | _PAGES | SETTINGS | _PAGE_WORDS | _REPORT | _MORE
