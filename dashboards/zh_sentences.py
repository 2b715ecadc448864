"""Chinese for sentences with numbers. The keys are the sentences of the reports, their parts in braces."""
# ruff: noqa: E501

from __future__ import annotations

_TITLES = {
    "{w_kind}: {o_model} on {o_chip}, {q_n} GPUs": "{w_kind}：{o_model}，{q_n} 张 {o_chip}",
    "{w_phase} plans of {o_model} on {o_chip}, best {w_what}": "{o_model} 在 {o_chip} 上的{w_phase}方案，按{w_what}取优",
    "Deployments of {o_model} for {q_n} requests/s": "为每秒 {q_n} 个请求部署 {o_model}",
    "A day of {o_model}, {q_n} hours from {i_from}": "{o_model} 的一天：自 {i_from} 起 {q_n}",
    "{o_run}, one phase: {q_n} {o_chip}": "{o_run}，单阶段：{q_n} {o_chip}",
    "{o_run} as reported: {q_n} {o_chip}": "{o_run}，按报告：{q_n} {o_chip}",
    "BF16 to FP8: {o_model} on {o_chip}": "BF16 到 FP8：{o_model}，{o_chip}",
    "BF16 to FP8: {w_what}": "BF16 到 FP8：{w_what}",
    "{q_n} points over {w_what}": "{q_n} 个点，变化项：{w_what}",
    "{q_n} simulations over {w_what}": "{q_n} 次仿真，变化项：{w_what}",
    "{w_name}, {o_unit}": "{w_name}，{o_unit}", "cards, same tokens, cards: {l_parts}.": "卡数（同样 token）：{l_parts}。",
    "step, s: {l_parts}.": "步时间，秒：{l_parts}。", "memory, GB: {l_parts}.": "内存，GB：{l_parts}。",
    "{w_name}, million USD: {l_parts}.": "{w_name}，百万美元：{l_parts}。", "cards, same tokens": "卡数（同样 token）", "given": "给定", "both": "兼任",
}  # fmt: skip

_CHARTS = {
    "Largest parts of the step: {l_parts}.": "一步中最大的部分：{l_parts}。",
    "From {q_a} to {q_b}: {w_what} from {q_c} to {q_d}. No plan is better in both.": "从 {q_a} 到 {q_b}：{w_what}从 {q_c} 到 {q_d}。没有方案两者都更好。",
    "Cost of carrying the load, {q_a} to {q_b} an hour, against time per token, {q_c} to {q_d}.": "承载负载的成本（每小时 {q_a} 到 {q_b}）与每 token 时间（{q_c} 到 {q_d}）。",
    "The fullest device holds {l_parts} of {q_all}.": "最满的设备存放：{l_parts}，容量 {q_all}。",
    "The fullest device holds {l_parts}.": "最满的设备存放：{l_parts}。",
    "{q_n} pipeline ranks hold {q_a} to {q_b}.": "{q_n} 个流水线 rank 各存放 {q_a} 到 {q_b}。",
    "{w_what} against {w_by}: {q_a} at {q_b} with {w_c} {q_c}, {q_d} at {q_e} with {w_c2} {q_f}.": "{w_what}与{w_by}：{w_c}为 {q_c} 时 {q_a}（{q_b}），{w_c2}为 {q_f} 时 {q_d}（{q_e}）。",
    "{w_what} against {w_by}": "{w_what}与{w_by}",
    "USD per Mtok: own cards {q_a} when full, {q_b} at half load; API {q_c}.": "每百万 token 美元：自有卡满载 {q_a}，半载 {q_b}；API {q_c}。",
}  # fmt: skip

