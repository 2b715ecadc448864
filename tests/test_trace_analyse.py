"""What is said of traces: a published trace against its published figures, and small ones reckoned by hand."""

from __future__ import annotations

import csv
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from costsim.errors import BadInput
from costsim.report.jsonable import dumps
from costsim.report.traces import trace_json
from costsim.trace.analyse import analyse
from costsim.trace.collectives import told_apart
from costsim.trace.columns import Spans
from costsim.trace.families import family_of, short_name
from costsim.trace.measurements import extracted
from costsim.trace.read import read_trace
from costsim.trace.summary import TraceSummary
from costsim.trace.work import Work, own_pieces, work_of

TRUTH = Path(__file__).resolve().parent.parent.parent / "shared" / "truth"
H800 = TRUTH / "traces" / "deepseek_h800_train.json"
published = pytest.mark.skipif(not H800.is_file(), reason="the published trace is not beside this checkout")

US = 1e-6


def work(folder: Path, events: list[dict[str, Any]], name: str = "t.json", **header: Any) -> Work:
    path = folder / name
    path.write_text(json.dumps({**header, "traceEvents": events}), encoding="utf-8")
    return work_of(read_trace(path))


def summary(folder: Path, events: list[dict[str, Any]], **header: Any) -> TraceSummary:
    return analyse(work(folder, events, **header))


def kernel(name: str, start: float, duration: float, stream: int = 7, **args: Any) -> dict[str, Any]:
    return {"ph": "X", "cat": "kernel", "name": name, "pid": 0, "tid": stream, "ts": start, "dur": duration,
            "args": {"device": 0, "stream": stream, **args}}  # fmt: skip


def host(cat: str, name: str, start: float, duration: float, tid: int = 1, **args: Any) -> dict[str, Any]:
    return {"ph": "X", "cat": cat, "name": name, "pid": 9, "tid": tid, "ts": start, "dur": duration, "args": args}


# the published training trace of one forward and backward chunk on rank 0 of 64 H800


@pytest.fixture(scope="module")
def h800() -> TraceSummary:
    return analyse(work_of(read_trace(H800)))


@published
def test_published_trace_is_read_in_time() -> None:
    start = time.process_time()
    found = work_of(read_trace(H800))
    analyse(found)
    assert time.process_time() - start < 2.0
    assert len(found.spans) == 963 + 8 + 12  # kernels, copies and memsets


@published
def test_published_busy_times(h800: TraceSummary) -> None:
    busy = {row.name: row for row in h800.streams}
    assert busy["stream 7"].busy_s == pytest.approx(118.193e-3, rel=1e-6)
    assert busy["stream 27"].busy_s == pytest.approx(114.521e-3, rel=1e-6)
    assert [busy[f"stream {n}"].role for n in (7, 23, 27)] == ["computing", "computing", "communication"]
    assert h800.wall_s == pytest.approx(129.012e-3, rel=1e-6)
    assert h800.rank == "rank 0 of 64"


@published
def test_published_overlap_and_waiting(h800: TraceSummary) -> None:
    """96.3 % and 85.49 % are one intersection, 110.292 ms: over the communication stream's busy time, and over wall."""
    rows = {row.what: row for row in h800.overlaps}
    stream = rows["communication streams"]
    assert stream.overlapped_s == pytest.approx(110.292e-3, rel=1e-5)
    assert stream.share_hidden == pytest.approx(0.9631, abs=1e-4)
    assert stream.share_of_wall == pytest.approx(0.8549, abs=1e-4)
    assert (rows["transfer"].busy_s, rows["transfer"].overlapped_s) == pytest.approx((80.452e-3, 77.509e-3), rel=1e-5)
    assert rows["waiting"].busy_s == pytest.approx((23.610 + 8.968) * 1e-3, rel=1e-4)
    assert any("unknown" in note for note in h800.notes), "bytes of dispatch and combine are in no trace"


