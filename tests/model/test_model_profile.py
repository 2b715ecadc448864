"""The profiler: kernels of a call against torch's counters, backends against recorded devices, timing, resuming."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the profiler needs torch: pip install costsim[profile]")

from costsim.calibration.measurement import Measurement  # noqa: E402
from costsim.cli.profile_loop import measured_as  # noqa: E402
from costsim.physics.layout import Layout, expert_slots  # noqa: E402
from costsim.physics.step import decode_demand, prefill_demand  # noqa: E402
from costsim.predict.runs import Case as RunCase  # noqa: E402
from costsim.predict.runs import compulsory  # noqa: E402
from costsim.spec.catalog import load_model  # noqa: E402
from model import device  # noqa: E402
from model.profile import cores, memory, products, timer, whole  # noqa: E402
from model.profile.backends import backend_for, cpu, cuda, interface, mlu, musa, npu, xpu  # noqa: E402
from model.profile.case import Bench  # noqa: E402
from model.profile.kernels import list_kernels  # noqa: E402
from model.profile.session import Session, cases_of  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
LITE = whole.narrowed(load_model("deepseek-v2-lite"), 1 / 8, 3, 8)


def one_rank():
    return Layout(1.0, 1.0, 1.0, 1.0, 1.0, 1.0, expert_slots(LITE, 1.0, 0.0), "bf16", "bf16")


def listed(phase, batch, length):
    run = whole.Run(phase, LITE, batch, length, "fp32")
    return list_kernels(lambda: whole.build(run, torch.device("cpu")))


# ------------------------------------------------------------------ kernels of a call


@pytest.mark.parametrize(("phase", "batch", "length"), [("prefill", 2, 40), ("decode", 3, 50)])
def test_listed_flops_are_torchs_and_costsims(phase, batch, length, monkeypatch):
    """Three counts of one call: torch's counter, the fake run, and physics; equal to the last FLOP."""
    from torch.utils.flop_counter import FlopCounterMode

    monkeypatch.setattr(device, "has_fused_attention", lambda kind: True)  # torch counts no fused kernel of the CPU
    run = whole.Run(phase, LITE, batch, length, "fp32")
    call = whole.build(run, torch.device("cpu"))
    with FlopCounterMode(display=False) as counter:
        call()
    listing = listed(phase, batch, length)
    demand = (prefill_demand(LITE, one_rank(), float(batch * length), float(length)) if phase == "prefill"
              else decode_demand(LITE, one_rank(), float(batch), float(length)))  # fmt: skip
    assert listing.total("product") + listing.total("attention") == counter.get_total_flops() == demand.flop_full


ODD_VOCAB = LITE.model_copy(update={"vocab": 1000})


@pytest.mark.parametrize("spec", [LITE, ODD_VOCAB], ids=["vocabulary 25·128", "vocabulary 1000"])
def test_training_flops_are_costsims(spec):
    """Products exactly, but for the head's last position, which predicts nothing: physics counts T, the loss T − 1."""
    batch, length = 2, 48
    run = whole.Run("training", spec, batch, length, "fp32")
    listing = list_kernels(lambda: whole.build(run, torch.device("cpu")))
    ops = [op for op in compulsory(RunCase("training", spec, batch, length, "fp32")) if "k" in op.shape]
    assert all(op.flop == 2.0 * op.shape["m"] * op.shape["n"] * op.shape["k"] for op in ops)
    head = 3 * 2.0 * batch * spec.vocab * spec.hidden
    assert listing.total("product") == sum(op.flop * op.count for op in ops) - head