_SERVING = {
    "price: {q_rate} from {o_id}, {w_date}, confidence {o_grade} ({w_why})": "价格：{q_rate}，取自 {o_id}，{w_date}，可信度 {o_grade}（{w_why}）",
    "price: {q_rate} from {o_id}, {w_date}, confidence {o_grade}": "价格：{q_rate}，取自 {o_id}，{w_date}，可信度 {o_grade}",
    "price: {q_rate} from {o_id}, confidence {o_grade}": "价格：{q_rate}，取自 {o_id}，可信度 {o_grade}",
    "price: {q_rate} from {o_id}": "价格：{q_rate}，取自 {o_id}",
    "an assumption of its authors; {q_n} nodes on average make {q_usd} per day": "其作者的假设；平均 {q_n} 个节点每天 {q_usd}",
    "no hourly price is known for {o_chip}: pass --price 2USD/h for costs": "没有 {o_chip} 的小时价：请在“单卡价格”填入如 2USD/h 以得到成本",
    "tdp is unknown for {o_chip}: no energy figures": "不知道 {o_chip} 的 TDP：没有能耗数字",
    "{o_chip} has no FP8 peak in the catalog": "目录中 {o_chip} 无 FP8 峰值",
    "{o_price} / {q_life} years, no power: TDP unknown; leaves out server, network, building and staff": "{o_price} / {q_life} 年，不含电费：TDP 未知；不含服务器、网络、机房与人员",
    "{o_price} / {q_life} years + TDP x server_overhead x PUE x electricity; leaves out server, network, building and staff": "{o_price} / {q_life} 年 + TDP x server_overhead x PUE x 电价；不含服务器、网络、机房与人员",
    "two micro-batches overlap; {q_a} of {q_b} cores run communication": "两个微批重叠；{q_b} 个核心中 {q_a} 个用于通信",
    "routing {o_routing}: the busiest expert rank sets the time": "路由 {o_routing}：由最忙的专家 rank 决定时间",
    "a known placement: the busiest expert rank carries {q_n} times the mean": "已知的放置：最忙的专家 rank 承担平均的 {q_n} 倍",
    "production: throughput is scaled to a {q_h} fleet average (prefill {q_a}, decode {q_b} of the kernel path)": "production：吞吐按 {q_h} 集群平均折算（预填充为内核路径的 {q_a}，解码为 {q_b}）",
    "{o_chip} has {q_n} dies: ep, tp, pp count dies; gpus and batch count cards": "{o_chip} 有 {q_n} 个芯粒：ep、tp、pp 按芯粒计；卡数与批按卡计",
    "kernel efficiencies partly carried over from {i_chips} (grades C and D)": "部分内核效率移用自 {i_chips}（C、D 级）",
    "defaults: {c_options}": "默认值：{c_options}",
    "closed loop of {q_n} requests simulated (continuous batching); the breakdown is of one decode step": "仿真了 {q_n} 个请求的闭环（连续批处理）；分解取一个解码步",
    "closed loop of {q_n} requests simulated ({o_engine}); the breakdown is of one decode step": "仿真了 {q_n} 个请求的闭环（{o_engine}）；分解取一个解码步",
    "break-even with {o_api}: {q_a} in, {q_b} cached, {q_c} out; cards are paid for whether used or not, and all of their rent is set against the answers": "与 {o_api} 的盈亏平衡：输入 {q_a}，缓存 {q_b}，输出 {q_c}；卡无论是否使用都付费，全部租金计入回答",
    "Full cards cost {q_a} times the list price ({q_b} … {q_c}): no load pays off.": "满载的卡也是标价的 {q_a} 倍（{q_b} … {q_c}）：任何负载都不划算。",
    "Own cards are cheaper above {q_a} of their full load ({q_b} … {q_c}).": "负载高于满载的 {q_a}（{q_b} … {q_c}）时自有卡更便宜。",
    "{q_n} points cannot be answered": "{q_n} 个点无法求解", "{q_n} more points cannot be answered": "另有 {q_n} 个点无法求解",
}  # fmt: skip

_SIMULATION = {
    "scheduler: {w_order}; chunked prompts, {q_n} tokens an iteration, at most {q_m} requests a rank": "调度：{w_order}；提示分块，每轮 {q_n} 个 token，每 rank 至多 {q_m} 个请求",
    "scheduler: {w_order}; whole prompts, {q_n} tokens an iteration, at most {q_m} requests a rank": "调度：{w_order}；提示不分块，每轮 {q_n} 个 token，每 rank 至多 {q_m} 个请求",
    "bands: the whole run again with all step times at their P10 and at their P90": "区间：所有步时间分别取 P10 与 P90 把整个过程重跑一遍",
    "{q_n} replica(s), role {w_role}: {q_m} attention rank(s) of {q_kv} KV tokens; {q_free} KV tokens kept free per running request": "{q_n} 个副本，角色 {w_role}：{q_m} 个注意力 rank，各 {q_kv} 个 KV token；每个运行中的请求预留 {q_free} 个 KV token",
    "{q_n} replica(s), role {w_role}: {q_m} attention rank(s) of {q_kv} KV tokens": "{q_n} 个副本，角色 {w_role}：{q_m} 个注意力 rank，各 {q_kv} 个 KV token",
    "the last request came at {q_a} and was done at {q_b}: throughput and cost count the time to fill and to drain; give more --requests for the steady state": "最后一个请求在 {q_a} 到达、{q_b} 完成：吞吐与成本含填充与排空时间；增加“请求总数”可接近稳态",
    "{q_n} requests are longer than a rank's KV cache and were turned away": "{q_n} 个请求长于 rank 的 KV 缓存而被拒",
    "no hourly price is known: pass --price 2USD/h for costs": "没有小时价：请在“单卡价格”填入如 2USD/h 以得到成本",
    "{q_n} requests": "{q_n} 个请求", "gap between tokens": "token 间隔", "whole answer": "整个回答",
    "prompts beside answers": "提示与回答并行", "prompts first, answers wait": "提示先行，回答等待",
    "lengths within 10 % of --isl and --osl": "长度在输入、输出 token 设定值上下 10 % 之内",
}  # fmt: skip

