"""What the README says stays true: no unfilled blanks, its commands run, its catalog counts are the catalog's."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from benchmarks.readme import accuracy_tables
from costsim.cli.main import main
from costsim.spec.catalog import ACCELERATORS, MODELS, names

README = (Path(__file__).resolve().parent.parent / "README.md").read_text(encoding="utf-8")
#: not run here: what needs the reader's own files, serves until stopped, or measures for five minutes
ELSEWHERE = re.compile(r" > |--help|FILE|A\.json|costsim (profile|dashboard)")
COMMANDS = sorted({line for line in re.findall(r"`(costsim [^`]+)`", README) if not ELSEWHERE.search(line)})


def test_no_blank_is_left() -> None:
    assert "@@" not in README
    assert f"{len(names(ACCELERATORS))} accelerators" in README
    assert f"{len(names(MODELS))} models" in README


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_readme_runs(
    command: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = shlex.split(command)[1:]
    monkeypatch.chdir(tmp_path)
    if words == ["report", "my.toml"]:
        assert main(["report", "--example"]) == 0
        Path("my.toml").write_text(capsys.readouterr().out, encoding="utf-8")
    assert main(words) == 0, capsys.readouterr().err
    assert capsys.readouterr().out


def test_the_python_of_the_readme_runs() -> None:
    code = re.search(r"```python\n(.*?)```", README, re.S)
    assert code is not None
    exec(code.group(1), {})


def test_the_accuracy_tables_are_what_validate_says_today() -> None:
    assert accuracy_tables() in README, "python -m benchmarks.readme writes it anew"