def test_a_run_with_a_measured_shape_is_not_compared():
    """Every family of every phase is recognised among the rows; and no run of the profiler is among its own."""
    for phase in ("prefill", "decode", "training"):
        for op in compulsory(RunCase(phase, LITE, 3, 96, "fp32")):
            own = {"head_dim": 576.0} | {name: float(size) for name, size in op.shape.items()}
            assert measured_as(op, [Measurement(op.family, "bf16", 1.0, "made", shape=own)]), op.name
            other = own | {name: size + 1.0 for name, size in own.items()}
            assert not measured_as(op, [Measurement(op.family, "bf16", 1.0, "made", shape=other)]), op.name
    rows = [Measurement(case.family, case.dtype, 1.0, "made", case.flop, case.bytes, case.shape)
            for case in cases_of("full", ("fp32", "bf16"))]  # fmt: skip
    runs = list(whole.runs(load_model("deepseek-v2-lite"), "fp32", quick=False))
    assert len(runs) == 16
    for run in runs:
        case = RunCase(run.phase, run.spec, run.batch, run.length, run.dtype)
        assert not any(measured_as(op, rows) for op in compulsory(case)), run.key


def test_the_fake_run_starts_what_a_real_run_starts():
    """Matrix products and attention kernels of a training step, one by one, against torch's profiler."""
    from torch.profiler import ProfilerActivity, profile

    run = whole.Run("training", LITE, 2, 40, "fp32")
    call = whole.build(run, torch.device("cpu"))
    call()
    with profile(activities=[ProfilerActivity.CPU]) as recorded:
        call()
    real = {event.key.removeprefix("aten::"): event.count for event in recorded.key_averages()}
    fake = Counter()
    for kernel, count in listed("training", 2, 40).kernels.items():
        fake[kernel.name] += count
    attention = "_scaled_dot_product_flash_attention_for_cpu"
    for name in (attention, f"{attention}_backward", "lerp_", "silu", "addcdiv_", "sqrt_"):
        assert real[name] == fake[name], name
    # an expert without a token starts nothing: balanced routing is the most that a step can start
    assert 0.8 * fake["mm"] <= real["mm"] <= fake["mm"]


def test_bytes_of_products_are_the_tensors(monkeypatch):
    """Bytes of every matrix product that torch's profiler records (operands and result), within 5 %."""
    from torch.profiler import ProfilerActivity, profile

    run = whole.Run("prefill", LITE, 2, 64, "fp32")
    call = whole.build(run, torch.device("cpu"))
    with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as recorded:
        call()
    seen = 0.0
    for event in recorded.events():
        if event.name == "aten::mm":
            (m, k), (_, n) = event.input_shapes[:2]
            seen += 4.0 * (m * k + k * n + m * n)
    demand = [op for op in compulsory(RunCase("prefill", LITE, 2, 64, "fp32")) if "k" in op.shape]
    between = sum(4.0 * op.shape["groups"] * 1.5 * op.shape["m"] * op.shape["n"] * op.count
                  for op in demand if op.family == "moe")  # fmt: skip
    assert sum(op.bytes * op.count for op in demand) - between == pytest.approx(seen, rel=0.05)


def test_cold_data_cost_and_warm_do_not():
    def build():
        x, y = torch.zeros(1000), torch.zeros(10_000_000)

        def call():
            return (x + 1).sum() + (y + 1).sum()

        return call

    warm = list_kernels(build, lambda distance, written: 0.0 if distance < 1e6 else 1e-9)
    cold = {kernel.bytes: kernel.cold_s for kernel in warm.kernels if kernel.name == "add"}
    assert cold[8000.0] == pytest.approx(8000e-9)  # operand and result: 80 MB went by since the last call
    assert any(kernel.cold_s == 0 for kernel in warm.kernels)


# ------------------------------------------------------------------ cases