_TRAINING = {
    "MFU divides useful work of the main model by the dense BF16 peak, as DeepSeek's does; FP8 may pass 1": "MFU 为主模型的有效计算与稠密 BF16 峰值之比（与 DeepSeek 相同）；FP8 下可超过 1",
    "{o_schedule} schedule, played task by task; parts are those of the first pipeline rank": "{o_schedule} 调度，逐任务播放；各部分取自第一个流水线 rank",
    "experts reached by plain all-to-all, one copy of a token for each of its experts": "用普通全交换到达专家，每个专家一份 token 副本",
    "rank {q_n}": "rank {q_n}", "Million USD: {l_parts}.": "百万美元：{l_parts}。", "+ stops and restarts": "+ 中断与重启",
    "+ failed runs and experiments": "+ 失败与试验", "the cluster owned, not rented": "自有而非租用集群", "+ staff": "+ 人员",
    "cash: {q_n}, power, staff": "现金：{q_n}、电力、人员", "trained between saves": "两次保存之间的训练", "saving takes": "保存用时",
    "{q_n} years": "{q_n} 年", "{q_n} people": "{q_n} 人", "{q_n} d": "{q_n} 天", "{q_n} token": "{q_n} token",
    "{o_name} {q_n} IT power": "{o_name} IT 功率的 {q_n}", "{o_name} {q_n} TDP": "{o_name} TDP 的 {q_n}", "{o_name} {q_n} the card": "{o_name} 卡价的 {q_n}",
    "{q_n} a year each": "每人每年 {q_n}", "{q_n} of R&D compute": "研发算力的 {q_n}", "{q_n} the price found": "所查价格的 {q_n}",
    "{q_n} of capex a year": "每年购置成本的 {q_n}", "{q_n} of the hours owned": "自有小时的 {q_n}", "{q_n} of TDP": "TDP 的 {q_n}",
    "staff": "人员", "electricity": "电价", "matrix products and casts": "矩阵乘与格式转换", "expert transfers": "专家通信", "activations kept": "保留的激活",
    "copies of weights": "权重副本", "less recomputation": "减少重计算",
    "no hourly price known: no USD": "没有小时价：没有费用",
    "Predicted {q_a} ({q_b} … {q_c}), {q_usd} at {q_rate} an hour.": "预测 {q_a}（{q_b} … {q_c}），按每小时 {q_rate} 计 {q_usd}。",
    "Predicted {q_a} ({q_b} … {q_c}), {q_usd} at {q_rate} an hour; published {q_d}, {q_e}.": "预测 {q_a}（{q_b} … {q_c}），按每小时 {q_rate} 计 {q_usd}；公布 {q_d}，{q_e}。",
    "One stop in {q_h} of this job; saving every {q_s} of training wastes least (Daly's optimum).": "此任务每 {q_h} 中断一次；每训练 {q_s} 保存一次浪费最少（Daly 最优）。",
    "Moved alone between its ends, one of them takes the last line from {q_a} to {q_b}. Move one with --assume NAME=VALUE; ranges, sources and reasons are in hwprofiles/ladder.toml and reliability.toml.": "单独在其范围内变动时，一项可使末行从 {q_a} 变到 {q_b}。可在“其他假设”中改动；范围、来源与理由见 hwprofiles/ladder.toml 和 reliability.toml。",
    "These move it by less than {q_a}: {m_names}.": "以下各项的影响小于 {q_a}：{m_names}。",
    "GPU hours are step times × steps, without stops or restarts, as the published 180K per trillion tokens are": "GPU 小时为步时间 × 步数，不含中断与重启，与公布的每万亿 token 180K 同口径",
    "FP8 makes the step {q_x} as fast ({q_a} … {q_b}): {q_c} to {q_d} ({q_e} … {q_f}). At equal recomputation ({o_rec}) the fullest rank holds {q_g} in BF16 and {q_h} in FP8 ({q_i}); BF16 does not fit so and must recompute {o_how}, which its step includes.": "FP8 使步时间快 {q_x}（{q_a} … {q_b}）：{q_c} 到 {q_d}（{q_e} … {q_f}）。相同重计算（{o_rec}）下最满的 rank 在 BF16 时 {q_g}、FP8 时 {q_h}（{q_i}）；BF16 因此放不下，须重计算 {o_how}，其步时间已含在内。",
    "FP8 makes the step {q_x} as fast ({q_a} … {q_b}): {q_c} to {q_d} ({q_e} … {q_f}). At equal recomputation ({o_rec}) the fullest rank holds {q_g} in BF16 and {q_h} in FP8 ({q_i}).": "FP8 使步时间快 {q_x}（{q_a} … {q_b}）：{q_c} 到 {q_d}（{q_e} … {q_f}）。相同重计算（{o_rec}）下最满的 rank 在 BF16 时 {q_g}、FP8 时 {q_h}（{q_i}）。",
    "each change on top of those before it; cards make the BF16 plan's tokens a day": "各项变化依次叠加；卡数按 BF16 方案每天的 token 计",
}  # fmt: skip

