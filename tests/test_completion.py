"""Completion: real shells complete verbs, options, words and ids, quickly and without heavy modules."""

from __future__ import annotations

import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from costsim.cli import names
from costsim.cli.completion import SHELLS, bash, fish, options, zsh
from costsim.cli.main import VERBS, main
from costsim.evidence.claims import load_claims
from costsim.spec import catalog
from costsim.spec.framework import frameworks
from costsim.spec.price import load_prices
from costsim.spec.words import PRECISIONS

ROOT = Path(__file__).resolve().parent.parent
ASK = """
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$((${#COMP_WORDS[@]}-1)); COMPREPLY=()
_costsim
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("completion") / "costsim.bash"
    path.write_text(bash(), encoding="utf-8")
    return path


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")
@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("costsim inf", {"infer"}),
        ("costsim infer --acc", {"--accelerator"}),
        ("costsim infer --accelerator h20", {"h20-96g", "h20-141g", "h200-sxm"}),
        ("costsim infer --accelerator = h800", {"h800-sxm"}),
        ("costsim search --accelerator h20-96g,h800", {"h20-96g,h800-sxm"}),
        ("costsim train --model deepseek-v2-l", {"deepseek-v2-lite"}),
        ("costsim infer --precision ", set(PRECISIONS)),
        ("costsim infer --framework s", {"sglang"}),
        ("costsim infer --gpus ", set()),
        ("costsim hw ", {"list", "show"}),
        ("costsim hw show h800", {"h800-sxm"}),
        ("costsim models show qwen2.5-7", {"qwen2.5-7b"}),
        ("costsim claims ml", {"mla-93", "mla-backfire"}),
        ("costsim completion ", set(SHELLS)),
        ("costsim report pyproj", {"pyproject.toml"}),
        ("costsim fleet --day deep", {"deepseek-2025-02-27"}),
    ],
)
def test_bash_completes(line: str, expected: set[str], script: Path) -> None:
    words = line.split(" ")
    done = subprocess.run(
        ["bash", "--norc", "-c", ASK, "ask", str(script), *words], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert done.stderr == ""
    assert set(done.stdout.split()) == expected


def test_every_option_of_every_verb_is_offered() -> None:
    known = options()
    assert list(known) == list(VERBS)
    text = {"bash": bash(), "zsh": zsh(), "fish": fish()}
    for verb, each in known.items():
        assert {"--json", "--out", "--help"} <= {flag for option in each for flag in option.flags}
        for option in each:
            for flag in option.flags:
                assert flag in text["bash"]
                assert flag in text["zsh"]
                assert (f"-l {flag[2:]}" if flag.startswith("--") else f"-s {flag[1:]}") in text["fish"], verb


def test_names_are_those_that_load() -> None:
    assert names.models() == catalog.names(catalog.MODELS)
    assert names.accelerators() == catalog.names(catalog.ACCELERATORS)
    assert names.clusters() == catalog.names(catalog.CLUSTERS)
    assert names.prices() == [price.id for price in load_prices()]
    assert names.claims() == list(load_claims())
    assert names.engines() == frameworks()
    from costsim.predict.loads import trace_names
    from costsim.spec.run import known_runs

    assert names.traces() == trace_names()
    assert names.runs() == known_runs()


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_can_read_their_script(shell: str, tmp_path: Path) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell} here")
    path = tmp_path / f"c.{shell}"
    path.write_text({"zsh": zsh, "fish": fish}[shell](), encoding="utf-8")
    done = subprocess.run([shell, "-n", str(path)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_fish_completes(tmp_path: Path) -> None:
    if shutil.which("fish") is None:
        pytest.skip("no fish here")
    path = tmp_path / "c.fish"
    path.write_text(fish(), encoding="utf-8")
    ask = f"source {path}; complete -C 'costsim infer --accelerator h800'"
    done = subprocess.run(["fish", "--no-config", "-c", ask], capture_output=True, text=True, check=True)
    assert done.stdout.split("\t")[0] == "h800-sxm"


def test_it_is_quick_and_loads_nothing_heavy() -> None:
    code = (
        "import sys\nfrom costsim.cli.main import main\nmain(['completion', 'bash'])\n"
        "print([m for m in ('numpy', 'pydantic', 'pandas', 'plotly', 'rich', 'torch', 'networkx') if m in sys.modules],"
        " file=sys.stderr)"
    )
    seconds = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
        seconds.append(resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before)
        assert done.stderr == "[]\n"
    assert min(seconds) < 0.4  # of a processor: other work on the machine does not count


def test_it_is_a_script_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    for argv in (["tcsh"], ["bash", "--json"], ["bash", "--out", "x.json"], []):
        assert main(["completion", *argv]) == 2
        said = capsys.readouterr()
        assert said.out == ""
        assert said.err.count("\n") == 1