def test_rows_state_the_work_that_physics_counts():
    """FLOPs and bytes of the micro-benchmarks, family by family, against the ops of a step."""
    ops = {}
    for phase in ("prefill", "decode"):
        for op in compulsory(RunCase(phase, LITE, 4, 96, "bf16")):
            ops.setdefault(op.family, op)
    a = LITE.attention
    sizes = {name: {x: int(v) for x, v in op.shape.items()} for name, op in ops.items()}
    s = {name: [v[x] for x in ("groups", "m", "n", "k") if x in v] for name, v in sizes.items()}
    made = {
        "gemm": products.gemm(*s["gemm"][1:], "bf16"),
        "batched_gemm": products.batched(*s["batched_gemm"], "bf16"),
        "moe": products.experts(*s["moe"], "bf16"),
        "mla_prefill": cores.mla_prefill(4, 96, a.heads, "bf16"),
        "mla_decode": cores.mla_decode(4, 97, a.heads, a.kv_lora_rank, a.qk_rope_head_dim, "bf16"),
    }  # fmt: skip
    for family, case in made.items():
        op = ops[family]
        whole_rows = {name: float(int(v)) for name, v in op.shape.items()} == {k: float(v) for k, v in op.shape.items()}
        tolerance = 1e-9 if whole_rows or family.startswith("mla") else 0.05
        assert case.flop == pytest.approx(float(op.flop), rel=tolerance), family
        assert case.bytes == pytest.approx(float(op.bytes), rel=tolerance), family
        assert set(op.shape) <= set(case.shape) | {"kv_heads"}, family


def test_every_case_runs_and_has_a_name_of_its_own():
    found = [*products.cases("fp32", 6), *cores.cases("fp32", 6), *memory.cases(6), *memory.launches()]
    assert len({case.key for case in found}) == len(found)
    bench = Bench(torch.device("cpu"), pool_bytes=1e6)
    small = [case for case in found if case.bytes < 3e6]
    assert {case.family for case in small} >= {"gemm", "batched_gemm", "moe", "mla_decode", "memory_sort", "launch"}
    with torch.no_grad():
        for case in small:
            case.make(bench)()


def test_rotating_operands_do_not_overlap():
    copies = Bench(torch.device("cpu"), pool_bytes=4e5).copies(10, 100)
    starts = sorted(x.data_ptr() for x in copies)
    assert len(copies) == 100
    assert all(b - a >= 4000 for a, b in itertools.pairwise(starts))


def test_narrowed_models_keep_heads_and_refuse_halves():
    assert LITE.attention.heads == 2
    assert LITE.attention.qk_head_dim == 192
    with pytest.raises(ValueError, match="whole number of heads"):
        whole.narrowed(load_model("deepseek-v2-lite"), 1 / 7, 3, 8)


# ------------------------------------------------------------------ timing


class Played:
    """A device whose clock is a script: seconds of each call, and what others use meanwhile."""

    def __init__(self, step, others):
        self.step, self.busy, self.others = step, 0.0, others

    def seconds(self, call):
        call()
        self.busy += self.others * self.step
        return self.step

    def fair(self, elapsed, own):
        return elapsed, False

    def spare(self):
        return 0.0

    def synchronize(self):
        return

    def others_busy_s(self):
        return self.busy


@pytest.mark.parametrize(("others", "kept"), [(0.0, True), (0.05, True), (0.6, False)])
def test_a_visit_that_others_disturbed_is_set_aside(others, kept):
    samples = timer.Samples()
    ran = timer.visit(Played(0.05, others), lambda: None, samples, count=4)
    assert ran == 6
    assert bool(samples.kept) is kept
    assert len(samples.used) == 4


def test_the_mean_speaks_without_the_slowest_tenth_and_disturbed_samples_only_where_there_is_nothing_else():
    samples = timer.Samples(kept=[1.0] * 5 + [1.2] * 4 + [5.0], disturbed=[0.1])
    assert samples.seconds == pytest.approx((5 * 1.0 + 4 * 1.2) / 9)
    assert samples.rejected == 1
    lonely = timer.Samples(disturbed=[2.0, 3.0])
    assert lonely.seconds == 2.0
    assert lonely.spread == pytest.approx(0.5 + timer.OTHERS)
    assert timer.Samples(kept=[2.0, 2.0], by_visit=[2.0, 2.6]).spread == pytest.approx(0.3)
    assert timer.Samples(kept=[2.0, 2.0], by_visit=[1.5, 2.0]).spread == pytest.approx(0.25)
    assert timer.Samples(kept=[2.0, 2.0], by_visit=[2.0]).spread == pytest.approx(timer.OTHERS)


