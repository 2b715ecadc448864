"""What is drawn of a timeline: critical path, Gantt chart, and a trace whose lanes add up to the step."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from costsim.errors import BadInput
from costsim.report import gantt as charts
from costsim.report.gantt import gantt, held_lines
from costsim.report.perfetto import ALL_TO_ALL_LANE, COMPUTE_LANE, SEND_LANE, perfetto
from costsim.schedule import COMPUTE, SCHEDULES, StageTimes, Timeline, critical_path, run

EVIL = "</script><script>alert(1)</script>\"'&\x00\n\u2028"


def played(name: str = "dualpipe", pp: int = 4, m: int = 12, vpp: int = 1) -> Timeline:
    """A small timeline with unequal stages, all-to-alls and sends."""
    schedule = SCHEDULES[name]
    n = schedule.stages(pp, vpp)
    f = np.linspace(0.010, 0.013, n)
    b, w = 1.4 * f, 0.5 * f
    pair = 0.9 * (f[:, None] + b + w)
    times = StageTimes(f, b, w, pair, 0.0011, 0.4 * f, 0.3 * b)
    return run(schedule.program(pp, m, vpp), times)


@pytest.mark.parametrize(
    ("name", "vpp"),
    [("gpipe", 1), ("1f1b", 1), ("interleaved", 2), ("zb1p", 1), ("dualpipe", 1), ("dualpipev", 1)],
)
def test_the_critical_path_is_as_long_as_the_step_and_never_waits(name: str, vpp: int) -> None:
    timeline = played(name, vpp=vpp)
    path = critical_path(timeline)
    assert path.step_s == pytest.approx(timeline.step_s, rel=1e-12)
    assert sum(path.seconds_by_rank.values()) == pytest.approx(timeline.step_s, rel=1e-12)
    assert np.allclose(timeline.start_s[path.tasks][1:], timeline.end_s[path.tasks][:-1], rtol=1e-12)
    assert timeline.start_s[path.tasks[0]] == 0
    for task, then in zip(path.tasks, path.tasks[1:], strict=False):
        assert task in timeline.program.before[then]


def events_of(timeline: Timeline, **more: Any) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = json.loads(perfetto(timeline, "test", **more))["traceEvents"]
    return events


@pytest.mark.parametrize("name", ["1f1b", "zb1p", "dualpipe", "dualpipev"])
def test_lanes_of_the_trace_add_up_to_the_step(name: str) -> None:
    timeline = played(name)
    step_us = timeline.step_s * 1e6
    events = events_of(timeline)
    for rank in range(4):
        mine = [e for e in events if e["ph"] == "X" and e["pid"] == rank]
        lanes = {lane: [e for e in mine if e["tid"] == lane] for lane in (1, 2, 3)}
        assert sum(e["dur"] for e in lanes[COMPUTE_LANE]) == pytest.approx(step_us, abs=0.01)
        work = sum(e["dur"] for e in lanes[COMPUTE_LANE] if e["name"] != "bubble")
        assert work == pytest.approx(timeline.busy_s[rank] * 1e6, abs=0.5)
        compute = (timeline.rank == rank) & (timeline.lane == COMPUTE)
        inside = timeline.all_to_all_s()[compute].sum() * 1e6
        assert sum(e["dur"] for e in lanes[ALL_TO_ALL_LANE]) == pytest.approx(inside, abs=0.5)
        assert sum(e["dur"] for e in lanes[SEND_LANE]) == pytest.approx(timeline.send_s[rank] * 1e6, abs=0.5)
        for lane in lanes.values():
            ends = 0.0
            for event in sorted(lane, key=lambda e: e["ts"]):
                assert event["ts"] >= ends - 1e-3
                ends = event["ts"] + event["dur"]
            assert ends <= step_us + 0.01


def test_the_trace_has_a_process_for_each_rank_and_a_thread_for_each_lane() -> None:
    events = events_of(played(), ranks=[0, 3])
    names = {e["pid"]: e["args"]["name"] for e in events if e["name"] == "process_name"}
    assert names == {0: "rank 0 · test", 3: "rank 3 · test"}
    threads = [e["args"]["name"] for e in events if e["name"] == "thread_name" and e["pid"] == 3]
    assert threads == ["compute", "all-to-all", "send"]
    assert {e["pid"] for e in events} == {0, 3}


def test_names_in_a_trace_are_escaped() -> None:
    text = perfetto(played(), EVIL, {"model": EVIL, "step": 3})
    assert "<" not in text
    assert text.isascii()
    assert not any(ord(c) < 32 for c in text.rstrip("\n"))
    read = json.loads(text)
    assert read["otherData"]["model"] == EVIL
    assert read["traceEvents"][0]["args"]["name"].endswith(EVIL)


def test_every_task_of_the_timeline_is_in_the_chart() -> None:
    timeline = played()
    figure = gantt(timeline, "DualPipe", wire=True)
    drawn = {trace["name"]: sum(trace["x"]) for trace in figure["data"]}
    assert drawn.pop("all-to-all") == pytest.approx(timeline.all_to_all_s().sum() * 1e3, rel=1e-4)
    assert drawn.pop("send") == pytest.approx(timeline.send_s.sum() * 1e3, rel=1e-4)
    assert sum(drawn.values()) == pytest.approx(timeline.busy_s.sum() * 1e3, rel=1e-4)
    assert set(drawn) == {"forward", "backward", "backward input", "weight gradient", "forward & backward"}


def test_plotly_accepts_the_charts() -> None:
    import plotly.graph_objects

    timeline = played()
    for figure in (
        gantt(timeline, EVIL, wire=True),
        gantt(timeline, "two ranks", ranks=[0, 3]),
        held_lines(timeline, "held", "GB", 2e9, 1e9, scale=1e9),
    ):
        plotly.graph_objects.Figure(figure)
        json.dumps(figure)
    labels = [text for trace in gantt(timeline, "", ranks=[0], wire=True)["data"] for text in trace["text"]]
    assert "forward of micro-batch 0, stage 0" in labels
    assert "gradients of micro-batch 6, stage 3 to 2" in labels  # rank 0 is the last of the upward direction
    assert not any("gradients" in label and "stage 0 to" in label for label in labels)
    assert any(label.startswith("activations of micro-batch 0, stage 0 to 1") for label in labels)


def test_held_lines_end_at_nothing_and_name_their_peak() -> None:
    timeline = played()
    figure = held_lines(timeline, "held", "micro-batches", 1.0, ranks=[0])
    assert figure["data"][0]["name"] == "rank 0, peak 5 micro-batches"
    assert figure["data"][0]["y"][-1] == 0


def test_ranks_that_are_not_there_are_refused() -> None:
    with pytest.raises(BadInput, match="0 to 3"):
        gantt(played(), "", ranks=[4])
    with pytest.raises(BadInput, match="0 to 3"):
        gantt(played(), "", ranks=[])


def test_a_chart_of_many_tasks_leaves_ranks_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(charts, "MAX_BARS", 100)
    figure = gantt(played(), "")
    assert figure["layout"]["yaxis"]["categoryarray"] == ["rank 0", "rank 3"]
