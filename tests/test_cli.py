"""The command line: exit statuses, what goes to which stream, one-line errors, ranges, files written whole."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from costsim.cli import main as cli
from costsim.cli.grid import MAX_VALUES, parse_grid, points
from costsim.errors import BadInput, DoesNotFit
from costsim.predict.report import Line, Metric, Report

ROOT = Path(__file__).resolve().parent.parent


def run(*argv: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """`costsim ARGV` as a user's shell would run it."""
    command = [sys.executable, "-c", "from costsim.cli.__main__ import entry; entry()", *argv]
    env = {**os.environ, "COLUMNS": "100", **environment}
    return subprocess.run(command, capture_output=True, text=True, env=env, cwd=ROOT, timeout=60, check=False)


def strict_json(text: str) -> Any:
    """JSON as other programs read it: NaN is refused."""

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} in JSON")

    return json.loads(text, parse_constant=refuse)


def one_line(text: str) -> str:
    assert text.endswith("\n"), text
    assert text.count("\n") == 1, text
    return text.strip()


def sample_report(point: Any = 1.0) -> Report:
    return Report(
        kind="decode",
        inputs={"model": "deepseek-v3", "accelerator": "h800-sxm", "plan": {"gpus": 128}, "load": {"context": 4096}},
        metrics={
            "tokens_per_s_per_gpu": Metric(1850.0 * point, "tokens/s", 1650.0, 2100.0, "B"),
            "tpot_s": Metric(0.0501, "s", 0.045, 0.056, "B"),
            "mfu": Metric(float("nan"), "ratio", None, None, "C"),
        },
        breakdown=(
            Line("mla attention", 0.03, 0.6, "memory", "A"),
            Line("experts <gate>", 0.02, 0.4, "compute", "B"),
            Line("dispatch", 0.01, 0.2, "network", "C", overlapped=True),
        ),
        memory={"weights_bytes": 13.2e9, "kv_bytes": 36.8e9, "requests_that_fit": 210.0},
        sources=("deepseek-v3-report",),
        notes=("a note with [brackets] in it",),
    )


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """Replace the predictions by the sample; the list collects what they were asked."""
    calls: list[tuple[Any, ...]] = []

    def predict(*args: Any) -> Report:
        calls.append(args)
        plan, load = args[2], args[3]
        if plan.gpus == 13:
            raise DoesNotFit("weights 689 GB exceed 13 × 80 GB; smallest that fits: 16 GPUs")
        return sample_report(getattr(load, "batch_per_gpu", 128) / 128)

    for phase in ("inference", "training"):
        module = ModuleType(f"costsim.predict.{phase}")
        setattr(module, f"predict_{phase}", predict)
        monkeypatch.setitem(sys.modules, module.__name__, module)
    return calls


# ------------------------------------------------------------------ the frame, as a separate process


def test_help_is_quick_and_names_every_verb() -> None:
    run("--help")  # compiles what is not compiled yet
    start = time.perf_counter()
    done = run("--help")
    assert time.perf_counter() - start < 2.0  # 0.1 s when nothing else runs
    assert done.returncode == 0
    assert done.stderr == ""
    for name in cli.available():
        assert f"\n  {name} " in done.stdout
    assert {"infer", "train", "hw", "models", "doctor"} <= set(cli.available())


def test_help_loads_no_numpy() -> None:
    code = "import sys; from costsim.cli.main import main; main(['--help']); print('numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.endswith("False\n")


