"""Files that are written: whole or not at all, whatever ends the run; and what people see where it cannot be done."""

from __future__ import annotations

import ast
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from costsim import files
from costsim.cli.main import main
from costsim.errors import BadInput

ROOT = Path(__file__).resolve().parent.parent
KILLS = 100

#: forks a child that writes without end, kills it after a random time, and looks at what it left
KILLER = """
import json, os, random, signal, sys, time
from pathlib import Path
from costsim.calibration.measurement import Measurement, read_measurements, write_measurements
from costsim.cli.output import rendered, write
from costsim.explore.sweep import finished, keep
from costsim.report.document import Document, Section, Table

folder, kills = Path(sys.argv[1]), int(sys.argv[2])

def report(n):
    rows = [[f"row {i}", float(n)] for i in range(300)]
    flat = [{"row": i, "n": n} for i in range(300)]
    section = Section("s", [], [Table(("a", "b"), rows)])
    return Document(f"report {n}", [section], {"first": n, "rows": rows, "last": n}, "", flat)

def forever(n):
    while True:
        document = report(n)
        for form in ("json", "csv", "md", "html"):
            write(folder / f"r.{form}", rendered(document, form))
        write_measurements(folder / "m.csv", [Measurement("gemm", "bf16", 1e-3, str(n), shape={"m": 8.0})] * 300)
        keep(folder / "sweep", [f"k{i}" for i in range(50)], [{"n": n}] * 50)
        n += 1

def whole():
    found = json.loads((folder / "r.json").read_text())
    assert found["first"] == found["last"] and len(found["rows"]) == 300
    lines = (folder / "r.csv").read_text().splitlines()
    assert len(lines) == 301 and len({line.split(",")[1] for line in lines[1:]}) == 1, len(lines)
    assert (folder / "r.html").read_text().rstrip().endswith("</html>")
    assert (folder / "r.md").read_text().count("row ") == 300
    assert len({row.source for row in read_measurements(folder / "m.csv")}) == 1
    assert len(finished(folder / "sweep", {f"k{i}" for i in range(50)})) == 50
    return found["first"]

rng, seen = random.Random(1), set()
start = os.fork()
if start == 0:
    try:
        forever(0)
    finally:
        os._exit(3)
while not list((folder / "sweep").glob("*.jsonl")):
    time.sleep(0.01)
os.kill(start, signal.SIGKILL)
os.waitpid(start, 0)
for kill in range(kills):
    child = os.fork()
    if child == 0:
        try:
            forever(1000 * (kill + 1))
        finally:
            os._exit(3)
    time.sleep(rng.uniform(0.0, 0.03))
    os.kill(child, signal.SIGKILL)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    seen.add(whole())
left = [path.name for path in folder.iterdir() if path.name.startswith(".costsim-")]
print(json.dumps({"distinct": len(seen), "left": len(left)}))
"""


def environment(**more: str) -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"} | more


def costsim(*argv: str, cwd: Path | None = None, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "costsim.cli", *argv], capture_output=True, text=True, cwd=cwd,
                          env=environment(**more), timeout=120, check=False)  # fmt: skip


def one_line(text: str) -> str:
    assert text.count("\n") == 1, text
    assert text.startswith("costsim: error: "), text
    assert len(text) < 340, text
    return text


# ------------------------------------------------------------------ killed


def test_a_killed_run_leaves_whole_files(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", KILLER, str(tmp_path), str(KILLS)], capture_output=True, text=True,
                          env=environment(), cwd=ROOT, timeout=170, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout)["distinct"] > 3  # some were killed between writes, some in the middle


def test_what_killed_runs_left_is_swept_away(tmp_path: Path) -> None:
    old, young, other = (tmp_path / name for name in (".costsim-a.json.x.tmp", ".costsim-b.json.y.tmp", ".other.tmp"))
    for path in (old, young, other):
        path.write_text("half")
    for path in (old, other):
        os.utime(path, (1, 1))
    files._swept.clear()
    files.write(tmp_path / "a.json", "{}")
    assert sorted(path.name for path in tmp_path.iterdir()) == [young.name, other.name, "a.json"]


def test_an_interrupted_write_keeps_the_old_file(tmp_path: Path) -> None:
    files.write(tmp_path / "a", "old")

    def interrupted() -> None:
        with files.replacing(tmp_path / "a") as stream:
            stream.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_text() == "old"


