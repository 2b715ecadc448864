"""Stops and checkpoints: closed forms against a simulation of failures, published counts against their rates."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import numpy as np
import pytest

from costsim.economics.goodput import (
    checkpoint_bytes,
    checkpoint_s,
    daly_interval_s,
    effective_time_ratio,
    expected_wall_s,
    goodput,
    mtbf_s,
    young_interval_s,
)
from costsim.spec.assumption import load_assumptions
from costsim.spec.catalog import ROOT
from costsim.spec.reliability import causes, load_record, load_records

COLLECTED = Path(__file__).resolve().parents[2] / "shared" / "truth" / "reliability_points.csv"
HOUR = 3600.0


def simulated_wall_s(
    work: float, interval: float, save: float, restart: float, mtbf: float, rng: np.random.Generator
) -> float:
    """One run, event by event: train, save, fail at any moment (in a restart too), fall back to the last save."""
    clock = done = 0.0
    failure = rng.exponential(mtbf)
    while done < work:
        segment = min(interval, work - done) + save
        if clock + segment <= failure:
            clock += segment
            done += segment - save
            continue
        while True:
            clock = failure
            failure = clock + rng.exponential(mtbf)
            if clock + restart <= failure:
                clock += restart
                break
    return clock


@pytest.mark.parametrize(
    ("mtbf", "save", "restart", "interval"),
    [(24 * HOUR, 60.0, 600.0, 3000.0), (3 * HOUR, 60.0, 600.0, 1100.0), (0.25 * HOUR, 30.0, 120.0, 250.0)],
)
def test_expected_wall_time_is_the_mean_of_simulated_runs(
    mtbf: float, save: float, restart: float, interval: float
) -> None:
    rng = np.random.default_rng(7)
    work = 400 * interval
    runs = [simulated_wall_s(work, interval, save, restart, mtbf, rng) for _ in range(120)]
    error = np.std(runs) / np.sqrt(len(runs))
    assert expected_wall_s(work, interval, save, restart, mtbf) == pytest.approx(np.mean(runs), abs=4 * error)
    assert 4 * error / np.mean(runs) < 0.05, "the simulation must be able to tell"


@pytest.mark.parametrize("mtbf", [0.5 * HOUR, 3 * HOUR, 24 * HOUR])
@pytest.mark.parametrize("save", [5.0, 60.0, 240.0])
def test_optimal_interval_is_where_the_exact_wall_time_is_least(mtbf: float, save: float) -> None:
    grid = np.geomspace(save / 4, 4 * mtbf, 40_000)
    wall = expected_wall_s(1.0, grid, save, 300.0, mtbf)
    best = float(grid[np.argmin(wall)])
    assert daly_interval_s(save, mtbf) == pytest.approx(best, rel=0.02)
    # Young's is first order: it may be off in the interval, hardly in what it costs
    young = float(young_interval_s(save, mtbf))
    assert young == np.sqrt(2 * save * mtbf)
    assert expected_wall_s(1.0, young, save, 300.0, mtbf) < 1.03 * float(np.min(wall))


def test_no_interval_beats_dalys_by_brute_force_simulation() -> None:
    """The same failures for every interval: the simulated optimum lies near the closed form's."""
    mtbf, save, restart = 3 * HOUR, 60.0, 300.0
    optimum = float(daly_interval_s(save, mtbf))

    def mean_wall(interval: float) -> float:
        rng = np.random.default_rng(3)
        return float(np.mean([simulated_wall_s(60 * HOUR, interval, save, restart, mtbf, rng) for _ in range(60)]))

    at_best = mean_wall(optimum)
    assert at_best < mean_wall(optimum / 4)
    assert at_best < mean_wall(optimum * 4)


