"""`costsim trace` and `calibrate --trace` as a user meets them; a real trace of torch on this machine; TensorBoard."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from costsim.calibration.measurement import Measurement
from costsim.cli import main as cli
from costsim.errors import BadInput
from costsim.trace import tensorboard
from costsim.trace.measurements import measurements_from_trace, operation
from tests.test_trace_analyse import H800, all_reduces, host, kernel, published


def save(folder: Path, name: str, events: list[dict[str, Any]], **header: Any) -> str:
    path = folder / name
    path.write_text(json.dumps({**header, "traceEvents": events}), encoding="utf-8")
    return str(path)


def asked(capsys: pytest.CaptureFixture[str], *argv: str) -> dict[str, Any]:
    assert cli.main(["trace", *argv, "--json"]) == 0, capsys.readouterr().err
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


EVIL = "<script>alert(1)</script>%{x}=cmd()\x1b[2J|`"
EVENTS = [kernel("sm90_fp8_gemm", 0, 100), kernel("deep_ep::internode::dispatch<1>", 50, 80, 20), kernel(EVIL, 150, 50)]


def test_all_formats_of_one_trace(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = save(tmp_path, "t.json", EVENTS, distributedInfo={"rank": 2, "world_size": 4})
    found = asked(capsys, file)["traces"][0]
    assert found["wall_s"] == pytest.approx(200e-6)
    assert found["groups"]["GEMM"] == pytest.approx(100e-6)
    assert found["rank"] == "rank 2 of 4"
    assert "lanes" not in found
    for form in ("html", "md", "csv", "json"):
        out = tmp_path / f"out.{form}"
        assert cli.main(["trace", file, "--out", str(out)]) == 0
        text = out.read_text(encoding="utf-8")
        assert "sm90_fp8_gemm" in text
        assert "\x1b" not in text
        if form in ("html", "md"):
            assert "<script>alert" not in text
    shown = capsys.readouterr().out
    assert "\x1b" not in shown
    assert max(map(len, shown.splitlines())) <= 80
    charts = re.search(r'id="_charts">(.*?)</script>', (tmp_path / "out.html").read_text(encoding="utf-8"), re.DOTALL)
    assert charts is not None
    bars = json.loads(charts.group(1))[0]["data"]
    assert {bar["name"] for bar in bars} == {"GEMM", "communication", "other"}
    gemm = next(bar for bar in bars if bar["name"] == "GEMM")
    assert (gemm["base"], gemm["x"], gemm["y"]) == ([0.0], [0.1], ["stream 7"])


def test_two_ranks_side_by_side(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [
        save(tmp_path, "a.json", all_reduces(0, [(10, 50)]), distributedInfo={"rank": 0, "world_size": 2}),
        save(tmp_path, "b.json", all_reduces(1, [(40, 20)]), distributedInfo={"rank": 1, "world_size": 2}),
    ]
    found = asked(capsys, *files)["traces"]
    assert [one["collectives"][0]["wait_s"] for one in found] == [pytest.approx(30e-6), None]
    assert cli.main(["trace", *files, "--rank", "1"]) == 0
    text = capsys.readouterr().out
    assert "Profiler traces of 2 ranks" in text
    assert "b.json: rank 1 of 2" in text


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["none.json"], "No such file"), (["t.json", "--rank", "7"], "no file is of that rank"),
        (["t.json", "--rank", "x"], "whole number"), (["t.json", "--top", "0"], "from 1 to 30"),
        (["t.json", "t.json"], "more than one file"), ([], "FILE"), (["t.json", "--out", "x.txt"], "extension"),
        (["empty.json"], "is empty"), (["t.json", "--tensorboard", "t.json"], "not a directory"),
        (["."], "not a plain file"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line(
    argv: list[str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    save(tmp_path, "t.json", EVENTS, distributedInfo={"rank": 0})
    (tmp_path / "empty.json").touch()
    assert cli.main(["trace", *argv]) == 2
    out, err = capsys.readouterr()
    assert not out
    assert says in err
    assert err.count("\n") == 1


@published
def test_published_trace_at_80_columns(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["trace", str(H800)]) == 0
    text = capsys.readouterr().out
    for words in ("118.2 ms", "114.5 ms", "129 ms", "96.3%", "85.5%", "attn(B)", "unknown"):
        assert words in text
    assert max(map(len, text.splitlines())) <= 80


# shapes to measurement rows


def test_rows_by_hand(tmp_path: Path) -> None:
    """A kernel alone counts, one beside communication does not; the median of its calls."""
    shape = {"Input Dims": [[64, 128], [128, 256]], "Input type": ["c10::BFloat16", "c10::BFloat16"]}
    events = []
    for number, took in enumerate((10, 14, 12)):
        events.append(host("cpu_op", "aten::mm", 100 * number, 5, **shape, **{"External id": number}))
        events.append(kernel("nvjet_x", 100 * number + 10, took, **{"External id": number}))
    events.append(kernel("ncclDevKernel_AllReduce", 205, 50, 20))
    (row,) = measurements_from_trace(Path(save(tmp_path, "t.json", events)))
    assert (row.family, row.dtype, row.shape) == ("gemm", "bf16", {"m": 64, "n": 256, "k": 128, "groups": 1})
    assert row.time_s == pytest.approx(12e-6), "of 10 and 14: the third ran beside communication"
    assert row.flop == 2 * 64 * 128 * 256
    assert row.bytes == 2 * (64 * 128 + 128 * 256 + 64 * 256)
    assert row.source == "trace t.json"


BF16 = ["c10::BFloat16"] * 4


@pytest.mark.parametrize(
    ("name", "dims", "types", "concrete", "expected"),
    [
        ("aten::bmm", [[4, 8, 16], [4, 16, 32]], BF16, [], ("batched_gemm", "bf16", 2 * 4 * 8 * 16 * 32)),
        ("aten::addmm", [[32], [8, 16], [16, 32]], BF16, [], ("gemm", "bf16", 2 * 8 * 16 * 32)),
        ("aten::_scaled_mm", [[8, 16], [16, 32]], ["c10::Float8_e4m3fn"] * 2, [], ("gemm", "fp8", 2 * 8 * 16 * 32)),
        ("aten::mm", [[8, 16], [17, 32]], BF16, [], None), ("aten::mm", [[8, 16]], BF16, [], None),
        ("aten::mm", [[8, -1], [-1, 32]], BF16, [], None), ("aten::mm", [[], []], BF16, [], None),
        ("aten::mm", "text", BF16, [], None), ("aten::mm", [[8, 16], [16, 32]], ["double"] * 2, [], None),
        ("aten::silu", [[1024, 1024]], ["float"], [], ("memory_stream", "bf16", 0.0)),
        # 2 heads of 4 causal queries over 4 keys: 10 pairs each, 64 + 64 wide
        ("aten::_scaled_dot_product_flash_attention", [[1, 2, 4, 64]] * 3, BF16, ["", "", "", "0.", "True"],
         ("attention_prefill", "bf16", 2 * 2 * 10 * 128)),
        ("aten::_scaled_dot_product_flash_attention", [[1, 2, 4, 64]] * 3, BF16, ["", "", "", "0.", "False"], None),
        ("aten::_scaled_dot_product_flash_attention", [[3, 8, 1, 64], [3, 2, 100, 64], [3, 2, 100, 64]], BF16,
         ["", "", "", "0.", "False"], ("attention_decode", "bf16", 2 * 3 * 8 * 100 * 128)),
    ],
)  # fmt: skip
def test_operators_are_counted_as_physics_counts(
    name: str, dims: Any, types: list[str], concrete: list[str], expected: tuple[str, str, float] | None
) -> None:
    op = operation(name, (dims, types, concrete))
    assert (None if op is None else (op.family, op.dtype, op.flop)) == expected


def test_calibrate_from_a_trace(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("scipy", reason="fitting needs scipy, which the light install leaves out")
    events, at = [], 0.0
    for number, m in enumerate([128, 256, 512, 1024, 2048, 4096] * 3):
        shape = {"Input Dims": [[m, 4096], [4096, 7168]], "Input type": BF16[:2], "External id": number}
        took = 8 + 2 * m * 4096 * 7168 / 6e14 * 1e6 + 4096 * 7168 * 2 / 2.5e12 * 1e6
        events += [host("cpu_op", "aten::mm", at, 2, **shape), kernel("nvjet", at + 5, took, **{"External id": number})]
        at += took + 20
    file = save(tmp_path, "t.json", events)
    assert cli.main(["calibrate", "h800-sxm", "--trace", file, "--json"]) == 0
    laws = json.loads(capsys.readouterr().out)["accelerators"][0]["laws"]
    assert list(laws) == ["gemm/bf16"]
    assert cli.main(["calibrate", "--trace", file]) == 2
    assert "--trace: name the one accelerator" in capsys.readouterr().err
    assert cli.main(["calibrate", "h800-sxm", "--trace", save(tmp_path, "e.json", EVENTS)]) == 2
    assert "record_shapes=True" in capsys.readouterr().err


# this machine's own profiler

PROFILED = """
import sys, torch
from torch.profiler import ProfilerActivity, profile, record_function
torch.set_num_threads(1)
x, w = torch.randn(256, 512), torch.randn(512, 384)
with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as run:
    for _ in range(4):
        with record_function("layer"):
            torch.nn.functional.silu(x @ w)
