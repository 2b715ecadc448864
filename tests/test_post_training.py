"""Post-training: laws of length, conserved tokens, limits, GRPO against PPO by hand and by another implementation."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

import costsim
from costsim.errors import BadInput, DoesNotDivide, DoesNotFit, UnknownName
from costsim.predict.phases import setting_for
from costsim.predict.post.framework import framework
from costsim.predict.post.lengths import clipped_mean, length_law, some_left, square_mean
from costsim.predict.post.passes import Samples, forward_pass_s, update
from costsim.predict.post.rollout import Engine, engine_cards, roll_out, room
from costsim.predict.post.step import is_split, job_for, memory_of, time_step
from costsim.spec.cluster import standard_cluster
from costsim.spec.plan import DecodeLoad, ServingPlan, TrainingPlan
from costsim.spec.post_training import FRAMEWORKS, FineTuningLoad, PostTrainingLoad, PostTrainingPlan

V3, H800 = costsim.load_model("deepseek-v3"), costsim.load_accelerator("h800-sxm")
SMALL, H100 = costsim.load_model("qwen2.5-7b"), costsim.load_accelerator("h100-sxm")
PLAN = PostTrainingPlan(
    8, TrainingPlan(8, precision="bf16", recompute="full"), ServingPlan(8, precision="bf16"), micro_tokens=8192
)
LOAD = PostTrainingLoad(prompts=64, group=16, response_mean=1000, response_max=8192, updates=2, steps=100)


def ask(plan: PostTrainingPlan = PLAN, load: PostTrainingLoad | FineTuningLoad = LOAD) -> costsim.Report:
    return costsim.predict_post_training(SMALL, H100, plan, load)


def split(schedule: str = "synchronous", generating: int = 4) -> PostTrainingPlan:
    return replace(
        PLAN,
        schedule=schedule,
        train=replace(PLAN.train, gpus=8 - generating),
        rollout=ServingPlan(generating, precision="bf16"),
    )


# --- how long answers get ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["lognormal", "exponential"])
@pytest.mark.parametrize(("mean", "most"), [(701, 1431), (3203, 3991), (1960, 9632), (5000, 32768), (50, 65536)])
def test_the_law_has_its_stated_mean_and_limit(kind: str, mean: float, most: float) -> None:
    """Against a million draws of numpy's own generators, cut at the limit."""
    law = length_law(kind, mean, most, 0.97)
    dice = np.random.default_rng(0)
    scale = float(law.scale)
    raw = (
        dice.exponential(scale, 1_000_000)
        if kind == "exponential"
        else scale * np.exp(0.97 * dice.standard_normal(1_000_000))
    )
    drawn = np.minimum(raw, most)
    assert drawn.mean() == pytest.approx(mean, rel=0.01)
    for t in (0.3 * mean, mean, 0.9 * most):
        assert float(law.survival(t)) == pytest.approx((drawn > t).mean(), abs=0.003)
    assert square_mean(law) == pytest.approx((drawn**2).mean(), rel=0.02)
    longest = drawn[:819_200].reshape(100, 8192).max(axis=1).mean()
    assert law.expected_max(8192) == pytest.approx(longest, rel=0.08)
    assert law.expected_max(8192) <= most * 1.001


def test_the_law_at_its_limits() -> None:
    fixed = length_law("lognormal", 100, 100, 0.97)
    assert fixed.survival(np.array([0.0, 99.9, 100.0, 101.0])).tolist() == [1.0, 1.0, 0.0, 0.0]
    assert fixed.expected_max(1) == pytest.approx(100) == fixed.expected_max(1e6)
    # Without a limit the log-normal's mean is exp(mu + sigma^2/2).
    assert float(clipped_mean("lognormal", 100.0, 0.5, 1e12)) == pytest.approx(100.0 * math.exp(0.125))
    assert float(some_left(np.array(0.5), 1)) == pytest.approx(0.5)
    law = length_law("exponential", np.array([100.0, 500.0]), 1000.0, 1.0)
    np.testing.assert_allclose(clipped_mean("exponential", law.scale, 1.0, 1000.0), [100.0, 500.0], rtol=1e-9)


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"mean": 2000.0}, "above response_max"), ({"sigma": 0.0}, "sigma"), ({"kind": "uniform"}, "not one of")],
)
def test_odd_laws_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        length_law(**{"kind": "lognormal", "mean": 100.0, "most": 1000.0, "sigma": 0.9, **changes})  # type: ignore[arg-type]


