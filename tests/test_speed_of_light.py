"""Nothing beats its datasheet, and more load never takes less time: every accelerator × every kind of work."""

from __future__ import annotations

import itertools
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from costsim.calibration.store import Laws, device_for
from costsim.errors import UnknownField, UnsupportedDtype
from costsim.physics.layout import Layout, expert_slots
from costsim.physics.op import Op, Wire, batched_gemm, experts, gemm, stream
from costsim.physics.step import decode_demand, prefill_demand
from costsim.predict.inference import predict_inference
from costsim.predict.phases import Setting, decode, prefill, setting_for
from costsim.predict.report import Report
from costsim.predict.steady import serve
from costsim.predict.training import predict_training, training_step
from costsim.spec.accelerator import Accelerator
from costsim.spec.catalog import ACCELERATORS, load_accelerator, load_model, names
from costsim.spec.cluster import Cluster, standard_cluster
from costsim.spec.plan import (
    OVERLAPS,
    ROUTINGS,
    DecodeLoad,
    PrefillLoad,
    ServingLoad,
    ServingPlan,
    TrainingLoad,
    TrainingPlan,
)
from costsim.spec.price import parse_rate
from costsim.timing.device import Device
from costsim.timing.duration import light_s, time_op, time_wire
from costsim.timing.laws import Tile

Array = NDArray[np.float64]
CHIPS = names(ACCELERATORS)
DTYPES = ("bf16", "fp8", "int8", "w4")
SHAPES = 400


def has(chip: Accelerator, *fields: str) -> bool:
    return all(chip.known(field) for field in fields)


@cache
def measurable(name: str) -> tuple[Device, tuple[str, ...]]:
    """The device and the number formats that its datasheet gives a peak for."""
    chip = load_accelerator(name)
    device = device_for(chip)
    return device, tuple(dtype for dtype in DTYPES if dtype in device.peaks)


TIMED = [name for name in CHIPS if has(load_accelerator(name), "memory_bandwidth", "bf16")]


def sizes(rng: np.random.Generator, low: float, high: float, count: int = SHAPES) -> Array:
    """Whole numbers spread evenly in their logarithm, some of them on tile borders."""
    values = np.floor(np.exp(rng.uniform(np.log(low), np.log(high + 1), count)))
    return np.where(rng.random(count) < 0.3, np.maximum(np.round(values / 64) * 64, low), values)


def kernels(rng: np.random.Generator, dtype: str) -> list[Op]:
    """Ops of every family with random shapes, as arrays."""
    m, n, k, groups = sizes(rng, 1, 40_000), sizes(rng, 1, 60_000), sizes(rng, 1, 60_000), sizes(rng, 1, 512)
    ops = [
        gemm("gemm", m, n, k, dtype, 1.0, "x"),
        *(experts(kind, m, n, k, groups, dtype, 1.0, "x", kind) for kind in ("moe", "moe_normal", "moe_masked")),
        batched_gemm("batched", m, n, k, groups, "bf16", 1.0, "x"),
        *(stream(p, sizes(rng, 1, 1e11), 1.0, "x", p) for p in ("stream", "norm", "strided")),
    ]
    context, batch = sizes(rng, 1, 1_000_000), sizes(rng, 1, 4096)
    for model in (load_model("deepseek-v3"), load_model("qwen3-32b")):
        layout = Layout(tp=1.0, pp=1.0, ep=1.0, moe_tp=1.0, ranks=1.0, domain=8.0,
                        slots=expert_slots(model, 1.0, 0.0), precision=dtype, kv_dtype="bf16")  # fmt: skip
        ops += decode_demand(model, layout, batch, context, sizes(rng, 1, 8)).ops
        cached = np.floor(context * rng.random(SHAPES))
        ops += prefill_demand(model, layout, sizes(rng, 1, 100_000), context, cached).ops
    return ops