run.export_chrome_trace(sys.argv[1])
"""


@pytest.fixture(scope="module")
def torch_trace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trace that torch.profiler writes here, in a process of its own: the profiler prints and holds threads."""
    pytest.importorskip("torch", reason="needs torch (extra model)")
    path = tmp_path_factory.mktemp("torch") / "cpu.pt.trace.json.gz"
    subprocess.run([sys.executable, "-c", PROFILED, str(path)], check=True, capture_output=True, timeout=120)
    return path


def test_a_trace_of_torch_on_this_machine(torch_trace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = asked(capsys, str(torch_trace))["traces"][0]
    families = {row["name"]: row for row in found["families"]}
    assert families["GEMM"]["calls"] == 4
    assert families["SwiGLU"]["calls"] == 4
    assert found["device"] == "CPU"
    assert 0 < found["busy_s"] <= found["wall_s"]
    assert sum(row["time_s"] for row in found["families"]) == pytest.approx(
        sum(row["busy_s"] for row in found["streams"])
    )
    (layer,) = (row for row in found["phases"] if row["name"] == "layer")
    assert layer["occurrences"] == 4
    rows = {row.family: row for row in measurements_from_trace(torch_trace)}
    assert rows["gemm"].shape == {"m": 256, "n": 384, "k": 512, "groups": 1}
    assert isinstance(rows["memory_stream"], Measurement)


def test_operators_need_the_extra(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tensorboard, "installed", lambda: False)
    assert cli.main(["trace", save(tmp_path, "t.json", EVENTS), "--operators"]) == 2
    assert "costsim[profile]" in capsys.readouterr().err


def test_layout_for_tensorboard(torch_trace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The names are those that the plugin looks for: worker, time, ending; the bytes are the trace's."""
    plain = save(tmp_path, "plain.json", EVENTS, distributedInfo={"rank": 3})
    folder = tmp_path / "runs" / "today"
    assert cli.main(["trace", str(torch_trace), plain, "--tensorboard", str(folder)]) == 0
    names = sorted(path.name for path in folder.iterdir())
    assert len(names) == 2
    assert re.fullmatch(r"costsim_0\.\d{13}\.pt\.trace\.json\.gz", names[0])
    assert re.fullmatch(r"costsim_3\.\d{13}\.pt\.trace\.json", names[1])
    assert names[0].split(".")[1] == names[1].split(".")[1], "one time for the ranks of one run"
    assert (folder / names[0]).read_bytes() == torch_trace.read_bytes()
    capsys.readouterr()


def test_tables_of_the_plugin(torch_trace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its operators' own times are ours: two programs that count the same trace."""
    pytest.importorskip("torch_tb_profiler", reason="needs torch-tb-profiler (extra profile)")
    found = asked(capsys, str(torch_trace), "--operators")
    operators = {row["name"]: row for row in found["plugin"]["operators"]}
    ours = {row["name"]: row for row in found["traces"][0]["kernels"]}
    for name in ("aten::mm", "aten::silu"):
        assert operators[name]["calls"] == ours[name]["calls"] == 4
        assert operators[name]["host_self_s"] == pytest.approx(ours[name]["time_s"], rel=1e-3, abs=1e-6)
    assert cli.main(["trace", str(torch_trace), "--operators"]) == 0
    assert "Operators" in capsys.readouterr().out


@published
def test_plugin_on_the_published_trace() -> None:
    pytest.importorskip("torch_tb_profiler", reason="needs torch-tb-profiler (extra profile)")
    tables = tensorboard.plugin_tables(H800)
    assert (len(tables.operators), len(tables.kernels)) == (108, 89)
    combine = next(row for row in tables.kernels if "internode::combine" in row.name)
    assert (combine.calls, combine.total_s) == (8, pytest.approx(49.448e-3))


def test_what_the_plugin_cannot_read(tmp_path: Path) -> None:
    pytest.importorskip("torch_tb_profiler", reason="needs torch-tb-profiler (extra profile)")
    with pytest.raises(BadInput, match="torch-tb-profiler cannot read it"):
        tensorboard.plugin_tables(
            Path(save(tmp_path, "t.json", [{"ph": "X", "name": "a", "ts": "x", "dur": 1, "pid": 1}]))
        )


@pytest.mark.skipif(not tensorboard.installed(), reason="torch-tb-profiler is not installed")
def test_the_plugin_says_nothing_of_its_own(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """It logs a line for every kernel whose process is not its device."""
    file = save(tmp_path, "t.json", [kernel("k", 0, 10) | {"pid": 5}])
    assert cli.main(["trace", file, "--operators"]) == 0
    assert capfd.readouterr().err == ""