_FLEET = {
    "The published steps sum to {q_a} node-hours, {q_b} nodes on average and {q_c}; with the stated income of {q_d} the margin is {q_e}. The rounded token counts at list price make {q_f}.": "公布的各时段合计 {q_a} 节点小时，平均 {q_b} 个节点，{q_c}；按公布收入 {q_d}，利润率 {q_e}。取整后的 token 数按标价为 {q_f}。",
    "{w_phase} on {o_chip}: at most {q_a} units of {q_b} nodes; kernel path {q_c} tokens/s a card × {q_d} kept in production = {q_e} tokens/s a unit; {q_f} per card and hour": "{o_chip} 上的{w_phase}：至多 {q_a} 个单元，每单元 {q_b} 个节点；内核路径每卡 {q_c} token/s × 生产中保留 {q_d} = 每单元 {q_e} token/s；每卡每小时 {q_f}",
    "{w_phase}: over target {q_a} of the day, at most {q_b} of capacity": "{w_phase}：一天中 {q_a} 的时间超过目标，最高为容量的 {q_b}",
    "kept in production: what all units carry in the peak hour over the operator's profile of the same kernels": "生产中保留：全部单元在峰值小时的承载与运营方同一内核剖析之比",
    "policy: target {q_a}, every {q_b}, {q_c} ahead, hold {q_d}, hysteresis {q_e}": "策略：目标 {q_a}，每 {q_b} 一次，提前 {q_c}，保持 {q_d}，滞回 {q_e}",
    "policy: target {q_a}, every {q_b}, {q_c} behind, hold {q_d}, hysteresis {q_e}": "策略：目标 {q_a}，每 {q_b} 一次，滞后 {q_c}，保持 {q_d}，滞回 {q_e}",
    "a cache of {q_a} keeps blocks for {q_b} and finds {q_c} of input tokens; how soon prefixes come back is that of {o_trace}, an hour long (grade D); pools scale apart": "{q_a} 的缓存可保留块 {q_b}，命中输入 token 的 {q_c}；前缀复现的快慢取自 {o_trace}（一小时，D 级）；各池分别扩缩容",
    "from {q_a} to {q_b} o'clock tokens bring {q_c} of the list price, and {q_d} of the other hours' load moves there": "{q_a} 点到 {q_b} 点 token 按标价的 {q_c} 计，其他时段负载的 {q_d} 移到此时",
    "request level: one group of the fleet, {q_a} requests, every hour played for {q_b}; exponential lengths with the day's own means; Poisson arrivals; the cached share of every prompt is found; prefill units by their rate": "请求级：集群的一组，{q_a} 个请求，每小时播放 {q_b}；长度按当日均值呈指数分布；泊松到达；每个提示的缓存部分都命中；预填充单元按其速率",
}  # fmt: skip