@pytest.mark.parametrize("name", TIMED)
def test_no_kernel_beats_light(name: str) -> None:
    device, dtypes = measurable(name)
    rng = np.random.default_rng(7)
    families = set()
    for dtype in dtypes:
        for op in kernels(rng, dtype):
            families.add(op.family)
            time, least = np.asarray(time_op(op, device).time_s), np.asarray(light_s(op, device))
            assert np.isfinite(time).all(), (op.name, dtype)
            assert (time > 0).all(), (op.name, dtype)
            assert (time >= least * (1 - 1e-12)).all(), (op.name, dtype, float(np.min(time / least)))
            assert (np.asarray(op.flop) / time <= device.peaks[op.dtype] * (1 + 1e-12)).all(), op.name
            assert (np.asarray(op.bytes) / time <= device.bandwidth * (1 + 1e-12)).all(), op.name
    assert len(families) == 12


def random_wires(rng: np.random.Generator) -> list[Wire]:
    kinds = ("all_reduce", "all_gather", "reduce_scatter", "p2p", "dispatch", "combine", "dispatch_ll", "combine_ll")
    ranks, domain = 2.0 ** rng.integers(1, 10, SHAPES), 2.0 ** rng.integers(0, 7, SHAPES)
    up, out = sizes(rng, 1, 1e10), sizes(rng, 1, 1e10)
    return [Wire(kind, kind, up, out, ranks, domain, 1.0, "x") for kind in kinds]


WIRED = [name for name in TIMED if has(load_accelerator(name), "scale_up_bandwidth", "scale_out_bandwidth")
         and load_accelerator(name).need("scale_out_bandwidth") > 0]  # fmt: skip


def wire_light(wire: Wire, device: Device) -> Array:
    """Least seconds of a collective by hand: what every algorithm must send, at line rate.

    All-gather and reduce-scatter: (n−1)/n of the bytes leave or enter a rank. All-reduce: twice that, or once
    the bytes where the switch adds. Nothing is said here of how the bytes are cut.
    """
    up, out = np.asarray(wire.up_bytes), np.asarray(wire.out_bytes)
    ranks, domain = np.asarray(wire.ranks), np.asarray(wire.domain)
    inside, nodes = np.minimum(ranks, domain), np.maximum(ranks / domain, 1.0)
    assert device.up is not None
    assert device.out is not None
    if wire.kind in ("dispatch", "combine", "dispatch_ll", "combine_ll"):
        return np.maximum(up / device.up, out / device.out)
    if wire.kind == "p2p":
        return np.where(nodes > 1, out / device.out, up / device.up)
    twice = 2.0 if wire.kind == "all_reduce" else 1.0
    ring = twice * (inside - 1) / inside
    if wire.kind == "all_reduce" and device.in_network_reduction:
        ring = np.where(inside > 1, 1.0, 0.0)
    return np.maximum(ring * up / device.up, twice * (nodes - 1) / nodes * out / inside / device.out)


@pytest.mark.parametrize("name", WIRED)
def test_no_transfer_beats_its_line(name: str) -> None:
    device, _ = measurable(name)
    assert device.up
    assert device.out
    for wire in random_wires(np.random.default_rng(11)):
        time = np.asarray(time_wire(wire, device).time_s)
        assert (time >= wire_light(wire, device) * (1 - 1e-12)).all(), wire.kind
        for slower in (replace(device, up=device.up / 2), replace(device, out=device.out / 2)):
            assert (np.asarray(time_wire(wire, slower).time_s) >= time * (1 - 1e-12)).all(), wire.kind
        more = replace(wire, up_bytes=np.asarray(wire.up_bytes) * 1.7, out_bytes=np.asarray(wire.out_bytes) * 1.7)
        assert (np.asarray(time_wire(more, device).time_s) >= time * (1 - MEASURED_DIP)).all(), wire.kind


