"""What no input may do: fill memory, run code, leave the folder it is in, or reach into a page or a spreadsheet."""

from __future__ import annotations

import contextlib
import csv
import gzip
import io
import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from costsim import files
from costsim.cli.main import main
from costsim.errors import LONGEST, BadInput, one_line, tame
from costsim.evidence.points import read_points
from costsim.placement.load import read_loads
from costsim.report.document import Cell, Chart, Document, Section, Table
from costsim.report.html import page
from costsim.report.jsonable import dumps
from costsim.report.plain import csv_text, markdown
from costsim.spec.catalog import ACCELERATORS, load_accelerator
from costsim.spec.fleet import load_fleet
from costsim.spec.scenario import load_scenario
from fuzz.seeds import REQUESTS, trace

ROOT = Path(__file__).resolve().parent.parent
EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>\x1b[31m\u202e"


# ------------------------------------------------------------------ memory

#: reads files with 2 GB of address space; numpy alone takes a few hundred MB of it
READ = """
import json, resource, sys, time
resource.setrlimit(resource.RLIMIT_AS, (2_000_000_000, 2_000_000_000))
from fuzz.targets import TARGETS
from costsim.errors import BadInput
from pathlib import Path
for line in sys.stdin:
    name, file = json.loads(line)
    try:
        TARGETS[name].read(Path(file))
        said = "taken"
    except BadInput as error:
        said = str(error)
    except BaseException as error:
        said = f"DEFECT {type(error).__name__}: {error}"[:300]
    # the kernel's count for this program; getrusage would count the test runner that it was forked from
    used = int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])
    print(json.dumps([name, said, used, time.process_time()]), flush=True)
"""


def _bombs(folder: Path) -> list[tuple[str, str]]:
    """(reader, file) of small files that unpack, nest or claim without end, and of large ones that hold nothing."""
    member = gzip.compress(b"0" * 10_000_000, 9, mtime=0)
    blank = gzip.compress(b" " * 10_000_000, 9, mtime=0)
    deep, million = b"[" * 900_000, 1_000_000
    npy = b"\x93NUMPY\x01\x00"

    def header(shape: str, kind: str = "<f8") -> bytes:
        text = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
        return npy + len(text).to_bytes(2, "little") + text.encode() + bytes(64)

    made: dict[str, tuple[str, bytes | int]] = {
        "requests gz": ("bomb.csv.gz", gzip.compress(b"arrival_s,isl,osl\n", mtime=0) + member * 250),
        "clients": ("bomb.json.gz", member * 250),
        "trace gz": ("bomb.json.gz", gzip.compress(b'{"traceEvents": [', mtime=0) + blank * 250),
        "trace": ("deep.json", deep),
        "report": ("deep.json", b'{"a":' * 200_000),
        "config": ("deep.json", deep),
        "calibration": ("deep.json", deep),
        "bench": ("deep.json", deep),
        "loads json": ("deep.json", deep),
        "requests jsonl": ("deep.jsonl", deep),
        "loads npy": ("rows.npy", header("(1000000000, 256)")),
        "coactivation": ("choices.npy", header("(1000000000, 1000000000, 8)", "<i8")),
        "matrix npy": ("matrix.npy", header(f"({2**62}, {2**62})")),
        "accelerator": ("dots.toml", b"a." * (million // 3) + b"b = 1"),
        "scenario": ("deep.toml", b"a = " + deep),
        "cluster": ("digits.toml", b"a = " + b"9" * (million // 2)),
        "recipe": ("array.toml", b"id = [" + b"1," * (million // 3) + b"]"),
        "requests csv": ("line.csv", 1_000_000_000),
        "measurements": ("line.csv", 1_000_000_000),
        "points": ("line.csv", 1_000_000_000),
        "loads csv": ("line.csv", 1_000_000_000),
        "nccl text": ("line.txt", 1_000_000_000),
        "deepep": ("ranks.log", b"[rank 0] " * 500_000),
        "megatron": ("line.sh", 1_000_000_000),
    }
    found = []
    for name, (file, data) in made.items():
        path = folder / f"{name.replace(' ', '_')}.{file}"
        with path.open("wb") as stream:
            if isinstance(data, int):
                stream.write(b"a,")
                stream.truncate(data)  # holes: it takes no room on the disk
            else:
                stream.write(data)
        found.append((name, str(path)))
    return found


def test_no_file_fills_the_memory(tmp_path: Path) -> None:
    bombs = _bombs(tmp_path)
    lines = "".join(json.dumps(bomb) + "\n" for bomb in bombs)
    done = subprocess.run([sys.executable, "-c", READ], input=lines, capture_output=True, text=True, cwd=ROOT,
                          env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}, timeout=170,
                          check=False)  # fmt: skip
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(answers) == len(bombs), done.stderr[-2000:]
    for name, said, used_kb, _ in answers:
        assert not said.startswith(("DEFECT", "taken")), (name, said)
        assert len(said) <= LONGEST, (name, said)
        assert used_kb < 1_000_000, (name, used_kb)


def test_what_the_file_system_says_of_a_size_is_not_believed() -> None:
    with pytest.raises(BadInput, match=r"larger than|not text|cannot be read"):
        files.read_text(Path("/proc/kallsyms"), "file", 1000)
    with pytest.raises(BadInput, match="not a plain file"):
        files.read_text(Path("/dev/zero"), "file")


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.toml")
    with pytest.raises(BadInput, match="not a plain file"):
        files.read_text(tmp_path / "pipe.toml", "file")


@pytest.mark.parametrize(("descr", "shape"), [
    ("'V0'", "(3, 3)"), ("'<U0'", "(3, 3)"), ("'(0,)i8'", "(3, 3)"), ("[]", "(3, 3)"), ("((((),),),)", "(3, 3)"),
    ("'<f8'", "(0, 3)"), ("'<f8'", f"({2**62}, 0)"), ("'<f8'", f"({2**62}, 4)"), ("'<f8'", "(-3, -3)"),
    ("'<f8'", f"({'1, ' * 70})"), ("'<f8'", "(4, 4)"),
])  # fmt: skip
def test_no_header_of_an_array_ends_the_process(descr: str, shape: str, tmp_path: Path) -> None:
    """numpy divides by the size of an element, which may be 0, and takes products that overflow."""
    head = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    path = tmp_path / "a.npy"
    path.write_bytes(b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head + bytes(9 * 8))
    with pytest.raises(BadInput, match=r"a\.npy"):
        files.open_npy(path, "loads")


def test_arrays_are_mapped_as_numpy_reads_them(tmp_path: Path) -> None:
    for name, array in (("c", np.arange(12.0).reshape(3, 4)), ("f", np.asfortranarray(np.arange(12).reshape(3, 4))),
                        ("u", np.arange(5, dtype=">u2")), ("h", np.ones((2, 1, 3), np.float16))):  # fmt: skip
        np.save(tmp_path / f"{name}.npy", array)
        found = files.open_npy(tmp_path / f"{name}.npy", "loads")
        assert isinstance(found, np.memmap)
        np.testing.assert_array_equal(found, np.load(tmp_path / f"{name}.npy"))
        assert found.dtype == array.dtype


# ------------------------------------------------------------------ code


class Boom:
    """Runs when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (os.environ["BOOM"],))


@pytest.mark.parametrize("kind", ["object", "object in a header", "npz", "pickle"])
def test_nothing_is_unpickled(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pickle

    monkeypatch.setenv("BOOM", str(tmp_path / "boom"))
    path = tmp_path / "loads.npy"
    stream = io.BytesIO()
    if kind == "npz":
        np.savez(stream, a=np.array([Boom()], dtype=object))
    elif kind == "pickle":
        pickle.dump(Boom(), stream)
    else:
        np.save(stream, np.array([[Boom()]], dtype=object), allow_pickle=True)
    data = stream.getvalue()
    path.write_bytes(data.replace(b"'|O'", b"'O' ") if kind == "object in a header" else data)
    with pytest.raises(BadInput):
        read_loads(path)
    assert not (tmp_path / "boom").exists()


def test_no_module_can_run_what_it_reads() -> None:
    """No pickle, marshal, yaml, eval, exec or shell in the product."""
    word = re.compile(r"\b(?:import (?:pickle|marshal|yaml|shelve)|from (?:pickle|marshal|yaml) |pickle\.load|eval\(|"
                      r"exec\(|os\.system|shell=True|allow_pickle=True)")  # fmt: skip
    for folder in ("costsim", "dashboards", "model"):
        for path in ROOT.joinpath(folder).rglob("*.py"):
            text = path.read_text(encoding="utf-8").replace(".eval()", "")
            assert not [
                m.group() for m in word.finditer(text) if "module.eval(" not in text[m.start() - 8 : m.end()]
            ], path


# ------------------------------------------------------------------ paths


@pytest.mark.parametrize("target", ["../laws.json", "/etc/hostname", "sub/laws.json", "..", "."])
@pytest.mark.parametrize("field", ["calibration", "id"])
def test_a_chip_names_no_file_elsewhere(field: str, target: str, tmp_path: Path) -> None:
    text = (ACCELERATORS / "h20-96g.toml").read_text(encoding="utf-8")
    named = text.replace('id = "h20-96g"', f'id = "{target}"')
    text = named if field == "id" else f'calibration = "{target}"\n{text}'
    (tmp_path / "chip.toml").write_text(text, encoding="utf-8")
    with pytest.raises(BadInput) as caught:
        load_accelerator(str(tmp_path / "chip.toml"))
    assert target in str(caught.value)


def test_a_scenario_names_files_near_it_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home, away = tmp_path / "home", tmp_path / "away"
    home.mkdir()
    away.mkdir()
    monkeypatch.chdir(home)
    for folder in (home, away):
        (folder / "chip.toml").write_text((ACCELERATORS / "h20-96g.toml").read_text(encoding="utf-8"), encoding="utf-8")
    (away / "link.toml").symlink_to(away / "chip.toml")
    (home / "link.toml").symlink_to(away / "chip.toml")
    file = home / "s.toml"
    for name, good in (("chip.toml", True), ("./chip.toml", True), ("../away/chip.toml", False), ("link.toml", False),
                       (str(home / "chip.toml"), True), (str(away / "chip.toml"), False)):  # fmt: skip
        file.write_text(f'[cluster]\naccelerator = "{name}"\n', encoding="utf-8")
        if good:
            assert load_scenario(str(file)).cluster.accelerator == name
        else:
            with pytest.raises(BadInput, match="outside the folder"):
                load_scenario(str(file))


@pytest.mark.parametrize("name", ["/etc/hosts.toml", "../h800.toml", "mine.toml", "config.json", "..", "costsim"])
def test_days_points_and_reports_name_the_catalog_alone(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                        capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    monkeypatch.chdir(ROOT)
    day = (ROOT / "hwprofiles" / "fleets" / "deepseek-2025-02-27.toml").read_text(encoding="utf-8")
    (tmp_path / "day.toml").write_text(re.sub(r'^model = ".*"', f'model = "{name}"', day, flags=re.M), encoding="utf-8")
    with pytest.raises(BadInput, match=r"catalog|make a name"):
        load_fleet(str(tmp_path / "day.toml"))
    assert main(["infer", "--gpus", "8", "--model", "deepseek-v2-lite", "--out", str(tmp_path / "r.json")]) == 0
    report = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))
    report["inputs"]["model"] = name
    (tmp_path / "r.json").write_text(json.dumps(report), encoding="utf-8")
    capsys.readouterr()
    assert main(["diff", str(tmp_path / "r.json"), str(tmp_path / "r.json")]) == 2
    assert re.search("catalog|make a name|outside the folder|unknown model", capsys.readouterr().err)


# ------------------------------------------------------------------ pages, spreadsheets, terminals


def _document() -> Document:
    rows = [[EVIL, Cell(EVIL, 1.0), 2.0], ["=cmd|'/c calc'!A1", Cell("@x", 2.0), 3.0]]
    chart = Chart({"data": [{"type": "bar", "x": [EVIL], "y": [1], "name": EVIL}], "layout": {"title": EVIL}}, EVIL)
    section = Section(EVIL, [EVIL], [Table((EVIL, "b", "c"), rows, EVIL)], [chart])
    flat = [{"name": EVIL, "value": 1.0}, {"name": "=1+1", "value": -1.5}, {"name": "-1.5e3", "value": 2.0}]
    return Document(EVIL, [section], {"name": EVIL}, EVIL, flat)


def test_no_name_becomes_a_tag_of_a_page() -> None:
    text = page(_document())
    tags: list[str] = []

    class Parser(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            tags.append(tag)
            assert not [name for name, _ in attrs if name.startswith("on")], attrs

    Parser().feed(text)
    assert "img" not in tags
    assert tags.count("script") == 4  # sorting, plotly.js, its data, and what draws them
    assert "alert(1)" in text  # shown, as text
    data = re.search(r'<script type="application/json" id="_charts">(.*?)</script>', text, re.DOTALL)
    assert data is not None
    assert "<" not in data.group(1)
    assert json.loads(data.group(1))[0]["data"][0]["name"] == EVIL
    assert "<script>alert" not in markdown(_document())


@pytest.mark.parametrize("text", ["=1+1", "+1+1", "-1+1", "@SUM(A1)", "\t=1", "\r=1", '=HYPERLINK("http://x")', "-x"])
def test_no_cell_becomes_a_formula(text: str) -> None:
    assert files.inert(text).startswith("'")
    rows = list(csv.reader(io.StringIO(csv_text([{text: text, "n": [text]}]), newline="")))
    assert [len(row) for row in rows] == [2, 2]
    assert all(cell.startswith("'") or cell == "n" for row in rows for cell in row)


@pytest.mark.parametrize("text", ["", "a=1", "-1.5", "+2e9", "h800-sxm", "1-2", "-inf"])
def test_numbers_and_names_stay_as_they_are(text: str) -> None:
    assert files.inert(text) == text


def test_terminals_get_letters_alone(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    text = (ROOT / "model" / "specs" / "qwen2.5-7b.toml").read_text(encoding="utf-8")
    evil = json.dumps(EVIL)
    (tmp_path / "m.toml").write_text(
        re.sub(r"^name = .*$", lambda _: f"name = {evil}", text, flags=re.M), encoding="utf-8"
    )
    for more in ((), ("--json",)):
        assert main(["models", "show", str(tmp_path / "m.toml"), *more]) == 0
        out = capsys.readouterr().out
        assert tame(out) == out
        assert "alert(1)" in out
    assert json.loads(out)["name"] == EVIL  # JSON keeps it, spelled out
    assert main(["models", "show", "\x1b]0;x\x07"]) == 2
    error = capsys.readouterr().err
    assert tame(error) == error


def test_messages_are_one_short_line() -> None:
    assert one_line("a\nb\t c") == "a b c"
    assert one_line("\x1b[31m\u202e") == "\\x1b[31m\\u202e"
    long = one_line("begin " + "x" * 10_000 + " end")
    assert len(long) <= LONGEST
    assert long.startswith("begin")
    assert long.endswith("end")
    assert len(str(BadInput("y" * 10**6))) <= LONGEST
    assert dumps("a\u2028\x7f").strip() == '"a\\u2028\\u007f"'


# ------------------------------------------------------------------ damaged packages


@pytest.mark.parametrize("cut", [1, 10, 40, -8, -1])
def test_cut_and_damaged_gzip(cut: int, tmp_path: Path) -> None:
    from costsim.serving.traces import read_trace
    from costsim.trace.read import read_trace as profiler_trace

    for data, name, read in ((REQUESTS["own"], "a.csv.gz", read_trace), (trace(), "a.json.gz", profiler_trace)):
        packed = gzip.compress(data, mtime=0)
        (tmp_path / name).write_bytes(packed[:cut])
        with contextlib.suppress(BadInput):  # nothing else
            read(tmp_path / name)  # type: ignore[operator]
        (tmp_path / name).write_bytes(packed[:30] + bytes([packed[30] ^ 255]) + packed[31:])
        with contextlib.suppress(BadInput):  # nothing else
            read(tmp_path / name)  # type: ignore[operator]


def test_points_of_a_stranger_are_no_paths(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    head, row = (ROOT / "hwprofiles" / "points" / "training.csv").read_text(encoding="utf-8").splitlines()[:2]
    model = read_points(ROOT / "hwprofiles" / "points" / "training.csv")[0].model
    (tmp_path / "p.csv").write_text(f"{head}\n{row.replace(model, '/etc/passwd.toml', 1)}\n", encoding="utf-8")
    main(["validate", "--points", str(tmp_path / "p.csv")])
    said = capsys.readouterr()
    assert "root:" not in said.out + said.err
    assert "not valid TOML" not in said.out + said.err
