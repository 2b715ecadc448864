"""All-reduces between nodes: against the library's own constants, installations left out, and the law inside a node."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from costsim.calibration.between import LAW, between_nodes, fit_runs, law_text, left_out, read_runs
from costsim.calibration.store import device_for
from costsim.errors import BadInput
from costsim.physics.op import Wire
from costsim.spec.catalog import load_accelerator, load_cluster
from costsim.timing.device import Device
from costsim.timing.duration import time_wire
from costsim.timing.laws import Relay

pytest.importorskip("scipy")


@pytest.fixture(scope="module")
def h100() -> Device:
    return device_for(load_accelerator("h100-sxm"), load_cluster("h100-8x400g-ib"))


def reduce(size: float, ranks: float) -> Wire:
    return Wire("all-reduce", "all_reduce", size, size, ranks, 8.0, 1.0, "x")


def test_the_shipped_law_is_what_the_shipped_rows_give() -> None:
    assert json.loads(LAW.read_text(encoding="utf-8")) == json.loads(law_text(read_runs()))


def test_what_the_rows_teach_is_what_the_library_assumes() -> None:
    """NCCL's tuning model: 5 us a hop of the low-latency tree, 28 us of the simple one, there and back [nccl-tuning].

    The starting values are those; so the fit is also run from values three times as large."""
    law = between_nodes().law
    assert isinstance(law, Relay)
    assert law.per_doubling_s == pytest.approx(5.0e-6, rel=0.2)
    assert law.simple_s == pytest.approx(2.0 * (28e-6 - 5e-6), rel=0.2)
    runs = read_runs()
    far = [replace(run, time_s=3.0 * run.time_s) for run in runs]
    slow = fit_runs(far)
    assert slow.simple_s > 2.0 * law.simple_s, "the rows decide, not the prior"
    assert slow.per_doubling_s > 2.0 * law.per_doubling_s


def test_installations_that_the_law_never_saw() -> None:
    """Healthy ones within a fifth in the middle; the run posted as faulty is several times slower than any law of
    healthy ones says, and the band reaches towards it."""
    runs = read_runs()
    held = left_out(runs)
    healthy = [np.median(held[run.name]) for run in runs if run.fitted]
    assert len(healthy) == 5
    assert np.max(np.abs(np.expm1(healthy))) < 0.25
    faulty = np.exp(held["h100-3-nodes"])
    assert np.median(faulty) > 2.0
    assert between_nodes().high > 2.0


@pytest.mark.parametrize(
    ("size", "least_us", "most_us"),
    [(14_336, 37.2, 53.7), (1 << 20, 76.9, 87.1), (1 << 23, 149.8, 154.5), (1 << 30, 4388.0, 4512.0)],
)
def test_two_nodes_of_hopper(h100: Device, size: float, least_us: float, most_us: float) -> None:
    """The two published full tables of Hopper nodes with 400 Gb/s a GPU: a quarter off at most."""
    seconds = float(time_wire(reduce(size, 16.0), h100).time_s)
    assert 0.75 * least_us < seconds * 1e6 < 1.25 * most_us


def test_ranks_of_one_node_keep_the_engine_s_own_kernel(h100: Device) -> None:
    sizes = np.array([1e3, 14_336.0, 1e6, 1e8])
    alone = replace(h100, laws={k: v for k, v in h100.laws.items() if k != "all_reduce_nodes/bytes"})
    inside = np.asarray(time_wire(reduce(sizes, 8.0), h100).time_s)
    np.testing.assert_array_equal(inside, time_wire(reduce(sizes, 8.0), alone).time_s)
    across = np.asarray(time_wire(reduce(sizes, 16.0), h100).time_s)
    assert np.all(across[:3] > 3.0 * inside[:3])


def test_one_formula_for_a_plan_and_a_sweep(h100: Device) -> None:
    ranks, sizes = np.array([2.0, 8.0, 16.0, 64.0]), np.geomspace(64, 1e9, 7)[:, None]
    swept = np.asarray(time_wire(reduce(sizes, ranks), h100).time_s)
    each = [[float(time_wire(reduce(float(s), float(r)), h100).time_s) for r in ranks] for s in sizes[:, 0]]
    np.testing.assert_allclose(swept, each, rtol=1e-6)  # corrections interpolate in single precision
    assert np.all(np.diff(swept[:, 2:], axis=0) > 0)


def test_a_file_that_is_no_law_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:  # type: ignore[no-untyped-def]
    broken = tmp_path / "law.json"
    broken.write_text('{"schema": 1, "law": "relay", "parameters": {}, "held_out": {}}')
    monkeypatch.setattr("costsim.calibration.between.LAW", broken)
    between_nodes.cache_clear()
    with pytest.raises(BadInput, match="not a law between nodes"):
        between_nodes()
    between_nodes.cache_clear()