_SEARCH = {
    "{q_a} plans costed, {q_b} feasible, {q_c} on the frontier.": "计价 {q_a} 个方案，{q_b} 个可行，{q_c} 个在前沿上。",
    "no plan is feasible; most ({q_n}) fell out because: {w_reason}": "没有可行方案；多数（{q_n}）因此落选：{w_reason}",
    "no unit is feasible; the last fell out because: {w_reason}": "没有可行单元；最后的因此落选：{w_reason}",
    "No plan meets the constraints; the reasons are below.": "没有方案满足限制；原因见下。",
    "Best {w_what}: {q_a} with {c_plan}.": "最佳{w_what}：{q_a}，方案 {c_plan}。",
    "the grid is in closed form; played task by task the best plan takes {q_a} a step": "网格按闭式解；逐任务播放时最佳方案每步 {q_a}",
    "{q_a} of {q_b} plans, evenly spread": "{q_b} 个方案中的 {q_a} 个，均匀选取",
    "{q_a} units costed, {q_b} feasible.": "计价 {q_a} 个单元，{q_b} 个可行。",
    "No deployment meets the constraints; the reasons are below.": "没有部署满足限制；原因见下。",
    "Cheapest (simulated): {q_n} cards, {q_a}, {q_b} of output: {u_units}": "最便宜（经仿真）：{q_n} 张卡，{q_a}，输出 {q_b}：{u_units}",
    "Cheapest (closed form): {q_n} cards, {q_a}, {q_b} of output: {u_units}": "最便宜（闭式解）：{q_n} 张卡，{q_a}，输出 {q_b}：{u_units}",
    "Fastest: TPOT {q_a} for {q_b}: {u_units}": "最快：TPOT {q_a}，{q_b}：{u_units}",
    "The API would take {q_a} for these requests; the deployment costs less, and breaks even at {q_b} requests/s: {q_c} of the load, {q_d} of what it lets through.": "这些请求用 API 需 {q_a}；此部署更便宜，盈亏平衡在每秒 {q_b} 个请求：为负载的 {q_c}，为其通过量的 {q_d}。",
    "The API would take {q_a} for these requests; the deployment costs more, and breaks even at {q_b} requests/s: {q_c} of the load, {q_d} of what it lets through.": "这些请求用 API 需 {q_a}；此部署更贵，盈亏平衡在每秒 {q_b} 个请求：为负载的 {q_c}，为其通过量的 {q_d}。",
    "No load up to four times this one is cheaper on hardware of one's own.": "直到四倍负载，自有硬件都不更便宜。",
    "With the deployment that is cheapest there, hardware of one's own pays from {q_a} requests/s on.": "换用各负载下最便宜的部署，自有硬件从每秒 {q_a} 个请求起划算。",
    "{o_chip} {q_rate} ({w_basis}, {o_grade})": "{o_chip} {q_rate}（{w_basis}，{o_grade}）", "{o_chip} rental": "{o_chip} 租用",
    "{o_chip} rental 3yr": "{o_chip} 三年期租用", "{o_chip} rental 1yr index": "{o_chip} 一年期租用指数", "{o_chip} rental ondemand": "{o_chip} 按需租用",
    "{o_chip} rental ondemand median": "{o_chip} 按需租用中位数", "1-year rental, index": "一年期租用指数", "on demand, median": "按需租用中位数",
    "on demand, Lambda": "Lambda 按需", "on demand, TensorWave": "TensorWave 按需", "cloud rental in China": "中国云租用",
    "{o_chip} amortised": "{o_chip} 摊销", "3-year rental": "三年期租用", "card and power only": "仅卡与电力", "leasing, DeepSeek assumption": "租用，DeepSeek 的假设",
    "Per card and hour: {m_prices}.": "每卡每小时：{m_prices}。",
    "These prices are of different kinds ({m_kinds}): give --price ID=RATE,… to compare like with like.": "这些价格口径不同（{m_kinds}）：请在“单卡价格”按 id=价格 填写，以同口径比较。",
    "Poisson arrivals, lengths within 10 % of those asked; units are added until {q_a} of requests meet both targets": "泊松到达，长度在设定值上下 10 % 之内；增加单元直到 {q_a} 的请求满足两个目标",
    "costs {q_a} times the cheapest": "成本为最便宜者的 {q_a} 倍",
    "Bought for {q_a} requests/s, the deployment pays off from {q_b} requests/s on, {q_c} of its load.": "按每秒 {q_a} 个请求购置，此部署从每秒 {q_b} 个请求起划算，为其负载的 {q_c}。",
    "With what is cheapest for each load, own cards pay from {q_a} requests/s on.": "各负载取最便宜的部署，自有卡从每秒 {q_a} 个请求起划算。",
    "Cards are whole units paid for whether used or not; each carries what it carries at the load asked about.": "卡以整单元计，无论是否使用都付费；每单元的承载量取自所问的负载。",
    "The API is cheaper at every load up to {q_a} requests/s.": "直到每秒 {q_a} 个请求，API 都更便宜。",
    "With no more units than a load needs, own cards first match the API at {q_a} requests/s.": "单元数随负载取最少时，自有卡在每秒 {q_a} 个请求时首次与 API 持平。",
    "Up to {q_a} requests/s a new unit can still make the API cheaper for a while.": "直到每秒 {q_a} 个请求，新增单元仍可能使 API 一时更便宜。",
    "{u_units}": "{u_units}", "{q_x} the best": "为最佳的 {q_x}", "{q_x} the best: {l_parts}": "为最佳的 {q_x}：{l_parts}",
    "holds the best": "含最佳方案", "overlap {o_v}": "通信重叠 {o_v}", "precision {o_v}": "精度 {o_v}", "recompute {o_v}": "重计算 {o_v}",
    "schedule {o_v}": "调度 {o_v}", "micro batch {o_v}": "微批 {o_v}", "does not fit in memory": "内存放不下",
    "does not fit in memory ({w_term} largest)": "内存放不下（{w_term}最大）", "{o_a} does not divide {o_b}": "{o_a} 不能整除 {o_b}",
    "{o_a} × {o_b} does not divide {o_c}": "{o_a} × {o_b} 不能整除 {o_c}", "{o_a} does not divide {o_b} / {o_c}": "{o_a} 不能整除 {o_b} / {o_c}",
    "too few requests for two-batch": "请求太少，不足以分两批重叠", "vpp without interleaving": "有虚拟级数而无交错调度",
    "pp × vpp exceeds layers": "pp × vpp 超过层数", "micro-batches not a multiple of pp": "微批数不是 pp 的倍数", "odd pp under DualPipe": "DualPipe 下 pp 为奇数",
    "too few micro-batches for DualPipe": "微批太少，不够 DualPipe", "holds several replicas: a smaller unit does the same": "含多个副本：更小的单元即可",
    "experts do not spread evenly over ep": "专家不能均匀分到 ep", "misses the {o_target} target": "未达到 {o_target} 目标", "more than max_gpus": "超过卡数上限",
    "Cards for a load (closed form)": "各负载所需卡数（闭式解）", "together": "合并", "pools": "分池", "full": "满载率", "API USD/h": "API 美元/小时",
    "From {q_a} requests/s on they are always cheaper.": "从每秒 {q_a} 个请求起一直更便宜。",
}  # fmt: skip

