"""Hostile files for every reader, quickly: the long run with coverage is ``make fuzz``. Seeds are fixed in CI.

Each input is a valid file with a few edits; hypothesis chooses the edits, and shrinks them where one shows a defect.
"""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from fuzz.codecs import CODECS, parse, write
from fuzz.mutate import HOSTILE, Edit, mutated
from fuzz.oracle import Bench, Finding, run
from fuzz.targets import HEAVY, TARGETS

CORPUS = Path(__file__).resolve().parent.parent / "fuzz" / "corpus"
READS, ASKS = 25, 3
#: these take long enough for the longer run alone
SLOW_VERBS = ("scenario", "network", "recipe", "run", "measurements", "points")
QUICK = settings(
    derandomize=True, deadline=None, database=None, phases=(Phase.explicit, Phase.generate, Phase.shrink),
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
small = st.integers(0, 2**16 - 1)
EDITS = st.lists(st.builds(Edit, small, st.integers(0, 38), small), min_size=1, max_size=3)


def here(name: str) -> bool:
    """Whether this installation has what the reader needs."""
    needs = {"safetensors": "torch", "index": "torch", "model config": "torch"} | dict.fromkeys(HEAVY[3:], "streamlit")
    return name not in needs or importlib.util.find_spec(needs[name]) is not None


NAMES = [name for name in TARGETS if here(name)]


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    logging.getLogger("streamlit").setLevel(logging.CRITICAL)
    made = Bench()
    yield made
    made.close()


@pytest.mark.parametrize("name", NAMES)
def test_readers_take_their_own_examples(name: str, bench: Bench) -> None:
    """What is edited is valid to begin with, else nothing behind the first check would be reached."""
    target = TARGETS[name]
    assert any(bench.read(name, seed) for seed in target.seeds()) or name == "index"
    form = target.form.removesuffix(".gz")
    for seed in target.seeds():
        tree = parse(target.form, seed)
        assert tree is not None
        assert parse(form, write(form, tree)) == tree


@pytest.mark.parametrize("name", NAMES)
def test_readers_answer_or_refuse_in_one_line(name: str, bench: Bench) -> None:
    target = TARGETS[name]
    seeds = list(target.seeds())

    @settings(QUICK, max_examples=READS)
    @given(seed=st.integers(0, len(seeds) - 1), edits=EDITS)
    def check(seed: int, edits: list[Edit]) -> None:
        bench.read(name, mutated(target.form, seeds[seed], edits))

    check()


@pytest.mark.parametrize("name", [name for name in NAMES if TARGETS[name].verb and name not in SLOW_VERBS])
def test_verbs_answer_or_refuse_in_one_line(name: str, bench: Bench) -> None:
    """A file that is read may still hold what no formula can take: the whole verb is asked."""
    target = TARGETS[name]
    seeds = list(target.seeds())

    @settings(QUICK, max_examples=ASKS)
    @given(seed=st.integers(0, len(seeds) - 1), edits=EDITS.filter(lambda edits: edits[0].kind % 13 < 10))
    def check(seed: int, edits: list[Edit]) -> None:
        bench.ask(name, mutated(target.form, seeds[seed], edits[:1]))

    check()


@pytest.mark.parametrize("name", NAMES)
def test_every_kind_of_file_as_every_other(name: str, bench: Bench) -> None:
    """A file of another reader, the beginning of it, nothing, and noise."""
    others = [TARGETS[other].seeds()[0] for other in ("accelerator", "trace", "loads npy", "trace gz", "safetensors")]
    for data in (*others, *(other[: len(other) // 2] for other in others), b"", b"\n", b"\0" * 64, b"\xff" * 64,
                 b"[" * 50_000, b'{"a":' * 20_000, b"a = " + b"[" * 20_000, b"9" * 20_000,
                 b'"' + b"x" * 200_000):  # fmt: skip
        bench.read(name, data)


def _kept() -> list[Any]:
    files = sorted(CORPUS.glob("*/*")) if CORPUS.is_dir() else []
    return [pytest.param(path, id=f"{path.parent.name}/{path.name[:12]}") for path in files if not path.is_dir()]


@pytest.mark.parametrize("path", _kept())
def test_inputs_that_were_worth_keeping(path: Path, bench: Bench) -> None:
    """What the longer runs found, and what reached the most code."""
    name = path.parent.name.replace("_", " ")
    if not here(name):
        pytest.skip("this installation lacks what the reader needs")
    bench.read(name, path.read_bytes())
    if path.name.startswith("found-") and TARGETS[name].verb:
        bench.ask(name, path.read_bytes())


@settings(QUICK, max_examples=150)
@given(text=st.text(max_size=400) | st.sampled_from([v for v in HOSTILE if isinstance(v, str)]))
def test_any_word_on_the_command_line(text: str) -> None:
    """Names, files and options of any letters: status 2 and one line, or an answer."""
    for argv in (["models", "show", text], ["hw", "show", text], ["infer", "--accelerator", text], [text]):
        try:
            run("words", [part.replace("\0", "?") for part in argv])  # no system passes a NUL
        except Finding as finding:
            raise AssertionError(str(finding)) from None


def test_forms_of_files_are_all_edited() -> None:
    assert {target.form.removesuffix(".gz") for target in TARGETS.values()} == set(CODECS)