def test_laws_are_monotone_in_every_size() -> None:
    """m, n, k and groups one by one, across tile and wave borders, for every measured GEMM law."""
    rng = np.random.default_rng(3)
    for name in ("h800-sxm", "h20-96g", "ascend-910c"):
        device, dtypes = measurable(name)
        for dtype in dtypes:
            start = {"m": sizes(rng, 1, 2000, 60), "n": sizes(rng, 1, 8000, 60), "k": sizes(rng, 1, 8000, 60),
                     "groups": sizes(rng, 1, 64, 60)}  # fmt: skip
            for axis in start:
                steps = np.arange(0.0, 700.0)[:, None]
                m, n, k, groups = (value[None, :] + (steps if key == axis else 0.0) for key, value in start.items())
                for kind in ("moe_normal", "moe_masked"):
                    op = experts("g", m, n, k, groups, dtype, 1.0, "x", kind)
                    time = np.asarray(time_op(op, device).time_s)
                    assert isinstance(device.law(op.family, dtype).law, Tile)
                    assert (np.diff(time, axis=0) >= -1e-12 * time[1:]).all(), (name, dtype, axis)


#: deployments with distinct shapes: model, accelerator, precision, plan
SETTINGS: dict[str, tuple[str, str, ServingPlan]] = {
    "V3 EP8": ("deepseek-v3", "h800-sxm", ServingPlan(8, ep=8)),
    "V3 EP144": ("deepseek-v3", "h800-sxm", ServingPlan(144, ep=144, redundant_experts=32)),
    "V3 TP16 PP2": ("deepseek-v3", "h100-sxm", ServingPlan(32, tp=16, pp=2)),
    "V3 TP4 EP32": ("deepseek-v3", "h20-96g", ServingPlan(32, tp=4, ep=32, kv_dtype="fp8")),
    "V3 910C": ("deepseek-v3", "ascend-910c", ServingPlan(16, ep=32, precision="int8")),
    "Qwen3-32B TP4": ("qwen3-32b", "a100-80g-sxm", ServingPlan(4, tp=4, precision="bf16")),
    "gpt-oss": ("gpt-oss-120b", "mi300x", ServingPlan(8, ep=8)),
}


def setting(case: str, **changes: Any) -> Setting:
    model, chip, plan = SETTINGS[case]
    return setting_for(load_model(model), load_accelerator(chip), replace(plan, **changes))


#: a correction table follows kernels that were measured, and those fall a little here and there
MEASURED_DIP = 0.06


def allowed_dip(s: Setting) -> float:
    """Nothing for laws alone; what measured kernels show where a correction is in use."""
    laws = s.device.laws
    assert isinstance(laws, Laws)
    return MEASURED_DIP if any(law.correction for law in laws.used) else 1e-12


def assert_rising(time: Any, what: str, dip: float = 1e-12) -> None:
    """No step falls by more than ``dip``, and nothing later lies more than that under anything earlier."""
    t = np.asarray(time, dtype=float)
    assert np.isfinite(t).all(), what
    assert (t > 0).all(), what
    highest = np.maximum.accumulate(t)
    worst = float(np.min(t / highest - 1.0))
    assert worst >= -dip, f"{what}: falls by {-worst:.2%}"


@pytest.mark.parametrize("overlap", OVERLAPS)
@pytest.mark.parametrize("case", SETTINGS)
def test_more_load_never_takes_less_time(case: str, overlap: str) -> None:
    for routing in ROUTINGS:
        s = setting(case, overlap=overlap, routing=routing)
        what = f"{case} {overlap} {routing}"
        batch = np.arange(4.0, 600.0)
        by_batch = decode(s, DecodeLoad(4096.0, batch))
        dip = allowed_dip(s)
        assert_rising(by_batch.step_s, f"{what}: batch", dip)
        assert np.isfinite(np.asarray(by_batch.tokens_per_s)).all()
        assert_rising(decode(s, DecodeLoad(np.arange(1.0, 20_000.0, 37.0), 64.0)).step_s, f"{what}: context", dip)
        assert_rising(prefill(s, PrefillLoad(4096.0, np.arange(4.0, 30_000.0, 41.0))).step_s, f"{what}: tokens", dip)
        # A fixed number of prompts, each longer. (At fixed tokens shorter prompts are more rows for the head.)
        isl = np.arange(1.0, 8000.0, 13.0)
        assert_rising(prefill(s, PrefillLoad(isl, isl * 2.0)).step_s, f"{what}: isl", dip)
        cached = np.arange(0.0, 4095.0, 13.0)
        assert_rising(
            prefill(s, PrefillLoad(4096.0, (4096.0 - cached) * 2.0, cached)).step_s[::-1], f"{what}: cached", dip
        )