_LAUNCH = {
    "$MODEL: the checkpoint of {o_model} in {o_format}": "$MODEL：{o_model} 的 {o_format} 检查点",
    "$HEAD: address of the first node; one command a node, in this order": "$HEAD：首个节点的地址；每节点一条命令，按此顺序",
    "{q_n} of these behind a router": "路由之后共 {q_n} 份", "releases before {q_v}: {c_options}": "{q_v} 之前的版本：{c_options}",
    "overlap {o_v}: this engine has no option for it in this layout": "通信重叠 {o_v}：此引擎在此布局下没有对应选项",
    "overlap {o_v}: TensorRT-LLM has no option for it": "通信重叠 {o_v}：TensorRT-LLM 没有对应选项",
    "free_gpu_memory_fraction is of the memory that weights leave, not of all of it": "free_gpu_memory_fraction 是权重之外剩余内存的占比，而非全部内存",
}  # fmt: skip

_REFUSALS = {
    "does not fit: {q_a} needed on each rank of {o_chip}, {q_b} there; the largest term is {w_term} with {q_c}; it fits with {c_how}": "放不下：{o_chip} 每 rank 需 {q_a}，只有 {q_b}；最大的一项是{w_term}（{q_c}）；取 {c_how} 即可放下",
}  # fmt: skip

TEMPLATES: dict[str, str] = (
    _TITLES | _CHARTS | _SERVING | _SIMULATION | _TRAINING | _FLEET | _SEARCH | _LAUNCH | _REFUSALS
)
