"""Devices by name and by what they can do."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="the model needs torch: pip install costsim[model]")

from model import device, fp8  # noqa: E402


def test_names():
    assert device.resolve("cpu") == torch.device("cpu")
    assert device.resolve("auto").type in device.KINDS
    absent = next(kind for kind in ("npu", "musa", "mlu") if not device.present(kind))
    with pytest.raises(device.DeviceError, match=f"'{absent}:1' is not available here; found: .*cpu"):
        device.resolve(f"{absent}:1")


def test_backends():
    backends = {kind: device.backend(torch.device(kind)) for kind in ("cpu", "cuda", "mps")}
    assert backends == {"cpu": "gloo", "cuda": "nccl", "mps": "gloo"}
    device.synchronize(torch.device("cpu"))


def test_capabilities_of_the_cpu():
    assert device.has_complex("cpu")
    assert not device.has_block_scaled_matmul("cpu")
    assert not device.has_fused_attention("cpu")


def test_a_native_product_that_disagrees_is_not_used(monkeypatch):
    monkeypatch.setattr(device, "has_block_scaled_matmul", lambda kind: True)
    monkeypatch.setattr(fp8, "_native_matmul", lambda a, b: 2 * fp8.emulated_matmul(a, b))
    fp8.native.cache_clear()
    assert not fp8.native("cpu")
    monkeypatch.setattr(fp8, "_native_matmul", fp8.emulated_matmul)
    fp8.native.cache_clear()
    assert fp8.native("cpu")
    fp8.native.cache_clear()
