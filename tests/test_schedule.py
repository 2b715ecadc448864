"""Timelines and closed forms: against the papers, against each other, and against a plain simulator of one page."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from costsim.errors import BadInput
from costsim.schedule import (
    COMPUTE,
    PARTS,
    SCHEDULES,
    WIRE,
    Chunk,
    Kind,
    Pipe,
    StageTimes,
    Task,
    free_kinds,
    run,
    saved,
    schedule_named,
    step_seconds,
    varied_step_seconds,
)  # fmt: skip

Array = NDArray[np.float64]
EXACT = 1e-12


@st.composite
def pipelines(draw: st.DrawFn) -> tuple[str, int, int, int]:
    """A schedule and a shape that it can run."""
    name = draw(st.sampled_from(sorted(SCHEDULES)))
    match name:
        case "interleaved":
            pp = draw(st.integers(1, 6))
            return name, pp, pp * draw(st.integers(1, 4)), draw(st.integers(1, 4))
        case "dualpipe":
            pp = 2 * draw(st.integers(1, 5))
            return name, pp, 2 * pp + 2 * draw(st.integers(0, 12)), 1
        case "dualpipev":
            pp = draw(st.integers(1, 6))
            return name, pp, 2 * pp + draw(st.integers(0, 12)), 1
        case _:
            return name, draw(st.integers(1, 9)), draw(st.integers(1, 24)), 1


seconds = st.floats(0.05, 2.0)


@st.composite
def chunks(draw: st.DrawFn) -> Chunk:
    """Any equal stage times; a pair is as long as either half at least, and as both at most."""
    f, b, w = draw(seconds), draw(seconds), draw(seconds)
    share = draw(st.floats(0.0, 1.0))
    return Chunk(f, b, w, max(f, b + w) + share * min(f, b + w))


def equal(name: str, pp: int, vpp: int, chunk: Chunk) -> StageTimes:
    stages = SCHEDULES[name].stages(pp, vpp)
    times = (float(chunk.forward_s), float(chunk.backward_input_s), float(chunk.weight_s), float(chunk.paired_s))
    return StageTimes.equal(stages, *times, send_s=float(chunk.send_s))


def unequal(name: str, pp: int, vpp: int, seed: int, send: float = 0.0) -> StageTimes:
    """Random times of every stage and pair."""
    rng = np.random.default_rng(seed)
    n = SCHEDULES[name].stages(pp, vpp)
    f, b, w = rng.uniform(0.2, 2.0, (3, n))
    alone = f[:, None], (b + w)[None, :]
    least, most = np.maximum(*alone), alone[0] + alone[1]
    pair = least + rng.uniform(0.0, 1.0, (n, n)) * (most - least)
    return StageTimes(f, b, w, pair, send * rng.uniform(0.2, 1.0, n - 1))


# ---------------------------------------------------------------- closed forms


@given(pipelines(), chunks())
@settings(max_examples=300, deadline=None)
def test_closed_form_is_the_timeline_for_any_equal_stages(shape: tuple[str, int, int, int], chunk: Chunk) -> None:
    name, pp, m, vpp = shape
    schedule = SCHEDULES[name]
    timeline = run(schedule.program(pp, m, vpp), equal(name, pp, vpp, chunk))
    pipe = Pipe(pp, m, vpp)
    assert float(schedule.step_s(chunk, pipe)) == pytest.approx(timeline.step_s, rel=EXACT)
    assert float(schedule.work_s(chunk, pipe)) == pytest.approx(timeline.busy_s[0], rel=EXACT)
    assert float(schedule.bubble_s(chunk, pipe)) == pytest.approx(timeline.bubble_s[0], rel=1e-9, abs=1e-9)


@given(pipelines(), chunks(), st.floats(0.0, 1.0))
@settings(max_examples=200, deadline=None)
def test_closed_form_with_sends(shape: tuple[str, int, int, int], chunk: Chunk, share: float) -> None:
    """Exact where sends only delay; to 1 % of the step where delayed weight gradients or pairs may hide a short one."""
    name, pp, m, vpp = shape
    shortest = min(float(chunk.forward_s), float(chunk.backward_input_s), float(chunk.weight_s))
    chunk = Chunk(chunk.forward_s, chunk.backward_input_s, chunk.weight_s, chunk.pair_s, 0.02 * share * shortest)
    found = run(SCHEDULES[name].program(pp, m, vpp), equal(name, pp, vpp, chunk)).step_s
    tolerance = EXACT if name in ("gpipe", "1f1b", "interleaved") else 0.01
    assert float(SCHEDULES[name].step_s(chunk, Pipe(pp, m, vpp))) == pytest.approx(found, rel=tolerance)


@given(pipelines(), st.integers(0, 2**32 - 1))
@settings(max_examples=200, deadline=None)
def test_unequal_stages_lie_between_the_closed_forms_of_the_shortest_and_the_longest(
    shape: tuple[str, int, int, int], seed: int
) -> None:
    """A start is a maximum of ends, so no task ends later for a shorter time anywhere; and no rank works for free."""
    name, pp, m, vpp = shape
    schedule = SCHEDULES[name]
    times = unequal(name, pp, vpp, seed)
    timeline = run(schedule.program(pp, m, vpp), times)
    fields = (times.forward_s, times.backward_input_s, times.weight_s, times.pairs_s)
    low, high = (
        float(schedule.step_s(Chunk(*(float(bound(x)) for x in fields)), Pipe(pp, m, vpp)))
        for bound in (np.min, np.max)
    )
    assert low * (1 - 1e-9) <= timeline.step_s <= high * (1 + 1e-9)
    assert timeline.step_s >= timeline.busy_s.max() * (1 - 1e-9)


@pytest.mark.parametrize(
    ("name", "pp", "m", "vpp"),
    [("gpipe", 8, 48, 1), ("1f1b", 16, 120, 1), ("interleaved", 8, 64, 4), ("zb1p", 8, 48, 1), ("zb1p", 16, 120, 1),
     ("dualpipe", 16, 120, 1), ("dualpipe", 8, 64, 1), ("dualpipev", 8, 60, 1)],
)  # fmt: skip
def test_uneven_stages_in_one_formula(name: str, pp: int, m: int, vpp: int) -> None:
    """Within the error that its docstring states."""
    schedule, rng = SCHEDULES[name], np.random.default_rng(11)
    program, n, gain = schedule.program(pp, m, vpp), schedule.stages(pp, vpp), 0.92 if schedule.overlaps else 1.0

    def chunk(scale: float) -> Chunk:
        return Chunk(0.05 * scale, 0.075 * scale, 0.032 * scale, gain * 0.157 * scale)

    for _ in range(20):
        x = rng.uniform(0.9, 1.1, n)
        f, b, w = 0.05 * x, 0.075 * x, 0.032 * x
        found = run(program, StageTimes(f, b, w, gain * (f[:, None] + b + w))).step_s
        busiest = max(float(x[schedule.stages_of(rank, pp, vpp)].mean()) for rank in range(pp))
        formula = float(schedule.uneven_step_s(chunk(float(x.mean())), chunk(busiest), Pipe(pp, m, vpp)))
        assert -0.011 < formula / found - 1 < 0.03


def test_closed_forms_broadcast() -> None:
    pp, m = np.array([2, 4, 8, 16])[:, None], np.array([32, 64, 120])[None, :]
    f = np.array([0.5, 1.0])[:, None, None]
    for schedule in SCHEDULES.values():
        chunk, pipe = Chunk(f, 1.2, 0.7, 2.5, 0.001), Pipe(pp, m, 1)
        for formula in (schedule.step_s, schedule.work_s, schedule.bubble_s):
            swept = np.broadcast_to(formula(chunk, pipe), (2, 4, 3))
            one = formula(Chunk(1.0, 1.2, 0.7, 2.5, 0.001), Pipe(8, 120, 1))
            assert swept[1, 2, 2] == pytest.approx(float(one), rel=EXACT)
        held = np.broadcast_to(schedule.in_flight(0, pipe), (4, 3))
        assert held[2, 2] == schedule.in_flight(0, Pipe(8, 120, 1))


# ---------------------------------------------------------------- what the papers say


@pytest.mark.parametrize(
    ("name", "pp", "m", "vpp", "bubble"),
    [
        # F = 1, input and weight gradients 1 each, so B = 2; pairs gain nothing
        ("gpipe", 8, 24, 1, 7 * 3), ("1f1b", 8, 24, 1, 7 * 3), ("interleaved", 8, 24, 2, 7 * 3),
        ("zb1p", 8, 24, 1, 7 * (3 - 2)), ("dualpipe", 8, 20, 1, 3 * (3 + 2 - 3)), ("dualpipev", 4, 20, 1, 3 * 2),
    ],
)  # fmt: skip
def test_published_bubbles(name: str, pp: int, m: int, vpp: int, bubble: float) -> None:
    schedule, chunk, pipe = SCHEDULES[name], Chunk(1.0, 1.0, 1.0), Pipe(pp, m, vpp)
    assert float(schedule.published_bubble_s(chunk, pipe)) == bubble
    assert float(schedule.bubble_s(chunk, pipe)) == bubble
    assert run(schedule.program(pp, m, vpp), equal(name, pp, vpp, chunk)).bubble_s[0] == pytest.approx(bubble)


def test_bubble_shares_of_the_papers() -> None:
    """GPipe: (K − 1)/(M + K − 1) of the step; Megatron-LM: 1/v of it with interleaving, against the ideal time."""
    chunk = Chunk(1.0, 1.0, 1.0)
    pipe = Pipe(4, 16)
    share = SCHEDULES["gpipe"].bubble_s(chunk, pipe) / SCHEDULES["gpipe"].step_s(chunk, pipe)
    assert float(share) == pytest.approx(3 / 19)
    for vpp in (1, 2, 4):
        part = Chunk(1.0 / vpp, 1.0 / vpp, 1.0 / vpp)
        interleaved = SCHEDULES["interleaved"]
        assert float(
            interleaved.bubble_s(part, Pipe(4, 16, vpp)) / interleaved.work_s(part, Pipe(4, 16, vpp))
        ) == pytest.approx(3 / 16 / vpp)


@given(chunks(), st.integers(2, 6), st.integers(0, 8))
@settings(max_examples=120, deadline=None)
def test_where_the_published_zero_bubble_formula_holds(chunk: Chunk, pp: int, more: int) -> None:
    """A weight gradient no longer than a forward and an input gradient. Beyond that the paper promises too much."""
    schedule, pipe = SCHEDULES["zb1p"], Pipe(pp, pp + more)
    fits = chunk.weight_s <= min(float(chunk.forward_s), float(chunk.backward_input_s))
    published, found = float(schedule.published_bubble_s(chunk, pipe)), float(schedule.bubble_s(chunk, pipe))
    assert (abs(found - published) < 1e-9) if fits else (found > published - 1e-12)


@given(st.floats(0.2, 2.0), st.floats(0.1, 1.0), st.integers(1, 6), st.integers(0, 8))
@settings(max_examples=120, deadline=None)
def test_where_the_published_dualpipe_formula_holds(f: float, ratio: float, half: int, more: int) -> None:
    """A forward as long as an input gradient, a weight gradient no longer, and pairs that gain nothing."""
    schedule, chunk, pipe = SCHEDULES["dualpipe"], Chunk(f, f, ratio * f), Pipe(2 * half, 4 * half + 2 * more)
    assert float(schedule.bubble_s(chunk, pipe)) == pytest.approx(float(schedule.published_bubble_s(chunk, pipe)))


@pytest.mark.parametrize(
    ("name", "pp", "m", "vpp", "held"),
    [
        ("gpipe", 4, 10, 1, [10] * 4), ("1f1b", 8, 24, 1, [8, 7, 6, 5, 4, 3, 2, 1]),
        ("1f1b", 8, 3, 1, [3] * 6 + [2, 1]),
        ("zb1p", 8, 24, 1, [8] * 8), ("dualpipe", 8, 20, 1, [9] * 8), ("dualpipe", 16, 120, 1, [17] * 16),
        ("dualpipev", 4, 20, 1, [9] * 4),
        # rank 0: vpp·pp + pp − 1, which is pp(1 + (pp − 1)/(pp·vpp)) of whole micro-batches
        ("interleaved", 4, 16, 2, [11, 9, 7, 5]), ("interleaved", 8, 8, 4, None),
    ],
)  # fmt: skip
def test_activations_in_flight(name: str, pp: int, m: int, vpp: int, held: list[int] | None) -> None:
    schedule = SCHEDULES[name]
    timeline = run(schedule.program(pp, m, vpp), unequal(name, pp, vpp, 7))
    closed = [float(schedule.in_flight(rank, Pipe(pp, m, vpp))) for rank in range(pp)]
    assert timeline.peak_held().tolist() == closed
    if held is not None:
        assert closed == held


def test_weights_per_layer() -> None:
    assert {name: schedule.weight_copies for name, schedule in SCHEDULES.items()} == {
        "gpipe": 1, "1f1b": 1, "interleaved": 1, "zb1p": 1, "dualpipe": 2, "dualpipev": 1,
    }  # fmt: skip


def test_split_backward_may_free_most_at_once() -> None:
    """With nothing kept for the weight gradient, ZB-H1 holds no more than 1F1B."""
    timeline = run(SCHEDULES["zb1p"].program(8, 24), StageTimes.equal(8, 1.0, 1.0, 1.0))
    assert timeline.peak_held(1.0, 0.0).tolist() == [8, 7, 6, 5, 4, 3, 2, 1]
    bytes_held = timeline.held(7, 10.0, 3.0)
    assert bytes_held.peak == 10 + 7 * 3
    assert bytes_held.amount[-1] == pytest.approx(0.0)
    assert 0 < bytes_held.peak_at_s < timeline.step_s


# ---------------------------------------------------------------- the engine


def plain_simulation(orders: list[list[Task]], times: StageTimes) -> float:
    """Another implementation: go round the ranks, run what can run, until all is done. Sends queue on their rank."""
    pair = times.pairs_s
    send = np.asarray(times.send_s)
    length: dict[Kind, Any] = {
        Kind.F: lambda t: times.forward_s[t.stage], Kind.B: lambda t: times.backward_input_s[t.stage],
        Kind.W: lambda t: times.weight_s[t.stage], Kind.BW: lambda t: times.backward_s[t.stage],
        Kind.PAIR: lambda t: pair[t.stage, t.back_stage],
    }  # fmt: skip
    rank_of = {(t.stage, t.micro_batch): r for r, order in enumerate(orders) for t in order if t.kind != Kind.W}
    arrived: dict[tuple[str, int, int], float] = {}
    at, wire, done = [0.0] * len(orders), [0.0] * len(orders), [0] * len(orders)
    last = times.stages - 1
    while any(count < len(order) for count, order in zip(done, orders, strict=True)):
        for rank, order in enumerate(orders):
            while done[rank] < len(order):
                task = order[done[rank]]
                halves = [("F", task.stage, task.micro_batch)] if task.kind in (Kind.F, Kind.PAIR) else []
                if task.kind in (Kind.B, Kind.BW):
                    halves.append(("B", task.stage, task.micro_batch))
                if task.kind is Kind.PAIR:
                    halves.append(("B", task.back_stage, task.back_micro_batch))
                needed = [h for h in halves if (h[0], h[1]) not in (("F", 0), ("B", last))]
                if not all(h in arrived for h in needed):
                    break
                end = max([at[rank], *(arrived[h] for h in needed)]) + length[task.kind](task)
                at[rank], done[rank] = end, done[rank] + 1
                for kind, stage, micro in halves:
                    to = stage + (1 if kind == "F" else -1)
                    if not 0 <= to <= last:
                        continue
                    if rank_of[to, micro] != rank:
                        wire[rank] = max(wire[rank], end) + send[min(stage, to)]
                    arrived[kind, to, micro] = wire[rank] if rank_of[to, micro] != rank else end
    return max(at)


@given(pipelines(), st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.01, 3.0]))
@settings(max_examples=160, deadline=None)
def test_timeline_is_that_of_a_plain_simulation(shape: tuple[str, int, int, int], seed: int, send: float) -> None:
    name, pp, m, vpp = shape
    times = unequal(name, pp, vpp, seed, send)
    orders = SCHEDULES[name].orders(pp, m, vpp)
    assert run(SCHEDULES[name].program(pp, m, vpp), times).step_s == pytest.approx(
        plain_simulation(orders, times), rel=EXACT
    )


@given(pipelines(), st.integers(0, 2**32 - 1))
@settings(max_examples=120, deadline=None)
def test_lanes_are_sequences_and_parts_add_up(shape: tuple[str, int, int, int], seed: int) -> None:
    name, pp, m, vpp = shape
    times = unequal(name, pp, vpp, seed, 0.1)
    timeline = run(SCHEDULES[name].program(pp, m, vpp), times)
    for rank in range(pp):
        for lane in (COMPUTE, WIRE):
            here = np.flatnonzero((timeline.rank == rank) & (timeline.lane == lane))
            here = here[np.lexsort((timeline.end_s[here], timeline.start_s[here]))]
            assert (timeline.start_s[here][1:] >= timeline.end_s[here][:-1]).all()
    parts = timeline.parts()
    assert tuple(parts) == PARTS
    assert np.allclose(sum(parts.values()), timeline.step_s, rtol=EXACT)
    assert sum(timeline.mean_parts().values()) == pytest.approx(timeline.step_s, rel=EXACT)
    # whatever the order, all ranks together run every stage's work once per micro-batch where nothing overlaps
    if not SCHEDULES[name].overlaps:
        work = m * (times.forward_s + times.backward_s).sum()
        assert timeline.busy_s.sum() == pytest.approx(work, rel=1e-9)


def test_stragglers() -> None:
    """A slow rank is a slow stage; among many micro-batches nearly all of its delay reaches the step."""
    program = SCHEDULES["1f1b"].program(8, 200)
    times = StageTimes.equal(8, 1.0, 1.0, 1.0)
    slow = np.ones(8)
    slow[3] = 1.1
    delayed = run(program, times, slow).step_s
    scaled = StageTimes(times.forward_s * slow, times.backward_input_s * slow, times.weight_s * slow)
    assert delayed == pytest.approx(run(program, scaled).step_s, rel=EXACT)
    assert 0.9 * 200 * 0.3 < delayed - run(program, times).step_s <= 200 * 0.3 * 1.05
    both = step_seconds(program, [times, times], [1.0, slow])
    assert both.tolist() == [run(program, times).step_s, delayed]


def test_chunks_that_vary() -> None:
    """No variation is the plain timeline; the mean grows with it, but not above every chunk late at once; one rank
    alone only averages."""
    program = SCHEDULES["1f1b"].program(8, 60)
    times = StageTimes.equal(8, 1.0, 1.0, 1.0, send_s=0.01)
    plain = run(program, times).step_s
    assert varied_step_seconds(program, times, 0.0, 3).tolist() == pytest.approx([plain] * 3)
    little, more = (varied_step_seconds(program, times, v, 200).mean() for v in (0.05, 0.1))
    assert plain < little < more < 1.1 * plain
    alone = SCHEDULES["1f1b"].program(1, 400)
    one = StageTimes.equal(1, 1.0, 1.0, 1.0)
    assert varied_step_seconds(alone, one, 0.1, 400).mean() == pytest.approx(1200, rel=0.001)
    with pytest.raises(BadInput, match="variation"):
        varied_step_seconds(program, times, -0.1, 3)


def test_what_would_be_saved() -> None:
    """1F1B with equal stages is (m + pp − 1)(f + b + w), so the saving of each is known; sends are waited for."""
    program = SCHEDULES["1f1b"].program(4, 12)
    times = StageTimes.equal(4, 1.0, 2.0, 0.5)
    gains = saved(program, times, free_kinds(program, times))
    assert gains["weight gradient"] == pytest.approx(15 * 0.5)
    assert gains["backward input"] == pytest.approx(15 * 2.0)
    assert gains["forward"] == pytest.approx(15 * 1.0)
    assert gains["send"] == 0
    assert gains["equal stages"] == pytest.approx(0.0, abs=1e-9)
    sending = StageTimes.equal(4, 1.0, 2.0, 0.5, send_s=0.01)
    assert saved(program, sending, free_kinds(program, sending))["send"] == pytest.approx((6 + 2 * (11 - 3)) * 0.01)
    longer = StageTimes(np.array([1.0, 1, 1, 1.5]), times.backward_input_s, times.weight_s)
    assert saved(program, longer, free_kinds(program, longer))["equal stages"] > 0.3 * 12


def test_a_pair_without_its_forward_is_a_backward() -> None:
    program = SCHEDULES["dualpipe"].program(8, 40)
    times = StageTimes.equal(8, 1.0, 1.5, 0.5, 2.6)
    free = free_kinds(program, times)
    assert free["forward"].pairs_s[0, 0] == 2.0
    assert free["weight gradient"].pairs_s[0, 0] == 2.5
    gains = saved(program, times, free)
    assert 0 < gains["weight gradient"] < gains["forward"] < 40 * 1.0


# ---------------------------------------------------------------- stage times


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"forward_s": [1.0, -1.0]}, "negative"), ({"weight_s": [1.0, float("nan")]}, "non-finite"),
        ({"backward_input_s": [1.0]}, r"shape \(1,\)"), ({"pair_s": [1.0, 2.0]}, "pair_s"),
        ({"send_s": [1.0, 1.0]}, "send_s"), ({"forward_s": []}, "one number per stage"),
        ({"forward_wire_s": [0.5, 1.5]}, "forward_wire_s of stage 1"),
        ({"backward_wire_s": 2.0}, "backward_wire_s of stage 0"),
    ],
)  # fmt: skip
def test_stage_times_that_cannot_be_are_refused(fields: dict[str, Any], says: str) -> None:
    good: dict[str, Any] = {"forward_s": [1.0, 1.0], "backward_input_s": [1.0, 1.0], "weight_s": [1.0, 1.0]}
    with pytest.raises(BadInput, match=says):
        StageTimes(**(good | fields))


def test_stage_times_must_match_the_schedule() -> None:
    program = schedule_named("1f1b").program(4, 8)
    with pytest.raises(BadInput, match="5 stages for a schedule of 4"):
        run(program, StageTimes.equal(5, 1.0, 1.0, 1.0))
    with pytest.raises(BadInput, match="slowdown"):
        run(program, StageTimes.equal(4, 1.0, 1.0, 1.0), [1.0, 0.0, 1.0, 1.0])
