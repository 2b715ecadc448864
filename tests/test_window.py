"""The part of a run that counts: queueing theory, a run's truth over a long time, and what cannot settle."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from costsim.cli.main import main
from costsim.errors import OutOfRange
from costsim.predict.simulation import predict_simulation
from costsim.serving.arrivals import closed_loop, open_loop
from costsim.serving.engine import Engine
from costsim.serving.outcome import Outcome
from costsim.serving.policy import Policy
from costsim.serving.request import Requests
from costsim.serving.simulation import Deployment, Pool, simulate
from costsim.serving.timer import ConstantTimer, TableTimer, curve, surface
from costsim.serving.window import mser5, settles, steady, tokens_held, whole
from costsim.spec.catalog import load_accelerator, load_model
from costsim.spec.plan import ServingPlan

#: one server, prompts whole: M/G/1 with the prompt's length as service
SERVER = Policy(order="prefill-first", token_budget=10, chunked=False, max_running=1, block=1)
EACH = 1e-3
TIMER = TableTimer(
    decode_rank=curve([1, 64, 512], [0.010, 0.014, 0.030]),
    decode_shared=curve([1, 64, 512], [0.001, 0.004, 0.010]),
    prefill_rank=curve([1, 1024, 16384], [0.010, 0.030, 0.400]),
    prefill_shared=curve([1, 1024, 16384], [0.001, 0.010, 0.080]),
    decode_attention=surface([1, 64, 512], [1, 4096, 65536], [[0, 4e-5, 7e-4], [0, 2e-3, 4e-2], [0, 2e-2, 3e-1]]),
    prefill_attention=surface([1, 4096], [0, 65536], [[0, 1e-4], [8e-3, 2e-1]]),
)


def queue(rho: float, count: int, lengths: list[int], seed: int) -> Outcome:
    """M/G/1 with one of ``lengths``, each as likely, as service."""
    rng = np.random.default_rng(seed)
    isl = rng.choice(lengths, count).astype(np.int64)
    arrival = np.cumsum(rng.exponential(np.mean(lengths) * EACH / rho, count))
    engine = Engine(ConstantTimer(1.0, EACH), SERVER, 10**7)
    return simulate(Deployment((Pool(engine),)), Requests(arrival, isl, np.ones(count, dtype=np.int64)))


def served(rate: float, count: int, seed: int) -> Outcome:
    engine = Engine(TIMER, Policy(token_budget=2048, block=16), 10**7)
    return simulate(Deployment((Pool(engine),)), open_loop(count, rate, 1000, 400, 0.8, seed=seed))


@pytest.mark.parametrize(("rho", "lengths"), [(0.7, [100]), (0.7, [20, 380])], ids=["M/D/1", "M/G/1"])
def test_mean_wait_of_the_steady_part_is_pollaczek_and_khinchines(rho: float, lengths: list[int]) -> None:
    """λE[S²]/(2(1 − ρ)), from 150 runs of 800 requests that each start empty and drain."""
    waits = []
    for seed in range(150):
        out = queue(rho, 800, lengths, seed)
        window = steady(out)
        waits.append(float(np.mean((out.ttft_s - out.isl * EACH)[window.among])))
    service, square = np.mean(lengths) * EACH, np.mean(np.square(lengths)) * EACH**2
    theory = rho / service * square / (2 * (1 - rho))
    error = float(np.std(waits)) / np.sqrt(len(waits))
    assert error < 0.06 * theory, "the runs must be able to tell"
    assert float(np.mean(waits)) == pytest.approx(theory, abs=3 * error + 0.02 * theory)


@pytest.mark.parametrize(("rate", "count"), [(4.0, 150), (8.0, 500), (12.0, 1000)])
def test_short_runs_show_the_rates_of_a_long_one(rate: float, count: int) -> None:
    """Tokens a second are arrivals times answers; time per token is that of 20,000 requests. All of the run is not."""
    runs = [served(rate, count, seed) for seed in range(24)]
    windows = [steady(out) for out in runs]
    assert sum(w.steady is True for w in windows) >= 20
    windows = [w for w in windows if w.steady]

    def mean(values: list[float]) -> float:
        return float(np.mean(values))

    asked = rate * 400 * 0.9
    made = mean([w.tokens["output"] / w.span_s for w in windows])
    assert made == pytest.approx(asked, rel=0.05)
    assert mean([whole(o).tokens["output"] / o.end_s for o in runs]) < 0.95 * asked
    long = served(rate, 20_000, 99)
    truth = mean(long.tpot_s[2000:-2000].tolist())
    tpot = mean([float(np.mean(w.outcome.tpot_s[w.among])) for w in windows])
    assert tpot == pytest.approx(truth, rel=0.03)
    assert abs(tpot - truth) < abs(mean([float(np.mean(o.tpot_s)) for o in runs]) - truth)


def test_windows_add_up_to_the_run() -> None:
    """Tokens, replica seconds and gaps of two halves are those of all of it."""
    out = served(8.0, 600, 1)
    every, cut = whole(out), 30.0
    halves = [type(every)(out, 0.0, cut), type(every)(out, cut, out.end_s)]
    for name in ("input", "output"):
        assert sum(h.tokens[name] for h in halves) == pytest.approx(every.tokens[name])
    np.testing.assert_allclose(halves[0].spent + halves[1].spent, every.spent)
    assert every.tokens["output"] == out.osl.sum()
    assert every.spent[0, 0] == pytest.approx(sum(s.busy_s for s in out.statistics))
    np.testing.assert_array_equal(every.itl_s([0.5, 0.99]), out.itl_s([0.5, 0.99]))


def test_littles_law_in_the_window() -> None:
    """Tokens held on average = arrival rate × E[isl·T + osl·(decode time)/2]: an answer is half made on average."""
    out = served(8.0, 6000, 2)
    window = steady(out)
    at = np.linspace(window.begin_s, window.end_s, 4000)
    each = out.isl * out.e2e_s + out.osl * (out.finish_s - out.first_s) / 2
    rate = window.among.sum() / window.span_s
    assert float(np.mean(tokens_held(out, at))) == pytest.approx(rate * float(np.mean(each[window.among])), rel=0.03)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), at=st.floats(0.0, 200.0))
def test_tokens_held_are_those_of_the_requests_in_the_system(seed: int, at: float) -> None:
    out = served(6.0, 60, seed)
    here = (out.arrival_s <= at) & (at < out.finish_s)
    part = np.clip((at - out.first_s) / (out.finish_s - out.first_s), 0.0, 1.0)
    slow = float(np.sum((out.isl + out.osl * part)[here]))
    assert float(tokens_held(out, np.array([at]))[0]) == pytest.approx(slow, rel=1e-6, abs=1e-3)


def test_what_never_settles_counts_as_a_whole() -> None:
    over = served(40.0, 3000, 0)
    assert not settles(over)
    window = steady(over)
    assert window.steady is False
    assert (window.begin_s, window.end_s) == (0.0, over.end_s)
    assert steady(served(8.0, 20, 0)).steady is False, "too few requests"
    assert sum(settles(served(8.0, 1500, seed)) for seed in range(10)) == 10


def test_mser5_cuts_a_decaying_start_and_nothing_of_noise() -> None:
    """A published property: the cut is where the bias has gone under the noise, and 0 where there is no bias."""
    rng = np.random.default_rng(0)
    noise = rng.standard_normal(2000)
    start = np.where(np.arange(2000) < 300, 8.0, 0.0)
    assert mser5(noise + start) == 300
    assert (mser5(noise) or 0) < 100
    assert mser5(np.arange(2000.0)) is None, "what grows evenly never settles"
    assert mser5(np.arange(6.0)) is None


def test_closed_loop_first_wave_is_left_out_where_asked() -> None:
    engine = Engine(TIMER, Policy(token_budget=2048, block=16), 10**7)
    out = simulate(Deployment((Pool(engine),)), closed_loop(640, 1000, 400, 0.8, 0), 64)
    window = steady(out)
    assert window.steady
    assert not window.among[:64].any(), "sixty-four prompts at once are no steady state"
    assert float(np.mean(out.ttft_s[window.among])) < 0.6 * float(np.mean(out.ttft_s))


def test_a_warm_up_of_ones_own() -> None:
    out = served(8.0, 600, 3)
    assert steady(out, 30.0).begin_s == 30.0
    assert steady(out, 0.0).end_s == steady(out).end_s
    with pytest.raises(OutOfRange, match="more requests"):
        steady(out, 70.0)


def test_a_longer_run_does_not_change_what_a_token_costs() -> None:
    """All of a run: 300 requests cost more a token than 3,000. The steady part: the same within 4 %."""
    model, chip, plan = load_model("deepseek-v3"), load_accelerator("h200-sxm"), ServingPlan(8, tp=8, routing="default")

    def usd(count: int, warmup: str | None) -> float:
        load = open_loop(count, 2.0, 2048, 512, 0.8, seed=5)
        return predict_simulation(model, chip, plan, load, bands=False, warmup=warmup).report["usd_per_mtok_output"]

    assert usd(300, None) > 1.05 * usd(3000, None)
    assert usd(300, "auto") == pytest.approx(usd(3000, "auto"), rel=0.04)


def test_cli_counts_the_steady_part_of_open_arrivals_alone(capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--requests", "300", "--gpus", "8", "--isl", "2048", "--osl", "256", "--no-bands", "--json"]

    def answer(*more: str) -> dict[str, object]:
        assert main(["simulate", *options, *more]) == 0
        found: dict[str, object] = json.loads(capsys.readouterr().out)
        return found

    own_time = ("--rate", "3", "--warmup")
    auto, none, own = answer("--rate", "3"), answer(*own_time, "none"), answer(*own_time, "20s")
    assert auto["counted"]["steady"] is True  # type: ignore[index]
    assert auto["counted"]["requests"] < 300 == none["counted"]["requests"]  # type: ignore[index]
    assert own["counted"]["begin_s"] == 20.0  # type: ignore[index]
    loop = answer("--concurrency", "8")
    assert loop["counted"]["steady"] is None  # type: ignore[index]
    assert auto["metrics"]["tpot_s"]["low"] is None  # type: ignore[index]
    assert main(["simulate", *options, "--rate", "3", "--warmup", "soon"]) == 2
    assert "--warmup" in capsys.readouterr().err
