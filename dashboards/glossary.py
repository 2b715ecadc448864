"""What settings and numbers mean, in a sentence for who meets them the first time: in English and in Chinese."""
# ruff: noqa: E501

from __future__ import annotations

#: label of a control → its help
SETTINGS = {
    "Accelerator": ("A card as it is rented; 910C counts cards of two dies.", "按租用单位计的卡；910C 按双芯片的卡计。"),
    "Price of a card": ("What one card costs an hour, like 2 USD/h, or the id of a price of the catalog.", "一张卡每小时的价格，如 2 USD/h，或价目的 id。"),
    "Cards": ("Cards that work together on this question.", "共同完成此问题的卡数。"),
    "Mean context": ("Tokens of prompt and answer that a request has in memory, on average while it decodes.", "解码期间一个请求在内存中的平均 token 数（提示加回答）。"),
    "Requests per card": ("Requests that decode at the same time, for each card. More are cheaper and slower.", "每张卡同时解码的请求数。越多越便宜、也越慢。"),
    "Prompt tokens": ("Tokens of the prompt (input sequence length).", "提示的 token 数（输入长度）。"),
    "Answer tokens": ("Tokens of the answer (output sequence length).", "回答的 token 数（输出长度）。"),
    "Tokens per card and step": ("Prompt tokens that one card works on in one step.", "一张卡一步处理的提示 token。"),
    "Requests in flight": ("Requests in the whole deployment at any time: each that ends is replaced.", "整套部署中始终保持的请求数：完成一个补一个。"),
    "Tokens of the run": ("Training tokens of the whole run; 1.48e13 is 14.8 trillion.", "整次训练的 token；1.48e13 即 14.8 万亿。"),
    "Tensor parallel (tp)": ("Cards that split every matrix between them. Needs fast links.", "共同切分每个矩阵的卡数，需要快速互联。"),
    "Pipeline stages (pp)": ("Groups of cards that hold consecutive layers.", "各持若干连续层的卡组数。"),
    "Expert parallel (ep)": ("Cards that share one set of experts.", "共同持有一套专家的卡数。"),
    "Context parallel (cp)": ("Cards that split one sequence.", "切分同一序列的卡数。"),
    "Virtual stages (vpp)": ("Parts of the model on each pipeline stage: more shrink the bubble and send more.", "每个流水线级上的模型段数：越多气泡越小、通信越多。"),
    "ZeRO stage": ("What copies of the model share out: 1 optimiser, 2 gradients too, 3 weights too.", "副本间分摊的内容：1 优化器，2 加梯度，3 再加权重。"),
    "Recompute": ("Activations that are computed again instead of kept: saves memory, costs time.", "不保存而重新计算的激活：省内存、费时间。"),
    "Sequences per step": ("Sequences between two updates of the weights.", "两次权重更新之间的序列数。"),
    "Micro-batch": ("Sequences that go through a stage at a time.", "一次通过一级的序列数。"),
    "Tokens of a sequence": ("Tokens of one training sequence.", "一条训练序列的 token。"),
    "Overlap": ("How communication hides behind computation: two halves of the batch take turns, or none.", "通信如何藏在计算之后：两半批次轮流，或不隐藏。"),
    "Routing": ("How evenly tokens meet experts: balanced is the best case, production what a day's traffic does.", "token 落到专家的均匀程度：balanced 为最好情形，production 为真实流量。"),
    "Redundant experts": ("Copies of busy experts, held beside one copy of each.", "繁忙专家的额外副本。"),
    "MTP: tokens drafted per step": ("Tokens guessed ahead and checked in the next step (speculative decoding).", "预先猜测、下一步再校验的 token（推测解码）。"),
    "KV cache format": ("Number format of the attention cache.", "注意力缓存的数值格式。"),
    "Split of each expert (moe-tp)": ("Cards that split the width of each expert.", "切分每个专家宽度的卡数。"),
    "Cores for communication": ("Cores of the card kept for communication.", "留给通信的核心数。"),
    "Best": ("Among plans that meet the limits, the one that is best at this is named.", "在满足限制的方案中，按此项选出最佳。"),
    "Load to carry": ("What comes in: requests like 20req/s or 2Mreq/day, or answer tokens like 5Btok/day.", "到来的负载：请求如 20req/s、2Mreq/day，或回答 token 如 5Btok/day。"),
    "Compare with the API price of": ("Public list price of the model's own API; own cards are paid for whether used or not.", "该模型 API 的公开标价；自有卡无论是否使用都要付费。"),
    "Load of the experts": ("How unevenly tokens choose experts; a larger number is more uneven.", "token 选择专家的不均匀程度；数越大越不均。"),
    "Requests a second": ("Requests that arrive each second, whether others have ended or not.", "每秒到达的请求，不论其他请求是否结束。"),
    "The placement alone, without the study": ("Off: also how the balance holds as loads drift, and how many copies pay.", "关闭：还分析负载漂移时的均衡，以及多少副本划算。"),
}  # fmt: skip
#: name of a number → what it is
NUMBERS = {
    "tpot_s": ("Time per output token of one request, the first left out.", "一个请求每个输出 token 的时间，首 token 除外。"),
    "ttft_s": ("Time to the first token: from the request's arrival until its answer begins.", "首 token 时间：从请求到达到回答开始。"),
    "tokens_per_s_per_gpu": ("Tokens each card makes a second.", "每张卡每秒的 token。"),
    "output_tokens_per_s_per_gpu": ("Answer tokens each card makes a second.", "每张卡每秒的回答 token。"),
    "usd_per_mtok_output": ("Rent of the cards for a million answer tokens; no margin, staff or idle hours.", "一百万回答 token 的卡租；不含利润、人员与空闲时间。"),
    "usd_per_mtok_input": ("Rent of the cards for a million prompt tokens; no margin, staff or idle hours.", "一百万提示 token 的卡租；不含利润、人员与空闲时间。"),
    "mfu": ("Model FLOP utilisation: arithmetic done over the card's dense peak.", "模型算力利用率：所做计算与稠密峰值之比。"),
    "mfu_causal": ("Model FLOP utilisation, attention counted causally, over the BF16 peak.", "模型算力利用率：注意力按因果计，除以 BF16 峰值。"),
    "mbu": ("Memory bandwidth utilisation: bytes moved over what the card can move.", "内存带宽利用率：搬运字节与可搬运字节之比。"),
    "joules_per_token_output": ("Energy at the wall for an answer token, with server and cooling.", "每个回答 token 的墙上能耗，含服务器与冷却。"),
    "usd_per_run": ("Rent of the cards for the whole run; no failed runs, data or staff.", "整次训练的卡租；不含失败的训练、数据与人员。"),
    "gpu_hours": ("Cards times hours.", "卡数乘小时。"),
    "step_s": ("One update of the weights, or one decoding step.", "一次权重更新，或一个解码步。"),
    "peak_memory_bytes": ("Of the fullest card.", "最满的卡。"),
    "goodput_share": ("Share of requests that met both targets.", "同时达到两个目标的请求占比。"),
    "busy_share": ("Share of the time that the cards worked.", "卡处于工作状态的时间占比。"),
    "margin": ("Income over cost, less one: theoretical, all tokens at list price.", "收入除以成本再减一：理论值，全部 token 按标价。"),
    "break_even_share": ("Share of full load at which own cards cost what the API does; above 100% they never do.", "自有卡与 API 成本相等时的负载占比；超过 100% 则永不划算。"),
    "final_run_usd": ("The last run's cards at rental price: what a stated training cost usually covers.", "最后一次训练的卡租：公布的训练成本通常只含此项。"),
    "staff_usd": ("With stops, failed runs and experiments, the cluster owned, and staff.", "含中断、失败与试验、自有集群和人员。"),
    "cash_usd": ("Cards bought outright, power and staff: what leaves the account, nothing written off.", "买断的卡、电力与人员：实际支出，不折旧。"),
    "speedup": ("BF16's step over FP8's.", "BF16 步时间与 FP8 步时间之比。"),
}  # fmt: skip


def of_setting(label: str, chinese: bool) -> str:
    """The help of a control, empty where its label says it all."""
    return SETTINGS.get(label, ("", ""))[chinese]


def of_number(name: str, chinese: bool) -> str:
    """What a metric is, empty where its name says it all."""
    return NUMBERS.get(name, ("", ""))[chinese]