@published
def test_published_phases(h800: TraceSummary) -> None:
    names = {"attn(B input)": "attn(B)", "mlp(B input)": "mlp(B)"}
    with (TRUTH / "kernels" / "training_trace_phases.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["stream"] != "wall"]
    assert len(rows) == 10
    found = {(row.name, row.stream): row for row in h800.phases}
    for row in rows:
        name = names.get(row["phase"], row["phase"])
        phase = found[name, "stream 27" if row["stream"] == "comm" else "stream 7"]
        assert phase.time_s * 1e3 == pytest.approx(float(row["total_ms_4layers"]), rel=0.02), name
        assert phase.per_occurrence_s * 1e3 == pytest.approx(float(row["ms_per_layer"]), rel=0.02), name
    assert found["mlp(W)", "stream 23"].time_s == pytest.approx(11.36e-3, rel=0.02)
    assert sum(row.time_s for row in h800.phases) == pytest.approx((118.193 + 114.521 + 11.355) * 1e-3, rel=1e-6)


@published
def test_published_families(h800: TraceSummary) -> None:
    """Against the categories of the published table, where a category is one family here."""
    same = {
        "EP combine": ["EP combine"], "EP dispatch": ["EP dispatch"], "RMSNorm": ["norm"], "SwiGLU": ["SwiGLU"],
        "RoPE": ["RoPE"], "router GEMM": ["GEMM"],
        "EP cached_notify (wait/sync)": ["EP notify"], "EP notify_dispatch (wait/sync)": ["EP notify"],
        "grouped GEMM FP8 fwd+dgrad": ["grouped GEMM FP8"], "dense GEMM FP8 fwd+dgrad": ["GEMM FP8"],
        "GEMM FP8 wgrad (experts+dense)": ["weight gradient GEMM FP8"], "attention bwd": ["attention backward"],
        "attention fwd": ["attention"], "FP8 cast/transpose": ["quantise and transpose"], "EP layout": ["EP layout"],
        "MoE permute/unpermute": ["expand and reduce tokens"],
    }  # fmt: skip
    expected: dict[str, float] = {}
    with (TRUTH / "kernels" / "kernels_dsv3_train_profile.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            for family in same.get(row["category"], []):
                expected[family] = expected.get(family, 0.0) + float(row["total_us"]) * US
    found = {row.name: row.time_s for row in h800.families}
    assert len(expected) == 15
    for family, time_s in expected.items():
        assert found[family] == pytest.approx(time_s, rel=1e-3), family
    fp8 = sum(row.time_s for row in h800.families if row.group == "GEMM" and "FP8" in row.name)
    assert fp8 == pytest.approx(74.5e-3, rel=1e-3)
    assert {row.name for row in h800.families if row.matrix} >= {"GEMM FP8", "attention", "grouped GEMM FP8"}
    blocks = {row.family: row.blocks for row in h800.kernels}
    assert (blocks["EP dispatch"], blocks["grouped GEMM FP8"]) == (20, 112), "20 of 132 cores communicate"


# small traces, reckoned by hand


def test_overlap_by_hand(tmp_path: Path) -> None:
    """Compute 0–100 and 150–200; dispatch 50–130 (50 hidden), notify 130–160 (10 hidden); a cast on the comm stream."""
    one = summary(tmp_path, [
        kernel("sm90_fp8_gemm", 0, 100), kernel("sm90_fp8_gemm", 150, 50),
        kernel("deep_ep::internode::dispatch<1>", 50, 80, 20),
        kernel("deep_ep::internode::cached_notify", 130, 30, 20), kernel("per_token_cast_to_fp8", 160, 10, 20),
    ])  # fmt: skip
    rows = {row.what: row for row in one.overlaps}
    assert one.wall_s == pytest.approx(200 * US)
    assert one.busy_s == pytest.approx(200 * US)
    for what, busy, hidden in (("transfer", 80, 50), ("waiting", 30, 10), ("transfer and waiting", 110, 60)):
        assert rows[what].busy_s == pytest.approx(busy * US), what
        assert rows[what].overlapped_s == pytest.approx(hidden * US), what
        assert rows[what].exposed_s == pytest.approx((busy - hidden) * US), what
    assert rows["communication streams"].busy_s == pytest.approx(120 * US)
    assert rows["communication streams"].overlapped_s == pytest.approx(70 * US)
    assert {row.name: row.role for row in one.streams} == {"stream 7": "computing", "stream 20": "communication"}
    alone = {row.name: row.exposed_s for row in one.families}
    assert alone["EP dispatch"] == pytest.approx(30 * US)
    assert alone["GEMM FP8"] == pytest.approx((50 + 40) * US)


def test_collectives_on_the_computing_stream_are_exposed(tmp_path: Path) -> None:
    one = summary(
        tmp_path, [kernel("gemm", 0, 10), kernel("ncclDevKernel_AllReduce_Sum_bf16", 10, 30), kernel("gemm", 40, 10)]
    )
    assert [row.what for row in one.overlaps] == ["transfer and waiting", "transfer"], "there is no second stream"
    assert one.overlaps[-1].exposed_s == pytest.approx(30 * US)
    assert one.overlaps[-1].share_hidden == 0


def test_gaps_tell_a_late_host_from_waiting(tmp_path: Path) -> None:
    events = [
        kernel("a", 0, 10, correlation=1), kernel("b", 30, 10, correlation=2), kernel("c", 100, 10, correlation=3),
        host("cuda_runtime", "cudaLaunchKernel", -5, 2, correlation=1),
        host("cuda_runtime", "cudaLaunchKernel", 25, 2, correlation=2),
        host("cuda_runtime", "cudaLaunchKernel", 28, 2, correlation=3),
        host("cuda_runtime", "cudaEventQuery", 99, 2, correlation=3),
    ]  # fmt: skip
    (idle,) = summary(tmp_path, events).idle
    assert (idle.count, idle.time_s, idle.late_launch_s) == pytest.approx((2, 80 * US, 20 * US))
    assert [(gap.before, gap.after, gap.cause) for gap in idle.largest] == [
        ("b", "c", "waited"),
        ("a", "b", "late launch"),
    ]
    assert idle.largest[0].start_s == pytest.approx(40 * US)


def test_phases_follow_the_launching_thread(tmp_path: Path) -> None:
    """Nested annotations, a kernel launched by a thread without any, one outside all, and two occurrences."""
    launches = [(1, 1, 12), (2, 1, 25), (3, 2, 35), (4, 1, 95), (5, 1, 62)]
    events = [
        host("user_annotation", "step#3", 10, 80), host("user_annotation", "attn", 20, 20),
        host("user_annotation", "attn", 60, 10),
        *(host("cuda_runtime", "cudaLaunchKernel", at, 1, tid, correlation=n) for n, tid, at in launches),
        *(kernel(f"k{n}", 100 + 10 * n, n, correlation=n) for n, _, _ in launches),
        kernel("unknown", 200, 7), host("user_annotation", "nccl:all_reduce", 24, 5),
    ]  # fmt: skip
    found = {row.name: row for row in summary(tmp_path, events).phases}
    assert {name: round(row.time_s / US) for name, row in found.items()} == {
        "step": 1, "attn": 2 + 3 + 5, "(outside annotations)": 4 + 7,
    }  # fmt: skip
    assert (found["attn"].occurrences, found["attn"].kernels) == (2, 3)
    assert found["attn"].per_occurrence_s == pytest.approx(5 * US)


def test_phases_from_annotations_of_the_device(tmp_path: Path) -> None:
    mark = {"ph": "X", "cat": "gpu_user_annotation", "name": "mlp", "pid": 0, "tid": 7, "ts": 0, "dur": 25}
    found = {row.name: row.time_s for row in summary(tmp_path, [mark, kernel("a", 5, 10), kernel("b", 30, 5)]).phases}
    assert found == pytest.approx({"mlp": 10 * US, "(outside annotations)": 5 * US})


def all_reduces(rank: int, times: list[tuple[float, float]]) -> list[dict[str, Any]]:
    record = {"Collective name": "allreduce", "In msg nelems": 1 << 20, "Out msg nelems": 1 << 20, "dtype": "BFloat16",
              "Group size": 2, "Process Group Name": "0"}  # fmt: skip
    shift = 1000 * rank  # clocks of hosts differ
    events = [kernel("ncclDevKernel_AllReduce_Sum_bf16_RING_LL", shift + at, took, 20, **record) for at, took in times]
    return [*events, kernel("gemm", shift, 60)]


def test_two_ranks_part_waiting_from_transfer(tmp_path: Path) -> None:
    """Rank 0 comes first and waits 30 of 50, then second: 0 of 20; rank 1 transfers 20 of 20 and waits 5 of 25."""
    header = [{"distributedInfo": {"rank": rank, "world_size": 2}} for rank in (0, 1)]
    works = [
        work(tmp_path, all_reduces(0, [(10, 50), (100, 20)]), "a.json", **header[0]),
        work(tmp_path, all_reduces(1, [(40, 20), (95, 25)]), "b.json", **header[1]),
    ]
    assert analyse(works[0]).collectives[0].wait_s is None, "one rank alone cannot tell"
    parted, notes = told_apart(works)
    zero, one = (analyse(item) for item in parted)
    assert "2 collectives matched over 2 ranks" in notes[0]
    assert [(round(a.collectives[0].wait_s / US), round(a.collectives[0].time_s / US)) for a in (zero, one)] == [  # type: ignore[operator]
        (30, 70), (5, 45),
    ]  # fmt: skip
    assert [a.collectives[0].calls for a in (zero, one)] == [2, 2]
    waiting = next(row for row in zero.overlaps if row.what == "waiting")
    assert waiting.busy_s == pytest.approx(30 * US)
    assert waiting.overlapped_s == pytest.approx(30 * US), "waits at 10–40, under the product at 0–60"
    assert next(row for row in zero.overlaps if row.what == "transfer").overlapped_s == pytest.approx(20 * US)
    # 2 MiB all-reduced between two: 2·(2−1)/2 of it over the link, twice in 40 µs of transfer
    assert zero.collectives[0].bytes == 2 * 2**20
    assert zero.collectives[0].bus_bytes_per_s == pytest.approx(2 * 2**21 / 40e-6)


def test_collectives_of_unequal_number_are_left_alone(tmp_path: Path) -> None:
    works = [
        work(tmp_path, all_reduces(0, [(10, 50), (100, 20)]), "a.json"),
        work(tmp_path, all_reduces(1, [(40, 20)]), "b.json"),
    ]
    parted, notes = told_apart(works)
    assert "2 collectives could not be matched" in notes[0]
    assert all(analyse(item).collectives[0].wait_s is None for item in parted)


def test_record_on_the_operator_behind_a_collective(tmp_path: Path) -> None:
    record = {
        "Collective name": "all_gather",
        "In msg nelems": 10,
        "Out msg nelems": 80,
        "dtype": "Float",
        "Group size": 8,
    }
    events = [
        host("cpu_op", "record_param_comms", 0, 5, **record, **{"External id": 4}),
        kernel("ncclDevKernel_AllGather_RING_LL", 10, 100, **{"External id": 4}),
    ]
    (use,) = summary(tmp_path, events).collectives
    assert (use.name, use.ranks, use.bytes) == ("all-gather", 8, 320.0)
    assert use.bus_bytes_per_s == pytest.approx(320 * 7 / 8 / 100e-6)


def test_a_trace_of_ascend(tmp_path: Path) -> None:
    """Its timeline has no categories: processes say what is the device, and derived rows are not work."""
    names = {1: "Python", 2: "Ascend Hardware", 3: "HCCL", 4: "Overlap Analysis"}
    meta = [{"ph": "M", "name": "process_name", "pid": pid, "args": {"name": name}} for pid, name in names.items()]
    threads = {(2, 5): "Stream 5", (3, 8): "Group 0 Communication", (3, 9): "Plane 0", (4, 1): "Computing"}
    meta += [
        {"ph": "M", "name": "thread_name", "pid": p, "tid": t, "args": {"name": n}} for (p, t), n in threads.items()
    ]
    spans = [
        (1, 1, "aten::mm", 0, 400), (2, 5, "MatMulV3", 10, 100), (2, 5, "MoeDistributeDispatchV2", 110, 40),
        (3, 8, "hcom_allReduce__123_0_1", 60, 100), (3, 9, "Notify_Wait", 60, 70),
        (3, 9, "RDMASend", 130, 25), (4, 1, "Computing", 10, 140),
    ]  # fmt: skip
    events = [{"ph": "X", "name": n, "pid": p, "tid": t, "ts": f"{s}.000", "dur": d} for p, t, n, s, d in spans]
    one = summary(tmp_path, [*events, *meta])
    assert {(row.name, row.role): round(row.time_s / US) for row in one.families} == {
        ("GEMM", "compute"): 100, ("EP dispatch", "transfer"): 40,
        ("all-reduce", "wait"): 75, ("all-reduce", "transfer"): 25,
    }  # fmt: skip
    assert [(use.name, use.calls) for use in one.collectives] == [("all-reduce", 1), ("EP dispatch", 1)]
    assert {row.name for row in one.streams} == {"Stream 5", "Group 0 Communication"}
    assert one.wall_s == pytest.approx(150 * US)


# operators of a host: own time


def test_own_pieces_by_hand() -> None:
    """A 0–100 with B 20–50 inside, in which C 30–40, and D on another thread."""
    starts, ends, tracks = [0.0, 20, 30, 5], [100.0, 50, 40, 9], [0, 0, 0, 1]
    empty = np.full(4, -1)
    order = [0, 3, 1, 2]
    spans = Spans(
        np.arange(4)[order],
        np.array(tracks)[order],
        np.array(starts)[order],
        np.array(ends)[order],
        *[empty] * 3,
        empty * 0,
    )
    pieces, opens = own_pieces(spans)
    found = sorted(
        zip(pieces.name.tolist(), pieces.start_s.tolist(), pieces.end_s.tolist(), opens.tolist(), strict=True)
    )
    assert found == [
        (0, 0, 20, True), (0, 50, 100, False), (1, 20, 30, True), (1, 40, 50, False), (2, 30, 40, True),
        (3, 5, 9, True),
    ]  # fmt: skip


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 30), st.integers(1, 12)), min_size=1, max_size=10))
def test_own_pieces_never_overlap_and_cover_the_same_time(rows: list[tuple[int, int, int]]) -> None:
    rows.sort(key=lambda row: (row[1], -row[2]))
    track, start, size = (np.array(column) for column in zip(*rows, strict=True))
    empty = np.full(len(rows), -1)
    spans = Spans(
        np.arange(len(rows)), track, start.astype(float), (start + size).astype(float), *[empty] * 3, empty * 0
    )
    pieces, opens = own_pieces(spans)
    for number in {row[0] for row in rows}:
        cells = {cell for t, s, n in rows if t == number for cell in range(s, s + n)}
        on = pieces.track == number
        covered = [c for s, e in zip(pieces.start_s[on], pieces.end_s[on], strict=True) for c in range(int(s), int(e))]
        assert len(covered) == len(set(covered)), "pieces of a thread never overlap"
        assert set(covered) == cells
    assert np.bincount(pieces.name, weights=opens).max() <= 1, "a call is counted once"
    for name, s, e in zip(pieces.name, pieces.start_s, pieces.end_s, strict=True):
        assert start[name] <= s < e <= start[name] + size[name], "a piece lies inside its span"