# --- rollout ----------------------------------------------------------------------------------------------------


def engine(gpus: int = 8, tp: int = 1, runtime: str = "tuned", prompt: float = 128.0) -> Engine:
    setting = setting_for(SMALL, H100, ServingPlan(gpus, tp=tp, precision="bf16"))
    return Engine(setting, framework(runtime), engine_cards(setting), prompt, 0.0, 0.0)


def test_answers_of_one_length_have_no_tail() -> None:
    """All of 512 tokens: 512 full steps at a context that grows; the same answer by summing decode steps."""
    one = engine()
    run = roll_out(one, length_law("lognormal", 512, 512, 0.97), samples=64, group=16)
    by_hand = sum(float(one.step_s(np.asarray(8.0), np.asarray(128.0 + t))[0]) for t in range(0, 512, 8)) * 8
    assert run.drain_s == pytest.approx(by_hand, rel=0.02)
    assert (run.bulk_s, run.tail_s, run.waves) == (0.0, 0.0, 1.0)
    assert run.longest == pytest.approx(512)


def test_tokens_are_conserved_with_and_without_waves() -> None:
    """An engine's request-steps add up to its answers' tokens: with a step of one second per request in flight."""

    class Unit(Engine):
        def step_s(self, active, context):  # type: ignore[no-untyped-def]
            return np.asarray(active, dtype=float), engine().step_s(np.asarray(1.0), np.asarray(100.0))[1]

    base = engine()
    unit = Unit(base.setting, base.frame, base.cards, base.prompt, 0.0, 0.0)
    law = length_law("lognormal", 1000, 8192, 0.97)
    for samples in (8 * 400, 8 * 4000):
        run = roll_out(unit, law, samples, 16)
        in_flight = (run.bulk_s + run.drain_s) * 8.0  # seconds are request-steps of one engine, there are 8
        assert in_flight == pytest.approx(samples * 1000, rel=0.02), samples
    assert run.waves > 1


def played(one: Engine, lengths: np.ndarray, slots: int) -> float:
    """Answer by answer: ``slots`` at a time, the next one starts where one has ended; seconds until all have."""
    waiting = list(lengths[::-1])
    running = np.array([waiting.pop() for _ in range(min(slots, len(lengths)))])
    age, spans = np.zeros(len(running)), []
    while len(running):
        left = running - age
        span = left.min()
        spans.append((span, len(running), one.prompt + age.mean() + span / 2))
        age = age + span
        done = running - age <= 1e-9
        fresh = np.array([waiting.pop() for _ in range(min(int(done.sum()), len(waiting)))])
        running = np.concatenate([running[~done], fresh])
        age = np.concatenate([age[~done], np.zeros(len(fresh))])
    seconds, active, context = np.array(spans).T
    return float(np.sum(seconds * one.step_s(active, context)[0]))