def test_a_session_goes_on_where_it_stopped(tmp_path):
    cases = [products.gemm(1, 8, 8, "fp32"), products.gemm(2, 8, 8, "fp32")]
    first = Session(backend_for("cpu"), tmp_path / "journal.jsonl", lambda text: None, pool_bytes=1e6)
    first.measure(cases[:1], [], 1, 0.0)
    with (tmp_path / "journal.jsonl").open("a") as file:
        file.write('{"key": "torn')
    second = Session(backend_for("cpu"), tmp_path / "journal.jsonl", lambda text: None, pool_bytes=1e6)
    assert second.resume() >= 1
    before = list(second.samples[cases[0].key].used)
    second.measure(cases, [], 0, 0.0)
    assert second.samples[cases[0].key].used == before
    assert second.samples[cases[1].key].used


def opened(folder):
    return Session(backend_for("cpu"), folder / "journal.jsonl", lambda text: None, pool_bytes=1e6)


def test_a_journal_of_another_machine_is_not_joined(tmp_path):
    opened(tmp_path).measure([products.gemm(1, 8, 8, "fp32")], [], 0, 0.0)
    lines = (tmp_path / "journal.jsonl").read_text().splitlines()
    assert len(lines) == 2
    assert json.loads(lines[0])["machine"] == opened(tmp_path).machine
    other = json.dumps({"machine": "cuda:0: a card, 132 cores"})
    (tmp_path / "journal.jsonl").write_text("\n".join([other, *lines[1:]]) + "\n")
    with pytest.raises(device.DeviceError, match="a card, 132 cores, this is cpu"):
        opened(tmp_path).resume()


def test_a_journal_with_nonsense_is_read_for_what_is_sound(tmp_path):
    bad = ['{"key": "x", "kept": [], "disturbed": []}', '{"key": "x", "kept": [NaN], "disturbed": []}', "7", "[]",
           '{"key": "x", "kept": [-1.0], "disturbed": []}', '{"key": "x", "kept": "abc", "disturbed": []}', "null",
           '{"key": "x", "kept": [1' + "0" * 5000 + '], "disturbed": []}', "[" * 100_000]  # fmt: skip
    good = '{"key": "y", "kept": [0.5], "disturbed": [0.75], "joules": 3.0}'
    (tmp_path / "journal.jsonl").write_text("\n".join([*bad, good]))
    session = opened(tmp_path)
    assert session.resume() == 1
    assert set(session.samples) == {"y"}
    assert session.energy == {"y": 3.0}


def test_an_interruption_keeps_what_is_done(tmp_path):
    def interrupt(text):
        if "1 of" in text:
            raise KeyboardInterrupt

    session = Session(backend_for("cpu"), tmp_path / "journal.jsonl", interrupt, pool_bytes=1e6)
    session.measure([products.gemm(1, 8, 8, "fp32"), products.gemm(2, 8, 8, "fp32")], [], 1, 0.0)
    assert session.interrupted
    assert len((tmp_path / "journal.jsonl").read_text().splitlines()) == 2  # the machine, and one visit


# ------------------------------------------------------------------ backends


class Event:
    """A CUDA-like event on a device where everything takes 2.5 ms."""

    def __init__(self, enable_timing):
        assert enable_timing

    def record(self):
        return

    def synchronize(self):
        return

    def elapsed_time(self, end):
        return 2.5


