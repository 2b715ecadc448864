"""Options as argparse knows them, with hostile values: each refused in one line, or answered. All of them, with the
whole of each verb behind them, is ``python -m fuzz.options``."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from costsim.cli.main import VERBS
from fuzz.options import BASE, PARSED_ONLY, VALUES, alone, asked, cases, files, options, parsed

#: verbs whose answer is quick enough to be asked for here, and every how many command lines one is
ASKED = {"infer": 150, "train": 150, "search": 100, "simulate": 170, "place": 90, "trace": 30, "diff": 30, "hw": 20,
         "models": 20, "explain": 170, "sensitivity": 60, "fleet": 80}  # fmt: skip


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return files(tmp_path_factory.mktemp("options"))


@pytest.mark.parametrize("verb", VERBS)
def test_values_are_taken_or_refused_in_one_line(verb: str, names: dict[str, str]) -> None:
    assert options(verb)
    quick = [value for value in VALUES if value != "1:5000000"]  # five million numbers, which takes a second
    taken = [parsed(asked(argv, names)) for argv in cases(verb, quick)]
    if verb in BASE and len(options(verb)) > 3:
        assert any(taken)
        assert not all(taken)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="each command line runs in a process of its own")
@pytest.mark.parametrize("verb", ASKED)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # a fork of a process with threads: the child asks and ends
def test_verbs_answer_or_refuse(verb: str, names: dict[str, str], tmp_path: Path) -> None:
    lines = list(cases(verb))[7 :: ASKED[verb]]
    assert lines
    for argv in lines:
        assert alone(asked(argv, names), tmp_path) == "", argv


def test_every_verb_is_tried() -> None:
    assert set(BASE) | set(PARSED_ONLY) == set(VERBS)
    assert len(set(VALUES)) == len(VALUES)
