"""Sweeps: the same rows from one process, many, a Dask cluster and a folder half full; lost workers lose nothing."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from costsim.cli.main import main
from costsim.errors import BadInput
from costsim.explore.sweep import finished, key_of, sweep

GRID = ["simulate", "--accelerator", "h200-sxm", "--gpus", "8", "--tp", "8", "--osl", "20", "--no-bands", "--json"]


def squares(points: list[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [{"square": point["x"] ** 2} for point in points]


def kill_once(points: list[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The first process to see the marked point dies there."""
    for point in points:
        mark = Path(point["mark"])
        if point["x"] == 7 and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
    return squares(points)


def always_dies(points: list[Mapping[str, Any]]) -> list[dict[str, Any]]:
    os.kill(os.getpid(), signal.SIGKILL)
    return squares(points)


def breaks(points: list[Mapping[str, Any]]) -> list[dict[str, Any]]:
    raise ZeroDivisionError("a defect is not hidden")


def test_rows_come_in_the_order_of_the_points() -> None:
    points = [{"x": x} for x in range(23)]
    for chunk in (1, 4, 50):
        assert [row["square"] for row in sweep(points, squares, chunk=chunk)] == [x * x for x in range(23)]


def test_finished_points_are_not_asked_again(tmp_path: Path) -> None:
    points = [{"x": x} for x in range(10)]
    sweep(points[:6], squares, folder=tmp_path, chunk=3)
    before = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert len(before) == 2
    seen: list[tuple[int, int]] = []
    rows = sweep(points, squares, folder=tmp_path, chunk=3, progress=lambda n, total: seen.append((n, total)))
    assert [row["square"] for row in rows] == [x * x for x in range(10)]
    assert seen[0] == (6, 10), "six were there"
    assert {n: t for n, t in ((p.name, p.read_text()) for p in tmp_path.iterdir()) if n in before} == before
    assert not [path for path in tmp_path.iterdir() if path.suffix != ".jsonl"]


def test_foreign_and_broken_files_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("not json\n")
    (tmp_path / "b.jsonl").write_text('{"key": "other", "row": {"square": -1}}\n[1]\n')
    (tmp_path / "c.jsonl").write_bytes(b"\xff\xfe")
    points = [{"x": 3}]
    assert finished(tmp_path, {key_of(points[0], "t")}) == {}
    assert sweep(points, squares, folder=tmp_path) == [{"square": 9}]


def test_a_key_tells_values_tasks_and_nothing_else_apart() -> None:
    assert key_of({"a": 1, "b": 2}, "t") == key_of({"b": 2, "a": 1}, "t")
    assert len({key_of({"a": 1}, "t"), key_of({"a": 2}, "t"), key_of({"a": 1}, "u")}) == 3


def test_a_defect_in_a_task_is_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError):
        sweep([{"x": 1}], breaks)


def test_bad_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(BadInput, match="workers"):
        sweep([{"x": 1}], squares, workers=0)
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(BadInput, match="cannot be written"):
        sweep([{"x": 1}], squares, folder=file / "sub")
    assert main([*GRID, "--rate", "1", "--workers", "2"]) == 2
    assert "runs a sweep" in capsys.readouterr().err
    assert main([*GRID, "--rate", "1:2", "--perfetto", "x.json"]) == 2
    assert "one scenario" in capsys.readouterr().err


def test_the_verb_sweeps_and_resumes(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Each row is what the verb answers for that scenario alone; refused points keep their row."""
    grid = [*GRID, "--requests", "5", "--isl", "50,90", "--rate", "1,50000000"]
    assert main([*grid, "--resume", str(tmp_path / "kept")]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["varied"] == ["isl", "rate"]
    assert len(answer["rows"]) == 4
    assert main([*GRID, "--requests", "5", "--isl", "90", "--rate", "1"]) == 0
    alone = json.loads(capsys.readouterr().out)
    row = next(r for r in answer["rows"] if r["point"] == {"isl": 90, "rate": 1})
    assert row["metrics"]["ttft_s"] == alone["metrics"]["ttft_s"]
    assert main([*grid, "--resume", str(tmp_path / "kept")]) == 0
    assert json.loads(capsys.readouterr().out) == answer


def test_a_refused_point_keeps_its_row(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*GRID, "--gpus", "8,12", "--rate", "1", "--requests", "5", "--isl", "50"]) == 0
    good, bad = json.loads(capsys.readouterr().out)["rows"]
    assert good["metrics"]["tpot_s"]["value"] > 0
    assert "multiple" in bad["error"]


@pytest.mark.slow
def test_a_killed_local_worker_loses_nothing(tmp_path: Path) -> None:
    points = [{"x": x, "mark": str(tmp_path / "mark")} for x in range(40)]
    rows = sweep(points, kill_once, workers=2, chunk=2, folder=tmp_path / "kept")
    assert (tmp_path / "mark").exists()
    assert rows == squares(points)
    with pytest.raises(BadInput, match="lost its worker"):
        sweep(points[:2], always_dies, workers=2)


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
@pytest.mark.timeout(900)
def test_a_thousand_simulations_survive_a_killed_dask_worker(tmp_path: Path) -> None:
    """Two workers, one of them killed with SIGKILL under way: rows as from one process."""
    distributed = pytest.importorskip("distributed", reason="needs dask[distributed] (the cluster extra)")
    from costsim.cli.simulate_grid import answer_points

    base = scenario("--requests", "10")
    points = [{**base, "rate": [rate / 10], "seed": [seed]} for rate in range(1, 101) for seed in range(10)]
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, silence_logs=50
    ) as cluster:
        killed: list[int] = []

        def kill(done: int, total: int) -> None:
            if done > total // 5 and not killed:
                pid = cluster.workers[0].process.process.pid
                killed.append(pid)
                os.kill(pid, signal.SIGKILL)

        rows = sweep(
            points, answer_points, folder=tmp_path, scheduler=cluster.scheduler_address, chunk=20, progress=kill
        )
    assert killed
    assert len(rows) == 1000
    assert len(finished(tmp_path, {key_of(p, "costsim.cli.simulate_grid.answer_points") for p in points})) == 1000
    assert rows == sweep(points, answer_points)


@pytest.mark.parametrize("address", ["nowhere", "tcp://host", "host:1", "tcp://a b:1"])
def test_addresses_are_checked_before_anything_is_tried(address: str) -> None:
    with pytest.raises(BadInput, match=r"not an address|costsim\[cluster\]"):
        sweep([{"x": 1}], squares, scheduler=address)


def test_no_dask_says_what_to_install() -> None:
    try:
        import distributed  # noqa: F401
    except ImportError:
        with pytest.raises(BadInput, match=r"costsim\[cluster\]"):
            sweep([{"x": 1}], squares, scheduler="tcp://127.0.0.1:1")
    else:
        with pytest.raises(BadInput, match="no Dask scheduler"):
            sweep([{"x": 1}], squares, scheduler="tcp://127.0.0.1:1")


def scenario(*more: str) -> dict[str, Any]:
    """The options of one small simulation, as the verb hands them to a worker."""
    from costsim.cli import simulate, simulate_grid
    from costsim.cli.parser import verb_parser

    parser = verb_parser(simulate.NAME, simulate.HELP, simulate.EXAMPLE)
    simulate.configure(parser)
    args = parser.parse_args([*GRID[1:], "--isl", "100", "--rate", "1", *more])
    return {name: value for name, value in vars(args).items() if name not in simulate_grid._HOW}