def test_version() -> None:
    from costsim import __version__

    assert run("--version").stdout == f"costsim {__version__}\n"


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (("infre",), ("unknown verb 'infre'", "infer")),
        (("--json", "infer"), ("a verb comes first",)),
        (("infer", "--gpu", "8"), ("unknown option --gpu", "--gpus", "costsim infer --help")),
        (("infer", "--gpus", "eight"), ("--gpus", "'eight' is not a number", "8,16,32")),
        (("infer", "--gpus", "0"), ("--gpus", "at least 1")),
        (("infer", "--mtp-acceptance", "1.5"), ("--mtp-acceptance", "at most 1")),
        (("infer", "--precision", "fp9"), ("--precision", "fp8, bf16, int8, w4")),
        (("infer", "--model", "deepseek-v33"), ("unknown model", "deepseek-v3")),
        (("infer", "--phase", "decode", "--isl", "8"), ("--isl does not apply to --phase decode", "--context")),
        (("infer", "--price", "2"), ("--price", "bare number", "2 USD/h")),
        (("train", "--accelerator", "h80"), ("unknown accelerator", "h800-sxm")),
        (("hw",), ("required: list|show",)),
        (("hw", "shwo"), ("neither list nor show",)),
        (("hw", "show"), ("which accelerator",)),
        (("hw", "list", "zzz"), ("no accelerator id contains 'zzz'",)),
        (("models", "show", "gpt"), ("unknown model",)),
        (("models", "list", "--out", "x.docx"), ("--out x.docx", ".json", ".html")),
        (("models", "list", "--out", "no-such-folder/x.json"), ("no directory no-such-folder",)),
    ],
)
def test_bad_input_is_one_line_and_status_2(argv: tuple[str, ...], words: tuple[str, ...]) -> None:
    done = run(*argv)
    assert (done.returncode, done.stdout) == (2, "")
    line = one_line(done.stderr)
    assert line.startswith("costsim: error: ")
    for word in words:
        assert word in line


def test_a_defect_is_one_line_and_status_1() -> None:
    code = "from costsim.cli import main, doctor\ndoctor._catalogs = None\nraise SystemExit(main.main(['doctor']))"
    for debug in ("", "1"):
        env = {**os.environ, "COSTSIM_DEBUG": debug}
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, env=env, check=False
        )
        assert done.returncode == 1
        assert done.stdout == ""
        assert ("Traceback" in done.stderr) == bool(debug)
        assert done.stderr.splitlines()[-1].startswith("costsim: defect: TypeError: ")


def test_a_reader_that_leaves_is_no_accident() -> None:
    script = f"{sys.executable} -c 'from costsim.cli.__main__ import entry; entry()' hw list --json | head -n 1"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.stdout == "{\n"
    assert done.stderr == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_behind_standard_output_is_one_line() -> None:
    script = f"{sys.executable} -c 'from costsim.cli.__main__ import entry; entry()' models list --json > /dev/full"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 2
    assert "standard output" in one_line(done.stderr)


def test_ascii_terminals_and_no_color_get_plain_text() -> None:
    done = run("hw", "show", "h800-sxm", PYTHONIOENCODING="ascii", NO_COLOR="1", PYTHONUTF8="0")
    assert done.returncode == 0
    assert done.stdout.isascii()
    assert "\x1b" not in done.stdout


# ------------------------------------------------------------------ catalogs and doctor