CHOSEN = []
RECORDED = SimpleNamespace(
    Event=Event,
    set_device=CHOSEN.append,
    synchronize=lambda: None,
    max_memory_allocated=lambda: 123,
    mem_get_info=lambda: (70e9, 80e9),
    get_device_properties=lambda i: SimpleNamespace(multi_processor_count=132, total_memory=85e9),
    get_device_name=lambda i: "a card",
    device_count=lambda: 8,
    get_device_capability=lambda i: (9, 0),
)
NVML = SimpleNamespace(
    NVML_CLOCK_SM=1,
    NVML_TEMPERATURE_GPU=0,
    nvmlDeviceGetHandleByIndex=lambda i: i,
    nvmlDeviceGetPowerUsage=lambda h: 412_000,
    nvmlDeviceGetTotalEnergyConsumption=lambda h: 5_000_000,
    nvmlDeviceGetClockInfo=lambda h, which: 1755,
    nvmlDeviceGetTemperature=lambda h, which: 61,
    nvmlSystemGetDriverVersion=lambda: "550.54",
)


@pytest.mark.parametrize(
    ("kind", "collective"), [(npu.Npu, "hccl"), (musa.Musa, "mccl"), (mlu.Mlu, "cncl"), (xpu.Xpu, "xccl")]
)
def test_event_timed_backends(kind, collective):
    made = kind(torch.device("cpu", 3), RECORDED)
    assert CHOSEN[-1] == 3  # else events and memory would be those of device 0
    assert made.seconds(lambda: None) == pytest.approx(2.5e-3)
    assert made.collective == collective == device.backend(SimpleNamespace(type=kind.__name__.lower()))
    assert made.facts()["cores"] == 132
    assert made.capacity_bytes() == 70e9
    assert made.telemetry().source in ("absent", "npu-smi", "mthreads-gmi", "cnmon")


def test_cuda_reads_nvml_in_si():
    made = cuda.Cuda(torch.device("cpu"), RECORDED, NVML)
    assert made.telemetry() == interface.Telemetry(412.0, 5000.0, 1.755e9, 61.0, "nvml")
    assert made.facts()["capability"] == "9.0"
    assert made.facts()["driver"] == "550.54"


def test_nvml_is_asked_about_the_card_that_torch_sees():
    """NVML counts hidden cards too: the UUID tells which one it is."""
    properties = SimpleNamespace(multi_processor_count=132, total_memory=85e9, uuid="1-2-3")
    module = SimpleNamespace(**{**vars(RECORDED), "get_device_properties": lambda i: properties})
    asked = []
    nvml = SimpleNamespace(**{**vars(NVML), "nvmlDeviceGetHandleByUUID": asked.append})
    cuda.Cuda(torch.device("cpu"), module, nvml)
    assert asked == ["GPU-1-2-3"]
    absent = SimpleNamespace(**vars(NVML))  # no such call: no telemetry, and no error
    assert cuda.Cuda(torch.device("cpu"), module, absent).telemetry() == interface.Telemetry()


def test_a_card_without_a_counter_leaves_it_out():
    def refuses(handle):
        raise RuntimeError("Not Supported")

    made = cuda.Cuda(
        torch.device("cpu"), RECORDED, SimpleNamespace(**{**vars(NVML), "nvmlDeviceGetPowerUsage": refuses})
    )
    assert made.telemetry().power_w is None
    assert made.telemetry().energy_j == 5000.0


def test_vendor_tools():
    power = "\tNPU ID : 0\n\tChip Count : 1\n\tNPU Real-time Power(W) : 172.4\n"
    common = "\tAicore curFreq(MHZ) : 1650\n\tTemperature(C) : 43\n"
    assert npu.read(power, common) == interface.Telemetry(172.4, None, 1.65e9, 43.0, "npu-smi")
    text = "GPU0\n    Power Draw : 88.3W\n    Clocks\n        Graphics : 1200MHz\n    GPU Current Temp : 45C\n"
    assert musa.read(text) == interface.Telemetry(88.3, None, 1.2e9, 45.0, "mthreads-gmi")
    text = "Power\n    Usage : 95 W\nFrequency\n    MLU Core : 1000 MHz\nTemperature\n    Board : 39 C\n"
    assert mlu.read(text) == interface.Telemetry(95.0, None, 1e9, 39.0, "cnmon")
    assert npu.read("", "") == musa.read("") == mlu.read("garbage") == interface.Telemetry()