def test_two_runs_in_one_folder(tmp_path: Path) -> None:
    """Both write the same names as fast as they can; a third reads: always one whole answer, of either."""
    code = (
        "import sys; from costsim.files import write; from pathlib import Path\n"
        "for n in range(400): write(Path(sys.argv[1], 'r.json'), '[' + ','.join([sys.argv[2]] * 20000) + ']')\n"
    )
    target = tmp_path / "r.json"
    runs = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path), n], env=environment()) for n in ("1", "2")]
    seen, end = set(), time.monotonic() + 60
    while any(run.poll() is None for run in runs) and time.monotonic() < end:
        if target.is_file():
            rows = json.loads(target.read_text())
            assert len(rows) == 20_000
            assert len(set(rows)) == 1
            seen.add(rows[0])
    assert [run.wait(60) for run in runs] == [0, 0]
    assert seen <= {1, 2}
    assert [path.name for path in tmp_path.iterdir()] == ["r.json"]


# ------------------------------------------------------------------ disks


@pytest.mark.parametrize("where", ["/proc/costsim.json", "/sys/costsim.json", "/dev/null/r.json", "{file}/r.json"])
def test_a_place_that_takes_no_file_is_one_line(where: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("x")
    assert main(["models", "list", "--out", where.format(file=tmp_path / "file")]) == 2
    one_line(capsys.readouterr().err)


def test_a_full_disk_is_one_line_and_keeps_the_old_report(tmp_path: Path) -> None:
    """A limit on the size of files stands for the disk that is full."""
    old = tmp_path / "r.html"
    old.write_text("old")
    code = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "from costsim.cli.main import main; sys.exit(main(['models', 'list', '--out', sys.argv[1]]))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(old)], capture_output=True, text=True, env=environment(),
                          check=False)  # fmt: skip
    assert done.returncode == 2
    assert "cannot be written" in one_line(done.stderr)
    assert old.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["r.html"]


def test_devices_take_what_is_written() -> None:
    files.write(Path("/dev/null"), "x")
    assert Path("/dev/null").is_char_device()
    with pytest.raises(BadInput, match="No space left"):
        files.write(Path("/dev/full"), "x")


def test_names_that_no_system_takes(tmp_path: Path) -> None:
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    for name in (loop, tmp_path / ("x" * 300), tmp_path / "a\0b", tmp_path / "none" / "r.json"):
        with pytest.raises(BadInput) as caught:
            files.write(name, "x")
        assert len(str(caught.value)) <= 300
    files.write(tmp_path / ("é" * 120), "x")  # 240 bytes: as long as a name may be, and still written by way of another


def test_everything_is_written_by_one_function() -> None:
    """No other line of the product opens a file to write it; journals are appended to, line by line."""
    journal = {"model/profile/session.py"}
    allowed = {"costsim/files.py", "costsim/cli/browser.py"} | journal  # the browser has a folder of its own that goes
    for folder in ("costsim", "dashboards", "model"):
        for path in ROOT.joinpath(folder).rglob("*.py"):
            name = str(path.relative_to(ROOT))
            if name in allowed:
                continue
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if not isinstance(node, ast.Call) or not isinstance(node.func, (ast.Attribute, ast.Name)):
                    continue
                called = node.func.attr if isinstance(node.func, ast.Attribute) else node.func.id
                where = f"{name}:{node.lineno} {called}"
                assert called not in (
                    "write_text",
                    "write_bytes",
                    "mkstemp",
                    "savefig",
                    "write_html",
                    "NamedTemporaryFile",
                ), where
                modes = [arg.value for arg in (*node.args, *(k.value for k in node.keywords))
                         if isinstance(arg, ast.Constant) and isinstance(arg.value, str)]  # fmt: skip
                assert called != "open" or not {"w", "wb", "a", "x", "w+"} & set(modes), where


# ------------------------------------------------------------------ people and terminals