def test_no_work_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="neither kernels nor operators"):
        work(tmp_path, [host("user_annotation", "step", 0, 10)])


number = st.one_of(st.integers(-5, 60), st.floats(), st.just("7.5"), st.none(), st.integers())
chosen = st.sampled_from
anything = st.fixed_dictionaries(
    {"ph": chosen(["X", "X", "X", "B", "E", "M"]), "ts": number, "dur": number},
    optional={
        "name": chosen(["gemm", "notify_dispatch", "ncclDevKernel_AllReduce", "gloo:all_reduce", "step#1", "",
                        "process_name"]),
        "cat": chosen(["kernel", "cpu_op", "cuda_runtime", "user_annotation", "gpu_user_annotation", "Kernel", "",
                       "x,y"]),
        "pid": chosen([0, 1, "Spans", None]), "tid": chosen([0, 7, "a"]),
        "args": st.one_of(st.none(), st.just([]), st.fixed_dictionaries({}, optional={
            "device": chosen([0, "x", None]), "stream": chosen([7, 20, [1]]), "correlation": number,
            "External id": number,
            "name": chosen(["Ascend Hardware", "HCCL", "Plane 0", 3]), "grid": chosen([[1, 2, 3], [0], "x"]),
            "Collective name": chosen(["allreduce", 5]), "In msg nelems": number, "Group size": number,
            "dtype": chosen(["Float", 1]),
            "Input Dims": chosen([[[1, 2], [2, 3]], [[]], 7, [[2**70]]]), "Input type": chosen([["float"] * 2, None]),
        })),
    },
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(st.lists(anything, max_size=12), st.lists(anything, max_size=4))
def test_any_events_are_analysed_or_refused(
    tmp_path_factory: pytest.TempPathFactory, first: list[dict[str, Any]], second: list[dict[str, Any]]
) -> None:
    """Whatever the fields hold: a summary whose numbers are finite and agree, or BadInput, never another error."""
    folder = tmp_path_factory.mktemp("any", numbered=True)
    try:
        works = [work(folder, first, "a.json"), work(folder, first + second, "b.json")]
    except BadInput as error:
        event(str(error)[:40])
        return
    event("analysed")
    for item in told_apart(works)[0]:
        one = analyse(item)
        payload = json.loads(dumps(trace_json(one)))
        assert 0 <= payload["busy_s"] <= payload["wall_s"] * (1 + 1e-9) + 1e-12
        for row in one.overlaps:
            assert -1e-12 <= row.overlapped_s <= row.busy_s + 1e-12
        assert sum(row.time_s for row in one.families) == pytest.approx(float(np.sum(item.spans.time_s)))
        extracted(item)


NAMES = {
    "void deep_ep::internode_ll::dispatch<true, 7168>(...)": "EP dispatch",
    "void deep_ep::intranode::combine<__nv_bfloat16, 8, 768>": "EP combine",
    "void deep_ep::intranode::cached_notify_combine<8>": "EP notify", "void deep_ep::intranode::barrier<8>": "barrier",
    "ncclDevKernel_AllReduce_Sum_bf16_RING_LL(ncclDevKernelArgsStorage<4096ul>)": "all-reduce",
    "ncclKernel_AllGather_RING_LL_Sum_int8_t": "all-gather", "ncclDevKernel_SendRecv(...)": "send and receive",
    "ncclDevKernel_ReduceScatter_Sum_f32_RING_LL": "reduce-scatter", "ncclDevKernel_Broadcast_RING_LL": "broadcast",
    "gloo:all_to_all": "all-to-all", "gloo:barrier": "barrier", "hcom_allGather__450_1_1": "all-gather",
    "hcom_alltoallv_": "all-to-all", "hcom_reduceScatter__1": "reduce-scatter", "hcom_send_": "send and receive",
    "void vllm::cross_device_reduce_1stage<__nv_bfloat16, 8>": "all-reduce", "c10d::allreduce_": "collective call",
    "void deep_gemm::sm90_fp8_gemm_1d2d_impl<...>": "GEMM FP8", "nvjet_hsh_128x256_64x4_2x1_v_bz_TNT": "GEMM",
    "sm80_xmma_gemm_bf16bf16_bf16f32_f32_tn_n": "GEMM", "ampere_sgemm_128x64_tn": "GEMM FP32", "aten::addmm": "GEMM",
    "Cijk_Alik_Bljk_BBS_BH_MT256x256": "GEMM", "GroupedMatmul": "grouped GEMM", "FlashAttentionScore": "attention",
    "flash_fwd_splitkv_mla_kernel<...>": "MLA decode", "void flash::flash_bwd_dq_dk_dv_loop<...>": "attention backward",
    "void layer_norm::ln_bwd_kernel<...>": "norm", "Memcpy HtoD (Pinned -> Device)": "copy host to device",
    "Memset (Device)": "memset and fill", "_fused_rmsnorm_kernel": "norm", "void nobody_knows_this()": "other",
}  # fmt: skip


@pytest.mark.parametrize(("name", "family"), NAMES.items())
def test_names_are_known(name: str, family: str) -> None:
    assert family_of(name).name == family


def test_short_names_fit() -> None:
    long = "void cutlass::device_kernel<dpsk::grouped_gemm::cuda::fp8_ptp128c::GemmKernel>(dpsk::Params)"
    assert short_name(long, 25) == "fp8_ptp128c::GemmKernel"
    assert short_name("void at::native::reduce_kernel<512, 1>(int)") == "at::native::reduce_kernel<512, 1>"
    for most in (8, 20, 60):
        assert len(short_name("x" * 200, most)) == most