@pytest.mark.parametrize("drafts", [0.0, 1.0, 3.0])
def test_drafting_takes_longer_steps(drafts: float) -> None:
    s = setting("V3 EP144")
    steps = [float(decode(s, DecodeLoad(4096.0, 64.0, n, 0.7)).step_s) for n in (drafts, drafts + 1)]
    assert_rising(steps, "mtp_tokens")
    rates = [float(decode(s, DecodeLoad(4096.0, 64.0, 1.0, a)).tokens_per_s) for a in (0.0, 0.5, 1.0)]
    assert_rising(rates, "acceptance")


@pytest.mark.parametrize("case", SETTINGS)
def test_more_requests_never_speed_serving_up(case: str) -> None:
    """Up to the concurrency whose KV fits; what waits beyond it is not a running request."""
    s = setting(case)
    cards = float(np.asarray(s.plan.gpus))
    answer = serve(s, ServingLoad(1024.0, 512.0, np.arange(1.0, 12.0) * cards))
    dip = allowed_dip(s)
    assert_rising(answer.metrics["tpot_s"][0], case, dip)
    assert_rising(answer.metrics["ttft_s"][0], case, dip)
    grown = np.arange(64.0, 2048.0, 64.0)
    longer = serve(s, ServingLoad(grown, 512.0, cards)).metrics
    assert_rising(longer["ttft_s"][0], f"{case} isl", dip)
    # Longer answers make prompts rarer, and a first token may come sooner; the whole answer does not.
    whole = serve(s, ServingLoad(512.0, grown, cards)).metrics
    assert_rising(whole["ttft_s"][0] + whole["tpot_s"][0] * grown, f"{case} osl", dip)


LINKED = [case for case in SETTINGS if case != "Qwen3-32B TP4"]


def slowed(cluster: Cluster, **by: float) -> Cluster:
    return cluster.model_copy(update={name: getattr(cluster, name) / factor for name, factor in by.items()})


@pytest.mark.parametrize("link", ["scale_up_bandwidth", "scale_out_bandwidth"])
@pytest.mark.parametrize("case", LINKED)
def test_a_slower_link_never_helps(case: str, link: str) -> None:
    name, chip_name, plan = SETTINGS[case]
    model, chip = load_model(name), load_accelerator(chip_name)
    cluster = standard_cluster(chip, int(np.asarray(plan.gpus)))
    for overlap in OVERLAPS:
        rates = []
        for factor in (1.0, 1.5, 4.0, 50.0):
            s = setting_for(model, chip, replace(plan, overlap=overlap), slowed(cluster, **{link: factor}))
            p, d = prefill(s, PrefillLoad(4096.0, 8192.0)), decode(s, DecodeLoad(4096.0, 64.0))
            rates.append((float(p.tokens_per_s), float(d.tokens_per_s)))
        for fast, slow in itertools.pairwise(rates):
            assert slow[0] <= fast[0] * (1 + 1e-12)
            assert slow[1] <= fast[1] * (1 + 1e-12)
        crosses = float(np.asarray(plan.gpus)) > cluster.scale_up_domain
        if link == "scale_up_bandwidth" or crosses:
            assert rates[-1][0] < rates[0][0], f"{case}: {link} is not felt"


def test_cost_is_linear_in_price() -> None:
    model, chip = load_model("deepseek-v3"), load_accelerator("h800-sxm")
    plan = ServingPlan(64, ep=64)
    loads = (PrefillLoad(4096, 8192), DecodeLoad(4096, 64), ServingLoad(1024, 512, 640))
    for load in loads:
        rates = (parse_rate(text, "price") for text in ("1 USD/h", "10 USD/h"))
        one, ten = (predict_inference(model, chip, plan, load, rate) for rate in rates)
        priced = [name for name in one.metrics if name.startswith("usd_")]
        assert priced
        for name in one.metrics:
            assert ten[name] == pytest.approx(one[name] * (10.0 if name in priced else 1.0), rel=1e-12), name