@pytest.mark.parametrize(
    "argv", [("infer", "--gpus", "8:512:8", "--batch-per-gpu", "1:30"), ("report", "--folder", "-")]
)
def test_ctrl_c_is_one_line_and_status_130(argv: tuple[str, ...], tmp_path: Path) -> None:
    target = tmp_path / "r.json"
    target.write_text("old")
    rng = random.Random(len(argv))
    for _ in range(4):
        run = subprocess.Popen([sys.executable, "-m", "costsim.cli", *argv, "--out", str(target)], env=environment(),
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)  # fmt: skip
        while run.poll() is None and "costsim" not in Path(f"/proc/{run.pid}/cmdline").read_text():
            time.sleep(0.005)
        _wait_until_started(run.pid)
        time.sleep(rng.uniform(0.0, 0.4))
        run.send_signal(signal.SIGINT)
        _, error = run.communicate(timeout=60)
        if run.returncode != 0:  # it may have been done just before
            assert run.returncode in (130, -signal.SIGINT), error  # a shell says 130 of both
            assert error.count("\n") == 1, error
            assert error.startswith("costsim: interrupted")
            assert target.read_text() == "old"
        else:
            target.write_text("old")
        assert [path.name for path in tmp_path.iterdir()] == ["r.json"]


def _wait_until_started(pid: int) -> None:
    """Until Python itself has started and costsim catches the signal: before that the system ends the process."""
    end = time.monotonic() + 30
    while time.monotonic() < end:
        try:
            if any("numpy" in line for line in Path(f"/proc/{pid}/maps").read_text().splitlines()):
                return
        except OSError:
            return
        time.sleep(0.002)


def test_ctrl_c_while_it_starts() -> None:
    """From the first line of costsim on, imports among them."""
    code = (
        "import os, signal, sys, threading\n"
        "from costsim.cli.__main__ import entry\n"
        "threading.Timer(float(sys.argv[1]), os.kill, (os.getpid(), signal.SIGINT)).start()\n"
        "sys.argv = ['costsim', 'infer', '--gpus', '8:256:8']; entry()"
    )
    for delay in (0.001, 0.01, 0.03):
        done = subprocess.run([sys.executable, "-c", code, str(delay)], capture_output=True, text=True,
                              env=environment(), check=False)  # fmt: skip
        assert done.returncode in (0, 130, -signal.SIGINT), done.stderr
        assert "Traceback" not in done.stderr
        assert done.stderr.count("\n") <= 1


def test_a_closed_pipe_is_quiet() -> None:
    for argv in ("hw list", "infer", "models list --json", "--help"):
        line = f"{sys.executable} -m costsim.cli {argv} | head -n 1"
        done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, env=environment(), check=False)
        assert done.stderr == ""
        assert done.stdout


@pytest.mark.parametrize(
    "more",
    [
        {"LC_ALL": "C"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, {"NO_COLOR": "1"},
        {"COLUMNS": "20"}, {"COLUMNS": "1"}, {"TERM": "dumb"}, {"HOME": ""}, {"HOME": "/nonexistent"},
        {"HOME": "/proc", "XDG_CONFIG_HOME": "/proc", "XDG_CACHE_HOME": "/proc"}, {"PYTHONIOENCODING": "ascii"},
    ],
    ids=lambda more: ",".join(f"{key}={value}" for key, value in more.items()),
)  # fmt: skip
def test_odd_surroundings(more: dict[str, str]) -> None:
    done = costsim("infer", **more)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "\x1b" not in done.stdout
    assert "tokens/s" in done.stdout
    assert len(done.stdout) > 500


def test_no_home_at_all() -> None:
    lean = {key: value for key, value in environment().items() if key not in ("HOME", "USER", "LOGNAME", "TERM")}
    done = subprocess.run([sys.executable, "-m", "costsim.cli", "models", "list"], capture_output=True, text=True,
                          env=lean, check=False)  # fmt: skip
    assert done.returncode == 0
    assert done.stderr == ""


@pytest.mark.parametrize(
    "argv", ["models list --out r.json", "infer", "report --folder out", "doctor", "hw show h800-sxm"]
)
def test_a_directory_that_is_gone(argv: str, tmp_path: Path) -> None:
    script = f"mkdir '{tmp_path}/gone'; cd '{tmp_path}/gone'; rmdir '{tmp_path}/gone'; exec {sys.executable} -c "
    code = f"from costsim.cli.main import main; raise SystemExit(main({argv.split()!r}))"
    done = subprocess.run(["bash", "-c", f'{script} "$CODE"'], capture_output=True, text=True,
                          env=environment(CODE=code), check=False)  # fmt: skip
    assert done.returncode in (0, 2), done.stderr
    assert "Traceback" not in done.stderr
    assert "defect" not in done.stderr
    assert done.stderr.count("\n") <= 1
