"""What each rank runs in which order, against other implementations of the same schedules and published counts."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from costsim.errors import BadInput, DoesNotDivide, UnknownName
from costsim.schedule import SCHEDULES, Deadlock, Kind, StageTimes, Task, compiled, run, schedule_named

#: (schedule, pp, micro-batches, vpp): small, odd and full-size shapes that each schedule can run
SHAPES = [
    ("gpipe", 1, 1, 1), ("gpipe", 4, 7, 1), ("1f1b", 1, 3, 1), ("1f1b", 4, 2, 1), ("1f1b", 8, 24, 1),
    ("interleaved", 2, 2, 1), ("interleaved", 4, 4, 3), ("interleaved", 4, 12, 2), ("interleaved", 8, 32, 4),
    ("zb1p", 1, 2, 1), ("zb1p", 4, 2, 1), ("zb1p", 8, 24, 1), ("dualpipe", 2, 4, 1), ("dualpipe", 4, 8, 1),
    ("dualpipe", 8, 20, 1), ("dualpipe", 16, 120, 1), ("dualpipev", 1, 2, 1), ("dualpipev", 2, 5, 1),
    ("dualpipev", 4, 11, 1), ("dualpipev", 8, 40, 1),
]  # fmt: skip


def flat(task: Task) -> list[tuple[str, int, int]]:
    """A pair as its forward and its backward, a full backward as B: what an executor without overlap runs."""
    if task.kind is Kind.PAIR:
        return [("F", task.stage, task.micro_batch), ("B", task.back_stage, task.back_micro_batch)]
    return [({Kind.F: "F", Kind.W: "W"}.get(task.kind, "B"), task.stage, task.micro_batch)]


def with_kinds(task: Task) -> list[tuple[str, int, int]]:
    """As torch names them: I is a backward for the input alone, B a full one."""
    if task.kind is Kind.PAIR:
        return flat(task)
    names = {Kind.F: "F", Kind.B: "I", Kind.W: "W", Kind.BW: "B"}
    return [(names[task.kind], task.stage, task.micro_batch)]


@pytest.mark.parametrize(("name", "pp", "m", "vpp"), SHAPES)
def test_every_micro_batch_passes_every_stage_once_each_way(name: str, pp: int, m: int, vpp: int) -> None:
    schedule = schedule_named(name)
    orders = schedule.orders(pp, m, vpp)
    works = [work for order in orders for task in order for work in flat(task)]
    stages = schedule.stages(pp, vpp)
    wanted = {(kind, stage, micro) for kind in "FB" for stage in range(stages) for micro in range(m)}
    assert len([work for work in works if work[0] != "W"]) == len(wanted)
    assert {work for work in works if work[0] != "W"} == wanted
    split = {work[1:] for order in orders for task in order for work in with_kinds(task) if work[0] == "I"}
    assert {work[1:] for work in works if work[0] == "W"} == split
    assert bool(split) == schedule.splits_backward
    for order in orders:
        place = {work: i for i, work in enumerate(work for task in order for work in flat(task))}
        for kind, stage, micro in place:
            if kind == "B":
                assert place["F", stage, micro] < place["B", stage, micro]
            if kind == "W":
                assert place["B", stage, micro] < place["W", stage, micro]


@pytest.mark.parametrize(("name", "pp", "m", "vpp"), SHAPES)
def test_ranks_hold_the_stages_that_the_paper_gives_them(name: str, pp: int, m: int, vpp: int) -> None:
    for rank, order in enumerate(schedule_named(name).orders(pp, m, vpp)):
        held = {stage for task in order for _, stage, _ in flat(task)}
        assert held == set(schedule_named(name).stages_of(rank, pp, vpp))
        match name:
            case "interleaved":
                assert held == {rank + pp * i for i in range(vpp)}
            case "dualpipe":
                assert held == {rank, pp - 1 - rank}
            case "dualpipev":
                assert held == {rank, 2 * pp - 1 - rank}
            case _:
                assert held == {rank}


@pytest.mark.parametrize(("pp", "m"), [(1, 4), (2, 1), (4, 3), (4, 16), (8, 20)])
def test_1f1b_is_what_the_runnable_model_runs(pp: int, m: int) -> None:
    pytest.importorskip("torch")
    from model.parallel.pipeline import one_f_one_b

    for rank, order in enumerate(schedule_named("1f1b").orders(pp, m, 1)):
        theirs = [(action.kind, rank, action.micro) for action in one_f_one_b(rank, pp, m)]
        assert [work for task in order for work in flat(task)] == theirs


@pytest.mark.parametrize(("pp", "m"), [(2, 4), (2, 10), (4, 8), (4, 14), (8, 16), (16, 120)])
def test_dualpipe_is_what_the_runnable_model_runs(pp: int, m: int) -> None:
    pytest.importorskip("torch")
    from model.parallel.pipeline import dualpipe

    for rank, order in enumerate(schedule_named("dualpipe").orders(pp, m, 1)):
        stage = (rank, pp - 1 - rank)
        theirs = [(action.kind, stage[action.direction], action.micro) for action in dualpipe(rank, pp, m)]
        # The model's executor keeps every backward whole, so it has no weight tasks.
        assert [work for task in order for work in flat(task) if work[0] != "W"] == theirs


def of_torch(class_name: str, rank: int, **fields: Any) -> list[tuple[str, int, int]]:
    """The order that torch.distributed.pipelining computes for a rank, without its idle slots."""
    pytest.importorskip("torch")
    from torch.distributed.pipelining import schedules

    if not hasattr(schedules, class_name):
        pytest.skip(f"this torch has no {class_name}")
    made = getattr(schedules, class_name)._calculate_single_rank_operations(SimpleNamespace(**fields), rank)
    actions: list[Any] = []
    for action in made:
        if action is not None:
            actions += action.sub_actions if getattr(action, "sub_actions", None) else [action]
    return [(action.computation_type.value, action.stage_index, action.microbatch_index) for action in actions]


@pytest.mark.parametrize(("pp", "m", "vpp"), [(2, 4, 1), (4, 4, 2), (4, 12, 3), (8, 16, 4)])
def test_interleaved_is_what_torch_schedules(pp: int, m: int, vpp: int) -> None:
    for rank, order in enumerate(schedule_named("interleaved").orders(pp, m, vpp)):
        theirs = of_torch(
            "ScheduleInterleaved1F1B", rank, pp_group_size=pp, n_local_stages=vpp, microbatches_per_round=pp,
            _n_microbatches=m,
        )  # fmt: skip
        assert [work for task in order for work in with_kinds(task)] == theirs


@pytest.mark.parametrize(("pp", "m"), [(2, 2), (4, 4), (4, 12), (8, 16), (8, 40)])
def test_zero_bubble_is_what_torch_schedules(pp: int, m: int) -> None:
    for rank, order in enumerate(schedule_named("zb1p").orders(pp, m, 1)):
        theirs = of_torch(
            "ScheduleInterleavedZeroBubble", rank, pp_group_size=pp, n_local_stages=1, microbatches_per_round=pp,
            _n_microbatches=m,
        )  # fmt: skip
        assert [work for task in order for work in with_kinds(task)] == theirs


@pytest.mark.parametrize(("pp", "m"), [(1, 2), (2, 4), (4, 9), (8, 30)])
def test_dualpipev_is_what_torch_schedules(pp: int, m: int) -> None:
    for rank, order in enumerate(schedule_named("dualpipev").orders(pp, m, 1)):
        theirs = of_torch("ScheduleDualPipeV", rank, pp_group_size=pp, _n_microbatches=m)
        assert [work for task in order for work in with_kinds(task)] == theirs


def test_dualpipe_counts_of_deepseek_v3() -> None:
    """PP16 × 120 micro-batches: 97 + h pairs, 23 − h forwards and backwards alone; the two middle ranks overlap one
    pair less. Rank 0 leaves 15 weight gradients for later."""
    schedule = schedule_named("dualpipe")
    timeline = run(schedule.program(16, 120), StageTimes.equal(16, 1.0, 1.0, 1.0))
    near = np.minimum(np.arange(16), np.arange(16)[::-1])
    pairs = 97 + near - (near == 7)
    assert timeline.count(Kind.PAIR).tolist() == pairs.tolist()
    assert timeline.count(Kind.F).tolist() == (120 - pairs).tolist()
    assert (timeline.count(Kind.B) + timeline.count(Kind.BW)).tolist() == (120 - pairs).tolist()
    assert timeline.count(Kind.W)[0] == 15


@pytest.mark.parametrize(
    ("name", "pp", "m", "vpp", "says"),
    [
        ("1f1b", 0, 4, 1, "pp must be"), ("1f1b", 4, 0, 1, "micro-batches must be"), ("gpipe", 4, 8, 2, "vpp 2"),
        ("interleaved", 4, 10, 2, "give a multiple such as 12"), ("dualpipe", 3, 12, 1, "even pp"),
        ("dualpipe", 4, 6, 1, "at least 8"), ("dualpipe", 4, 9, 1, "even number"),
        ("dualpipev", 4, 7, 1, "at least 2·pp = 8"), ("zb1p", 64, 10**6, 1, "more than"), ("1f1b", 2.5, 4, 1, "whole"),
        ("1f1b", float("nan"), 4, 1, "whole"), ("1f1b", 4, float("inf"), 1, "whole"),
    ],
)  # fmt: skip
def test_shapes_that_no_order_exists_for_are_refused(name: str, pp: Any, m: Any, vpp: Any, says: str) -> None:
    with pytest.raises(BadInput, match=says):
        schedule_named(name).program(pp, m, vpp)


def test_a_plan_may_hold_its_counts_as_floats() -> None:
    schedule = schedule_named("1f1b")
    assert schedule.program(4.0, np.float64(8), np.int64(1)) is schedule.program(4, 8)  # type: ignore[arg-type]


def test_unknown_schedule_offers_the_nearest() -> None:
    with pytest.raises(UnknownName, match="dualpipe"):
        schedule_named("dualpip")
    assert list(SCHEDULES) == ["gpipe", "1f1b", "interleaved", "zb1p", "dualpipe", "dualpipev"]
    assert issubclass(DoesNotDivide, BadInput)


def test_a_circle_of_waiting_is_named() -> None:
    """Rank 0 wants its first gradient before it sends the second micro-batch, rank 1 both before it gives any back."""
    f, b = Kind.F, Kind.BW
    orders = [
        [Task(f, 0, 0), Task(b, 0, 0), Task(f, 0, 1), Task(b, 0, 1)],
        [Task(f, 1, 0), Task(f, 1, 1), Task(b, 1, 0), Task(b, 1, 1)],
    ]
    with pytest.raises(Deadlock, match="rank 0 backward of stage 0, micro-batch 0") as caught:
        compiled(orders, 2, 2)
    assert "rank 1 forward of stage 1, micro-batch 1" in str(caught.value)


@pytest.mark.parametrize(
    ("order", "error", "says"),
    [
        ([Task(Kind.BW, 0, 0), Task(Kind.F, 0, 0)], Deadlock, "before the forward it needs"),
        ([Task(Kind.F, 0, 0), Task(Kind.W, 0, 0), Task(Kind.B, 0, 0)], Deadlock, "before the backward input it needs"),
        ([Task(Kind.F, 0, 0)], BadInput, "backward of stage 0, micro-batch 0 runs 0 times"),
        ([Task(Kind.F, 0, 0), Task(Kind.F, 0, 0), Task(Kind.BW, 0, 0)], BadInput, "runs 2 times"),
        ([Task(Kind.F, 0, 0), Task(Kind.B, 0, 0)], BadInput, "weight gradient of stage 0"),
        ([Task(Kind.F, 3, 0), Task(Kind.BW, 0, 0)], BadInput, "stage 3"),
        ([], BadInput, "runs 0 times"),
    ],
)  # fmt: skip
def test_orders_that_lose_work_are_refused(order: list[Task], error: type[BadInput], says: str) -> None:
    with pytest.raises(error, match=says):
        compiled([order], 1, 1)


def test_a_backward_must_be_where_its_forward_was() -> None:
    with pytest.raises(BadInput, match="different ranks"):
        compiled([[Task(Kind.F, 0, 0)], [Task(Kind.BW, 0, 0)]], 1, 1)
