"""Two-batch overlap of a decode step: against its stages played one by one, and against published ablations."""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import SimpleNamespace

import numpy as np
import pytest

from costsim.physics.op import Op, Wire
from costsim.predict.inference import predict_inference
from costsim.predict.phase import Phase, Timed, two_batch_stages, two_batch_step, two_batch_streams
from costsim.spec.catalog import load_accelerator, load_model
from costsim.spec.plan import DecodeLoad, ServingPlan

V3 = load_model("deepseek-v3")


@dataclass(frozen=True)
class Layer:
    """Seconds of one routed layer: projections, core to router, dispatch, shared, experts, combine."""

    first: float
    core: float
    dispatch: float
    shared: float
    experts: float
    combine: float


def played(layer: Layer, layers: int) -> float:
    """SGLang's stages on one stream, each micro-batch's next in turn, the second two stages behind."""
    clock = 0.0
    landed = {"A": 0.0, "B": 0.0}

    def stage(batch: str, which: int) -> None:
        nonlocal clock
        if which == 0:
            clock += layer.first
        elif which == 1:
            clock += layer.core
        elif which == 2:
            landed[batch] = clock + layer.dispatch
            clock += layer.shared
        elif which == 3:
            clock = max(clock, landed[batch]) + layer.experts
            landed[batch] = clock + layer.combine
        else:
            clock = max(clock, landed[batch])

    for step in range(5 * layers + 2):
        if step < 5 * layers:
            stage("A", step % 5)
        if step >= 2:
            stage("B", (step - 2) % 5)
    return clock


def phase_of(layer: Layer, layers: int) -> Phase:
    def timed(item: Op | Wire, seconds: float) -> Timed:
        return Timed(item, SimpleNamespace(time_s=seconds, fitted=SimpleNamespace(gap_included=True)))  # type: ignore[arg-type]

    def op(name: str, part: str, seconds: float) -> Timed:
        return timed(Op(name, "gemm", "fp8", 1.0, 1.0, float(layers), part), seconds)

    def wire(kind: str, seconds: float) -> Timed:
        return timed(Wire(kind, f"{kind}_ll", 1.0, 1.0, 64.0, 8.0, float(layers), kind), seconds)

    ops = (op("qkv", "attention", layer.first), op("attention", "attention", layer.core * 0.7),
           op("router", "attention", layer.core * 0.3), op("shared", "shared", layer.shared),
           op("experts", "moe", layer.experts))  # fmt: skip
    return Phase(ops, (wire("dispatch", layer.dispatch), wire("combine", layer.combine)), 0.0)


def test_the_closed_form_is_the_period_of_the_stages() -> None:
    rng = np.random.default_rng(5)
    for _ in range(200):
        layer = Layer(*rng.uniform(10e-6, 400e-6, 6))
        few, many = 20, 120
        period = (played(layer, many) - played(layer, few)) / (many - few)
        step = two_batch_stages(phase_of(layer, many))
        assert float(step.total_s) / many == pytest.approx(period, rel=1e-9)
        ideal = float(two_batch_step(phase_of(layer, many), 1.0).total_s)
        assert ideal <= float(step.total_s) * (1 + 1e-12)
        busy = 2.0 * many * (layer.first + layer.core + layer.shared + layer.experts)
        assert float(step.exposed_comm_s) == pytest.approx(float(step.total_s) - busy)
        sent = 2.0 * many * (layer.dispatch + layer.combine)
        assert float(step.exposed_comm_s + step.hidden_comm_s) == pytest.approx(sent)


def rate(batch: float, overlap: str) -> float:
    """SGLang's decode node of 9: H100, EP72, 2,000 tokens of context [lmsys-large-scale-ep]."""
    plan = ServingPlan(72, ep=72, redundant_experts=32, routing="eplb", overlap=overlap)  # type: ignore[arg-type]
    chip = load_accelerator("h100-sxm")
    return float(predict_inference(V3, chip, plan, DecodeLoad(2000, batch))["tokens_per_s_per_gpu"])


def test_gains_of_the_published_ablation() -> None:
    """25.5 % at 256 requests a card, even between 64 and 128, a loss at 32; without overlap 22,282/8/1.255 a card."""
    gain = {batch: rate(batch, "two-batch") / rate(batch, "none") - 1.0 for batch in (32, 64, 128, 256)}
    assert gain[256] == pytest.approx(0.255, abs=0.06)
    assert gain[32] < -0.1
    assert gain[64] < 0.06
    assert gain[32] < gain[64] < gain[128] < gain[256]
    assert rate(256, "none") == pytest.approx(22282 / 8 / 1.255, rel=0.05)
    assert rate(256, "two-batch") == pytest.approx(22282 / 8, rel=0.06)


def test_two_streams_divide_cores_at_best() -> None:
    """Against every division on a grid; compute that does not shrink with cores shrinks with none of them."""
    rng, grid = np.random.default_rng(6), np.linspace(0.01, 0.99, 9801)
    for _ in range(100):
        layer = Layer(*rng.uniform(50e-6, 400e-6, 6))
        fixed, routed = layer.first + layer.core, layer.shared + layer.experts
        on_half = replace(layer, first=layer.first * 1.8, core=layer.core * 1.5, shared=layer.shared * 1.9,
                          experts=layer.experts * 1.7)  # fmt: skip
        whole, half = phase_of(layer, 10), phase_of(on_half, 10)
        b, d = on_half.first + on_half.core - fixed, on_half.shared + on_half.experts - routed
        sent = layer.dispatch + layer.combine
        best = np.maximum(fixed - b + b / grid, routed - d + d / (1.0 - grid) + sent).min()
        assert float(two_batch_streams(whole, half, 0.0).total_s) == pytest.approx(20.0 * best, rel=1e-3)
        assert float(two_batch_streams(whole, half, 1.0).total_s) == 2.0  # memory bounds both streams together
        alike = two_batch_streams(whole, whole, 0.0)
        assert float(alike.total_s) == pytest.approx(20.0 * max(fixed, routed + sent))


def test_the_published_decode_of_two_streams() -> None:
    """CloudMatrix-Infer, 96 requests a card, EP320: 1,943 tokens a second on a card [cloudmatrix384]."""
    plan = ServingPlan(160, ep=320, overlap="two-batch", precision="int8", routing="eplb")
    report = predict_inference(V3, load_accelerator("ascend-910c"), plan, DecodeLoad(4224, 96, 1, 0.7))
    assert report["tokens_per_s_per_gpu"] == pytest.approx(1943, rel=0.1)
    assert sum(line.time_s for line in report.breakdown if not line.overlapped) == pytest.approx(report["step_s"])
    without = predict_inference(V3, load_accelerator("ascend-910c"), plan, DecodeLoad(4224, 96))
    assert sum(line.time_s for line in without.breakdown if not line.overlapped) == pytest.approx(without["step_s"])