def answer(capsys: pytest.CaptureFixture[str], *argv: str) -> Any:
    """The JSON that a verb prints; nothing may be on standard error."""
    assert cli.main([*argv, "--json"]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    return strict_json(captured.out)


def test_models_show_has_what_the_contract_says(capsys: pytest.CaptureFixture[str]) -> None:
    shown = answer(capsys, "models", "show", "deepseek-v3")
    assert shown["params"].keys() == {"total", "mtp", "active", "active_without_input_embedding", "router_bias"}
    assert shown["params"]["total"] == 671_026_404_352
    assert shown["kv_bytes_per_token"]["bf16"] == 61 * (512 + 64) * 2
    assert shown["checkpoint_bytes"]["bf16"] > 2 * shown["params"]["total"]


def test_hw_show_has_what_the_contract_says(capsys: pytest.CaptureFixture[str]) -> None:
    shown = answer(capsys, "hw", "show", "h800-sxm")
    for field in shown["datasheet"].values():
        assert {"value", "unit", "source", "confidence"} <= field.keys()
    assert shown["datasheet"]["memory_bandwidth"]["value"] == pytest.approx(3.35e12)
    for key, law in shown["calibration"].items():
        assert "/" in key
        assert {"grade", "n", "held_out_median_ape", "held_out_p90_ape", "source"} <= law.keys()
        assert law["grade"] in "ABCD"


def test_a_sibling_lends_its_laws_at_grade_c(capsys: pytest.CaptureFixture[str]) -> None:
    own = answer(capsys, "hw", "show", "h800-sxm")["calibration"]
    lent = answer(capsys, "hw", "show", "h100-sxm")["calibration"]
    from_sibling = {key: law for key, law in lent.items() if law["measured_on"] == "h800-sxm"}
    assert from_sibling
    assert all(law["grade"] >= "C" for law in from_sibling.values())
    assert any(law["grade"] == "A" for law in own.values())


def test_lists_hold_every_id_and_a_filter_keeps_some(capsys: pytest.CaptureFixture[str]) -> None:
    from costsim.spec import catalog

    chips = answer(capsys, "hw", "list")["accelerators"]
    assert [chip["id"] for chip in chips] == catalog.names(catalog.ACCELERATORS)
    assert {model["id"] for model in answer(capsys, "models", "list", "qwen")["models"]} <= set(
        catalog.names(catalog.MODELS)
    )
    assert answer(capsys, "models", "--json", "show", "deepseek-v2-lite")["id"] == "deepseek-v2-lite"


def test_doctor_names_what_absent_parts_would_add(capsys: pytest.CaptureFixture[str]) -> None:
    checks = {check["name"]: check for check in answer(capsys, "doctor")["checks"]}
    assert {"python", "numpy", "torch", "accelerators", "models", "prices", "calibration", "out/"} <= checks.keys()
    assert all(check["state"] in ("ok", "absent") and check["detail"] for check in checks.values())
    assert checks["accelerators"]["state"] == "ok"


@pytest.mark.parametrize("verb", cli.available())
def test_every_verb_has_help_with_an_example(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([verb, "--help"]) == 0
    text = capsys.readouterr().out
    assert f"costsim {verb}" in text.split("example:")[1]
    assert "--json" in text
    assert "--out" in text


# ------------------------------------------------------------------ infer and train


def test_infer_asks_for_the_published_decode_unit_by_default(
    asked: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    shown = answer(capsys, "infer")
    model, chip, plan, load, price, cluster = asked[0]
    assert (model.id, chip.id, cluster) == ("deepseek-v3", "h800-sxm", None)
    assert (plan.gpus, plan.ep, plan.tp, plan.overlap, plan.precision) == (128, 128, 1, "two-batch", "fp8")
    assert (load.context, load.batch_per_gpu) == (4096, 128)
    assert price is not None
    assert {"metrics", "breakdown", "memory", "sources", "inputs", "version"} <= shown.keys()
    assert shown["metrics"]["tpot_s"].keys() >= {"value", "unit", "low", "high", "grade"}
    assert shown["metrics"]["mfu"]["value"] is None  # NaN never reaches JSON
    said = shown["notes"][-1]
    for default in ("--gpus 128", "--ep 128", "--context 4096", "--batch-per-gpu 128", "--precision fp8", "--price"):
        assert default in said


def test_what_is_given_is_not_called_a_default(asked: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["infer", "--phase", "prefill", "--gpus", "16", "--tp", "8", "--isl", "2048", "--price", "2USD/h"]
    said = answer(capsys, *argv)["notes"][-1]
    plan, load, price = asked[0][2], asked[0][3], asked[0][4]
    assert (plan.gpus, plan.tp, plan.ep, load.isl, load.tokens_per_gpu, price.value) == (16, 8, 1, 2048, 16384, 2.0)
    for flag in ("--gpus", "--tp", "--isl", "--price"):
        assert f"{flag} " not in said


def test_dense_models_and_dies_get_sensible_ranks(asked: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    answer(capsys, "infer", "--model", "llama-3.1-70b", "--gpus", "8", "--tp", "8")
    assert asked[-1][2].ep == 1
    answer(capsys, "infer", "--accelerator", "ascend-910c", "--gpus", "160")
    assert asked[-1][2].ep == 320  # two dies a card
    answer(capsys, "infer", "--accelerator", "a100-80g-sxm")
    assert asked[-1][2].precision == "int8"  # Ampere has no FP8


def test_train_asks_for_the_published_run_by_default(asked: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    answer(capsys, "train")
    plan, load = asked[0][2], asked[0][3]
    assert (plan.gpus, plan.pp, plan.ep, plan.precision) == (2048, 16, 64, "fp8")
    assert (load.seq, load.micro_batch, load.global_batch, load.tokens) == (4096, 1, 15360, 14.8e12)


def test_ranges_become_rows_and_failures_keep_theirs(asked: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    shown = answer(capsys, "infer", "--gpus", "13,16", "--batch-per-gpu", "64:128:64")
    assert shown["varied"] == ["gpus", "batch_per_gpu"]
    assert [row["point"]["gpus"] for row in shown["rows"]] == [13, 13, 16, 16]
    assert ["error" in row for row in shown["rows"]] == [True, True, False, False]
    assert [row["metrics"]["tokens_per_s_per_gpu"]["value"] for row in shown["rows"][2:]] == [925.0, 1850.0]
    assert cli.main(["infer", "--gpus", "13,16"]) == 0
    assert "weights 689 GB" in capsys.readouterr().out


def test_when_every_point_fails_the_first_reason_is_the_error(
    asked: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["infer", "--gpus", "13", "--batch-per-gpu", "1,2"]) == 2
    assert "weights 689 GB" in one_line(capsys.readouterr().err)
    assert cli.main(["infer", "--gpus", "13"]) == 2
    assert cli.main(["infer", "--gpus", "1:3000"]) == 2
    assert "costsim search" in capsys.readouterr().err


@pytest.mark.parametrize("width", ["80", "100", "140"])
def test_the_table_fits_the_terminal(
    asked: list[Any], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, width: str
) -> None:
    monkeypatch.setenv("COLUMNS", width)
    assert cli.main(["infer"]) == 0
    text = capsys.readouterr().out
    assert max(len(line) for line in text.splitlines()) <= int(width)
    for word in ("TPOT", "50.1 ms", "45 … 56", "mla attention", "experts <gate>", "hidden", "[brackets]", "36.8 GB"):
        assert word in text


@pytest.mark.parametrize("module", ["costsim.cli.main", "costsim.cli.output", "costsim.cli.infer"])
def test_ctrl_c_during_the_first_imports_ends_in_one_line(module: str) -> None:
    """The console script's own entry: what is interrupted is an import, before `main` could catch anything."""
    script = f"""
import sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            raise KeyboardInterrupt
sys.meta_path.insert(0, Finder())
sys.argv = ["costsim", "infer"]
from costsim.cli.__main__ import entry
entry()
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 130
    assert done.stdout == ""
    assert done.stderr == "costsim: interrupted; nothing was left half-written\n"


def test_the_console_script_is_that_entry() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["project"]["scripts"] == {"costsim": "costsim.cli.__main__:entry"}


def test_interrupts_and_defects_have_their_status(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(argv: list[str]) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_dispatch", stop)
    handler = signal.getsignal(signal.SIGINT)
    assert cli.main([]) == 130
    signal.signal(signal.SIGINT, handler)  # a second Ctrl-C is ignored from there on
    assert one_line(capsys.readouterr().err).startswith("costsim: interrupted")


# ------------------------------------------------------------------ files


def test_out_writes_the_format_of_its_extension(
    asked: list[Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a.json", "a.csv", "a.md", "a.html", "a.JSON"):
        assert cli.main(["infer", "--out", str(tmp_path / name)]) == 0
        assert "TPOT" in capsys.readouterr().out
    assert strict_json((tmp_path / "a.json").read_text())["kind"] == "decode"
    rows = list(csv.DictReader((tmp_path / "a.csv").read_text().splitlines()))
    assert {"metric", "breakdown", "memory"} == {row["part"] for row in rows}
    assert next(row for row in rows if row["name"] == "mfu")["value"] == ""
    assert "| TPOT | 50.1 ms |" in (tmp_path / "a.md").read_text()
    assert "experts &lt;gate>" in (tmp_path / "a.md").read_text()
    assert (tmp_path / "a.html").read_text().startswith("<!DOCTYPE html>")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.JSON", "a.csv", "a.html", "a.json", "a.md"]


def test_a_failed_write_leaves_the_old_file(asked: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "a.json"
    target.write_text("old")

    def fail(self: Path, other: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", fail)
    assert cli.main(["infer", "--out", str(target)]) == 2
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_out_keeps_permissions_and_follows_links(asked: list[Any], tmp_path: Path) -> None:
    real, link = tmp_path / "real.json", tmp_path / "link.json"
    real.write_text("old")
    real.chmod(0o640)
    link.symlink_to(real)
    assert cli.main(["infer", "--out", str(link)]) == 0
    assert link.is_symlink()
    assert strict_json(real.read_text())["kind"] == "decode"
    assert real.stat().st_mode & 0o777 == 0o640


def test_out_to_a_directory_is_refused_before_any_work(asked: list[Any], tmp_path: Path) -> None:
    (tmp_path / "d.json").mkdir()
    assert cli.main(["infer", "--out", str(tmp_path / "d.json")]) == 2
    assert asked == []


# ------------------------------------------------------------------ ranges


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("8", [8]),
        ("8,16,32", [8, 16, 32]),
        ("1:4", [1, 2, 3, 4]),
        ("64:256:64", [64, 128, 192, 256]),
        ("64:250:64", [64, 128, 192]),
        ("2,1:3", [2, 1, 3]),
        ("1e3", [1000]),
    ],
)
def test_ranges(text: str, values: list[int]) -> None:
    assert parse_grid(text, "--n") == values


def test_ranges_of_fractions_end_on_their_last_value() -> None:
    assert parse_grid("0:1:0.1", "--x", whole=False) == pytest.approx([index / 10 for index in range(11)])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a",
        "1:",
        "4:1",
        "1:4:0",
        "1:4:-1",
        "1:2:3:4",
        "nan",
        "inf",
        "1.5",
        "8,,9",
        "1:1e12",
        "0:1e300:1e-300",
        "1e400",
    ],
)
def test_bad_ranges_name_the_option(text: str) -> None:
    with pytest.raises(BadInput, match="--n"):
        parse_grid(text, "--n")


def test_ranges_are_bounded() -> None:
    assert len(parse_grid(f"1:{MAX_VALUES}", "--n")) == MAX_VALUES
    with pytest.raises(BadInput, match="5,000,000"):
        parse_grid(f"1:{MAX_VALUES},0", "--n")
    with pytest.raises(BadInput, match="combinations"):
        points({"a": range(1000), "b": range(1000)}, 1000)


def test_a_card_that_costs_nothing_has_prices_of_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    free = ("--price", "0USD/h")
    assert answer(capsys, "infer", "--batch-per-gpu", "64", *free)["metrics"]["usd_per_mtok_output"]["value"] == 0
    assert answer(capsys, "train", "--gpus", "2048", *free)["metrics"]["usd_per_run"]["value"] == 0


def test_hints_name_the_file_where_a_chip_is_ones_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (ROOT / "hwprofiles" / "accelerators" / "ascend-910b2.toml").read_text(encoding="utf-8")
    text = re.sub(r'^id = ".*"', 'id = "mine"', text, flags=re.MULTILINE)
    text = re.sub(r"^memory_bandwidth .*", 'memory_bandwidth = { value = "unknown" }', text, flags=re.MULTILINE)
    (tmp_path / "mine.toml").write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert cli.main(["infer", "--accelerator", "mine.toml", "--gpus", "64", "--batch-per-gpu", "8"]) == 2
    line = one_line(capsys.readouterr().err)
    assert line.endswith("(see `costsim hw show mine.toml`) [CS301]")
    hint = line.split("`")[1].split()
    assert cli.main(hint[1:]) == 0


def test_doctor_says_what_works_here(capsys: pytest.CaptureFixture[str]) -> None:
    checks = {check["name"]: check for check in answer(capsys, "doctor")["checks"]}
    for name in ("python", "numpy", "torch", "distributed", "aiconfigurator-core", "pdf", "calibration", "out/", "disk",
                 "locale", "accelerators"):  # fmt: skip
        assert checks[name]["state"] in ("ok", "absent")
        assert checks[name]["detail"]
    assert "schema 1" in checks["calibration"]["detail"]


@pytest.mark.parametrize(("chip", "precision"), [("h100-sxm", "w4"), ("b200-sxm", "w4a8"), ("h20-96g", "w4")])
def test_a_model_stored_in_four_bits_is_served_so(
    chip: str, precision: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """OpenAI serves gpt-oss-120b on one 80 GB card: in eight bits it would not fit."""
    line = ["infer", "--model=gpt-oss-120b", f"--accelerator={chip}", "--gpus=1", "--ep=1", "--batch-per-gpu=8"]
    assert cli.main([*line, "--json"]) == 0
    stated = json.loads(capsys.readouterr().out)["inputs"]["plan"]["precision"]
    assert stated == precision
