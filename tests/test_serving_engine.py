"""The serving engine against queueing formulas, Little's law, conservation, and a run without macro-steps."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from costsim.errors import BadInput
from costsim.serving import replica as replica_module
from costsim.serving.arrivals import closed_loop, open_loop
from costsim.serving.engine import Engine
from costsim.serving.ledger import REFUSED, TOO_LONG, WAITED
from costsim.serving.outcome import Outcome
from costsim.serving.policy import Policy
from costsim.serving.request import Requests
from costsim.serving.simulation import Deployment, Pool, simulate
from costsim.serving.timer import ConstantTimer, TableTimer, curve, surface

TIMER = TableTimer(
    decode_rank=curve([1, 64, 512], [0.010, 0.014, 0.030]),
    decode_shared=curve([1, 64, 512], [0.001, 0.004, 0.010]),
    prefill_rank=curve([1, 1024, 16384], [0.010, 0.030, 0.400]),
    prefill_shared=curve([1, 1024, 16384], [0.001, 0.010, 0.080]),
    decode_attention=surface([1, 64, 512], [1, 4096, 65536], [[0, 4e-5, 7e-4], [0, 2e-3, 4e-2], [0, 2e-2, 3e-1]]),
    prefill_attention=surface([1, 4096], [0, 65536], [[0, 1e-4], [8e-3, 2e-1]]),
)
POLICIES = (
    Policy(order="mixed", token_budget=2048, block=16),
    Policy(order="prefill-first", token_budget=8192, reserve=0.3, block=1),
    Policy(order="mixed", chunked=False, token_budget=4096, reserve=1.0, block=32),
)


def one(policy: Policy, kv_tokens: int = 10**7, ranks: int = 1, **engine: float) -> Deployment:
    return Deployment((Pool(Engine(TIMER, policy, kv_tokens, ranks, **engine)),))  # type: ignore[arg-type]


def mixed_load(count: int, rate: float, seed: int = 1) -> Requests:
    return open_loop(count, rate, 1500, 300, ratio=0.1, cv=1.5, seed=seed)


@pytest.mark.parametrize("policy", POLICIES, ids=["vllm-like", "sglang-like", "trtllm-like"])
@pytest.mark.parametrize("ranks", [1, 4])
def test_macro_steps_equal_single_iterations(policy: Policy, ranks: int, monkeypatch: pytest.MonkeyPatch) -> None:
    load, tight = mixed_load(200, 6.0), 30_000
    fast = simulate(one(policy, tight, ranks), load)
    monkeypatch.setattr(replica_module, "KV_GROWTH", 0.0)  # one iteration a step
    slow = simulate(one(policy, tight, ranks), load)
    assert fast.iterations == slow.iterations
    np.testing.assert_allclose(fast.finish_s, slow.finish_s, rtol=2e-3)
    np.testing.assert_allclose(fast.first_s, slow.first_s, rtol=2e-3)


def test_md1_queue() -> None:
    """One server, deterministic service: mean wait = ρ·s / (2(1 − ρ)) [Pollaczek–Khinchine]."""
    service, rho, n = 0.1, 0.7, 60_000
    policy = Policy(order="prefill-first", token_budget=100, chunked=False, max_running=1, block=1)
    engine = Engine(ConstantTimer(1.0, service / 100), policy, 10**6)
    load = open_loop(n, rho / service, 100, 1, seed=3)
    out = simulate(Deployment((Pool(engine),)), load)
    wait = float(np.mean(out.ttft_s)) - service
    assert wait == pytest.approx(rho * service / (2 * (1 - rho)), rel=0.02)


def test_mm1_queue() -> None:
    """Exponential service (geometric prompt lengths): mean time in system = s / (1 − ρ)."""
    rho, mean_tokens, each, n = 0.6, 2000, 1e-4, 150_000
    rng = np.random.default_rng(5)
    isl = np.maximum(np.round(rng.exponential(mean_tokens, n)), 1).astype(np.int64)
    arrivals = np.cumsum(rng.exponential(mean_tokens * each / rho, n))
    policy = Policy(order="prefill-first", token_budget=10, chunked=False, max_running=1, block=1)
    out = simulate(
        Deployment((Pool(Engine(ConstantTimer(1.0, each), policy, 10**7)),)),
        Requests(arrivals, isl, np.ones(n, dtype=np.int64)),
    )
    assert float(np.mean(out.ttft_s)) == pytest.approx(mean_tokens * each / (1 - rho), rel=0.02)


@pytest.mark.parametrize("policy", POLICIES, ids=["vllm-like", "sglang-like", "trtllm-like"])
def test_littles_law_in_a_closed_loop(policy: Policy) -> None:
    """N = X·T: with N in flight throughout, completions a second times mean latency is N."""
    out = simulate(one(policy), closed_loop(3200, 1000, 100, 0.5), concurrency=32)
    steady = slice(320, 2880)
    window = float(out.finish_s[steady].max() - out.finish_s[steady].min())
    rate = 2560 / window
    assert rate * float(np.mean(out.e2e_s[steady])) == pytest.approx(32, rel=0.03)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    rate=st.floats(0.2, 50.0),
    kv=st.integers(3500, 60_000),
    ranks=st.integers(1, 3),
    which=st.integers(0, 2),
    kept=st.sampled_from([1.0, 1.7]),
)
def test_conservation(seed: int, rate: float, kv: int, ranks: int, which: int, kept: float) -> None:
    """Whatever happens, each request ends once, in order, with its tokens; nothing stays behind; time adds up."""
    load = mixed_load(60, rate, seed)
    out = simulate(one(POLICIES[which], kv, ranks, tokens_per_step=kept, verified=2.0), load)
    assert np.all(out.aborted == 0)
    assert np.all(out.finished)
    assert np.all(out.admitted_s >= out.arrival_s)
    assert np.all(out.first_s > out.admitted_s)
    assert np.all(out.finish_s >= out.first_s)
    stats = out.statistics[0]
    assert stats.output_tokens >= out.osl.sum() - 1e-6
    again = out.preemptions.sum()
    if not again:
        assert stats.output_tokens == pytest.approx(out.osl.sum())
        assert stats.prompt_tokens == out.isl.sum()
    else:
        assert stats.prompt_tokens > out.isl.sum()
    assert stats.busy_s <= out.end_s * (1 + 1e-9)
    if which == 2:
        assert not again, "an engine that reserves whole answers never preempts"


def test_equal_input_equal_output() -> None:
    load = mixed_load(500, 20.0)
    first, second = (simulate(one(POLICIES[0], 20_000), load) for _ in range(2))
    np.testing.assert_array_equal(first.finish_s, second.finish_s)


def test_latency_rises_with_load() -> None:
    means = []
    for rate in (1.0, 4.0, 16.0, 64.0):
        out = simulate(one(POLICIES[0]), mixed_load(1500, rate))
        means.append(float(np.mean(out.e2e_s)))
    assert means == sorted(means)


def test_prefill_first_stalls_decoding_and_mixed_does_not() -> None:
    load = mixed_load(600, 8.0)
    stalls = [simulate(one(policy), load).itl_s([0.99])[0] for policy in (POLICIES[1], POLICIES[0])]
    assert stalls[0] > 1.5 * stalls[1]


def test_disaggregation_hands_over_once_and_decodes_without_stalls() -> None:
    policy = POLICIES[1]
    pools = (
        Pool(Engine(TIMER, policy, 10**6, role="prefill"), 2),
        Pool(Engine(TIMER, policy, 10**6, role="decode"), 1),
    )
    load = mixed_load(600, 8.0)
    out = simulate(Deployment(pools, lambda tokens: 1e-5 * tokens), load)
    assert np.all(out.finished)
    assert sum(s.prompt_tokens for s in out.statistics[:2]) == load.isl.sum()
    assert out.statistics[2].prompt_tokens == 0
    shared = simulate(one(policy), load)
    assert out.itl_s([0.99])[0] < shared.itl_s([0.99])[0]


def test_prefix_cache_saves_prompt_tokens() -> None:
    n = 200
    blocks = [[1, 2, 3, 1000 + i] for i in range(n)]
    load = Requests(
        np.arange(n) * 0.5, np.full(n, 4 * 512), np.full(n, 20), blocks=blocks, block_tokens=512
    )  # fmt: skip
    plain = Deployment((Pool(Engine(TIMER, POLICIES[0], 10**6)),))
    cached = Deployment((replace(plain.pools[0], prefix_cache=True),))
    a, b = simulate(plain, load), simulate(cached, load)
    assert a.cached.sum() == 0
    assert b.cached[1:].tolist() == [3 * 512.0] * (n - 1), "the first request fills the cache for all that follow"
    assert b.statistics[0].prompt_tokens == load.isl.sum() - b.cached.sum()
    assert np.mean(b.ttft_s) < np.mean(a.ttft_s)


def families(n: int, kinds: int, gap_s: float, seed: int = 0) -> Requests:
    """Requests of a few families that share six blocks, and have one of their own."""
    family = np.random.default_rng(seed).integers(0, kinds, n)
    blocks = [[int(f) * 10 + j for j in range(6)] + [10_000 + i] for i, f in enumerate(family)]
    return Requests(np.arange(n) * gap_s, np.full(n, 7 * 512 + 100), np.full(n, 200), blocks=blocks)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6), kv=st.integers(9_000, 60_000), ranks=st.integers(1, 3), host=st.sampled_from([0, 30]),
    kinds=st.integers(1, 20), router=st.sampled_from(["least-loaded", "cache-aware"]),
)  # fmt: skip
def test_cached_blocks_are_conserved(seed: int, kv: int, ranks: int, host: int, kinds: int, router: str) -> None:
    """A prompt token is computed or found, never both; memory holds what runs, shared blocks once."""
    load = families(80, kinds, 0.05, seed)
    deployment = Deployment((Pool(Engine(TIMER, POLICIES[0], kv, ranks), 2, router, True, host),))
    out = simulate(deployment, load)
    assert out.finished.all()
    stats = out.statistics
    if not out.preemptions.any():
        assert sum(s.prompt_tokens for s in stats) == load.isl.sum() - out.cached.sum()
    assert 0 < max(s.kv_peak for s in stats) <= 1 + 1e-9
    assert np.all(out.cached % 512 == 0)
    assert np.all(out.cached < load.isl)


def test_requests_that_share_a_prefix_share_its_memory() -> None:
    """Sixteen requests of 3,684 tokens do not fit beside each other; with six of seven blocks shared they do."""
    load = families(16, 1, 0.2)
    apart, shared = (
        simulate(Deployment((Pool(Engine(TIMER, POLICIES[1], 30_000), prefix_cache=cached),)), load)
        for cached in (False, True)
    )
    assert np.max(apart.admitted_s - apart.arrival_s) > 4 * np.max(shared.admitted_s - shared.arrival_s)
    assert shared.statistics[0].kv_peak < apart.statistics[0].kv_peak


def test_each_attention_rank_has_a_cache_of_its_own() -> None:
    """Four ranks that requests are spread over compute a prefix four times; a router that knows them, once."""
    load = families(40, 1, 3.0)
    load = replace(load, blocks=[[*b[:6]] for b in load.blocks or []])
    misses = {
        name: int((simulate(Deployment((Pool(Engine(TIMER, POLICIES[0], 10**6, 4), 1, name, True),)), load).cached
                   == 0).sum())
        for name in ("least-loaded", "cache-aware")
    }  # fmt: skip
    crowd = replace(load, arrival_s=np.arange(40) * 0.3)
    spread = simulate(Deployment((Pool(Engine(TIMER, POLICIES[0], 10**6, 4), 1, "least-loaded", True),)), crowd)
    assert misses == {"least-loaded": 1, "cache-aware": 1}, "one at a time, all on the first rank"
    assert 2 <= int((spread.cached == 0).sum()) <= 4


@pytest.mark.parametrize("blocks", [3, 10, 40, 200])
def test_hits_are_those_of_a_plain_lru(blocks: int) -> None:
    """One request at a time: the cache is the last ``blocks`` blocks used, a prompt's beginning before its end."""
    rng = np.random.default_rng(1)
    n, size = 300, 64
    prompts = [[int(f) * 100 + j for j in range(int(rng.integers(1, 12)))] for f in rng.zipf(1.4, n) % 40]
    isl = np.array([len(p) * size + 7 for p in prompts])
    kv = blocks * size + 2 * 12 * size  # the running request's own room comes first
    policy = replace(POLICIES[1], max_running=1, reserve=0.0, block=1)
    load = Requests(np.arange(n) * 100.0, isl, np.full(n, 2), blocks=prompts, block_tokens=size)
    out = simulate(Deployment((Pool(Engine(TIMER, policy, kv), prefix_cache=True),)), load)
    kept: list[int] = []
    for prompt, tokens, found in zip(prompts, isl, out.cached, strict=True):
        hit = next((i for i, block in enumerate(prompt) if block not in kept), len(prompt))
        assert found == hit * size
        room = (kv - (int(tokens) + 1)) // size  # beside its prompt and its answer's first token
        idle = [b for b in kept if b not in prompt]
        kept = idle[max(0, len(idle) - room) :] + prompt[::-1]
        kept = kept[-(kv // size) :]


def test_cache_aware_router_keeps_prefixes_together() -> None:
    load = families(400, 8, 0.2)
    small = Engine(TIMER, POLICIES[0], 14 * 512)
    hits = {
        name: simulate(Deployment((Pool(small, 4, name, prefix_cache=True),)), load).cached.sum()
        for name in ("round-robin", "cache-aware")
    }
    assert hits["cache-aware"] > 1.2 * hits["round-robin"]


def test_requests_that_cannot_be_served_are_counted_not_lost() -> None:
    load = Requests(np.zeros(3), np.array([100, 5000, 100]), np.array([10, 10, 10]))
    out = simulate(one(POLICIES[0], 2000), load)
    assert out.aborted.tolist() == [0, TOO_LONG, 0]
    assert math.isnan(out.first_s[1])
    impatient = replace(POLICIES[1], timeout_s=0.05, max_running=1)
    crowd = Requests(np.zeros(50), np.full(50, 1000), np.full(50, 50))
    out = simulate(one(impatient), crowd)
    assert (out.aborted == WAITED).sum() > 40
    assert out.finished.sum() + (out.aborted > 0).sum() == 50
    looped = simulate(one(impatient), closed_loop(300, 1000, 50), concurrency=50)
    assert looped.finished.sum() + (looped.aborted > 0).sum() == 300, "a client that gave up sends its next request"


def test_priority_goes_first() -> None:
    n = 40
    urgent = np.where(np.arange(n) % 4 == 0, 0, 1)
    load = Requests(np.zeros(n), np.full(n, 2000), np.full(n, 50), priority=urgent)
    out: Outcome = simulate(one(replace(POLICIES[1], max_running=4)), load)
    assert np.mean(out.ttft_s[urgent == 0]) < np.mean(out.ttft_s[urgent == 1])


def test_memory_is_taken_from_the_least_important() -> None:
    n = 60
    urgent = np.where(np.arange(n) % 3 == 0, 0, 1)
    load = Requests(np.arange(n) * 0.05, np.full(n, 1000), np.full(n, 400), priority=urgent)
    out = simulate(one(POLICIES[0], 30_000), load)
    assert out.finished.all()
    assert out.preemptions[urgent == 1].sum() > 10
    assert out.preemptions[urgent == 0].sum() == 0


def test_ranks_even_in_kv_step_faster_than_even_in_requests() -> None:
    """Prompts of 200 and of 20,000 tokens on eight ranks behind a barrier: where attention reads much KV, the fullest
    rank sets the pace."""

    class Reading(ConstantTimer):
        def attend_decode(self, batch: float, kv: float) -> float:
            return 1e-7 * kv

    rng = np.random.default_rng(2)
    n = 400
    isl = np.where(rng.random(n) < 0.2, 20_000, 200)
    load = Requests(np.arange(n) * 0.02, isl, np.full(n, 300))
    pool = Pool(Engine(TIMER, replace(POLICIES[1], reserve=0.0), 10**6, role="prefill"), 8)
    by = {
        spread: simulate(
            Deployment((pool, Pool(Engine(Reading(0.01), Policy(spread=spread), 10**6, 8, role="decode")))), load
        )
        for spread in ("requests", "kv")
    }
    assert np.mean(by["kv"].tpot_s) < 0.97 * np.mean(by["requests"].tpot_s)
    assert by["kv"].finished.all()


def test_a_full_queue_refuses_and_the_rest_is_served() -> None:
    load = Requests(np.zeros(50), np.full(50, 1000), np.full(50, 50))
    out = simulate(one(replace(POLICIES[1], max_running=1, max_waiting=5)), load)
    assert (out.aborted == REFUSED).sum() == 50 - out.finished.sum() >= 40
    assert np.all(out.aborted_s[out.aborted == REFUSED] == 0.0)


def test_tokens_kept_free_for_running_requests_spare_preemptions() -> None:
    load = Requests(np.arange(200) * 0.01, np.full(200, 1000), np.full(200, 400))
    pools = [
        (Pool(Engine(TIMER, POLICIES[1], 10**6, role="prefill"), 4),
         Pool(Engine(TIMER, Policy(reserve_tokens=kept), 40_000, role="decode")))
        for kept in (0, 512)
    ]  # fmt: skip
    greedy, careful = (simulate(Deployment(pair), load) for pair in pools)
    assert greedy.preemptions.sum() > 50
    assert careful.preemptions.sum() == 0
    assert careful.finished.all()
    assert np.quantile(careful.tpot_s, 0.99) < 0.7 * np.quantile(greedy.tpot_s, 0.99)


@pytest.mark.parametrize(
    ("what", "words"),
    [
        (lambda: Policy(order="fifo"), "order"),
        (lambda: Policy(reserve=2.0), "reserve"),
        (lambda: Policy(token_budget=0), "token_budget"),
        (lambda: open_loop(10, 0.0, 10, 10), "rate"),
        (lambda: open_loop(10, 1.0, 10, 10, cv=-1), "cv"),
        (lambda: closed_loop(0, 10, 10), "requests"),
        (lambda: Requests(np.zeros(2), np.array([1, 0]), np.array([1, 1])), "isl"),
        (lambda: Requests(np.array([1.0, 0.0]), np.array([1, 1]), np.array([1, 1])), "ascending"),
        (lambda: simulate(one(POLICIES[0]), closed_loop(5, 10, 10), concurrency=0), "concurrency"),
    ],
)
def test_bad_input_is_named(what, words: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(BadInput, match=words):
        what()


# -- prompts held back, arrivals looked at now and then -----------------------------------------------------------

BALANCED = Policy(order="mixed", chunked=False, token_budget=4096, reserve=1.0, block=32, ahead=True, balance=20)
POLLED = Policy(order="prefill-first", token_budget=8192, reserve=0.3, block=1, ahead=True, poll=10)


@pytest.mark.parametrize(("policy", "ranks"), [(BALANCED, 4), (POLLED, 1)], ids=["balanced", "polled"])
def test_held_prompts_in_macro_steps_equal_single_iterations(
    policy: Policy, ranks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = mixed_load(200, 6.0)
    fast = simulate(one(policy, 30_000, ranks), load)
    monkeypatch.setattr(replica_module, "KV_GROWTH", 0.0)
    slow = simulate(one(policy, 30_000, ranks), load)
    assert fast.finished.all()
    assert fast.iterations == pytest.approx(slow.iterations, rel=0.01)
    assert np.mean(fast.ttft_s) == pytest.approx(np.mean(slow.ttft_s), rel=0.05)
    assert np.mean(fast.tpot_s) == pytest.approx(np.mean(slow.tpot_s), rel=0.01)


def test_a_prompt_waits_for_the_other_ranks_or_out_of_patience() -> None:
    """Four ranks decode at 10 ms an iteration; a prompt that comes alone meets a count of 20 at any value."""
    timer = ConstantTimer(0.010, 1e-6)
    long = [(0.0, 10, 4000)] * 4
    alone = [(1.0 + 1.37 * i, 10, 40) for i in range(20)]
    arrival, isl, osl = (np.array(column) for column in zip(*long, *alone, strict=True))
    load = Requests(arrival.astype(float), isl.astype(np.int64), osl.astype(np.int64))
    waits = {}
    for balance in (0, 20):
        policy = Policy(reserve=1.0, ahead=True, balance=balance)
        outcome = simulate(Deployment((Pool(Engine(timer, policy, 10**6, 4)),)), load)
        waits[balance] = outcome.ttft_s[4:]
    assert np.max(waits[0]) < 0.025
    assert 0.05 < np.mean(waits[20]) < 0.20
    assert np.max(waits[20]) < 0.025 + 20 * 0.010


def test_an_arrival_waits_half_a_polling_interval() -> None:
    timer = ConstantTimer(0.010, 1e-6)
    rng = np.random.default_rng(1)
    gaps = np.cumsum(rng.uniform(0.5, 1.5, 40))
    arrival = np.concatenate([[0.0], gaps])
    load = Requests(arrival, np.full(41, 10), np.concatenate([[5000], np.full(40, 20)]))
    waits = {}
    for poll in (1, 30):
        outcome = simulate(Deployment((Pool(Engine(timer, Policy(ahead=True, poll=poll), 10**6)),)), load)
        waits[poll] = float(np.mean(outcome.ttft_s[1:]))
    assert waits[30] - waits[1] == pytest.approx(0.5 * 29 * 0.010, rel=0.35)