def test_training_time_rises_with_its_load() -> None:
    model, chip = load_model("deepseek-v3"), load_accelerator("h800-sxm")
    plan, cluster = TrainingPlan(2048, pp=16, ep=64), standard_cluster(chip, 2048)
    by_batch, _ = training_step(model, chip, plan, TrainingLoad(4096, np.arange(1.0, 200.0) * 128), cluster)
    assert_rising(by_batch.step_s, "global_batch")
    by_seq, _ = training_step(model, chip, plan, TrainingLoad(np.arange(16.0, 8192.0, 16.0), 15_360.0), cluster)
    assert_rising(by_seq.step_s, "seq")
    for link in ("scale_up_bandwidth", "scale_out_bandwidth"):
        wired = (cluster, slowed(cluster, **{link: 4.0}))
        fast, slow = (float(training_step(model, chip, plan, TrainingLoad(4096, 15_360.0), c)[0].step_s) for c in wired)
        assert slow > fast, link


def assert_sane(report: Report) -> None:
    for name, metric in report.metrics.items():
        assert np.isfinite(metric.value), name
        assert metric.value > 0, name
        assert metric.grade in "ABCD", name
        if metric.low is not None and metric.high is not None:
            assert 0 < metric.low <= metric.value <= metric.high < np.inf, name
    for name in ("mfu", "mbu"):
        assert name not in report.metrics or report[name] <= 1.0
    shown = sum(line.time_s for line in report.breakdown if not line.overlapped)
    assert all(line.time_s >= 0 and np.isfinite(line.share) for line in report.breakdown)
    assert shown > 0


#: one card that holds the model, one of its loads: what every accelerator can be asked
SMALL = ("qwen2.5-1.5b", ServingPlan(1, precision="bf16"))


@pytest.mark.parametrize("name", CHIPS)
def test_every_chip_answers_or_names_what_is_unknown(name: str) -> None:
    """A known datasheet gives a finite answer with its band; an unknown field is refused by its name."""
    chip = load_accelerator(name)
    model, plan = load_model(SMALL[0]), SMALL[1]
    unknown = [field for field in ("bf16", "memory_bandwidth", "memory") if not chip.known(field)]
    gpus = chip.node_devices
    for load in (DecodeLoad(1024, 4), PrefillLoad(1024, 1024), ServingLoad(256, 256, 4)):
        one = replace(plan, gpus=1)
        if unknown:
            expected = UnknownField if chip.datasheet[unknown[0]].supported else UnsupportedDtype
            with pytest.raises(expected, match=unknown[0]) as refused:
                predict_inference(model, chip, one, load)
            assert chip.id in str(refused.value)
            continue
        assert_sane(predict_inference(model, chip, one, load))
    if unknown or gpus < 2 or chip.dies > 1:
        return
    pair = replace(plan, gpus=2, tp=2)
    link = "scale_up_bandwidth" if (chip.datasheet["scale_up_domain"].value or 1) >= 2 else "scale_out_bandwidth"
    if chip.datasheet[link].value:
        assert_sane(predict_inference(model, chip, pair, DecodeLoad(1024, 4)))
    else:
        with pytest.raises(UnknownField, match=link):
            predict_inference(model, chip, pair, DecodeLoad(1024, 4))


LARGE = [
    name for name in WIRED if load_accelerator(name).known("memory") and load_accelerator(name).need("memory") > 60e9
]


@pytest.mark.parametrize("name", LARGE)
def test_training_answers_on_every_large_chip(name: str) -> None:
    chip = load_accelerator(name)
    plan = TrainingPlan(2048 // chip.dies, pp=16, ep=64, precision="bf16", recompute="full")
    report = predict_training(load_model("deepseek-v3"), chip, plan, TrainingLoad(4096, 15_360, tokens=14.8e12))
    assert_sane(report)
    assert report["mfu_causal"] < report["mfu_noncausal"] < 1.0
