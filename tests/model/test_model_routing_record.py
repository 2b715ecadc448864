"""The routing recorder: what it counts is what the routers chose, and what `costsim place` reads."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="the model needs torch: pip install costsim[model]")

import numpy as np  # noqa: E402

import model  # noqa: E402
from costsim.placement.load import read_loads  # noqa: E402


@pytest.fixture
def module():
    config = model.DeepSeekConfig(
        vocab=128, hidden=64, layers=3, dense_layers=1, heads=4, experts=16, groups=4, top_groups=2, top_k=4
    )
    return model.DeepSeek(config).eval()


def test_counts_and_choices_are_the_routers_own(module, tmp_path):
    ids = torch.randint(0, 128, (2, 24))
    with model.RoutingRecord(module) as record, torch.no_grad():
        module(ids)
        module(ids[:, :8])
    module(ids)  # closed: not counted
    counts, topk = record.counts(), record.topk()
    assert counts.shape == (2, 16)
    assert topk.shape == (2, 2 * 24 + 2 * 8, 4)
    assert (counts.sum(1) == topk.shape[1] * 4).all()
    for layer in range(2):
        np.testing.assert_array_equal(np.bincount(topk[layer].ravel(), minlength=16), counts[layer])
    assert max(len(set(row)) for row in (topk[0] // 4).tolist()) <= 2  # group-limited
    record.save(tmp_path / "counts.npy", tmp_path / "topk.npy")
    np.testing.assert_array_equal(read_loads(tmp_path / "counts.npy", 16).counts, counts)
    np.testing.assert_array_equal(read_loads(tmp_path / "topk.npy", 16).counts, counts)


def test_choices_are_bounded_and_counts_go_on(module):
    with model.RoutingRecord(module, most_tokens=10) as record, torch.no_grad():
        module(torch.randint(0, 128, (1, 32)))
    assert record.topk().shape == (2, 10, 4)
    assert (record.counts().sum(1) == 32 * 4).all()


def test_nothing_to_record_is_said(module):
    with pytest.raises(ValueError, match="no router"):
        model.RoutingRecord(torch.nn.Linear(2, 2))
    with pytest.raises(ValueError, match="nothing recorded"):
        model.RoutingRecord(module).counts()