def test_the_processor_reads_its_kernel(tmp_path):
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/stat").write_text("cpu  100 0 50 9000 0 0 0 25 0 0\ncpu0 1 2 3\n")
    (tmp_path / "proc/cpuinfo").write_text("model name\t: A chip\ncpu MHz\t\t: 2600.5\nflags\t\t: avx2 amx_bf16\n")
    (tmp_path / "proc/meminfo").write_text("MemTotal: 16 kB\nMemAvailable:   8 kB\n")
    zone = tmp_path / "sys/class/powercap/intel-rapl:0"
    zone.mkdir(parents=True)
    (zone / "energy_uj").write_text("2500000\n")
    made = cpu.Cpu(torch.device("cpu"), tmp_path)
    assert made.telemetry() == interface.Telemetry(None, 2.5, 2.6005e9, None, "rapl")
    assert made.facts()["name"] == "A chip"
    assert made.facts()["instructions"] == ["avx2", "amx_bf16"]
    assert made.capacity_bytes() == 8192
    assert made.others_busy_s() < 175 / os.sysconf("SC_CLK_TCK")
    assert cpu.Cpu(torch.device("cpu"), tmp_path / "nothing").telemetry().energy_j is None


def test_an_absent_device_lists_what_is_there():
    with pytest.raises(device.DeviceError, match=r"found: .*cpu"):
        backend_for("npu:3")
    with pytest.raises(device.DeviceError, match="found: cpu:0 to cpu:0"):
        backend_for("cpu:7")


def test_auto_takes_a_device_that_can_be_profiled(monkeypatch):
    monkeypatch.setattr(device, "present", lambda kind: kind in ("mps", "cpu"))
    assert backend_for("auto").device.type == "cpu"
    with pytest.raises(device.DeviceError, match="'mps' cannot be profiled; found: cpu"):
        backend_for("mps")


# ------------------------------------------------------------------ between ranks


@pytest.mark.slow
def test_two_ranks_profile_their_collectives(tmp_path):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
               "-m", "costsim.cli", "profile", "--quick", "--device", "cpu", "--out-dir", str(tmp_path),
               "--json"]  # fmt: skip
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, env=env, cwd=ROOT, timeout=150, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stderr == ""
    answer = json.loads(done.stdout)
    families = {row["collective"] for row in answer["collectives"]}
    assert families | set(answer["refused"]) == {"all_reduce", "all_gather", "reduce_scatter", "all_to_all", "p2p"}
    assert {"all_reduce", "all_gather", "p2p"} <= families
    by_size = sorted(
        (row["up_bytes"], row["time_s"]) for row in answer["collectives"] if row["collective"] == "all_reduce"
    )
    assert by_size[-1][1] > by_size[0][1]
    assert (tmp_path / "collectives.csv").is_file()


def test_a_repeat_lies_within_the_stated_spread():
    """Two sessions on a machine that is 0–30 % slower from visit to visit and 3 % noisy within one."""
    rng = np.random.default_rng(7)

    def session():
        samples = timer.Samples()
        for _ in range(4):
            level = 1.0 + 0.3 * rng.random()
            samples.join(timer.Samples(kept=list(level * (1.0 + 0.03 * rng.random(12))), visits=1))
        return samples

    pairs = [(session(), session()) for _ in range(300)]
    inside = [abs(a.seconds - b.seconds) <= a.spread * a.seconds + b.spread * b.seconds for a, b in pairs]
    assert np.mean(inside) > 0.9
    assert np.mean([a.spread for a, _ in pairs]) < 0.3