@pytest.mark.parametrize(("answers", "slots"), [(256, 256), (600, 200)])
def test_the_closed_form_agrees_with_playing_every_answer(
    answers: int, slots: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One engine; drawn lengths, with and without refilled slots, mean of a few draws."""
    monkeypatch.setattr("costsim.predict.post.rollout.room", lambda *_: float(slots))
    one = engine(gpus=1)
    law = length_law("lognormal", 800, 8192, 0.97)
    dice = np.random.default_rng(1)
    draws = [np.minimum(float(law.scale) * np.exp(0.97 * dice.standard_normal(answers)), 8192) for _ in range(12)]
    by_playing = float(np.mean([played(one, np.ceil(draw), slots) for draw in draws]))
    run = roll_out(one, law, answers, 16)
    assert run.bulk_s + run.drain_s == pytest.approx(by_playing, rel=0.06)


def test_a_small_cache_makes_waves() -> None:
    base = engine()
    law = length_law("lognormal", 4000, 32768, 0.97)
    slots = room(base.setting, 0.9, 128 + square_mean(law) / 8000)
    fits, waits = (roll_out(base, law, 8 * slots * share, 16) for share in (0.9, 3.0))
    assert fits.waves == 1.0
    assert waits.waves == pytest.approx(3.0, rel=0.01)
    assert waits.bulk_s > 0
    assert waits.concurrency == pytest.approx(8 * slots)


def test_a_limit_raises_the_rollout_and_groups_do_not() -> None:
    base = engine()
    seconds = [
        roll_out(base, length_law("lognormal", 800, most, 0.97), 1024, 16).total_s for most in (2048, 8192, 32768)
    ]
    assert seconds == sorted(seconds)
    a, b = (roll_out(base, length_law("lognormal", 800, 8192, 0.97), 1024, group) for group in (1, 16))
    assert a.prefill_s > b.prefill_s
    assert a.drain_s == b.drain_s


def test_the_rollout_never_beats_the_longest_answer_alone() -> None:
    """Decoding is serial: the longest answer at batch one is a floor."""
    base = engine()
    law = length_law("lognormal", 800, 8192, 0.97)
    run = roll_out(base, law, 1024, 16)
    alone = float(base.step_s(np.asarray(1.0), np.asarray(128.0))[0])
    assert run.drain_s >= law.expected_max(1024) * alone * 0.99
    # ... and not what every answer one after the other would take.
    assert run.drain_s < 1024 / 8 * 800 * alone


def test_eager_generation_is_bound_by_the_host() -> None:
    setting = setting_for(V3, costsim.load_accelerator("h20-96g"), ServingPlan(32, tp=32, precision="bf16"))
    graphs, eager = (
        Engine(setting, framework(name), engine_cards(setting), 128.0, 0.0, 0.0) for name in ("verl", "verl-eager")
    )
    fast, slow = (float(e.step_s(np.asarray(1.0), np.asarray(1000.0))[0]) for e in (graphs, eager))
    assert slow >= fast
    ops = sum(float(np.max(t.item.count)) for t in graphs.step_s(np.asarray(1.0), np.asarray(1000.0))[1].phase.ops)
    assert slow >= ops * framework("verl-eager").eager_op_s


# --- a step -----------------------------------------------------------------------------------------------------


def test_a_synchronous_step_is_the_sum_of_its_phases() -> None:
    report = ask()
    assert sum(line.time_s for line in report.breakdown) == pytest.approx(report["step_s"])
    assert report["response_tokens"] == 64 * 16 * 1000
    assert report["gpu_hours"] == pytest.approx(report["step_s"] * 8 / 3600 * 100 / 2)
    assert report["usd_per_step"] == pytest.approx(report["gpu_hours_per_step"] * 1.3)
    for metric in report.metrics.values():
        if metric.low is not None and metric.high is not None:
            assert metric.low <= metric.value <= metric.high


def test_one_step_off_takes_the_longer_side() -> None:
    behind, waits = ask(split("one-step-off")), ask(split())
    sync = behind["sync_s"]
    assert behind["step_s"] >= max(behind["rollout_s"], behind["update_s"] + behind["log_probs_s"])
    assert behind["step_s"] == pytest.approx(
        max(behind["rollout_s"], waits["step_s"] - waits["rollout_s"] - sync) + sync
    )
    assert behind["step_s"] < waits["step_s"]
    assert any(line.overlapped for line in behind.breakdown)
    shown = sum(line.time_s for line in behind.breakdown if not line.overlapped)
    assert shown == pytest.approx(behind["step_s"])


def test_more_work_never_takes_less_time() -> None:
    def step(**changes: float) -> float:
        return ask(load=replace(LOAD, **changes))["step_s"]  # type: ignore[arg-type]

    for name, values in (("prompts", (32, 64, 256)), ("response_mean", (500, 1000, 3000)), ("epochs", (1, 2)),
                         ("prompt_mean", (64, 1024)), ("updates", (1, 4, 16))):  # fmt: skip
        seconds = [step(**{name: value}) for value in values]
        assert seconds == sorted(seconds), name
    runtimes = {name: ask(replace(PLAN, framework=name))["step_s"] for name in FRAMEWORKS}
    assert min(runtimes, key=runtimes.get) == "tuned"  # type: ignore[arg-type]


def test_ppo_holds_and_trains_one_more_network() -> None:
    """By hand: the value model's weights, gradients and optimiser state are the policy's once more; its updates too."""
    tiny = costsim.load_model("qwen2.5-1.5b")
    grpo, ppo = (
        costsim.predict_post_training(tiny, H100, replace(PLAN, algorithm=name), LOAD) for name in ("grpo", "ppo")
    )
    policy = sum(grpo.memory[f"{kind}_bytes"] for kind in ("weights", "gradients", "optimizer"))
    assert grpo.memory["value_model_bytes"] == 0
    assert ppo.memory["value_model_bytes"] == pytest.approx(policy)
    assert ppo.memory["update_phase_bytes"] - grpo.memory["update_phase_bytes"] == pytest.approx(policy)
    # BF16 weights, FP32 gradients, FP32 master weights and two FP32 moments sharded over 8 ranks: 1.5437 G parameters,
    # and the tied table once more.
    assert policy == pytest.approx((1.5437e9 + 151936 * 1536) * (2 + 4 + 12 / 8), rel=0.01)
    assert ppo["update_s"] == pytest.approx(2 * grpo["update_s"])
    assert ppo["rollout_s"] == grpo["rollout_s"]
    values = [line for line in ppo.breakdown if line.name == "value estimates"]
    assert len(values) == 1
    assert values[0].time_s == pytest.approx(grpo["log_probs_s"] / 2)
    with pytest.raises(DoesNotFit, match="value model"):
        ask(replace(PLAN, algorithm="ppo"))  # 7B twice over does not fit eight cards without sharded gradients


def test_dapo_and_rloo_make_grpos_passes() -> None:
    assert {ask(replace(PLAN, algorithm=name))["step_s"] for name in ("grpo", "dapo", "rloo")} == {ask()["step_s"]}


def test_passes_as_the_runnable_model_makes_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """GRPO and PPO of the model package: passes over whole samples, and networks held, against our phases."""
    torch = pytest.importorskip("torch")
    import model
    from model import grpo as running
    from model.optimizer import AdamW

    torch.manual_seed(0)
    config = model.DeepSeekConfig(
        vocab=17, hidden=32, layers=2, dense_layers=1, intermediate=64, experts=8, top_k=2, expert_intermediate=32
    )
    policy, reference = model.DeepSeek(config), model.DeepSeek(config)
    calls: list[bool] = []
    whole = running.token_log_probs

    def counted(*args: object, **kwargs: object) -> object:
        calls.append(torch.is_grad_enabled())
        return whole(*args, **kwargs)

    monkeypatch.setattr(running, "token_log_probs", counted)
    settings = running.GRPO(group=2, max_new_tokens=3, epochs=2)
    rollout = running.roll_out(
        policy, reference, torch.ones(2, 4, dtype=torch.long), lambda _i, _t: 1.0, settings, eos=0
    )
    running.grpo_step(policy, AdamW(policy.parameters(), lr=1e-4, weight_decay=0.0), rollout, settings)
    forward, trained = calls.count(False), calls.count(True)
    lines = {line.name for line in ask().breakdown}
    assert forward == len(lines & {"old log-probabilities", "reference log-probabilities"}) == 2
    report = ask(load=replace(LOAD, epochs=2, updates=1))
    assert trained == settings.epochs == 2
    assert report["update_s"] == pytest.approx(2 * ask(load=replace(LOAD, epochs=1, updates=1))["update_s"])


def test_the_host_holds_what_it_is_given() -> None:
    card, host = ask(), ask(replace(PLAN, offload=1.0))
    assert host.memory["optimizer_bytes"] == 0
    assert host.memory["host_bytes"] - card.memory["host_bytes"] == pytest.approx(card.memory["optimizer_bytes"])
    assert host["update_s"] > card["update_s"]
    # [zero-offload]: 14.76 s for 10 G parameters with PyTorch's Adam, 2.57 s with CPU-Adam
    assert framework("verl").host_adam_s * 10 == pytest.approx(14.76, rel=0.01)
    assert framework("tuned").host_adam_s * 10 == pytest.approx(2.57, rel=0.01)


def test_weight_sync_is_a_gather_a_broadcast_or_a_reshard() -> None:
    weights = 2 * 7.6156e9
    assert ask(replace(PLAN, framework="verl"))["sync_s"] == pytest.approx(weights / 8.0e9, rel=0.001)
    one_node = replace(split(), framework="verl")
    assert ask(one_node)["sync_s"] < weights / 100e9
    assert ask()["sync_s"] == pytest.approx(weights / 450e9, rel=0.2)


def test_refits_of_the_runtime_they_were_fitted_on() -> None:
    """NeMo-RL v0.3: refit 5 s for Llama-3.1-8B and 14 s for 70B. [nemo-rl-70b-timing]"""
    frame = framework("nemo-rl")
    assert frame.sync_rate is not None
    for count, seconds in ((8.03e9, 5.0), (70.6e9, 14.0)):
        assert frame.sync_fixed_s + 2 * count / frame.sync_rate == pytest.approx(seconds, rel=0.02)


def test_a_forward_pass_is_a_third_of_training_without_recomputation() -> None:
    """Counting: F against F + 2F; training's kernels run at sustained clocks and sum gradients, so within a quarter."""
    cluster = standard_cluster(H100, 8)
    plan = replace(PLAN.train, recompute="none")
    samples = Samples(512, 1000.0, 1.2e6)
    one, device = update(SMALL, H100, plan, cluster, samples, 4096, 1)
    forward = forward_pass_s(SMALL, H100, plan, cluster, device, samples, 4096)
    assert forward == pytest.approx(float(one.step_s) / 3, rel=0.25)
    flop = 2 * 7.6e9 * samples.tokens
    assert forward > flop / (8 * 989e12)  # never faster than light


def test_a_reward_model_costs_a_pass_and_its_weights() -> None:
    judged = ask(replace(PLAN, reward_model="qwen2.5-7b"))
    plain = ask()
    assert judged["step_s"] - plain["step_s"] == pytest.approx(plain["log_probs_s"] / 2)
    assert judged.memory["reward_model_bytes"] == pytest.approx(2 * 7.6156e9 / 8, rel=0.001)
    assert ask(replace(PLAN, reference=False))["log_probs_s"] == pytest.approx(plain["log_probs_s"] / 2)


def test_drafts_shorten_the_tail() -> None:
    plan = PostTrainingPlan(
        512, TrainingPlan(512, pp=16, ep=32, cp=8, recompute="full"), ServingPlan(512, ep=64), framework="deepseek"
    )
    load = PostTrainingLoad(512, 16, 5000, 32768, updates=16)
    without, drafted = (
        costsim.predict_post_training(V3, H800, replace(plan, mtp_tokens=n, mtp_acceptance=a), load)
        for n, a in ((0, 0.0), (1, 0.85))
    )
    assert without["rollout_s"] / 1.85 < drafted["rollout_s"] < without["rollout_s"] * 0.75


# --- fine-tuning ------------------------------------------------------------------------------------------------


def test_fine_tuning_is_steps_of_training() -> None:
    tuning = FineTuningLoad(samples=10_000, tokens_mean=2000, tokens_max=8192, batch=64, epochs=3)
    report = ask(replace(PLAN, algorithm="sft", rollout=None), tuning)
    assert report["optimizer_steps"] == 10_000 * 3 / 64
    assert report["tokens"] == 10_000 * 3 * 2000
    assert report["gpu_hours"] == pytest.approx(report["step_s"] * report["optimizer_steps"] * 8 / 3600)
    taught = ask(replace(PLAN, algorithm="distill", rollout=None), replace(tuning, teacher_gpu_hours=5.0))
    assert taught["gpu_hours"] == pytest.approx(report["gpu_hours"] + 5.0)
    # 6·N FLOP a token, full recompute 8·N, never faster than light
    assert report["tokens_per_s_per_gpu"] < 989e12 / (8 * 7.0e9)


# --- what cannot be answered ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("plan", "load", "error", "message"),
    [
        (replace(PLAN, algorithm="dpo"), LOAD, BadInput, "algorithm: 'dpo'"),
        (replace(PLAN, algorithm="sft"), LOAD, BadInput, "needs samples"),
        (PLAN, FineTuningLoad(1e5, 500, 4096, 64), BadInput, "needs prompts"),
        (replace(PLAN, rollout=None), LOAD, BadInput, "needs a rollout layout"),
        (replace(PLAN, framework="trl"), LOAD, UnknownName, "unknown framework 'trl'"),
        (replace(PLAN, schedule="one-step-off"), LOAD, BadInput, "cards of its own"),
        (replace(PLAN, rollout=ServingPlan(6, precision="bf16")), LOAD, BadInput, "must each be all"),
        (replace(PLAN, offload=2.0), LOAD, BadInput, "offload = 2.0"),
        (replace(PLAN, train=replace(PLAN.train, tp=3)), LOAD, DoesNotDivide, "does not divide"),
        (replace(PLAN, train=replace(PLAN.train, precision="int4")), LOAD, BadInput, "precision"),
        (PLAN, replace(LOAD, response_mean=9000), BadInput, "above response_max"),
        (PLAN, replace(LOAD, prompts=0), BadInput, "prompts = 0"),
        (PLAN, replace(LOAD, group=math.nan), BadInput, "group = nan"),
        (PLAN, replace(LOAD, steps=-1), BadInput, "steps = -1"),
        (replace(PLAN, reward_model="gpt-9"), LOAD, UnknownName, "unknown model"),
    ],
)
def test_what_cannot_be_answered_is_one_line(
    plan: PostTrainingPlan, load: PostTrainingLoad | FineTuningLoad, error: type[BadInput], message: str
) -> None:
    with pytest.raises(error, match=message) as caught:
        ask(plan, load)
    assert "\n" not in str(caught.value)


def test_memory_that_is_not_there_is_refused_with_a_cure() -> None:
    with pytest.raises(DoesNotFit, match="update phase"):
        costsim.predict_post_training(
            costsim.load_model("llama-3.1-70b"),
            H100,
            replace(PLAN, rollout=ServingPlan(8, tp=8, precision="bf16")),
            LOAD,
        )
    with pytest.raises(DoesNotFit, match="generation needs"):
        costsim.predict_post_training(costsim.load_model("llama-3.1-70b"), H100, PLAN, LOAD)


def test_generation_memory_stays_within_its_share() -> None:
    job = job_for(SMALL, H100, PLAN, LOAD, standard_cluster(H100, 8))
    memory = memory_of(job, time_step(job, LOAD))
    assert memory["rollout_phase_bytes"] <= 0.9 * memory["capacity_bytes"] * 1.001
    assert not is_split(PLAN)
    assert is_split(split())
    decode = costsim.predict_inference(SMALL, H100, ServingPlan(8, precision="bf16"), DecodeLoad(1000, 16))
    assert decode.memory["weights_bytes"] == pytest.approx(memory["rollout_weights_bytes"])