def test_the_estimator_of_meta_agrees_with_the_exact_ratio_where_stops_are_rare() -> None:
    interval, save, restart = np.array([1800.0, 3600.0]), 30.0, 300.0
    exact = 1.0 / expected_wall_s(1.0, interval, save, restart, 48 * HOUR)
    assert effective_time_ratio(interval, save, restart, 48 * HOUR) == pytest.approx(exact, rel=2e-3)
    assert effective_time_ratio(1e9, 1.0, 1.0, 60.0) == 0.0


def test_llama_3_trained_more_than_nine_tenths_of_the_time() -> None:
    """The published run: 16,384 cards, 419 stops in 54 days, above 90 % effective."""
    record, chosen = load_record("llama3-h100"), load_assumptions()
    hours = record.gpu_hours_per_interruption
    assert mtbf_s(hours, 16384) / HOUR == pytest.approx(3.09, abs=0.005)
    saved = checkpoint_s(405e9, 16384, 8, chosen["node_write"].value)
    found = goodput(hours, 16384, saved, chosen["restart"].value)
    assert 0.90 < found.ratio < 0.97
    assert found.failures(54 * 24 * HOUR) == pytest.approx(419)


def test_division_gives_the_mean_times_to_failure_that_meta_projects() -> None:
    """6.50 per 1,000 node-days: 1.8 h at 16,384 GPUs and 0.23 h at 131,072, as printed. Its jobs of 1,024 GPUs did
    worse than the rate: 7.9 h against 28.8."""
    hours = load_record("meta-rsc-1").gpu_hours_per_interruption
    assert hours == pytest.approx(1000 * 24 * 8 / 6.5)
    assert mtbf_s(hours, 16_384) / HOUR == pytest.approx(1.8, abs=0.05)
    assert mtbf_s(hours, 131_072) / HOUR == pytest.approx(0.23, abs=0.005)
    assert mtbf_s(hours, 1024) / HOUR > 7.9


def test_causes_add_up_to_the_unexpected_interruptions() -> None:
    assert sum(causes().values()) == load_record("llama3-h100").interruptions == 466 - 47
    assert causes()["faulty GPU"] / 419 == pytest.approx(0.353, abs=5e-4)


def test_the_assumed_rate_spans_the_published_ones() -> None:
    rate = load_assumptions()["gpu_hours_per_interruption"]
    rates = sorted(record.gpu_hours_per_interruption for record in load_records().values())
    assert (rate.low, rate.value, rate.high) == pytest.approx(rates, rel=0.01)


@pytest.mark.skipif(
    not COLLECTED.is_file(), reason="the collected table reliability_points.csv is not beside this checkout"
)
def test_counts_equal_the_collected_table() -> None:
    with COLLECTED.open(encoding="utf-8", newline="") as file:
        rows = {row["id"]: row["value"] for row in csv.DictReader(file)}
    counted = sorted(
        int(match[1])
        for name, value in rows.items()
        if name.startswith("llama3_") and (match := re.match(r"(\d+) \(", value))
    )
    assert counted == sorted(causes().values())
    assert "6.50" in rows["rsc_rate"]
    assert load_record("meta-rsc-2").per_1000_node_days == 2.34


def test_checkpoint_of_v3_is_ten_bytes_a_parameter_and_broadcasts() -> None:
    assert checkpoint_bytes(671e9) == 6.71e12
    # 1.4 TB of BF16 weights alone are published for V3
    assert checkpoint_bytes(671e9) * 0.2 == pytest.approx(1.4e12, rel=0.05)
    nodes = checkpoint_s(671e9, np.array([8.0, 2048.0]), 8, 2e9)
    assert nodes[0] == pytest.approx(256 * nodes[1])


def test_every_key_cited_is_in_the_bibliography() -> None:
    bib = (ROOT / "hwprofiles" / "references.bib").read_text(encoding="utf-8")
    for assumption in load_assumptions().values():
        assert assumption.sources, assumption.id
        for key in assumption.sources:
            assert f"{{{key}," in bib, (assumption.id, key)
    for record in load_records().values():
        assert f"{{{record.source}," in bib
